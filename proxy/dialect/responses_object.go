package dialect

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// The states of an answer and of its items.
const (
	inProgress = "in_progress"
	completed  = "completed"
	incomplete = "incomplete"
	faulty     = "failed"
)

// Stored returns what is to be kept of a complete answer that was written for a client of the Responses API: the response
// object as the client got it, and its output items with all that a later request needs of them. It is not ok when the
// answer is not complete, of another dialect, or not to be kept. The writer lets go of the answer: ask once.
func Stored(writer Writer) (object, items []byte, ok bool) {
	w, is := writer.(*responsesWriter)
	if !is || !w.complete || !w.t.Request.Store {
		return nil, nil, false
	}
	object, items = w.object(make([]byte, 0, w.held), w.status(), nil), w.output(make([]byte, 0, w.held), true)
	w.release()
	return object, items, true
}

// status is that of a complete answer.
func (w *responsesWriter) status() string {
	if w.reason() != "" {
		return incomplete
	}
	return completed
}

// reason is why the answer is incomplete. A refusal in the model's own words is a complete answer.
func (w *responsesWriter) reason() string {
	switch {
	case w.stop == StopLength:
		return "max_output_tokens"
	case w.stop == StopRefusal && !w.refused():
		return "content_filter"
	}
	return ""
}

// object appends the response object. failure is nil unless the status is failed.
func (w *responsesWriter) object(dst []byte, status string, failure *wire.Error) []byte {
	dst = field(append(dst, '{'), "id", w.id)
	dst = field(dst, "object", "response")
	dst = intField(dst, "created_at", w.t.Created)
	dst = field(dst, "status", status)
	dst = appendFailure(key(dst, "error"), failure)
	if reason := w.reason(); status == incomplete {
		dst = append(field(append(key(dst, "incomplete_details"), '{'), "reason", reason), '}')
	} else {
		dst = rawField(dst, "incomplete_details", "null")
	}
	dst = field(dst, "model", w.model)
	if status == inProgress {
		dst = rawField(dst, "output", "[]")
	} else {
		dst = w.output(key(dst, "output"), w.ask.encrypted)
	}
	if status == completed || status == incomplete || status == faulty && w.usage != (wire.Usage{}) { // clients of a good answer do not ask whether it is there
		dst = appendResponsesUsage(key(dst, "usage"), w.usage)
	}
	dst = rawField(dst, "service_tier", cmp.Or(w.tier, w.ask.raw["service_tier"], `"default"`))
	dst = append(comma(dst), w.echo...)
	return append(dst, '}')
}

// appendFailure appends an error in the few words that the API has for the errors of answers.
func appendFailure(dst []byte, e *wire.Error) []byte {
	if e == nil {
		return append(dst, "null"...)
	}
	code := "server_error"
	switch {
	case e.Status == 429:
		code = "rate_limit_exceeded"
	case e.Status >= 400 && e.Status < 500:
		code = "invalid_prompt"
	}
	dst = field(append(dst, '{'), "code", code)
	dst = field(dst, "message", cmp.Or(e.Message, gjson.GetBytes(e.Raw, "message").Str))
	return append(dst, '}')
}

func appendResponsesUsage(dst []byte, u wire.Usage) []byte {
	dst = intField(append(dst, '{'), "input_tokens", u.Prompt)
	dst = intField(append(key(dst, "input_tokens_details"), '{'), "cached_tokens", u.CachedPrompt)
	dst = append(intField(dst, "cache_write_tokens", u.CacheWrite), '}')
	dst = intField(dst, "output_tokens", u.Completion)
	dst = append(intField(append(key(dst, "output_tokens_details"), '{'), "reasoning_tokens", u.Reasoning), '}')
	return append(intField(dst, "total_tokens", u.Total()), '}')
}

func (w *responsesWriter) output(dst []byte, encrypted bool) []byte {
	dst = append(dst, '[')
	for i := range w.items {
		dst = w.item(comma(dst), i, w.items[i].status(), encrypted)
	}
	return append(dst, ']')
}

