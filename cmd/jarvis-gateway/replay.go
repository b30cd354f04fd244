package main

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// simulation is how providers do in a replay.
type simulation struct {
	ttft, tpot time.Duration
	prefill    float64 // tokens a second of one replica; 0: prompts cost no time
	cache      int64   // tokens that a replica's cache holds
	failing    []string
	seed       uint64
}

func (s *simulation) flags(f *pflag.FlagSet) {
	f.DurationVar(&s.ttft, "ttft", 300*time.Millisecond, "replay: until the first token")
	f.DurationVar(&s.tpot, "tpot", 20*time.Millisecond, "replay: for each further token")
	f.Float64Var(&s.prefill, "prefill", 0, "replay: tokens of prompts that a replica of a pool computes a second, one prompt after another (0: at once)")
	f.Int64Var(&s.cache, "cache", 500_000, "replay: tokens that the cache of a replica of a pool holds")
	f.StringArrayVar(&s.failing, "error-rate", nil, "replay: how often calls fail, as `TARGET=5%`, where TARGET is a provider or provider/model; may be repeated")
	f.Uint64Var(&s.seed, "seed", 1, "replay: what is left to chance is the same for the same number")
}

// errorRates reads --error-rate.
func (s *simulation) errorRates() (map[string]float64, error) {
	rates := map[string]float64{}
	for _, text := range s.failing {
		target, share, ok := strings.Cut(text, "=")
		p, valid := router.ParsePercent(share)
		if !valid || !ok || target == "" {
			return nil, fmt.Errorf("--error-rate: %q is not like TARGET=5%%", clip(text))
		}
		rates[target] = p
	}
	return rates, nil
}

// replay is a trace under way.
type replay struct {
	simulation
	gateway  *proxy.Gateway
	limits   *traceClock
	line     replayLine
	sim      *router.Simulation
	asks     proxy.Question // what the flags say of requests that do not say it themselves
	rates    map[string]float64
	dice     *rand.Rand
	begin    time.Time
	agenda   agenda
	known    map[[4]string]*proxy.Rehearsal // of requests that are but numbers
	machines map[*router.Replica]*machine

	result replayed
}

// replayTrace replays the trace of a file.
func (r *routing) replayTrace(c *cobra.Command) error {
	trace, err := readTrace(r.replay)
	if err != nil {
		return err
	}
	if err = r.question([]byte(`{}`)); err != nil {
		return err
	}
	if r.model != "" {
		for i := range trace {
			trace[i].model = r.model
		}
	}
	rates, err := r.simulate.errorRates()
	if err != nil {
		return err
	}
	clock := newTraceClock(trace)
	g, end, err := offline(r.config, clock.now)
	if err != nil {
		return err
	}
	defer end()
	// It begins at a full hour, so that windows of time begin with it and it is the same each time.
	p := &replay{simulation: r.simulate, gateway: g, limits: clock, asks: ofGateway(r.asks), rates: rates, begin: time.Now().Truncate(time.Hour), known: map[[4]string]*proxy.Rehearsal{}, machines: map[*router.Replica]*machine{},
		dice: rand.New(rand.NewPCG(r.simulate.seed, 1))} //nolint:gosec // it is to be the same each time
	p.sim = g.Router.Simulate(p.begin, r.simulate.seed)
	if err := p.checkRates(); err != nil {
		return err
	}
	if err := p.run(trace); err != nil {
		return err
	}
	if r.json {
		return p.result.printJSON(c.OutOrStdout())
	}
	return p.result.print(c.OutOrStdout())
}

// checkRates refuses a rate of a target that there is not.
func (p *replay) checkRates() error {
	for name := range p.rates {
		found := false
		for _, t := range p.gateway.Router.Targets() {
			found = found || name == t.Provider || name == t.Provider+"/"+t.Model
		}
		if !found {
			return fmt.Errorf("--error-rate: there is no target %s", clip(name))
		}
	}
	return nil
}

// run goes through the trace.
func (p *replay) run(trace []arrival) error {
	for i := range trace {
		a := &trace[i]
		p.until(a.at)
		if err := p.arrive(a); err != nil {
			return fmt.Errorf("request %d of the trace: %w", i+1, plainly(err))
		}
	}
	p.until(1 << 62)
	for _, c := range p.machines {
		p.result.replicas = append(p.result.replicas, c)
	}
	return nil
}

// until does what happens up to a time.
func (p *replay) until(at time.Duration) {
	for len(p.agenda.list) > 0 && p.agenda.list[0].at <= at {
		e := heap.Pop(&p.agenda).(event)
		p.at(e.at)
		e.do()
	}
	if at < 1<<62 {
		p.at(at)
	}
}

// at has it be so late.
func (p *replay) at(now time.Duration) {
	p.agenda.now = now
	p.limits.set(now)
}

func (p *replay) clock() time.Time { return p.begin.Add(p.agenda.now) }

// journey is a request of the trace on its way.
type journey struct {
	*arrival
	way   *router.Way
	query *router.Query
	as    *proxy.Rehearsal
	tries int

	whose    *spender
	held     *proxy.Admission // nil: no limit bounds who asks
	declined bool             // too little is left for a target
	waits    bool             // in line,
	since    time.Duration    // since when
}

