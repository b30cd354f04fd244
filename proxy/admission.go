package proxy

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// mostDowngrades is how often a request may go to a lesser model before it is refused.
const mostDowngrades = 3

// admit holds what the request needs of its caller's limits, and goes to another model where a limit says so.
func (x *exchange) admit() error {
	if !x.limited() {
		return nil
	}
	last := false
	for hops := 0; ; hops++ {
		a, err := x.needs(last || hops == mostDowngrades)
		if err != nil {
			return err
		}
		err = x.g.Gate.Admit(x.caller, &a, x.grant)
		x.queued += x.grant.Waited()
		if err != nil && x.abort.Fired() {
			return provider.ErrAborted
		}
		lesser, ok := err.(*policy.Downgrade)
		if !ok {
			return err
		}
		if last = !x.lessen(lesser.Model); last {
			continue // it is refused as if nothing were said of another model
		}
		if err = x.checkElsewhere(); err != nil {
			return err
		}
	}
}

// needs is what limits have to know of the request. last: it goes to no lesser model any more.
func (x *exchange) needs(last bool) (a policy.Ask, err error) {
	a = policy.Ask{Model: x.route.Name, Habit: x.route.Name, Last: last, Waiting: &x.abort}
	if x.caller.ByModel() {
		a.Names = x.names()
	}
	if x.caller.Metered() {
		err = x.measure(&a)
	}
	return a, err
}

// lessen has the request go to a lesser model; it is false where that is not to be.
func (x *exchange) lessen(name string) bool {
	route, model := x.g.Router.Find(name)
	if route == nil || !x.caller.Allows(name, route.IsDirect()) {
		return false
	}
	x.route, x.model, x.lesser, x.lessened = route, model, name, true
	return true
}

// limited tells whether limits bound the caller, and makes room for what he holds of them: most connections need none.
func (x *exchange) limited() bool {
	if !x.caller.Limited() {
		return false
	}
	if x.grant == nil {
		x.grant = &policy.Grant{}
	}
	return true
}

// names are all that limits by model may call what is asked: by which of its names a client asks for a model must not
// matter. A dated snapshot of a model goes by the model's name too. What a fallback may serve counts as asked for, as its limits
// are held before it is known who answers.
func (x *exchange) names() []string {
	asked := x.asked
	if x.lessened {
		asked = x.lesser
	}
	x.called = x.naming(append(x.called[:0], asked), x.route)
	for _, next := range x.route.Fallbacks() {
		x.called = x.naming(x.called, next)
	}
	return x.called
}

// naming adds the names of a route and of its targets.
func (x *exchange) naming(names []string, r *router.Route) []string {
	names = append(names, r.Name)
	for _, t := range r.Targets {
		model := x.modelOf(t)
		full := t.Provider + "/" + model
		names = append(names, model, full)
		if n := len(snapshot(model)); n > 0 {
			names = append(names, model[:len(model)-n], full[:len(full)-n])
		}
	}
	return names
}

// snapshot is the date at the end of a model's name, with the hyphen before it: -2024-08-06 or -20240806; "" where there is none.
func snapshot(model string) string {
	for _, shape := range [...]string{"-0000-00-00", "-00000000"} {
		at := len(model) - len(shape)
		if at > 0 && dated(model[at:], shape) {
			return model[at:]
		}
	}
	return ""
}

func dated(tail, shape string) bool {
	for i := range len(shape) {
		if digit := tail[i]-'0' <= 9; digit != (shape[i] == '0') || !digit && tail[i] != '-' {
			return false
		}
	}
	return true
}

