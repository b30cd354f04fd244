package router

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// picker chooses among the targets whose bits are set in fit, of which there is at least one.
type picker func(r *Route, q *Query, fit uint64, now time.Time) int

var pickers = map[string]struct {
	pick  picker
	needs Needs
}{
	"in_order":     {nil, 0}, // the first that is fit
	"weighted":     {weighted, 0},
	"round_robin":  {roundRobin, 0},
	"least_loaded": {leastLoaded, 0},
	"fastest":      {fastest, NeedsModel}, // and whether it is for a stream
	"cheapest":     {cheapest, NeedsPrice},
	"best":         {best, NeedsPrice},
	"prefix":       {nil, NeedsPrefix}, // in order, and of a pool's replicas the one that knows the prompt's beginning
}

// picks are the ways to choose a target, as they are told in errors.
var picks = []string{"in_order", "weighted", "round_robin", "least_loaded", "fastest", "cheapest", "best", "prefix"}

// choose is the target to ask next, of those that were not asked and are fit; -1 for none. A pool that is full is asked when
// nothing else is left.
func (r *Route) choose(q *Query, asked uint64, now time.Time) int {
	var fit uint64
	full := -1
	for i, t := range r.Targets {
		if asked&(1<<i) != 0 {
			continue
		}
		switch why := t.unfit(q, now); {
		case why == "" && r.picker == nil:
			return i
		case why == "":
			fit |= 1 << i
		case why == tooFull && full < 0:
			full = i
		}
	}
	if fit == 0 {
		return full
	}
	return r.picker(r, q, fit, now)
}

// Why a target is passed over.
const (
	notMeant = "its condition does not fit"
	notReady = "it is resting"
	tooFull  = "its pool is full"
)

// unfit is why a target is not to be asked, "" where it is.
func (t *Target) unfit(q *Query, now time.Time) (why string) {
	switch {
	case t.when != nil && !t.when.fits(q):
		why = notMeant
	case !t.Track(q.model()).ready(now):
		why = notReady
	case t.full(now):
		why = tooFull
	}
	if why != "" && q != nil && q.Trace != nil {
		q.Trace(t, why)
	}
	return why
}

// model is what targets without a model of their own are asked for.
func (q *Query) model() string {
	if q == nil {
		return ""
	}
	return q.Model
}

// weighted takes each target as often as its weight says.
func weighted(r *Route, _ *Query, fit uint64, _ time.Time) int {
	var sum uint64
	for i, t := range r.Targets {
		if fit&(1<<i) != 0 {
			sum += t.weight
		}
	}
	if sum == 0 { // only those are left that get nothing otherwise
		return nth(fit, int(r.draw(uint64(ones(fit))))) //nolint:gosec // at most 64
	}
	at := r.draw(sum)
	for i, t := range r.Targets {
		if fit&(1<<i) == 0 {
			continue
		}
		if at < t.weight {
			return i
		}
		at -= t.weight
	}
	panic("BUG: weights changed")
}

func roundRobin(r *Route, _ *Query, fit uint64, _ time.Time) int {
	return nth(fit, int(r.turn.Add(1)%uint32(ones(fit)))) //nolint:gosec // at most 64
}

// leastLoaded takes the target with the fewest calls under way for its weight. Equals take turns.
func leastLoaded(r *Route, q *Query, fit uint64, now time.Time) int {
	return least(r, fit, func(t *Target) float64 { return t.load(q, now) / float64(max(t.weight, 1)) })
}

// least takes the target that costs least, beginning anywhere so that equals share.
func least(r *Route, fit uint64, cost func(t *Target) float64) int {
	n, found, lowest := len(r.Targets), -1, math.Inf(1)
	for k, start := 0, int(r.turn.Add(1)%uint32(n)); k < n; k++ { //nolint:gosec // at most 64
		i := start + k
		if i >= n {
			i -= n
		}
		if fit&(1<<i) == 0 {
			continue
		}
		if c := cost(r.Targets[i]); c < lowest || found < 0 {
			found, lowest = i, c
		}
	}
	return found
}

// fastest takes the better of two targets at random, by the time that they will take: what they took of late, for each call
// under way and this one. Two are enough to keep requests from all running to the same target.
// https://www.eecs.harvard.edu/~michaelm/postscripts/handbook2001.pdf
func fastest(r *Route, q *Query, fit uint64, now time.Time) int {
	n := ones(fit)
	if n == 1 {
		return nth(fit, 0)
	}
	first := int(r.draw(uint64(n)))      //nolint:gosec // at most 64
	second := int(r.draw(uint64(n - 1))) //nolint:gosec // at most 64
	if second >= first {
		second++
	}
	a, b := nth(fit, first), nth(fit, second)
	if r.Targets[b].wait(q, now) < r.Targets[a].wait(q, now) {
		return b
	}
	return a
}

// wait is how long a call will take until its first content, about.
func (t *Target) wait(q *Query, now time.Time) float64 {
	track := t.Track(q.model())
	return float64(track.expected(q, now)) * float64(track.inFlight.Load()+1)
}

// cheapest takes the target at which this request costs least. What costs nobody knows how much comes last.
func cheapest(r *Route, q *Query, fit uint64, _ time.Time) int {
	return lowest(r, fit, func(t *Target) (float64, float64) { return priced(q, t), 0 })
}

// best takes the target of the highest quality, of equals the cheapest.
func best(r *Route, q *Query, fit uint64, _ time.Time) int {
	return lowest(r, fit, func(t *Target) (float64, float64) { return -t.quality, priced(q, t) })
}

// lowest takes the target of the lowest rank; of equals the first.
func lowest(r *Route, fit uint64, rank func(t *Target) (float64, float64)) int {
	found, a, b := -1, 0.0, 0.0
	for i, t := range r.Targets {
		if fit&(1<<i) == 0 {
			continue
		}
		if x, y := rank(t); found < 0 || x < a || x == a && y < b {
			found, a, b = i, x, y
		}
	}
	return found
}

func priced(q *Query, t *Target) float64 {
	if p := q.Price(t); p >= 0 {
		return float64(p)
	}
	return math.Inf(1)
}

// allowance bounds how many calls may be extra, as a share of all: each call earns a part of one.
type allowance struct {
	share int64         // in millionths
	saved *atomic.Int64 // it survives a reload
}

const (
	whole  = 1_000_000
	saving = 10 * whole // the most that is saved up
)

// newAllowance begins with enough for a quiet time.
func newAllowance(share Percent) *allowance {
	a := &allowance{share: int64(share * whole), saved: &atomic.Int64{}}
	a.saved.Store(saving)
	return a
}

// goOn has an allowance go on from before: a reload must not fill it.
func (a *allowance) goOn(old *allowance) { a.saved = old.saved }

// earn is called for each call that is not extra.
func (a *allowance) earn() {
	if a.saved.Load() < saving {
		a.saved.Add(a.share)
	}
}

// take uses one up, if there is one.
func (a *allowance) take() bool {
	for {
		saved := a.saved.Load()
		if saved < whole {
			return false
		}
		if a.saved.CompareAndSwap(saved, saved-whole) {
			return true
		}
	}
}

func ones(set uint64) int { return bits.OnesCount64(set) }

// nth is the place of a set bit, from 0.
func nth(set uint64, n int) int {
	for range n {
		set &= set - 1
	}
	return bits.TrailingZeros64(set)
}
