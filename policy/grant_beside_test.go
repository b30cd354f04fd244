package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// duel is one request of which two attempts are made at once, the second at another price. It tells what both cost together.
func duel(t *testing.T, g *Gate, c *Caller, random *rand.Rand, one, two perToken) (cost int64, ok, both bool) {
	prompt := 100 + random.Int64N(400)
	a := Ask{Model: "chat", Tariff: one, Prompt: prompt, Answers: true, Cuttable: random.IntN(2) == 0}
	if random.IntN(2) == 0 {
		a.Cap = 100 + random.Int64N(2000)
	}
	var r Grant
	if err := g.Admit(c, &a, &r); err != nil {
		r.Settle(wire.Usage{}, 0, false)
		return 0, false, false
	}
	length := func(most int64) int64 { // of an answer as long as the model likes
		n := int64(math.Exp(random.Float64() * 7))
		if a.Cap > 0 {
			n = min(n, a.Cap)
		}
		if most > 0 {
			n = min(n, most)
		}
		return n
	}
	most, _ := r.Cap()
	tariffs, caps := [2]perToken{one, two}, [2]int64{most, 0}
	if both = r.Beside(two, "", a.Cuttable); both {
		caps[1], _ = r.Cap()
		if caps[1] > 0 && (caps[0] == 0 || caps[1] < caps[0]) {
			t.Errorf("the second answer may have %d tokens, the first %d", caps[1], caps[0])
		}
	}
	winner, lost := 0, wire.Usage{}
	if both {
		winner = random.IntN(2)
		lost = wire.Usage{Prompt: prompt, Completion: length(caps[1-winner])} // a whole one, which came second
		if a.Cuttable {
			lost.Completion = min(lost.Completion, 3)
		}
		wasted := tariffs[1-winner].Cost(lost)
		r.Lost(lost.Total(), wasted)
		if err := r.Aim(tariffs[winner], "", a.Cuttable); err != nil {
			t.Errorf("what is held does not cover the answer that there is: %v", err)
		}
		cost = int64(wasted)
	}
	u := wire.Usage{Prompt: prompt, Completion: length(caps[winner])}
	if r.Meter() {
		for given := int64(0); given < u.Completion; given++ {
			if allowed := r.More(given); allowed <= given {
				u.Completion = given
			}
		}
	}
	cost += int64(tariffs[winner].Cost(u))
	r.Settle(u.Plus(lost), wire.Money(cost), !both)
	return cost, true, both
}

// Two attempts at once never cost more than the budget has, and nothing stays held of them.
func TestTwoAtOnceStayInTheBudget(t *testing.T) {
	for name, two := range map[string]perToken{"cheaper": {in: 50, out: 200}, "the same": {in: 150, out: 600}, "dearer": {in: 600, out: 2400}} {
		for _, workers := range []int{1, 16} {
			t.Run(fmt.Sprintf("%s/%d", name, workers), func(t *testing.T) {
				one := perToken{in: 150, out: 600}
				const budget = 200_000_000
				g, c := counting(t, Tenant{Limits: Limits{Spend: spends(t, "$0.2/month"), Concurrency: 64}}, Limits{})
				var spent, refused, hedged, alone atomic.Int64
				var wg sync.WaitGroup
				for w := range workers {
					wg.Go(func() {
						random := rand.New(rand.NewPCG(2, uint64(w)))
						for refused.Load() < int64(10*workers) {
							cost, ok, both := duel(t, g, c, random, one, two)
							spent.Add(cost)
							switch {
							case !ok:
								refused.Add(1)
							case both:
								hedged.Add(1)
							default:
								alone.Add(1)
							}
						}
					})
				}
				wg.Wait()
				if got := spent.Load(); got > budget+max(one.out, two.out) || got < budget/2 {
					t.Errorf("spent %s of %s", wire.Money(got), wire.Money(budget))
				}
				if left := g.left(t, c, Spend); left != max(budget-spent.Load(), 0) {
					t.Errorf("the counter has %d left, %d are", left, budget-spent.Load())
				}
				if hedged.Load() < 50 || workers == 1 && alone.Load() == 0 { // of many at once, all may have found room for two
					t.Errorf("%d with two attempts, %d with one", hedged.Load(), alone.Load())
				}
			})
		}
	}
}

// Where the budget covers one attempt only, the first goes on as if nothing had been asked.
func TestNoRoomForTwo(t *testing.T) {
	tariff := perToken{in: 1000, out: 1000}
	g, c := counting(t, Tenant{Limits: Limits{Spend: spends(t, "$0.0005/d")}}, Limits{})
	var r Grant
	if err := g.Admit(c, &Ask{Model: "chat", Tariff: tariff, Prompt: 100, Answers: true, Cap: 200, N: 1}, &r); err != nil {
		t.Fatal(err)
	}
	before, most, left := r.output, r.capped, g.left(t, c, Spend)
	if r.Beside(perToken{in: 1001, out: 1000}, "", false) {
		t.Error("both are covered")
	}
	if r.output != before || r.capped != most || r.lost != 0 || r.wasted != 0 || r.ask.Tariff != tariff {
		t.Errorf("the first attempt's terms have changed: %+v", r)
	}
	if now := g.left(t, c, Spend); now != left {
		t.Errorf("%d left, %d before", now, left)
	}
	r.Settle(wire.Usage{Prompt: 100, Completion: 200}, 300_000, true)
	if now := g.left(t, c, Spend); now != 200_000 {
		t.Errorf("%d left", now)
	}
}

// Who has no limits has room for any number.
func TestBesideWithoutLimits(t *testing.T) {
	var none *Grant
	if !none.Beside(nil, "", false) || !(&Grant{}).Beside(nil, "", false) {
		t.Error("a caller without limits is refused a second attempt")
	}
}
