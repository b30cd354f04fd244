package policy

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

// Whatever comes, goes and is given back in whatever order: nobody who could go is left waiting, and in the end all is as
// it was.
func TestLineProperty(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			h := newHall(t, 40)
			whole := h.limit(r.Int64N(4))
			var limits []*counter.Counter
			for range 5 {
				limits = append(limits, h.limit(r.Int64N(3)))
			}
			total := maps.Clone(h.free)
			var given []counter.Need
			for i := range 300 {
				switch r.IntN(5) {
				case 0, 1, 2:
					n := r.IntN(len(limits))
					needs := []counter.Need{{Counter: limits[n], N: 1 + r.Int64N(2)}, {Counter: whole, N: 1 + r.Int64N(2)}}
					if r.IntN(3) == 0 {
						needs = needs[1:]
					}
					at := h.behind(needs)
					if at < 0 && h.could(needs) {
						h.take(needs)
						given = append(given, needs...)
						break
					}
					// at may be a need that is not short: then the first try finds which one is
					h.comeFor(fmt.Sprint(i), fmt.Sprint("tenant ", n), 1+n*2, needs, 15, time.Duration(1+r.IntN(20))*time.Second)
				case 3:
					if len(h.clients) > 0 {
						h.clients[r.IntN(len(h.clients))].leave()
						synctest.Wait()
					}
				case 4:
					time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
					synctest.Wait()
				}
				if r.IntN(3) == 0 { // something is given, so that those who wait for more than there is can go
					n := one(append(limits, whole)[r.IntN(len(limits)+1)])
					for k := range h.free {
						if k == n[0].Counter {
							total[k]++
						}
					}
					h.release(n...)
				}
				h.settled()
			}
			h.release(given...)
			time.Sleep(time.Minute)
			synctest.Wait()
			h.empty()
			for k, n := range h.free {
				if n < 0 || n > total[k] {
					t.Errorf("seed %d: %d free of %d", seed, n, total[k])
				}
			}
		})
	}
}

// The same with real threads: never more inside than may be, nobody is forgotten, nobody is let in twice.
func TestLineStress(t *testing.T) {
	const capacity, each, own = 4, 150, 2
	l, s := newLine(everyone), newStock()
	whole := s.limit(capacity)
	var inside, admitted, left, late atomic.Int64
	var wg sync.WaitGroup
	for n := range 8 {
		mine := s.limit(own)
		for i := range each {
			wg.Go(func() {
				needs, c := one(mine, whole), &client{}
				try := func() (counter.Short, bool, error) {
					why, ok := s.take(needs)
					if ok && inside.Add(1) > capacity {
						t.Error("too many inside")
					}
					return why, ok, nil
				}
				w := &waiter{tenant: fmt.Sprint(n), priority: 1 + n, needs: needs, places: 10_000, limit: time.Minute,
					try: try, hold: c.hold, letGo: c.letGo, name: func(int) string { return "" }}
				switch i % 5 {
				case 0:
					wg.Go(c.leave)
				case 1:
					w.limit = time.Duration(i) * 10 * time.Microsecond
				}
				var err error
				if w.at = l.behind(needs); w.at < 0 {
					why, ok, _ := try()
					if w.at = why.Index; !ok {
						err = l.wait(w)
					}
				} else {
					err = l.wait(w)
				}
				var e *wire.Error
				switch {
				case err == errLeft && i%5 == 0:
					left.Add(1)
					return
				case errors.As(err, &e) && e.Status == 429 && i%5 == 1:
					late.Add(1)
					return
				case err != nil:
					t.Error(err)
					return
				}
				admitted.Add(1)
				time.Sleep(time.Duration(i%3) * 50 * time.Microsecond)
				inside.Add(-1)
				s.give(needs...)
				l.freed(needs)
			})
		}
	}
	wg.Wait()
	h := &hall{t: t, line: l, stock: s}
	h.empty()
	if n := admitted.Load() + left.Load() + late.Load(); n != 8*each || s.free[whole] != capacity {
		t.Errorf("%d of %d came out, %d of %d places are free", n, 8*each, s.free[whole], capacity)
	}
	t.Logf("%d got in, %d left, %d waited in vain, %d tries", admitted.Load(), left.Load(), late.Load(), s.tries)
}

