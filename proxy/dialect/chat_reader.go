package dialect

import (
	"errors"
	"fmt"
	"strconv"

	"jarvis-gateway/proxy/wire"
)

// chatReader reads the answers of OpenAI, Azure, vLLM and the many servers that are compatible with them.
type chatReader struct {
	begun   bool
	stopped bool
	refused bool // something of a refusal was read
	called  bool // something of a tool call was read
	strings bool // thoughts come as strings: their list repeats them
	next    int  // the next block's number

	open   bool // the last block is not complete, and no tool call
	kind   Kind // of it
	signed bool // and has its signature

	call  int        // the server's number of the last tool call, -1 before the first
	calls []chatCall // the last ones
}

// chunk is what a reader looks at in an event: raw values, "" for what is missing or null.
type chunk struct {
	id, model, object, choices, usage, fault string
}

// choice is the same of a choice of a chunk.
type choice struct {
	index, delta, finish, sequence string
}

// delta is the same of a delta.
type delta struct {
	content, reasoning, details, refusal, annotations, calls, function string
}

// Event reads one chunk.
func (r *chatReader) Event(_ string, data []byte, to []Event) ([]Event, error) {
	if !valid(data) {
		return to, errors.New("an event of the provider is not JSON")
	}
	c, err := readChunk(alias(data))
	if err != nil {
		return to, err
	}
	if !r.begun && (isText(c.id) || isText(c.model) || len(c.choices) > 2 || c.usage != "") {
		r.begun, r.call = true, -1
		to = append(to, Event{Type: Start, ID: plain(c.id), Name: plain(c.model)})
	}
	for raw := range elements(c.choices) {
		if to, err = r.choice(raw, to); err != nil {
			return to, err
		}
	}
	if c.usage != "" {
		to = append(to, Event{Type: Billed, Usage: wire.ReadUsage([]byte(c.usage))})
	}
	return to, nil
}

func readChunk(data string) (c chunk, err error) {
	if i := space(data, 0); data[i] != '{' {
		return c, errors.New("an event of the provider is not an object")
	}
	for name, value := range members(data) {
		if value == "null" {
			continue
		}
		switch name {
		case "id":
			c.id = value
		case "model":
			c.model = value
		case "object":
			c.object = value
		case "choices":
			c.choices = value
		case "usage":
			c.usage = value
		case "error":
			c.fault = value
		}
	}
	switch {
	case c.fault != "":
		return c, chatFailure(c.fault)
	case c.object == `"error"`: // vLLM before 0.10
		return c, chatFailure(data)
	}
	return c, nil
}

func readChoice(raw string) (c choice) {
	for name, value := range members(raw) {
		if value == "null" {
			continue
		}
		switch name {
		case "index":
			c.index = value
		case "delta", "message":
			c.delta = value
		case "finish_reason":
			c.finish = value
		case "stop_reason", "matched_stop": // vLLM's and SGLang's: a string, or a token's number
			c.sequence = value
		}
	}
	return c
}

func readDelta(raw string) (d delta) {
	for name, value := range members(raw) {
		if value == "null" || value == `""` {
			continue
		}
		switch name {
		case "content":
			d.content = value
		case "reasoning_content":
			d.reasoning = value
		case "reasoning":
			if d.reasoning == "" { // some send both, with the same text
				d.reasoning = value
			}
		case "reasoning_details":
			d.details = value
		case "refusal":
			d.refusal = value
		case "annotations":
			d.annotations = value
		case "tool_calls":
			d.calls = value
		case "function_call":
			d.function = value
		}
	}
	return d
}

var errAfterStop = errors.New("the answer goes on after its finish_reason")

func (r *chatReader) choice(raw string, to []Event) ([]Event, error) {
	c := readChoice(raw)
	if c.index != "" && c.index != "0" {
		return to, fmt.Errorf("the answer has a choice %s, where one was asked for", c.index)
	}
	before := len(to)
	to, err := r.delta(readDelta(c.delta), to)
	if err != nil {
		return to, err
	}
	if r.stopped && len(to) > before {
		return to[:before], errAfterStop
	}
	if isText(c.finish) && !r.stopped {
		return r.stop(plain(c.finish), c.sequence, to)
	}
	return to, nil
}

