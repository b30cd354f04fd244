package policy

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

// perToken is a tariff in nano-dollars a token.
type perToken struct{ in, out int64 }

func (p perToken) Cost(u wire.Usage) wire.Money {
	return wire.Money(u.Prompt*p.in + u.Completion*p.out)
}
func (p perToken) OutputRate(int64) int64 { return p.out * 1_000_000 }
func (p perToken) Longest() int64         { return 1200 }

func rates(t testing.TB, texts ...string) (r Rates) {
	t.Helper()
	for _, text := range texts {
		rate, err := parseRate(text, false)
		if err != nil {
			t.Fatal(err)
		}
		r = append(r, rate)
	}
	return r
}

func spends(t testing.TB, texts ...string) (r Spends) {
	t.Helper()
	for _, text := range texts {
		rate, err := parseRate(text, true)
		if err != nil {
			t.Fatal(err)
		}
		r = append(r, SpendRate(rate))
	}
	return r
}

// desk of tests: a gate that counts, and the caller who has its key.
func counting(t testing.TB, tenant Tenant, whole Limits) (*Gate, *Caller) {
	t.Helper()
	counters, err := counter.Open(counter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = counters.Close() })
	tenant.Keys = []Key{{Name: "a", Key: keyA}}
	g, err := New(Setup{Tenants: map[string]Tenant{"acme": tenant}, Limits: whole, Names: names, Counters: counters}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close(nil) })
	c, err := g.Identify([]byte(keyA), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return g, c
}

func (g *Gate) left(t testing.TB, c *Caller, unit Unit) int64 {
	t.Helper()
	for _, s := range c.scopes {
		for _, l := range s.limits {
			if l.unit == unit {
				return l.counter.Free()
			}
		}
	}
	t.Fatalf("no limit on %s", unit)
	return 0
}

// A budget is never passed by more than a token's price, whatever is admitted at the same time, and what fits is admitted.
func TestBudgetNeitherOvershootsNorStarves(t *testing.T) {
	for _, workers := range []int{1, 4, 32} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			tariff := perToken{in: 150, out: 600}
			const budget = 200_000_000 // $0.2, some 500 answers
			g, c := counting(t, Tenant{Limits: Limits{Spend: spends(t, "$0.2/month"), Concurrency: 64}}, Limits{Spend: spends(t, "$1/d")})
			var spent, refused atomic.Int64
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					random := rand.New(rand.NewPCG(1, uint64(w)))
					for refused.Load() < int64(10*workers) {
						if cost, ok := once(t, g, c, random, tariff); ok {
							spent.Add(cost)
						} else {
							refused.Add(1)
						}
					}
				})
			}
			wg.Wait()
			if got := spent.Load(); got > budget+tariff.out || got < budget*9/10 {
				t.Errorf("spent %s of %s", wire.Money(got), wire.Money(budget))
			}
			if left, want := g.left(t, c, Spend), budget-spent.Load(); left != max(want, 0) {
				t.Errorf("the counter has %d left, %d are", left, want)
			}
			if left := g.left(t, c, Concurrency); left != 64 {
				t.Errorf("%d places are left, of 64", left)
			}
		})
	}
}

// once is one request: a prompt of known length, an answer of random length, some of which the client ends early.
func once(t *testing.T, g *Gate, c *Caller, random *rand.Rand, tariff perToken) (cost int64, ok bool) {
	prompt := 100 + random.Int64N(400)
	answer := int64(math.Exp(random.Float64() * 7)) // up to 1,100, mostly short
	a := Ask{Model: "chat", Tariff: tariff, Prompt: prompt * (92 + random.Int64N(16)) / 100, Answers: true, Cuttable: random.IntN(2) == 0}
	if random.IntN(3) == 0 {
		a.Cap = 200 + random.Int64N(4000)
	}
	var r Grant
	err := g.Admit(c, &a, &r)
	if err != nil {
		var e *wire.Error
		if !errors.As(err, &e) || e.Code != "insufficient_quota" && e.Code != "rate_limit_exceeded" {
			t.Errorf("refused with %v", err)
		}
		r.Settle(wire.Usage{}, 0, false)
		return 0, e.Code == "rate_limit_exceeded" // then the rest is only held by others
	}
	if a.Cap > 0 {
		answer = min(answer, a.Cap)
	}
	if most, _ := r.Cap(); most > 0 {
		answer = min(answer, most)
	}
	if r.Meter() {
		for given := int64(0); given < answer; given++ {
			if allowed := r.More(given); allowed <= given {
				answer = given
			}
		}
	}
	u := wire.Usage{Prompt: prompt, Completion: answer}
	switch random.IntN(10) {
	case 0: // fails, costs nothing
		r.Settle(wire.Usage{}, 0, false)
		return 0, true
	case 1: // the client leaves
		u.Completion /= 2
		r.Settle(u, tariff.Cost(u), false)
	default:
		r.Settle(u, tariff.Cost(u), true)
	}
	return int64(tariff.Cost(u)), true
}

func TestLimitsHoldAtOnce(t *testing.T) {
	g, c := counting(t, Tenant{Limits: Limits{Requests: rates(t, "3/m"), Concurrency: 2}}, Limits{Requests: rates(t, "100/s")})
	var open []*Grant
	ask := func() error {
		r := &Grant{}
		err := g.Admit(c, &Ask{Model: "chat"}, r)
		if err == nil {
			open = append(open, r)
		}
		return err
	}
	for range 2 {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	turnedDown(t, ask(), "rate_limit_exceeded", "Too many requests in flight: tenant acme may have 2 at once")
	for _, r := range open {
		r.Settle(wire.Usage{}, 0, false)
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	turnedDown(t, ask(), "rate_limit_exceeded", "Rate limit reached for tenant acme: requests of 3/m, of which 0 are left; this request needs 1. Please try again in 1m0s.")
	if at, tokens := open[2].Standings(); at.Limit != 3 || at.Left != 0 || tokens != (Standing{}) {
		t.Errorf("it stands at %+v, %+v", at, tokens)
	}
}

func turnedDown(t *testing.T, err error, code, message string) {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, message) {
		t.Errorf("got %v, want %s: %s", err, code, message)
	}
}

func BenchmarkAdmitFiveLimits(b *testing.B) {
	tariff := perToken{in: 150, out: 600}
	g, c := counting(b, Tenant{Limits: Limits{Requests: rates(b, "1G/m"), Tokens: rates(b, "1000000G/m"), Spend: spends(b, "$1G/d"), Concurrency: 1 << 30}},
		Limits{Requests: rates(b, "1G/s")})
	body := []byte(`{"model":"chat","messages":[{"role":"user","content":"` + strings.Repeat("How much does it cost? ", 11) + `"}]}`)
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		var r Grant
		for b.Loop() {
			cycle(b, g, c, body, tariff, &r)
		}
	})
	b.Run("many", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			var r Grant
			for p.Next() {
				cycle(b, g, c, body, tariff, &r)
			}
		})
	})
}

func cycle(b *testing.B, g *Gate, c *Caller, body []byte, tariff Tariff, r *Grant) {
	if err := g.Admit(c, &Ask{Model: "chat", Tariff: tariff, Raw: body, Answers: true, Cuttable: true}, r); err != nil {
		b.Fatal(err)
	}
	u := wire.Usage{Prompt: 60, Completion: 100}
	r.Settle(u, tariff.Cost(u), true)
}
