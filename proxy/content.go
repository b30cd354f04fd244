package proxy

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/tidwall/gjson"

	"jarvis-gateway/policy/guard"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// This file keeps what was asked and answered, of tenants that want it kept. What is personal is masked, whatever the tenant's own
// guards do, and so is all that these took out of the request: what they put back for the client is not put back here.

const (
	maxContent = 256 << 10 // bytes of a request, and of an answer, that are kept
	// What was cut off may have left the beginning of something personal. So much is gone from there once all else is masked: guards
	// know nothing personal that is longer.
	margin     = 16 << 10
	maxWeighed = 16 << 20 // what is larger is not read
)

// newMasks makes the guard that masks what is kept.
func newMasks() *guard.Chain {
	chain, err := guard.New([]guard.Config{{Kind: "pii", Action: "mask"}})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return chain
}

// listen has a streamed answer be kept as it goes to the client.
func (x *exchange) listen() {
	if x.reply.Stream != nil && x.caller.LogsPrompts() && x.conn.server.spool != nil {
		x.heard = newHearing(x.ep.kind, isEvents(x.reply.ContentType) && x.ep.events())
	}
}

// content is what was asked and answered. A bug here costs no more than that.
func (x *exchange) content() (c usage.Content) {
	defer func() {
		if r := recover(); r != nil {
			_ = x.bug(r)
			c = usage.Content{}
		}
	}()
	k := newKeeper(x.g.masks, x.ep.kind, x.hidden()...)
	c.Asked = k.request(x.request())
	c.Answered = k.answer(x.said())
	return c
}

// request is the client's request as it came. Of a form that is the names of its fields, and their sizes.
func (x *exchange) request() []byte {
	switch {
	case x.call.Form != nil:
		return outlineOf(x.call.Form)
	case x.call.Body != nil:
		return x.ctx.Request.Body()
	}
	return nil
}

func outlineOf(form *wire.Form) []byte {
	dst := []byte(`{"form":[`)
	for i, p := range form.Parts() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = wire.AppendString(append(dst, `{"field":`...), p.Name)
		dst = strconv.AppendInt(append(dst, `,"bytes":`...), int64(len(p.Value)), 10)
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}

// said is the answer as the client has it, as JSON; nil where there was none.
func (x *exchange) said() []byte {
	switch body := x.reply.Body; {
	case x.heard != nil:
		return x.heard.json(x.reply.ContentType)
	case x.failure != nil || x.reply.Stream != nil || len(body) == 0:
		return nil
	case isEvents(x.reply.ContentType):
		h := newHearing(x.ep.kind, true)
		h.take(body)
		return h.json(nil)
	case len(body) <= maxWeighed && gjson.ValidBytes(body):
		return body
	case len(body) <= maxWeighed && utf8.Valid(body) && bytes.IndexByte(body, 0) < 0:
		return wire.AppendString(nil, string(body))
	default:
		h := newHearing(x.ep.kind, false)
		h.take(body)
		return h.json(x.reply.ContentType)
	}
}

// keeper makes what may be kept of a request and its answer.
type keeper struct {
	masks *guard.Chain
	kind  wire.Kind
	hide  *strings.Replacer // of what the tenant's guards took out; nil: nothing
	trim  int               // bytes that go where something was cut
}

func newKeeper(masks *guard.Chain, kind wire.Kind, vaults ...*guard.Vault) *keeper {
	k := &keeper{masks: masks, kind: kind, trim: margin}
	var pairs [][2]string
	for _, v := range vaults {
		for value, placeholder := range v.Hidden() {
			pairs = append(pairs, [2]string{value, placeholder})
			if quoted := wire.AppendString(nil, value); len(quoted) != len(value)+2 { // as it stands in a text that is JSON itself
				pairs = append(pairs, [2]string{string(quoted[1 : len(quoted)-1]), placeholder})
			}
			k.trim = max(k.trim, 2*len(value))
		}
	}
	if pairs != nil {
		slices.SortStableFunc(pairs, func(a, b [2]string) int { return len(b[0]) - len(a[0]) }) // one may hold another
		flat := make([]string, 0, 2*len(pairs))
		for _, p := range pairs {
			flat = append(flat, p[0], p[1])
		}
		k.hide = strings.NewReplacer(flat...)
	}
	return k
}

// hidden is what guards took out of the request. A flow's own request goes through none, so that is what they would take out of it,
// and did of its calls.
func (x *exchange) hidden() []*guard.Vault {
	if x.run == nil {
		return []*guard.Vault{x.vault}
	}
	_, own, _, err := x.caller.Guards().Request(x.body.Raw(), x.ep.kind)
	if err != nil { // they refuse it, and so they did its calls
		own = nil
	}
	return append(x.run.vaults, own)
}

func (k *keeper) request(raw []byte) string {
	return k.keep(raw, func(raw []byte) ([]byte, error) {
		raw, _, _, err := k.masks.Request(raw, k.kind)
		return raw, err
	})
}

