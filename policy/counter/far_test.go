package counter_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"jarvis-gateway/policy/counter"
)

func one(k *counter.Counter, n int64) []counter.Need {
	return []counter.Need{{Counter: k, N: n, Spend: true}}
}

// patience is how long a test waits for what must come in the end. Only a test that fails takes that long.
const patience = time.Minute

// await tries until something is so.
func await(t testing.TB, what string, so func() bool) {
	t.Helper()
	for began := time.Now(); time.Since(began) < patience; time.Sleep(10 * time.Millisecond) {
		if so() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// keepOn does something for a while at least, and on a slow machine until enough came of it.
func keepOn(d, pause time.Duration, enough func() bool, do func()) {
	for began := time.Now(); time.Since(began) < d || !enough() && time.Since(began) < patience; time.Sleep(pause) {
		do()
	}
}

func hourly(limit int64) counter.Spec {
	return counter.Spec{Name: "k", Algorithm: counter.Sliding, Limit: limit, Window: time.Hour}
}

// TestFewTrips: while there is enough, requests do not wait for Redis.
func TestFewTrips(t *testing.T) {
	for _, near := range []time.Duration{300 * time.Microsecond, 3 * time.Millisecond, 15 * time.Millisecond} {
		bubble(t, func(t *testing.T, w *wire) {
			w.delay.Store(int64(near))
			var all []*counter.Counters
			for range 8 {
				all = append(all, w.open(t, counter.Options{}))
			}
			var wg sync.WaitGroup
			for _, c := range all {
				wg.Go(func() {
					for range 250 {
						if s, ok := c.Take(one(c.Get(hourly(20000)), 1)); !ok {
							t.Error(s)
						}
						time.Sleep(4 * time.Millisecond)
					}
				})
			}
			wg.Wait()
			var direct, waited int64
			for _, c := range all {
				s := c.Stats()
				direct, waited = direct+s.Direct, waited+s.Waited
			}
			t.Logf("Redis at %v: %d without a trip, %d with one", near, direct, waited)
			if direct < 95*(direct+waited)/100 {
				t.Errorf("%d of %d without a trip, want 95 %%", direct, direct+waited)
			}
		})
	}
}

// TestRefusalsCostNoTrips: what is known not to fit is refused at once, without Redis.
func TestRefusalsCostNoTrips(t *testing.T) {
	c := open(t, counter.Options{URL: "redis://" + startRedis(t) + "/0"})
	k := c.Get(hourly(100))
	await(t, "the limit is reached", func() bool { c.Take(one(k, 1)); return k.State().Used == 100 })
	c.Report()
	before, began := c.Stats(), time.Now()
	const n = 100_000
	for range n {
		if _, ok := c.Take(one(k, 1)); ok {
			t.Fatal("one more than the limit")
		}
	}
	syncs, seconds := c.Stats().Syncs-before.Syncs, time.Since(began).Seconds()
	if float64(syncs) > 5+5*seconds {
		t.Errorf("%d syncs for %d refusals in %.1f s", syncs, n, seconds)
	}
}

// TestIdleLeasesReturn: what one replica leased and does not use, another can have.
func TestIdleLeasesReturn(t *testing.T) {
	url := "redis://" + startRedis(t) + "/0"
	a, b := open(t, counter.Options{URL: url}), open(t, counter.Options{URL: url})
	ka, kb := a.Get(hourly(1000)), b.Get(hourly(1000))
	for range 200 {
		spend(t, a, ka, 1)
	}
	if room, _ := ka.Leased(); room == 0 {
		t.Fatal("a replica in use has no slice")
	}
	await(t, "another replica gets all that is left", func() bool {
		_, ok := b.Take(one(kb, 800))
		return ok
	})
	if s, ok := b.Take(one(kb, 1)); ok || s.Unavailable {
		t.Errorf("Take beyond the limit: %+v, %t", s, ok)
	}
}

// TestNothingIsTakenBack: while a report is under way, a replica goes on with what it has. Nobody else is given that.
func TestNothingIsTakenBack(t *testing.T) {
	bubble(t, nothingIsTakenBack)
}

func nothingIsTakenBack(t *testing.T, w *wire) {
	near := &wire{addr: w.addr}
	a, b := w.open(t, counter.Options{OnError: "closed"}), near.open(t, counter.Options{OnError: "closed"})
	const limit = 100
	ka, kb := a.Get(hourly(limit)), b.Get(hourly(limit))
	used := 0
	all := func(c *counter.Counters, k *counter.Counter, atMost int) (n int) {
		for n < atMost {
			if _, ok := c.Take(one(k, 1)); !ok {
				break
			}
			n++
		}
		used += n
		return n
	}
	all(a, ka, 40)
	a.Report()
	if all(b, kb, limit) == 0 {
		t.Error("nothing was left to the other replica")
	}
	w.delay.Store(int64(300 * time.Millisecond))
	all(a, ka, 1) // which is reported soon; the answer comes late
	time.Sleep(150 * time.Millisecond)
	all(b, kb, limit)
	if all(a, ka, limit) == 0 {
		t.Error("the replica had nothing")
	}
	if used > limit {
		t.Errorf("%d used, limit %d", used, limit)
	}
}

// TestCrashedLeasesReturn: what a dead replica leased or held comes back when its lease ends, what it reported stays used.
func TestCrashedLeasesReturn(t *testing.T) {
	bubble(t, crashedLeasesReturn)
}

func crashedLeasesReturn(t *testing.T, w *wire) {
	a, err := counter.OpenWith(counter.Options{URL: "redis://" + w.addr + "/0"},
		counter.Tuning{Lease: 500 * time.Millisecond, Hold: time.Second, RedisNow: time.Now, Dial: w.dial})
	if err != nil {
		t.Fatal(err)
	}
	b := w.open(t, counter.Options{})
	ka, kb := a.Get(hourly(100)), b.Get(hourly(100))
	spend(t, a, ka, 10)
	if s, ok := a.Take([]counter.Need{{Counter: ka, N: 40}}); !ok {
		t.Fatal(s)
	}
	a.Report()
	a.Crash()
	if s, ok := b.Take(one(kb, 60)); ok {
		t.Fatalf("the dead replica's hold was given to another at once: %+v", s)
	}
	await(t, "its hold returns", func() bool {
		_, ok := b.Take(one(kb, 90))
		return ok
	})
}

// TestOnError is what counts while Redis is away, and that all is put right when it is back.
func TestOnError(t *testing.T) {
	for _, onError := range []string{"open", "closed", "local_share"} {
		t.Run(onError, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *wire) { away(t, w, onError) })
		})
	}
}

