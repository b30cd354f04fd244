package router

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Rollout gives a share of the requests to another model, or sends it copies of them.
type Rollout struct {
	To       string        `yaml:"to,omitempty" jsonschema_description:"another name of models"`
	Percent  *float64      `yaml:"percent,omitempty" jsonschema:"minimum=0,maximum=100" jsonschema_description:"of the requests that it is for; default: the first of steps, or 100 where tenants, users or scenes say whom it is for"`
	Steps    []float64     `yaml:"steps,omitempty" jsonschema_description:"shares to go through, such as [10, 30, 50, 100]"`
	Every    time.Duration `yaml:"every,omitempty" jsonschema_description:"how long a step lasts at least; it goes on only while the other model does no worse; default 1h"`
	Tenants  []string      `yaml:"tenants,omitempty" jsonschema_description:"it is for these only; default all"`
	Users    []string      `yaml:"users,omitempty" jsonschema_description:"it is for these end users only; default all"`
	Scenes   []string      `yaml:"scenes,omitempty" jsonschema_description:"it is for these only; default all"`
	Sticky   string        `yaml:"sticky,omitempty" jsonschema:"enum=user,enum=tenant,enum=request" jsonschema_description:"who always gets the same model: a user (default; a request that names none is on its own), a tenant, or nobody but the request"`
	Shadow   bool          `yaml:"shadow,omitempty" jsonschema_description:"the other model gets copies, and its answers are only counted; default false"`
	Rollback Rollback      `yaml:"rollback,omitempty"`
}

// Rollback says when a rollout is called off by itself.
type Rollback struct {
	Errors   Percent `yaml:"errors,omitempty" jsonschema_description:"more of the other model's calls fail, by so many points; default 5%"`
	Latency  Percent `yaml:"latency,omitempty" jsonschema_description:"its p95 until the first content is longer, by such a part and by 20ms; default 50%"`
	MinCalls int     `yaml:"min_calls,omitempty" jsonschema:"minimum=1" jsonschema_description:"fewer calls to either say nothing; default 50"`
	Off      bool    `yaml:"off,omitempty" jsonschema_description:"it is never called off by itself; default false"`
}

var rolloutDefaults = Rollout{Every: time.Hour, Sticky: "user", Rollback: Rollback{Errors: 0.05, Latency: 0.5, MinCalls: 50}}

func (c *Rollout) fill() {
	if c.To == "" {
		return
	}
	d := rolloutDefaults
	c.Every, c.Sticky = cmp.Or(c.Every, d.Every), cmp.Or(c.Sticky, d.Sticky)
	c.Rollback.Errors, c.Rollback.Latency = cmp.Or(c.Rollback.Errors, d.Rollback.Errors), cmp.Or(c.Rollback.Latency, d.Rollback.Latency)
	c.Rollback.MinCalls = cmp.Or(c.Rollback.MinCalls, d.Rollback.MinCalls)
}

// check tells what is wrong with a rollout, but for the other model's name.
func (c *Rollout) check(at string) (errs []error) {
	bad := func(key string, err error) { errs = append(errs, fmt.Errorf("%s.%s: %w", at, key, err)) }
	chosen := c.Percent != nil || len(c.Steps)+len(c.Tenants)+len(c.Users)+len(c.Scenes) > 0
	switch {
	case c.To == "" && (chosen || c.Shadow || c.Sticky != "" || c.Every != 0 || c.Rollback != (Rollback{})):
		bad("to", errors.New("another name of models is needed"))
	case c.To != "" && !chosen:
		bad("percent", errors.New("a share is needed, such as 10"))
	case c.Percent != nil && len(c.Steps) > 0:
		bad("steps", errors.New("percent and steps exclude each other"))
	}
	if c.Percent != nil && !(*c.Percent >= 0 && *c.Percent <= 100) {
		bad("percent", errors.New("must be from 0 to 100"))
	}
	for i, p := range c.Steps {
		if !(p > 0 && p <= 100) || i > 0 && p <= c.Steps[i-1] {
			bad(fmt.Sprintf("steps[%d]", i), errors.New("steps grow, from more than 0 to at most 100"))
		}
	}
	if c.Sticky != "" && !slices.Contains([]string{"user", "tenant", "request"}, c.Sticky) {
		bad("sticky", fmt.Errorf("unknown choice %q (have: user, tenant, request)", c.Sticky))
	}
	if c.Every < 0 {
		bad("every", errors.New("must be more than 0"))
	}
	return errs
}

