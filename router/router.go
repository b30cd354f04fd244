// Package router knows which provider's models serve the names that clients ask for, and tries them in turn.
package router

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"jarvis-gateway/proxy/wire"
)

// Router maps names to routes. It never changes: a new config makes a new one.
type Router struct {
	setup    *Setup // while it is made
	exact    map[string]*Route
	patterns []*Route // those with a *, the most specific first
	direct   map[string]*Route
	routes   []*Route
	targets  []*Target
	tracks   *tracks

	degrades  []*degrade
	onDegrade func(Degraded)
	waiting   func() int64
	cpu       *cpuMeter
}

// Route is one entry of `models`, or a provider that is asked for as provider/model.
type Route struct {
	Name     string // as configured; a bounded set, fit for a metric's label
	Targets  []*Target
	AnswerAs string // "asked": answers name the model asked for
	direct   bool
	fallback []*Route
	retry    Retry
	repeats  *allowance // of repetitions
	hedge    *hedge     // nil: none
	onward   bool       // an answer that breaks off is gone on with
	pick     string     // how a target is chosen
	picker   picker     // nil: in order
	turn     atomic.Uint32
	dice     *rand.Rand // of a Simulation; nil: everybody's
	needs    Needs      // of Do
	turns    *turns     // nil: none
	cached   time.Duration
}

// Target is one provider's model on a route.
type Target struct {
	Index    int // of all targets of the router, from 0
	Route    string
	Provider string
	Model    string // "": the name asked for
	Timeout  Timeout
	route    *Route
	weight   uint64
	quality  float64
	when     *condition // nil: for all requests
	breaker  Breaker
	onEvent  func(Event)
	crowd    *crowd // nil: its provider has no pool
	track    *Track // nil: one for each model that is asked for
	tracks   *named
}

// Serves is the route that the target is on: of a fallback, not that which was asked for.
func (t *Target) Serves() *Route { return t.route }

// Defaults is what a model's entry leaves open. Reasoning models are silent for minutes.
var Defaults = Model{
	Pick:        "in_order",
	AnswerModel: "served",
	Retry:       Retry{Attempts: 1, Backoff: Range{200 * time.Millisecond, 2 * time.Second}, Budget: 0.2},
	Breaker: Breaker{ErrorRate: 0.5, SlowRate: 0.8, Window: 10 * time.Second, MinCalls: 10, Consecutive: 5, Open: 10 * time.Second,
		Probes: 2},
	Timeout: Timeout{Connect: 5 * time.Second, FirstToken: 5 * time.Minute, Idle: 5 * time.Minute, Total: 10 * time.Minute},
}

// Setup is what a router is made of.
type Setup struct {
	Models    map[string]Model
	Providers []string
	OnEvent   func(Event)      // is told of changes; it must not block
	OnDegrade func(Degraded)   // likewise
	OnRollout func(Rolled)     // likewise
	Waiting   func() int64     // how many requests wait in the gateway's line
	Pools     map[string]*Pool // of the providers that have one; nil: not known
	Places    Places           // nil: as many requests at a provider as come
}

// New checks the models against the providers' names. What is known of targets goes on from prev, which may be nil, once Start is
// called. The error joins all that is wrong, each worded as a path.
func New(s Setup, prev *Router) (*Router, error) {
	if s.OnEvent == nil {
		s.OnEvent = func(Event) {}
	}
	if s.OnDegrade == nil {
		s.OnDegrade = func(Degraded) {}
	}
	if s.OnRollout == nil {
		s.OnRollout = func(Rolled) {}
	}
	if s.Waiting == nil {
		s.Waiting = func() int64 { return 0 }
	}
	r := &Router{setup: &s, exact: map[string]*Route{}, direct: map[string]*Route{}, tracks: newTracks(s.OnEvent), onDegrade: s.OnDegrade, waiting: s.Waiting, cpu: &cpuMeter{}}
	models, providers := s.Models, s.Providers
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(models)) {
		route, err := r.newRoute(name, models[name], providers)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.routes = append(r.routes, route)
		if strings.Contains(name, "*") {
			r.patterns = append(r.patterns, route)
		} else {
			r.exact[name] = route
		}
	}
	slices.SortStableFunc(r.patterns, func(a, b *Route) int { return cmp.Compare(len(b.Name), len(a.Name)) })
	if len(errs) == 0 { // else names are missing that others refer to
		for _, route := range r.routes {
			errs = append(errs, r.link(route, models)...)
		}
	}
	for _, p := range providers {
		route := &Route{Name: p + "/*", direct: true}
		var m Model
		m.fill()
		r.add(route, TargetConfig{Provider: p}, &m)
		route.finish(&m)
		r.direct[p] = route
		r.routes = append(r.routes, route)
	}
	r.follow(prev)
	r.setup = nil // only of use until now
	return r, errors.Join(errs...)
}

