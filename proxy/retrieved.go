package proxy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/trace"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/ragplug"
	"jarvis-gateway/router"
)

// Retrieval finds passages for the models that have a corpus. The nil Retrieval finds none.
type Retrieval struct {
	corpora map[string]*ragplug.Corpus
	uses    map[string]*retriever // by the entry of models
}

// retriever is what one model has.
type retriever struct {
	corpus  *ragplug.Corpus
	limits  ragplug.Limits
	shown   string      // handbook@3f9a2c1d
	metrics *retrievals // nil until it is in force
}

// retrieved is what a request got.
type retrieved struct {
	ragplug.Found
	by *retriever
}

// NewRetrieval checks what models say of corpora, and readies them. The error joins all that is wrong.
func NewRetrieval(corpora map[string]*ragplug.Corpus, models map[string]router.Model) (*Retrieval, error) {
	r := &Retrieval{corpora: corpora, uses: map[string]*retriever{}}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(models)) {
		said, at := models[name].RAG, "models."+name+".rag"
		if said.IsZero() {
			continue
		}
		corpus := corpora[said.Corpus]
		if corpus == nil {
			errs = append(errs, fmt.Errorf("%s.corpus: unknown corpus %q (have: %s)", at, said.Corpus, strings.Join(slices.Sorted(maps.Keys(corpora)), ", ")))
			continue
		}
		errs = append(errs, said.Check(at, corpus.Size()))
		said = said.Filled(corpus.Size())
		r.uses[name] = &retriever{corpus: corpus, limits: ragplug.Limits{Passages: said.TopK, Tokens: said.Tokens},
			shown: corpus.Name + "@" + corpus.Version()}
	}
	if len(corpora) == 0 {
		r = nil
	}
	return r, errors.Join(errs...)
}

// Begin has metrics tell of these corpora, and of no others any more.
func (r *Retrieval) Begin() {
	if r == nil {
		Corpora.Store(nil)
		return
	}
	for name, by := range r.uses {
		by.metrics = newRetrievals(by.corpus.Name, name)
	}
	Corpora.Store(&r.corpora)
}

// retrieve puts passages in front of the conversation that help with what the user said last, where the model that was asked for has a
// corpus. Without such passages the request stays as it is.
func (x *exchange) retrieve() error {
	if x.g.Retrieval == nil || x.call.Body == nil || x.ep.kind == wire.Plain {
		return nil
	}
	by := x.g.Retrieval.uses[x.askedRoute()]
	if by == nil {
		return nil
	}
	x.phase(phaseRetrieve)
	began := time.Now()
	found := by.corpus.Find(x.body.Question(x.ep.kind), by.limits)
	err := x.inform(&found)
	x.found = &retrieved{Found: found, by: by}
	if x.conn != nil { // else it is only asked what would be found
		by.metrics.count(&found, time.Since(began))
	}
	return err
}

// askedRoute is the entry of the model that was asked for, whatever led to another one.
func (x *exchange) askedRoute() string {
	if x.detour != nil && len(*x.detour) > 0 {
		return (*x.detour)[0].From
	}
	return x.route.Name
}

// inform adds what was found to the request; what has no place for it gets nothing.
func (x *exchange) inform(found *ragplug.Found) error {
	if found.Text == "" {
		return nil
	}
	body, ok, err := x.body.Instruct(x.ep.kind, found.Text)
	if err != nil || !ok {
		*found = ragplug.Found{Corpus: found.Corpus}
		return err
	}
	x.body = body
	if x.query != nil {
		x.query.Known &^= router.NeedsBody // it is another one now
	}
	return nil
}

var (
	headerPassages = []byte("X-Jarvis-Passages") // handbook@3f9a2c1d; n=3
	headerSources  = []byte("X-Jarvis-Sources")  // leave.md#carry-over, faq.txt#L12
)

// headers tell the client what its request got.
func (r *retrieved) headers(h *fasthttp.ResponseHeader) {
	if r == nil {
		return
	}
	space := append(make([]byte, 0, 64), r.by.shown...)
	h.SetCanonical(headerPassages, strconv.AppendInt(append(space, "; n="...), int64(len(r.Passages)), 10))
	if len(r.Passages) > 0 {
		h.SetCanonical(headerSources, appendSources(nil, r.Passages))
	}
}

// longestSources bounds the header, which proxies in between may cut off or refuse.
const longestSources = 1024

// appendSources lists where passages are from, in the order of their numbers, as far as there is room.
func appendSources(dst []byte, list []ragplug.Passage) []byte {
	for i := range list {
		before := len(dst)
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if dst = appendEncoded(dst, list[i].Source); len(dst) > longestSources-len(", ...") {
			if dst = dst[:before]; before > 0 {
				dst = append(dst, ", "...)
			}
			return append(dst, "..."...)
		}
	}
	return dst
}

// appendEncoded writes all but plain ASCII as percent-encoded UTF-8, as in a URL.
func appendEncoded(dst []byte, text string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~/#", c) >= 0:
			dst = append(dst, c)
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

// used is the corpus that the request has passages of, for its record.
func (r *retrieved) used() string {
	if r == nil || len(r.Passages) == 0 {
		return ""
	}
	return r.by.shown
}

// tell adds to the span what was found, but nothing of what it says.
func (r *retrieved) tell(a *trace.Attributes) {
	if r == nil {
		return
	}
	a.Text("jarvis.rag.corpus", r.by.shown)
	a.Int("jarvis.rag.passages", int64(len(r.Passages)))
	a.Count("jarvis.rag.tokens", int64(r.Tokens))
}

// explain is nil where the model has no corpus.
func (r *retrieved) explain() *ragplug.Preview {
	if r == nil {
		return nil
	}
	return &ragplug.Preview{Corpus: r.by.shown, Tokens: r.Tokens, Passages: append([]ragplug.Passage{}, r.Passages...)}
}
