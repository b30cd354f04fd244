package router

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Detour is how a request came from the model that was asked for to the one that serves; empty where that is the same.
type Detour []Hop

// Hop is one turn of a Detour.
type Hop struct {
	Kind     string // rule, rollout or degrade
	From, To string // entries of models
	Cause    string // degrade: what was beyond its threshold
}

// String tells the turns as rule:long, degrade:small.
func (d Detour) String() string {
	var b strings.Builder
	for i, hop := range d {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(hop.Kind + ":" + hop.To)
	}
	return b.String()
}

// turns are what may lead a route's requests elsewhere.
type turns struct {
	rules    []rule
	degrades []*degrade
	rollout  *rollout // nil: none
	needs    Needs
}

type rule struct {
	when *condition // nil fits all
	to   *Route
}

// maxDegrades bounds how many models a request passes that are all to be spared.
const maxDegrades = 3

// Resolve is the route that a request goes in the end: the first rule that fits leads to another, whose own rules do not
// count; a rollout may give it to yet another; and what is degraded hands it on. ask is called where that needs something.
func (r *Router) Resolve(route *Route, ask func(Needs) *Query) (*Route, Detour) {
	var d Detour
	if to := route.ruled(ask); to != nil {
		route = d.turn("rule", route, to, "")
	}
	if to := route.rolled(ask); to != nil {
		route = d.turn("rollout", route, to, "")
	}
	for range maxDegrades {
		to, cause := route.degraded(ask)
		if to == nil || d.passed(to) {
			break
		}
		route = d.turn("degrade", route, to, cause)
	}
	return route, d
}

// Diverts tells whether requests for the route may go elsewhere.
func (r *Route) Diverts() bool { return r.turns != nil }

func (d *Detour) turn(kind string, from, to *Route, cause string) *Route {
	*d = append(*d, Hop{kind, from.Name, to.Name, cause})
	return to
}

// passed tells a route that the request has left already.
func (d Detour) passed(to *Route) bool {
	for _, hop := range d {
		if hop.From == to.Name {
			return true
		}
	}
	return false
}

// ruled is where the first rule that fits leads; nil where none does.
func (r *Route) ruled(ask func(Needs) *Query) *Route {
	if r.turns == nil || len(r.turns.rules) == 0 {
		return nil
	}
	q := ask(r.turns.needs)
	for i := range r.turns.rules {
		if rule := &r.turns.rules[i]; rule.when.fits(q) {
			return rule.to
		}
	}
	return nil
}

// degraded is the model that serves in the place of this one for now; nil where none does.
func (r *Route) degraded(ask func(Needs) *Query) (to *Route, cause string) {
	if r.turns == nil || len(r.turns.degrades) == 0 {
		return nil, ""
	}
	var q *Query
	if r.turns.needs != 0 {
		q = ask(r.turns.needs)
	}
	now := time.Now()
	for _, d := range r.turns.degrades {
		if cause := d.cause(q, now); cause != "" {
			return d.to, cause
		}
	}
	return nil, ""
}

// linkTurns resolves where an entry's rules and degradations lead.
func (r *Router) linkTurns(route *Route, m *Model) (errs []error) {
	bad := func(key string, i int, at string, err error) {
		errs = append(errs, fmt.Errorf("models.%s.%s[%d].%s: %w", route.Name, key, i, at, err))
	}
	var t turns
	for i, cfg := range m.Rules {
		to, err := r.other(route, cfg.Model)
		if err != nil {
			bad("rules", i, "model", err)
		}
		when, err := cfg.When.compile()
		switch {
		case err != nil:
			bad("rules", i, "when", err)
		case when == nil:
			bad("rules", i, "when", errNoCondition)
		default:
			t.needs |= when.needs
			t.rules = append(t.rules, rule{when, to})
		}
	}
	for i, cfg := range m.Degrade {
		to, err := r.other(route, cfg.To)
		if err != nil {
			bad("degrade", i, "to", err)
		}
		if slices.ContainsFunc(m.Degrade[:i], func(other Degrade) bool { return other.To == cfg.To }) {
			bad("degrade", i, "to", fmt.Errorf("%q stands twice: one entry may have several thresholds", cfg.To))
		}
		if cfg.When == (Strain{}) {
			bad("degrade", i, "when", errNoThreshold)
		}
		if len(errs) == 0 {
			d := r.newDegrade(route, to, cfg)
			t.needs |= d.needs()
			t.degrades = append(t.degrades, d)
			r.degrades = append(r.degrades, d)
		}
	}
	if m.Rollout.To != "" {
		to, err := r.other(route, m.Rollout.To)
		if err != nil {
			errs = append(errs, fmt.Errorf("models.%s.rollout.to: %w", route.Name, err))
		} else {
			t.rollout = newRollout(route, to, m.Rollout, r.setup.OnRollout)
		}
	}
	if len(t.rules)+len(t.degrades) > 0 || t.rollout != nil {
		route.turns = &t
	}
	return errs
}
