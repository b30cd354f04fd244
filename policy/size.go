package policy

import (
	"math"
	"math/bits"
	"math/rand/v2"

	"jarvis-gateway/proxy/tokens"
	"jarvis-gateway/proxy/wire"
)

// How much a request holds: what it may cost at most, as far as that is known and bounded, but no more than it may need, so
// that one request does not keep others from what it will not use.
//
// A budget is passed by more than a token's price only where a provider bills more than is known beforehand: for a prompt of
// which it reports more than ruler.bound expects, which is learnt at once, but may befall all requests that were let in before
// the report; for files and earlier turns that a request only names and that are larger than document, likewise; for the first
// streams whose events have several tokens; for an answer longer than its max_tokens; and for what the vocabulary of a model
// that publishes none counts more of a stream's answer than we do. A gateway begins without experience after each restart.

// size decides how much is held. A stream that can be cut holds what is likely, and more as it goes on. What cannot be cut
// must be bounded before it begins: by what the client said, or by a share of what the budget has left, so that one request
// does not take from the next what it will most probably not use.
func (r *Grant) size() {
	r.capped = 0
	r.estimate()
	if !r.ask.Answers {
		r.output = r.sideOutput()
		return
	}
	bound, top := r.answer(), r.top()
	rest := r.rest(0)
	switch {
	case !r.strict:
		r.output = r.likely
	case r.cuttable():
		r.output = min(r.likely, rest)
		if rest < top {
			r.capped = rest
		}
	default:
		if r.output = top; top > rest/8 {
			r.output = min(top, max(bound*r.ask.N, rest/8), rest)
		}
		if r.output < top || r.boundless() {
			r.capped = max(r.output, 1) // of a budget that is spent now, others may give back some before this one takes
		}
	}
	r.output = max(r.output, min(least*r.ask.N, top)) // less is not worth it: then the budget is spent
	if r.capped > 0 {
		r.capped = max(r.capped/r.ask.N, 1)
		if r.ask.Cap > 0 {
			r.capped = min(r.capped, r.ask.Cap)
		}
	}
}

// shrink looks again at what is left; it is false when that does not help.
func (r *Grant) shrink() bool {
	before := r.output
	r.size()
	return r.output < before
}

// estimate tells how many tokens the prompt has at most. For budgets what is held must be enough: it is as many as the request
// has bytes where that is little beside all that is left, else the prompt is counted. An estimate may be wrong by any factor.
func (r *Grant) estimate() {
	if r.rated || !r.strict {
		r.fair = r.habit.prompt(r.guessed() + r.elsewhere)
	}
	if !r.strict {
		r.prompt = r.fair
		return
	}
	if r.ask.Raw == nil {
		r.exact = r.ask.Prompt
		r.prompt = r.habit.counted(r, true)
	} else if r.prompt = r.habit.wide(len(r.ask.Raw), r.elsewhere); r.exact > 0 || !r.slight() {
		r.count()
		r.prompt = min(r.prompt, r.habit.counted(r, tokens.For(r.ask.Served).Exact()))
	}
	if !r.rated {
		r.fair = r.prompt
	}
}

// guessed is about how many tokens the prompt has.
func (r *Grant) guessed() int64 {
	if r.guess == 0 {
		r.guess = r.ask.Prompt
		if r.ask.Raw != nil {
			r.guess = int64(tokens.EstimateJSON(r.ask.Raw))
		}
	}
	return r.guess
}

// count counts the prompt, once.
func (r *Grant) count() {
	if r.exact == 0 && r.ask.Raw != nil {
		exact, framed := tokens.CountFramed(r.ask.Raw, r.ask.Served)
		r.exact, r.framed = int64(exact), int64(framed)
	}
}

// slight tells a prompt whose price, as held, is little beside what every budget has left.
func (r *Grant) slight() bool {
	for i := range r.holds {
		h := &r.holds[i]
		if h.limit.budget() && r.price(h.limit, r.prompt, 0) > (h.counter.Free()+h.n)/16 {
			return false
		}
	}
	return true
}

// Prompt is how many tokens of prompt a provider that has not said so most probably bills; 0: nothing is known. It is no more
// than is held.
func (r *Grant) Prompt() int64 {
	if r == nil || r.habit == nil || r.ask.Raw == nil && r.ask.Prompt == 0 {
		return 0
	}
	if !r.strict {
		return r.habit.told(r.guessed(), 0, r.elsewhere)
	}
	r.count()
	return max(min(r.habit.told(0, r.exact, r.elsewhere), r.prompt), 1)
}

// rest is how many tokens of answer the tightest budget still buys, after the prompt and so many tokens, with what is held.
func (r *Grant) rest(output int64) int64 {
	rest := int64(math.MaxInt64 / 16)
	for i := range r.holds {
		l := r.holds[i].limit
		if !l.budget() {
			continue
		}
		left := r.holds[i].counter.Free() + r.holds[i].n - r.price(l, r.prompt, output)
		rest = min(rest, r.buys(l, left))
	}
	return max(rest, 0)
}

// buys is how many tokens of answer an amount of a limit's units is.
func (r *Grant) buys(l *limit, amount int64) int64 {
	if l.unit == Tokens || amount <= 0 {
		return amount
	}
	rate := int64(0)
	if r.ask.Tariff != nil {
		rate = r.ask.Tariff.OutputRate(r.prompt)
	}
	if rate <= 0 {
		return math.MaxInt64 / 16
	}
	tokens := mulDiv(amount, million, rate)
	if mulDiv(tokens, rate, million) > amount { // it was rounded up
		tokens--
	}
	return tokens
}

