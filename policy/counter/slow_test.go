package counter_test

import (
	"testing"
	"time"

	"jarvis-gateway/policy/counter"
)

// TestSlowRedisLeases: a Redis that answers late is not away. Whoever uses a counter now and then is not refused because of it.
func TestSlowRedisLeases(t *testing.T) {
	bubble(t, slowRedisLeases)
}

func slowRedisLeases(t *testing.T, w *wire) {
	cold := counter.Spec{Name: "cold", Algorithm: counter.Sliding, Limit: 1000, Window: time.Minute}
	all, refused := map[string]*counter.Counters{}, map[string]int{}
	for _, onError := range []string{"open", "closed", "local_share"} {
		l := &wire{addr: w.addr}
		all[onError] = l.open(t, counter.Options{OnError: onError, Prefix: onError})
		c := all[onError]
		await(t, "Redis is connected", func() bool { _, ok := c.Take(one(c.Get(hourly(1<<40)), 1)); return ok })
		l.delay.Store(int64(500 * time.Millisecond))
	}
	for i := range 76 {
		for onError, c := range all {
			c.Take(one(c.Get(hourly(1<<40)), 1))
			if i%15 != 0 {
				continue
			}
			if s, ok := c.Take(one(c.Get(cold), 1)); !ok {
				if refused[onError]++; s.Unavailable || s.Retry <= 0 {
					t.Errorf("%s: %+v, want only a time to come again", onError, s)
				}
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	for onError, n := range refused {
		if n > 0 {
			t.Errorf("%s: %d of 6 refused, far from the limit", onError, n)
		}
	}
}

// TestOpenIsNotForSlow: while Redis answers, if late, a limit is one also with open.
func TestOpenIsNotForSlow(t *testing.T) {
	bubble(t, openIsNotForSlow)
}

func openIsNotForSlow(t *testing.T, l *wire) {
	c := l.open(t, counter.Options{OnError: "open"})
	k := c.Get(hourly(10))
	l.delay.Store(int64(70 * time.Millisecond)) // the breaker opens, for it is slow
	met := 0
	for began := time.Now(); time.Since(began) < 3*time.Second; time.Sleep(2 * time.Millisecond) {
		if _, ok := c.Take(one(k, 1)); ok {
			met++
		}
	}
	if met != 10 {
		t.Errorf("%d met, limit 10", met)
	}
}
