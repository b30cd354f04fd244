package proxy

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// hearing is a streamed answer as the client has it so far, its events put together to the one answer that they tell of, in the client's
// dialect. It holds so much of it at most, and one event that is not whole.
type hearing struct {
	kind  wire.Kind
	bytes *digest // of a stream that is not one of events; else nil

	event  []byte // not whole yet
	sought int    // where the search for its end goes on
	skip   bool   // it is too large
	answer part
	room   int
}

// part is a value of the answer.
type part struct {
	name  string // of a member; of an element its index
	form  shape
	parts []*part
	text  []byte // of a string; else JSON
	media *digest
	cut   bool // there was more of it
}

type shape uint8

const (
	unsaid shape = iota
	asObject
	asArray
	asText
	asPieces // of JSON
	asLiteral
	asMedia
)

// partSize is what a part takes beside its text.
const partSize = 128

func newHearing(kind wire.Kind, events bool) *hearing {
	h := &hearing{kind: kind, room: maxContent + margin}
	if !events {
		h.bytes = newDigest()
	}
	return h
}

// take takes what the client gets next.
func (h *hearing) take(p []byte) {
	if h.bytes != nil {
		_, _ = h.bytes.Write(p) // it cannot fail
		return
	}
	h.event = append(h.event, p...)
	at := 0
	for {
		end, resume := wire.EventEnd(h.event[at:], h.sought)
		h.sought = resume
		if end == 0 {
			break
		}
		if h.sought = 0; !h.skip {
			h.tell(wire.EventData(h.event[at : at+end]))
		}
		h.skip = false
		at += end
	}
	h.event = h.event[:copy(h.event, h.event[at:])]
	if n := len(h.event); n > maxContent {
		h.skip, h.sought = true, 0
		h.event = h.event[:copy(h.event, h.event[n-3:])] // its end may have begun
	}
}

// tell takes what one event says.
func (h *hearing) tell(data []byte) {
	if data == nil || wire.IsDone(data) || !gjson.ValidBytes(data) {
		return
	}
	e := gjson.ParseBytes(data)
	switch h.kind {
	case wire.Chat, wire.Completion:
		h.chunk(e)
	case wire.Message:
		h.block(e)
	case wire.Response:
		h.item(e)
	default:
		h.other(e)
	}
}

// chunk is one of chat or completions.
func (h *hearing) chunk(e gjson.Result) {
	e.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "choices":
			choices := h.part(&h.answer, key.Str)
			choices.form = asArray
			v.ForEach(func(_, choice gjson.Result) bool {
				h.choice(h.element(choices, choice.Get("index")), choice)
				return true
			})
		case "object":
			h.set(h.part(&h.answer, key.Str), gjson.Result{Type: gjson.String, Str: strings.TrimSuffix(v.Str, ".chunk")})
		default:
			h.member(&h.answer, key.Str, v)
		}
		return true
	})
}

func (h *hearing) choice(to *part, choice gjson.Result) {
	to.form = asObject
	choice.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "delta":
			h.add(h.part(to, "message"), key.Str, v)
		case "text":
			h.add(h.part(to, key.Str), key.Str, v)
		default:
			h.member(to, key.Str, v)
		}
		return true
	})
}

// block is an event of Anthropic's Messages API.
func (h *hearing) block(e gjson.Result) {
	block := func() *part {
		blocks := h.part(&h.answer, "content")
		blocks.form = asArray
		return h.element(blocks, e.Get("index"))
	}
	switch e.Get("type").Str {
	case "message_start":
		h.set(&h.answer, e.Get("message"))
	case "content_block_start":
		to := block()
		h.forget(to)
		h.set(to, e.Get("content_block"))
	case "content_block_delta":
		to := block()
		to.form = asObject
		e.Get("delta").ForEach(func(key, v gjson.Result) bool {
			switch key.Str {
			case "type":
			case "partial_json":
				input := h.part(to, "input")
				if input.form != asPieces {
					h.forget(input)
					input.form = asPieces
				}
				h.say(input, v.Str)
			default:
				h.add(h.part(to, key.Str), key.Str, v)
			}
			return true
		})
	case "message_delta":
		h.set(&h.answer, e.Get("delta"))
		h.set(h.part(&h.answer, "usage"), e.Get("usage"))
	case "error":
		h.set(h.part(&h.answer, "error"), e.Get("error"))
	}
}

