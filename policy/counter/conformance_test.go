package counter_test

import (
	"sync"
	"testing"
	"time"

	"jarvis-gateway/policy/counter"
)

// clock is a time that only moves when told to.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// bench is counters on one of the stores, under a clock of the test's.
type bench struct {
	t *testing.T
	*clock
	*counter.Counters
}

// pass lets time pass. What was used before is reported before.
func (b *bench) pass(d time.Duration) {
	b.Report()
	b.add(d)
	b.Report() // what was refused is asked for again
}

// take tries one need, and fails the test when it is not met as expected.
func (b *bench) take(k *counter.Counter, n int64, spend, want bool) counter.Short {
	b.t.Helper()
	s, ok := b.Take([]counter.Need{{Counter: k, N: n, Spend: spend}})
	if ok != want {
		b.t.Fatalf("Take(%d, spend %t) = %t, %+v; want %t; %+v", n, spend, ok, s, want, k.State())
	}
	return s
}

func (b *bench) spend(k *counter.Counter, n int64) { b.t.Helper(); b.take(k, n, true, true) }
func (b *bench) hold(k *counter.Counter, n int64)  { b.t.Helper(); b.take(k, n, false, true) }
func (b *bench) short(k *counter.Counter, n int64) counter.Short {
	b.t.Helper()
	return b.take(k, n, true, false)
}

// near fails the test when a duration is not what it should be, but for the part that a window is cut into.
func (b *bench) near(what string, got, want, part time.Duration) {
	b.t.Helper()
	if got < want-part || got > want+part {
		b.t.Errorf("%s: %v, want %v within %v", what, got, want, part)
	}
}

func (b *bench) standing(k *counter.Counter, used, held, free int64) {
	b.t.Helper()
	b.Report()
	s := k.State()
	if s.Used != used || s.Held != held || k.Free() != free {
		b.t.Errorf("used %d, held %d, free %d; want %d, %d, %d", s.Used, s.Held, k.Free(), used, held, free)
	}
}

// TestConformance is what counters do wherever they are kept.
func TestConformance(t *testing.T) {
	stores := map[string]func(*testing.T) string{
		"memory":  func(*testing.T) string { return "memory" },
		"redis":   func(t *testing.T) string { return "redis://" + startRedis(t) + "/0" },
		"cluster": func(t *testing.T) string { return "redis-cluster://" + startCluster(t) },
	}
	cases := map[string]func(*bench){
		"sliding": testSliding, "token": testToken, "leaky": testLeaky, "calendar": testCalendar, "level": testLevel,
		"holds": testHolds, "all or nothing": testAllOrNothing, "large": testLarge, "changed": testChanged, "forgotten": testForgotten,
		"settled": testSettled,
	}
	for name, start := range stores {
		t.Run(name, func(t *testing.T) {
			url := start(t)
			for name, test := range cases {
				t.Run(name, func(t *testing.T) {
					at := newClock()
					c, err := counter.OpenWith(counter.Options{URL: url, Now: at.now, Prefix: name + ":"}, counter.Tuning{Patience: 10 * time.Second, RedisNow: at.now})
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					test(&bench{t, at, c})
				})
			}
		})
	}
}

func testSliding(b *bench) {
	k := b.Get(counter.Spec{Name: "k", Algorithm: counter.Sliding, Limit: 10, Window: time.Minute})
	part := time.Minute / 256
	b.spend(k, 4)
	b.near("reset, as soon as it is used", k.State().Reset, time.Minute, part)
	b.pass(20 * time.Second)
	b.spend(k, 6)
	s := b.short(k, 1)
	b.near("retry", s.Retry, 40*time.Second, part)
	if s.Free != 0 {
		b.t.Errorf("free %d, want 0", s.Free)
	}
	b.standing(k, 10, 0, 0)
	b.near("reset", k.State().Reset, time.Minute, part)
	b.pass(39 * time.Second)
	b.short(k, 1)
	b.pass(time.Second + 2*part)
	b.standing(k, 6, 0, 4)
	b.short(k, 5)
	b.spend(k, 4)
	b.short(k, 1)
	if s := b.short(k, 11); s.Retry != 0 {
		b.t.Errorf("retry %v for what never fits, want 0", s.Retry)
	}
	b.pass(2 * time.Minute)
	b.standing(k, 0, 0, 10)
	b.spend(k, 10)
}