// cuttable tells a stream that can be ended at any token because all its tokens are seen. Thoughts that a provider keeps to
// itself, and sound, are billed all the same.
func (r *Grant) cuttable() bool {
	return r.ask.Cuttable && !r.ask.Hidden && !r.hidden && !r.habit.hides()
}

// sideOutput is what endpoints that do not chat bill as tokens of answer, at most: pictures and transcripts.
func (r *Grant) sideOutput() int64 {
	return r.ask.Units.Images*imageOutput + r.ask.Units.Millis/spokenRate
}

const (
	imageOutput = 6240 // tokens of a picture of the largest size and best quality
	spokenRate  = 200  // milliseconds of speech per token of transcript, said fast
)

// roomy sizes a request that is small beside all its limits, so that nothing depends on how small: a prompt has no more
// tokens than bytes. Some are measured all the same, for experience.
func (r *Grant) roomy() bool {
	if r.ask.Raw == nil || r.elsewhere > 0 || (r.rated || !r.strict) && rand.Uint32()%measured == 0 {
		return false
	}
	r.prompt = r.habit.wide(len(r.ask.Raw), 0)
	r.fair = r.prompt
	r.answer()
	r.capped = 0
	switch r.output = r.top(); {
	case r.cuttable() || !r.strict:
		r.output = r.likely
	case r.boundless():
		r.capped = r.output / r.ask.N
	}
	for i := range r.holds {
		if l := r.holds[i].limit; l.unit == Tokens || l.unit == Spend {
			if l.used.Load() > l.spec.Limit/8*7 || r.need(&r.holds[i]) > l.spec.Limit/little {
				r.prompt, r.fair, r.output = 0, 0, 0
				return false
			}
		}
	}
	return true
}

const (
	little   = 256 // such a part of a limit does not matter
	measured = 8   // one request in so many is measured for rates though it is little
)

// answer tells how long the answer may become.
func (r *Grant) answer() (bound int64) {
	if !r.ask.Answers {
		r.likely = r.sideOutput()
		return 0
	}
	first, bound := r.habit.answer()
	r.most = r.ask.Cap * r.ask.N
	r.likely = min(first*r.ask.N, r.top())
	return bound
}

// top is the longest that the answer may become.
func (r *Grant) top() int64 {
	switch {
	case !r.ask.Answers:
		return r.sideOutput()
	case r.most > 0:
		return r.most
	}
	if r.ask.Tariff != nil {
		if most := r.ask.Tariff.Longest(); most > 0 {
			return most * r.ask.N
		}
	}
	return longest * r.ask.N
}

// boundless tells an answer that is as long as the model likes, and nobody knows how long that is. What is held for it is a
// guess, to which it must be bounded, however much the budget has left.
func (r *Grant) boundless() bool {
	return r.ask.Answers && r.most == 0 && (r.ask.Tariff == nil || r.ask.Tariff.Longest() == 0) && r.lasts()
}

// lasts tells whether a longer answer takes more of any budget: of money none does that costs nothing.
func (r *Grant) lasts() bool {
	for i := range r.holds {
		if l := r.holds[i].limit; l.budget() && r.price(l, r.prompt, longest) > r.price(l, r.prompt, 0) {
			return true
		}
	}
	return false
}

// cut tells an answer that the gateway may have cut short, so that nothing can be learnt of its length.
func (r *Grant) cut(u wire.Usage) bool {
	return r.capped > 0 && (r.capped < longest || u.Completion >= r.capped)
}

// price is what tokens are in the units of a limit, at most.
func (r *Grant) price(l *limit, prompt, output int64) int64 {
	if l.unit == Tokens {
		return prompt + output + r.lost
	}
	return r.wasted + r.cost(prompt, output)
}

// cost is what tokens cost at most, in nano-dollars.
func (r *Grant) cost(prompt, output int64) int64 {
	if r.ask.Tariff == nil {
		return 0
	}
	u := r.ask.Units
	u.Prompt = prompt
	u.CacheWrite = prompt // into the provider's cache, which may cost more than to read it
	if r.hour {
		u.CacheWrite1h = prompt
	}
	return int64(r.ask.Tariff.Cost(u)) + mulDiv(output, r.ask.Tariff.OutputRate(prompt), million)
}

// entry is what is held at least of what may cost anything: else who has used all of a limit would be let in on and on by an
// endpoint whose use is known only afterwards.
func (r *Grant) entry(l *limit, n int64) int64 {
	if n > 0 || l.unit == Spend && (r.ask.Tariff == nil || r.ask.Tariff.Cost(wire.Usage{Prompt: 1, Completion: 1, Images: 1, Millis: 1, Characters: 1}) == 0) {
		return n
	}
	return 1
}

const million = 1_000_000

// mulDiv is a*b/c, rounded up, of numbers that are not negative; what does not fit is the most that does.
func mulDiv(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b)) //nolint:gosec // neither is negative
	if hi >= uint64(c) {                       //nolint:gosec // nor this
		return math.MaxInt64 / 16
	}
	q, rest := bits.Div64(hi, lo, uint64(c)) //nolint:gosec // nor this
	if rest > 0 {
		q++
	}
	return int64(min(q, math.MaxInt64/16)) //nolint:gosec // it fits
}
