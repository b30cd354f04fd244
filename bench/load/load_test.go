package load

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRightReplies(t *testing.T) {
	events := streamEvents("a", "b\n", `"c"`)
	for _, c := range []struct {
		name, reply string
		stream      bool
	}{
		{"plain", plainReply(plainBody), false},
		{"plain in chunks", chunkedReply(plainBody[:10], plainBody[10:]), false},
		{"stream, a chunk per event", chunkedReply(sse(events[0]), sse(events[1]), sse(events[2:]...)), true},
		{"stream in one chunk", chunkedReply(sse(events...)), true},
		{"stream cut anywhere", chunkedReply(strings.Split(sse(events...), "")...), true},
		{"stream with comments and CRLF", chunkedReply(": hello\n\n" + strings.ReplaceAll(sse(events...), "\n", "\r\n")), true},
		{"stream with a length", plainReply(sse(events...)), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := plan(upstream(t, always(c.reply)), c.stream)
			p.Rate = 200
			r := runFor(t, p, 20*time.Millisecond)
			if r.OK != 4 || r.OK != r.Sent {
				t.Errorf("%d of %d right: %v", r.OK, r.Sent, r.Fault)
			}
			if c.stream && r.Events != r.OK*5 {
				t.Errorf("%d events in %d streams of 5", r.Events, r.OK)
			}
			if r.Latency.TotalCount() != r.OK || r.First.TotalCount() != r.OK {
				t.Errorf("%d latencies, %d first events for %d replies", r.Latency.TotalCount(), r.First.TotalCount(), r.OK)
			}
		})
	}
}

// A server that lies in one reply must be found out, and the rest must still count as right.
func TestLies(t *testing.T) {
	ok := streamEvents("a", "b\n", `"c"`)
	missing := append(append([]string{}, ok[:2]...), ok[3:]...)
	swapped := append([]string{}, ok...)
	swapped[1], swapped[2] = swapped[2], swapped[1]
	whole := chunkedReply(sse(ok...))
	for _, c := range []struct {
		name, lie   string
		stream      bool
		wrong, lost int64
		why         string
	}{
		{"wrong byte", plainReply(strings.Replace(plainBody, "lamps", "lamqs", 1)), false, 1, 0, "part at byte"},
		{"short body", plainReply(plainBody[:40]), false, 1, 0, "body of 40 bytes"},
		{"status", strings.Replace(plainReply(plainBody), "200 OK", "502 No", 1), false, 1, 0, "status 502"},
		{"cut body", plainReply(plainBody)[:150] + hangUp, false, 0, 1, "unexpected EOF"},
		{"no reply", hangUp, false, 0, 1, "unexpected EOF"},
		{"not HTTP", "SSH-2.0-x\r\n\r\n" + hangUp, false, 0, 1, "malformed head"},
		{"no framing", "HTTP/1.1 200 OK\r\n\r\n" + hangUp, false, 0, 1, "neither"},
		{"wrong text", chunkedReply(strings.Replace(sse(ok...), `"a"`, `"x"`, 1)), true, 1, 0, "content differs"},
		{"missing event", chunkedReply(sse(missing...)), true, 1, 0, "4 events, want 5"},
		{"swapped events", chunkedReply(sse(swapped...)), true, 1, 0, "content differs"},
		{"no DONE", chunkedReply(sse(ok[:5]...)), true, 1, 0, "no [DONE]"},
		{"after DONE", chunkedReply(sse(append(ok[:6:6], ok[1])...)), true, 1, 0, "after [DONE]"},
		{"error event", chunkedReply(sse(ok[0], `{"error":{"message":"gone"}}`)), true, 1, 0, "error event"},
		{"half an event", chunkedReply(sse(ok[0][:20])), true, 1, 0, "no object"},
		{"cut stream", whole[:len(whole)-30] + hangUp, true, 0, 1, "unexpected EOF"},
		{"last chunk missing", strings.TrimSuffix(whole, "0\r\n\r\n") + hangUp, true, 0, 1, "unexpected EOF"},
		{"bad chunk size", strings.Replace(whole, "\r\n\r\n", "\r\n\r\nxyz", 1) + hangUp, true, 0, 1, "malformed chunk"},
	} {
		t.Run(c.name, func(t *testing.T) {
			right := plainReply(plainBody)
			if c.stream {
				right = whole
			}
			p := plan(lieOnce(t, right, c.lie), c.stream)
			p.Rate = 200
			r := runFor(t, p, 30*time.Millisecond)
			if r.Wrong != c.wrong || r.Lost != c.lost || r.OK != 5 {
				t.Errorf("wrong %d, lost %d, ok %d; want wrong %d, lost %d", r.Wrong, r.Lost, r.OK, c.wrong, c.lost)
			}
			if r.Fault == nil || !strings.Contains(r.Fault.Error(), c.why) {
				t.Errorf("fault %v, want %q", r.Fault, c.why)
			}
		})
	}
}

// lieOnce tells the lie as its third reply.
func lieOnce(t *testing.T, right, lie string) (addr string) {
	return upstream(t, func(n int) string {
		if n == 2 {
			return lie
		}
		return right
	})
}

// A reply that never comes is lost when the patience ends, not waited for.
func TestLostReply(t *testing.T) {
	t.Parallel()
	unlessBusy(t, func() error {
		addr := upstream(t, func(n int) string {
			if n == 1 {
				return ""
			}
			return plainReply(plainBody)
		})
		p := plan(addr, false)
		p.Patience = 3 * time.Second
		start := time.Now()
		r := runFor(t, p, time.Second)
		if d := time.Since(start); r.Lost != 1 || r.OK != 1 || d > time.Minute {
			return fmt.Errorf("lost %d, ok %d; want 1 and 1; waited %v", r.Lost, r.OK, d)
		}
		return nil
	})
}

