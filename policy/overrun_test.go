package policy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/tokens"
	"jarvis-gateway/proxy/wire"
)

// account is how a provider counts: what it reports of a prompt that has so many of our tokens, and so many bytes of text.
type account func(random *rand.Rand, counted, size int64) int64

var accounts = map[string]account{
	"as we do":               func(_ *rand.Rand, n, _ int64) int64 { return n },
	"less":                   func(_ *rand.Rand, n, _ int64) int64 { return n * 3 / 4 },
	"more, and framing":      func(_ *rand.Rand, n, _ int64) int64 { return n*13/10 + 17 },
	"much framing":           func(_ *rand.Rand, n, _ int64) int64 { return n + 80 },
	"a little by chance":     func(r *rand.Rand, n, _ int64) int64 { return n*12/10 + 5 + r.Int64N(9) },
	"by chance, with length": func(r *rand.Rand, n, _ int64) int64 { return n*(100+r.Int64N(16))/100 + 3 },
	"as documented":          func(r *rand.Rand, n, _ int64) int64 { return n - 1 + r.Int64N(3) }, // but for a token by message
	"by bytes":               func(_ *rand.Rand, _, size int64) int64 { return 3 + (size+3)/4 },
}

// market is one caller with a budget, his requests in flight, and a provider.
type market struct {
	*testing.T
	g       *Gate
	c       *Caller
	random  *rand.Rand
	account account
	served  string // the model, as the provider calls it
	tariff  perToken
	budget  int64
	words   []string
	open    []*deal

	spent, surprise int64 // surprise is what was reported beyond what was held
	refused, known  int   // known are prompts of which the provider has reported
	billed, owed    int64 // tokens of prompts that it has not: as the gateway takes them, and as it counts, with experience
}

// deal is a request in flight.
type deal struct {
	r        Grant
	reported int64 // of the prompt, by the provider
	answer   int64 // what the model would say
	given    int64
	stream   bool
}

// ask admits a request, or is refused.
func (m *market) ask() {
	text := strings.Repeat(m.words[m.random.IntN(len(m.words))]+" ", 1+m.random.IntN(40))
	body := []byte(fmt.Sprintf(`{"model":"chat","max_tokens":40,"messages":[{"role":"user","content":%q}]}`, text))
	d := &deal{stream: m.random.IntN(3) == 0}
	a := Ask{Model: "chat", Habit: "chat", Served: m.served, Tariff: m.tariff, Raw: body, Answers: true, Cap: 40, Cuttable: d.stream}
	if err := m.g.Admit(m.c, &a, &d.r); err != nil {
		var e *wire.Error
		if !errors.As(err, &e) || e.Status != 429 {
			m.Fatal(err)
		}
		if len(m.open) == 0 { // else the rest is only held
			m.refused++
		}
		return
	}
	d.reported = m.account(m.random, int64(tokens.CountRequest(body, m.served)), int64(len(text)))
	if d.answer = 16; d.stream || m.random.IntN(4) == 0 {
		d.answer = 1 + m.random.Int64N(40)
	}
	if most, _ := d.r.Cap(); most > 0 {
		d.answer = min(d.answer, most)
	}
	m.open = append(m.open, d)
}

// step goes on with one request, and tells whether it is at its end.
func (m *market) step(d *deal) bool {
	switch {
	case !d.stream:
		d.given = d.answer
	case d.given == d.answer:
	case d.r.Meter() && d.r.More(d.given) <= d.given:
		m.end(d, false)
		return true
	default:
		d.given++
		if m.random.IntN(100) == 0 { // the client leaves
			m.end(d, false)
			return true
		}
		return false
	}
	m.end(d, true)
	return true
}

// end settles: with what the provider reports, or with what the gateway takes a prompt for that nobody reports.
func (m *market) end(d *deal, told bool) {
	u := wire.Usage{Prompt: d.reported, Completion: d.given}
	if told {
		m.known++
	} else if u.Prompt, u.Estimated = d.r.Prompt(), true; m.known > 60 {
		m.billed, m.owed = m.billed+u.Prompt, m.owed+d.reported
	}
	cost := m.tariff.Cost(u)
	m.spent += int64(cost)
	m.surprise += max(0, int64(cost)-d.r.holds[0].n)
	d.r.Settle(u, cost, told)
}

// run trades until nothing more is let in, with so many requests in flight at most.
func (m *market) run(workers int) {
	for m.refused < 100 {
		if len(m.open) < workers && m.random.IntN(2) == 0 {
			m.ask()
			continue
		}
		if len(m.open) > 0 {
			if i := m.random.IntN(len(m.open)); m.step(m.open[i]) {
				m.open = append(m.open[:i], m.open[i+1:]...)
			}
		}
	}
}

// However a provider counts, a budget is passed by no more than a token's price, and nearly all of it is let in. Only what the
// first reports say beyond all that was to be expected comes on top.
func TestBudgetWhateverProvidersCount(t *testing.T) {
	for name, how := range accounts {
		t.Run(name, func(t *testing.T) { testAccount(t, name, how, "m1") })
		t.Run(name+", of a vocabulary that is published", func(t *testing.T) { testAccount(t, name, how, "gpt-4o") })
	}
}

func testAccount(t *testing.T, name string, how account, served string) {
	var spent, budget, billed, owed int64
	for seed := range uint64(100) {
		m := newMarket(t, how, seed, []string{"$0.018/month", "$0.2/month"}[seed%2])
		m.served, m.words = served, []string{"the", "gateway", "counts"}
		if seed%3 > 0 {
			m.words = []string{"CANARYPROMPT"}
		}
		workers := []int{1, 4, 16}[seed/2%3]
		m.run(workers)
		if name == "much framing" && m.known < 50 {
			m.spent -= m.surprise
		}
		if m.spent > m.budget+m.tariff.out || m.spent < m.budget*9/10 {
			t.Errorf("seed %d, %d at once: spent %d of %d", seed, workers, m.spent, m.budget)
		}
		spent, budget, billed, owed = spent+m.spent, budget+m.budget, billed+m.billed, owed+m.owed
	}
	t.Logf("%.1f %% let in, prompts that nobody reports are billed at %.1f %%", 100*float64(spent)/float64(budget), 100*float64(billed)/float64(owed))
	if spent < budget*96/100 || billed < owed*99/100 || billed > owed*125/100 {
		t.Errorf("spent %d of %d, billed %d of %d", spent, budget, billed, owed)
	}
}

func newMarket(t *testing.T, how account, seed uint64, budget string) *market {
	t.Helper()
	counters, err := counter.Open(counter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = counters.Close() })
	tenant := Tenant{Limits: Limits{Spend: spends(t, budget)}, Keys: []Key{{Name: "a", Key: keyA}}}
	g, err := New(Setup{Tenants: map[string]Tenant{"acme": tenant}, Names: names, Counters: counters}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close(nil) })
	m := &market{T: t, g: g, random: rand.New(rand.NewPCG(seed, 1)), account: how, tariff: perToken{in: 10_000, out: 40_000}}
	m.c = identify(t, g, keyA)
	m.budget = g.left(t, m.c, Spend)
	return m
}
