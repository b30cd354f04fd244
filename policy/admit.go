package policy

import (
	"fmt"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

// Admit holds what a request needs, of every limit that applies and of all at once, in grant. It waits in line where a limit
// says so. The error says which limit is short; it may be a *Downgrade.
func (g *Gate) Admit(c *Caller, a *Ask, grant *Grant) error {
	grant.begin(g, c, a)
	if len(grant.holds) == 0 {
		return nil
	}
	if at := g.line.behind(grant.needs); at >= 0 && grant.holds[at].limit.exceed.Action == "queue" {
		return grant.wait(at)
	}
	short, why := grant.take()
	if short == nil {
		return nil
	}
	if short.limit.exceed.Action == "queue" && !why.Unavailable && !grant.never(short) {
		return grant.wait(why.Index)
	}
	return grant.over(short, why)
}

// wait returns once the request holds what it needs, or cannot.
func (r *Grant) wait(at int) error {
	l := r.holds[at].limit
	r.short = l
	w := &waiter{tenant: r.caller.Tenant, priority: r.caller.tenant.priority, needs: r.needs, at: at, places: l.queue.Max, limit: l.queue.Wait}
	w.name = func(need int) string { return r.holds[need].limit.scope.name + ", " + r.holds[need].limit.String() }
	w.try = func() (counter.Short, bool, error) {
		short, why := r.take()
		switch {
		case short == nil:
			return why, true, nil
		case why.Unavailable || short.limit.exceed.Action != "queue" || r.never(short):
			return why, false, r.over(short, why)
		}
		return why, false, nil
	}
	if leaving := r.ask.Waiting; leaving != nil {
		w.hold, w.letGo = leaving.Hold, func() { leaving.LetGo() }
	}
	begun := time.Now()
	defer func() { r.waited += time.Since(begun) }()
	return r.gate.line.wait(w)
}

// Waited is how long the request stood in line.
func (r *Grant) Waited() time.Duration {
	if r == nil {
		return 0
	}
	return r.waited
}

// over is what happens to a request that a limit is short for.
func (r *Grant) over(short *hold, why counter.Short) error {
	l := short.limit
	r.short = l
	switch {
	case why.Unavailable:
		return &wire.Error{Status: 503, Type: wire.TypeServer, Code: "limits_unavailable", Retry: time.Second,
			Message: "Limits cannot be checked at the moment. Please try again."}
	case l.budget():
		r.alarm(short)
	}
	if l.exceed.Action == "downgrade" && l.exceed.Model != r.ask.Model && !r.ask.Last {
		return &Downgrade{Model: l.exceed.Model, Limit: l.scope.name + ", " + l.String()}
	}
	return r.refusal(short, why)
}

// alarm tells of a budget of which nothing is left that would buy anything, though the last of it may never be used.
func (r *Grant) alarm(short *hold) {
	if at := short.counter.State(); r.price(short.limit, 0, least) > at.Limit-at.Used {
		short.limit.watch.spent(at)
	}
}

// never tells a request that no waiting helps: a budget is spent, or it needs more than a rate ever has. A bucket has room
// for anything when it is empty. That a limit cannot say when it has enough means no more than that: others hold it.
func (r *Grant) never(short *hold) bool {
	l := short.limit
	switch {
	case l.budget():
		return !r.busy(short)
	case l.spec.Algorithm == counter.Token || l.spec.Algorithm == counter.Leaky:
		return false
	}
	return r.need(short) > l.spec.Limit
}

// busy tells a budget of which enough is left, but held by requests in flight, most of which will not need it all.
func (r *Grant) busy(short *hold) bool {
	at := short.counter.State()
	return r.floor(short.limit) <= at.Limit-at.Used
}

// floor is what is held of a budget at least: with less the answers would not be worth it.
func (r *Grant) floor(l *limit) int64 { return r.price(l, r.prompt, min(least*r.ask.N, r.top())) }

// refusal words what a client is told of a limit that is short.
func (r *Grant) refusal(short *hold, why counter.Short) *wire.Error {
	l := short.limit
	switch {
	case l.unit == Concurrency:
		return limited(max(why.Retry, time.Second), "Too many requests in flight: %s may have %d at once. Please try again.", l.scope.name, l.rate.Amount)
	case !l.budget() && r.never(short):
		e := limited(0, "Request too large: it needs about %d tokens, and %s may use %s.", r.need(short), l.scope.name, l.rate)
		e.Final = true
		return e
	case l.budget() && l.unit == Tokens && r.floor(l) > l.spec.Limit:
		e := limited(0, "Request too large: it needs %d tokens at least, and %s may use %s.", r.floor(l), l.scope.name, l.rate)
		e.Final = true
		return e
	case l.budget() && why.Share && r.busy(short):
		return limited(time.Second, "The store of the limits does not answer, and until it does no more of the budget of %s for %s may be used here. "+
			"Please try again.", l.rate, l.scope.name)
	case l.budget() && r.busy(short):
		return limited(time.Second, "What is left of the budget of %s for %s is held by requests in flight. Please try again.", l.rate, l.scope.name)
	case l.budget() && l.unit == Spend && r.floor(l) > l.spec.Limit:
		return &wire.Error{Status: 429, Type: wire.TypeQuota, Code: "insufficient_quota", Final: true,
			Message: fmt.Sprintf("Request too large: it may cost %s at least, and the budget of %s is %s.", wire.Money(r.floor(l)), l.scope.name, l.rate)}
	case l.budget() && l.unit == Spend:
		return &wire.Error{Status: 429, Type: wire.TypeQuota, Code: "insufficient_quota", Final: true,
			Message: fmt.Sprintf("The budget of %s for %s is spent: what is left, %s, does not pay for this request.", l.rate, l.scope.name, wire.Money(max(why.Free, 0)))}
	}
	retry := why.Retry
	if retry <= 0 && l.budget() {
		retry = short.counter.State().Reset
	}
	retry = max(retry, time.Second/1000)
	e := limited(retry, "Rate limit reached for %s: %s of %s, of which %d are left; this request needs %d. Please try again in %s.",
		l.scope.name, l.unit, l.rate, max(why.Free, 0), r.need(short), since(retry))
	if why.Retry <= 0 && !l.budget() { // nobody knows when
		e = limited(time.Second, "Rate limit reached for %s: %s of %s, of which %d are left; this request needs %d. Please try again.",
			l.scope.name, l.unit, l.rate, max(why.Free, 0), r.need(short))
	}
	e.Final = retry > 2*time.Minute // a client's own patience ends long before
	return e
}

func limited(retry time.Duration, format string, args ...any) *wire.Error {
	return &wire.Error{Status: 429, Type: wire.TypeRateLimit, Code: "rate_limit_exceeded", Retry: retry, Message: fmt.Sprintf(format, args...)}
}

// collectUsers adds the limits of the end user that the request is for. One who is not told counts as one user, so that
// leaving the name out gets nobody past a limit.
func (r *Grant) collectUsers(users *scope, a *Ask) {
	id := ""
	for _, l := range users.limits {
		if !l.applies(a.Names) || l.spares(a.Model) {
			continue
		}
		if id == "" {
			id = r.caller.tenant.habits.user(a.User)
		}
		spec := l.spec
		spec.Name += "/" + id
		r.add(l, r.gate.counters.Lookup(spec))
	}
}
