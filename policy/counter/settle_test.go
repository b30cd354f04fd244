package counter_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"jarvis-gateway/policy/counter"
)

// testSettled: what becomes of all needs of a request is one step, and what it tells is what the counters then say.
func testSettled(b *bench) {
	needs := []counter.Need{
		{Counter: b.Get(counter.Spec{Name: "requests", Algorithm: counter.Sliding, Limit: 10, Window: time.Minute}), N: 1, Spend: true},
		{Counter: b.Get(counter.Spec{Name: "tokens", Algorithm: counter.Token, Limit: 1000, Window: time.Minute}), N: 300},
		{Counter: b.Get(counter.Spec{Name: "money", Algorithm: counter.Calendar, Limit: 10_000}), N: 5000},
		{Counter: b.Get(counter.Spec{Name: "places", Algorithm: counter.Level, Limit: 4}), N: 1},
	}
	for range 2 {
		if s, ok := b.Take(needs); !ok {
			b.t.Fatal(s)
		}
	}
	b.Report()
	ends := []counter.End{
		{Counter: needs[0].Counter, Look: true},
		{Counter: needs[1].Counter, Held: 300, Used: 400, Look: true},
		{Counter: needs[2].Counter, Held: 5000, Used: 7000, Look: true},
		{Counter: needs[3].Counter, Held: 1, Used: 3},
	}
	b.Settle(ends)
	for i, want := range []counter.State{{Limit: 10, Used: 2}, {Limit: 1000, Used: 400, Held: 300}, {Limit: 10_000, Used: 7000, Held: 5000}, {}} { // nobody asked for the last
		if s := ends[i].State; s.Limit != want.Limit || s.Used != want.Used || s.Held != want.Held {
			b.t.Errorf("%s stands at %+v, want %+v", ends[i].Counter.Name(), s, want)
		}
	}
	b.standing(needs[1].Counter, 400, 300, 300)
	b.standing(needs[2].Counter, 7000, 5000, 0)
	b.standing(needs[3].Counter, 0, 1, 3)
	looks := []counter.End{{Counter: needs[1].Counter, Look: true}}
	for range 3 {
		b.Settle(looks)
	}
	b.standing(needs[1].Counter, 400, 300, 300)
}

// TestSettleAsOneByOne: many ends at once leave the counters as they are when each is settled alone, whatever the algorithms.
func TestSettleAsOneByOne(t *testing.T) {
	at := newClock()
	var sides [2]*counter.Counters
	var counters [2][]*counter.Counter
	for i := range sides {
		c, err := counter.Open(counter.Options{Now: at.now})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		sides[i], counters[i] = c, resettable(c)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		var ends []counter.End
		for i, k := range counters[0] {
			n := r.Int64N(30)
			need := []counter.Need{{Counter: k, N: n}}
			if _, ok := sides[0].Take(need); !ok {
				n = 0
			}
			need[0].Counter = counters[1][i]
			if _, ok := sides[1].Take(need); ok != (n > 0 || need[0].N == 0) {
				t.Fatalf("%s: one side takes %d, the other does not", k.Name(), need[0].N)
			}
			ends = append(ends, counter.End{Counter: k, Held: r.Int64N(n + 1), Used: r.Int64N(20), Look: true})
		}
		sides[0].Settle(ends)
		for i, k := range counters[1] {
			if k.Settle(ends[i].Held, ends[i].Used); k.State() != ends[i].State {
				t.Fatalf("%s: together %+v, alone %+v", k.Name(), ends[i].State, k.State())
			}
		}
		at.add(time.Duration(r.ExpFloat64() * float64(3*time.Second)))
	}
}

func resettable(c *counter.Counters) (list []*counter.Counter) {
	for _, s := range []counter.Spec{
		{Name: "sliding", Algorithm: counter.Sliding, Limit: 100, Window: time.Minute},
		{Name: "token", Algorithm: counter.Token, Limit: 977, Burst: 120, Window: 61 * time.Second},
		{Name: "leaky", Algorithm: counter.Leaky, Limit: 130, Burst: 30, Window: 7 * time.Second},
		{Name: "calendar", Algorithm: counter.Calendar, Limit: 100},
		{Name: "level", Algorithm: counter.Level, Limit: 70},
	} {
		list = append(list, c.Get(s))
	}
	return list
}

// TestReset: what a counter says of when all is gone is true to the nanosecond, also after needs that were taken back.
func TestReset(t *testing.T) {
	for seed := range uint64(40) {
		at := newClock()
		c, err := counter.Open(counter.Options{Now: at.now})
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(seed, 3))
		list := resettable(c)
		full := c.Get(counter.Spec{Name: "full", Algorithm: counter.Level})
		for _, k := range list {
			for range r.IntN(40) {
				needs := []counter.Need{{Counter: k, N: r.Int64N(9), Spend: true}, {Counter: full, N: 1}}
				c.Take(needs[:1+r.IntN(2)]) // with the second, what the first took is taken back
				at.add(time.Duration(r.ExpFloat64() * float64(time.Second)))
			}
		}
		states := func() (list []counter.State) {
			for _, k := range resettable(c) {
				list = append(list, k.State())
			}
			return list
		}
		for slices.ContainsFunc(states(), func(s counter.State) bool { return s.Used > 0 }) {
			next := slices.MinFunc(states(), func(a, b counter.State) int { return int(order(a) - order(b)) })
			i := slices.Index(states(), next)
			at.add(next.Reset - 1)
			if s := list[i].State(); s.Used == 0 || s.Reset != 1 {
				t.Fatalf("seed %d, %s: %+v, and a moment before it is over %+v", seed, list[i].Name(), next, s)
			}
			at.add(1)
			if s := list[i].State(); s.Used != 0 || s.Reset != 0 {
				t.Fatalf("seed %d, %s: %+v, and when it should be over %+v", seed, list[i].Name(), next, s)
			}
		}
		c.Close()
	}
}

// order puts first what is over first.
func order(s counter.State) time.Duration {
	if s.Used == 0 {
		return 1 << 60
	}
	return s.Reset
}
