package policy

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

// A reload that has a limit count in another way makes its counter anew. Those who wait for it are still first: whoever comes
// then joins them, though there is enough for him at once.
func TestLineOutlivesAlgorithms(t *testing.T) {
	for name, change := range map[string]func(*Rate){
		"a larger window": func(r *Rate) { r.Amount = 4 },
		"a bucket":        func(r *Rate) { r.Amount, r.Algorithm = 2, "token_bucket" },
		"a leaky bucket":  func(r *Rate) { r.Amount, r.Burst, r.Algorithm = 2, 2, "leaky_bucket" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limit := rates(t, "2/m")
				tenants := func() map[string]Tenant {
					return map[string]Tenant{"acme": {Keys: []Key{{Name: "a", Key: keyA}}, Limits: Limits{
						Requests: slices.Clone(limit), OnExceed: OnExceed{Action: "queue"}, Queue: Queue{Max: 10, Wait: 5 * time.Minute}}}}
				}
				g := limiting(t, tenants(), Limits{})
				var mu sync.Mutex
				var in []string
				come := func(g *Gate, name string) {
					c := identify(t, g, keyA)
					go func() {
						grant := &Grant{}
						if err := g.Admit(c, &Ask{Model: "chat"}, grant); err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						defer mu.Unlock()
						in = append(in, name)
						grant.Settle(wire.Usage{}, 0, true)
					}()
					synctest.Wait()
				}
				for _, name := range []string{"a", "b", "first", "second"} {
					come(g, name)
				}
				change(&limit[0])
				next, err := New(Setup{Tenants: tenants(), Names: names, Counters: g.setup.Counters}, g)
				if err != nil {
					t.Fatal(err)
				}
				g.Close(next)
				come(next, "newcomer")
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				if len(in) > 3 {
					slices.Sort(in[2:4]) // there is room for both at one time, and not for the newcomer
				}
				if !slices.Equal(in, []string{"a", "b", "first", "second", "newcomer"}) {
					t.Errorf("they got in as %v", in)
				}
				if n := next.line.waiting.Load(); n != 0 || len(next.line.desks)+len(next.line.rooms)+len(next.line.lanes) > 0 {
					t.Errorf("%d wait still, at %d desks, in %d rooms and %d lanes", n, len(next.line.desks), len(next.line.rooms), len(next.line.lanes))
				}
			})
		})
	}
}

// The places in front of a limit are counted on, too, and what is given back by a request of the gate before is news at once.
func TestLinePlacesOutliveAlgorithms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counters := counters(t)
		spec := counter.Spec{Name: "tenant/acme/requests/m", Algorithm: counter.Sliding, Limit: 1, Window: time.Minute}
		needs := func() []counter.Need { return []counter.Need{{Counter: counters.Get(spec), N: 1}} }
		l, before := newLine(everyone), needs()
		if _, ok := counters.Take(before); !ok {
			t.Fatal("nothing is free")
		}
		var wg sync.WaitGroup
		wait := func(needs []counter.Need) (err error) {
			return l.wait(&waiter{tenant: "acme", priority: 5, needs: needs, places: 1, limit: time.Hour, name: func(int) string { return "acme" },
				try: func() (counter.Short, bool, error) { why, ok := counters.Take(needs); return why, ok, nil }})
		}
		wg.Go(func() {
			if err := wait(before); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		spec.Algorithm = counter.Token
		after := needs()
		if l.behind(after) != 0 {
			t.Error("nobody is seen to wait")
		}
		turnedDown(t, wait(after), "rate_limit_exceeded", "1 requests wait for it already")
		began := time.Now()
		before[0].Counter.Settle(1, 0)
		l.freed(after)
		if wg.Wait(); time.Since(began) != 0 {
			t.Errorf("what was given back was noticed after %s", time.Since(began))
		}
	})
}