// measure tells what limits on tokens and money have to know of the request.
func (x *exchange) measure(a *policy.Ask) error {
	kind := x.ep.kind
	a.Free = x.ep.count
	a.Answers = kind != wire.Plain && !x.ep.count
	if kind == wire.Plain {
		a.Units = x.call.Expected()
	}
	if x.call.Body != nil {
		a.Raw = x.body.Raw()
		a.User = x.body.User(kind)
		if kind == wire.Response && x.body.Get("background").Bool() {
			return wire.Invalid("background", "Responses in the background cannot be counted under a limit on tokens or money. Leave background out.")
		}
		if field := x.surcharged(); field != "" {
			return wire.Invalid(field, "%s: what this costs more is not known, so it cannot be asked under a limit on spending. Leave it out.", field)
		}
		if a.Answers {
			var err error
			if a.Cap, a.N, err = x.body.Cap(kind); err != nil {
				return err
			}
		}
	}
	if user := x.note().user; user != "" {
		a.User = user
	}
	if x.caller.User != "" { // a token's word counts more than the request's
		a.User = x.caller.User
	}
	var err error
	for _, target := range x.route.Targets {
		a.Served = x.modelOf(target)
		a.Cuttable = x.cuttable(target)
		if x.route.IsDirect() || target.Model == "" {
			a.Habit += "/" + a.Served
		}
		var found tariff
		if found, err = x.price(target); err == nil {
			a.Tariff, a.Hidden = found.dearest(x.body.Tier()), a.Answers && found.thinks
			return nil
		}
	}
	return err
}

// surcharged is a field of Anthropic's that makes the answer dearer than the model's price, where money limits the caller.
// https://docs.anthropic.com/en/docs/about-claude/pricing
func (x *exchange) surcharged() string {
	if x.ep.kind != wire.Message || !x.caller.Pays() {
		return ""
	}
	for _, f := range [...]struct{ name, mark, plain string }{{"speed", `"speed"`, "standard"}, {"inference_geo", `"inference_geo"`, "global"}} {
		if !holds(x.body.Raw(), f.mark) { // hardly any request does, and reading costs more than looking
			continue
		}
		if v := x.body.Get(f.name); v.Exists() && v.Type != gjson.Null && v.Str != f.plain {
			return f.name
		}
	}
	if holds(x.body.Raw(), `"advisor_`) && strings.Contains(x.body.Get("tools.#.type").Raw, `"advisor_`) { // which is another model
		return "tools"
	}
	if holds(x.body.Raw(), `"compact_`) && strings.Contains(x.body.Get("context_management.edits.#.type").Raw, `"compact_`) { // reads the prompt once more
		return "context_management"
	}
	return ""
}

// cuttable tells whether a target's answer is a stream that can be ended at any token.
func (x *exchange) cuttable(t *router.Target) bool {
	return x.ep.kind != wire.Plain && !x.ep.count && x.call.Stream && x.g.Providers[t.Provider].Cuttable(x.ep.kind)
}

// thinks tells the models that are known to think without showing it, whatever the request says.
func thinks(model string) bool {
	for _, name := range thinkers {
		if strings.Contains(model, name) {
			return true
		}
	}
	return false
}

var thinkers = []string{"gpt-5", "o1", "o3", "o4-mini", "gemini-2.5", "gemini-3", "grok-4"}

// price is what a target costs. It is an error where nobody knows and that matters.
func (x *exchange) price(t *router.Target) (tariff, error) {
	found := x.g.tariffs[t.Index]
	if t.Model == "" { // the client's choice
		found = x.g.tariff(t, x.model)
	}
	if !found.known && x.g.Prices.Refuses(x.caller.Pays()) {
		return tariff{}, usage.Unpriced(x.modelOf(t))
	}
	return found, nil
}

// tariff is what is known of a target's price.
type tariff struct {
	price  *usage.Price
	known  bool
	thinks bool // the model is known to, and that costs too
}

// dearest is what an answer may cost that was asked for in a service tier: a discount is certain only when the answer says so.
func (t tariff) dearest(tier string) *usage.Price {
	if in := t.price.Tier(tier); in.OutputRate(0) > t.price.OutputRate(0) {
		return in
	}
	return t.price
}

func (g *Gateway) tariff(t *router.Target, model string) (found tariff) {
	client := g.Providers[t.Provider]
	found.price, found.known = g.Prices.Find(usage.Place{Provider: t.Provider, Kind: client.Kind(), Region: client.Region()}, model)
	found.thinks = thinks(model)
	return found
}