func testToken(b *bench) {
	k := b.Get(counter.Spec{Name: "k", Algorithm: counter.Token, Limit: 60, Burst: 10, Window: time.Minute})
	b.spend(k, 10)
	b.near("retry", b.short(k, 1).Retry, time.Second, time.Millisecond)
	b.pass(1500 * time.Millisecond)
	b.spend(k, 1)
	b.near("retry", b.short(k, 1).Retry, 500*time.Millisecond, time.Millisecond)
	b.pass(3500 * time.Millisecond)
	b.standing(k, 6, 0, 4)
	b.near("reset", k.State().Reset, 6*time.Second, time.Second)
	b.pass(time.Hour)
	b.standing(k, 0, 0, 10)
}

func testLeaky(b *bench) {
	k := b.Get(counter.Spec{Name: "k", Algorithm: counter.Leaky, Limit: 60, Window: time.Minute})
	for range 3 {
		b.spend(k, 1)
		b.near("retry", b.short(k, 1).Retry, time.Second, time.Millisecond)
		b.pass(time.Second)
	}
}

func testCalendar(b *bench) {
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	if err != nil {
		b.t.Skip("there are no time zones here")
	}
	day := b.Get(counter.Spec{Name: "day", Algorithm: counter.Calendar, Limit: 100, Location: tokyo})
	month := b.Get(counter.Spec{Name: "month", Algorithm: counter.Calendar, Period: counter.Month, Limit: 1000})
	both := func(n int64) (counter.Short, bool) {
		return b.Take([]counter.Need{{Counter: day, N: n, Spend: true}, {Counter: month, N: n, Spend: true}})
	}
	if s, ok := both(100); !ok {
		b.t.Fatal(s)
	}
	b.near("retry", b.short(day, 1).Retry, 3*time.Hour, 0) // 21:00 there
	b.standing(day, 100, 0, 0)
	b.standing(month, 100, 0, 900)
	s := month.State()
	b.near("reset", s.Reset, 21*24*time.Hour+12*time.Hour, 0)
	if want := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC); !s.Window.Equal(want) {
		b.t.Errorf("window %v, want %v", s.Window, want)
	}
	b.hold(month, 50)
	b.pass(3 * time.Hour)
	if s, ok := both(60); !ok {
		b.t.Fatal(s)
	}
	b.standing(day, 60, 0, 40)
	b.standing(month, 160, 50, 790)
	b.pass(31 * 24 * time.Hour)
	month.Settle(50, 70)
	b.standing(month, 70, 0, 930)
}

func testLevel(b *bench) {
	k := b.Get(counter.Spec{Name: "k", Algorithm: counter.Level, Limit: 3})
	b.hold(k, 2)
	b.hold(k, 1)
	b.take(k, 1, false, false)
	k.Settle(1, 0)
	b.hold(k, 1)
	b.pass(time.Hour)
	b.take(k, 1, false, false)
	k.Settle(3, 0)
	b.standing(k, 0, 0, 3)
}

func testHolds(b *bench) {
	k := b.Get(counter.Spec{Name: "k", Algorithm: counter.Sliding, Limit: 100, Window: time.Minute})
	b.hold(k, 80)
	b.short(k, 21)
	b.pass(5 * time.Minute)
	if s := b.short(k, 21); s.Retry != 0 {
		b.t.Errorf("retry %v although only what is held is in the way, want 0", s.Retry)
	}
	k.Settle(80, 30)
	b.standing(k, 30, 0, 70)
	b.hold(k, 70)
	k.Settle(70, 170)
	b.standing(k, 200, 0, 0)
	b.short(k, 1)
	if _, ok := b.Take([]counter.Need{{Counter: k}}); !ok {
		b.t.Error("of nothing there is not enough")
	}
	b.pass(2 * time.Minute)
	b.standing(k, 0, 0, 100)
}