// item is an event of the Responses API.
func (h *hearing) item(e gjson.Result) {
	kind := strings.TrimPrefix(e.Get("type").Str, "response.")
	switch kind {
	case "created", "in_progress", "queued":
		h.set(&h.answer, e.Get("response"))
	case "completed", "incomplete", "failed", "cancelled":
		h.complete(e.Get("response"))
	case "output_item.added", "output_item.done":
		to := h.output(e)
		h.forget(to)
		h.set(to, e.Get("item"))
	case "content_part.added", "content_part.done":
		to := h.within(e, "content", "content_index")
		h.forget(to)
		h.set(to, e.Get("part"))
	case "reasoning_summary_part.added", "reasoning_summary_part.done":
		to := h.within(e, "summary", "summary_index")
		h.forget(to)
		h.set(to, e.Get("part"))
	case "error":
		h.set(h.part(&h.answer, "error"), e)
	default:
		if of, ok := strings.CutSuffix(kind, ".delta"); ok {
			h.piece(of, e)
		}
	}
}

// complete takes the whole answer that ends the events. Some servers leave out of it what they said before.
func (h *hearing) complete(response gjson.Result) {
	if list := response.Get("output"); list.IsArray() && len(list.Array()) > 0 {
		h.forget(&h.answer)
	}
	h.set(&h.answer, response)
}

func (h *hearing) output(e gjson.Result) *part {
	h.answer.form = asObject
	items := h.part(&h.answer, "output")
	items.form = asArray
	return h.element(items, e.Get("output_index"))
}

func (h *hearing) within(e gjson.Result, list, index string) *part {
	item := h.output(e)
	item.form = asObject
	parts := h.part(item, list)
	parts.form = asArray
	return h.element(parts, e.Get(index))
}

// piece is more of a text of the Responses API.
func (h *hearing) piece(of string, e gjson.Result) {
	var to *part
	name := "text"
	switch of {
	case "output_text", "reasoning_text":
		to = h.within(e, "content", "content_index")
	case "reasoning_summary_text":
		to = h.within(e, "summary", "summary_index")
	case "refusal":
		to, name = h.within(e, "content", "content_index"), of
	case "output_audio", "audio":
		to, name = h.within(e, "content", "content_index"), "data"
	case "output_audio_transcript", "audio_transcript", "audio.transcript":
		to, name = h.within(e, "content", "content_index"), "transcript"
	case "function_call_arguments", "mcp_call_arguments":
		to, name = h.output(e), "arguments"
	case "custom_tool_call_input":
		to, name = h.output(e), "input"
	case "code_interpreter_call_code":
		to, name = h.output(e), "code"
	default:
		to, name = h.output(e), of
	}
	to.form = asObject
	h.add(h.part(to, name), name, e.Get("delta"))
}

// other is an event of transcripts, speech and pictures.
func (h *hearing) other(e gjson.Result) {
	kind := e.Get("type").Str
	switch {
	case strings.HasSuffix(kind, ".partial_image"):
	case strings.HasSuffix(kind, ".delta"):
		h.answer.form = asObject
		name := "text"
		if !e.Get("delta").Exists() || strings.Contains(kind, "audio.delta") {
			name = "audio"
		}
		h.add(h.part(&h.answer, name), name, e.Get("delta"))
	case strings.HasSuffix(kind, ".done") && !e.Get("text").Exists():
		h.set(&h.answer, e)
	default:
		h.forget(&h.answer)
		h.set(&h.answer, e)
	}
}

// part is a member of an object. Where there is no more room it is one that nobody will see.
func (h *hearing) part(of *part, name string) *part {
	if of.form != asArray {
		of.form = asObject
	}
	for _, p := range of.parts {
		if p.name == name {
			return p
		}
	}
	if h.room < partSize+len(name) {
		of.cut = true
		return &part{}
	}
	h.room -= partSize + len(name)
	p := &part{name: strings.Clone(name)}
	of.parts = append(of.parts, p)
	return p
}

// element is one of an array, by the index that events give it.
func (h *hearing) element(of *part, index gjson.Result) *part {
	return h.part(of, strconv.FormatInt(index.Int(), 10))
}

// member sets a member, but for what spells texts out again.
func (h *hearing) member(of *part, name string, v gjson.Result) {
	if name != "logprobs" && name != "obfuscation" {
		h.set(h.part(of, name), v)
	}
}

