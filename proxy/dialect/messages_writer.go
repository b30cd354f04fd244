package dialect

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// placeholder is the signature of a thought that has none of its provider's: clients of the Messages API insist on one and
// send it back, and the readers of requests know by how it begins that the thought is nobody's.
const placeholder = ownSignature + "unsigned"

// messagesWriter writes answers for clients of Anthropic's Messages API.
type messagesWriter struct {
	t        *Translation
	id       string
	next     int // the next block's index as the client counts
	open     []messagesWritten
	stop     Stop
	sequence string
	usage    wire.Usage
}

// messagesWritten is a block that is not complete. It begins for the client with the first thing that it says, as
// Anthropic takes no empty text back.
type messagesWritten struct {
	index  int // in the events
	ours   int // as the client counts; -1: not begun
	kind   Kind
	signed bool
}

func newMessagesWriter(t *Translation) *messagesWriter { return &messagesWriter{t: t} }

// Event writes one event.
func (w *messagesWriter) Event(dst []byte, e *Event) []byte {
	switch e.Type {
	case Start:
		return w.start(dst, e)
	case Open:
		return w.openBlock(dst, e)
	case Delta:
		return w.delta(dst, e)
	case Signed:
		if b := w.find(e.Index); b != nil && b.kind == Thinking {
			b.signed = true
			return appendBlockDelta(w.begin(dst, b), b.ours, "signature", e.Text)
		}
	case Cited:
		if b := w.find(e.Index); b != nil && b.kind == Text {
			return w.cite(dst, b, &e.Cite)
		}
	case Shut:
		return w.shut(dst, e.Index)
	case Stopped:
		w.stop, w.sequence = e.Stop, strings.Clone(e.Sequence)
	case Billed:
		w.usage = e.Usage
	case Ping:
		return append(dst, "event: ping\ndata: {\"type\":\"ping\"}\n\n"...)
	}
	return dst
}

func (w *messagesWriter) start(dst []byte, e *Event) []byte {
	w.id = messageID(cmp.Or(w.t.ID, e.ID))
	dst = append(dst, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":"...)
	dst = w.head(dst, w.id, e.Name)
	dst = append(dst, `,"content":[],"stop_reason":null,"stop_sequence":null`...)
	dst = appendMessageUsage(dst, w.usage, "")
	return append(dst, "}}\n\n"...)
}

// head appends the beginning of a message object.
func (w *messagesWriter) head(dst []byte, id, model string) []byte {
	dst = field(append(dst, '{'), "id", id)
	dst = append(dst, `,"type":"message","role":"assistant"`...)
	return field(dst, "model", cmp.Or(w.t.Named, model))
}

func (w *messagesWriter) find(index int) *messagesWritten {
	for i := range w.open {
		if w.open[i].index == index {
			return &w.open[i]
		}
	}
	return nil
}

func (w *messagesWriter) openBlock(dst []byte, e *Event) []byte {
	if e.Kind == Other || w.find(e.Index) != nil {
		return dst
	}
	w.open = append(w.open, messagesWritten{index: e.Index, ours: -1, kind: e.Kind})
	b := &w.open[len(w.open)-1]
	switch {
	case e.Kind == ToolUse:
		dst = w.blockStart(dst, b)
		dst = field(append(dst, `{"type":"tool_use"`...), "id", w.toolID(e.ID, e.Index))
		dst = append(field(dst, "name", e.Name), `,"input":{}}`...)
		return append(dst, "}\n\n"...)
	case e.Redacted != "":
		b.signed = true
		dst = w.blockStart(dst, b)
		dst = field(append(dst, `{"type":"redacted_thinking"`...), "data", e.Redacted)
		return append(dst, "}}\n\n"...)
	}
	return dst
}

