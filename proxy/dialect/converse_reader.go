package dialect

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// converseReader reads Bedrock's answers.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html
//
// Bedrock writes one block after another, but only calls of tools have an event that begins them, and not every model's
// blocks have one that ends them. So a block is whatever has the same index as the event before, and of the same kind.
type converseReader struct {
	begun   bool
	stopped bool
	next    int // the next block's number

	open   bool // block next-1 is not complete
	theirs int64
	kind   Kind
	filled bool // something of a tool's input was read
}

// converseException is what the name of an event begins with that is an exception, whatever its type is called.
const converseException = "exception:"

// Event reads one event. name is its :event-type; of an exception it is converseException and the :exception-type, or
// that alone.
func (r *converseReader) Event(name string, data []byte, to []Event) ([]Event, error) {
	if fault, is := strings.CutPrefix(name, converseException); is || strings.HasSuffix(name, "Exception") {
		return to, converseFailure(fault, data)
	}
	if !valid(data) {
		return to, errors.New("an event of the provider is not JSON")
	}
	ev := alias(data)
	if !r.begun {
		r.begun = true // messageStart says nothing but that
		to = append(to, Event{Type: Start})
	}
	switch name {
	case "contentBlockStart":
		return r.start(gjson.Get(ev, "contentBlockIndex").Int(), gjson.Get(ev, "start"), to)
	case "contentBlockDelta":
		return r.delta(gjson.Get(ev, "contentBlockIndex").Int(), member(ev, "delta"), to)
	case "contentBlockStop":
		if gjson.Get(ev, "contentBlockIndex").Int() == r.theirs {
			to = r.shut(to)
		}
	case "messageStop":
		return r.stop(ev, to)
	case "metadata":
		if usage := gjson.Get(ev, "usage"); usage.IsObject() {
			to = append(to, Event{Type: Billed, Usage: converseUsage(usage)})
		}
	case "messageStart":
	default:
		if converseStatus(name) != 0 {
			return to, converseFailure(name, data)
		}
	}
	return to, nil
}

// start reads contentBlockStart. One of a text is empty: the text begins with its first letter.
func (r *converseReader) start(index int64, start gjson.Result, to []Event) (_ []Event, err error) {
	to = r.shut(to)
	start.ForEach(func(k, v gjson.Result) bool {
		e := Event{Type: Open, Kind: Other, Raw: start.Raw}
		if k.Str == "toolUse" && v.Get("type").Str != "server_tool_use" {
			e = Event{Type: Open, Kind: ToolUse, ID: v.Get("toolUseId").Str, Name: v.Get("name").Str}
		}
		to, err = r.begin(index, e, to)
		return false
	})
	return to, err
}

func (r *converseReader) begin(index int64, e Event, to []Event) ([]Event, error) {
	if r.stopped {
		return to, errors.New("a content block began after the end of the answer")
	}
	to = r.shut(to)
	e.Index = r.next
	r.next++
	r.open, r.theirs, r.kind, r.filled = true, index, e.Kind, false
	return append(to, e), nil
}

func (r *converseReader) shut(to []Event) []Event {
	if !r.open {
		return to
	}
	r.open = false
	if r.kind == ToolUse && !r.filled { // a tool without arguments
		to = append(to, Event{Type: Delta, Index: r.next - 1, Text: `"{}"`})
	}
	return append(to, Event{Type: Shut, Index: r.next - 1})
}

// at makes sure that a block of a kind is open at the provider's index.
func (r *converseReader) at(index int64, kind Kind, to []Event) ([]Event, error) {
	switch {
	case r.open && r.theirs == index && r.kind == kind:
		return to, nil
	case kind == ToolUse:
		return to, fmt.Errorf("content block %d goes on with a tool's input, but no call began there", index)
	}
	return r.begin(index, Event{Type: Open, Kind: kind}, to)
}

