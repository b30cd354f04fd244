package policy

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

// A limit that says when is asked then, and by one request, not by all.
func TestLineRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, everyone)
		rate := h.limit(0)
		h.retry[rate] = 30 * time.Millisecond
		for i := range 50 {
			h.come(fmt.Sprint(i), "x", 5, one(rate))
		}
		if n := h.tried(); n != 1 {
			t.Errorf("%d tries before anything was to be had", n)
		}
		h.give(one(rate, rate, rate)...) // nobody tells the line
		time.Sleep(31 * time.Millisecond)
		synctest.Wait()
		if h.order() != "0 1 2" || h.tried() != 5 {
			t.Errorf("in: %s, after %d tries", h.order(), h.tried())
		}
		h.retry[rate] = 0
		for range 50 {
			h.release(one(rate)...)
		}
		h.empty()
	})
}

// What another replica gives back is found without anybody telling, soon enough.
func TestLineRechecks(t *testing.T) {
	for name, row := range map[string]struct{ retry, within time.Duration }{
		"the limit does not say when":   {0, unknown},
		"the limit says much too late":  {time.Hour, recheck},
		"the limit says sooner than is": {time.Microsecond, 2 * soonest},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHall(t, everyone)
				k := h.limit(0)
				h.retry[k] = row.retry
				h.come("a", "x", 5, one(k))
				h.give(one(k)...)
				time.Sleep(row.within)
				synctest.Wait()
				if h.order() != "a" {
					t.Errorf("not in after %s", row.within)
				}
				h.empty()
			})
		})
	}
}

func TestLineTimeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, everyone)
		k := h.limit(0)
		h.retry[k] = 40 * time.Second
		h.comeFor("a", "x", 5, one(k), 10, 10*time.Second)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		e := refused(t, h.out["a"], 429, "rate_limit_exceeded")
		if e.Type != wire.TypeRateLimit || !strings.Contains(e.Message, "tenant acme, limit 0") || !strings.Contains(e.Message, "waited 10s") {
			t.Error(e)
		}
		if e.Retry < 39*time.Second || e.Retry > 40*time.Second {
			t.Errorf("Retry-After %s, but the limit says %s", e.Retry, h.retry[k])
		}
		h.empty()
	})
}

// Where the limit does not say when, the pace does: two get in a second, and those of lower classes do not count.
func TestLineEstimate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, everyone)
		full := one(h.limit(0))
		for i := range 20 {
			h.come(fmt.Sprint(i), "x", 5, full)
		}
		for range 10 {
			time.Sleep(500 * time.Millisecond)
			h.release(full...)
		}
		for i := range 30 {
			h.come(fmt.Sprint("low ", i), "y", 1, full)
		}
		h.comeFor("one more", "y", 1, full, 40, time.Hour)
		e := refused(t, h.out["one more"], 429, "rate_limit_exceeded")
		if want := 41 * 500 * time.Millisecond; e.Retry != want || !strings.Contains(e.Message, "40 requests wait") {
			t.Errorf("%v, Retry-After %s, want about %s", e, e.Retry, want)
		}
		h.comeFor("late", "x", 5, full, 100, time.Second)
		time.Sleep(time.Second)
		synctest.Wait()
		e = refused(t, h.out["late"], 429, "rate_limit_exceeded")
		if want := 11 * 600 * time.Millisecond; e.Retry != want { // nobody got in for a second
			t.Errorf("%v, Retry-After %s, want about %s", e, e.Retry, want)
		}
		for range 40 {
			h.release(full...)
		}
		h.empty()
	})
}

