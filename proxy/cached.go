package proxy

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/cache"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/trace"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// This file answers requests from the cache, and keeps answers there as providers gave them: guards look at what is given again as
// at any other answer, and what they took out of this request is put back into it.

// look is what an exchange knows of the cache. Only requests for a model that has one have a look.
type look struct {
	result string // as metrics have it
	ttl    time.Duration
	key    cache.Key
	keeps  bool          // the answer is to be kept
	flight *cache.Flight // in which others wait for the answer; nil: none
	whole  []byte        // the answer before guards, in the reply's memory
	tee    *tee          // in its place, of a stream
	entry  *cache.Entry  // that answers; nil: the cache has no answer
	saved  wire.Money
}

// What the cache had to do with a request.
const (
	cacheHit    = "hit"
	cacheShared = "shared" // another request, under way at the same time, was answered
	cacheMiss   = "miss"
	cacheBypass = "bypass"
)

// cached answers from the cache. The limits have counted the request by then; it costs nothing more.
func (x *exchange) cached() (bool, error) {
	ttl := x.route.Cached()
	if ttl == 0 || x.g.Cache == nil {
		return false, nil
	}
	x.phase(phaseCache)
	reads, keeps := x.cacheable()
	l := &look{result: cacheBypass, ttl: ttl, keeps: keeps}
	x.look = l
	if keeps {
		l.key = x.cacheKey()
	}
	var err error
	if reads {
		begun := time.Now()
		err = x.lookUp()
		cacheLookups.WithLabelValues(l.result).Observe(time.Since(begun).Seconds())
	}
	cacheRequests.WithLabelValues(x.route.Name, l.result).Inc()
	if err != nil || l.entry == nil {
		return false, err
	}
	x.giveAgain(l.entry)
	x.phase(phaseGuards)
	return true, x.checkAnswer()
}

// lookUp looks for the answer. Of whole answers that many ask for at the same time, one request asks a provider.
func (x *exchange) lookUp() (err error) {
	l := x.look
	if l.result, l.entry = cacheHit, x.g.Cache.Get(l.key, l.ttl); l.entry != nil {
		return nil
	}
	if l.result = cacheMiss; !x.call.Stream {
		l.entry, err = x.board()
	}
	if l.entry != nil {
		l.result = cacheShared
	}
	return err
}

// board leads a flight, or waits for what comes of one. It gives up where what comes could not be shared.
func (x *exchange) board() (*cache.Entry, error) {
	l, began := x.look, time.Now()
	gone := make(stake)
	timer := time.NewTimer(x.boarding())
	defer timer.Stop()
	defer func() { x.upstream += time.Since(began) }() // others waited for a provider
	for waits := 1; ; waits++ {
		f, leads := x.g.Cache.Join(l.key)
		if leads {
			l.flight = f
			return x.g.Cache.Near(l.key, l.ttl), nil // one may have landed just before
		}
		if !x.abort.Hold(gone) {
			return nil, provider.ErrAborted
		}
		var err error
		select {
		case <-f.Done():
		case <-gone:
			err = provider.ErrAborted
		case <-timer.C:
			err = errBoarding
		}
		x.abort.LetGo()
		if err == errBoarding && x.left() == 0 {
			return nil, nil // a provider may be quicker
		}
		if err != nil {
			return nil, err
		}
		if e, alone := f.Answer(); e != nil || alone || waits == mostWaits {
			return e, nil
		}
	}
}

// mostWaits is for how many others a request waits in turn: where providers fail slowly, it is not the last of a long line.
const mostWaits = 3

var errBoarding = &wire.Error{Status: 504, Type: wire.TypeServer, Code: "timeout", Message: "The model provider took too long."}

// boarding is how long a request waits for others: as long as its client does, or as a provider may take.
func (x *exchange) boarding() time.Duration {
	if left := x.left(); left > 0 {
		return left
	}
	return x.route.Targets[0].Timeout.Total
}

// cacheable tells whether the request may be answered from the cache, and whether its answer is kept.
func (x *exchange) cacheable() (reads, keeps bool) {
	noCache, noStore := directives(&x.ctx.Request.Header)
	if noStore || !x.repeatable() || len(x.body.PromptObject()) > 0 {
		return false, false
	}
	if x.ep.kind == wire.Response && x.body.Get("store").Type != gjson.False {
		return false, false // it is there to be gone on from
	}
	return !noCache, true
}

// directives are those of Cache-Control that the cache knows.
func directives(h *fasthttp.RequestHeader) (noCache, noStore bool) {
	for _, line := range h.PeekAll(fasthttp.HeaderCacheControl) {
		for word := range bytes.SplitSeq(line, []byte{','}) {
			word = bytes.TrimSpace(word)
			noCache = noCache || bytes.EqualFold(word, wordNoCache)
			noStore = noStore || bytes.EqualFold(word, wordNoStore)
		}
	}
	return noCache, noStore
}