// itemID appends the id of an item: msg_, rs_ or fc_, what follows resp_ in the id of the answer, and the item's number.
func (w *responsesWriter) itemID(dst []byte, item int) []byte {
	prefix := "msg"
	switch w.items[item].kind {
	case Thinking:
		prefix = "rs"
	case ToolUse:
		prefix = "fc"
	}
	dst = wire.AppendString(dst, prefix+w.tail)
	return append(strconv.AppendInt(dst[:len(dst)-1], int64(item), 10), '"')
}

// item appends an item, without its content when it is in progress: that is for the events that follow.
func (w *responsesWriter) item(dst []byte, item int, status string, encrypted bool) []byte {
	it, parts := &w.items[item], w.items[item].parts
	if status == inProgress {
		parts = nil
	}
	dst = w.itemID(key(append(dst, '{'), "id"), item)
	switch it.kind {
	case Thinking:
		dst = field(dst, "type", "reasoning")
		dst = appendParts(key(dst, "summary"), parts)
		if encrypted && parts != nil {
			dst = it.seal(dst)
		}
	case ToolUse:
		dst = field(dst, "type", "function_call")
		dst = field(dst, "status", status)
		dst = field(dst, "call_id", it.callID)
		function := w.ask.split(it.name)
		dst = field(dst, "name", function.name)
		if function.namespace != "" {
			dst = field(dst, "namespace", function.namespace)
		}
		dst = key(dst, "arguments")
		if parts == nil {
			dst = append(dst, `""`...)
		} else {
			dst = appendQuoted(dst, parts[0].text)
		}
	default:
		dst = field(dst, "type", "message")
		dst = field(dst, "status", status)
		dst = field(dst, "role", "assistant")
		dst = appendParts(key(dst, "content"), parts)
	}
	return append(dst, '}')
}

func (it *responsesItem) status() string {
	if it.incomplete {
		return incomplete
	}
	return completed
}

func (w *responsesWriter) refused() bool {
	for i := range w.items {
		if slices.ContainsFunc(w.items[i].parts, func(p responsesPart) bool { return p.kind == Refusal }) {
			return true
		}
	}
	return false
}

// seal appends the member by which a thought can be sent back to its provider: see sealed.
func (it *responsesItem) seal(dst []byte) []byte {
	var plain []byte
	switch text := it.parts[0].text; {
	case it.redacted != "":
		plain = append(field([]byte{'{'}, "r", it.redacted), '}')
	case len(text) > 0 || len(it.signature) > 0:
		plain = append(make([]byte, 0, len(text)+len(it.signature)+len(`{"t":"","s":""}`)), '{')
		plain = appendQuoted(key(plain, "t"), text)
		plain = append(appendQuoted(key(plain, "s"), it.signature), '}')
	default:
		return dst
	}
	dst = append(key(dst, "encrypted_content"), `"`+sealed...)
	return append(base64.RawURLEncoding.AppendEncode(dst, plain), '"')
}

func appendParts(dst []byte, parts []responsesPart) []byte {
	dst = append(dst, '[')
	for i := range parts {
		if p := &parts[i]; p.kind != Thinking || len(p.text) > 0 {
			dst = p.append(comma(dst))
		}
	}
	return append(dst, ']')
}

func (p *responsesPart) append(dst []byte) []byte {
	switch p.kind {
	case Refusal:
		dst = appendQuoted(append(dst, `{"type":"refusal","refusal":`...), p.text)
	case Thinking:
		dst = appendQuoted(append(dst, `{"type":"summary_text","text":`...), p.text)
	default:
		dst = appendQuoted(append(dst, `{"type":"output_text","text":`...), p.text)
		dst = append(key(dst, "annotations"), '[')
		for i := range p.cites {
			dst = p.cites[i].annotation(comma(dst))
		}
		dst = rawField(append(dst, ']'), "logprobs", "[]")
	}
	return append(dst, '}')
}

// settle says of sources that do not know their place that they are for all of the part.
func (p *responsesPart) settle() {
	for i := range p.cites {
		if c := &p.cites[i]; c.Start < 0 || c.End < 0 {
			c.Start, c.End = 0, characters(p.text)
		}
	}
}