func testAllOrNothing(b *bench) {
	narrow := b.Get(counter.Spec{Name: "narrow", Algorithm: counter.Sliding, Limit: 10, Window: time.Minute})
	wide := b.Get(counter.Spec{Name: "wide", Algorithm: counter.Calendar, Limit: 15})
	needs := []counter.Need{{Counter: narrow, N: 4}, {Counter: wide, N: 8}, {Counter: narrow, N: 4, Spend: true}}
	if s, ok := b.Take(needs); !ok {
		b.t.Fatal(s)
	}
	s, ok := b.Take([]counter.Need{{Counter: narrow, N: 2, Spend: true}, {Counter: wide, N: 8, Spend: true}})
	if ok || s.Index != 1 || s.Free != 7 {
		b.t.Errorf("Take = %+v, %t; want short of the second, 7 free", s, ok)
	}
	b.standing(narrow, 4, 4, 2)
	b.standing(wide, 0, 8, 7)
	if _, ok = b.Take([]counter.Need{{Counter: wide, N: 4}, {Counter: wide, N: 4}}); ok {
		b.t.Error("two needs of one counter are met that do not fit together")
	}
	b.standing(wide, 0, 8, 7)
}

// testLarge: more than a bucket holds waits for the bucket to be empty, and then has it in debt.
func testLarge(b *bench) {
	k := b.Get(counter.Spec{Name: "k", Algorithm: counter.Token, Limit: 600, Burst: 10, Window: time.Minute})
	b.spend(k, 2)
	b.near("retry", b.short(k, 30).Retry, 200*time.Millisecond, time.Millisecond)
	b.pass(300 * time.Millisecond)
	b.spend(k, 30)
	b.near("retry", b.short(k, 1).Retry, 2100*time.Millisecond, time.Millisecond)
	b.pass(2050 * time.Millisecond)
	b.short(k, 1)
	b.pass(60 * time.Millisecond)
	b.spend(k, 1)
	b.pass(time.Minute)
	b.hold(k, 1)
	b.take(k, 30, false, false)
	k.Settle(1, 0)
	b.hold(k, 30)
	b.take(k, 1, false, false)
	k.Settle(30, 5)
	b.standing(k, 5, 0, 5)
}

func testChanged(b *bench) {
	s := counter.Spec{Name: "k", Algorithm: counter.Sliding, Limit: 10, Window: time.Minute}
	k := b.Get(s)
	b.spend(k, 8)
	b.hold(k, 1)
	s.Limit = 9
	if b.Get(s) != k {
		b.t.Fatal("a changed limit is another counter")
	}
	b.short(k, 1)
	s.Limit = 100
	b.Get(s)
	b.spend(k, 91)
	b.short(k, 1)
	s.Window = time.Hour
	other := b.Get(s)
	k.Settle(1, 0)
	b.hold(other, 1)
	b.hold(k, 0)
	if got := other.State().Held; got != 1 {
		b.t.Errorf("held %d after another way of counting, want 1", got)
	}
}

func testForgotten(b *bench) {
	s := counter.Spec{Name: "k", Algorithm: counter.Sliding, Limit: 10, Window: time.Minute}
	k, pinned := b.Lookup(s), b.Get(counter.Spec{Name: "pinned", Algorithm: counter.Level, Limit: 1})
	b.spend(k, 10)
	b.Sweep()
	if got := b.Stats().Counters; got != 2 {
		b.t.Fatalf("%d counters, want 2: one that counts was forgotten", got)
	}
	settle := func(want int) { // on Redis when it is at rest
		b.t.Helper()
		for range 200 {
			b.add(time.Minute)
			if b.Sweep(); b.Stats().Counters == want {
				time.Sleep(20 * time.Millisecond) // what is on its way to a Redis of its own comes in
				b.add(time.Minute)                // and may have been heard of when the clock had moved already
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		b.t.Fatalf("%d counters, want %d", b.Stats().Counters, want)
	}
	settle(1)
	b.spend(k, 4)
	if other := b.Lookup(s); other != k {
		b.t.Error("a counter that came back is another")
	}
	settle(1)
	other := b.Lookup(s)
	b.spend(other, 4)
	b.spend(k, 6)
	b.short(other, 1)
	b.standing(k, 10, 0, 0)
	b.Release(pinned)
	settle(0)
}
