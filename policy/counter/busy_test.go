package counter_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jarvis-gateway/policy/counter"
)

// TestManyBusyCounters: however many counters are in use, each is reported before its lease ends. Else what one replica holds
// or has spent is given to another.
func TestManyBusyCounters(t *testing.T) {
	const busy = 4000
	url := "redis://" + startRedis(t) + "/0"
	clock := newSteady(t)
	a, err := counter.OpenWith(counter.Options{URL: url}, counter.Tuning{Lease: 2 * time.Second, Hold: 2 * time.Second, RedisNow: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	b, err := counter.OpenWith(counter.Options{URL: url}, counter.Tuning{RedisNow: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	var ks []*counter.Counter
	for i := range busy {
		ks = append(ks, a.Get(counter.Spec{Name: fmt.Sprint("busy", i), Algorithm: counter.Sliding, Limit: 1 << 40, Window: time.Minute}))
	}
	stop, wg := make(chan struct{}), sync.WaitGroup{}
	var rounds atomic.Int64
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			for _, k := range ks {
				a.Take(one(k, 1))
			}
			rounds.Add(1)
		}
	})
	await(t, "all are busy", func() bool { return rounds.Load() > 1 })
	place := counter.Spec{Name: "place", Algorithm: counter.Level, Limit: 1}
	money := counter.Spec{Name: "money", Algorithm: counter.Calendar, Limit: 100}
	await(t, "the place is had", func() bool { _, ok := a.Take([]counter.Need{{Counter: a.Get(place), N: 1}}); return ok })
	await(t, "the money is held", func() bool { _, ok := a.Take([]counter.Need{{Counter: a.Get(money), N: 100}}); return ok })
	a.Get(money).Settle(100, 100)
	for began := time.Now(); time.Since(began) < 4*time.Second; time.Sleep(20 * time.Millisecond) {
		if _, ok := b.Take([]counter.Need{{Counter: b.Get(place), N: 1}}); ok {
			t.Fatalf("two have the one place after %v", time.Since(began))
		}
		if _, ok := b.Take(one(b.Get(money), 100)); ok {
			t.Fatalf("the money was spent twice after %v", time.Since(began))
		}
	}
	close(stop)
	wg.Wait()
	began := time.Now()
	a.Close()
	if s := a.Stats(); s.Unsent > 0 {
		t.Errorf("%+v after a Close of %v", s, time.Since(began))
	}
}
