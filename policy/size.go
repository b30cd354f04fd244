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
	case top <= rest/8:
		r.output = top
	default:
		r.output = min(top, max(bound*r.ask.N, rest/8), rest)
		if r.output < top || r.most == 0 {
			r.capped = r.output
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

// estimate tells how many tokens the prompt has at most. It is counted where that decides.
func (r *Grant) estimate() {
	if r.guess == 0 {
		r.guess = r.ask.Prompt
		if r.ask.Raw != nil {
			r.guess = int64(tokens.EstimateJSON(r.ask.Raw))
		}
	}
	r.prompt = r.habit.prompt(r.guess + r.elsewhere)
	if r.strict { // what was short so far need not be so again
		r.prompt = max(r.prompt, r.guess+r.elsewhere)
	}
	if r.strict && r.exact == 0 && r.ask.Raw != nil && r.prompt > r.rest(0)/4 {
		r.exact = int64(tokens.CountRequest(r.ask.Raw, r.ask.Served))
	}
	if r.exact > 0 {
		r.prompt = r.habit.counted(r.exact) + r.elsewhere
	}
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
	if r.ask.Raw == nil || r.elsewhere > 0 || rand.Uint32()%measured == 0 {
		return false
	}
	r.prompt = int64(len(r.ask.Raw)) + 4*framing
	r.answer()
	if r.output = r.top(); r.cuttable() || !r.strict {
		r.output = r.likely
	}
	for i := range r.holds {
		if l := r.holds[i].limit; l.unit == Tokens || l.unit == Spend {
			if l.used.Load() > l.spec.Limit/8*7 || r.need(&r.holds[i]) > l.spec.Limit/little {
				r.prompt, r.output = 0, 0
				return false
			}
		}
	}
	return true
}

const (
	little   = 256 // such a part of a limit does not matter
	measured = 8   // one request in so many is measured though it is little
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

// price is what tokens are in the units of a limit, at most.
func (r *Grant) price(l *limit, prompt, output int64) int64 {
	if l.unit == Tokens {
		return prompt + output + r.lost
	}
	if r.ask.Tariff == nil {
		return r.wasted
	}
	u := r.ask.Units
	u.Prompt = prompt
	u.CacheWrite = prompt // into the provider's cache, which may cost more than to read it
	if r.hour {
		u.CacheWrite1h = prompt
	}
	return r.wasted + int64(r.ask.Tariff.Cost(u)) + mulDiv(output, r.ask.Tariff.OutputRate(prompt), million)
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
