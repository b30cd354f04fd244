// Package usage knows what answers cost.
package usage

import (
	"math"
	"math/bits"

	"jarvis-gateway/proxy/wire"
)

// Price is what a model costs. It never changes, and may be shared. The nil Price costs nothing.
type Price struct {
	base    rates
	long    []tier                 // of longer prompts, the shortest first
	each    [len(eachNames)]int64  // nano-dollars per million requests, images, milliseconds, characters
	served  [len(tierNames)]*Price // by service tier; nil: as base
	main    *Price                 // of a service tier: the price outside of them
	longest int64                  // answer, in tokens; 0: not known
}

// rates are nano-dollars per million tokens.
type rates [len(rateNames)]int64

const (
	input = iota
	output
	cached
	write
	write1h
	audioIn
	imageIn
	audioOut
	reasoning
)

const (
	request = iota
	image
	second
	character
)

// The words for prices, in the list and in files.
var (
	rateNames = [...]string{"input", "output", "cached", "write", "write_1h", "audio_in", "image_in", "audio_out", "reasoning"}
	eachNames = [...]string{"request", "image", "second", "character"}
	tierNames = [...]string{"flex", "priority", "batch"}
)

// tier is what tokens cost once the prompt has more than so many.
type tier struct {
	above int64
	rates rates
}

// at is what tokens cost with a prompt of so many.
func (p *Price) at(prompt int64) *rates {
	r := &p.base
	for i := range p.long {
		if prompt > p.long[i].above {
			r = &p.long[i].rates
		}
	}
	return r
}

// Cost is what an answer costs, exactly, rounded up once to a nano-dollar, in the service tier that it was served in, where
// that is said. What is no part of the tokens it is said to be of counts only as far as it can be: a provider's slip must
// not make an answer cheaper than its prompt.
func (p *Price) Cost(u wire.Usage) wire.Money {
	if p = p.in(u.Tier); p == nil {
		return 0
	}
	r := p.at(u.Prompt)
	var t total
	left := max(u.Prompt, 0)
	t.add(part(&left, u.CachedPrompt), r[cached])
	written := part(&left, u.CacheWrite)
	t.add(part(&written, u.CacheWrite1h), r[write1h])
	t.add(written, r[write])
	t.add(part(&left, u.Audio-u.AudioOut), r[audioIn])
	t.add(part(&left, u.ImageIn), r[imageIn])
	t.add(left, r[input])

	left = max(u.Completion, 0)
	t.add(part(&left, u.AudioOut), r[audioOut])
	t.add(part(&left, u.Reasoning), r[reasoning])
	t.add(left, r[output])

	t.add(1, p.each[request])
	t.add(max(u.Images, 0), p.each[image])
	t.add(max(u.Millis, 0), p.each[second])
	t.add(max(u.Characters, 0), p.each[character])
	return t.money()
}

// OutputRate is what a million tokens of answer cost at most, in nano-dollars, after a prompt of so many tokens.
func (p *Price) OutputRate(prompt int64) int64 {
	if p == nil {
		return 0
	}
	r := p.at(prompt)
	return max(r[output], r[reasoning], r[audioOut])
}

// Longest is the longest answer that the model gives, in tokens; 0: not known.
func (p *Price) Longest() int64 {
	if p == nil {
		return 0
	}
	return p.longest
}

// Tier is the price in one of the provider's service tiers, as requests name them. Of one that is not known it is the
// price itself.
func (p *Price) Tier(name string) *Price { return p.in(wire.TierOf(name)) }

func (p *Price) in(t wire.Tier) *Price {
	if p == nil || t == wire.TierUnsaid {
		return p
	}
	if p.main != nil {
		p = p.main
	}
	for i, tier := range [len(tierNames)]wire.Tier{wire.TierFlex, wire.TierPriority, wire.TierBatch} {
		if t == tier && p.served[i] != nil {
			return p.served[i]
		}
	}
	return p
}

// part takes n off what is left, or all of it.
func part(left *int64, n int64) int64 {
	n = min(max(n, 0), *left)
	*left -= n
	return n
}

// total is a sum of amounts times rates, in millionths of a nano-dollar. With 128 bits it cannot overflow: there are a
// dozen products of less than 124.
type total struct{ hi, lo uint64 }

// maxRate is the highest rate there may be: a thousand dollars for each.
const maxRate = 1_000 * int64(wire.Dollar) * million

const million = 1_000_000

func (t *total) add(n, rate int64) {
	hi, lo := bits.Mul64(uint64(n), uint64(rate)) //nolint:gosec // neither is negative
	var carry uint64
	t.lo, carry = bits.Add64(t.lo, lo, 0)
	t.hi, _ = bits.Add64(t.hi, hi, carry)
}

// money is the sum rounded up; what no Money can hold is the most that it can.
func (t *total) money() wire.Money {
	if t.hi >= million {
		return math.MaxInt64
	}
	nano, rest := bits.Div64(t.hi, t.lo, million)
	if rest > 0 && nano < math.MaxInt64 {
		nano++
	}
	return wire.Money(min(nano, math.MaxInt64)) //nolint:gosec // it fits
}
