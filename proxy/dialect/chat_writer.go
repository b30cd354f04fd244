package dialect

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"

	"jarvis-gateway/proxy/wire"
)

// chatWriter writes answers for clients of Chat Completions. What that API has no place for goes where the widespread
// extensions have it:
//
//   - Thoughts stream as reasoning_content. One that the provider has signed comes once more when it is complete, as an
//     entry of reasoning_details with text and signature: a client that sends the message back as it got it sends the whole
//     thought back, whether it appends the list's entries or merges those of the same index. The text is not in the list
//     piece by piece, as that would double every event.
//   - The stop sequence that was met is the choice's stop_reason, as in vLLM.
//   - Citations of anything but a web page are annotations in the provider's own form.
type chatWriter struct {
	t     *Translation
	head  []byte // of each chunk, up to the choices
	open  []chatWritten
	chars int64 // of the answer's text so far
	calls int   // tool calls so far
	notes int   // entries of reasoning_details so far
	held  int   // bytes that are kept of open blocks, about
	full  bool  // more than mostHeld
	usage wire.Usage
}

// chatWritten is a block that is not complete.
type chatWritten struct {
	index     int // in the events
	kind      Kind
	call      int    // of a tool call: the client's number of it
	filled    bool   // something of its input was written
	start     int64  // of text: where in the answer it begins
	thought   []byte // of a thought: its text, JSON without quotes
	signature []byte
	cites     []Citation
	held      int // bytes of these
}

func newChatWriter(t *Translation) *chatWriter { return &chatWriter{t: t} }

// Full reports whether a thought or what else is kept of the answer is too large: it must end as a failure.
func (w *chatWriter) Full() bool { return w.full }

// keep takes note of what is kept of a block until that is complete. It is false when that is too much, and the answer
// given up.
func (w *chatWriter) keep(b *chatWritten, e *Event) bool {
	b.held += e.weight()
	if w.held += e.weight(); w.held > mostHeld {
		w.full, w.open = true, nil
	}
	return !w.full
}

// Event writes one event.
func (w *chatWriter) Event(dst []byte, e *Event) []byte {
	if w.full {
		return dst
	}
	switch e.Type {
	case Start:
		w.head = w.appendHead([]byte("data: "), "chat.completion.chunk", e.ID, e.Name)
		return append(w.chunk(dst, `"role":"assistant","content":"","refusal":null`), chunkTail...)
	case Open:
		return w.openBlock(dst, e)
	case Delta:
		return w.delta(dst, e)
	case Signed:
		if b := w.find(e.Index); b != nil && w.keep(b, e) {
			b.signature = append(b.signature, inner(e.Text)...)
		}
	case Cited:
		if b := w.find(e.Index); b != nil && w.keep(b, e) {
			b.cites = append(b.cites, cloneCitation(e.Cite))
		}
	case Shut:
		return w.shut(dst, e.Index)
	case Stopped:
		dst = append(w.chunk(dst, ""), `},"logprobs":null`...)
		dst = appendFinish(dst, e.Stop, e.Sequence)
		return append(dst, "}]}\n\n"...)
	case Billed:
		w.usage = e.Usage
	case Ping:
		return append(dst, ": ping\n\n"...)
	}
	return dst
}

const chunkTail = `},"logprobs":null,"finish_reason":null}]}` + "\n\n"

// appendHead appends the beginning of an object, up to its choices.
func (w *chatWriter) appendHead(dst []byte, object, id, model string) []byte {
	if id = cmp.Or(w.t.ID, id, rand.Text()); w.t.ID == "" && !strings.HasPrefix(id, "chatcmpl-") {
		id = "chatcmpl-" + id
	}
	dst = field(append(dst, '{'), "id", id)
	dst = field(dst, "object", object)
	dst = intField(dst, "created", w.t.Created)
	return field(dst, "model", cmp.Or(w.t.Named, model))
}

// chunk appends a chunk up to its delta.
func (w *chatWriter) chunk(dst []byte, delta string) []byte {
	dst = append(dst, w.head...)
	dst = append(dst, `,"choices":[{"index":0,"delta":{`...)
	return append(dst, delta...)
}

