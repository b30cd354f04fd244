package counter_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"jarvis-gateway/policy/counter"
)

func flushAll(t *testing.T, addr string) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	if err := client.FlushAll(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
}

// TestRedisLosesWhatTheIdleSpent: a budget does not begin anew either when who spent it does nothing any more, and another
// replica has never heard of it.
func TestRedisLosesWhatTheIdleSpent(t *testing.T) {
	addr := startRedis(t)
	var events told
	url := "redis://" + addr + "/0"
	a, b := open(t, counter.Options{URL: url, OnEvent: events.event}), open(t, counter.Options{URL: url})
	spec := counter.Spec{Name: "k", Algorithm: counter.Calendar, Period: counter.Month, Limit: 100}
	known, unknown := spec, spec
	known.Name, unknown.Name = "known", "unknown"
	await(t, "the other replica has used a little", func() bool { _, ok := b.Take(one(b.Get(known), 1)); return ok })
	await(t, "what was leased is given back", func() bool { b.Report(); room, _ := b.Get(known).Leased(); return room == 0 })
	for _, s := range []counter.Spec{known, unknown} {
		await(t, "much is spent", func() bool { _, ok := a.Take(one(a.Get(s), 60)); return ok })
	}
	await(t, "all is told", func() bool {
		a.Report()
		room, _ := a.Get(known).Leased()
		return a.Stats().Unsent == 0 && room == 0
	})
	flushAll(t, addr)
	used := map[string]int{"known": 61, "unknown": 60}
	enough := func() bool { return used["known"] >= 100 && used["unknown"] >= 100 }
	keepOn(5*time.Second, 5*time.Millisecond, enough, func() {
		for _, s := range []counter.Spec{known, unknown} {
			if _, ok := b.Take(one(b.Get(s), 1)); ok {
				used[s.Name]++
			}
		}
	})
	for name, n := range used {
		if n != 100 {
			t.Errorf("%s: %d of 100 spent", name, n)
		}
	}
	if got := events.all(); !strings.Contains(got, "counters_lost") {
		t.Errorf("events %q", got)
	}
}

// TestWindowEndsHereFirst: where the clock is ahead of Redis's, the new window is not shown with what was used in the old one.
func TestWindowEndsHereFirst(t *testing.T) {
	bubble(t, windowEndsHereFirst)
}

func windowEndsHereFirst(t *testing.T, w *wire) {
	begin, began := time.Date(2026, 3, 31, 23, 59, 59, 0, time.UTC), time.Now()
	here := func() time.Time { return begin.Add(time.Since(began)) }
	behind := func() time.Time { return here().Add(-500 * time.Millisecond) }
	c, err := counter.OpenWith(counter.Options{URL: "redis://" + w.addr + "/0", Now: here}, counter.Tuning{RedisNow: behind, Dial: w.dial})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	k := c.Get(counter.Spec{Name: "k", Algorithm: counter.Calendar, Limit: 100, Period: counter.Month})
	await(t, "all is spent", func() bool { _, ok := c.Take(one(k, 100)); return ok })
	april := 0
	for ; time.Since(began) < 2*time.Second; time.Sleep(5 * time.Millisecond) {
		if s := k.State(); s.Window.UTC().Month() == time.April {
			if april++; s.Used > 0 {
				t.Fatalf("at %v: %+v", here(), s)
			}
		} else if time.Since(began) < 900*time.Millisecond && s.Used != 100 {
			t.Fatalf("at %v: %+v", here(), s)
		}
	}
	if april == 0 {
		t.Error("the new window never came")
	}
}

// TestRedisClockJumps: when Redis's clock was an hour ahead for a moment, a limit is not stuck for an hour, and neither is the
// lease of a replica that died meanwhile.
func TestRedisClockJumps(t *testing.T) {
	addr := startRedis(t)
	var ahead atomic.Int64
	tuning := counter.Tuning{Lease: time.Second, RedisNow: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }}
	var all [2]*counter.Counters
	for i := range all {
		c, err := counter.OpenWith(counter.Options{URL: "redis://" + addr + "/0"}, tuning)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all[i] = c
	}
	spec := counter.Spec{Name: "k", Algorithm: counter.Sliding, Limit: 100, Window: time.Second}
	place := counter.Spec{Name: "place", Algorithm: counter.Level, Limit: 1}
	ahead.Store(int64(time.Hour))
	await(t, "the dying one has the place", func() bool {
		_, ok := all[1].Take([]counter.Need{{Counter: all[1].Get(place), N: 1}})
		return ok
	})
	all[1].Crash()
	c := all[0]
	k := c.Get(spec)
	await(t, "the limit is reached", func() bool { _, ok := c.Take(one(k, 10)); return !ok && k.State().Used >= 100 })
	ahead.Store(0)
	began := time.Now()
	for met := 0; met < 150; time.Sleep(2 * time.Millisecond) {
		if _, ok := c.Take(one(k, 1)); ok {
			met++
		}
		if time.Since(began) > patience {
			t.Fatalf("stuck: %d met; %+v", met, k.State())
		}
	}
	await(t, "the place is free", func() bool {
		_, ok := c.Take([]counter.Need{{Counter: c.Get(place), N: 1}})
		return ok
	})
}

// TestStartWithoutRedis: a replica that starts while Redis is away knows from its last run how many share the limit.
func TestStartWithoutRedis(t *testing.T) {
	l := newLink(t, startRedis(t))
	o := counter.Options{URL: l.url(), Ledger: filepath.Join(t.TempDir(), "ledger"), OnError: "local_share"}
	a, b := open(t, o), open(t, counter.Options{URL: l.url()})
	await(t, "both are known", func() bool {
		_, _ = a.Take(one(a.Get(hourly(1000)), 1))
		_, ok := b.Take(one(b.Get(hourly(1000)), 1))
		_, others := a.Get(hourly(1000)).Leased()
		return ok && others > 0
	})
	a.Close()
	l.sever(true)
	a = open(t, o)
	spec := hourly(100)
	spec.Name = "new"
	met := 0
	keepOn(2*time.Second, 5*time.Millisecond, func() bool { return met >= 50 }, func() {
		if _, ok := a.Take(one(a.Get(spec), 1)); ok {
			met++
		}
	})
	if met != 50 {
		t.Errorf("%d met of the half of 100", met)
	}
}