// delta reads contentBlockDelta.
func (r *converseReader) delta(index int64, delta string, to []Event) (_ []Event, err error) {
	if r.open && r.kind == Other && r.theirs == index {
		return to, nil // more of what has no common form
	}
	for name, value := range members(delta) {
		switch name {
		case "text":
			to, err = r.text(index, Text, Delta, value, to)
		case "toolUse":
			to, err = r.text(index, ToolUse, Delta, member(value, "input"), to)
		case "reasoningContent":
			to, err = r.thought(index, value, to)
		case "citation":
			if to, err = r.at(index, Text, to); err == nil {
				to = append(to, Event{Type: Cited, Index: r.next - 1, Cite: converseCitation(gjson.Parse(value))})
			}
		}
		if err != nil {
			return to, err
		}
	}
	return to, nil
}

// text appends an event with a string as it is written, unless it says nothing.
func (r *converseReader) text(index int64, kind Kind, what EventType, literal string, to []Event) ([]Event, error) {
	if !isText(literal) {
		return to, nil
	}
	to, err := r.at(index, kind, to)
	if err != nil {
		return to, err
	}
	r.filled = true
	return append(to, Event{Type: what, Index: r.next - 1, Text: literal}), nil
}

func (r *converseReader) thought(index int64, v string, to []Event) (_ []Event, err error) {
	for name, value := range members(v) {
		switch name {
		case "text":
			to, err = r.text(index, Thinking, Delta, value, to)
		case "signature":
			to, err = r.text(index, Thinking, Signed, value, to)
		case "redactedContent":
			to, err = r.begin(index, Event{Type: Open, Kind: Thinking, Redacted: plain(value)}, to)
		}
		if err != nil {
			return to, err
		}
	}
	return to, nil
}

func (r *converseReader) stop(ev string, to []Event) ([]Event, error) {
	to = r.shut(to)
	if r.stopped {
		return to, nil
	}
	r.stopped = true
	stop, err := converseStop(gjson.Get(ev, "stopReason").Str)
	if err != nil {
		return to, err
	}
	return append(to, Event{Type: Stopped, Stop: stop, Sequence: converseSequence(gjson.Get(ev, "additionalModelResponseFields"))}), nil
}

// converseSequence finds the stop sequence among the fields that a request asks for: Claude's whole answer has it at the
// top, its streams in message_delta.
func converseSequence(fields gjson.Result) string {
	if s := fields.Get("stop_sequence"); s.Type == gjson.String {
		return s.Str
	}
	return fields.Get("delta.stop_sequence").Str
}

// converseStop reads a stop reason. What the model said can be of no use: that is a failure.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_MessageStopEvent.html
func converseStop(reason string) (Stop, error) {
	switch reason {
	case "tool_use":
		return StopTools, nil
	case "max_tokens", "model_context_window_exceeded":
		return StopLength, nil
	case "stop_sequence":
		return StopSequence, nil
	case "guardrail_intervened", "content_filtered":
		return StopRefusal, nil
	case "malformed_model_output":
		return StopEnd, &Failure{Status: 424, Type: reason, Message: "The model wrote what Bedrock could not read. Try again."}
	case "malformed_tool_use":
		return StopEnd, &Failure{Status: 424, Type: reason, Message: "The model wrote a tool call that Bedrock could not read. Try again."}
	}
	return StopEnd, nil
}

// converseUsage reads the tokens. Those of the cache are not in inputTokens.
func converseUsage(v gjson.Result) wire.Usage {
	u := wire.Usage{
		CachedPrompt: wire.Tokens(v.Get("cacheReadInputTokens")),
		CacheWrite:   wire.Tokens(v.Get("cacheWriteInputTokens")),
		Completion:   wire.Tokens(v.Get("outputTokens")),
	}
	u.Prompt = wire.Tokens(v.Get("inputTokens")) + u.CachedPrompt + u.CacheWrite
	v.Get("cacheDetails").ForEach(func(_, written gjson.Result) bool {
		if written.Get("ttl").Str == "1h" {
			u.CacheWrite1h += wire.Tokens(written.Get("inputTokens"))
		}
		return true
	})
	return u
}