// With counters as they are: two tenants, each with a rate of its own, share places. Neither a rate nor the places are
// exceeded, and neither lies idle.
func TestLineWithCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places, perSecond, each = 3, 5, 40
		counters, err := counter.Open(counter.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer counters.Close()
		whole := counters.Get(counter.Spec{Name: "whole", Algorithm: counter.Level, Limit: places})
		l, begun := newLine(everyone), time.Now()
		var inside atomic.Int64
		var wg sync.WaitGroup
		for _, tenant := range []string{"x", "y"} {
			rate := counters.Get(counter.Spec{Name: tenant, Algorithm: counter.Sliding, Limit: perSecond, Window: time.Second})
			needs := []counter.Need{{Counter: rate, N: 1, Spend: true}, {Counter: whole, N: 1}}
			var mu sync.Mutex
			var got []time.Time
			for range each {
				wg.Go(func() {
					w := &waiter{tenant: tenant, priority: 5, needs: needs, places: each, limit: time.Minute, try: func() (counter.Short, bool, error) {
						why, ok := counters.Take(needs)
						return why, ok, nil
					}}
					if err := l.wait(w); err != nil {
						t.Error(err)
						return
					}
					if inside.Add(1) > places {
						t.Error("too many inside")
					}
					mu.Lock()
					if got = append(got, time.Now()); len(got) > perSecond && got[len(got)-1].Sub(got[len(got)-1-perSecond]) < time.Second {
						t.Errorf("%s: more than %d a second: %v", tenant, perSecond, got)
					}
					mu.Unlock()
					time.Sleep(10 * time.Millisecond)
					inside.Add(-1)
					whole.Settle(1, 0)
					l.freed(needs)
				})
			}
		}
		wg.Wait()
		if took, ideal := time.Since(begun), (each-perSecond)*time.Second/perSecond; took > ideal*5/4 {
			t.Errorf("%d requests of each took %s, but could in %s", each, took, ideal)
		} else {
			t.Logf("took %s, ideal %s", took, ideal)
		}
	})
}

func BenchmarkLine(b *testing.B) {
	s := newStock()
	needs := one(s.limit(0), s.limit(0), s.limit(0), s.limit(0), s.limit(0))
	b.Run("nobody waits", func(b *testing.B) {
		l := newLine(everyone)
		for b.Loop() {
			if l.behind(needs) >= 0 {
				b.Fatal("somebody waits")
			}
			l.freed(needs)
		}
	})
	b.Run("others wait for another limit", func(b *testing.B) {
		l, c := newLine(everyone), &client{}
		others := one(s.limit(0))
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = l.wait(&waiter{tenant: "x", priority: 5, needs: others, places: 1, limit: time.Hour, hold: c.hold, letGo: c.letGo,
				try: func() (counter.Short, bool, error) { return counter.Short{}, false, nil }})
		})
		for l.waiting.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		for b.Loop() {
			if l.behind(needs) >= 0 {
				b.Fatal("somebody waits")
			}
			l.freed(needs)
		}
		c.leave()
		wg.Wait()
	})
	b.Run("one in, one out", func(b *testing.B) {
		l := newLine(everyone)
		whole := one(s.limit(1))
		b.SetParallelism(200)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				w := &waiter{tenant: "x", priority: 5, needs: whole, places: 10_000, limit: time.Hour, name: func(int) string { return "" },
					try: func() (counter.Short, bool, error) { why, ok := s.take(whole); return why, ok, nil }}
				if err := l.wait(w); err != nil {
					b.Error(err)
				}
				s.give(whole...)
				l.freed(whole)
			}
		})
	})
}
