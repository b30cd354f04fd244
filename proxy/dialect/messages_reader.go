package dialect

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// messagesReader reads Anthropic's answers. https://docs.anthropic.com/en/docs/build-with-claude/streaming
type messagesReader struct {
	id      string
	begun   bool
	stopped bool
	early   string         // a stop reason that came with message_start
	next    int            // the next block's number
	open    []messagesOpen // blocks that are not complete
	usage   wire.Usage
}

// messagesOpen is a block that is not complete: the provider's number for it and ours.
type messagesOpen struct {
	theirs int64
	ours   int
	kind   Kind
	whole  bool // a tool's input stood in content_block_start: what follows would repeat it
	filled bool // it said something
}

// Anthropic has one block open at a time; a compatible server may have more, but not without bound.
const mostOpen = 64

// messagesEvent is an event's members, as they are written.
type messagesEvent struct{ kind, index, message, block, delta, usage string }

func readMessagesEvent(data string) (ev messagesEvent) {
	for name, value := range members(data) {
		switch name {
		case "type":
			ev.kind = plain(value)
		case "index":
			ev.index = value
		case "message":
			ev.message = value
		case "content_block":
			ev.block = value
		case "delta":
			ev.delta = value
		case "usage":
			ev.usage = value
		}
	}
	return ev
}

// number is the block's number in an event.
func (ev *messagesEvent) number() int64 {
	if len(ev.index) == 1 && ev.index[0] >= '0' && ev.index[0] <= '9' { // as nearly always
		return int64(ev.index[0] - '0')
	}
	return gjson.Parse(ev.index).Int()
}

// Event reads one event.
func (r *messagesReader) Event(_ string, data []byte, to []Event) ([]Event, error) {
	if !valid(data) {
		return to, errors.New("an event of the provider is not JSON")
	}
	ev := readMessagesEvent(alias(data))
	switch ev.kind {
	case "ping":
		return append(to, Event{Type: Ping}), nil
	case "error":
		return to, messagesFailure(parse(data))
	case "message_start":
		return r.start(gjson.Parse(ev.message), to)
	case "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop":
		if !r.begun {
			return to, errors.New("the answer does not begin with message_start")
		}
	}
	switch ev.kind {
	case "content_block_start":
		return r.openBlock(ev.number(), gjson.Parse(ev.block), to)
	case "content_block_delta":
		return r.delta(ev.number(), ev.delta, to)
	case "content_block_stop":
		return r.shut(ev.number(), to), nil
	case "message_delta":
		if reason := member(ev.delta, "stop_reason"); isText(reason) {
			to = r.stop(plain(reason), plain(member(ev.delta, "stop_sequence")), to)
		}
		return r.bill(ev.usage, to), nil
	case "message_stop":
		return r.stop(r.early, "", to), nil
	}
	return to, nil // Anthropic says that new kinds of events may come at any time
}

// start reads message_start. One that comes twice is known of a proxy; another answer's may take this one's place only as
// long as nothing of this one was sent on: half a tool call must not look whole.
func (r *messagesReader) start(message gjson.Result, to []Event) ([]Event, error) {
	if !message.IsObject() {
		return to, errors.New("message_start has no message")
	}
	id := message.Get("id").Str
	switch {
	case r.begun && id == r.id:
		return to, nil
	case r.next > 0 || r.stopped:
		return to, fmt.Errorf("the provider began another answer (%.40q) inside this one (%.40q)", id, r.id)
	case !r.begun:
		to = append(to, Event{Type: Start, ID: id, Name: message.Get("model").Str})
	}
	r.begun, r.id, r.usage = true, strings.Clone(id), wire.Usage{}
	to = r.bill(message.Get("usage").Raw, to)
	r.early = strings.Clone(message.Get("stop_reason").Str)
	return r.content(message.Get("content"), to)
}