// cacheKey is a digest of all that decides the answer: who may see it, who would be asked, and for what.
func (x *exchange) cacheKey() cache.Key {
	q := x.g.Cache.Ask(cache.Scope{Tenant: x.caller.Tenant, Model: x.route.Name})
	q.Text(x.ep.name)
	q.Text(strconv.FormatBool(x.call.Stream))
	q.Text(x.asked) // answers may name it
	q.Text(x.route.AnswerAs)
	q.Bytes(x.call.Query)
	if x.prompt != nil {
		q.Text(x.prompt.Name)
		q.Text(x.prompt.Version)
	}
	meant := x.route.Meant(x.Query)
	for i, t := range x.route.Targets {
		if meant&(1<<i) != 0 {
			q.Text(t.Provider)
			q.Text(x.g.Providers[t.Provider].Place())
			q.Text(x.modelOf(t))
		}
	}
	q.Number(0) // where a text begins with its length, none is empty
	for name, value := range x.ctx.Request.Header.All() {
		if provider.Tells(name) && (len(x.call.Credential) == 0 || !bytes.Contains(value, x.call.Credential)) {
			q.Bytes(name)
			q.Bytes(value)
		}
	}
	q.Number(0)
	for name, member := range x.body.Members() {
		switch string(name) {
		case "user", "safety_identifier", "metadata", "prompt_cache_key": // they change no answer
			if x.ep.kind == wire.Response { // but such answers repeat them
				q.Bytes(member)
			}
		default:
			q.Bytes(member)
		}
	}
	return q.Key()
}

// giveAgain makes an answer that was kept the request's.
func (x *exchange) giveAgain(e *cache.Entry) {
	r := &x.reply
	r.Status, r.ContentType, r.Length = fasthttp.StatusOK, []byte(e.ContentType), -1
	for _, f := range e.Header {
		r.Header = append(r.Header, wire.Field{Name: []byte(f.Name), Value: []byte(f.Value)})
	}
	if e.Stream {
		r.Stream = &replay{rest: e.Body}
	} else {
		r.Body = e.Body
	}
	x.answered = time.Now()
	x.first = x.answered.Sub(x.start)
	price, _ := x.g.Prices.Find(usage.Place{Provider: e.By.Provider, Kind: e.By.Kind, Region: e.By.Region}, e.By.Model)
	x.look.saved = price.Cost(e.Usage)
}

// hit tells a request that the cache answers.
func (x *exchange) hit() bool { return x.recording != nil && x.look != nil && x.look.entry != nil }

// overhear has the provider's answer be kept, if it ends well.
func (x *exchange) overhear() {
	l := x.look
	switch {
	case l == nil || !l.keeps:
	case x.reply.Stream == nil:
		l.whole = x.reply.Body
	case isEvents(x.reply.ContentType) && x.ep.events():
		l.tee = &tee{Stream: x.reply.Stream, most: int(x.g.Cache.Most())}
		x.reply.Stream = l.tee
	default:
		l.keeps = false
	}
}

// landed keeps the answer of a request that has ended, and gives it to those who wait for it.
func (x *exchange) landed() {
	l := x.look
	if l == nil {
		return
	}
	e := l.entry
	if l.flight != nil {
		defer func() {
			alone := x.failure == nil || outcomeOf(x.failure) == outcomeClient
			x.g.Cache.Land(l.key, l.flight, e, alone)
		}()
	}
	if e != nil || !l.keeps || !x.whole() {
		return
	}
	if kept := x.kept(); x.g.Cache.Put(l.key, kept) {
		e = kept
	}
}

// whole tells an answer that is complete, and no other than the same request would get again: not one that a fallback gave, or that
// limits made shorter.
func (x *exchange) whole() bool {
	if x.failure != nil || !x.tally.came || x.tally.later || x.resumed > 0 || x.reply.Status != fasthttp.StatusOK || x.target.Serves() != x.route {
		return false
	}
	l := x.look
	if l.tee != nil && !l.tee.ended || l.tee == nil && l.whole == nil {
		return false
	}
	bounded := x.call.MaxTokens != 0 || x.call.Meter != nil // by limits, and nobody asked for that
	switch x.stopped() {
	case "stop", "tool_calls", "content_filter":
		return !bounded || x.lone()
	case "length":
		return !bounded
	}
	return x.ep.kind == wire.Plain && gjson.GetBytes(l.whole, "data.0").Exists() // some servers say 200 and mean an error
}

// lone tells that one answer was asked for: of several, only how the last one ended is known.
func (x *exchange) lone() bool {
	_, n, err := x.body.Cap(x.ep.kind)
	return err == nil && n <= 1
}

