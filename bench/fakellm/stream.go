package fakellm

import (
	"bytes"
	"errors"
	"io"
	"time"
)

// part says what a stream event is.
type part int

const (
	end      part = iota // there is no further event
	frame                // part of the protocol
	content              // carries generated output: one completion token
	terminal             // the event that tells that the stream is whole
)

// script yields the events of a stream, appended to dst, each to be one HTTP chunk.
type script interface {
	next(dst []byte) ([]byte, part)
}

// chunks is a script of ready bytes, all of them content.
type chunks struct{ all [][]byte }

func (s *chunks) next(dst []byte) ([]byte, part) {
	if len(s.all) == 0 {
		return dst, end
	}
	ev := s.all[0]
	s.all = s.all[1:]
	if bytes.HasPrefix(ev, []byte("data: [DONE]")) {
		return append(dst, ev...), terminal
	}
	return append(dst, ev...), content
}

// stream writes a script in the pace of the plan. fasthttp frames and flushes every Write as one HTTP chunk.
type stream struct {
	x     *exchange
	src   script
	parts int
	buf   []byte
	done  int // content events
	hit   bool
	begun bool
}

var (
	errLeft = errors.New("the peer has left")
	errCut  = errors.New("cut as planned")
)

func (x *exchange) sendStream(a answer) {
	st := &stream{x: x, src: a.script, parts: a.parts, buf: x.c.scratch[:0]}
	x.bill.Completion = a.hidden
	x.ctx.Response.ImmediateHeaderFlush = x.plan.FirstTokenDelay > 0 || x.plan.Fault == StallBeforeFirstToken
	x.ctx.Response.SetBodyStream(st, -1)
}

// SupportsBodyWriteTo lets fasthttp call WriteTo, so that the size of an HTTP chunk is ours.
func (st *stream) SupportsBodyWriteTo() bool { return true }

// Read is there for the type's sake: fasthttp uses WriteTo.
func (st *stream) Read([]byte) (int, error) {
	return 0, errors.New("fakellm speaks HTTP/1.1 to streams only")
}

// WriteTo writes the events until the script ends, the plan breaks it or the peer leaves.
func (st *stream) WriteTo(w io.Writer) (total int64, err error) {
	for {
		ev, kind := st.src.next(st.buf[:0])
		st.buf = ev
		if err := st.pace(w, ev, kind); err != nil {
			return total, err
		}
		if kind == end || kind == terminal && st.x.plan.Fault == NoDone || st.src == nil {
			st.x.finish()
			st.x.c.hangUp.Store(st.x.plan.Fault == KeepAliveClose)
			return total, nil
		}
		if err := st.write(w, ev); err != nil {
			return total, err
		}
		total += int64(len(ev))
		if kind == content {
			st.done++
			st.x.charge()
		}
	}
}

func (st *stream) write(w io.Writer, ev []byte) error {
	step := len(ev)
	if st.x.plan.ByteAtATime {
		step = 1
	}
	for ; len(ev) > 0; ev = ev[step:] {
		step = min(step, len(ev))
		if _, err := w.Write(ev[:step]); err != nil {
			st.x.left(time.Now())
			return err
		}
	}
	st.x.sent++
	st.x.s.counters.events.Add(1)
	if r := st.x.rec; r != nil {
		r.events.Store(int64(st.x.sent))
	}
	return nil
}

// pace waits before an event as planned and does the faults that are due.
func (st *stream) pace(w io.Writer, ev []byte, kind part) error {
	p := &st.x.plan
	if !st.begun {
		st.begun = true
		if p.Fault == StallBeforeFirstToken && !st.x.stall() || !st.x.wait(p.FirstTokenDelay) {
			return errLeft
		}
	} else if kind != end && !st.x.wait(p.EventDelay) {
		return errLeft
	}
	if st.hit || !st.due(kind) {
		return nil
	}
	st.hit = true
	return st.strike(w, ev)
}

// due reports whether the middle of the stream, in the sense of the plan, has been reached.
func (st *stream) due(kind part) bool {
	p := &st.x.plan
	switch p.Fault {
	case StallMidStream, CutMidStream, ResetMidStream, InStreamErrorMid, TruncatedBody, BadCRC, BadPrelude:
	default:
		if p.StallAfter == 0 {
			return false
		}
	}
	if p.StallAfter < 0 {
		return kind == content
	}
	if p.StallAfter > 0 {
		return st.done >= p.StallAfter
	}
	return st.done >= max(1, st.parts/2)
}

// strike does the fault; ev is the event that comes next.
func (st *stream) strike(w io.Writer, ev []byte) error {
	x := st.x
	switch x.plan.Fault {
	case CutMidStream, TruncatedBody:
		if x.s.dialect.splits && len(ev) > 1 {
			_, _ = w.Write(ev[:len(ev)/2]) // the peer may have left
		}
		return errCut
	case BadCRC, BadPrelude:
		if x.s.dialect.spoil != nil {
			x.s.dialect.spoil(x.plan.Fault, ev)
		}
		return nil
	case ResetMidStream:
		x.drop()
		x.c.reset()
		return errCut
	case InStreamErrorMid:
		for _, ev := range x.errorEvents() {
			if err := st.write(w, ev); err != nil {
				return err
			}
		}
		st.src = nil // the end
		return nil
	}
	if !x.stall() {
		return errLeft
	}
	return nil
}

// Close ends the exchange after the last byte, whole or not.
func (st *stream) Close() error {
	st.x.c.scratch = st.buf[:0]
	st.x.release()
	return nil
}

// charge bills one more completion token; recordings and whole answers in pieces are billed at once.
func (x *exchange) charge() {
	if !x.plan.raw() && !x.billed {
		x.bill.Completion++
	}
}