// content reads blocks that stand whole in message_start, as those of a program that calls tools do.
func (r *messagesReader) content(blocks gjson.Result, to []Event) (_ []Event, err error) {
	if !blocks.IsArray() {
		return to, nil
	}
	blocks.ForEach(func(_, block gjson.Result) bool {
		if to, err = r.openBlock(-1, block, to); err == nil {
			to = r.shut(-1, to)
		}
		return err == nil
	})
	return to, err
}

func (r *messagesReader) openBlock(index int64, block gjson.Result, to []Event) ([]Event, error) {
	switch {
	case r.stopped:
		return to, errors.New("a content block began after the end of the answer")
	case len(r.open) == mostOpen:
		return to, fmt.Errorf("more than %d content blocks are open", mostOpen)
	case r.find(index) >= 0:
		return to, fmt.Errorf("content block %d began twice", index)
	}
	e := Event{Type: Open, Index: r.next}
	now := messagesOpen{theirs: index, ours: r.next}
	switch block.Get("type").Str {
	case "text":
		e.Kind = Text
	case "thinking":
		e.Kind = Thinking
	case "redacted_thinking":
		e.Kind, e.Redacted = Thinking, block.Get("data").Str
	case "tool_use":
		e.Kind, e.ID, e.Name = ToolUse, block.Get("id").Str, block.Get("name").Str
	default:
		e.Kind, e.Raw = Other, block.Raw
	}
	now.kind = e.Kind
	r.next++
	to = append(to, e)
	to = now.begin(block, to)
	r.open = append(r.open, now)
	return to, nil
}

// begin reads what a block's start already says; most say nothing.
func (o *messagesOpen) begin(block gjson.Result, to []Event) []Event {
	switch o.kind {
	case Text:
		to = o.text(Delta, block.Get("text").Raw, to)
		block.Get("citations").ForEach(func(_, c gjson.Result) bool {
			to = append(to, Event{Type: Cited, Index: o.ours, Cite: messagesCitation(c)})
			return true
		})
	case Thinking:
		to = o.text(Delta, block.Get("thinking").Raw, to)
		to = o.text(Signed, block.Get("signature").Raw, to)
	case ToolUse:
		if input := block.Get("input"); input.IsObject() && len(input.Map()) > 0 {
			o.whole, o.filled = true, true
			to = append(to, Event{Type: Delta, Index: o.ours, Text: string(wire.AppendString(nil, input.Raw))})
		}
	}
	return to
}

// text appends an event with a string as it is written, unless it says nothing.
func (o *messagesOpen) text(kind EventType, literal string, to []Event) []Event {
	if !isText(literal) {
		return to
	}
	o.filled = true
	return append(to, Event{Type: kind, Index: o.ours, Text: literal})
}

func (r *messagesReader) delta(index int64, delta string, to []Event) ([]Event, error) {
	at := r.find(index)
	if at < 0 {
		return to, fmt.Errorf("content block %d goes on, but is not open", index)
	}
	o := &r.open[at]
	var kind, value string
	for name, v := range members(delta) {
		switch name {
		case "type":
			kind = plain(v)
		case "text", "partial_json", "thinking", "signature", "citation":
			value = v
		}
	}
	switch {
	case kind == "text_delta" && o.kind == Text, kind == "input_json_delta" && o.kind == ToolUse && !o.whole, kind == "thinking_delta" && o.kind == Thinking:
		to = o.text(Delta, value, to)
	case kind == "signature_delta" && o.kind == Thinking:
		to = o.text(Signed, value, to)
	case kind == "citations_delta" && o.kind == Text:
		to = append(to, Event{Type: Cited, Index: o.ours, Cite: messagesCitation(gjson.Parse(value))})
	}
	return to, nil
}

func (r *messagesReader) find(index int64) int {
	for i := range r.open {
		if r.open[i].theirs == index {
			return i
		}
	}
	return -1
}

