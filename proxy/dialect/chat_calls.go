package dialect

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"jarvis-gateway/proxy/wire"
)

// chatCall is a tool call that the server may go on with. Most servers write one call after another; some begin several
// and write their arguments in turns.
type chatCall struct {
	theirs   int    // the server's number for it, which some use for every call
	ours     int    // the block's number
	id, name string // as the server gave them
	input    nesting
	open     bool
	repeated bool // the name came again when the arguments were complete: more of them are another call's
}

// mostNamed bounds a call's id and name, which are kept.
const mostNamed = 64 << 10

// toolCall reads a piece of a tool call. Servers without an index send calls whole, or name them by their id.
func (r *chatReader) toolCall(raw string, to []Event) ([]Event, error) {
	index, id, function := -1, "", ""
	for name, value := range members(raw) {
		switch name {
		case "index":
			if n, err := strconv.Atoi(value); err == nil {
				index = max(n, 0)
			}
		case "id":
			id = plain(value)
		case "function":
			function = value
		}
	}
	if index < 0 {
		index = max(r.call, 0)
	}
	return r.function(index, id, function, to)
}

// function reads {name, arguments} of the call that the server counts as index.
func (r *chatReader) function(index int, id, function string, to []Event) (_ []Event, err error) {
	name, arguments := "", ""
	for n, value := range members(function) {
		switch n {
		case "name":
			name = plain(value)
		case "arguments":
			arguments = value
			if strings.HasPrefix(value, "{") { // some servers send the object itself
				arguments = string(wire.AppendString(nil, value))
			}
		}
	}
	r.called = true
	c, more := r.findCall(index), isText(arguments)
	if c != nil && c.repeated && more && name == "" {
		name = c.name
	}
	switch {
	case name != "" && (c == nil || c.endedBy(id, name, more)):
		if c, to, err = r.openCall(index, id, name, to); err != nil {
			return to, err
		}
	case !more:
	case c == nil && index > r.call:
		return to, fmt.Errorf("the answer has arguments of tool call %d before its name", index)
	case c == nil || !c.open:
		return to, fmt.Errorf("the answer goes on with tool call %d, which was complete", index)
	}
	if more {
		c.input.add(arguments)
		to = append(to, Event{Type: Delta, Index: c.ours, Text: arguments})
	}
	return to, nil
}

// endedBy tells whether a piece that has a name is of another call, though the server counts it as this one. Some servers
// count every call as the first, and tell them apart by their ids, or not at all; others repeat the name in every piece.
func (c *chatCall) endedBy(id, name string, more bool) bool {
	switch {
	case id != "":
		return id != c.id
	case name != c.name:
		return true
	case !c.input.complete():
		return false
	}
	c.repeated = true
	return more
}

// findCall finds the last call that the server counts as index.
func (r *chatReader) findCall(index int) *chatCall {
	for i := len(r.calls) - 1; i >= 0; i-- {
		if r.calls[i].theirs == index {
			return &r.calls[i]
		}
	}
	return nil
}

// openCall begins a call. Calls before it stay open until their arguments are complete.
func (r *chatReader) openCall(index int, id, name string, to []Event) (*chatCall, []Event, error) {
	if len(id) > mostNamed || len(name) > mostNamed {
		return nil, to, fmt.Errorf("tool call %d has an id or a name of more than %d bytes", index, mostNamed)
	}
	if r.open {
		to = r.shut(to)
	} else {
		to = r.shutCalls(false, to)
	}
	if len(r.calls) == mostOpen { // the oldest is not waited for
		to = r.calls[0].shut(to)
		r.calls = slices.Delete(r.calls, 0, 1)
	}
	c := chatCall{theirs: index, ours: r.next, id: strings.Clone(id), name: strings.Clone(name), open: true}
	r.calls = append(r.calls, c)
	r.call = index
	r.next++
	to = append(to, Event{Type: Open, Index: c.ours, Kind: ToolUse, ID: orNewID(id), Name: name})
	return &r.calls[len(r.calls)-1], to, nil
}

// shutCalls ends the calls that are open: all, or those whose arguments are complete.
func (r *chatReader) shutCalls(all bool, to []Event) []Event {
	for i := range r.calls {
		if c := &r.calls[i]; all || c.input.complete() {
			to = c.shut(to)
		}
	}
	return to
}

func (c *chatCall) shut(to []Event) []Event {
	if c.open {
		c.open = false
		to = append(to, Event{Type: Shut, Index: c.ours})
	}
	return to
}

// orNewID makes up the id of a call where the server gave none: clients need one to name the result's call.
func orNewID(id string) string {
	if id == "" {
		return "call_" + rand.Text()
	}
	return id
}

// nesting follows a JSON text that comes in pieces, only as far as to know whether it is a complete object.
type nesting struct {
	depth   int
	begun   bool // with an opening brace
	quoted  bool // inside of a string,
	escaped bool // and there behind a backslash
}

func (n *nesting) complete() bool { return n.begun && n.depth == 0 }

// add takes the next piece: a JSON string literal with its quotes, of which none ends within an escape.
func (n *nesting) add(literal string) {
	for text, i := inner(literal), 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' {
			i++
			switch c = text[i]; c {
			case 'u':
				code, _ := strconv.ParseUint(text[i+1:i+5], 16, 16)
				c = byte(min(code, 0x7f)) // beyond ASCII nothing matters
				i += 4
			case 'b', 'f', 'n', 'r', 't':
				c = ' '
			}
		}
		n.next(c)
	}
}

func (n *nesting) next(c byte) {
	switch {
	case n.escaped:
		n.escaped = false
	case n.quoted:
		n.escaped, n.quoted = c == '\\', c != '"'
	case c == '"':
		n.quoted = true
	case c == '{' || c == '[':
		n.begun = n.begun || n.depth == 0 && c == '{'
		n.depth++
	case c == '}' || c == ']':
		n.depth = max(0, n.depth-1)
	}
}
