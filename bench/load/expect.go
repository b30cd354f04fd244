package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Expect says what a right reply is. The check runs on every reply of a measurement, so it is made of comparisons
// and one pass over a stream's events; Probe compares one reply thoroughly beforehand.
type Expect struct {
	Stream bool
	Body   []byte   // a plain reply, byte for byte
	Parts  [][]byte // if Body is nil: pieces that a plain reply holds in this order
	Events int      // of a stream, [DONE] not counted
	Text   uint64   // checksum of a stream's concatenated content
}

// wrong is a complete reply that is not the expected one. Any other fault means that the reply was lost.
type wrong struct{ why string }

func (w *wrong) Error() string { return w.why }

func wrongf(format string, args ...any) error { return &wrong{fmt.Sprintf(format, args...)} }

// answer is one reply being read and judged. It is the sink of its connection's reader and reused for the next reply.
type answer struct {
	body   []byte // of a plain or unsuccessful reply
	events events
	stream bool
}

func (a *answer) reset(stream bool) {
	a.body, a.stream = a.body[:0], stream
	a.events.reset()
}

func (a *answer) part(p []byte) {
	if a.stream {
		a.events.part(p)
		return
	}
	a.body = append(a.body, p...)
}

func (a *answer) check(e *Expect, h head) error {
	switch {
	case h.status != 200:
		return wrongf("status %d: %.200q", h.status, a.body)
	case e.Stream:
		return a.events.check(e)
	case e.Body != nil:
		return checkBody(a.body, e.Body)
	}
	return checkParts(a.body, e.Parts)
}

func checkBody(got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	return wrongf("body of %d bytes, want %d; they part at byte %d: %.60q, want %.60q", len(got), len(want), i, got[i:], want[i:])
}

func checkParts(got []byte, parts [][]byte) error {
	if !json.Valid(got) { // what stands between the parts cannot be compared, but it can be looked at
		return wrongf("body is not JSON: %.200q", got)
	}
	rest := got
	for _, p := range parts {
		i := bytes.Index(rest, p)
		if i < 0 {
			return wrongf("body lacks %.60q: %.200q", p, got)
		}
		rest = rest[i+len(p):]
	}
	return nil
}

// events counts and sums the events of one SSE stream, split at any byte.
type events struct {
	rest  []byte // of a line whose end has not arrived
	n     int
	text  uint64
	done  bool
	first time.Time // when the first event with content was complete
	fault string
}

func (e *events) reset() { *e = events{rest: e.rest[:0], text: fnvStart} }

func (e *events) part(p []byte) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			e.rest = append(e.rest, p...)
			return
		}
		if len(e.rest) > 0 {
			e.rest = append(e.rest, p[:i]...)
			e.line(e.rest)
			e.rest = e.rest[:0]
		} else {
			e.line(p[:i])
		}
		p = p[i+1:]
	}
}

var (
	dataField = []byte("data:")
	doneMark  = []byte("[DONE]")
	errorHead = []byte(`{"error"`)
	contentIs = []byte(`"content":`)
)

func (e *events) line(l []byte) {
	if !bytes.HasPrefix(l, dataField) {
		return // an empty line, a comment or another field
	}
	data := bytes.TrimSpace(l[len(dataField):])
	switch {
	case e.done:
		e.fault = "event after [DONE]"
	case bytes.Equal(data, doneMark):
		e.done = true
		return
	case len(data) < 2 || data[0] != '{' || data[len(data)-1] != '}':
		e.fault = fmt.Sprintf("event is no object: %.60q", data)
	case bytes.HasPrefix(data, errorHead):
		e.fault = fmt.Sprintf("error event: %.200q", data)
	}
	e.n++
	c := content(data)
	if len(c) > 0 && e.first.IsZero() {
		e.first = time.Now() // a role without text is no token, and a gateway may hold it back
	}
	e.text = sum(e.text, c)
}

func (e *events) check(want *Expect) error {
	switch {
	case e.fault != "":
		return wrongf("%s", e.fault)
	case !e.done:
		return wrongf("no [DONE] after %d events", e.n)
	case e.n != want.Events:
		return wrongf("%d events, want %d", e.n, want.Events)
	case e.text != want.Text:
		return wrongf("content differs: checksum %x, want %x", e.text, want.Text)
	}
	return nil
}

// content returns the raw JSON text of an event's "content", still escaped: a relay has no reason to escape it anew.
func content(data []byte) []byte {
	i := bytes.Index(data, contentIs)
	if i < 0 {
		return nil
	}
	s := bytes.TrimLeft(data[i+len(contentIs):], " ")
	if len(s) == 0 || s[0] != '"' {
		return nil // null
	}
	s = s[1:]
	for k := 0; k < len(s); k++ {
		switch s[k] {
		case '\\':
			k++
		case '"':
			return s[:k]
		}
	}
	return s
}

const fnvStart uint64 = 14695981039346656037

// sum continues the FNV-1a checksum h over b. The pieces are a few bytes each: a stronger hash would cost more in set-up.
func sum(h uint64, b []byte) uint64 {
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}