func away(t *testing.T, w *wire, onError string) {
	near := &wire{addr: w.addr}
	var events told
	c := w.open(t, counter.Options{OnError: onError, OnEvent: events.event})
	other := near.open(t, counter.Options{})
	spec := counter.Spec{Name: "k", Algorithm: counter.Calendar, Limit: 1000}
	k, ko := c.Get(spec), other.Get(spec)
	spend(t, other, ko, 100)
	spend(t, c, k, 100)
	c.Report()
	leased, _ := k.Leased()
	w.cut.Store(true)
	await(t, "the breaker opens", func() bool { c.Take(one(k, 1000)); return c.Stats().Degraded })
	await(t, "on_error counts", func() bool {
		s, ok := c.Take(one(k, 1000))
		return ok || s.Unavailable || s.Retry != 200*time.Millisecond
	})
	used := k.State().Used - 100
	var last counter.Short
	for range 2000 {
		s, ok := c.Take(one(k, 1))
		if !ok {
			last = s
			break
		}
		used++
	}
	switch onError {
	case "open":
		if used < 2000 {
			t.Errorf("open: %d were met, then %+v", used, last)
		}
	case "closed":
		if used > 100+leased || !last.Unavailable {
			t.Errorf("closed: %d were met of %d leased, then %+v", used-100, leased, last)
		}
	case "local_share":
		if used < 200 || used > 700 || last.Unavailable || !last.Share {
			t.Errorf("share: %d were met, then %+v", used, last)
		}
	}
	w.cut.Store(false)
	await(t, "Redis is back", func() bool { s := c.Stats(); return !s.Degraded && s.Unsent == 0 })
	if got := events.all(); got != "counters_degraded counters_recovered" {
		t.Errorf("events %q", got)
	}
	want := k.State().Used
	await(t, "the other replica knows", func() bool { nudge(other, ko); return ko.State().Used == want })
}

