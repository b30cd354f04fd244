package provider

import (
	"bytes"
	"io"
	"slices"
	"strconv"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/tokens"
	"jarvis-gateway/proxy/wire"
)

// A stream whose meter allows no more ends behind the event at hand as if the model had come to its limit of tokens: what
// is open is closed, the reason told, and the usage where the client is told one. The provider is stopped at once.

// bound makes a relayed stream heed the call's meter.
func (r *relay) bound(call *Call) {
	meter := call.Meter
	if r.kind != wire.Chat && r.kind != wire.Completion && r.kind != wire.Message {
		meter = nil // its end is not to be made here
	}
	if r.gauge = newGauge(call, meter, r.gauge); !r.bounded() || call.Body == nil {
		return
	}
	_, r.choices, _ = call.Body.Cap(r.kind) // what is no number is the provider's to refuse
}

// count counts what an event gives the client. running is what the provider says to have given so far, 0: nothing.
func (r *relay) count(data []byte, running int64) {
	switch {
	case r.kind == wire.Response && !bytes.Contains(data, deltaType):
	case r.kind == wire.Message && !saysSomething(data):
	case !r.bounded():
		r.tokens++
		r.letters += measure(r.kind, data)
	case r.complete(nil) || emptyChoices(data): // the usage, or what else follows the answer
	default:
		if r.add(r.gives(data, running)) {
			r.stop(data)
		}
	}
}

// say counts an event of which only the text matters.
func (r *relay) say(data, inner []byte) {
	if !r.bounded() {
		r.tokens++
		r.letters += int64(len(inner))
	} else if r.add(r.weigh(r.literal(aliasOf(inner)))) {
		r.stop(data)
	}
}

// gives is how many tokens more the client has after an event.
func (r *relay) gives(data []byte, running int64) int64 {
	if running > 0 {
		return max(running-r.tokens, 1)
	}
	return r.weigh(r.texts(r.kind, data))
}

// lastWords counts what an event says that ends a choice: mostly nothing, but some servers put the last words there.
func (r *relay) lastWords(data []byte, running int64) {
	if r.kind != wire.Chat && r.kind != wire.Completion {
		return
	}
	said := measure(r.kind, data)
	switch {
	case said == 0:
	case !r.bounded():
		r.tokens++
		r.letters += said
	case r.complete(nil): // there is nothing left to cut
		r.tokens += r.gives(data, running)
	case r.add(r.gives(data, running)):
		r.stop(data)
	}
}

// saysSomething tells an event of Anthropic's with text from the end of a block and from a signature, which is no text.
func saysSomething(data []byte) bool {
	if bytes.Contains(data, blockDelta) {
		return !bytes.Contains(data[:min(len(data), 2*messageFrame)], signatureDelta)
	}
	return !bytes.Contains(data, blockStop)
}

// messageFrame is how long an event of Anthropic's is beside its text, about.
const messageFrame = 90

var (
	blockStop      = []byte(`"content_block_stop"`)
	signatureDelta = []byte(`"signature_delta"`)
)

// complete takes note of the choices that end with an event, and tells whether all have.
func (r *relay) complete(data []byte) bool {
	if r.choices <= 1 {
		return r.last
	}
	if data != nil && int64(len(r.ended)) < r.choices {
		gjson.GetBytes(data, "choices").ForEach(func(_, choice gjson.Result) bool {
			if index := choice.Get("index").Int(); choice.Get("finish_reason").Type == gjson.String && !slices.Contains(r.ended, index) {
				r.ended = append(r.ended, index)
			}
			return true
		})
	}
	return int64(len(r.ended)) >= r.choices
}

// stop ends the stream behind the event whose data this is. What is made of it is kept until the event itself is in place.
func (r *relay) stop(data []byte) {
	r.cut, r.last, r.done, r.why = true, true, true, "length"
	if r.usage.Prompt == 0 {
		r.usage.Prompt = r.call.promptTokens()
	}
	switch r.kind {
	case wire.Message:
		r.text = r.appendMessageEnd(r.text[:0], data)
	default:
		r.text = r.appendChoiceEnds(r.text[:0], data)
	}
	r.err = io.EOF
	r.res.close(false)
}

// finish puts the end behind what is ready.
func (r *relay) finish() {
	*r.buf = append((*r.buf)[:r.ready], r.text...)
	r.ready = len(*r.buf)
}

// appendChoiceEnds appends a final chunk for each choice that is not complete, the usage and the mark of the end.
func (r *relay) appendChoiceEnds(dst, data []byte) []byte {
	empty := `"delta":{}`
	if r.kind == wire.Completion {
		empty = `"text":""`
	}
	head := r.appendChunkHead(nil, data)
	for i := range max(r.choices, 1) {
		if slices.Contains(r.ended, i) {
			continue
		}
		dst = append(append(dst, head...), `,"choices":[{"index":`...)
		dst = append(append(append(strconv.AppendInt(dst, i, 10), ','), empty...), `,"logprobs":null,"finish_reason":"length"}]}`...)
		dst = append(dst, "\n\n"...)
	}
	if r.call.Body != nil && r.call.Body.IncludeUsage() {
		dst = append(append(dst, head...), `,"choices":[],"usage":`...)
		dst = append(appendChatUsage(dst, r.Usage()), "}\n\n"...)
	}
	return append(dst, "data: [DONE]\n\n"...)
}

