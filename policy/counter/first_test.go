package counter_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jarvis-gateway/policy/counter"
)

// user is what a new end user's first request needs: of a rate, and of money.
func user(c *counter.Counters, name string) []counter.Need {
	rate := counter.Spec{Name: "user/" + name + "/requests", Algorithm: counter.Sliding, Limit: 100, Window: time.Minute}
	money := counter.Spec{Name: "user/" + name + "/spend", Algorithm: counter.Calendar, Limit: 5_000_000_000}
	return []counter.Need{{Counter: c.Lookup(rate), N: 1, Spend: true}, {Counter: c.Lookup(money), N: 20_000_000}}
}

// TestFirstUse: what was never counted is not refused, however far Redis is and whatever on_error says.
func TestFirstUse(t *testing.T) {
	for _, onError := range []string{"open", "closed", "local_share"} {
		for _, far := range []time.Duration{0, 5, 15, 25, 35, 45, 60, 100, 200, 500} {
			far *= time.Millisecond
			t.Run(fmt.Sprint(onError, far), func(t *testing.T) {
				bubble(t, func(t *testing.T, w *wire) {
					w.delay.Store(int64(far))
					c := w.open(t, counter.Options{OnError: onError})
					slowest := time.Duration(0)
					for i := range 28 {
						began := time.Now()
						if s, ok := c.Take(user(c, fmt.Sprint(i))); !ok {
							t.Errorf("user %d: %+v after %v", i, s, time.Since(began))
						}
						slowest = max(slowest, time.Since(began))
						time.Sleep(20 * time.Millisecond)
					}
					t.Logf("%s, Redis at %v: slowest %v", onError, far, slowest)
				})
			})
		}
	}
}

// TestNowAndThen: a user who comes now and then is not refused because Redis is not near, and waits for it only if a small
// part of the limit will not do.
func TestNowAndThen(t *testing.T) {
	for _, onError := range []string{"open", "closed", "local_share"} {
		for _, far := range []time.Duration{35 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond} {
			for _, pause := range []time.Duration{300 * time.Millisecond, 3 * time.Second} {
				t.Run(fmt.Sprint(onError, far, pause), func(t *testing.T) {
					bubble(t, func(t *testing.T, w *wire) {
						c := w.open(t, counter.Options{OnError: onError})
						time.Sleep(100 * time.Millisecond)
						w.delay.Store(int64(far))
						for i := range 20 {
							began := time.Now()
							needs := user(c, "a")
							if s, ok := c.Take(needs); !ok {
								t.Errorf("request %d: %+v after %v", i, s, time.Since(began))
							}
							needs[1].Counter.Settle(20_000_000, 1_000_000)
							time.Sleep(pause)
						}
					})
				})
			}
		}
	}
}

// TestAheadOfASlowRedis: with a Redis that is slow, a rate is had ahead of its word: at once, but only a small part of it. Money
// is not, however many replicas are asked, so that they never spend more than there is.
func TestAheadOfASlowRedis(t *testing.T) {
	bubble(t, func(t *testing.T, w *wire) {
		rate := counter.Spec{Name: "rate", Algorithm: counter.Sliding, Limit: 640, Window: time.Hour}
		money := counter.Spec{Name: "money", Algorithm: counter.Calendar, Limit: 640}
		var all []*counter.Counters
		for range 4 {
			all = append(all, w.open(t, counter.Options{}))
		}
		know := func() {
			for range 5 {
				for _, c := range all {
					c.Take(one(c.Get(hourly(1<<40)), 1))
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		know() // of each other
		w.delay.Store(int64(200 * time.Millisecond))
		for !all[0].Stats().Degraded || !all[3].Stats().Degraded {
			know()
		}
		used := 0
		for _, c := range all {
			for {
				began := time.Now()
				if s, ok := c.Take(one(c.Get(rate), 1)); !ok {
					t.Fatalf("%+v", s)
				}
				if time.Since(began) > 0 {
					break
				}
				used++
			}
		}
		if most := 640 / 8; used > most || used < most-8 {
			t.Errorf("%d of 640 were had at once, by all four replicas; want nearly %d", used, most)
		}
		var wg sync.WaitGroup
		var spent atomic.Int64
		for _, c := range all {
			for range 10 {
				wg.Go(func() {
					for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
						s, ok := c.Take(one(c.Get(money), 1))
						if ok {
							spent.Add(1)
						} else if s.Unavailable || spent.Load() < 600 {
							t.Errorf("%+v, with %d of 640 spent", s, spent.Load())
							return
						}
					}
				})
			}
		}
		wg.Wait()
		if got := spent.Load(); got != 640 {
			t.Errorf("%d spent of 640", got)
		}
	})
}
