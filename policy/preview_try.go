package policy

import (
	"errors"
	"time"
)

// Tried is what became of a request that does not wait.
type Tried struct {
	Verdict string        // Admitted, which holds what it needs; Waits, which holds nothing; Refused; Downgraded
	By      string        // the limit that was short: tenant acme, requests 600/m
	Code    string        // that a client would be told
	Model   string        // of a downgrade
	Desk    string        // where it waits: those of one desk wait for the same
	Places  int           // how many may wait there
	Wait    time.Duration // how long it may
	Retry   time.Duration // until it may be let in, if nothing is given back before; 0: nobody knows
}

// Try is Admit for a clock of its own, which cannot stand still at a line: who would wait is told so, and comes again. waits tells of a
// desk whether others wait there already; nil is for one who waits and has his turn.
func (g *Gate) Try(c *Caller, a *Ask, grant *Grant, waits func(desk string) bool) Tried {
	grant.begin(g, c, a)
	for i := range grant.holds {
		if h := &grant.holds[i]; waits != nil && h.limit.exceed.Action == "queue" && waits(h.counter.Name()) {
			return grant.queued(h, 0)
		}
	}
	short, why := grant.take()
	switch {
	case short == nil:
		return Tried{Verdict: Admitted}
	case short.limit.exceed.Action == "queue" && !grant.never(short):
		return grant.queued(short, why.Retry)
	}
	by, err := short.limit.by(), grant.over(short, why)
	if lesser, ok := errors.AsType[*Downgrade](err); ok {
		return Tried{Verdict: Downgraded, By: by, Model: lesser.Model}
	}
	var p Preview
	p.Refuse(err)
	return Tried{Verdict: Refused, By: by, Code: p.Code}
}

func (r *Grant) queued(h *hold, retry time.Duration) Tried {
	return Tried{Verdict: Waits, By: h.limit.by(), Code: "rate_limit_exceeded", Desk: h.counter.Name(), Places: h.limit.queue.Max, Wait: h.limit.queue.Wait, Retry: retry}
}

// by names a limit as people know it.
func (l *limit) by() string { return l.scope.name + ", " + l.String() }

// By is the limit that was short for the request, "" for none.
func (r *Grant) By() string {
	if r == nil || r.short == nil {
		return ""
	}
	return r.short.by()
}