func (r *messagesReader) shut(index int64, to []Event) []Event {
	at := r.find(index)
	if at < 0 {
		return to // of a block that is complete already
	}
	o := r.open[at]
	r.open = append(r.open[:at], r.open[at+1:]...)
	if o.kind == ToolUse && !o.filled { // a tool without arguments
		to = append(to, Event{Type: Delta, Index: o.ours, Text: `"{}"`})
	}
	return append(to, Event{Type: Shut, Index: o.ours})
}

func (r *messagesReader) stop(reason, sequence string, to []Event) []Event {
	for len(r.open) > 0 {
		to = r.shut(r.open[0].theirs, to)
	}
	if r.stopped {
		return to
	}
	r.stopped = true
	return append(to, Event{Type: Stopped, Stop: messagesStop(reason), Sequence: sequence})
}

func (r *messagesReader) bill(usage string, to []Event) []Event {
	if usage == "" || usage[0] != '{' {
		return to
	}
	wire.ReadMessageUsage([]byte(usage), &r.usage)
	return append(to, Event{Type: Billed, Usage: r.usage})
}

// Whole reads a message object.
func (r *messagesReader) Whole(body []byte) (*Answer, error) {
	if !valid(body) {
		return nil, errors.New("the provider's answer is not JSON")
	}
	root := parse(body)
	content := root.Get("content")
	switch {
	case root.Get("type").Str == "error" || root.Get("error").IsObject():
		return nil, messagesFailure(root)
	case !content.IsArray():
		return nil, errors.New("the provider's answer has no content")
	}
	a := &Answer{
		ID:       root.Get("id").Str,
		Model:    root.Get("model").Str,
		Stop:     messagesStop(root.Get("stop_reason").Str),
		Sequence: root.Get("stop_sequence").Str,
		Tier:     map[string]string{"standard": "default", "priority": "priority", "batch": "batch"}[root.Get("usage.service_tier").Str],
		Refused:  root.Get("stop_details.explanation").Str,
	}
	if usage := root.Get("usage"); usage.IsObject() {
		wire.ReadMessageUsage([]byte(usage.Raw), &a.Usage)
	}
	content.ForEach(func(_, block gjson.Result) bool {
		a.Blocks = append(a.Blocks, messagesBlock(block))
		return true
	})
	return a, nil
}

func messagesBlock(block gjson.Result) Block {
	switch block.Get("type").Str {
	case "text":
		b := Block{Kind: Text, Text: block.Get("text").Str}
		block.Get("citations").ForEach(func(_, c gjson.Result) bool {
			b.Citations = append(b.Citations, messagesCitation(c))
			return true
		})
		return b
	case "thinking":
		return Block{Kind: Thinking, Text: block.Get("thinking").Str, Signature: block.Get("signature").Str}
	case "redacted_thinking":
		return Block{Kind: Thinking, Redacted: block.Get("data").Str}
	case "tool_use":
		input := block.Get("input").Raw
		if input == "" || input == "null" {
			input = "{}"
		}
		return Block{Kind: ToolUse, ID: block.Get("id").Str, Name: block.Get("name").Str, Input: input}
	}
	return Block{Kind: Other, Raw: block.Raw}
}

// messagesCitation reads a citation. Those of documents have no form that other dialects share: they are Raw only.
func messagesCitation(c gjson.Result) Citation {
	cite := Citation{Start: -1, End: -1, Raw: c.Raw}
	if c.Get("type").Str == "web_search_result_location" {
		cite.URL, cite.Title, cite.Cited = c.Get("url").Str, c.Get("title").Str, c.Get("cited_text").Str
	}
	return cite
}

// messagesStop reads a stop reason: https://docs.anthropic.com/en/docs/build-with-claude/handling-stop-reasons
func messagesStop(reason string) Stop {
	switch reason {
	case "max_tokens", "model_context_window_exceeded":
		return StopLength
	case "stop_sequence":
		return StopSequence
	case "tool_use":
		return StopTools
	case "refusal":
		return StopRefusal
	case "pause_turn", "compaction":
		return StopPause
	}
	return StopEnd
}
