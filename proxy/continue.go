package proxy

import (
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/tokens"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// This file has another target go on with an answer that broke off, where the route says so.

var continuations = newCounter("jarvis_continuations_total", "Streams that broke off on an entry of `models` with continue, by the provider that failed (from), the one that went on (to), and the outcome: "+
	"continued; failed, where nobody who was asked did; none, where nobody was to be asked; unfit, where the answer was more than plain text.", "model", "from", "to", "outcome")

// mostContinued is how often one answer is gone on with.
const mostContinued = 2

// goesOn has the answer watched that may have to be gone on with.
func (x *exchange) goesOn() {
	if !x.route.Continues() || x.reply.Stream == nil || x.ep.kind != wire.Chat || !isEvents(x.reply.ContentType) {
		return
	}
	x.reply.Stream = &continued{x: x, inner: x.reply.Stream, object: chunkObject}
}

// resume has another target go on with what was said. Without one the error is the answer's, as it would be without any of this;
// or that the client has left meanwhile.
func (x *exchange) resume(c *continued, broke *wire.Error) error {
	if int(x.resumed) == mostContinued || !x.blames(broke) || c.over {
		return broke
	}
	first := x.target
	if !c.fit() || !x.plain() {
		continuations.WithLabelValues(x.route.Name, first.Provider, "", "unfit").Inc()
		return broke
	}
	cost, priced := x.cost, x.priced
	c.spent = c.spent.Plus(x.abandon(broke))
	_ = c.inner.Close()
	next, attempt, err := x.route.GoOn(&onward{x, c}, x.spent)
	if next == nil {
		x.target, x.cost, x.priced = first, cost, priced
		outcome := "failed"
		if err == nil {
			outcome = "none"
		} else if e := x.fault(err); e.Status == statusGone || e == errDraining {
			return err
		}
		continuations.WithLabelValues(x.route.Name, first.Provider, "", outcome).Inc()
		return broke
	}
	x.target, x.attempt = next, attempt
	x.resumed++
	continuations.WithLabelValues(x.route.Name, first.Provider, next.Provider, "continued").Inc()
	return nil
}

// blames tells a failure that is the provider's, in time for somebody else to go on.
func (x *exchange) blames(e *wire.Error) bool {
	return (e.Failover || e.Status >= 500) && e.Code != "internal_error" && e != errDraining && !x.hurried() && !x.abort.Fired()
}

// abandon counts the part of the answer that there is, as that of an attempt that came to nothing: who goes on is paid for himself.
func (x *exchange) abandon(broke *wire.Error) wire.Usage {
	u := x.usage()
	if x.resumed == 0 {
		x.metrics(x.target).began(x.first, x.traceID())
	}
	x.attempt.Used(u.Prompt, u.CachedPrompt)
	x.attempt.End(broke)
	x.waste(u)
	x.calls[len(x.calls)-1].Result = resultOf(broke)
	x.tally.came = false
	x.failed = append(x.failed, step{target: x.target, reason: resultOf(broke), begun: true, tells: telling(broke)})
	return u
}

// spent tells a target that has failed this request.
func (x *exchange) spent(t *router.Target) bool {
	for _, at := range x.failed {
		if at.target == t {
			return true
		}
	}
	return false
}

// plain tells a request whose answer is text that anybody can go on with: one answer, of no form that the whole of it must keep,
// which nobody has begun already.
func (x *exchange) plain() bool {
	if _, n, err := x.body.Cap(x.ep.kind); err != nil || n > 1 || !x.repeatable() || x.body.Get("logprobs").Bool() {
		return false
	}
	for _, form := range [...]string{"audio", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "structural_tag"} {
		if v := x.body.Get(form); v.Exists() && v.Type != gjson.Null {
			return false
		}
	}
	if v := x.body.Get("response_format"); v.IsObject() && v.Get("type").Str != "text" {
		return false
	}
	if v := x.body.Get("tool_choice"); v.IsObject() || v.Str == "required" {
		return false
	}
	role := ""
	x.body.Get("messages").ForEach(func(_, message gjson.Result) bool {
		role = message.Get("role").Str
		return true
	})
	return role != "" && role != "assistant"
}

// onward asks for the rest of an answer, on behalf of the exchange.
type onward struct {
	*exchange
	c *continued
}

// Send asks one target for the rest.
func (o *onward) Send(target *router.Target) (router.Took, error) {
	x := o.exchange
	x.stepped(target)
	call, body := x.call.After(), wire.Body{}
	call.Header, call.Abort, call.Keep, call.Meter, call.MaxTokens, call.Prompt = &x.ctx.Request.Header, &x.abort, x.keep, nil, 0, 0
	call.AnswerAs, call.Body = x.answerAs(target), &body
	x.target, x.call = target, call
	x.tries++
	exact, err := o.prepare(call, &body, target)
	if err != nil {
		return router.Took{}, x.fell(target, err)
	}
	x.address(call, target)
	reply := wire.Reply{}
	err = x.g.Providers[target.Provider].Do(call, &reply)
	whole := err == nil && (reply.Stream == nil || !isEvents(reply.ContentType))
	if whole {
		err = unstreamed()
	}
	first := x.first
	err = x.ended(target, err)
	x.first = first // the answer began long ago
	if whole {
		x.waste(x.completed(reply.Usage))
		reply.Close()
	}
	if err != nil {
		return router.Took{}, x.fell(target, err)
	}
	o.c.goOn(reply.Stream, target, exact)
	return took(call, &reply), nil
}

// prepare makes the request for the rest, and what is held for it.
func (o *onward) prepare(call *provider.Call, body *wire.Body, target *router.Target) (exact bool, err error) {
	x := o.exchange
	model := x.modelOf(target)
	if *body, exact, err = x.g.Providers[target.Provider].Onward(&x.body, model, string(o.c.text)); err != nil {
		return false, err
	}
	most, _, err := x.body.Cap(x.ep.kind)
	if err != nil {
		return false, err
	}
	if most > 0 {
		if *body, err = body.SetCap(x.ep.kind, max(1, most-o.c.spent.Completion), ""); err != nil {
			return false, err
		}
	}
	if err = o.afford(call, target, int64(tokens.For(model).Count(string(o.c.text)))+aroundRest); err != nil {
		return false, err
	}
	return exact, x.enter(call, target)
}

// aroundRest is how many tokens a request for the rest has beside what was said, at most.
const aroundRest = 64

// afford makes what the request holds cover the rest, too: its prompt is longer by what was said.
func (o *onward) afford(call *provider.Call, target *router.Target, more int64) error {
	x := o.exchange
	found, err := x.price(target)
	if err != nil {
		return err
	}
	x.cost, x.priced = found.price, found.known
	x.grant.Lost(x.tally.lostTokens()+more, x.tally.wasted.Plus(found.price.Cost(wire.Usage{Prompt: more})))
	if err = x.grant.Aim(found.dearest(x.body.Tier()), x.modelOf(target), x.cuttable(target)); err != nil {
		return err
	}
	if call.MaxTokens, call.Prompt = x.grant.Cap(); call.Prompt > 0 {
		call.Prompt += more
	}
	if x.grant.Meter() {
		call.Meter = x.grant
	}
	return nil
}

// repeated is about how many tokens longer than the client's the prompt is of which the answer is the rest.
func (x *exchange) repeated() int64 {
	if x.call.Body == nil || x.call.Body == &x.body {
		return 0
	}
	more := tokens.EstimateJSON(x.call.Body.Raw()) - tokens.EstimateJSON(x.body.Raw())
	return int64(tokens.For(x.served()).Scale(max(0, more)))
}

// unstreamed is a rest that did not come as a stream.
func unstreamed() error {
	e := wire.Server(502, "upstream_error", "The model provider failed to answer.", nil)
	e.Failover = true
	return e
}

// fit tells a part of an answer that can be gone on with: text, of which something can be seen.
func (c *continued) fit() bool {
	return !c.unfit && !c.thinking && len(c.in) == 0 && strings.Trim(string(c.text), provider.Blank) != ""
}

var _ router.Asker = (*onward)(nil)
