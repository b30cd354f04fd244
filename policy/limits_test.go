package policy

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func identify(t *testing.T, g *Gate, key string) *Caller {
	t.Helper()
	c, err := g.Identify([]byte(key), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A tenant at its limit that keeps asking takes no place from others, not even for a moment.
func TestRefusalTakesNoPlace(t *testing.T) {
	g := gate(t, map[string]Tenant{
		"acme":   {Limits: Limits{Concurrency: 1}, Keys: []Key{{Name: "a", Key: keyA}}},
		"globex": {Keys: []Key{{Name: "b", Key: keyB}}},
	}, Limits{Concurrency: 2})
	greedy, other := identify(t, g, keyA), identify(t, g, keyB)
	if _, err := g.Admit(greedy); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var crowd sync.WaitGroup
	for range 4 {
		crowd.Go(func() {
			for !stop.Load() {
				if _, err := g.Admit(greedy); err == nil {
					t.Error("one too many")
				}
			}
		})
	}
	for range 200_000 {
		grant, err := g.Admit(other)
		if err != nil {
			t.Errorf("refused while a place is free: %v", err)
			break
		}
		grant.Settle()
	}
	stop.Store(true)
	crowd.Wait()
}

// With as many at once as there are places nobody is ever refused.
func TestNoStarvation(t *testing.T) {
	g := gate(t, map[string]Tenant{"acme": {Limits: Limits{Concurrency: 8}, Keys: []Key{{Name: "a", Key: keyA}}}}, Limits{Concurrency: 8})
	who := identify(t, g, keyA)
	var crowd sync.WaitGroup
	for range 8 {
		crowd.Go(func() {
			for range 2000 {
				grant, err := g.Admit(who)
				if err != nil {
					t.Error(err)
					return
				}
				grant.Settle()
			}
		})
	}
	crowd.Wait()
}

// A config that is refused changes no limit of the one in force; one that is accepted does so at once.
func TestLimitsOfTheNextConfig(t *testing.T) {
	tenants := func(limit int) map[string]Tenant {
		return map[string]Tenant{"acme": {Limits: Limits{Concurrency: limit}, Keys: []Key{{Name: "a", Key: keyA}}}}
	}
	g := gate(t, tenants(1), Limits{})
	if _, err := g.Admit(identify(t, g, keyA)); err != nil {
		t.Fatal(err)
	}
	wrong := tenants(5)
	wrong["broken"] = Tenant{Keys: []Key{{}}}
	if _, err := New(wrong, Limits{}, names, g); err == nil {
		t.Fatal("accepted")
	}
	if _, err := g.Admit(identify(t, g, keyA)); err == nil {
		t.Error("a refused config has changed a limit")
	}
	next, err := New(tenants(0), Limits{}, names, g)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := next.Admit(identify(t, next, keyA)); err != nil {
			t.Fatal(err)
		}
	}
}

// Expiry is a moment: the day in UTC begins it, a time zone moves it.
func TestExpiry(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	for expires, works := range map[string]bool{
		"2026-07-31": false, "2026-08-01": false, "2026-08-02": true, "2026-08-01T12:00:00Z": false, "2026-08-01T12:00:01Z": true,
		"2026-08-01T13:00:00+01:00": false, "2026-08-01T13:30:00+01:00": true, "": true,
	} {
		g := gate(t, map[string]Tenant{"acme": {Keys: []Key{{Name: "a", Key: keyA, Expires: expires}}}}, Limits{})
		if _, err := g.Identify([]byte(keyA), now); (err == nil) != works {
			t.Errorf("%q: %v", expires, err)
		}
	}
}
