package main

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/wire"
)

// traceClock is what limits count by in a replay: the trace's own dates, or else those of a month that begins with the trace, so that it is
// the same each time.
type traceClock struct {
	begin  time.Time
	passed atomic.Int64
}

func newTraceClock(trace []arrival) *traceClock {
	if first := trace[0].date; !first.IsZero() {
		return &traceClock{begin: first}
	}
	return &traceClock{begin: time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)}
}

func (c *traceClock) now() time.Time        { return c.begin.Add(time.Duration(c.passed.Load())) }
func (c *traceClock) set(now time.Duration) { c.passed.Store(int64(now)) }

// replayLine is where requests wait for limits, at each limit in the order in which they came.
type replayLine struct {
	desks []*replayDesk
	n     int
}

type replayDesk struct {
	name string
	list []*journey
	next time.Duration // when somebody looks again; in the past: nobody will
}

// mostWaiting is how many may wait in all, as in a gateway.
const mostWaiting = 10_000

func (l *replayLine) desk(name string) *replayDesk {
	i := slices.IndexFunc(l.desks, func(d *replayDesk) bool { return d.name == name })
	if i < 0 {
		i, l.desks = len(l.desks), append(l.desks, &replayDesk{name: name, next: -1})
	}
	return l.desks[i]
}

// waits tells whether anybody waits at a desk.
func (l *replayLine) waits(name string) bool { return l.n > 0 && len(l.desk(name).list) > 0 }

func (l *replayLine) leave(d *replayDesk, j *journey) {
	d.list = slices.DeleteFunc(d.list, func(other *journey) bool { return other == j })
	l.n--
}

// admit holds a request to the limits of who asks, and to his guards.
func (p *replay) admit(j *journey) {
	j.whose.requests++
	if !j.as.Limited() {
		p.start(j)
		return
	}
	held, tried := j.try(p.line.waits)
	if tried.Verdict != policy.Waits {
		p.tried(j, held, tried)
		return
	}
	d := p.line.desk(tried.Desk)
	if len(d.list) >= tried.Places || p.line.n >= mostWaiting {
		p.refuse(j, tried)
		return
	}
	j.waits, j.since = true, p.agenda.now
	p.result.limit(j.whose.tenant, tried.By).Waited++
	p.join(d, j, tried)
	p.later(tried.Wait, func() { p.timeUp(j, tried) })
}

func (j *journey) try(waits func(string) bool) (*proxy.Admission, policy.Tried) {
	return j.as.Try(j.way.Serves(), proxy.Traced{Prompt: j.prompt, User: j.query.User, Stream: j.query.Stream}, waits)
}

// tried goes on with a request that a limit has let in, or not.
func (p *replay) tried(j *journey, held *proxy.Admission, tried policy.Tried) {
	if tried.Verdict != policy.Admitted {
		p.refuse(j, tried)
		return
	}
	j.held = held
	for _, hop := range held.Lesser {
		p.result.limit(j.whose.tenant, hop.By).Downgraded++
		to, _ := p.gateway.Router.Find(hop.To)
		j.way.Lesser(to)
	}
	if len(held.Lesser) > 0 {
		j.whose.downgraded++
	}
	p.start(j)
}

func (p *replay) refuse(j *journey, tried policy.Tried) {
	p.result.span = p.agenda.now
	j.whose.refused++
	p.result.limit(j.whose.tenant, cmp.Or(tried.By, tried.Code)).Refused++
}

// join has a request wait at a desk, and somebody look there when its limit has enough.
func (p *replay) join(d *replayDesk, j *journey, tried policy.Tried) {
	d.list = append(d.list, j)
	p.line.n++
	p.again(d, tried.Retry)
}

func (p *replay) again(d *replayDesk, after time.Duration) {
	at := p.agenda.now + after
	if after <= 0 || d.next > p.agenda.now && d.next <= at {
		return
	}
	d.next = at
	p.later(after, func() { p.serveDesk(d) })
}