// unlessBusy tries what a pause of the machine, which is longer than the load's patience, can spoil.
func unlessBusy(t *testing.T, try func() error) {
	t.Helper()
	err := try()
	for n := 1; n < 5 && err != nil; n++ {
		err = try()
	}
	if err != nil {
		t.Error(err)
	}
}

// A server that goes away makes every request lost, not a hot loop of dials.
func TestServerGone(t *testing.T) {
	p := plan(upstream(t, always(hangUp)), false)
	p.Rate, p.Conns = 100, 4
	r := runFor(t, p, 200*time.Millisecond)
	if r.Sent != 20 || r.Lost != 20 {
		t.Errorf("sent %d, lost %d; want 20 and 20", r.Sent, r.Lost)
	}
}

// Coordinated omission: a server that stalls once for 300 ms under 200 requests per second makes 60 requests late by
// 300, 295, ... 5 ms. A load that waited with the server would see a single slow one.
func TestOpenLoopChargesAStall(t *testing.T) {
	const stall = 300 * time.Millisecond
	addr := upstream(t, func(n int) string {
		if n == 20 {
			time.Sleep(stall)
		}
		return plainReply(plainBody)
	})
	p := plan(addr, false)
	p.Rate = 200
	r := runFor(t, p, time.Second)
	if r.OK != 200 {
		t.Fatalf("%d of 200 right: %v", r.OK, r.Fault)
	}
	late := int64(0)
	for _, b := range r.Latency.Distribution() {
		if b.From >= (50 * time.Millisecond).Microseconds() {
			late += b.Count
		}
	}
	if late < 45 { // more if this machine stalls as well
		t.Errorf("%d requests were 50 ms late or more; want 50", late)
	}
	if m := r.Latency.Max(); m < stall.Microseconds() {
		t.Errorf("slowest %d us, want 300,000 or more", m)
	}
}

// With a connection to spare the same stall costs one request only: the others go out on time.
func TestOpenLoopGoesRoundAStall(t *testing.T) {
	t.Parallel()
	unlessBusy(t, func() error {
		addr := upstream(t, func(n int) string {
			if n == 20 {
				return "" // a stall without end
			}
			return plainReply(plainBody)
		})
		p := plan(addr, false)
		p.Rate, p.Conns, p.Patience = 200, 4, 3*time.Second
		r := runFor(t, p, 500*time.Millisecond)
		if r.OK != 99 || r.Lost != 1 {
			return fmt.Errorf("ok %d, lost %d; want 99 and 1", r.OK, r.Lost)
		}
		return nil
	})
}

// When a request is due depends on the start and the rate, never on when the one before was answered.
func TestDueTimes(t *testing.T) {
	start := time.Now().Add(-time.Second) // past, so that nothing waits
	s := (&Load{plan: Plan{Rate: 1000}}).schedule(start, 5*time.Millisecond)
	c := &conn{alarm: &alarm{}}
	for i := range 5 {
		due, ok := s.next(c)
		if want := start.Add(time.Duration(i) * time.Millisecond); !ok || !due.Equal(want) {
			t.Errorf("request %d is due %v after the start, want %v", i, due.Sub(start), want.Sub(start))
		}
	}
	if _, ok := s.next(c); ok {
		t.Error("more requests than the rate has in 5 ms")
	}
}

func TestOpenLoopKeepsItsRate(t *testing.T) {
	p := plan(upstream(t, always(plainReply(plainBody))), false)
	p.Rate, p.Conns = 500, 8
	r := runFor(t, p, 400*time.Millisecond)
	if r.OK != 200 {
		t.Errorf("%d requests, want exactly 200: %v", r.OK, r.Fault)
	}
	if r.Elapsed < 390*time.Millisecond {
		t.Errorf("took %v", r.Elapsed)
	}
}

func TestStopsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := plan(upstream(t, func(int) string {
		cancel()
		return ""
	}), false)
	l, err := Open(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	r := l.Run(ctx, time.Minute)
	if d := time.Since(start); d > 30*time.Second || r.Lost != 1 {
		t.Errorf("stopped after %v with %d lost", d, r.Lost)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestWarmUsesEveryConnection(t *testing.T) {
	answered := make(chan int, 10)
	addr := upstream(t, func(n int) string {
		answered <- n
		return plainReply(plainBody)
	})
	p := plan(addr, false)
	p.Conns = 3
	l, err := Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err = l.Warm(t.Context()); err != nil || len(answered) != 3 {
		t.Errorf("%d requests, %v; want 3", len(answered), err)
	}
}

// A stream's first token is its first text, not the event before that names the role.
func TestFirstToken(t *testing.T) {
	var e events
	e.reset()
	for i, ev := range streamEvents("a", "b") {
		e.part([]byte(sse(ev)))
		if seen := !e.first.IsZero(); seen != (i >= 1) {
			t.Errorf("after event %d: first token seen is %v", i, seen)
		}
	}
}

func TestAdd(t *testing.T) {
	p := plan(upstream(t, always(plainReply(plainBody))), false)
	a, b := runFor(t, p, 10*time.Millisecond), runFor(t, p, 10*time.Millisecond)
	b.Fault = errors.New("x")
	sum := New()
	sum.Add(a)
	sum.Add(b)
	if sum.OK != a.OK+b.OK || sum.Latency.TotalCount() != sum.OK || sum.Elapsed != a.Elapsed+b.Elapsed || sum.Fault != b.Fault {
		t.Errorf("sum %+v of %+v and %+v", sum, a, b)
	}
}
