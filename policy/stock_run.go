package policy

import (
	"cmp"
	"context"
	"io"
	"sync/atomic"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

// Run is a flow that runs: it has a place of every limit on flow runs that applies, until End. A process that dies gives its
// places back, on Redis when its leases end; so whoever goes on with its runs starts them anew.
type Run struct {
	gate   *Gate
	caller *Caller
	limits []*limit
	needs  []counter.Need // a place of each limit, by the same index
	ended  atomic.Bool
}

// StartRun takes a place for a flow of a caller, for an end user ("": not told), in every scope at once, or in none. It waits
// in line where a limit says so, for no longer than ctx. No model is asked for yet, so a limit that says downgrade refuses.
func (g *Gate) StartRun(ctx context.Context, c *Caller, user string) (*Run, error) {
	r := &Run{gate: g, caller: c}
	r.collect(user)
	if at := g.line.behind(r.needs); at >= 0 && r.queues(at) {
		return r.wait(ctx, at)
	}
	why, ok := g.counters.Take(r.needs)
	switch {
	case ok:
		return r, nil
	case r.queues(why.Index) && !why.Unavailable:
		return r.wait(ctx, why.Index)
	}
	return nil, r.refusal(why)
}

// End gives all places back at once. To call it again does nothing.
func (r *Run) End() {
	if r.ended.Swap(true) {
		return
	}
	ends := make([]counter.End, len(r.needs))
	for i, n := range r.needs {
		ends[i] = counter.End{Counter: n.Counter, Held: n.N}
	}
	r.gate.counters.Settle(ends)
	r.gate.line.freed(r.needs)
}

// collect finds the limits that apply, narrow to wide.
func (r *Run) collect(user string) {
	if l := r.caller.tenant.users.level(FlowRuns); l != nil {
		spec := l.spec
		spec.Name += "/" + r.caller.tenant.habits.user(cmp.Or(r.caller.User, user)) // a token's word counts more than the request's
		r.add(l, r.gate.counters.Lookup(spec))
	}
	for _, s := range r.caller.scopes {
		if l := s.level(FlowRuns); l != nil {
			r.add(l, l.counter)
		}
	}
}

func (r *Run) add(l *limit, k *counter.Counter) {
	r.limits = append(r.limits, l)
	r.needs = append(r.needs, counter.Need{Counter: k, N: 1})
}

func (r *Run) queues(at int) bool { return r.limits[at].exceed.Action == "queue" }

// wait returns once the run has its places, or cannot.
func (r *Run) wait(ctx context.Context, at int) (*Run, error) {
	l := r.limits[at]
	w := &waiter{tenant: r.caller.Tenant, priority: r.caller.tenant.priority, needs: r.needs, at: at, places: l.queue.Max, limit: l.queue.Wait}
	w.name = func(need int) string { return r.limits[need].scope.name + ", " + r.limits[need].String() }
	w.try = func() (counter.Short, bool, error) {
		why, ok := r.gate.counters.Take(r.needs)
		if !ok && (why.Unavailable || !r.queues(why.Index)) {
			return why, false, r.refusal(why)
		}
		return why, ok, nil
	}
	w.hold = func(c io.Closer) bool {
		stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // it only leaves the line, which does not fail
		w.letGo = func() { stop() }
		return true
	}
	if err := r.gate.line.wait(w); err != nil {
		if err == errLeft {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return r, nil
}

// refusal words what a client is told of a limit that is short.
func (r *Run) refusal(why counter.Short) error {
	if why.Unavailable {
		return &wire.Error{Status: 503, Type: wire.TypeServer, Code: "limits_unavailable", Retry: time.Second,
			Message: "Limits cannot be checked at the moment. Please try again."}
	}
	l := r.limits[why.Index]
	return limited(max(why.Retry, time.Second), "Too many flows running: %s may have %d at once. Please try again.", l.scope.name, l.rate.Amount)
}
