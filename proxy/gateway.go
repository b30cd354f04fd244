// Package proxy is the data plane: one request from its first byte to its last. Gateway.Serve is where to begin reading.
package proxy

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/flows"
	"jarvis-gateway/policy"
	"jarvis-gateway/policy/guard"
	"jarvis-gateway/proxy/cache"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/trace"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// Gateway is what one config makes. It never changes: a reload makes a new one.
type Gateway struct {
	Gate      *policy.Gate
	Router    *router.Router
	Providers map[string]*provider.Client
	Prices    *usage.Prices
	Prompts   *Prompts // nil: none
	Flows     *flows.Library
	Retrieval *Retrieval
	Tracer    *trace.Tracer
	Cache     *cache.Cache // nil: no answers are kept

	tariffs []tariff      // by the target's index, of targets with a model of their own
	metrics []*lazyTarget // by the target's index
	masks   *guard.Chain  // of what is kept of prompts and answers
	born    time.Time
	catalog catalog
}

// NewGateway puts the parts of one config together.
func NewGateway(gate *policy.Gate, r *router.Router, providers map[string]*provider.Client, prices *usage.Prices) *Gateway {
	g := &Gateway{Gate: gate, Router: r, Providers: providers, Prices: prices, born: time.Now(), catalog: catalog{seen: map[string]listing{}}, masks: newMasks()}
	for _, t := range r.Targets() {
		g.metrics = append(g.metrics, &lazyTarget{target: t})
		g.tariffs = append(g.tariffs, g.tariff(t, t.Model))
	}
	return g
}

func (g *Gateway) ready() error {
	if !g.Gate.Open() || len(g.Router.Targets()) == 0 {
		return errNotReady
	}
	return nil
}

// serve is fasthttp's handler: one request.
func (s *Server) serve(ctx *fasthttp.RequestCtx) {
	c := ctx.Conn().(*conn)
	if s.health(ctx) {
		return
	}
	x := &c.x
	x.begin(s, ctx)
	defer x.guard()
	x.respond(x.g.Serve(x))
}

// health answers the probes, which need no key and leave no trace.
func (s *Server) health(ctx *fasthttp.RequestCtx) bool {
	var err error
	switch string(ctx.Path()) {
	case "/healthz":
	case "/readyz":
		err = s.Ready()
	default:
		return false
	}
	if err != nil {
		writeError(&ctx.Response, wire.Plain, fault(err), nil)
		return true
	}
	ctx.Response.Header.SetContentTypeBytes(typeJSON)
	ctx.Response.SetBodyString(`{"status":"ok"}`)
	return true
}

// Serve answers one request: it leaves the reply in x, or returns why there is none.
func (g *Gateway) Serve(x *exchange) (err error) {
	if x.ep, err = find(x); err != nil {
		return err
	}
	if err = x.identify(); err != nil {
		return err
	}
	if err = x.permit(); err != nil {
		return err
	}
	return x.ep.run(g, x)
}

// run is the list of what happens to a request for a model, in order.
func (g *Gateway) run(x *exchange) (err error) {
	if err = x.parse(); err != nil {
		return err
	}
	if flow, err := x.flow(); flow {
		return err
	}
	if err = x.find(); err != nil {
		return err
	}
	x.divert()
	if err = x.checkElsewhere(); err != nil {
		return err
	}
	if err = x.checkThread(); err != nil {
		return err
	}
	if err = x.checkLinks(); err != nil {
		return err
	}
	if err = x.prompted(); err != nil {
		return err
	}
	if err = x.retrieve(); err != nil {
		return err
	}
	x.phase(phaseAdmit)
	if err = x.admit(); err != nil {
		return err
	}
	x.phase(phaseGuards)
	if err = x.checkAsked(); err != nil {
		return err
	}
	if hit, err := x.cached(); hit || err != nil {
		return err
	}
	x.phase("")
	x.shadow()
	if x.target, x.attempt, err = x.route.Do(x); err != nil {
		if err == errUnrecorded {
			x.target = nil // nobody was asked
		}
		return err
	}
	x.goesOn()
	x.overhear()
	x.phase(phaseGuards)
	return x.checkAnswer()
}

// identify finds whose request it is.
func (x *exchange) identify() (err error) {
	x.call.Credential = key(&x.ctx.Request.Header)
	x.caller, err = x.g.Gate.Identify(x.call.Credential, x.start)
	return err
}

// parse reads the body as the endpoint takes it.
func (x *exchange) parse() (err error) {
	h := &x.ctx.Request.Header
	if enc := h.ContentEncoding(); len(enc) > 0 && string(enc) != "identity" {
		return &wire.Error{Status: 415, Type: wire.TypeInvalid, Code: "unsupported_content_encoding", Message: "Send the request's body without a Content-Encoding."}
	}
	call := x.call
	call.Method, call.Path, call.Query, call.Kind = fasthttp.MethodPost, x.ep.path, nil, x.ep.kind
	call.Header, call.ID, call.Body, call.Form, call.Count = h, x.id, nil, nil, x.ep.count
	if x.ep.kind == wire.Message && string(x.ctx.QueryArgs().Peek("beta")) == "true" {
		call.Query = queryBeta
	}
	if x.ep.form {
		if call.Form, err = wire.ParseForm(string(h.ContentType()), x.ctx.Request.Body()); err != nil {
			return err
		}
		x.asked, call.Stream = call.Form.Model(), call.Form.Stream()
	} else {
		if x.body, err = wire.Parse(x.ctx.Request.Body()); err != nil {
			return err
		}
		call.Body, call.Stream, x.asked = &x.body, x.body.Stream(), x.body.Model()
	}
	if err = x.suggest(); err != nil {
		return err
	}
	if x.asked == "" {
		x.asked = x.ep.model
	}
	if x.asked == "" {
		return wire.Invalid("model", "You must provide a model parameter.")
	}
	if !fitModel(x.asked) {
		return wire.Invalid("model", "A model's name has at most %d bytes, all of them printable, none of them ? or #, no space around it or its parts, and no part that is empty, . or ..", maxModel)
	}
	return nil
}

