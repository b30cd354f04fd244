package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

// What tokens cost with the two providers, in nano-dollars.
const (
	cheapIn, cheapOut = 1_000, 4_000
	dearIn, dearOut   = 5_000, 20_000
)

const sharedConfig = `
prices: {file: prices.yml}
stores: {state: "sqlite:${DIR}/state.db", counters: "${COUNTERS}"}
providers:
  cheap: {kind: openai, base_url: "${CHEAP}/v1", api_key: sk-cheap}
  dear: {kind: openai, base_url: "${DEAR}/v1", api_key: sk-dear}
models:
  chat: {targets: [{provider: cheap, model: cheap-1}, {provider: dear, model: dear-1}]}
limits: {tokens: 100M/d, requests: 1M/m, concurrency: 500}
tenants:
  acme:
    timezone: ${ZONE}
    limits: {spend: $0.8/month, tokens: 10M/d}
    teams: {red: {limits: {spend: $0.4/d}}, blue: {limits: {tokens: 160k/d}}}
    keys:
      - {name: r1, key: jv-r1-0123456789abcdef, team: red, limits: {spend: $0.16/d}}
      - {name: r2, key: jv-r2-0123456789abcdef, team: red, limits: {concurrency: 100}}
      - {name: b1, key: jv-b1-0123456789abcdef, team: blue, limits: {tokens: 32k/d}}
      - {name: b2, key: jv-b2-0123456789abcdef, team: blue}
`

const sharedPrices = "cheap-1: {input: $1/M, output: $4/M}\ndear-1: {input: $5/M, output: $20/M}\n"

// budgets are those of sharedConfig: nano-dollars, or tokens.
var budgets = map[string]struct {
	amount int64
	tokens bool
	keys   string // that use it
}{
	wholeBudget:                      {800_000_000, false, "r1 r2 b1 b2"},
	"tenant/acme/team/red/spend/d":   {400_000_000, false, "r1 r2"},
	"tenant/acme/key/r1/spend/d":     {160_000_000, false, "r1"},
	"tenant/acme/team/blue/tokens/d": {160_000, true, "b1 b2"},
	"tenant/acme/key/b1/tokens/d":    {32_000, true, "b1"},
}

const (
	wholeBudget = "tenant/acme/spend/month"
	crowded     = 32 // who ask at a time
)

// town is providers that fail, gateways that share a budget, and those who ask them.
type town struct {
	testing.TB
	seed        uint64
	cheap, dear *fakellm.Server
	gateways    []*process
	wire        *redisWire // nil: counters in memory
	http        *http.Client
	asked       atomic.Int64
	served      atomic.Int64 // when anything was let in last
	refused     atomic.Int64 // how many since were not
	kills       atomic.Int64

	mu     sync.Mutex
	used   map[string]use // by key: what clients know of
	lost   map[string]use // of this, what was under way at a kill
	counts map[string]int
}

// use is what requests have used.
type use struct{ nano, tokens int64 }

func (u use) in(tokens bool) int64 {
	if tokens {
		return u.tokens
	}
	return u.nano
}

func (u *use) add(provider string, prompt, completion int64) {
	in, out := int64(cheapIn), int64(cheapOut)
	if provider == "dear" {
		in, out = dearIn, dearOut
	}
	u.nano += prompt*in + completion*out
	u.tokens += prompt + completion
}

func newTown(t testing.TB, bin string, gateways int, shared bool) *town {
	t.Helper()
	w := &town{TB: t, seed: rand.Uint64(), http: clients(t), used: map[string]use{}, lost: map[string]use{}, counts: map[string]int{}}
	t.Logf("seed %d", w.seed)
	w.cheap, w.dear = w.provider(1), w.provider(2)
	counters := "memory"
	if shared {
		w.wire = newRedisWire(t, redisServer(t))
		counters = w.wire.url()
	}
	config := strings.NewReplacer("${COUNTERS}", counters, "${CHEAP}", w.cheap.URL(), "${DEAR}", w.dear.URL(), "${ZONE}", noon()).Replace(sharedConfig)
	for range gateways {
		w.gateways = append(w.gateways, newProcess(t, bin, config, "prices.yml", sharedPrices))
	}
	return w
}

// provider is one whose answers nobody can foresee. The first of the two fails now and then.
func (w *town) provider(number uint64) *fakellm.Server {
	w.Helper()
	s, err := fakellm.Start(fakellm.Options{Plan: func(seen *fakellm.Seen) fakellm.Plan {
		random := rand.New(rand.NewPCG(w.seed+number, uint64(seen.Seq)))
		p := fakellm.Plan{Tokens: 1 + random.IntN(20)}
		if random.IntN(5) == 0 {
			p.Tokens += random.IntN(300)
		}
		switch luck := random.IntN(100); {
		case luck < 20:
			p.EventDelay = time.Duration(random.IntN(3000)) * time.Microsecond
		case luck < 40:
			p.Delay = time.Duration(random.IntN(20)) * time.Millisecond
		case number == 2:
		case luck < 48:
			p.Status = 500
		case luck < 53:
			p.Fault = fakellm.CutMidStream
		case luck < 56:
			p.Fault = fakellm.InStreamErrorMid
		case luck < 58:
			p.Fault = fakellm.ResetBeforeHeaders
		}
		return p
	}})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(s.Close)
	return s
}