func (p *replay) arrive(a *arrival) error {
	rehearsed, err := p.rehearse(a)
	if err != nil {
		return err
	}
	q := *rehearsed.Query(router.NeedsModel | router.NeedsWho | router.NeedsBody | router.NeedsPrice | router.NeedsPrefix | router.NeedsSpent)
	p.result.requests++
	p.result.span = p.agenda.now
	j := &journey{arrival: a, query: &q, as: rehearsed, whose: p.result.spender(rehearsed.Whose())}
	q.Request = strconv.Itoa(p.result.requests)
	if a.user != "" {
		q.User = a.user
	}
	if a.prompt >= 0 {
		q.Tokens = a.prompt
	}
	a.prompt = q.Tokens
	if a.hashes != nil {
		q.Prefix = spread(a.hashes)
	}
	if q.Stream = a.stream || a.body == nil; rehearsed.Limited() {
		q.Spent = rehearsed.Spent() // by now
	}
	q.Price = func(t *router.Target) int64 { return j.price(t) }
	when := a.date
	if when.IsZero() {
		when = p.clock()
	}
	j.way = p.sim.Begin(rehearsed.Route, &q, when, p.clock())
	p.admit(j)
	return nil
}

// rehearse has a request be known as it would be if it came.
func (p *replay) rehearse(a *arrival) (*proxy.Rehearsal, error) {
	q := p.asks
	if a.tenant != "" {
		q.Tenant, q.Key = a.tenant, ""
	}
	if a.key != "" {
		q.Key = a.key
	}
	if a.body != nil {
		if q.Body = a.body; a.model != "" {
			q.Body = withModel(a.body, a.model)
		}
		return p.gateway.Rehearse(q)
	}
	if a.model == "" {
		return nil, errors.New("it names no model: say which with --model")
	}
	name := [4]string{q.Tenant, q.Key, a.model, strconv.FormatBool(a.stream)}
	if known := p.known[name]; known != nil {
		return known, nil
	}
	q.Body = withModel([]byte(`{}`), a.model)
	found, err := p.gateway.Rehearse(q)
	p.known[name] = found
	return found, err
}

// spread makes hashes of what may be small numbers.
func spread(ids []uint64) []uint64 {
	list := make([]uint64, len(ids))
	for i, x := range ids {
		x = (x ^ x>>30 + 1) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		list[i] = x ^ x>>31
	}
	return list
}

// price is what the request costs at a target, with as much of the prompt in its cache as of late.
func (j *journey) price(t *router.Target) int64 {
	cost, known := j.as.Cost(t, j.usage(t.Track(j.query.Model).Cached()))
	if !known {
		return -1
	}
	return int64(cost)
}

func (j *journey) usage(cached float64) wire.Usage {
	return wire.Usage{Prompt: j.prompt, Completion: j.answer, CachedPrompt: int64(cached * float64(j.prompt))}
}

// ask asks the next target.
func (p *replay) ask(j *journey) {
	now := p.clock()
	t, attempt := j.way.Next(now)
	if t == nil {
		p.giveUp(j)
		return
	}
	if j.held != nil && !j.held.Aim(t) {
		p.sim.Declined(&attempt, now)
		j.declined = true
		p.ask(j)
		return
	}
	j.tries++
	at := p.result.of(t)
	at.calls++
	at.enter(p.agenda.now)
	if rate, ok := p.rate(t); ok && p.dice.Float64() < rate {
		p.later(p.ttft, func() {
			at.failed++
			at.leave(p.agenda.now)
			p.sim.Failed(&attempt, p.clock())
			p.ask(j)
		})
		return
	}
	p.serve(j, t, attempt, at)
}

func (p *replay) rate(t *router.Target) (rate float64, ok bool) {
	if rate, ok = p.rates[t.Provider+"/"+t.Model]; !ok {
		rate, ok = p.rates[t.Provider]
	}
	return rate, ok
}

// serve has a target answer.
func (p *replay) serve(j *journey, t *router.Target, attempt router.Attempt, at *tallied) {
	begun, length, over := p.agenda.now, j.length(), false
	first, cached, ended := p.compute(j, t)
	end := func(length int64) {
		if over {
			return // it was cut
		}
		over = true
		usage := wire.Usage{Prompt: j.prompt, Completion: length, CachedPrompt: cached}
		cost, _ := j.as.Cost(t, usage)
		attempt.Used(usage.Prompt, usage.CachedPrompt)
		p.sim.Ended(&attempt, p.clock())
		at.leave(p.agenda.now)
		at.answered(usage, cost)
		ended.last(p.clock())
		j.query.Trial.End(p.clock(), true, first, int64(cost), usage.Total())
		p.result.answered(j.tries)
		p.settle(j, usage, cost)
	}
	p.later(first, func() {
		p.sim.Answered(&attempt, p.clock(), first)
		at.first.add(p.agenda.now - begun)
		ended.first(p.clock())
		p.meter(j, 1, length, end)
	})
	p.later(first+time.Duration(max(length-1, 0))*p.tpot, func() { end(length) })
}

// later has something happen after a time.
func (p *replay) later(d time.Duration, do func()) {
	p.agenda.count++
	heap.Push(&p.agenda, event{p.agenda.now + max(d, 0), p.agenda.count, do})
}

// event is something that happens at a time.
type event struct {
	at    time.Duration
	order int
	do    func()
}

// agenda is what is to come. It is a heap.
type agenda struct {
	list  []event
	now   time.Duration
	count int
}

func (e *agenda) Len() int { return len(e.list) }
func (e *agenda) Less(i, j int) bool {
	a, b := e.list[i], e.list[j]
	return a.at < b.at || a.at == b.at && a.order < b.order
}
func (e *agenda) Swap(i, j int) { e.list[i], e.list[j] = e.list[j], e.list[i] }
func (e *agenda) Push(x any)    { e.list = append(e.list, x.(event)) }
func (e *agenda) Pop() any {
	last := len(e.list) - 1
	x := e.list[last]
	e.list = e.list[:last]
	return x
}