// set puts a value in the place of a part. Members of an object that it does not name stay.
func (h *hearing) set(to *part, v gjson.Result) {
	switch {
	case v.IsObject():
		to.form = asObject
		v.ForEach(func(key, v gjson.Result) bool {
			h.member(to, key.Str, v)
			return true
		})
	case v.IsArray() && len(to.parts) > 0 && v.Raw == "[]":
	case v.IsArray():
		h.forget(to)
		to.form = asArray
		n := 0
		v.ForEach(func(_, v gjson.Result) bool {
			h.set(h.part(to, strconv.Itoa(n)), v)
			n++
			return !to.cut
		})
	case v.Type == gjson.String:
		h.forget(to)
		to.form = asText
		h.say(to, withoutMedia(to.name, v.Str))
	case !v.Exists(), v.Type == gjson.Null && to.form != unsaid:
	default:
		h.forget(to)
		to.form = asLiteral
		h.say(to, v.Raw)
	}
}

// add says more of a part: a text goes on, and so do the texts within an object.
func (h *hearing) add(to *part, name string, v gjson.Result) {
	switch {
	case v.IsObject():
		to.form = asObject
		v.ForEach(func(key, v gjson.Result) bool {
			if key.Str != "logprobs" {
				h.add(h.part(to, key.Str), key.Str, v)
			}
			return true
		})
	case v.IsArray():
		to.form = asArray
		n := 0
		v.ForEach(func(_, v gjson.Result) bool {
			at := v.Get("index")
			if !v.IsObject() || !at.Exists() {
				at = gjson.Result{Type: gjson.Number, Num: float64(n), Raw: strconv.Itoa(n)}
			}
			h.add(h.element(to, at), "", v)
			n++
			return !to.cut
		})
	case v.Type != gjson.String, entire(name):
		h.set(to, v)
	case name == "data" || name == "audio" || name == "b64_json":
		to.form = asMedia
		if to.media == nil {
			to.media = newDigest()
		}
		to.media.add(v.Str)
	default:
		if to.form != asText {
			h.forget(to)
			to.form = asText
		}
		h.say(to, v.Str)
	}
}

// entire tells members of a piece that do not come in pieces themselves.
func entire(name string) bool {
	switch name {
	case "type", "role", "id", "name", "format", "status":
		return true
	}
	return false
}

// say appends to a text as much as there is room for.
func (h *hearing) say(to *part, more string) {
	if said := upTo(more, h.room); len(said) < len(more) {
		to.cut = true
		more = said
	}
	if to.cut && to.form == asLiteral {
		more = "" // half a number is another
	}
	to.text = append(to.text, more...)
	h.room -= len(more)
}

// forget empties a part and gives its room back.
func (h *hearing) forget(p *part) {
	for _, inner := range p.parts {
		h.forget(inner)
		h.room += partSize + len(inner.name)
	}
	h.room += len(p.text)
	p.form, p.parts, p.text, p.media, p.cut = unsaid, nil, nil, nil, false
}

// json is the answer as JSON, nil where there was none. kind is what its bytes are, where it has no events.
func (h *hearing) json(kind []byte) []byte {
	switch {
	case h.bytes != nil:
		h.bytes.kind = string(kind)
		return wire.AppendString(nil, h.bytes.String())
	case h.answer.form == unsaid:
		return nil
	}
	return h.answer.appendTo(nil)
}

func (p *part) appendTo(dst []byte) []byte {
	switch p.form {
	case asObject:
		dst = append(dst, '{')
		for i, inner := range p.parts {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = inner.appendTo(append(wire.AppendString(dst, inner.name), ':'))
		}
		if p.cut {
			if len(p.parts) > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `"…":"`+cutMark+`"`...)
		}
		return append(dst, '}')
	case asArray:
		dst = append(dst, '[')
		for i, inner := range p.parts {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = inner.appendTo(dst)
		}
		if p.cut {
			if len(p.parts) > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `"`+cutMark+`"`...)
		}
		return append(dst, ']')
	case asMedia:
		return wire.AppendString(dst, p.media.String())
	}
	return p.appendText(dst)
}

func (p *part) appendText(dst []byte) []byte {
	switch {
	case p.form == asText || p.form == asPieces && (p.cut || !gjson.ValidBytes(p.text)):
		said := string(p.text)
		if p.cut {
			said += cutMark
		}
		return wire.AppendString(dst, said)
	case p.form == unsaid, len(p.text) == 0:
		return append(dst, "null"...)
	}
	return append(dst, p.text...)
}
