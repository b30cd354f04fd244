package policy

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

func bulkheadGate(t *testing.T, most int, prev *Gate) *Gate {
	t.Helper()
	s := Setup{Tenants: map[string]Tenant{"a": {}, "b": {Priority: 9}}, Rooms: map[string]Room{"gpu": {Most: most, Queue: Queue{Max: 2, Wait: time.Minute}}}}
	if prev == nil {
		counters, err := counter.Open(counter.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { counters.Close() })
		s.Counters = counters
	} else {
		s.Counters = prev.counters
	}
	g, err := New(s, prev)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close(nil) })
	return g
}

func member(g *Gate, tenant string) *Caller {
	return &Caller{Tenant: tenant, tenant: g.directory.Load().tenants[tenant]}
}

// A place that is given back goes to who waits, the higher class first; who waits too long, or finds no place in line, is told
// when to come again, and that another target may serve him.
func TestBulkhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bulkheadGate(t, 1, nil)
		b := g.Bulkhead("gpu")
		if g.Bulkhead("other").Full() || b.Full() {
			t.Fatal("full at the start")
		}
		if err := b.Enter(member(g, "a"), nil, 0); err != nil || !b.Full() {
			t.Fatal(err)
		}
		var order []string
		for _, tenant := range []string{"a", "b"} {
			go func() {
				if err := b.Enter(member(g, tenant), nil, 0); err != nil {
					t.Error(err)
				}
				order = append(order, tenant)
				time.Sleep(time.Second)
				b.Leave()
			}()
			synctest.Wait()
		}
		var e *wire.Error
		if err := b.Enter(member(g, "a"), nil, 0); !errors.As(err, &e) || e.Status != 429 || !e.Failover || !e.Own || e.Retry < time.Second {
			t.Errorf("no place in line: %v", err)
		}
		b.Leave()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if len(order) != 2 || order[0] != "b" || b.Full() || b.crowd.Load() != 0 {
			t.Errorf("%v, %d inside", order, b.crowd.Load())
		}
		if err := b.Enter(member(g, "a"), nil, 0); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if err := b.Enter(member(g, "a"), nil, 0); !errors.As(err, &e) || time.Since(begun) != time.Minute {
			t.Errorf("waited %v: %v", time.Since(begun), err)
		}
		b.Leave()
		if b.Full() || b.taken.Load() != 0 {
			t.Error("a place is lost")
		}
	})
}

// A reload keeps those that are inside, and its new bound holds at once.
func TestBulkheadReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bulkheadGate(t, 1, nil)
		if err := g.Bulkhead("gpu").Enter(member(g, "a"), nil, 0); err != nil {
			t.Fatal(err)
		}
		in := false
		go func() {
			if err := g.Bulkhead("gpu").Enter(member(g, "a"), nil, 0); err != nil {
				t.Error(err)
			}
			in = true
		}()
		synctest.Wait()
		next := bulkheadGate(t, 2, g)
		time.Sleep(time.Second)
		synctest.Wait()
		if !in || !next.Bulkhead("gpu").Full() {
			t.Errorf("the place that there is now: %v", in)
		}
		g.Bulkhead("gpu").Leave()
		g.Bulkhead("gpu").Leave()
		if next.Bulkhead("gpu").Full() {
			t.Error("places are lost")
		}
	})
}
