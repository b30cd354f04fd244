package policy

import (
	"math"
	"math/bits"
)

// ruler is what experience tells of how providers count prompts: more or less than we do, by how many tokens we count. It
// keeps the extremes of what they reported, as a factor and as a difference, for each length class apart: neither framing,
// which is most of a short prompt, nor another vocabulary, which is most of a long one's difference, is taken for the other.
type ruler [classes]class

const (
	classes = 24 // of lengths, each from a power of two to the next
	recent  = 256

	framing = 16 // tokens that a provider may put around any prompt
)

// class is experience with prompts of about the same length.
type class struct {
	n      int
	edge   float64  // above its prompts
	factor extremes // of reported to counted
	more   extremes // reported, less counted
}

// extremes are the least and the most of what was seen.
type extremes struct{ least, most float64 }

func (e *extremes) add(v float64) { e.least, e.most = min(e.least, v), max(e.most, v) }

// fade draws the extremes together, so that what is no longer true is forgotten.
func (e *extremes) fade() {
	step := (e.most - e.least) / 8
	e.least, e.most = e.least+step, e.most-step
}

// beyond is what may lie above the most that was seen: so far as all that was seen lies apart, the less was seen the more.
func (e *extremes) beyond(n int) float64 { return e.most + (e.most-e.least)*(0.25+4/float64(n)) }

func classOf(counted int64) int {
	return min(bits.Len64(uint64(max(counted, 1)))-1, classes-1) //nolint:gosec // it is positive
}

func (r *ruler) learn(counted, reported int64) {
	k := classOf(counted)
	c := &r[k]
	factor, more := float64(reported)/float64(max(counted, 1)), float64(reported-counted)
	if c.n == 0 {
		c.edge = math.Ldexp(1, k+1)
		c.factor, c.more = extremes{factor, factor}, extremes{more, more}
	}
	c.factor.add(factor)
	c.more.add(more)
	if c.n++; c.n%recent == 0 {
		c.factor.fade()
		c.more.fade()
	}
}

// bound is what a provider will not report more than, of a prompt of so many tokens, as far as experience tells; and it is
// never less than these. What was reported of other lengths only is taken to grow in the way that makes it more. Without
// experience with a length a token of ours may be first of the provider's.
func (r *ruler) bound(counted int64, first float64) int64 {
	x, k := float64(counted), classOf(counted)
	if c := &r[k]; c.n > 0 {
		return int64(math.Ceil(max(x, c.within(x)) + c.spare(x) - tiny))
	}
	most := x*first + framing
	for _, c := range r.near(k) {
		if c != nil {
			most = max(most, x+c.spare(x), c.without(x)+c.spare(x))
		}
	}
	return int64(math.Ceil(most - tiny))
}

// told is what a provider will most probably report at most: less than bound where it is known to count less than we do.
func (r *ruler) told(counted int64) int64 {
	x, k := float64(counted), classOf(counted)
	if c := &r[k]; c.n > 0 {
		return int64(math.Ceil(c.within(x) - tiny))
	}
	most := 0.
	for _, c := range r.near(k) {
		if c != nil {
			most = max(most, c.without(x))
		}
	}
	if most == 0 {
		return counted
	}
	return int64(math.Ceil(most - tiny))
}

// within is what is reported at most of a prompt of the class.
func (c *class) within(x float64) float64 { return min(x*c.factor.beyond(c.n), x+c.more.beyond(c.n)) }

// without is the same of a prompt of another class. In a short one most of the factor is framing, which does not grow.
func (c *class) without(x float64) float64 {
	grows := c.factor.beyond(c.n) - framing/c.edge
	return max(x+c.more.beyond(c.n), min(x*grows+framing, x*c.factor.beyond(c.n)))
}

// spare is what is added for little experience, of which extremes tell little.
func (c *class) spare(x float64) float64 { return (x/4 + framing/2) / float64(c.n) }

const tiny = 1e-6 // so that a whole number that was reckoned is not rounded up

// near are the next classes below and above one of which there is experience; nil where there is none.
func (r *ruler) near(k int) (found [2]*class) {
	for below := k - 1; below >= 0 && found[0] == nil; below-- {
		if r[below].n > 0 {
			found[0] = &r[below]
		}
	}
	for above := k + 1; above < classes && found[1] == nil; above++ {
		if r[above].n > 0 {
			found[1] = &r[above]
		}
	}
	return found
}
