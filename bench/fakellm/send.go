package fakellm

import (
	"bytes"
	"cmp"
	"strconv"
	"time"
)

const (
	jsonType = "application/json"
	sseType  = "text/event-stream; charset=utf-8"
)

// send puts the answer on the wire, or the broken part of it that the plan asks for.
func (x *exchange) send(a answer) {
	if a.status == 0 {
		a.status = 200
	}
	if a.script == nil && x.plan.ByteAtATime {
		a.script, a.hidden, x.billed = &chunks{all: [][]byte{a.body}}, x.bill.Completion, true
	}
	x.head(a)
	switch {
	case a.script != nil:
		x.sendStream(a)
	case x.plan.halves():
		x.sendHalf(a.body)
	default:
		x.ctx.Response.SetBodyRaw(a.body)
		x.c.hangUp.Store(x.plan.Fault == KeepAliveClose)
		x.finish()
	}
}

func (x *exchange) head(a answer) {
	x.status = a.status
	h := &x.ctx.Response.Header
	h.SetStatusCode(a.status)
	h.SetContentType(a.ctype)
	x.s.dialect.header(x, h)
	if d := x.plan.RetryAfter; d > 0 {
		h.Set("retry-after", strconv.Itoa(int((d+time.Second-1)/time.Second)))
		h.Set("retry-after-ms", strconv.Itoa(int(d/time.Millisecond)))
	}
	for name, value := range x.plan.Header {
		h.Set(name, value)
	}
	if r := x.rec; r != nil {
		x.s.log.update(r, func(s *Seen) { s.Status, s.Billed = a.status, x.bill })
	}
}

func (p *Plan) halves() bool {
	switch p.Fault {
	case TruncatedBody, CutMidStream, ResetMidStream, StallMidStream, StallBeforeFirstToken:
		return true
	}
	return false
}

// sendHalf writes the headers of the whole body but only half of it (or nothing of it), then does what the fault says.
func (x *exchange) sendHalf(body []byte) {
	h := &x.ctx.Response.Header
	h.SetContentLength(len(body) + 1)
	h.SetConnectionClose()
	half := body[:len(body)/2]
	if x.plan.Fault == StallBeforeFirstToken {
		half = nil
	}
	wire := append(bytes.Clone(h.Header()), half...)
	if _, err := x.ctx.Conn().Write(wire); err != nil {
		x.left(time.Now())
	}
	switch x.plan.Fault {
	case ResetMidStream:
		x.drop()
		x.c.reset()
		return
	case StallMidStream, StallBeforeFirstToken:
		x.stall()
	}
	x.drop()
	_ = x.ctx.Conn().Close() // closed is closed
}

// drop stops looking at the connection, before this side closes it.
func (x *exchange) drop() {
	if x.watch != nil {
		x.s.watcher.drop(x.watch)
		x.watch = nil
	}
}

// breakEarly does the faults that leave no answer at all.
func (x *exchange) breakEarly() bool {
	switch x.plan.Fault {
	case ResetBeforeHeaders:
		x.drop()
		x.c.reset()
	case CloseBeforeHeaders:
		x.drop()
		_ = x.ctx.Conn().Close() // closed is closed
	case Garbage:
		_, _ = x.ctx.Conn().Write([]byte("\x16\x03\x01 this is not HTTP\r\n\x00\xff\r\n")) // the peer may have left
		x.drop()
		_ = x.ctx.Conn().Close()
	default:
		return false
	}
	return true
}

// broken is the answer of the faults that replace it under status 200.
func (x *exchange) broken() answer {
	if !x.stream {
		if x.plan.Fault == GarbageEvents {
			return answer{ctype: jsonType, body: []byte("<html><body>upstream hiccup</body></html>")}
		}
		return x.fail(x.s.dialect.stock(x, cmp.Or(x.plan.FaultAs, 500)))
	}
	all := x.s.dialect.garbage()
	if x.plan.Fault == InStreamErrorFirst {
		all = x.errorEvents()
	}
	return answer{ctype: x.s.dialect.streamType, script: &chunks{all: all}, parts: len(all)}
}

// errorEvents is how this provider says inside a stream that it failed.
func (x *exchange) errorEvents() [][]byte {
	return x.s.dialect.broken(x, x.s.dialect.stock(x, cmp.Or(x.plan.FaultAs, 500)))
}

// replayed is the raw stream of the plan.
func (x *exchange) replayed() answer {
	all := x.plan.Chunks
	if all == nil {
		all = x.s.dialect.split(x.plan.SSE)
	}
	x.bill = recordedUsage(x.plan.Status, bytes.Join(all, nil))
	return answer{status: x.plan.Status, ctype: x.s.dialect.streamType, script: &chunks{all: all}, parts: len(all), hidden: x.bill.Completion}
}

func splitSSE(raw []byte) [][]byte {
	all := bytes.SplitAfter(raw, []byte("\n\n"))
	if len(all[len(all)-1]) == 0 {
		all = all[:len(all)-1]
	}
	return all
}