// blockStart appends the event up to the block itself and counts the block.
func (w *messagesWriter) blockStart(dst []byte, b *messagesWritten) []byte {
	b.ours = w.next
	w.next++
	dst = append(dst, "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":"...)
	dst = strconv.AppendInt(dst, int64(b.ours), 10)
	return append(dst, `,"content_block":`...)
}

// begin appends the start of a block of text or thought unless it has begun.
func (w *messagesWriter) begin(dst []byte, b *messagesWritten) []byte {
	if b.ours >= 0 {
		return dst
	}
	dst = w.blockStart(dst, b)
	if b.kind == Thinking {
		return append(dst, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n"...)
	}
	return append(dst, "{\"type\":\"text\",\"text\":\"\"}}\n\n"...)
}

func (w *messagesWriter) delta(dst []byte, e *Event) []byte {
	b := w.find(e.Index)
	if b == nil || e.Text == `""` {
		return dst
	}
	switch b.kind {
	case ToolUse:
		return appendBlockDelta(dst, b.ours, "input_json", e.Text)
	case Thinking:
		return appendBlockDelta(w.begin(dst, b), b.ours, "thinking", e.Text)
	}
	return appendBlockDelta(w.begin(dst, b), b.ours, "text", e.Text)
}

// appendBlockDelta appends a content_block_delta; value is JSON.
func appendBlockDelta(dst []byte, index int, kind, value string) []byte {
	name := kind
	switch kind {
	case "input_json":
		name = "partial_json"
	case "citations":
		name = "citation"
	}
	dst = append(dst, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":"...)
	dst = strconv.AppendInt(dst, int64(index), 10)
	dst = append(dst, `,"delta":{"type":"`...)
	dst = append(dst, kind...)
	dst = rawField(append(dst, `_delta"`...), name, value)
	return append(dst, "}}\n\n"...)
}

func (w *messagesWriter) cite(dst []byte, b *messagesWritten, c *Citation) []byte {
	if cite := appendMessageCitation(nil, c); cite != nil {
		return appendBlockDelta(w.begin(dst, b), b.ours, "citations", string(cite))
	}
	return dst
}

func (w *messagesWriter) shut(dst []byte, index int) []byte {
	b := w.find(index)
	if b == nil {
		return dst
	}
	if b.ours >= 0 {
		if b.kind == Thinking && !b.signed {
			dst = appendBlockDelta(dst, b.ours, "signature", `"`+placeholder+`"`)
		}
		dst = append(dst, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":"...)
		dst = strconv.AppendInt(dst, int64(b.ours), 10)
		dst = append(dst, "}\n\n"...)
	}
	last := len(w.open) - 1
	*b = w.open[last]
	w.open = w.open[:last]
	return dst
}

// End writes what ends a complete stream.
func (w *messagesWriter) End(dst []byte) []byte {
	for len(w.open) > 0 {
		dst = w.shut(dst, w.open[0].index)
	}
	dst = append(dst, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{"...)
	dst = append(appendMessageStop(dst, w.stop, w.sequence), '}')
	dst = appendMessageUsage(dst, w.usage, "")
	return append(dst, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"...)
}

// appendMessageStop appends stop_reason and stop_sequence.
func appendMessageStop(dst []byte, stop Stop, sequence string) []byte {
	reason := [...]string{StopEnd: "end_turn", StopLength: "max_tokens", StopSequence: "stop_sequence", StopTools: "tool_use",
		StopRefusal: "refusal", StopPause: "pause_turn"}[stop]
	dst = field(dst, "stop_reason", reason)
	if sequence != "" {
		return field(dst, "stop_sequence", sequence)
	}
	return append(dst, `,"stop_sequence":null`...)
}

// Fail writes what ends a stream that cannot go on.
func (w *messagesWriter) Fail(dst []byte, e *wire.Error) []byte {
	dst = append(dst, "event: error\ndata: "...)
	return append(AppendMessageError(dst, e, ""), "\n\n"...)
}

// Whole writes a message object.
func (w *messagesWriter) Whole(dst []byte, a *Answer) []byte {
	w.id = messageID(cmp.Or(w.t.ID, a.ID))
	dst = append(w.head(dst, w.id, a.Model), `,"content":[`...)
	for i := range a.Blocks {
		dst = w.block(dst, &a.Blocks[i], i)
	}
	dst = appendMessageStop(append(dst, ']'), a.Stop, a.Sequence)
	if a.Refused != "" {
		dst = field(append(dst, `,"stop_details":{"type":"refusal","category":null`...), "explanation", a.Refused)
		dst = append(dst, '}')
	}
	return append(appendMessageUsage(dst, a.Usage, a.Tier), '}')
}

// block appends a block of an answer and the comma before it, or nothing.
func (w *messagesWriter) block(dst []byte, b *Block, index int) []byte {
	switch {
	case b.Kind == ToolUse:
		dst = field(append(comma(dst), `{"type":"tool_use"`...), "id", w.toolID(b.ID, index))
		dst = append(key(field(dst, "name", b.Name), "input"), inputObject(b.Input)...)
	case b.Kind == Thinking && b.Redacted != "":
		dst = field(append(comma(dst), `{"type":"redacted_thinking"`...), "data", b.Redacted)
	case b.Kind == Thinking && (b.Text != "" || b.Signature != ""):
		dst = field(append(comma(dst), `{"type":"thinking"`...), "thinking", b.Text)
		dst = field(dst, "signature", cmp.Or(b.Signature, placeholder))
	case (b.Kind == Text || b.Kind == Refusal) && (b.Text != "" || len(b.Citations) > 0):
		dst = field(append(comma(dst), `{"type":"text"`...), "text", b.Text)
		dst = appendMessageCitations(dst, b.Citations)
	default:
		return dst
	}
	return append(dst, '}')
}

// toolID is the id of a call for the client. One that the provider left empty is made of the answer's own id.
func (w *messagesWriter) toolID(id string, index int) string {
	if id == "" {
		id = w.id + "_" + strconv.Itoa(index)
	}
	return toolID(id, 64)
}

// inputObject is a tool's input as a JSON object. A model may write what is none; what it wrote is then the value of a
// member, so that it is not lost.
func inputObject(input string) string {
	switch {
	case strings.TrimSpace(input) == "":
		return "{}"
	case gjson.Parse(input).IsObject() && valid([]byte(input)):
		return input
	}
	return string(append(field([]byte{'{'}, "invalid_json", input), '}'))
}

// appendMessageUsage appends the usage of an answer, whose input_tokens leave out the cache. tier is in OpenAI's words.
func appendMessageUsage(dst []byte, u wire.Usage, tier string) []byte {
	dst = append(key(dst, "usage"), '{')
	dst = intField(dst, "input_tokens", max(0, u.Prompt-u.CachedPrompt-u.CacheWrite))
	dst = intField(dst, "cache_creation_input_tokens", u.CacheWrite)
	dst = intField(dst, "cache_read_input_tokens", u.CachedPrompt)
	dst = intField(dst, "output_tokens", u.Completion)
	if u.Reasoning > 0 {
		dst = append(intField(append(dst, `,"output_tokens_details":{`...), "thinking_tokens", u.Reasoning), '}')
	}
	switch tier {
	case "default":
		dst = field(dst, "service_tier", "standard")
	case "priority", "batch":
		dst = field(dst, "service_tier", tier)
	}
	return append(dst, '}')
}

func appendMessageCitations(dst []byte, list []Citation) []byte {
	var cites []byte
	for i := range list {
		if cite := appendMessageCitation(nil, &list[i]); cite != nil {
			cites = append(append(cites, ','), cite...)
		}
	}
	if cites == nil {
		return dst
	}
	return append(rawField(dst, "citations", "["+string(cites[1:])), ']')
}

// appendMessageCitation appends a citation: Anthropic's own object, or that of a web page; nothing for others.
func appendMessageCitation(dst []byte, c *Citation) []byte {
	switch gjson.Get(c.Raw, "type").Str {
	case "web_search_result_location", "char_location", "page_location", "content_block_location", "search_result_location":
		return append(dst, c.Raw...)
	}
	if c.URL == "" {
		return dst
	}
	dst = field(append(dst, `{"type":"web_search_result_location"`...), "cited_text", c.Cited)
	dst = field(field(dst, "url", c.URL), "title", c.Title)
	return append(field(dst, "encrypted_index", ""), '}')
}

// messageID is an answer's id as Anthropic's begin, so that tools which tell ids by their beginning know it.
func messageID(id string) string {
	if strings.HasPrefix(id, "msg_") {
		return strings.Clone(id)
	}
	return "msg_" + strings.TrimPrefix(id, "chatcmpl-")
}