// kept is the answer as it is kept, in memory of its own.
func (x *exchange) kept() *cache.Entry {
	l, client := x.look, x.g.Providers[x.target.Provider]
	e := &cache.Entry{TTL: l.ttl, ContentType: string(x.reply.ContentType), Usage: x.tally.answer, Finish: x.stopped(),
		By: cache.Giver{Provider: x.target.Provider, Kind: client.Kind(), Region: client.Region(), Model: strings.Clone(x.served())}}
	if e.Stream = l.tee != nil; e.Stream {
		e.Body = bytes.Clone(l.tee.kept) // which has room for more
	} else {
		e.Body = bytes.Clone(l.whole)
	}
	for _, f := range x.reply.Header {
		if !bytes.EqualFold(f.Name, headerProcessing) { // it was not processed again
			e.Header = append(e.Header, cache.Field{Name: string(f.Name), Value: string(f.Value)})
		}
	}
	return e
}

// tee keeps what is read of a stream, up to so many bytes.
type tee struct {
	wire.Stream
	kept  []byte
	most  int
	over  bool // it is more than that
	ended bool // all of it is there
}

// Read gives what the provider's stream has next.
func (t *tee) Read(p []byte) (int, error) {
	n, err := t.Stream.Read(p)
	if t.over = t.over || len(t.kept)+n > t.most; t.over {
		t.kept = nil
	} else {
		t.kept = append(t.kept, p[:n]...)
	}
	t.ended = err == io.EOF && !t.over
	return n, err
}

// Failure is the failure that the provider's stream itself told the client of.
func (t *tee) Failure() error {
	if told, ok := t.Stream.(interface{ Failure() error }); ok {
		return told.Failure()
	}
	return nil
}

// replay is a stream that is given again.
type replay struct{ rest []byte }

// Read gives what is next.
func (a *replay) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// Usage is nothing: it was paid when it was made.
func (a *replay) Usage() wire.Usage { return wire.Usage{} }

// Close ends it.
func (a *replay) Close() error {
	a.rest = nil
	return nil
}

// cacheHeaders tells the client what the cache had to do with the answer.
func (x *exchange) cacheHeaders(h *fasthttp.ResponseHeader) {
	l := x.look
	switch {
	case l == nil:
	case l.entry != nil:
		var space [64]byte
		h.SetCanonical(headerCache, cacheIsHit)
		h.SetCanonical(headerSimilarity, append(space[:0], '1'))
		h.SetCanonical(headerAge, strconv.AppendInt(space[:0], int64(max(x.start.Sub(l.entry.Stored), 0)/time.Second), 10))
		h.SetCanonical(headerProvider, append(space[:0], l.entry.By.Provider...))
		h.SetCanonical(headerModel, append(space[:0], provider.ShownModel(l.entry.By.Model)...))
		h.SetCanonical(headerAttempts, append(space[:0], '0'))
		h.SetCanonical(headerOverhead, appendMillis(space[:0], x.answered.Sub(x.start)-x.upstream))
		h.SetCanonical(headerCost, append(space[:0], '0'))
	case l.result == cacheBypass:
		h.SetCanonical(headerCache, cacheIsBypass)
	default:
		h.SetCanonical(headerCache, cacheIsMiss)
	}
}

// tell adds to the record what the cache had to do with the request. Who gave the answer that is given again served nobody now:
// the provider is left out, as in metrics.
func (l *look) tell(r *usage.Record) {
	switch {
	case l == nil || l.result == cacheBypass:
	case l.entry != nil:
		r.Cache, r.Similarity, r.Served, r.Finish = exactly, 1, l.entry.By.Model, l.entry.Finish
		if r.Outcome == outcomeOK { // as metrics have it: what nobody got has saved nothing
			r.Saved = l.saved
		}
	default:
		r.Cache = cacheMiss
	}
}

// givenAgain adds to the request's span what it got, and that this took no tokens.
func (x *exchange) givenAgain(a *trace.Attributes) {
	e := x.look.entry
	a.Text("gen_ai.response.model", e.By.Model)
	a.List("gen_ai.response.finish_reasons", e.Finish)
	a.Int("gen_ai.usage.input_tokens", 0)
	a.Int("gen_ai.usage.output_tokens", 0)
	if x.reply.Stream != nil {
		a.Seconds("gen_ai.response.time_to_first_chunk", x.first)
	}
}

// exactly is how records and spans call a hit.
const exactly = "exact"

// span adds it to the span of the look into the cache, and of the request.
func (l *look) span(a *trace.Attributes) {
	switch {
	case l == nil:
	case l.entry != nil:
		a.Text("jarvis.cache", exactly)
	default:
		a.Text("jarvis.cache", l.result)
	}
}

var (
	wordNoCache      = []byte("no-cache")
	wordNoStore      = []byte("no-store")
	headerCache      = []byte("X-Cache")
	headerAge        = []byte("Age")
	headerSimilarity = []byte("X-Cache-Similarity") // of the question that was answered to this one
	headerProcessing = []byte("Openai-Processing-Ms")
	cacheIsHit       = []byte("HIT (exact)")
	cacheIsMiss      = []byte("MISS")
	cacheIsBypass    = []byte("BYPASS")
)
