// Package router knows which provider's models serve the names that clients ask for, and tries them in turn.
package router

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"jarvis-gateway/proxy/wire"
)

// Router maps names to routes. It never changes: a new config makes a new one.
type Router struct {
	exact    map[string]*Route
	patterns []*Route // those with a *, the most specific first
	direct   map[string]*Route
	routes   []*Route
	targets  []*Target
}

// Route is one entry of `models`, or a provider that is asked for as provider/model.
type Route struct {
	Name     string // as configured; a bounded set, fit for a metric's label
	Targets  []*Target
	AnswerAs string // "asked": answers name the model asked for
	direct   bool
}

// Target is one provider's model on a route.
type Target struct {
	Index    int // of all targets of the router, from 0
	Route    string
	Provider string
	Model    string // "": the name asked for
	Timeout  Timeout
}

// Defaults is what a model's entry leaves open. Reasoning models are silent for minutes.
var Defaults = Model{
	Pick:        "in_order",
	AnswerModel: "served",
	Timeout:     Timeout{Connect: 5 * time.Second, FirstToken: 5 * time.Minute, Idle: 5 * time.Minute, Total: 10 * time.Minute},
}

// New checks the models against the providers' names. The error joins all that is wrong, each worded as a path.
func New(models map[string]Model, providers []string) (*Router, error) {
	r := &Router{exact: map[string]*Route{}, direct: map[string]*Route{}}
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
	for _, p := range providers {
		route := &Route{Name: p + "/*", direct: true}
		r.add(route, TargetConfig{Provider: p}, Defaults.Timeout)
		r.direct[p] = route
		r.routes = append(r.routes, route)
	}
	return r, errors.Join(errs...)
}

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
	if m.Pick != "" && m.Pick != "in_order" {
		bad(".pick: %q is not supported yet (have: in_order)", m.Pick)
	}
	if m.AnswerModel != "" && m.AnswerModel != "served" && m.AnswerModel != "asked" {
		bad(".answer_model: unknown value %q (have: served, asked)", m.AnswerModel)
	}
	for i, t := range m.Targets {
		if !slices.Contains(providers, t.Provider) {
			bad(".targets[%d].provider: unknown provider %q (have: %s)", i, t.Provider, strings.Join(providers, ", "))
		}
	}
	errs = append(errs, m.Timeout.check(at+".timeout")...)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	route := &Route{Name: name, AnswerAs: m.AnswerModel}
	for _, t := range m.Targets {
		if t.Model == "" && !strings.Contains(name, "*") {
			t.Model = name
		}
		r.add(route, t, m.Timeout.orDefault())
	}
	return route, nil
}

func first(names []string) string {
	if len(names) == 0 {
		return "..."
	}
	return names[0]
}

func (r *Router) add(route *Route, t TargetConfig, timeout Timeout) {
	target := &Target{Index: len(r.targets), Route: route.Name, Provider: t.Provider, Model: t.Model, Timeout: timeout}
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

// IsDirect tells a route that has no entry in `models`: only tenants whose patterns name its provider may use it.
func (r *Route) IsDirect() bool { return r.direct }