func (w *chatWriter) find(index int) *chatWritten {
	for i := len(w.open) - 1; i >= 0; i-- {
		if w.open[i].index == index {
			return &w.open[i]
		}
	}
	return nil
}

func (w *chatWriter) openBlock(dst []byte, e *Event) []byte {
	b := chatWritten{index: e.Index, kind: e.Kind, start: w.chars}
	switch {
	case e.Kind == ToolUse:
		b.call = w.calls
		w.calls++
		dst = w.chunk(dst, `"tool_calls":[{`)
		dst = append(field(intField(dst, "index", int64(b.call)), "id", e.ID), `,"type":"function","function":{`...)
		dst = append(field(dst, "name", e.Name), `,"arguments":""}}]`...)
		dst = append(dst, chunkTail...)
	case e.Kind == Thinking && e.Redacted != "" && !w.t.Request.Reasoning.Hidden:
		dst = w.appendRedacted(w.chunk(dst, `"reasoning_details":[`), e.Redacted)
		dst = append(append(dst, ']'), chunkTail...)
	}
	w.open = append(w.open, b)
	return dst
}

func (w *chatWriter) delta(dst []byte, e *Event) []byte {
	b := w.find(e.Index)
	switch {
	case b == nil || len(e.Text) <= 2:
		return dst
	case b.kind == Text:
		w.chars += literalChars(e.Text)
		dst = w.chunk(dst, `"content":`)
	case b.kind == Refusal:
		dst = w.chunk(dst, `"refusal":`)
	case b.kind == Thinking && !w.t.Request.Reasoning.Hidden:
		if w.t.To != Chat { // those signatures are of the other protocols
			if !w.keep(b, e) {
				return dst
			}
			b.thought = append(b.thought, inner(e.Text)...)
		}
		dst = w.chunk(dst, `"reasoning_content":`)
	case b.kind == ToolUse:
		b.filled = true
		return w.arguments(dst, b, e.Text)
	default:
		return dst
	}
	dst = append(dst, e.Text...)
	return append(dst, chunkTail...)
}

func (w *chatWriter) arguments(dst []byte, b *chatWritten, literal string) []byte {
	dst = intField(w.chunk(dst, `"tool_calls":[{`), "index", int64(b.call))
	dst = append(append(dst, `,"function":{"arguments":`...), literal...)
	dst = append(dst, "}}]"...)
	return append(dst, chunkTail...)
}

func (w *chatWriter) shut(dst []byte, index int) []byte {
	b := w.find(index)
	if b == nil {
		return dst
	}
	switch {
	case b.kind == ToolUse && !b.filled: // a call without arguments: clients parse them all the same
		dst = w.arguments(dst, b, `"{}"`)
	case b.kind == Thinking && len(b.signature) > 0 && !w.t.Request.Reasoning.Hidden:
		dst = w.appendSigned(w.chunk(dst, `"reasoning_details":[`), alias(b.thought), alias(b.signature))
		dst = append(append(dst, ']'), chunkTail...)
	case len(b.cites) > 0:
		dst = appendAnnotations(w.chunk(dst, ""), b.cites, b.start, w.chars)
		dst = append(dst, chunkTail...)
	}
	w.held -= b.held
	w.open = slices.DeleteFunc(w.open, func(b chatWritten) bool { return b.index == index })
	return dst
}

// appendSigned appends a signed thought as an entry of reasoning_details; text and signature are JSON without quotes.
func (w *chatWriter) appendSigned(dst []byte, text, signature string) []byte {
	dst = append(comma(dst), `{"type":"reasoning.text","text":"`...)
	dst = append(append(dst, text...), `","signature":"`...)
	dst = append(append(dst, signature...), '"')
	return w.noted(dst)
}

func (w *chatWriter) appendRedacted(dst []byte, data string) []byte {
	dst = append(comma(dst), `{"type":"reasoning.encrypted"`...)
	return w.noted(field(dst, "data", data))
}

// noted ends an entry of reasoning_details.
func (w *chatWriter) noted(dst []byte) []byte {
	dst = intField(field(dst, "format", claudeThoughts), "index", int64(w.notes))
	w.notes++
	return append(dst, '}')
}

