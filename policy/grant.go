package policy

import (
	"math"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

// Grant is an admitted request: what it holds of the limits, until Settle. Its memory is used again by the next request. The nil
// Grant is that of a caller without limits.
type Grant struct {
	gate   *Gate
	caller *Caller
	ask    Ask
	habit  *habit // nil where nothing is metered
	holds  []hold
	needs  []counter.Need // of holds, by the same index
	ends   []counter.End  // of holds too

	waited time.Duration // in line

	guess   int64 // tokens of the prompt, as estimated, 0: not yet
	exact   int64 // as counted, 0: not counted
	framed  int64 // messages around it, if texts in messages are all it has, counted as the provider is said to
	prompt  int64 // as budgets hold it: what the provider will report at most, as far as experience tells
	fair    int64 // as rates hold it: what it will most probably report
	output  int64 // tokens of the answer that the budgets' holds cover
	likely  int64 // tokens of the answer to be expected; rates hold no more
	most    int64 // tokens of the answer that the client lets come; 0: as many as the model gives
	allowed int64 // tokens of the answer that a stream was last let give
	capped  int64 // what max_tokens is clamped to, 0: as the client says
	strict  bool  // a budget bounds it
	rated   bool  // a rate of tokens or money does
	lost    int64 // tokens of attempts that came to nothing, and
	wasted  int64 // what they cost

	short *limit // that was so last, nil: none was

	mention // of the request's body
}

// hold is what a request holds of one limit.
type hold struct {
	limit   *limit
	counter *counter.Counter
	n       int64
}

// The guesses before there is experience, in tokens.
const (
	longest = 16384 // an answer whose length neither the client bounds nor, as far as is known, the model
	least   = 16    // an answer that is worth asking for
	stride  = 64    // by which a stream's hold grows at least
)

// begin collects the limits that apply.
func (r *Grant) begin(g *Gate, c *Caller, a *Ask) {
	r.clear()
	r.gate, r.caller, r.ask, r.waited = g, c, *a, 0
	r.ask.N = max(a.N, 1)
	if users := c.tenant.users; users != nil {
		r.collectUsers(users, a)
	}
	for _, s := range c.scopes {
		for _, l := range s.limits {
			if l.applies(a.Names) && !l.spares(a.Model) {
				r.add(l, l.counter)
			}
		}
	}
	if c.Metered() && !a.Free {
		r.ask.Cap, r.ask.N = min(a.Cap, mostTokens), min(r.ask.N, mostTokens>>10) // so that no product overflows
		r.habit = c.tenant.habits.of(a.Habit)
		r.mention = scan(a.Raw)
	}
}

const mostTokens = 1 << 31

// add has a limit hold for this request, if it bounds what requests use.
func (r *Grant) add(l *limit, k *counter.Counter) {
	switch l.unit {
	case Requests:
		r.needs = append(r.needs, counter.Need{Counter: k, N: 1, Spend: true})
	case Concurrency:
		r.needs = append(r.needs, counter.Need{Counter: k, N: 1})
	case Tokens, Spend:
		if r.ask.Free {
			return
		}
		r.needs = append(r.needs, counter.Need{Counter: k})
		r.strict, r.rated = r.strict || l.budget(), r.rated || !l.budget()
	default:
		return
	}
	r.holds = append(r.holds, hold{limit: l, counter: k})
	r.ends = append(r.ends, counter.End{Counter: k})
}

// budget tells a limit that must not be passed by one token, from a rate, which a long answer may run into debt with.
func (l *limit) budget() bool {
	return l.spec.Algorithm == counter.Calendar && (l.unit == Tokens || l.unit == Spend)
}

// take holds what the request needs, of all limits at once, or tells which one is short.
func (r *Grant) take() (short *hold, why counter.Short) {
	if len(r.holds) == 0 {
		return nil, counter.Short{}
	}
	if r.habit != nil {
		if r.roomy() {
			if why, ok := r.hold(); ok {
				return nil, why
			}
		}
		r.size()
	}
	for range 4 { // others may take between the look at what is left and the taking
		var ok bool
		if why, ok = r.hold(); ok {
			return nil, why
		}
		short = &r.holds[why.Index]
		if why.Unavailable || !short.limit.budget() || r.habit == nil || !r.shrink() {
			return short, why
		}
	}
	return short, why
}

// hold takes what is needed of every limit, or of none.
func (r *Grant) hold() (counter.Short, bool) {
	for i := range r.holds {
		r.needs[i].N = r.need(&r.holds[i])
	}
	why, ok := r.gate.counters.Take(r.needs)
	if ok {
		for i := range r.holds {
			if !r.needs[i].Spend {
				r.holds[i].n = r.needs[i].N
			}
		}
	}
	return why, ok
}

// need is how much of a limit the request holds.
func (r *Grant) need(h *hold) int64 {
	switch {
	case h.limit.unit == Requests || h.limit.unit == Concurrency:
		return 1
	case h.limit.budget():
		return r.entry(h.limit, r.price(h.limit, r.prompt, r.output))
	}
	// More than all of a rate could never be held: what an answer adds to that is counted when it is known.
	prompt := r.price(h.limit, r.fair, 0)
	return r.entry(h.limit, max(prompt, min(r.price(h.limit, r.fair, min(r.output, r.likely)), h.limit.spec.Limit)))
}

// Cap is what max_tokens must be set to, 0 where the client's own will do, and how many tokens the prompt is taken to have; 0: it
// was not counted.
func (r *Grant) Cap() (most, prompt int64) {
	if r == nil {
		return 0, 0
	}
	if r.strict && r.exact > 0 {
		prompt = r.Prompt()
	}
	return r.capped, prompt
}

// Meter tells whether a stream must be counted while it goes on: see More.
func (r *Grant) Meter() bool { return r != nil && r.strict && r.cuttable() }

// More is called by a stream that has given so many tokens of answer. It returns how many it may give. Where the budget
// covers all that the client lets come, the provider keeps the bound, whose count is the one that matters. A stream ends behind
// an event, whose tokens after the first are kept in reserve.
func (r *Grant) More(given int64) int64 {
	if r.most > 0 && r.output >= r.most {
		return math.MaxInt64
	}
	reserve := r.habit.overshoot(given, r.allowed)
	if given+reserve >= r.output {
		r.stretch(max(stride, r.output/4, given+reserve-r.output+stride)) // one event may give more than a stride, and a hedge resizes what is held
	}
	if r.most > 0 && r.output >= r.most {
		return math.MaxInt64
	}
	r.allowed = max(r.output-reserve, 1)
	return r.allowed
}

// stretch holds more of the answer: step tokens, or what there is.
func (r *Grant) stretch(step int64) {
	if r.most > 0 {
		step = min(step, r.most-r.output)
	}
	for step > 0 && !r.extend(step) {
		if rest := r.rest(r.output); rest >= step {
			step /= 2 // others were quicker
		} else {
			step = rest
		}
	}
}

// extend holds so many tokens of answer more, of every budget.
func (r *Grant) extend(step int64) bool {
	return r.reach(r.prompt, r.output+step)
}

// reach makes the holds of the budgets cover so many tokens, if they do not yet.
func (r *Grant) reach(prompt, output int64) bool {
	var space [8]counter.Need
	needs := space[:0]
	for i := range r.holds {
		h := &r.holds[i]
		if !h.limit.budget() {
			continue
		}
		if more := r.price(h.limit, prompt, output) - h.n; more > 0 {
			needs = append(needs, counter.Need{Counter: h.counter, N: more})
		}
	}
	if len(needs) > 0 {
		if _, ok := r.gate.counters.Take(needs); !ok {
			return false
		}
	}
	for i := range r.holds {
		if h := &r.holds[i]; h.limit.budget() {
			h.n = max(h.n, r.price(h.limit, prompt, output))
		}
	}
	r.prompt, r.output = prompt, output
	return true
}

// Lost notes what attempts that came to nothing have cost so far, so that what is held covers it too.
func (r *Grant) Lost(tokens int64, cost wire.Money) {
	if r != nil {
		r.lost, r.wasted = tokens, int64(cost)
	}
}

// Aim makes the holds fit another target, before it is asked: its prices, how long its answers may be, and whether its
// streams can be cut. It is an error, after which a cheaper target may still be tried, when the budget does not cover it.
func (r *Grant) Aim(tariff Tariff, served string, cuttable bool) error {
	if r == nil || r.habit == nil || tariff == r.ask.Tariff && cuttable == r.ask.Cuttable && r.lost == 0 && r.wasted == 0 {
		return nil
	}
	r.face(tariff, served, cuttable)
	if !r.strict {
		return nil
	}
	for range 4 { // as in take
		if r.size(); r.reach(r.prompt, r.output) {
			return nil
		}
	}
	r.short = r.budget()
	return &wire.Error{Status: 429, Type: wire.TypeQuota, Code: "insufficient_quota", Final: true, Failover: true, Own: true,
		Message: "What is left of the budget does not pay for another provider's answer."}
}

// face has sizes be those of another target.
func (r *Grant) face(tariff Tariff, served string, cuttable bool) {
	if served != r.ask.Served && r.ask.Raw != nil {
		r.exact, r.framed = 0, 0 // of another vocabulary
	}
	r.ask.Tariff, r.ask.Served, r.ask.Cuttable = tariff, served, cuttable
}

// Settle ends the holds and counts what was really used. It does so once; the zero Grant has none. reported tells that the
// provider itself said what was used, so that there is something to learn.
func (r *Grant) Settle(u wire.Usage, cost wire.Money, reported bool) {
	if r == nil {
		return
	}
	if len(r.holds) > 0 {
		r.end(u.Total(), int64(cost))
	}
	if r.habit != nil && reported {
		r.learn(u)
	}
	if len(r.holds) > 0 {
		r.gate.line.freed(r.needs)
	}
	r.clear()
}

// learn takes in what a provider reported. What was held by its bytes is counted now and then, for what comes.
func (r *Grant) learn(u wire.Usage) {
	if r.strict && r.habit.curious() {
		r.count()
	}
	r.habit.learn(r, u)
}

// clear keeps the memory alone.
func (r *Grant) clear() {
	holds, needs, ends := r.holds[:0], r.needs[:0], r.ends[:0]
	*r = Grant{}
	r.holds, r.needs, r.ends = holds, needs, ends
}

// end gives back what is held of all counters and counts what was used, and looks at how the budgets stand then.
func (r *Grant) end(tokens, cost int64) {
	for i := range r.holds {
		h, e := &r.holds[i], &r.ends[i]
		e.Held, e.Look = h.n, h.limit.watched(h.counter)
		switch h.limit.unit {
		case Tokens:
			e.Used = tokens
		case Spend:
			e.Used = cost
		default:
		}
	}
	r.gate.counters.Settle(r.ends)
	for i := range r.ends {
		if e := &r.ends[i]; e.Look {
			r.holds[i].limit.settled(&e.State)
		}
	}
}

// watched tells whether somebody wants to know how a limit stands after each use of a counter: users' own are nobody's else.
func (l *limit) watched(k *counter.Counter) bool {
	return l.spec.Algorithm == counter.Calendar && k == l.counter
}

// settled notes how a limit stands after it was used.
func (l *limit) settled(at *counter.State) {
	l.used.Store(at.Used)
	l.watch.check(*at)
}

// since is a duration as a client is told it.
func since(d time.Duration) string {
	if d > time.Second {
		d = d.Round(time.Second)
	}
	return d.Round(time.Millisecond).String()
}

// Standing is how the tightest of a request's limits on a unit stands.
type Standing struct {
	Limit, Left int64         // Limit is 0 where nothing bounds the unit
	Reset       time.Duration // until all of it is there again
}

// Standings tells what limits over time leave of requests and of tokens, also after a refusal.
func (r *Grant) Standings() (requests, tokens Standing) {
	if !r.look() {
		return requests, tokens
	}
	r.gate.counters.Settle(r.ends)
	for i := range r.ends {
		e := &r.ends[i]
		switch {
		case !e.Look:
		case r.holds[i].limit.unit == Requests:
			requests.tighten(&e.State)
		default:
			tokens.tighten(&e.State)
		}
	}
	return requests, tokens
}

// look marks the limits that clients are told of.
func (r *Grant) look() (some bool) {
	for i := range r.holds {
		l := r.holds[i].limit
		r.ends[i].Look = l.rate.Per != "" && l.unit != Spend
		some = some || r.ends[i].Look
	}
	return some
}

// tighten takes in one more limit.
func (s *Standing) tighten(at *counter.State) {
	if left := max(at.Limit-at.Used-at.Held, 0); s.Limit == 0 || left < s.Left {
		*s = Standing{Limit: at.Limit, Left: left, Reset: at.Reset}
	}
}

// Bounded tells whether any limit holds for the request.
func (r *Grant) Bounded() bool { return r != nil && len(r.holds) > 0 }

// Warning names a budget of which most is used, as headers say it; false where there is none.
func (r *Grant) Warning(now time.Time) (name string, percent int, ok bool) {
	if r == nil || r.caller == nil || !r.strict {
		return "", 0, false
	}
	return warning(r.caller.scopes, now)
}