// The pace of long ago is forgotten.
func TestLinePaceChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, everyone)
		full := one(h.limit(0))
		for i := range 1000 {
			h.come(fmt.Sprint(i), "x", 5, full)
		}
		for range 800 {
			h.release(full...)
		}
		for range 150 {
			time.Sleep(time.Second)
			h.release(full...)
		}
		h.comeFor("late", "x", 5, full, 50, time.Hour)
		if e := refused(t, h.out["late"], 429, "rate_limit_exceeded"); e.Retry < 40*time.Second || e.Retry > 51*time.Second {
			t.Errorf("51 before it, one a second: Retry-After %s", e.Retry)
		}
		for range 50 {
			h.release(full...)
		}
		h.empty()
	})
}

func TestLineSheds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, 6)
		full, other := one(h.limit(0)), one(h.limit(0))
		for _, name := range []string{"l1", "l2", "l3"} {
			h.come(name, "low", 2, full)
		}
		for _, name := range []string{"m1", "m2"} {
			h.come(name, "low too", 2, full)
		}
		h.come("n1", "high", 9, full)
		for _, step := range []struct {
			name, tenant string
			priority     int
			goes         string
		}{
			{"l4", "low", 2, "l4"},         // its tenant has most
			{"m3", "low too", 2, "m3"},     // one more or less is no matter
			{"third", "third", 2, "l3"},    // whoever has most makes way for one who has none
			{"lower", "lower", 1, "lower"}, // but not for a lower class
			{"n2", "high", 9, "l2 or m2"},
			{"n3", "high", 9, "l2 or m2"},
		} {
			before := maps.Clone(h.out)
			h.come(step.name, step.tenant, step.priority, other) // whatever they wait for
			for name := range h.out {
				if before[name] == nil && !strings.Contains(step.goes, name) {
					t.Errorf("%s: %s goes, want %s", step.name, name, step.goes)
				}
			}
			if len(h.out) != len(before)+1 {
				t.Errorf("%s: %d go", step.name, len(h.out)-len(before))
			}
		}
		for _, err := range h.out {
			refused(t, err, 503, "overloaded")
		}
		for range 3 {
			h.release(other...)
			h.release(full...)
		}
		h.empty()
	})
}

// A noisy tenant cannot fill the places of a limit that it shares.
func TestLineShedsAtALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, everyone)
		full := one(h.limit(0))
		for i := range 10 {
			h.comeFor(fmt.Sprint(i), "noisy", 5, full, 10, time.Hour)
		}
		h.comeFor("quiet", "quiet", 5, full, 10, time.Hour)
		h.comeFor("10", "noisy", 5, full, 10, time.Hour)
		refused(t, h.out["9"], 503, "overloaded")
		refused(t, h.out["10"], 429, "rate_limit_exceeded")
		h.release(full...)
		h.release(full...)
		if h.order() != "0 quiet" {
			t.Errorf("in: %s", h.order())
		}
		for range 8 {
			h.release(full...)
		}
		h.empty()
	})
}

// A try that ends in an error or a panic ends that request's waiting, and the turn is the next one's.
func TestLineTryFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, everyone)
		k := h.limit(0)
		wrong := errors.New("wrong")
		var armed atomic.Bool
		fail := func(with func() error) chan any {
			end := make(chan any, 1)
			w := &waiter{tenant: "x", priority: 9, needs: one(k), places: 10, limit: time.Hour, try: func() (counter.Short, bool, error) {
				if armed.Load() {
					return counter.Short{}, false, with()
				}
				return counter.Short{}, false, nil
			}}
			go func() {
				defer func() {
					if p := recover(); p != nil {
						end <- p
					}
				}()
				if err := h.wait(w); err != nil {
					end <- err
				}
			}()
			synctest.Wait()
			return end
		}
		first, second := fail(func() error { return wrong }), fail(func() error { panic("BUG") })
		h.come("a", "y", 5, one(k))
		armed.Store(true)
		h.release(one(k)...)
		if e := <-first; e != wrong {
			t.Error(e)
		}
		if p := <-second; p != "BUG" {
			t.Error(p)
		}
		if h.order() != "a" {
			t.Errorf("in: %s", h.order())
		}
		h.empty()
	})
}
