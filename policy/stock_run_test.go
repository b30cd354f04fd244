package policy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

// running is a gate with limits on flow runs: of acme, where an end user has limits too, and of the whole gateway.
func running(t testing.TB, tenant, user, whole Limits) *Gate {
	t.Helper()
	return limiting(t, map[string]Tenant{
		"acme":   {Limits: tenant, UserLimits: user, Keys: []Key{{Name: "a", Key: keyA}}},
		"globex": {Keys: []Key{{Name: "b", Key: keyB}}},
	}, whole)
}

func TestFlowRuns(t *testing.T) {
	g := running(t, Limits{FlowRuns: 3}, Limits{FlowRuns: 2}, Limits{FlowRuns: 4})
	acme, globex := identify(t, g, keyA), identify(t, g, keyB)
	start := func(c *Caller, user string) *Run {
		t.Helper()
		r, err := g.StartRun(t.Context(), c, user)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	refused := func(c *Caller, user, message string) {
		t.Helper()
		r, err := g.StartRun(t.Context(), c, user)
		var e *wire.Error
		if errors.As(err, &e); r != nil || e == nil || e.Status != 429 || e.Type != wire.TypeRateLimit || e.Final || e.Retry != time.Second {
			t.Errorf("%v, %+v", r, e)
		}
		turnedDown(t, err, "rate_limit_exceeded", message)
	}
	one, two := start(acme, "ann"), start(acme, "ann")
	refused(acme, "ann", "Too many flows running: end user may have 2 at once. Please try again.")
	three := start(acme, "")
	refused(acme, "bob", "Too many flows running: tenant acme may have 3 at once.")
	four := start(globex, "")
	refused(globex, "ann", "Too many flows running: the gateway may have 4 at once.")

	// A reload forgets none, and what the gate before let in ends with it.
	next := reloaded(t, g)
	if _, err := next.StartRun(t.Context(), identify(t, next, keyB), ""); err == nil {
		t.Error("a reload forgot the runs")
	}
	for range 3 {
		one.End() // more than once gives one place back
	}
	start(globex, "").End()
	five := start(acme, "bob")
	refused(globex, "", "Too many flows running: the gateway may have 4 at once.")
	for _, r := range []*Run{two, three, four, five} {
		r.End()
	}
	for _, l := range append(g.standings("acme"), g.standings("")...) {
		if l.State.Held != 0 {
			t.Errorf("%s: %d places are held at the end", l.ID, l.State.Held)
		}
	}
}

// reloaded is the gate that a reload without a change makes of another.
func reloaded(t *testing.T, g *Gate) *Gate {
	t.Helper()
	next, err := New(g.setup, g)
	if err != nil {
		t.Fatal(err)
	}
	g.Close(next)
	return next
}

// Who has no such limit starts what he wants, and requests need no place of a flow's.
func TestFlowRunsWithoutALimit(t *testing.T) {
	g := running(t, Limits{FlowRuns: 1, Requests: rates(t, "10/d")}, Limits{}, Limits{})
	for range 100 {
		if _, err := g.StartRun(t.Context(), identify(t, g, keyB), ""); err != nil {
			t.Fatal(err)
		}
	}
	acme := identify(t, g, keyA)
	for range 5 {
		if _, err := admit(g, acme); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.StartRun(t.Context(), acme, ""); err != nil {
		t.Error(err)
	}
}

// A token's word of who the end user is counts more than a request's.
func TestFlowRunsByToken(t *testing.T) {
	g := running(t, Limits{}, Limits{FlowRuns: 1}, Limits{})
	c, err := g.holder(g.directory.Load(), &token{tenant: "acme", subject: "s", user: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.StartRun(t.Context(), c, "bob"); err != nil {
		t.Fatal(err)
	}
	_, err = g.StartRun(t.Context(), c, "carl")
	turnedDown(t, err, "rate_limit_exceeded", "Too many flows running: end user may have 1 at once.")
	if _, err := g.StartRun(t.Context(), identify(t, g, keyA), "carl"); err != nil {
		t.Error(err)
	}
}

// The limit is reached and never passed, and what is refused takes no place, not even for a moment.
func TestFlowRunsAtOnce(t *testing.T) {
	const limit, starters, turns = 5, 12, 500
	g := running(t, Limits{FlowRuns: limit}, Limits{FlowRuns: 100}, Limits{FlowRuns: limit + 1})
	acme, globex := identify(t, g, keyA), identify(t, g, keyB)
	var inside, most, served atomic.Int64
	var wg sync.WaitGroup
	for i := range starters {
		wg.Go(func() {
			for range turns {
				r, err := g.StartRun(context.Background(), acme, fmt.Sprint(i%3))
				if err != nil {
					continue
				}
				n := inside.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				served.Add(1)
				inside.Add(-1)
				r.End()
			}
		})
	}
	wg.Go(func() {
		for range starters * turns {
			r, err := g.StartRun(context.Background(), globex, "")
			if err != nil {
				t.Errorf("refused while a place is free: %v", err)
				return
			}
			r.End()
		}
	})
	wg.Wait()
	if most.Load() > limit || served.Load() == 0 {
		t.Errorf("%d at once of %d, %d served", most.Load(), limit, served.Load())
	}
}

func TestFlowRunsQueue(t *testing.T) {
	queue := Limits{FlowRuns: 1, OnExceed: OnExceed{Action: "queue"}, Queue: Queue{Max: 2, Wait: 10 * time.Second}}
	type outcome struct {
		r   *Run
		err error
		at  time.Time
	}
	synctest.Test(t, func(t *testing.T) {
		g := running(t, queue, Limits{}, Limits{})
		acme := identify(t, g, keyA)
		first, err := g.StartRun(t.Context(), acme, "")
		if err != nil {
			t.Fatal(err)
		}
		start := func(ctx context.Context) chan outcome {
			done := make(chan outcome, 1)
			go func() {
				r, err := g.StartRun(ctx, acme, "")
				done <- outcome{r, err, time.Now()}
			}()
			synctest.Wait()
			return done
		}
		leaving, leave := context.WithCancelCause(t.Context())
		second, third := start(leaving), start(t.Context())
		_, err = g.StartRun(t.Context(), acme, "") // a third may not wait
		turnedDown(t, err, "rate_limit_exceeded", "Limit reached: tenant acme, flow_runs 1. 2 requests wait for it already, as many as may.")

		gone := errors.New("gone")
		leave(gone)
		if o := <-second; o.r != nil || o.err != gone {
			t.Errorf("who left was told %v", o.err)
		}
		began := time.Now()
		first.End()
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.StartRun(hasty, acme, ""); err != context.DeadlineExceeded {
			t.Errorf("who came later got the place of one in line: %v", err)
		}
		o := <-third
		if o.err != nil || o.at != began {
			t.Fatalf("the place was not handed on at once: %v", o.err)
		}
		fourth := start(t.Context())
		began = time.Now()
		turnedDown(t, (<-fourth).err, "rate_limit_exceeded", "Limit reached: tenant acme, flow_runs 1. The request waited 10s in vain.")
		if waited := time.Since(began); waited != 10*time.Second {
			t.Errorf("waited %v", waited)
		}

		// The line survives a reload.
		fifth := start(t.Context())
		next := reloaded(t, g)
		o.r.End()
		if o = <-fifth; o.err != nil {
			t.Fatal(o.err)
		}
		for range 2 {
			o.r.End()
		}
		if list := next.standings("acme"); len(list) != 1 || list[0].State.Held != 0 {
			t.Errorf("at the end: %+v", list)
		}
		next.Close(nil)
	})
}

// At the head of the line another limit may be short, which says what happens then; a lesser model is of no use to a flow.
func TestFlowRunsQueueThenReject(t *testing.T) {
	queue := Limits{FlowRuns: 1, OnExceed: OnExceed{Action: "queue"}}
	whole := Limits{FlowRuns: 2, OnExceed: OnExceed{Action: "downgrade", Model: "chat"}}
	synctest.Test(t, func(t *testing.T) {
		g := running(t, queue, Limits{}, whole)
		acme, globex := identify(t, g, keyA), identify(t, g, keyB)
		first, err := g.StartRun(t.Context(), acme, "")
		if err != nil {
			t.Fatal(err)
		}
		refused := make(chan error, 1)
		go func() {
			_, err := g.StartRun(t.Context(), acme, "")
			refused <- err
		}()
		synctest.Wait()
		if _, err := g.StartRun(t.Context(), globex, ""); err != nil {
			t.Fatal(err)
		}
		_, err = g.StartRun(t.Context(), globex, "")
		const full = "Too many flows running: the gateway may have 2 at once."
		turnedDown(t, err, "rate_limit_exceeded", full)
		// The place that one gives back a third takes before the one in line can: the gateway is full when its turn comes.
		needs := []counter.Need{{Counter: g.directory.Load().whole.level(FlowRuns).counter, N: 1}}
		g.line.mu.Lock()
		for i := range first.needs {
			first.needs[i].Counter.Settle(1, 0)
		}
		if _, ok := g.counters.Take(needs); !ok {
			t.Error("no place was given back")
		}
		g.line.mu.Unlock()
		first.ended.Store(true)
		g.line.freed(first.needs)
		turnedDown(t, <-refused, "rate_limit_exceeded", full)
	})
}

// Where limits cannot be checked, on_error says what happens.
func TestFlowRunsWithoutRedis(t *testing.T) {
	for onError, want := range map[string]string{"closed": "limits_unavailable", "open": ""} {
		c, err := counter.Open(counter.Options{URL: "redis://127.0.0.1:1/0", OnError: onError})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() }) // it cannot report
		tenants := map[string]Tenant{"acme": {Limits: Limits{FlowRuns: 1, OnExceed: OnExceed{Action: "queue"}}, Keys: []Key{{Name: "a", Key: keyA}}}}
		g, err := New(Setup{Tenants: tenants, Names: names, Counters: c}, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := g.StartRun(t.Context(), identify(t, g, keyA), "")
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", onError, err)
			} else {
				r.End()
			}
			continue
		}
		turnedDown(t, err, want, "Limits cannot be checked at the moment.")
	}
}