// aim makes what the request holds fit the target that is asked next.
func (x *exchange) aim(t *router.Target) (err error) {
	found, err := x.price(t)
	if err != nil {
		return err
	}
	x.cost, x.priced = found.price, found.known
	if x.tally.lost != nil {
		x.grant.Lost(x.tally.lost.Total(), x.tally.wasted)
	}
	if err = x.grant.Aim(found.dearest(x.body.Tier()), x.modelOf(t), x.cuttable(t)); err != nil {
		return err
	}
	x.call.MaxTokens, x.call.Prompt = x.grant.Cap()
	if x.grant.Meter() {
		x.call.Meter = x.grant
	}
	return nil
}

// standings tells the client how its limits stand, in the headers that OpenAI's clients know.
// https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
func (x *exchange) standings(h *fasthttp.ResponseHeader) {
	if !x.grant.Bounded() {
		return
	}
	requests, tokens := x.grant.Standings()
	requestsHeaders.write(h, &requests)
	tokensHeaders.write(h, &tokens)
}

// standingHeaders are the names of what tells how limits on one unit stand.
type standingHeaders struct{ limit, left, reset []byte }

var (
	requestsHeaders = standingHeaders{[]byte("X-Ratelimit-Limit-Requests"), []byte("X-Ratelimit-Remaining-Requests"), []byte("X-Ratelimit-Reset-Requests")}
	tokensHeaders   = standingHeaders{[]byte("X-Ratelimit-Limit-Tokens"), []byte("X-Ratelimit-Remaining-Tokens"), []byte("X-Ratelimit-Reset-Tokens")}
)

func (names *standingHeaders) write(h *fasthttp.ResponseHeader, at *policy.Standing) {
	if at.Limit == 0 {
		return
	}
	var space [32]byte
	h.SetCanonical(names.limit, strconv.AppendInt(space[:0], at.Limit, 10))
	h.SetCanonical(names.left, strconv.AppendInt(space[:0], at.Left, 10))
	h.SetCanonical(names.reset, appendReset(space[:0], at.Reset))
}

// appendReset writes a duration to the millisecond, as OpenAI does: 12ms, 1.5s, 6m0s.
func appendReset(dst []byte, d time.Duration) []byte {
	ms := int64(max(d, 0).Round(time.Millisecond) / time.Millisecond)
	switch {
	case ms == 0:
		return append(dst, "0s"...)
	case ms < 1000:
		return append(strconv.AppendInt(dst, ms, 10), "ms"...)
	}
	s, ms := ms/1000, ms%1000
	if s >= 3600 {
		dst = append(strconv.AppendInt(dst, s/3600, 10), 'h')
	}
	if s >= 60 {
		dst = append(strconv.AppendInt(dst, s/60%60, 10), 'm')
	}
	dst = strconv.AppendInt(dst, s%60, 10)
	if ms > 0 {
		dst = append(dst, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
		dst = bytes.TrimRight(dst, "0")
	}
	return append(dst, 's')
}

// bill tells what the answer cost, and what was done to the request to stay within limits.
func (x *exchange) bill(h *fasthttp.ResponseHeader) {
	var space [32]byte
	if x.priced && x.failure == nil && x.reply.Stream == nil && !x.tally.later {
		h.SetCanonical(headerCost, x.tally.paid.AppendDecimal(space[:0]))
	}
	if x.call.MaxTokens > 0 {
		h.SetCanonical(headerMaxTokens, strconv.AppendInt(space[:0], x.call.MaxTokens, 10))
	}
	if scope, percent, ok := x.grant.Warning(x.start); ok {
		h.SetCanonical(headerWarning, strconv.AppendInt(append(append(space[:0], scope...), ':'), int64(percent), 10))
	}
	if x.lessened {
		h.SetCanonical(headerDowngraded, append(space[:0], shorten(x.asked)...))
	}
}

var (
	headerCost       = []byte("X-Jarvis-Cost-Usd")
	headerMaxTokens  = []byte("X-Jarvis-Max-Tokens")
	headerWarning    = []byte("X-Jarvis-Budget-Warning")
	headerDowngraded = []byte("X-Jarvis-Downgraded-From")
)
