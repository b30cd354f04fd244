package proxy

import (
	"math"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/tokens"
	"jarvis-gateway/proxy/wire"
)

// tally is what a request has cost: its answer, and the attempts before it that gave none.
type tally struct {
	came   bool        // an answer came, or began to
	known  bool        // the rest is known
	later  bool        // what the answer used is recorded once it is known: the answer is made in the background
	answer wire.Usage  // what the answer used
	lost   *wire.Usage // what attempts without an answer did; mostly there are none
	wasted wire.Money  // what these cost, each at its own target's price
	paid   wire.Money  // for everything
}

// all is the use of all attempts.
func (t *tally) all() wire.Usage {
	if t.lost == nil {
		return t.answer
	}
	return t.answer.Plus(*t.lost)
}

// lostTokens are those of attempts without an answer.
func (t *tally) lostTokens() int64 {
	if t.lost == nil {
		return 0
	}
	return t.lost.Total()
}

// told tells that providers said all of it.
func (t *tally) told() bool { return t.came && !t.later && !t.answer.Estimated && t.lost == nil }

// billed tells a request that costs something: not one for what is stored, which was counted when it was made, and none that
// only counts tokens.
func (x *exchange) billed() bool {
	return (x.call.Body != nil || x.call.Form != nil) && !x.call.Count
}

// reckon finds out once what the request has cost, so that its header, its limits and its line say the same. What failed
// before there was an answer costs nothing but what was lost with it.
func (x *exchange) reckon() {
	t := &x.tally
	if t.known {
		return
	}
	t.known, t.paid = true, t.wasted
	switch {
	case !t.came:
	case !x.billed():
		x.catchUp()
	default:
		if t.later = t.later && !x.caught(); !t.later {
			t.answer = x.usage()
			t.paid = t.wasted.Plus(x.cost.Cost(t.answer))
		}
	}
}

// lose counts what an attempt has cost that gave no answer.
func (x *exchange) lose() {
	u, ok := x.call.Wasted()
	if !ok || !x.billed() {
		return
	}
	u.Completion = min(u.Completion, x.longest())
	if x.ep.kind == wire.Plain && u.Estimated {
		units := x.call.Expected()
		u.Images, u.Millis, u.Characters = units.Images, units.Millis, units.Characters
	}
	x.waste(x.completed(u))
}

// longest is how many tokens the provider may have written at most. A guess from the bytes of half an answer could be more than that.
func (x *exchange) longest() int64 {
	most, n, err := x.body.Cap(x.ep.kind)
	if bound := x.call.MaxTokens; bound > 0 && (most == 0 || bound < most) {
		most = bound
	}
	if err != nil || most == 0 || x.call.Body == nil {
		return math.MaxInt64
	}
	return most * max(n, 1)
}

// waste counts what was used for nothing.
func (x *exchange) waste(u wire.Usage) {
	cost := x.cost.Cost(u)
	x.tally.wasted = x.tally.wasted.Plus(cost)
	x.wasted(u, cost)
	if x.tally.lost != nil {
		u = u.Plus(*x.tally.lost)
	}
	x.tally.lost = &u
}

// usage is what the answer used. What the provider did not say is counted, or estimated.
func (x *exchange) usage() wire.Usage {
	u := x.reply.Usage
	if x.reply.Stream != nil {
		u = x.reply.Stream.Usage()
	}
	switch {
	case u.Estimated && u.Completion == 0 && len(x.reply.Body) > 0:
		u.Completion = said(x.ep.kind, x.reply.Body, x.served())
	case u == (wire.Usage{}) && x.ep.prompts: // the provider should have said how long the prompt was
		u.Estimated = true
	}
	return x.completed(u)
}

// completed adds what a provider did not say of an answer. A service tier that costs less must be proved.
func (x *exchange) completed(u wire.Usage) wire.Usage {
	if u.Estimated && u.Prompt == 0 {
		if u.Prompt = x.grant.Prompt(); u.Prompt == 0 {
			u.Prompt = int64(tokens.For(x.served()).Scale(tokens.EstimateJSON(x.body.Raw())))
		}
		u.Prompt += x.repeated()
	}
	if u.Tier == wire.TierUnsaid {
		if u.Tier = wire.TierStandard; wire.TierOf(x.body.Tier()) == wire.TierPriority {
			u.Tier = wire.TierPriority
		}
	}
	return u
}

// said is how many tokens a whole answer has.
func said(kind wire.Kind, body []byte, model string) int64 {
	t, n := tokens.For(model), 0
	for _, path := range textsOf[kind] {
		n += texts(t, gjson.GetBytes(body, path))
	}
	return int64(n)
}

// textsOf is where whole answers have what the model wrote.
var textsOf = map[wire.Kind][]string{
	wire.Chat: {"choices.#.message.content", "choices.#.message.refusal", "choices.#.message.reasoning_content",
		"choices.#.message.tool_calls.#.function.arguments"},
	wire.Completion: {"choices.#.text"},
	wire.Message:    {"content.#.text", "content.#.thinking", "content.#.input"},
	wire.Response:   {"output.#.content.#.text", "output.#.arguments", "output.#.summary.#.text"},
}

// texts counts a text, those of a list, or an object as it is written.
func texts(t tokens.Tokenizer, v gjson.Result) (n int) {
	if v.IsArray() {
		v.ForEach(func(_, item gjson.Result) bool {
			n += texts(t, item)
			return true
		})
		return n
	}
	if v.IsObject() {
		return t.Count(v.Raw)
	}
	return t.Count(v.Str)
}