// appendAnnotations appends the sources of the text that lies from start to end in the answer.
func appendAnnotations(dst []byte, list []Citation, start, end int64) []byte {
	dst = append(key(dst, "annotations"), '[')
	for _, c := range list {
		if c.URL == "" || strings.Contains(c.Raw, `"url_citation"`) {
			if c.Raw != "" {
				dst = append(comma(dst), oneLine(c.Raw)...)
			}
			continue
		}
		if c.Start < 0 || c.End < c.Start {
			c.Start, c.End = start, end
		}
		dst = append(comma(dst), `{"type":"url_citation","url_citation":{`...)
		dst = field(field(dst, "url", c.URL), "title", c.Title)
		dst = intField(intField(dst, "start_index", c.Start), "end_index", c.End)
		dst = append(dst, "}}"...)
	}
	return append(dst, ']')
}

// oneLine is JSON on one line, as it must be in an event.
func oneLine(raw string) string {
	var line bytes.Buffer
	if !strings.ContainsAny(raw, "\r\n") || json.Compact(&line, []byte(raw)) != nil {
		return raw
	}
	return line.String()
}

func cloneCitation(c Citation) Citation {
	c.URL, c.Title, c.Cited, c.Raw = strings.Clone(c.URL), strings.Clone(c.Title), strings.Clone(c.Cited), strings.Clone(c.Raw)
	return c
}

// literalChars counts the characters of a string literal.
func literalChars(literal string) (n int64) {
	for i := 1; i < len(literal)-1; i++ {
		switch c := literal[i]; {
		case c&0xC0 == 0x80: // more of the character before
			continue
		case c == '\\' && literal[i+1] == 'u':
			if literal[i+2]|0x20 == 'd' && literal[i+3]|0x20 >= 'c' {
				n-- // the other half of a surrogate pair
			}
			i += 5
		case c == '\\':
			i++
		}
		n++
	}
	return n
}

// appendFinish appends why the answer ended. A paused turn is one that is not complete: "length" says so.
func appendFinish(dst []byte, stop Stop, sequence string) []byte {
	reason := "stop"
	switch stop {
	case StopLength, StopPause:
		reason = "length"
	case StopTools:
		reason = "tool_calls"
	case StopRefusal:
		reason = "content_filter"
	case StopEnd, StopSequence:
	}
	dst = field(dst, "finish_reason", reason)
	if sequence != "" {
		dst = field(dst, "stop_reason", sequence)
	}
	return dst
}

// End writes the usage, if the client asked for it, and the mark of the end.
func (w *chatWriter) End(dst []byte) []byte {
	if w.full {
		return w.Fail(dst, tooLarge())
	}
	if w.t.Request.StreamUsage && len(w.head) > 0 {
		dst = append(append(dst, w.head...), `,"choices":[]`...)
		dst = append(appendChatUsage(dst, w.usage), "}\n\n"...)
	}
	return append(dst, "data: [DONE]\n\n"...)
}

// Fail writes an error into a stream; the mark of the end does not follow it.
func (w *chatWriter) Fail(dst []byte, e *wire.Error) []byte {
	var line bytes.Buffer
	if json.Compact(&line, e.AppendJSON(nil)) != nil { // a provider's own error object may stand on several lines
		line.Reset()
		line.Write((&wire.Error{Type: e.Type, Code: e.Code, Param: e.Param, Message: e.Message}).AppendJSON(nil))
	}
	dst = append(append(dst, "data: "...), line.Bytes()...)
	return append(dst, "\n\n"...)
}

func appendChatUsage(dst []byte, u wire.Usage) []byte {
	dst = append(key(dst, "usage"), '{')
	dst = intField(dst, "prompt_tokens", u.Prompt)
	dst = intField(dst, "completion_tokens", u.Completion)
	dst = intField(dst, "total_tokens", u.Total())
	dst = intField(append(key(dst, "prompt_tokens_details"), '{'), "cached_tokens", u.CachedPrompt)
	if u.CacheWrite > 0 {
		dst = intField(dst, "cache_write_tokens", u.CacheWrite)
	}
	dst = append(dst, `},"completion_tokens_details":{`...)
	dst = intField(dst, "reasoning_tokens", u.Reasoning)
	return append(dst, "}}"...)
}
