package router

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Explanation is what the router would do with a request, and why. Nothing was asked, counted or changed for it.
type Explanation struct {
	Asked    string           `json:"asked"` // the model
	Request  Facts            `json:"request"`
	Branches []Branch         `json:"branches"` // what may lead to another model, in the order in which it is looked at
	Prompt   string           `json:"prompt,omitempty"`
	Routes   []ExplainedRoute `json:"routes"` // the model that serves, then those that are asked when it does not answer
}

// Facts are what is known of the request.
type Facts struct {
	Tenant    string   `json:"tenant"`
	Team      string   `json:"team,omitempty"`
	Key       string   `json:"key"`
	Role      string   `json:"role"`
	User      string   `json:"user,omitempty"`
	Scene     string   `json:"scene,omitempty"`
	Tags      []string `json:"tags,omitempty"`
	Stream    bool     `json:"stream"`
	Tokens    int64    `json:"tokens"` // of the prompt, estimated
	MaxTokens int64    `json:"max_tokens,omitempty"`
	Holds     []string `json:"holds"` // modalities
	Spent     float64  `json:"spent"` // of the tightest budget
}

// Branch is something that may lead a request to another model.
type Branch struct {
	Kind  string `json:"kind"` // rule, rollout, shadow, degrade or limit
	From  string `json:"from"`
	To    string `json:"to"`
	Taken bool   `json:"taken"`
	Why   string `json:"why"`
}

// ExplainedRoute is what an entry of models would do.
type ExplainedRoute struct {
	Model    string            `json:"model"`
	Fallback bool              `json:"fallback"`
	Pick     string            `json:"pick"`
	Cache    string            `json:"cache,omitempty"` // for how long answers are kept, and given again
	Targets  []ExplainedTarget `json:"targets"`         // in the order of the configuration
	Attempts int               `json:"attempts"`
	Backoff  string            `json:"backoff,omitempty"`
	Retries  int64             `json:"retries_left"`      // of the budget that all requests share
	Hedge    string            `json:"hedge_after"`       // "": nobody is asked beside the first
	Hedges   int64             `json:"hedges_left"`       // likewise
	Refused  string            `json:"refused,omitempty"` // why no target may be asked now
}

// ExplainedTarget is why a target is asked, and when, or why not.
type ExplainedTarget struct {
	Provider string  `json:"provider"`
	Served   string  `json:"served"`
	Order    int     `json:"order"`  // 1: it is asked first, 2: when that fails; 0: not at all
	Chance   float64 `json:"chance"` // of being asked first
	Why      string  `json:"why"`
	When     string  `json:"when,omitempty"` // its condition

	State    string             `json:"state"`
	InFlight int64              `json:"in_flight"`
	Price    int64              `json:"price_nano_usd"` // of this request; -1: not known
	Expected float64            `json:"first_token_expected_ms,omitempty"`
	Weight   uint64             `json:"weight"`
	Quality  float64            `json:"quality,omitempty"`
	Cached   float64            `json:"cached,omitempty"` // of prompts of late in the provider's cache
	Replicas []ExplainedReplica `json:"replicas,omitempty"`
}

// ExplainedReplica is how a replica of the target's pool stands to the request.
type ExplainedReplica struct {
	Replica string  `json:"replica"`
	State   string  `json:"state"`
	Held    int     `json:"held_blocks"` // of the prompt, that it is likely to have computed
	Queue   float64 `json:"queue"`       // requests that it has
	Chosen  bool    `json:"chosen"`
}

// Explain tells what Resolve and Do would do with a request for the route. ask is Asker.Query; turned is told of the route that is to
// serve, and says which one does, before its targets are looked at.
func (r *Router) Explain(route *Route, ask func(Needs) *Query, turned func(*Route, Detour) (*Route, error)) (e Explanation, err error) {
	now := time.Now()
	const all = NeedsModel | NeedsWho | NeedsBody | NeedsPrice | NeedsPrefix | NeedsSpent
	serves, detour, branches := r.explainBranches(route, ask(all), now)
	last, err := turned(serves, detour)
	if err != nil {
		return e, err
	}
	if last != serves {
		branches = append(branches, Branch{Kind: "limit", From: serves.Name, To: last.Name, Taken: true, Why: "a limit is short, and says that the request goes to this model then"})
		serves = last
	}
	q := ask(all)
	e = Explanation{Branches: branches, Request: factsOf(q)}
	for i, at := range append([]*Route{serves}, serves.fallback...) {
		e.Routes = append(e.Routes, at.explain(q, i > 0, now))
	}
	return e, nil
}

func factsOf(q *Query) Facts {
	f := Facts{Tenant: q.Tenant, Team: q.Team, Key: q.Key, Role: q.Role, User: q.User, Scene: q.Scene, Tags: slices.Clone(q.Tags), Stream: q.Stream,
		Tokens: q.Tokens, MaxTokens: q.MaxTokens, Spent: q.Spent, Holds: []string{}}
	for _, name := range (Modalities)(nil).Choices() {
		if modalities[name](q) {
			f.Holds = append(f.Holds, name)
		}
	}
	return f
}