// nudge has a replica hear of a counter that it does not use.
func nudge(c *counter.Counters, k *counter.Counter) {
	if _, ok := c.Take([]counter.Need{{Counter: k, N: 1}}); ok {
		k.Settle(1, 0)
	}
	c.Report()
}

// TestSlowRedis: a Redis that takes half a second for each call costs requests nothing.
func TestSlowRedis(t *testing.T) {
	bubble(t, slowRedis)
}

func slowRedis(t *testing.T, l *wire) {
	c := l.open(t, counter.Options{OnError: "local_share"})
	k := c.Get(counter.Spec{Name: "k", Algorithm: counter.Sliding, Limit: 6_000_000, Window: time.Minute})
	run := func(d time.Duration) (p99 time.Duration, refused int) {
		var all []time.Duration
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(500 * time.Microsecond) {
			began := time.Now()
			if _, ok := c.Take(one(k, 1)); !ok {
				refused++
			}
			all = append(all, time.Since(began))
		}
		slices.Sort(all)
		return all[len(all)*99/100], refused
	}
	before, _ := run(time.Second)
	l.delay.Store(int64(500 * time.Millisecond))
	during, refused := run(4 * time.Second)
	t.Logf("p99 %v, with the slow Redis %v, %d refused; %+v", before, during, refused, c.Stats())
	if during > before+5*time.Millisecond {
		t.Errorf("p99 rose from %v to %v", before, during)
	}
	if refused > 40 { // of about 4000, while it was new
		t.Errorf("%d refused", refused)
	}
	l.delay.Store(0)
	await(t, "the breaker closes", func() bool { return !c.Stats().Degraded })
}

// TestRedisLosesItsData: a budget does not begin anew.
func TestRedisLosesItsData(t *testing.T) {
	addr := startRedis(t)
	a, b := open(t, counter.Options{URL: "redis://" + addr}), open(t, counter.Options{URL: "redis://" + addr})
	spec := counter.Spec{Name: "k", Algorithm: counter.Calendar, Period: counter.Month, Limit: 1000}
	ka, kb := a.Get(spec), b.Get(spec)
	spend(t, a, ka, 400)
	spend(t, b, kb, 300)
	a.Report()
	b.Report()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	client.FlushAll(context.Background())
	client.ScriptFlush(context.Background())
	used := int64(700)
	for i, c := range []*counter.Counters{a, b} {
		k := []*counter.Counter{ka, kb}[i]
		if s, ok := c.Take(one(k, 301)); ok {
			t.Errorf("700 of 1000 were used, and 301 fit: %+v", s)
		}
	}
	await(t, "all that is left fits", func() bool {
		for range 10 {
			if _, ok := a.Take(one(ka, 10)); ok {
				used += 10
			}
			if _, ok := b.Take(one(kb, 10)); ok {
				used += 10
			}
		}
		return used >= 1000
	})
	for range 100 {
		a.Take(one(ka, 10))
		b.Take(one(kb, 10))
		a.Report()
		b.Report()
	}
	if s := kb.State(); s.Used != 1000 || used != 1000 {
		t.Errorf("%+v, want 1000 used; %d were met", s, used)
	}
}

// TestNamesOfAnyKind: whatever an end user is called, counters of a cluster find their node, and do not meet.
func TestNamesOfAnyKind(t *testing.T) {
	url := "redis-cluster://" + startCluster(t)
	names := []string{"a", "}", "{", "{}", "}{", "a}b", "{a}b", "{a}c", strings.Repeat("x", 300), strings.Repeat("x", 301), "日本", "a b\r\nc"}
	c := open(t, counter.Options{URL: url, OnError: "closed"})
	other := open(t, counter.Options{URL: url, OnError: "closed"})
	for i, name := range names {
		spec := hourly(100)
		spec.Name = name
		spend(t, c, c.Get(spec), int64(i+1))
	}
	c.Close()
	for i, name := range names {
		spec := hourly(100)
		spec.Name = name
		k := other.Get(spec)
		spend(t, other, k, 1)
		other.Report()
		if s := k.State(); s.Used != int64(i+2) {
			t.Errorf("%q: %+v, want %d used", name, s, i+2)
		}
	}
}