func (r *Router) follow(prev *Router) {
	known := newTracks(nil)
	if prev != nil {
		known = prev.tracks
	}
	for _, t := range r.targets {
		r.tracks.follow(t, known)
	}
	if prev == nil {
		return
	}
	r.cpu = prev.cpu
	before := make(map[string]*Route, len(prev.routes))
	for _, route := range prev.routes {
		if !route.direct || before[route.Name] == nil {
			before[route.Name] = route
		}
	}
	for _, route := range r.routes {
		if old := before[route.Name]; old != nil && old.direct == route.direct {
			route.goOn(old)
		}
	}
	for _, d := range r.degrades {
		if i := slices.IndexFunc(prev.degrades, func(old *degrade) bool { return old.key() == d.key() }); i >= 0 {
			d.state = prev.degrades[i].state
		}
	}
}

// Start puts the settings in force for what goes on from before. A router that is only checked must not be started.
func (r *Router) Start() {
	for _, change := range r.tracks.changes {
		change()
	}
	r.tracks.changes = nil
}

// newRoute checks an entry of `models`, but for what it says of others.
func (r *Router) newRoute(name string, m Model, providers []string) (*Route, error) {
	at := "models." + name
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s%w", at, fmt.Errorf(format, args...)))
	}
	if strings.TrimSpace(name) == "" || strings.Count(name, "*") > 1 {
		bad(": a model's name is not empty and has at most one *")
	}
	if len(m.Targets) == 0 {
		bad(".targets: at least one target is needed, such as {provider: %s, model: ...}", first(providers))
	}
	if len(m.Targets) > maxTargets {
		bad(".targets: at most %d targets, not %d", maxTargets, len(m.Targets))
	}
	if m.AnswerModel != "" && m.AnswerModel != "served" && m.AnswerModel != "asked" {
		bad(".answer_model: unknown value %q (have: served, asked)", m.AnswerModel)
	}
	for i, t := range m.Targets {
		if !slices.Contains(providers, t.Provider) {
			bad(".targets[%d].provider: unknown provider %q (have: %s)", i, t.Provider, strings.Join(providers, ", "))
		}
	}
	whens := make([]*condition, len(m.Targets))
	for i, t := range m.Targets {
		var err error
		if whens[i], err = t.When.compile(); err != nil {
			bad(".targets[%d].when: %w", i, err)
		}
	}
	for i, t := range m.Targets {
		if _, err := r.setup.crowded(t); err != nil {
			bad(".targets[%d].spill: %w", i, err)
		}
	}
	errs = append(errs, m.Timeout.check(at+".timeout")...)
	errs = append(errs, m.check(at)...)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	m.fill()
	route := &Route{Name: name, AnswerAs: m.AnswerModel}
	for i, t := range m.Targets {
		if t.Model == "" && !strings.Contains(name, "*") {
			t.Model = name
		}
		r.add(route, t, &m)
		route.Targets[i].when = whens[i]
	}
	route.finish(&m)
	return route, nil
}

// link resolves what a model's entry says of other names.
func (r *Router) link(route *Route, models map[string]Model) (errs []error) {
	m := models[route.Name]
	for i, name := range m.Fallback {
		next, err := r.other(route, name)
		if err != nil {
			errs = append(errs, fmt.Errorf("models.%s.fallback[%d]: %w", route.Name, i, err))
			continue
		}
		route.fallback = append(route.fallback, next)
	}
	return append(errs, r.linkTurns(route, &m)...)
}

// other is the route of another name that a model's entry gives.
func (r *Router) other(route *Route, name string) (*Route, error) {
	next := r.exact[name]
	if next == nil || next == route {
		return nil, fmt.Errorf("%q is no other model (have: %s)", name, strings.Join(slices.DeleteFunc(r.names(), func(n string) bool { return n == route.Name }), ", "))
	}
	return next, nil
}

// names are those of the entries that a model may refer to.
func (r *Router) names() []string { return slices.Sorted(maps.Keys(r.exact)) }

// check tells what is wrong with an entry beside its targets and other names.
func (m *Model) check(at string) (errs []error) {
	if m.Pick != "" && !slices.Contains(picks, m.Pick) {
		errs = append(errs, fmt.Errorf("%s.pick: unknown way %q (have: %s)", at, m.Pick, strings.Join(picks, ", ")))
	}
	if err := m.Cache.check(); err != nil {
		errs = append(errs, fmt.Errorf("%s.cache.%w", at, err))
	}
	errs = append(errs, m.Retry.check(at+".retry")...)
	errs = append(errs, m.Rollout.check(at+".rollout")...)
	return append(errs, m.Breaker.check(at+".breaker")...)
}

// fill sets what an entry leaves open.
func (m *Model) fill() {
	m.Timeout = m.Timeout.orDefault()
	m.Retry.Attempts = cmp.Or(m.Retry.Attempts, Defaults.Retry.Attempts)
	m.Retry.Budget = cmp.Or(m.Retry.Budget, Defaults.Retry.Budget)
	if m.Retry.Backoff.IsZero() {
		m.Retry.Backoff = Defaults.Retry.Backoff
	}
	m.Pick = cmp.Or(m.Pick, Defaults.Pick)
	if m.Breaker == (Breaker{}) && len(m.Targets) <= 1 && len(m.Fallback) == 0 {
		m.Breaker.Off = true // to give it up would help nobody, as there is no other
	}
	m.Breaker.fill()
	m.Rollout.fill()
}