// appendChunkHead appends a chunk up to its choices, as the stream's own.
func (r *relay) appendChunkHead(dst, data []byte) []byte {
	dst = append(dst, "data: {"...)
	for _, name := range []string{"id", "object", "created", "model", "system_fingerprint"} {
		value := gjson.GetBytes(data, name).Raw
		if name == "model" && r.asked != nil && value != "" {
			value = string(wire.AppendString(nil, string(r.asked)))
		}
		if value == "" {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(append(append(append(dst, '"'), name...), `":`...), value...)
	}
	return dst
}

func appendChatUsage(dst []byte, u wire.Usage) []byte {
	dst = append(dst, `{"prompt_tokens":`...)
	dst = strconv.AppendInt(dst, u.Prompt, 10)
	dst = append(dst, `,"completion_tokens":`...)
	dst = strconv.AppendInt(dst, u.Completion, 10)
	dst = append(dst, `,"total_tokens":`...)
	dst = strconv.AppendInt(dst, u.Total(), 10)
	if u.CachedPrompt > 0 {
		dst = append(dst, `,"prompt_tokens_details":{"cached_tokens":`...)
		dst = append(strconv.AppendInt(dst, u.CachedPrompt, 10), '}')
	}
	return append(dst, '}')
}

// appendMessageEnd appends the end of the block that the event is of, and of the message.
func (r *relay) appendMessageEnd(dst, data []byte) []byte {
	u := r.Usage()
	dst = append(dst, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":"...)
	dst = strconv.AppendInt(dst, gjson.GetBytes(data, "index").Int(), 10)
	dst = append(dst, "}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\",\"stop_sequence\":null},\"usage\":{\"input_tokens\":"...)
	dst = strconv.AppendInt(dst, max(0, u.Prompt-u.CachedPrompt-u.CacheWrite), 10)
	dst = append(dst, `,"cache_creation_input_tokens":`...)
	dst = strconv.AppendInt(dst, u.CacheWrite, 10)
	dst = append(dst, `,"cache_read_input_tokens":`...)
	dst = strconv.AppendInt(dst, u.CachedPrompt, 10)
	dst = append(dst, `,"output_tokens":`...)
	dst = strconv.AppendInt(dst, u.Completion, 10)
	return append(dst, "}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"...)
}

// promptTokens is the prompt as the caller has counted it, or takes it, or roughly.
func (call *Call) promptTokens() int64 {
	n := call.Prompt
	if n == 0 && call.Meter != nil {
		n = call.Meter.Prompt()
	}
	if n == 0 && call.Body != nil {
		n = scaled(call.vocabulary(), int64(tokens.EstimateJSON(call.Body.Raw())))
	}
	return n
}

// stop ends a translated stream behind the event that was taken last.
func (t *translated) stop() {
	t.cut = true
	if t.usage.Prompt == 0 {
		t.usage.Prompt = t.call.promptTokens()
	}
	t.usage.Completion, t.usage.Estimated = t.seen(), true
	for _, index := range t.blocks {
		t.write(&dialect.Event{Type: dialect.Shut, Index: index})
	}
	t.stopped, t.why = true, "length"
	t.write(&dialect.Event{Type: dialect.Stopped, Stop: dialect.StopLength})
	t.write(&dialect.Event{Type: dialect.Billed, Usage: t.usage})
	t.finish()
	t.err = io.EOF
	t.res.close(false)
}

// count counts what the client is given of an answer, and tells whether it is at its bound.
func (t *translated) count(e *dialect.Event) (last bool) {
	switch {
	case e.Type == dialect.Delta && !t.bounded():
		t.tokens++
		t.letters += int64(len(e.Text) - len(`""`))
	case !t.bounded() || t.stopped:
	case e.Type == dialect.Delta:
		last = t.add(t.weigh(t.literal(e.Text[1 : len(e.Text)-1])))
	case e.Type == dialect.Open:
		t.blocks = append(t.blocks, e.Index)
		last = e.Kind == dialect.ToolUse && t.add(1) // its name
	case e.Type == dialect.Shut:
		t.blocks = slices.DeleteFunc(t.blocks, func(index int) bool { return index == e.Index })
	case e.Type == dialect.Billed && t.client.kind.to == dialect.Chat && t.begun: // a running count
		last = e.Usage.Completion > t.tokens && t.add(e.Usage.Completion-t.tokens)
	}
	return last
}