// rollout is one that is under way. It survives a reload that does not change it.
type rollout struct {
	cfg  Rollout
	spec string // tells this rollout from another one of the model's
	from string
	to   *Route
	tell func(Rolled)
	*progress
}

func newRollout(from, to *Route, cfg Rollout, tell func(Rolled)) *rollout {
	cfg.fill()
	return &rollout{cfg: cfg, spec: cfg.digest(), from: from.Name, to: to, tell: tell, progress: newProgress([2]string{from.Name, to.Name}, &cfg)}
}

// digest is the same for rollouts that are.
func (c *Rollout) digest() string {
	text, err := json.Marshal(c)
	if err != nil {
		panic("BUG: a rollout that cannot be written: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// goOn has the route's allowances go on from before, and its rollout, if that is the same.
func (r *Route) goOn(old *Route) {
	r.repeats.goOn(old.repeats)
	if r.hedge != nil && old.hedge != nil {
		r.hedge.extra.goOn(old.hedge.extra)
	}
	if r.turns == nil || r.turns.rollout == nil || old.turns == nil || old.turns.rollout == nil {
		return
	}
	if before := old.turns.rollout; before.spec == r.turns.rollout.spec {
		r.turns.rollout.progress = before.progress
	}
}

// rolled is the model that a rollout gives the request to; nil where none does.
func (r *Route) rolled(ask func(Needs) *Query) *Route {
	if r.turns == nil || r.turns.rollout == nil || r.turns.rollout.cfg.Shadow {
		return nil
	}
	q := ask(NeedsWho)
	o := r.turns.rollout
	if !o.means(q) {
		return nil
	}
	q.Trial = Trial{rollout: o}
	if !o.picks(q, q.Now) {
		return nil
	}
	q.Trial.arm = 1
	return o.to
}

// Shadow is the model that gets a copy of the request; nil for none. What becomes of the copy is told to the trial.
func (r *Route) Shadow(ask func(Needs) *Query) (to *Route, t Trial) {
	if r.turns == nil || r.turns.rollout == nil || !r.turns.rollout.cfg.Shadow {
		return nil, Trial{}
	}
	q := ask(NeedsWho)
	o := r.turns.rollout
	if !o.means(q) {
		return nil, Trial{}
	}
	q.Trial = Trial{rollout: o}
	if !o.picks(q, q.Now) {
		return nil, Trial{}
	}
	return o.to, Trial{rollout: o, arm: 1}
}

// means tells whether the rollout is for such a request at all.
func (o *rollout) means(q *Query) bool {
	return among(o.cfg.Tenants, q.Tenant) && among(o.cfg.Users, q.User) && among(o.cfg.Scenes, q.Scene)
}

func among(list []string, name string) bool { return len(list) == 0 || slices.Contains(list, name) }

// picks decides for the other model. A share that grows keeps those that it had.
func (o *rollout) picks(q *Query, now time.Time) bool { return o.bucket(q) < o.now(now) }

// bucket is where a request stands from 0 to 100, always the same for whom the rollout sticks to.
func (o *rollout) bucket(q *Query) float64 {
	seed := q.Request
	switch {
	case o.cfg.Sticky == "tenant":
		seed = q.Tenant
	case o.cfg.Sticky == "user" && q.User != "":
		seed = q.Tenant + "\x00" + q.User
	}
	var h xxhash.Digest
	h.Reset()
	_, _ = h.WriteString(o.from) // it cannot fail
	_, _ = h.WriteString("\x00")
	_, _ = h.WriteString(seed)
	return float64(h.Sum64()>>11) / (1 << 53) * 100
}
