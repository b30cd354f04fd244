package proxy

import (
	"jarvis-gateway/policy"
	"jarvis-gateway/policy/guard"
	"jarvis-gateway/router"
)

// Traced is what a trace says of a request beside its question: several of them may share one Rehearsal.
type Traced struct {
	Prompt int64 // tokens
	User   string
	Stream bool
}

// Admission is a request of a trace that is held to limits, by the clock of the Gate's counters.
type Admission struct {
	Grant  policy.Grant
	Lesser []Lessened    // on the way to what it is admitted to
	Route  *router.Route // that serves

	r       *Rehearsal
	traced  Traced
	model   string
	answers int64 // asked for
}

// Lessened tells of a limit that sent a request to another model.
type Lessened struct{ By, To string }

// Limited tells whether any limit bounds who asks.
func (r *Rehearsal) Limited() bool { return r.x.caller.Limited() }

// Guards tells whether guards look at the requests of who asks.
func (r *Rehearsal) Guards() bool { return r.x.caller.Guards().Asks() }

// Findings is what they would do with this one.
func (r *Rehearsal) Findings() []guard.Finding {
	return r.x.caller.Guards().Explain(r.x.body.Raw(), r.x.ep.kind)
}

// Whose names the tenant.
func (r *Rehearsal) Whose() string { return r.x.caller.Tenant }

// Spent is how much of the tightest budget of who asks is used.
func (r *Rehearsal) Spent() float64 { return r.x.caller.Spent() }

// Try is exchange.admit for a request that a route is to serve, but that it does not wait. What it holds it holds until Settle.
func (r *Rehearsal) Try(to *router.Route, t Traced, waits func(desk string) bool) (a *Admission, tried policy.Tried) {
	x := r.x
	a = &Admission{r: r, traced: t, model: x.model}
	if to != r.Route {
		a.model = to.Name
	}
	x.lesser, x.lessened = "", false
	defer a.stand(to)()
	last := false
	for {
		ask, err := x.needs(last || len(a.Lesser) == mostDowngrades)
		if err != nil {
			return a, declined(err)
		}
		ask.Raw, ask.Prompt = nil, t.Prompt // which is the same each time
		if t.User != "" {
			ask.User = t.User
		}
		if tried = x.g.Gate.Try(x.caller, &ask, &a.Grant, waits); tried.Verdict != policy.Downgraded {
			a.Route, a.model, a.answers = x.route, x.model, max(ask.N, 1)
			return a, tried
		}
		if last = !x.lessen(tried.Model); last {
			continue
		}
		if err := x.checkElsewhere(); err != nil {
			return a, declined(err)
		}
		a.Lesser = append(a.Lesser, Lessened{By: tried.By, To: tried.Model})
	}
}

// declined is an error as what became of a request.
func declined(err error) policy.Tried {
	var p policy.Preview
	p.Refuse(err)
	return policy.Tried{Verdict: policy.Refused, Code: p.Code}
}

// stand has the rehearsal be this request, until what it returns is called.
func (a *Admission) stand(at *router.Route) (leave func()) {
	x := a.r.x
	route, model, stream := x.route, x.model, x.call.Stream
	x.route, x.model, x.call.Stream = at, a.model, a.traced.Stream
	return func() { x.route, x.model, x.call.Stream = route, model, stream }
}

// Aim is exchange.aim: it makes what is held fit the target that is asked next, or is false where too little is left for that.
func (a *Admission) Aim(t *router.Target) bool {
	defer a.stand(a.Route)()
	x := a.r.x
	found, err := x.price(t)
	return err == nil && a.Grant.Aim(found.dearest(x.body.Tier()), x.modelOf(t), x.cuttable(t)) == nil
}

// Length is how long its answer becomes, which would have so many tokens if nothing bounded it.
func (a *Admission) Length(tokens int64) int64 {
	if most, _ := a.Grant.Cap(); most > 0 {
		return min(tokens, most*a.answers)
	}
	return tokens
}