// freed has those try who wait, once what was held is free again.
func (p *replay) freed() {
	if p.line.n > 0 {
		p.later(0, func() {
			for _, d := range p.line.desks {
				p.serveDesk(d)
			}
		})
	}
}

// serveDesk has those at a desk try, one after another, until one must wait on.
func (p *replay) serveDesk(d *replayDesk) {
	for len(d.list) > 0 {
		j := d.list[0]
		held, tried := j.try(nil)
		if tried.Verdict == policy.Waits && tried.Desk == d.name {
			p.again(d, tried.Retry)
			return
		}
		p.line.leave(d, j)
		if tried.Verdict == policy.Waits {
			p.join(p.line.desk(tried.Desk), j, tried)
			continue
		}
		j.waits = false
		j.whose.waited = max(j.whose.waited, p.agenda.now-j.since)
		p.tried(j, held, tried)
	}
}

// timeUp ends the waiting of one who has waited for as long as may be.
func (p *replay) timeUp(j *journey, tried policy.Tried) {
	if !j.waits {
		return
	}
	for _, d := range p.line.desks {
		if slices.Contains(d.list, j) {
			p.line.leave(d, j)
			break
		}
	}
	j.waits = false
	j.whose.waited = max(j.whose.waited, p.agenda.now-j.since)
	p.refuse(j, tried)
}

// start has guards look at a request that limits have let in, and then the router at it.
func (p *replay) start(j *journey) {
	if j.as.Guards() && !p.guarded(j) {
		j.whose.refused++
		p.settle(j, wire.Usage{}, 0)
		return
	}
	p.result.came(j.as.Route.Name, j.way.Detour)
	p.ask(j)
}

// guarded tells whether guards let a request pass. Of one that is but numbers nobody knows.
func (p *replay) guarded(j *journey) bool {
	if j.body == nil {
		p.result.unjudged++
		return true
	}
	for _, f := range j.as.Findings() {
		at := p.result.guard(j.whose.tenant, f)
		switch f.Does {
		case policy.DoesRefuse:
			at.Refused++
			return false
		case policy.DoesMask:
			at.Masked++
		case policy.DoesNote:
			at.Noted++
		case policy.DoesAsk:
			at.Unasked++
		}
	}
	return true
}

// giveUp is for a request that no target is left for.
func (p *replay) giveUp(j *journey) {
	switch {
	case j.declined:
		p.refuse(j, policy.Tried{By: j.held.Grant.By(), Code: "insufficient_quota"})
	default:
		p.result.unanswered++
		j.query.Trial.End(p.clock(), false, 0, 0, 0)
	}
	p.settle(j, wire.Usage{}, 0)
}

// length is how long the answer becomes.
func (j *journey) length() int64 {
	if j.held == nil {
		return j.answer
	}
	return j.held.Length(j.answer)
}

// meter has a stream that limits bound hold more of them as it goes on, and ends it where there is no more.
func (p *replay) meter(j *journey, given, length int64, end func(length int64)) {
	if j.held == nil || !j.held.Grant.Meter() {
		return
	}
	for given < length {
		allowed := j.held.Grant.More(given)
		switch {
		case allowed <= given:
			end(given)
			return
		case allowed < length && p.tpot > 0:
			p.later(time.Duration(allowed-given)*p.tpot, func() { p.meter(j, allowed, length, end) })
			return
		}
		given = allowed
	}
}

// settle ends what a request holds, and counts what it used.
func (p *replay) settle(j *journey, u wire.Usage, cost wire.Money) {
	p.result.span = p.agenda.now
	j.whose.usage, j.whose.cost = j.whose.usage.Plus(u), j.whose.cost.Plus(cost)
	if u.Completion < j.answer && u.Total() > 0 {
		j.whose.shortened++
	}
	if j.held == nil {
		return
	}
	j.held.Grant.Settle(u, cost, u.Total() > 0)
	p.freed()
}