// explainBranches is Resolve without a trace.
func (r *Router) explainBranches(route *Route, q *Query, now time.Time) (*Route, Detour, []Branch) {
	d, list := Detour{}, []Branch{}
	note := func(kind string, from, to *Route, taken bool, why string) {
		list = append(list, Branch{Kind: kind, From: from.Name, To: to.Name, Taken: taken, Why: why})
	}
	from := route
	if from.turns != nil {
		for _, rule := range from.turns.rules {
			taken := route == from && rule.when.fits(q)
			note("rule", from, rule.to, taken, ruleWhy(rule, taken, route != from))
			if taken {
				route = d.turn("rule", from, rule.to, "")
			}
		}
	}
	if o := route.tries(); o != nil {
		taken, why := o.explain(q)
		kind := map[bool]string{true: "shadow", false: "rollout"}[o.cfg.Shadow]
		note(kind, route, o.to, taken, why)
		if taken && !o.cfg.Shadow {
			route = d.turn("rollout", route, o.to, "")
		}
	}
	for range maxDegrades {
		from, gone := route, false
		if from.turns == nil {
			break
		}
		for _, g := range from.turns.degrades {
			cause, why := g.explain(q, now, r.cpu)
			taken := cause != "" && !gone && !d.passed(g.to)
			note("degrade", from, g.to, taken, why)
			if taken {
				route, gone = d.turn("degrade", from, g.to, cause), true
			}
		}
		if !gone {
			break
		}
	}
	return route, d, list
}

func ruleWhy(r rule, taken, late bool) string {
	switch {
	case taken:
		return "it fits: " + r.when.text
	case late:
		return "one before it fits: " + r.when.text
	}
	return "it does not fit: " + r.when.text
}

// tries is the route's rollout, nil for none.
func (r *Route) tries() *rollout {
	if r.turns == nil {
		return nil
	}
	return r.turns.rollout
}

// explain tells whether a rollout would give the request, or a copy of it, to its other model.
func (o *rollout) explain(q *Query) (taken bool, why string) {
	o.mu.Lock()
	share, halted := o.share, o.halted
	o.mu.Unlock()
	at := o.bucket(q)
	whose := map[string]string{"user": "the user", "tenant": "the tenant"}[o.cfg.Sticky]
	if whose == "" || o.cfg.Sticky == "user" && q.User == "" {
		whose = "the request, as another one would stand elsewhere,"
	}
	switch {
	case halted != "":
		return false, "it was called off: " + halted
	case !o.means(q):
		return false, "it is for others: " + o.cfg.whom()
	case at < share:
		return true, fmt.Sprintf("its share is %g%%, and %s stands at %.2f", share, whose, at)
	}
	return false, fmt.Sprintf("its share is %g%%, but %s stands at %.2f", share, whose, at)
}

// whom tells for whom the rollout is.
func (c *Rollout) whom() string {
	var words []string
	for _, f := range []struct {
		name string
		list []string
	}{{"tenants", c.Tenants}, {"users", c.Users}, {"scenes", c.Scenes}} {
		if len(f.list) > 0 {
			words = append(words, f.name+" "+strings.Join(f.list, ", "))
		}
	}
	return strings.Join(words, "; ")
}

// explain tells whether the other model serves, and the readings.
func (d *degrade) explain(q *Query, now time.Time, cpu *cpuMeter) (cause, why string) {
	if since := d.state.since.Load(); since != nil {
		cause = *since
	}
	var words []string
	for _, g := range d.gauges {
		v := g.reading(now, cpu)
		if cause == "" && v > g.limit {
			cause = g.cause
		}
		words = append(words, fmt.Sprintf("%s %s of %s", g.cause, g.text(v), g.text(g.limit)))
	}
	if limit := float64(d.cfg.When.Spent); limit > 0 {
		if cause == "" && (q.Spent > limit || d.state.caught.Load() > 0 && d.state.spent.Contains(callerKey{q.Tenant, q.Team, q.Key})) {
			cause = "spent"
		}
		words = append(words, fmt.Sprintf("spent %.4g%% of %.4g%%", q.Spent*100, limit*100))
	}
	if cause != "" {
		return cause, cause + " is beyond its threshold, or was of late: " + strings.Join(words, "; ")
	}
	return "", strings.Join(words, "; ")
}

// reading is what a gauge shows. That of the CPU is of the last look: to look now would change what the next one finds.
func (g gauge) reading(now time.Time, cpu *cpuMeter) float64 {
	if g.cause == "cpu" {
		return cpu.last()
	}
	return g.read(now)
}

// text is a reading as people write it.
func (g gauge) text(v float64) string {
	switch g.cause {
	case "p95":
		return time.Duration(v * float64(time.Second)).Round(time.Millisecond).String()
	case "queue":
		return fmt.Sprintf("%.4g", v)
	}
	return fmt.Sprintf("%.4g%%", v*100)
}
