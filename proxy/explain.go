package proxy

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/policy"
	"jarvis-gateway/policy/guard"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/ragplug"
	"jarvis-gateway/router"
)

// Question is a request that is not sent.
type Question struct {
	Tenant   string // "": the only one
	Key      string // its name; "": none in particular
	User     string // the end user; "": as the request says
	Endpoint string // chat/completions where it is empty
	Headers  map[string]string
	Body     []byte
}

// Rehearsal is a request that came as far as to its model's route, and goes no further: limits come next.
type Rehearsal struct {
	Route *router.Route // of the model that was asked for
	x     *exchange
}

// Rehearse takes a question the way of Gateway.run, without holding or counting anything.
func (g *Gateway) Rehearse(q Question) (*Rehearsal, error) {
	caller, err := g.Gate.Named(q.Tenant, q.Key, time.Now())
	if err != nil {
		return nil, err
	}
	ctx, err := q.request()
	if err != nil {
		return nil, err
	}
	x := &exchange{g: g, ctx: ctx, start: time.Now(), caller: caller, recording: &recording{}}
	if q.User != "" {
		own := *caller
		own.User = q.User
		x.caller = &own
	}
	x.call = &x.own
	x.identity()
	if x.ep, err = find(x); err != nil {
		return nil, err
	}
	if err = x.permit(); err != nil {
		return nil, err
	}
	if err = x.parse(); err != nil {
		return nil, err
	}
	if err = x.find(); err != nil {
		return nil, err
	}
	if err = x.checkElsewhere(); err != nil {
		return nil, err
	}
	return &Rehearsal{Route: x.route, x: x}, nil
}

// Query is what the router may know of the request. It is the caller's to change.
func (r *Rehearsal) Query(needs router.Needs) *router.Query { return r.x.Query(needs) }

// Cost is what an answer costs at a target; false where nobody knows.
func (r *Rehearsal) Cost(t *router.Target, u wire.Usage) (wire.Money, bool) {
	found, err := r.x.price(t)
	if err != nil || !found.known {
		return 0, false
	}
	return found.price.Cost(u), true
}

// Explained is what would become of a request. What is asked of limits and guards is as of now, and leaves no trace.
type Explained struct {
	router.Explanation
	Admission policy.Preview   `json:"admission"`
	Guards    []guard.Finding  `json:"guards"` // those that look at requests
	Retrieved *ragplug.Preview `json:"retrieved,omitempty"`
}

// Explain tells what would become of a request, as things are now.
func (g *Gateway) Explain(q Question) (e Explained, err error) {
	r, err := g.Rehearse(q)
	if err != nil {
		return e, err
	}
	x := r.x
	var short []string
	e.Guards = []guard.Finding{}
	e.Explanation, err = g.Router.Explain(x.route, x.Query, func(to *router.Route, d router.Detour) (*router.Route, error) {
		if err := x.follow(to, d); err != nil {
			return to, err
		}
		e.Admission, short, err = x.foresee()
		return x.route, err
	})
	if n := len(e.Branches); n > 0 && e.Branches[n-1].Kind == "limit" {
		e.Branches[n-1].Why = "there is too little left of " + strings.Join(short, ", and then of ")
	}
	if err == nil && x.call.Body != nil {
		e.Guards = x.caller.Guards().Explain(x.body.Raw(), x.ep.kind)
	}
	if e.Asked = x.asked; x.prompt != nil {
		e.Prompt = x.prompt.Name + "@" + x.prompt.Version
	}
	e.Retrieved = x.found.explain()
	return e, err
}

// Explain is that of the Gateway in force.
func (s *Server) Explain(q Question) (Explained, error) { return s.current.Load().Explain(q) }

// follow takes the request to the model that would serve it, and to the template that it would get.
func (x *exchange) follow(to *router.Route, d router.Detour) error {
	if len(d) > 0 {
		x.route, x.detour, x.model = to, &d, to.Name
	}
	x.query.Known = 0 // all of it may be otherwise now
	if err := x.prompted(); err != nil {
		return err
	}
	return x.retrieve()
}

// foresee is admit, but that nothing is held. short are the limits that led to another model.
func (x *exchange) foresee() (p policy.Preview, short []string, err error) {
	last := false
	for hops := 0; ; hops++ {
		a, err := x.needs(last || hops == mostDowngrades)
		if err != nil {
			p = policy.Preview{Limits: []policy.LimitStand{}}
			p.Refuse(err)
			return p, short, nil
		}
		p = x.g.Gate.Preview(x.caller, &a)
		if p.Verdict != policy.Downgraded {
			return p, short, nil
		}
		if last = !x.lessen(p.Model); last {
			continue
		}
		if err = x.checkElsewhere(); err != nil {
			return p, short, err
		}
		short = append(short, p.By)
		x.query.Known = 0
	}
}

// request is the question as it would arrive.
func (q *Question) request() (*fasthttp.RequestCtx, error) {
	endpoint := strings.Trim(q.Endpoint, "/")
	if endpoint = strings.TrimPrefix(endpoint, "v1/"); endpoint == "" {
		endpoint = "chat/completions"
	}
	if ep := posts["/v1/"+endpoint]; ep == nil {
		return nil, wire.Invalid("endpoint", "endpoint: unknown endpoint %q, such as chat/completions or responses.", q.Endpoint)
	}
	if len(q.Body) > 0 && !json.Valid(q.Body) {
		return nil, wire.Invalid("body", "body: it is not valid JSON.")
	}
	ctx := &fasthttp.RequestCtx{}
	ctx.Request.Header.SetMethod(fasthttp.MethodPost)
	ctx.Request.SetRequestURI("http://gateway/v1/" + endpoint)
	ctx.Request.Header.SetContentType("application/json")
	for name, value := range q.Headers {
		if strings.ContainsAny(name+value, "\r\n") || strings.ContainsAny(name, ": ") || name == "" {
			return nil, wire.Invalid("headers", "headers: %s is no header.", fmt.Sprintf("%q", name))
		}
		ctx.Request.Header.Set(name, value)
	}
	ctx.Request.SetBody(q.Body)
	return ctx, nil
}
