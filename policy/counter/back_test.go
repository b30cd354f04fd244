package counter_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"jarvis-gateway/policy/counter"
)

// flush empties Redis, in a bubble too.
func flush(t *testing.T, addr string) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	if err := client.FlushAll(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
}

// TestBackEmpty: when Redis comes back without its data, a budget that is far from spent is not told to be, and none is spent
// twice: who may go on with a share does, and the others wait until all replicas had time to tell what they know.
func TestBackEmpty(t *testing.T) {
	for _, onError := range []string{"open", "closed", "local_share"} {
		for what, outage := range map[string]time.Duration{"flushed": 0, "restarted": 3 * time.Second} {
			t.Run(onError+" "+what, func(t *testing.T) {
				bubble(t, func(t *testing.T, w *wire) {
					spec := counter.Spec{Name: "wide", Algorithm: counter.Calendar, Limit: 1_000_000}
					var all []*counter.Counters
					for range 2 {
						all = append(all, w.open(t, counter.Options{OnError: onError}))
					}
					met, slowest := int64(0), time.Duration(0)
					run := func(d time.Duration, away bool) {
						for began := time.Now(); time.Since(began) < d; time.Sleep(10 * time.Millisecond) {
							for _, c := range all {
								before := time.Now()
								s, ok := c.Take(one(c.Get(spec), 100))
								slowest = max(slowest, time.Since(before))
								if ok {
									met += 100
								} else if !s.Unavailable || !away {
									t.Fatalf("%v after it was back: %+v", time.Since(began), s)
								}
							}
						}
					}
					run(3*time.Second, false)
					w.cut.Store(outage > 0)
					run(outage, onError == "closed")
					flush(t, w.addr)
					w.cut.Store(false)
					for outage > 0 && (all[0].Stats().Degraded || all[1].Stats().Degraded) {
						run(tick, true)
					}
					slowest = 0
					run(3*time.Second, false)
					if onError == "open" && slowest > 100*time.Millisecond {
						t.Errorf("one waited %v", slowest)
					}
					t.Logf("%d used; slowest after the loss %v", met, slowest)
					time.Sleep(2 * time.Second)
					for _, c := range all {
						c.Report()
						if s := c.Get(spec).State(); s.Used != met {
							t.Errorf("%d used, %d were", s.Used, met)
						}
					}
				})
			})
		}
	}
}

// TestBackEmptySpent: a budget that was spent stays so, at once.
func TestBackEmptySpent(t *testing.T) {
	bubble(t, func(t *testing.T, w *wire) {
		c := w.open(t, counter.Options{})
		k := c.Get(counter.Spec{Name: "spent", Algorithm: counter.Calendar, Limit: 100})
		spend(t, c, k, 95)
		c.Report()
		flush(t, w.addr)
		time.Sleep(time.Second) // it is noticed
		began := time.Now()
		if s, ok := c.Take(one(k, 6)); ok || s.Unavailable || time.Since(began) > tick {
			t.Errorf("%+v, %t after %v; 95 of 100 are spent", s, ok, time.Since(began))
		}
		if s, ok := c.Take(one(k, 5)); !ok {
			t.Errorf("%+v after %v; 95 of 100 are spent", s, time.Since(began))
		}
	})
}

const tick = 50 * time.Millisecond

// TestBackEmptyNearTheEnd: also when Redis comes back without its data after an outage in which shares were used, no budget is
// passed, and all of it can be used.
func TestBackEmptyNearTheEnd(t *testing.T) {
	for _, demand := range []int64{1, 7, 40} {
		bubble(t, func(t *testing.T, w *wire) {
			spec := counter.Spec{Name: "near", Algorithm: counter.Calendar, Limit: 1000}
			var all []*counter.Counters
			for range 3 {
				all = append(all, w.open(t, counter.Options{OnError: "local_share"}))
			}
			met := int64(0)
			run := func(d time.Duration, n int64) {
				for began := time.Now(); time.Since(began) < d; time.Sleep(20 * time.Millisecond) {
					for _, c := range all {
						if _, ok := c.Take(one(c.Get(spec), n)); ok {
							met += n
						}
					}
				}
			}
			run(time.Second, 2)
			for range 2 {
				for _, c := range all {
					c.Report()
				}
			}
			before := met
			w.cut.Store(true)
			run(1500*time.Millisecond, demand)
			away := met - before
			flush(t, w.addr)
			w.cut.Store(false)
			run(4*time.Second, demand)
			after := met - before - away
			run(8*time.Second, 1)
			t.Logf("%d used before, %d while it was away, %d within 4 s, %d in the end", before, away, after, met)
			if met != 1000 {
				t.Errorf("%d of 1000 used", met)
			}
		})
	}
}