func (k *keeper) answer(raw []byte) string {
	return k.keep(raw, func(raw []byte) ([]byte, error) {
		raw, _, err := k.masks.Answer(raw, k.kind, nil)
		return raw, err
	})
}

// keep makes of valid JSON what may be kept of it, which is valid JSON again.
func (k *keeper) keep(raw []byte, mask func([]byte) ([]byte, error)) string {
	switch {
	case len(raw) == 0:
		return ""
	case len(raw) > maxWeighed:
		return withheld("it is too large")
	}
	first := scribe{most: maxContent + k.trim, hide: k.hide, media: true}
	first.write(raw)
	masked, err := mask(first.dst)
	if err != nil {
		return withheld("what is personal in it cannot be told")
	}
	if !first.cut && !bytes.Contains(masked, []byte(cutMark)) && len(masked) <= maxContent {
		return string(masked)
	}
	last := scribe{most: maxContent, trim: k.trim}
	last.write(masked)
	return string(last.dst)
}

// withheld stands in the place of what is not kept.
func withheld(why string) string { return `{"withheld":"` + why + `"}` }

// cutMark ends a text that goes on, or stands in the place of what does.
const cutMark = "…[cut]"

// scribe writes JSON anew: bounded, without what is no text.
type scribe struct {
	dst   []byte
	most  int
	media bool // what is no text is replaced by its size and digest
	hide  *strings.Replacer
	trim  int  // of texts that were cut before
	cut   bool // there was more, and the rest is left out
}

func (s *scribe) write(raw []byte) {
	s.dst = make([]byte, 0, min(len(raw), s.most)+64)
	s.value("", gjson.Parse(unsafe.String(unsafe.SliceData(raw), len(raw))), 0) // nothing of it is kept
}

// deepest bounds how deep is looked.
const deepest = 128

func (s *scribe) value(name string, v gjson.Result, depth int) {
	switch {
	case len(s.dst) >= s.most, depth > deepest:
		s.cut = s.cut || depth <= deepest
		s.dst = append(s.dst, `"`+cutMark+`"`...)
	case v.IsObject():
		s.members(v, depth)
	case v.IsArray():
		s.elements(name, v, depth)
	case v.Type == gjson.String:
		s.text(name, v.Str)
	case s.hide != nil && s.hide.Replace(v.Raw) != v.Raw:
		s.text(name, v.Raw)
	default:
		s.dst = append(s.dst, v.Raw...)
	}
}

func (s *scribe) members(v gjson.Result, depth int) {
	s.dst = append(s.dst, '{')
	first := true
	v.ForEach(func(key, value gjson.Result) bool {
		if !first {
			s.dst = append(s.dst, ',')
		}
		first = false
		if name := key.Str; len(s.dst)+len(name) < s.most {
			s.dst = wire.AppendString(s.dst, s.hidden(name))
		} else {
			s.dst = append(s.dst, `"…"`...)
			value = gjson.Result{Type: gjson.String, Str: cutMark}
			s.cut = true
		}
		s.dst = append(s.dst, ':')
		s.value(key.Str, value, depth+1)
		return !s.cut
	})
	s.dst = append(s.dst, '}')
}

func (s *scribe) elements(name string, v gjson.Result, depth int) {
	if n := numbersIn(name, v); s.media && n > 0 {
		s.dst = append(strconv.AppendInt(append(s.dst, `"<`...), n, 10), ` numbers>"`...)
		return
	}
	s.dst = append(s.dst, '[')
	first := true
	v.ForEach(func(_, value gjson.Result) bool {
		if !first {
			s.dst = append(s.dst, ',')
		}
		first = false
		s.value(name, value, depth+1)
		return !s.cut
	})
	s.dst = append(s.dst, ']')
}

// numbersIn is how many numbers an array has that stand for a text: tokens, or an embedding.
func numbersIn(name string, v gjson.Result) (n int64) {
	switch name {
	case "prompt", "input", "embedding", "prompt_token_ids", "token_ids":
	default:
		return 0
	}
	v.ForEach(func(_, value gjson.Result) bool {
		if value.Type != gjson.Number {
			n = 0
			return false
		}
		n++
		return true
	})
	return n
}

func (s *scribe) hidden(text string) string {
	if s.hide == nil {
		return text
	}
	return s.hide.Replace(text)
}

func (s *scribe) text(name, text string) {
	if s.media {
		text = s.hidden(withoutMedia(name, text))
	}
	if before, ok := strings.CutSuffix(text, cutMark); ok && s.trim > 0 {
		text = upTo(before, len(before)-s.trim) + cutMark
	}
	start := len(s.dst)
	s.dst = wire.AppendString(s.dst, text)
	if over := len(s.dst) - s.most; over > 0 { // no character takes less room in JSON than by itself
		s.cut = true
		s.dst = wire.AppendString(s.dst[:start], upTo(text, len(text)-over-len(cutMark))+cutMark)
	}
}

// upTo is the first n bytes of a text, or some less: no character is cut.
func upTo(text string, n int) string {
	n = min(max(n, 0), len(text))
	for n > 0 && n < len(text) && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