// converseCitation reads a citation. Where in a document it is has no form that other dialects share: that is in Raw only.
func converseCitation(v gjson.Result) Citation {
	c := Citation{Start: -1, End: -1, Raw: v.Raw, Title: v.Get("title").Str, URL: v.Get("location.web.url").Str}
	if source := v.Get("source").Str; c.URL == "" && webURL(source) {
		c.URL = source
	}
	v.Get("sourceContent").ForEach(func(_, part gjson.Result) bool {
		c.Cited += part.Get("text").Str
		return true
	})
	return c
}

// converseFailures are the statuses of the faults that a stream may end with, of which some have a word for it too. Names
// come with the suffix "Exception" and without it.
var converseFailures = map[string]int{
	"validation":           400,
	"accessdenied":         403,
	"resourcenotfound":     404,
	"modeltimeout":         408,
	"modelerror":           424,
	"modelstreamerror":     424,
	"throttling":           429,
	"modelnotready":        429,
	"servicequotaexceeded": 429,
	"internalserver":       500,
	"serviceunavailable":   503,
}

// converseStatus is the status of a fault, 0 when it is not known.
func converseStatus(name string) int {
	return converseFailures[strings.TrimSuffix(strings.ToLower(name), "exception")]
}

func converseFailure(name string, data []byte) *Failure {
	f := &Failure{Status: cmp.Or(converseStatus(name), 500), Type: strings.Clone(name)}
	if !valid(data) {
		return f
	}
	root := gjson.ParseBytes(data) // a copy: the error outlives the event
	f.Message = root.Get("message").String()
	if f.Message == "" {
		f.Message = root.Get("Message").String()
	}
	if cause := root.Get("originalMessage").String(); cause != "" && cause != f.Message {
		f.Message = strings.TrimSpace(f.Message + " " + cause)
	}
	return f
}

// Whole reads the answer of Converse.
func (r *converseReader) Whole(body []byte) (*Answer, error) {
	if !valid(body) {
		return nil, errors.New("the provider's answer is not JSON")
	}
	root := parse(body)
	content := root.Get("output.message.content")
	if !content.IsArray() {
		return nil, errors.New("the provider's answer has no output.message.content")
	}
	stop, err := converseStop(root.Get("stopReason").Str)
	if err != nil {
		return nil, err
	}
	a := &Answer{
		Stop:     stop,
		Sequence: converseSequence(root.Get("additionalModelResponseFields")),
		Usage:    converseUsage(root.Get("usage")),
	}
	switch tier := root.Get("serviceTier.type").Str; tier {
	case "default", "priority", "flex":
		a.Tier = tier
	}
	content.ForEach(func(_, block gjson.Result) bool {
		a.Blocks = append(a.Blocks, converseBlock(block))
		return true
	})
	return a, nil
}

func converseBlock(block gjson.Result) Block {
	text, tool, thought := block.Get("text"), block.Get("toolUse"), block.Get("reasoningContent")
	switch {
	case text.Type == gjson.String:
		return Block{Kind: Text, Text: text.Str}
	case tool.IsObject() && tool.Get("type").Str != "server_tool_use":
		input := tool.Get("input").Raw
		if input == "" || input == "null" {
			input = "{}"
		}
		return Block{Kind: ToolUse, ID: tool.Get("toolUseId").Str, Name: tool.Get("name").Str, Input: input}
	case thought.Get("reasoningText").IsObject():
		return Block{Kind: Thinking, Text: thought.Get("reasoningText.text").Str, Signature: thought.Get("reasoningText.signature").Str}
	case thought.Get("redactedContent").Type == gjson.String:
		return Block{Kind: Thinking, Redacted: thought.Get("redactedContent").Str}
	case block.Get("citationsContent").IsObject():
		return converseCited(block.Get("citationsContent"))
	}
	return Block{Kind: Other, Raw: block.Raw}
}

func converseCited(v gjson.Result) Block {
	b := Block{Kind: Text}
	v.Get("content").ForEach(func(_, part gjson.Result) bool {
		b.Text += part.Get("text").Str
		return true
	})
	v.Get("citations").ForEach(func(_, c gjson.Result) bool {
		b.Citations = append(b.Citations, converseCitation(c))
		return true
	})
	return b
}