func (r *chatReader) delta(d delta, to []Event) (_ []Event, err error) {
	if isText(d.reasoning) {
		r.strings = true
		to = r.say(Thinking, d.reasoning, to)
	}
	if d.details != "" {
		to = r.details(d.details, to)
	}
	if isText(d.content) {
		to = r.say(Text, d.content, to)
	} else if d.content != "" {
		to = r.parts(d.content, to)
	}
	if isText(d.refusal) {
		r.refused = true
		to = r.say(Refusal, d.refusal, to)
	}
	for raw := range elements(d.annotations) {
		to = r.block(Text, to)
		to = append(to, Event{Type: Cited, Index: r.next - 1, Cite: chatCitation(raw)})
	}
	for raw := range elements(d.calls) {
		if to, err = r.toolCall(raw, to); err != nil {
			return to, err
		}
	}
	if d.function != "" {
		return r.function(0, "", d.function, to)
	}
	return to, nil
}

// say adds text to the open block, or to a new one if that is of another kind.
func (r *chatReader) say(kind Kind, literal string, to []Event) []Event {
	to = r.block(kind, to)
	return append(to, Event{Type: Delta, Index: r.next - 1, Text: literal})
}

// block makes sure that a block of the kind is open. A signature ends a thought.
func (r *chatReader) block(kind Kind, to []Event) []Event {
	if r.open && r.kind == kind && !(kind == Thinking && r.signed) {
		return to
	}
	return r.begin(Event{Type: Open, Kind: kind}, to)
}

func (r *chatReader) begin(e Event, to []Event) []Event {
	to = r.shut(to)
	e.Index = r.next
	r.next++
	r.open, r.kind, r.signed = true, e.Kind, false
	return append(to, e)
}

// shut ends all that is open.
func (r *chatReader) shut(to []Event) []Event {
	if r.open {
		r.open = false
		to = append(to, Event{Type: Shut, Index: r.next - 1})
	}
	return r.shutCalls(true, to)
}

// parts reads content that is a list, as Mistral's is where the model thinks.
func (r *chatReader) parts(list string, to []Event) []Event {
	for part := range elements(list) {
		if text := member(part, "text"); isText(text) {
			to = r.say(Text, text, to)
		}
		for thought := range elements(member(part, "thinking")) {
			if text := member(thought, "text"); isText(text) {
				to = r.say(Thinking, text, to)
			}
		}
	}
	return to
}

// details reads OpenRouter's list of thoughts, which the gateway's own writer has too: see chat_thoughts.go.
func (r *chatReader) details(list string, to []Event) []Event {
	for detail := range elements(list) {
		foreign := foreignFormat(plain(member(detail, "format")))
		switch member(detail, "type") {
		case `"reasoning.encrypted"`:
			if data := plain(member(detail, "data")); data != "" && !foreign {
				to = r.shut(r.begin(Event{Type: Open, Kind: Thinking, Redacted: data}, to))
			}
		case `"reasoning.text"`, `"reasoning.summary"`:
			for _, name := range []string{"text", "summary"} {
				if text := member(detail, name); isText(text) && !r.strings {
					to = r.say(Thinking, text, to)
				}
			}
			if s := member(detail, "signature"); isText(s) && !foreign {
				to = r.block(Thinking, to)
				r.signed = true
				to = append(to, Event{Type: Signed, Index: r.next - 1, Text: s})
			}
		}
	}
	return to
}

func (r *chatReader) stop(reason, sequence string, to []Event) ([]Event, error) {
	if reason == "error" { // OpenRouter's: the provider behind it failed
		return to, &Failure{Type: "server_error", Message: "the provider ended the answer with an error"}
	}
	r.stopped = true
	e := Event{Type: Stopped, Stop: chatStop(reason)}
	switch {
	case e.Stop != StopEnd:
	case r.called: // a call that the client forced ends with "stop"
		e.Stop = StopTools
	case r.refused:
		e.Stop = StopRefusal
	case isText(sequence):
		e.Stop, e.Sequence = StopSequence, plain(sequence)
	}
	return append(r.shut(to), e), nil
}

func chatStop(reason string) Stop {
	switch reason {
	case "length", "max_tokens", "model_length":
		return StopLength
	case "tool_calls", "function_call":
		return StopTools
	case "content_filter":
		return StopRefusal
	}
	return StopEnd
}

// chatCitation reads an annotation.
func chatCitation(raw string) Citation {
	c := Citation{Start: -1, End: -1, Raw: raw}
	body := member(raw, "url_citation")
	if body == "" {
		body = raw
	}
	for name, value := range members(body) {
		switch name {
		case "url":
			c.URL = plain(value)
		case "title":
			c.Title = plain(value)
		case "content":
			c.Cited = plain(value)
		case "start_index":
			c.Start = wholeNumber(value)
		case "end_index":
			c.End = wholeNumber(value)
		}
	}
	return c
}

// wholeNumber is a number of 0 or more, -1 for anything else.
func wholeNumber(raw string) int64 {
	n, err := strconv.ParseInt(raw, 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}