func (b *Breaker) fill() {
	d := Defaults.Breaker
	b.ErrorRate, b.SlowRate = cmp.Or(b.ErrorRate, d.ErrorRate), cmp.Or(b.SlowRate, d.SlowRate)
	b.Window, b.Open = cmp.Or(b.Window, d.Window), cmp.Or(b.Open, d.Open)
	b.MinCalls, b.Consecutive, b.Probes = cmp.Or(b.MinCalls, d.MinCalls), cmp.Or(b.Consecutive, d.Consecutive), cmp.Or(b.Probes, d.Probes)
}

// finish makes a route of its entry, once it has its targets.
func (r *Route) finish(m *Model) {
	r.hedge, r.onward, r.cached = newHedge(m.Hedge), m.Continue, m.Cache.Exact
	r.retry, r.repeats = m.Retry, newAllowance(m.Retry.Budget)
	r.pick, r.picker, r.needs = m.Pick, pickers[m.Pick].pick, pickers[m.Pick].needs
	if r.hedge != nil && r.hedge.cfg.After.Percentile > 0 {
		r.needs |= NeedsModel // and whether it is for a stream
	}
	for _, t := range r.Targets {
		if t.Model == "" {
			r.needs |= NeedsModel
		}
		if t.when != nil {
			r.needs |= t.when.needs
		}
	}
}

func first(names []string) string {
	if len(names) == 0 {
		return "..."
	}
	return names[0]
}

func (r *Router) add(route *Route, t TargetConfig, m *Model) {
	target := &Target{Index: len(r.targets), Route: route.Name, Provider: t.Provider, Model: t.Model, Timeout: m.Timeout, route: route, breaker: m.Breaker, onEvent: r.tracks.onEvent,
		weight: 1, quality: cmp.Or(t.Quality, m.Quality)}
	target.crowd, _ = r.setup.crowded(t) // checked
	if t.Weight != nil {
		target.weight = uint64(*t.Weight) //nolint:gosec // checked
	}
	r.targets = append(r.targets, target)
	route.Targets = append(route.Targets, target)
}

func (t Timeout) check(at string) []error {
	var errs []error
	for _, f := range []struct {
		name string
		d    time.Duration
	}{{"connect", t.Connect}, {"first_token", t.FirstToken}, {"idle", t.Idle}, {"total", t.Total}} {
		if f.d < 0 || f.d > 0 && f.d < time.Millisecond {
			errs = append(errs, fmt.Errorf("%s.%s: must be at least 1ms", at, f.name))
		}
	}
	return errs
}

func (t Timeout) orDefault() Timeout {
	t.Connect = cmp.Or(t.Connect, Defaults.Timeout.Connect)
	t.FirstToken = cmp.Or(t.FirstToken, Defaults.Timeout.FirstToken)
	t.Idle = cmp.Or(t.Idle, Defaults.Timeout.Idle)
	t.Total = cmp.Or(t.Total, Defaults.Timeout.Total)
	return t
}

// Names lists the entries of `models`, patterns included, sorted.
func (r *Router) Names() []string {
	names := slices.Collect(maps.Keys(r.exact))
	for _, p := range r.patterns {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names
}

// Routes lists the entries of `models` in alphabetical order, then every provider's direct route.
func (r *Router) Routes() []*Route { return r.routes }

// Direct lists the targets of the providers' direct routes.
func (r *Router) Direct() []*Target {
	var list []*Target
	for _, route := range r.routes {
		if route.direct {
			list = append(list, route.Targets[0])
		}
	}
	return list
}

// Targets lists every target, each at its Index.
func (r *Router) Targets() []*Target { return r.targets }

// Find returns the route of a name: its own entry, a provider's name in front of a slash, or the most specific pattern.
// It is nil when there is none. model is what a target without a model of its own is asked for.
func (r *Router) Find(name string) (route *Route, model string) {
	if route := r.exact[name]; route != nil {
		return route, name
	}
	if provider, model, ok := strings.Cut(name, "/"); ok && model != "" {
		if route := r.direct[provider]; route != nil {
			return route, model
		}
	}
	for _, p := range r.patterns {
		if wire.MatchModel(p.Name, name) {
			return p, name
		}
	}
	return nil, ""
}

// Needs is what Do will want to know of a request.
func (r *Route) Needs() Needs { return r.needs }

// Fallbacks are the routes that answer where this one cannot.
func (r *Route) Fallbacks() []*Route { return r.fallback }

// IsDirect tells a route that has no entry in `models`: only tenants whose patterns name its provider may use it.
func (r *Route) IsDirect() bool { return r.direct }
