package router

import (
	"math/rand/v2"
	"time"

	"jarvis-gateway/proxy/wire"
)

// Simulation has requests go their ways by a clock of its own: nobody is asked, and whoever has it tells what becomes of calls.
// The Router is for nothing else then. It is not for concurrent use.
type Simulation struct {
	reopen map[*Track]time.Time // when an open breaker would be tried again
}

// Simulate begins at a time of the clock. What is left to chance depends on the seed alone.
func (r *Router) Simulate(begin time.Time, seed uint64) *Simulation {
	dice := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // it is to be the same each time
	for _, route := range r.routes {
		route.dice = dice
		if o := route.tries(); o != nil {
			o.since = begin
		}
	}
	for _, t := range r.targets {
		if pool := t.Pool(); pool != nil {
			pool.rebegin(begin, seed)
		}
	}
	return &Simulation{reopen: map[*Track]time.Time{}}
}

// Way is a request under way in a Simulation.
type Way struct {
	*Simulation
	query  *Query
	routes []*Route
	asked  uint64 // targets of the first of routes
	Detour Detour
}

// Begin is Resolve: at is the time of the request, which conditions look at, and now that of the clock.
func (s *Simulation) Begin(r *Route, q *Query, at, now time.Time) *Way {
	w := &Way{Simulation: s, query: q}
	ask := func(Needs) *Query { return q }
	if q.Now = at; r.turns != nil {
		if to := r.ruled(ask); to != nil {
			r = w.Detour.turn("rule", r, to, "")
		}
		q.Now = now // its steps go by the clock
		if to := r.rolled(ask); to != nil {
			r = w.Detour.turn("rollout", r, to, "")
		}
		q.Now = at
		r = w.spare(r, now)
	}
	q.Model = w.model(r)
	w.routes = append([]*Route{r}, r.fallback...)
	return w
}

// spare goes past what is degraded.
func (w *Way) spare(r *Route, now time.Time) *Route {
	for range maxDegrades {
		if r.turns == nil {
			return r
		}
		to, cause := (*Route)(nil), ""
		for _, d := range r.turns.degrades {
			if cause = d.cause(w.query, now); cause != "" {
				to = d.to
				break
			}
		}
		if to == nil || w.Detour.passed(to) {
			return r
		}
		r = w.Detour.turn("degrade", r, to, cause)
	}
	return r
}

func (w *Way) model(r *Route) string {
	if len(w.Detour) == 0 {
		return w.query.Model
	}
	return r.Name
}

// Serves is the model that serves.
func (w *Way) Serves() *Route { return w.routes[0] }

// Next is the target to ask, nil when there is none left.
func (w *Way) Next(now time.Time) (*Target, Attempt) {
	for len(w.routes) > 0 {
		r := w.routes[0]
		for _, t := range r.Targets {
			w.revive(t.Track(w.query.Model), now)
		}
		for i := r.choose(w.query, w.asked, now); i >= 0; i = r.choose(w.query, w.asked, now) {
			w.asked |= 1 << i
			if a, fit := r.Targets[i].Track(w.query.Model).enter(); fit {
				return r.Targets[i], a
			}
		}
		w.routes, w.asked = w.routes[1:], 0
	}
	return nil, Attempt{}
}

// revive has a breaker be tried again when it is time: it goes by a clock that does not pass here.
func (s *Simulation) revive(t *Track, now time.Time) {
	at, open := s.reopen[t]
	if !open || now.Before(at) {
		return
	}
	delete(s.reopen, t)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.breaker.states.HalfOpen()
}

// Answered notes a call's first content, and Ended its end.
func (s *Simulation) Answered(a *Attempt, now time.Time, first time.Duration) {
	a.answered(now, first, false)
}

// Ended ends a call that was answered.
func (s *Simulation) Ended(a *Attempt, now time.Time) { a.end(now, good) }

// Failed ends a call that came to nothing.
func (s *Simulation) Failed(a *Attempt, now time.Time) {
	a.failed(now, &wire.Error{Status: 502, Type: wire.TypeServer, Code: "upstream_error", Failover: true})
	t := a.track
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := s.reopen[t]; !known && t.breaker.states.IsOpen() {
		s.reopen[t] = now.Add(t.breaker.cfg.Open)
	}
}

// Pool is that of the target's provider, nil where it has none.
func (t *Target) Pool() *Pool {
	if t.crowd == nil {
		return nil
	}
	return t.crowd.pool
}

// draw is a number below n.
func (r *Route) draw(n uint64) uint64 {
	if r.dice != nil {
		return r.dice.Uint64N(n)
	}
	return rand.Uint64N(n)
}

// Lesser has the request go to a lesser model, as a limit says.
func (w *Way) Lesser(to *Route) {
	from := w.routes[0]
	w.query.Model = w.Detour.turn("limit", from, to, "").Name
	w.routes = append([]*Route{to}, to.fallback...)
}

// Declined ends a call that was not made, because there is too little left for it: it says nothing of the target.
func (s *Simulation) Declined(a *Attempt, now time.Time) { a.end(now, neutral) }