// crowd asks until nothing more is let in for a while, however long a slow machine takes until then.
func (w *town) crowd() {
	begun := time.Now()
	end := begun.Add(2 * patience)
	w.served.Store(begun.UnixNano())
	w.refused.Store(0)
	over := func(now time.Time) bool {
		return now.UnixNano()-w.served.Load() > int64(1500*time.Millisecond) && w.refused.Load() > 20*crowded
	}
	var wg sync.WaitGroup
	for n := range crowded {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(w.seed, uint64(100+n)))
			for now := time.Now(); now.Before(end) && !over(now); now = time.Now() {
				w.one(random)
			}
		})
	}
	wg.Wait()
	w.Logf("%v of demand", time.Since(begun).Round(100*time.Millisecond))
}

var towners = []string{"r1", "r2", "b1", "b2"}

// one is one request, to any of the gateways.
func (w *town) one(random *rand.Rand) {
	key := towners[random.IntN(len(towners))]
	q := question{key: "jv-" + key + "-0123456789abcdef", model: "chat", text: prose(random, 10+random.IntN(300)), stream: random.IntN(2) == 0}
	if random.IntN(3) == 0 {
		q.most = 1 + random.IntN(200)
	}
	switch random.IntN(12) {
	case 0:
		q.leaveAfter = 1 + random.IntN(10)
	case 1:
		q.leaveIn = time.Duration(random.IntN(15)) * time.Millisecond
	}
	p := w.gateways[random.IntN(len(w.gateways))]
	life := p.lives.Load()
	r := q.ask(w.http, p.at.Load().api)
	w.asked.Add(1)
	w.note(key, &q, &r, p.lives.Load() != life || r.broken && p.dying.Load())
	switch r.status {
	case 0:
		time.Sleep(time.Millisecond)
	case 429:
		w.refused.Add(1)
		time.Sleep(time.Duration(5+random.IntN(10)) * time.Millisecond)
	case 200:
		w.served.Store(time.Now().UnixNano())
		w.refused.Store(0)
	}
}

// note writes down what a client knows of its request. killed tells that the gateway was killed meanwhile.
func (w *town) note(key string, q *question, r *tally, killed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[fmt.Sprintf("%d %s", r.status, r.code)]++
	if r.status != 200 || r.prompt+r.completion == 0 {
		return
	}
	if !r.told {
		w.counts["not told"]++
	}
	u := w.used[key]
	u.add(r.provider, r.prompt, r.completion)
	w.used[key] = u
	if killed && !r.told {
		w.counts["lost"]++
		l := w.lost[key]
		l.add(r.provider, r.prompt, r.completion)
		w.lost[key] = l
	}
}

// sum is what keys have used.
func sum(of map[string]use, keys string) (all use) {
	for _, key := range strings.Fields(keys) {
		all.nano += of[key].nano
		all.tokens += of[key].tokens
	}
	return all
}

