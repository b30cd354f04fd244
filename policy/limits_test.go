package policy

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

func counters(t testing.TB) *counter.Counters {
	t.Helper()
	c, err := counter.Open(counter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// limiting is a gate whose limits count.
func limiting(t testing.TB, tenants map[string]Tenant, limits Limits) *Gate {
	t.Helper()
	g, err := New(Setup{Tenants: tenants, Limits: limits, Names: names, Counters: counters(t)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// admit takes a place; settle gives it back.
func admit(g *Gate, c *Caller) (*Grant, error) {
	grant := &Grant{}
	return grant, g.Admit(c, &Ask{Model: "chat"}, grant)
}

func settle(grant *Grant) { grant.Settle(wire.Usage{}, 0, true) }

// two are the tenants acme, with a limit, and globex.
func two(limit int64) map[string]Tenant {
	return map[string]Tenant{
		"acme":   {Limits: Limits{Concurrency: limit}, Keys: []Key{{Name: "a", Key: keyA}}},
		"globex": {Keys: []Key{{Name: "b", Key: keyB}}},
	}
}

// The limit is reached and never passed.
func TestConcurrency(t *testing.T) {
	const limit, callers, turns = 7, 16, 2000
	g := limiting(t, two(limit), Limits{Concurrency: limit + 2})
	acme := identify(t, g, keyA)
	var inside, most, served atomic.Int64
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for range turns {
				grant, err := admit(g, acme)
				if err != nil {
					continue
				}
				n := inside.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				served.Add(1)
				inside.Add(-1)
				settle(grant)
				settle(grant) // once is enough, twice does no harm
			}
		})
	}
	wait.Wait()
	if most.Load() > limit || served.Load() == 0 {
		t.Errorf("%d at once of %d, %d served", most.Load(), limit, served.Load())
	}
}

// A place that is free is given, and what one tenant is refused takes nothing from another. A reload forgets nobody.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a request waits where the whole gateway is full
		const limit = 7
		g := limiting(t, two(limit), Limits{Concurrency: limit + 2})
		acme, globex := identify(t, g, keyA), identify(t, g, keyB)
		var held []*Grant
		for range limit {
			grant, err := admit(g, acme)
			if err != nil {
				t.Fatalf("place %d of %d: %v", len(held)+1, limit, err)
			}
			held = append(held, grant)
		}
		_, err := admit(g, acme)
		var e *wire.Error
		if !errors.As(err, &e) || e.Status != 429 || e.Code != "rate_limit_exceeded" || e.Retry <= 0 {
			t.Errorf("over the tenant's limit: %v", err)
		}
		for range 2 {
			if _, err := admit(g, globex); err != nil {
				t.Errorf("another tenant is held up: %v", err)
			}
		}
		if _, err := admit(g, globex); err == nil {
			t.Error("the gateway's limit was passed")
		}
		next, err := New(Setup{Tenants: two(limit), Names: names, Counters: g.setup.Counters}, g)
		if err != nil {
			t.Fatal(err)
		}
		g.Close(next)
		again := identify(t, next, keyA)
		if _, err := admit(next, again); err == nil {
			t.Error("a reload forgot the requests in flight")
		}
		settle(held[0])
		if _, err := admit(next, again); err != nil {
			t.Errorf("a place given back to the gate before is lost: %v", err)
		}
	})
}

// A tenant at its limit that keeps asking takes no place from others, not even for a moment.
func TestRefusalTakesNoPlace(t *testing.T) {
	g := limiting(t, two(1), Limits{Concurrency: 2})
	greedy, other := identify(t, g, keyA), identify(t, g, keyB)
	if _, err := admit(g, greedy); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var crowd sync.WaitGroup
	for range 4 {
		crowd.Go(func() {
			for !stop.Load() {
				if _, err := admit(g, greedy); err == nil {
					t.Error("one too many")
				}
			}
		})
	}
	for range 50_000 {
		grant, err := admit(g, other)
		if err != nil {
			t.Errorf("refused while a place is free: %v", err)
			break
		}
		settle(grant)
	}
	stop.Store(true)
	crowd.Wait()
}

// With as many at once as there are places nobody is ever refused.
func TestNoStarvation(t *testing.T) {
	g := limiting(t, two(8), Limits{Concurrency: 8})
	who := identify(t, g, keyA)
	var crowd sync.WaitGroup
	for range 8 {
		crowd.Go(func() {
			for range 2000 {
				grant, err := admit(g, who)
				if err != nil {
					t.Error(err)
					return
				}
				settle(grant)
			}
		})
	}
	crowd.Wait()
}

// A config that is refused changes no limit of the one in force; one that is accepted does so at once.
func TestLimitsOfTheNextConfig(t *testing.T) {
	g := limiting(t, two(1), Limits{})
	if _, err := admit(g, identify(t, g, keyA)); err != nil {
		t.Fatal(err)
	}
	wrong := two(5)
	wrong["broken"] = Tenant{Keys: []Key{{}}}
	if _, err := New(Setup{Tenants: wrong, Names: names, Counters: g.setup.Counters}, g); err == nil {
		t.Fatal("accepted")
	}
	if _, err := New(Setup{Tenants: two(5), Names: names}, g); err != nil { // only checked
		t.Fatal(err)
	}
	if _, err := admit(g, identify(t, g, keyA)); err == nil {
		t.Error("a config that is not in force has changed a limit")
	}
	next, err := New(Setup{Tenants: two(0), Names: names, Counters: g.setup.Counters}, g)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := admit(next, identify(t, next, keyA)); err != nil {
			t.Fatal(err)
		}
	}
}

// The counters of what is in the directory are kept; those of what has left it, or never got in, are not.
func TestCountersAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := limiting(t, two(3), Limits{Concurrency: 9})
		const fixed = 2
		expect := func(when string, want int) {
			t.Helper()
			time.Sleep(time.Hour)
			if n := g.setup.Counters.Stats().Counters; n != want {
				t.Errorf("%s: %d counters, want %d", when, n, want)
			}
		}
		one := Limits{Concurrency: 1}
		learn := func(n int, role string, teams map[string]Team) {
			s := many(0, Limits{})
			for name := range s.Tenants {
				s.Tenants[name] = StoredTenant{Tenant: Tenant{Limits: one, Teams: teams}}
			}
			s.Keys = many(n, one).Keys
			for i := range s.Keys {
				s.Keys[i].Role = role
			}
			_ = g.Learn(s) // of roles that do not exist
		}
		expect("at first", fixed)
		learn(20, "", nil)
		expect("ten tenants and twenty keys", fixed+10+20)
		learn(20, "", nil)
		learn(20, Viewer, nil)
		expect("the keys have changed", fixed+10+20)
		learn(5, Viewer, map[string]Team{"dev": {Limits: one}})
		expect("the tenants have changed, and keys are gone", fixed+20+5)
		learn(5, "nobody", map[string]Team{"dev": {Limits: one}})
		expect("the keys make no sense", fixed+20)

		next, err := New(Setup{Tenants: two(3), Names: names, Counters: g.setup.Counters}, g)
		if err != nil {
			t.Fatal(err)
		}
		g.Close(next)
		g.Close(next)
		learn(0, "", nil) // comes too late for this gate
		expect("without the gateway's limit", fixed-1+20)
		next.Close(nil)
		expect("nobody", 0)
	})
}