const maxModel = 256

var queryBeta = []byte("beta=true") // with which Anthropic's clients ask for its newer parts

// fitModel keeps out of headers, paths and logs what only an attacker would call a model, and spellings that some provider reads
// as another name: limits by model go by names.
func fitModel(name string) bool {
	if len(name) > maxModel || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == '?' || r == '#' }) {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || part[0] == ' ' || part[len(part)-1] == ' ' {
			return false
		}
	}
	return true
}

// find looks the model up. One answer fits a model that does not exist and one that is not this tenant's.
func (x *exchange) find() error {
	x.route, x.model = x.g.Router.Find(x.asked)
	if x.route == nil || !x.caller.Allows(x.asked, x.route.IsDirect()) {
		x.route = nil
		return modelNotFound(x.asked)
	}
	return nil
}

// checkElsewhere refuses a field that could have a provider ask another model, or another server, behind the back of what bounds
// the caller. Who may ask every provider that may answer for any model, and has no limit that depends on which, may send it.
func (x *exchange) checkElsewhere() error {
	field := x.elsewhere()
	if field == "" || x.free(x.route) && !slices.ContainsFunc(x.route.Fallbacks(), func(next *router.Route) bool { return !x.free(next) }) {
		return nil
	}
	return wire.Invalid(field, "%s: the gateway decides which model and which server is asked, so leave this field out.", field)
}

// elsewhere is the first such field, "" for none.
func (x *exchange) elsewhere() string {
	if x.call.Form != nil {
		return x.call.Form.Elsewhere()
	}
	return x.body.Elsewhere()
}

// free tells that nothing bounds what the caller may ask the route's providers for.
func (x *exchange) free(r *router.Route) bool {
	return !x.caller.Metered() && !x.caller.ByModel() &&
		!slices.ContainsFunc(r.Targets, func(t *router.Target) bool { return !x.caller.Allows(t.Provider+"/", true) })
}

func modelNotFound(name string) error {
	return &wire.Error{Status: 404, Type: wire.TypeInvalid, Code: "model_not_found", Param: "model",
		Message: "The model `" + shorten(name) + "` does not exist or you do not have access to it."}
}

// shorten keeps an absurd name from becoming an absurd answer.
func shorten(name string) string {
	const most = 200
	if len(name) <= most {
		return name
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut] + "..."
}

// ask does one call to a provider and counts it.
func (x *exchange) ask(target *router.Target) error {
	if err := x.prepare(target); err != nil {
		return err
	}
	err := x.g.Providers[target.Provider].Do(x.call, &x.reply)
	x.timed()
	return x.ended(target, err)
}

// prepare makes the request and what it holds fit a target.
func (x *exchange) prepare(target *router.Target) error {
	x.target = target
	x.tries++
	if x.billed() {
		if err := x.aim(target); err != nil {
			return err
		}
	}
	if err := x.intend(target); err != nil {
		x.target, x.tries, x.failed = nil, 0, x.failed[:0]
		return err
	}
	if err := x.enter(x.call, target); err != nil {
		return err
	}
	x.address(x.call, target)
	return nil
}

// address tells a call for whom it is. It begins now.
func (x *exchange) address(call *provider.Call, target *router.Target) {
	call.Model, call.Timeout, call.Prefix = x.modelOf(target), x.limit(target.Timeout), x.prefix(target)
	call.Hasty = call.Timeout != target.Timeout
	call.Trace = x.onTrace(target)
	call.Begun = time.Now()
}

// timed takes note of how long the request waited for a provider.
func (x *exchange) timed() {
	x.answered = time.Now()
	x.upstream += x.answered.Sub(x.call.Begun)
}

// ended counts the call that has come to its first content, or to nothing.
func (x *exchange) ended(target *router.Target, err error) error {
	m := x.metrics(target)
	if err != nil {
		e := x.fault(err)
		m.attempt(resultOf(e))
		x.calling(target, resultOf(e))
		x.lose()
		if e.Key {
			x.conn.server.log.Error("a provider refuses the gateway's credentials", "provider", target.Provider, "id", string(x.id), "cause", e.Error())
		}
		return err
	}
	m.attempt(outcomeOK)
	x.calling(target, outcomeOK)
	x.tally.came = true
	x.first = x.answered.Sub(x.start)
	return nil
}

// limit shortens the whole attempt to what the client is ready to wait.
func (x *exchange) limit(t router.Timeout) router.Timeout {
	if left := x.left(); left > 0 {
		t.Total, t.FirstToken, t.Connect = min(t.Total, left), min(t.FirstToken, left), min(t.Connect, left)
	}
	return t
}