func (c *Citation) annotation(dst []byte) []byte {
	dst = field(append(dst, '{'), "type", "url_citation")
	dst = intField(dst, "start_index", c.Start)
	dst = intField(dst, "end_index", c.End)
	dst = field(dst, "url", c.URL)
	return append(field(dst, "title", c.Title), '}')
}

// characters counts those of a text as it stands in JSON. Of a pair of escaped surrogates only the first counts.
func characters(text []byte) (n int64) {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+5 < len(text) && text[i+1] == 'u':
			if low := text[i+2]|0x20 == 'd' && text[i+3]|0x20 >= 'c'; !low {
				n++
			}
			i += 5
		case c == '\\':
			n++
			i++
		case c&0xC0 != 0x80:
			n++
		}
	}
	return n
}

// appendQuoted appends a text that is kept as it stands in JSON.
func appendQuoted(dst, text []byte) []byte { return append(append(append(dst, '"'), text...), '"') }

// literalText is a text as it stands in JSON, nil for none.
func literalText(text string) []byte {
	if text == "" {
		return nil
	}
	literal := wire.AppendString(make([]byte, 0, len(text)+2), text)
	return literal[1 : len(literal)-1]
}

// responsesEcho are the members of the object that repeat the request, and what they are when it does not say. Those
// without a default are left out then.
var responsesEcho = []struct{ name, unsaid string }{
	{"background", "false"},
	{"instructions", "null"},
	{"max_output_tokens", "null"},
	{"max_tool_calls", "null"},
	{"metadata", "{}"},
	{"parallel_tool_calls", "true"},
	{"previous_response_id", "null"},
	{"prompt_cache_key", ""},
	{"prompt_cache_retention", ""},
	{"reasoning", `{"effort":null,"summary":null}`},
	{"safety_identifier", ""},
	{"store", "true"},
	{"temperature", "1"},
	{"text", `{"format":{"type":"text"},"verbosity":"medium"}`},
	{"tool_choice", `"auto"`},
	{"tools", "[]"},
	{"top_logprobs", "0"},
	{"top_p", "1"},
	{"truncation", `"disabled"`},
	{"user", ""},
}

// echo makes the members of the object that repeat the request.
func (a *responsesAsk) echo(r *Request) (members []byte) {
	for _, e := range responsesEcho {
		value := a.raw[e.name]
		switch {
		case e.name == "previous_response_id" && r.Previous != "":
			value = string(wire.AppendString(nil, r.Previous))
		case value == "":
			value = e.unsaid
		case e.name == "tools":
			value = echoTools(value)
		case e.name == "text" || e.name == "reasoning":
			value = withDefaults(value, e.unsaid)
		}
		if value != "" {
			members = appendLine(key(members, e.name), value)
		}
	}
	return members
}

// appendLine appends a JSON value without line breaks: those of the client's would end the line of an event.
func appendLine(dst []byte, raw string) []byte {
	if !strings.ContainsAny(raw, "\r\n") {
		return append(dst, raw...)
	}
	out := bytes.NewBuffer(dst)
	if err := json.Compact(out, []byte(raw)); err != nil {
		return append(dst, "null"...)
	}
	return out.Bytes()
}

// echoTools gives functions the members that are always told.
func echoTools(raw string) string {
	out := []byte{'['}
	gjson.Parse(raw).ForEach(func(_, tool gjson.Result) bool {
		if tool.Get("type").Str == "function" {
			tool.Raw = withDefaults(tool.Raw, `{"parameters":null,"strict":null}`)
		}
		out = append(comma(out), tool.Raw...)
		return true
	})
	return string(append(out, ']'))
}

// withDefaults adds to an object the members of another that it has not, or that are null.
func withDefaults(raw, defaults string) string {
	out := []byte{'{'}
	add := func(k, v gjson.Result) bool {
		out = append(append(append(comma(out), k.Raw...), ':'), v.Raw...)
		return true
	}
	object := gjson.Parse(raw)
	object.ForEach(func(k, v gjson.Result) bool { return v.Type == gjson.Null || add(k, v) })
	gjson.Parse(defaults).ForEach(func(k, v gjson.Result) bool { return object.Get(k.Str).Type != gjson.Null || add(k, v) })
	return string(append(out, '}'))
}