// settled waits until every gateway says the same of every limit, and nothing is held or leased.
func (w *town) settled() map[string]limit {
	w.Helper()
	var first map[string]limit
	var why string
	deadline := time.Now().Add(patience)
	for {
		why = ""
		for i, p := range w.gateways {
			all := p.limits("acme")
			if i == 0 {
				first = all
			}
			for id, l := range all {
				if o := first[id]; l.held != 0 || o.used != l.used || l.used <= l.limit && l.free+l.used-l.limit > 1e-12 || l.used <= l.limit && l.limit-l.used-l.free > 1e-12 {
					why += fmt.Sprintf("gateway %d: %s: %+v, the first one: %+v\n", i, id, l, o)
				}
			}
			if n := p.metric("jarvis_requests_in_flight") + p.metric("jarvis_counters_unsent"); n > 0 {
				why += fmt.Sprintf("gateway %d: %v in flight or unsent\n", i, n)
			}
		}
		if why == "" && len(first) > 0 {
			return first
		}
		if time.Now().After(deadline) {
			w.Errorf("not settled in %s: %s", patience, why)
			return first
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// logged is what the gateways' own access lines say was used, by key.
func (w *town) logged() map[string]use {
	all := map[string]use{}
	for _, p := range w.gateways {
		for text := range strings.Lines(p.log.String()) {
			line := gjson.Parse(text)
			if line.Get("msg").Str != "request" || line.Get("provider").Str == "" {
				continue
			}
			u := all[line.Get("key").Str] // attempts that broke off are in it, at the price of who was asked then
			u.nano += int64(math.Round(line.Get("cost_usd").Num * 1e9))
			u.tokens += line.Get("prompt_tokens").Int() + line.Get("completion_tokens").Int()
			all[line.Get("key").Str] = u
		}
	}
	return all
}

// check compares what clients know and what counters say with the budgets. exact tells that nothing was killed, so that the
// counters must agree to the last nano-dollar with what was logged.
func (w *town) check(exact bool) {
	w.Helper()
	standing, logged := w.settled(), w.logged()
	w.Logf("%d requests, %d kills: %v; the cheap provider served %+v", w.asked.Load(), w.kills.Load(), w.counts, w.cheap.Stats())
	for id, b := range budgets {
		token, scale := int64(1), 1.0
		if !b.tokens {
			token, scale = dearOut, 1e9
		}
		l, ok := standing[id]
		if !ok {
			w.Fatalf("no limit %s in %v", id, standing)
		}
		counted := int64(l.used*scale + 0.5)
		seen, lost, told := sum(w.used, b.keys).in(b.tokens), sum(w.lost, b.keys).in(b.tokens), sum(logged, b.keys).in(b.tokens)
		w.Logf("%-26s of %d: seen %d (%.2f%%), of it lost at kills %d, counted %d, logged %d", id, b.amount, seen, 100*float64(seen)/float64(b.amount), lost, counted, told)
		if seen-lost > b.amount+token {
			w.Errorf("%s: clients were served %d, %d more than the budget", id, seen-lost, seen-lost-b.amount)
		}
		if counted > b.amount+token {
			w.Errorf("%s: %d counted, %d more than the budget", id, counted, counted-b.amount)
		}
		if exact && counted != told {
			w.Errorf("%s: %d counted, %d logged", id, counted, told)
		}
	}
	if l := standing[wholeBudget]; l.used < l.limit*9/10 {
		w.Errorf("only %v of the tenant's budget was let in", l)
	}
	if lost, most := w.counts["lost"], int(w.kills.Load())*crowded; lost > most {
		w.Errorf("%d requests were lost at %d kills", lost, w.kills.Load())
	}
}

// prose is a text of about so many bytes.
func prose(random *rand.Rand, size int) string {
	words := strings.Fields("the gateway counts what each of us asks for and tells nobody else how many words there were before it has an answer")
	var b strings.Builder
	for b.Len() < size {
		b.WriteString(words[random.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()
}

// disturb makes the way to Redis slow, lossy or gone for moments, until stop is closed.
func (w *town) disturb(stop chan struct{}) {
	random := rand.New(rand.NewPCG(w.seed, 7))
	for {
		select {
		case <-stop:
			w.wire.delay.Store(0)
			w.wire.lose.Store(false)
			w.wire.sever(false)
			return
		case <-time.After(time.Duration(50+random.IntN(300)) * time.Millisecond):
		}
		switch random.IntN(5) {
		case 0:
			w.wire.lose.Store(true)
			time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
			w.wire.lose.Store(false)
		case 1:
			w.wire.delay.Store(int64(random.IntN(40)) * int64(time.Millisecond))
		case 2:
			w.wire.sever(true)
			time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
			w.wire.sever(false)
		default:
			w.wire.delay.Store(0)
		}
	}
}

// Four gateways and one Redis that is at times slow, lossy or gone: no budget is passed, what fits is let in, and afterwards all
// counters agree with what was logged.
func oneBudget(t *testing.T, bin string) {
	w := newTown(t, bin, 4, true)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { w.disturb(stop) })
	w.crowd()
	close(stop)
	wg.Wait()
	w.check(true)
}

// The same while gateways are killed and come again: what was under way then may be lost to the count, nothing else.
func oneBudgetKilled(t *testing.T, bin string) {
	w := newTown(t, bin, 4, true)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { w.disturb(stop) })
	wg.Go(func() { w.murder(stop) })
	w.crowd()
	close(stop)
	wg.Wait()
	w.check(false)
}

// murder kills a gateway now and then, and starts it again.
func (w *town) murder(stop chan struct{}) {
	random := rand.New(rand.NewPCG(w.seed, 8))
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(200+random.IntN(400)) * time.Millisecond):
		}
		p := w.gateways[random.IntN(len(w.gateways))]
		p.kill()
		w.kills.Add(1)
		p.start()
	}
}

// One gateway that counts in memory: what it has counted outlives it.
func oneBudgetInMemory(t *testing.T, bin string) {
	w := newTown(t, bin, 1, false)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { w.murder(stop) })
	w.crowd()
	close(stop)
	wg.Wait()
	w.check(false)
}
