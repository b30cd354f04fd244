package dialect

import (
	"errors"
	"iter"
	"net/http"

	"jarvis-gateway/proxy/wire"
)

// Event is one step of an answer. A stream is: Start, then blocks, each Open, Delta..., Shut, then Stopped and Billed in
// either order. Readers keep that order and number blocks from 0 without gaps, whatever the provider does; a block's
// events may only mix with another's where the provider's do. Strings are valid until the next event is read.
type Event struct {
	Type     EventType
	Index    int        // the block, of Open, Delta, Signed, Cited and Shut
	Kind     Kind       // of Open: Text, Thinking, ToolUse, Refusal or Other
	ID, Name string     // of Start: the answer's id and the model; of Open: the tool call's id and name
	Text     string     // of Delta, and of Signed: a JSON string literal, quotes included, as the provider wrote it
	Redacted string     // of Open of Thinking: a hidden thought's opaque data, plain
	Raw      string     // of Open of Other: the block as the provider wrote it; of Start: extras of the provider
	Cite     Citation   // of Cited
	Stop     Stop       // of Stopped
	Sequence string     // of Stopped: the stop sequence that was met, plain
	Usage    wire.Usage // of Billed: all of the answer so far
}

// EventType is the kind of step.
type EventType uint8

// The steps.
const (
	Start   EventType = iota // the answer begins; nothing of it is content
	Open                     // a block begins
	Delta                    // more of a block: text, thought, or the JSON text of a tool's input
	Signed                   // the signature of a thought, or more of it
	Cited                    // a citation of the text before it
	Shut                     // the block is complete
	Stopped                  // why the answer ended
	Billed                   // what it cost; a later one replaces an earlier one
	Ping                     // the provider is alive
)

// Stop is why an answer ended.
type Stop uint8

// The reasons.
const (
	StopEnd      Stop = iota // the model was done
	StopLength               // the limit of tokens, or the model's context
	StopSequence             // a stop sequence
	StopTools                // tool calls
	StopRefusal              // the model or a filter refused
	StopPause                // a long turn was paused: send the answer back to go on
)

// Answer is a whole answer.
type Answer struct {
	ID, Model string
	Blocks    []Block
	Stop      Stop
	Sequence  string
	Usage     wire.Usage
	Tier      string // service tier, in OpenAI's words; "" when not said
	Refused   string // what the provider says about a refusal; "" when nothing
}

// Size is how many bytes the model wrote.
func (a *Answer) Size() (n int64) {
	for i := range a.Blocks {
		n += int64(len(a.Blocks[i].Text) + len(a.Blocks[i].Input))
	}
	return n
}

// Events is the answer as the stream that it would have been, for a client that asked for one and a provider that does not
// stream.
func (a *Answer) Events() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		if !yield(Event{Type: Start, ID: a.ID, Name: a.Model}) {
			return
		}
		for i := range a.Blocks {
			for _, e := range a.Blocks[i].events(i) {
				if !yield(e) {
					return
				}
			}
		}
		_ = yield(Event{Type: Stopped, Stop: a.Stop, Sequence: a.Sequence}) && yield(Event{Type: Billed, Usage: a.Usage})
	}
}

func (b *Block) events(index int) []Event {
	list := []Event{{Type: Open, Index: index, Kind: b.Kind, ID: b.ID, Name: b.Name, Redacted: b.Redacted, Raw: b.Raw}}
	text := b.Text
	if b.Kind == ToolUse {
		text = b.Input
	}
	if text != "" {
		list = append(list, Event{Type: Delta, Index: index, Text: string(wire.AppendString(nil, text))})
	}
	if b.Signature != "" {
		list = append(list, Event{Type: Signed, Index: index, Text: string(wire.AppendString(nil, b.Signature))})
	}
	for _, c := range b.Citations {
		list = append(list, Event{Type: Cited, Index: index, Cite: c})
	}
	return append(list, Event{Type: Shut, Index: index})
}

// mostHeld bounds what a writer keeps of an answer. Some dialects say at the end again what they have said, or prove it
// there.
const mostHeld = 16 << 20

// ErrTooLarge says why a writer gave an answer up. Writers that keep something of an answer have a method Full() bool; once
// it is true they write nothing more but a failure.
var ErrTooLarge = errors.New("the answer is too large to be translated")

func tooLarge() *wire.Error {
	return wire.Server(http.StatusBadGateway, "upstream_error", "The model's answer is too large.", ErrTooLarge)
}

// blockWeight is what a block or a citation costs besides its texts, about.
const blockWeight = 256

// weight is what an event costs those who keep it, about.
func (e *Event) weight() int {
	switch e.Type {
	case Open:
		return blockWeight + len(e.ID) + len(e.Name) + len(e.Redacted)
	case Delta, Signed:
		return len(e.Text)
	case Cited:
		return e.Cite.weight()
	case Start, Shut, Stopped, Billed, Ping:
	}
	return 0
}

func (c *Citation) weight() int {
	return blockWeight + len(c.URL) + len(c.Title) + len(c.Cited) + len(c.Raw)
}

func (b *Block) weight() int {
	n := blockWeight + len(b.ID) + len(b.Name) + len(b.Text) + len(b.Input) + len(b.Signature) + len(b.Redacted)
	for i := range b.Citations {
		n += b.Citations[i].weight()
	}
	return n
}
