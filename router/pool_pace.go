package router

import (
	"math"
	"sync/atomic"
	"time"
)

// A replica's pace is the time until its first token, for each block of the prompts that it was to answer by then and one
// more: as if its cache held none of them, for what it holds is a guess, and a wrong guess must not look like a fault. Its cold
// pace is that of prompts that surely were not in its cache. A replica is slow when its pace is more than paceFactor times the
// typical cold one. Below that, the number of requests in flight tells all there is to tell: prompts differ more than replicas.
//
// Where prompts are mostly in the cache, that sees little: a slow replica that has nothing to compute is as quick as a well one that
// has. So where it is known how large the caches are, which makes the guess a good one, replicas are also compared by their delay:
// what of the time until the first token the blocks that they lacked do not account for, at a pace still called well.
const (
	paceFactor = 2.0
	lateFactor = 5.0  // the same, of delays
	paceRise   = 0.25 // weight of an answer slower than the average: three of them in a row make a replica slow
	paceFall   = 0.1  // of a faster one
	paceClip   = 8.0  // one answer counts for at most that many averages
	lateClip   = 1.4  // 17 in a row make a replica slow, and no few wrong guesses
	paceMost   = 16.0 // times typical; what is slower than that is not heard of for longer, but gets no less
	paceFloor  = 0.02 // seconds; differences below that are noise
	lateFloor  = 0.04 // the same, of delays
	paceHalf   = 5 * time.Second
	paceEvery  = int64(100 * time.Millisecond)
)

// observe takes an answer into the averages.
func (r *Replica) observe(t int64, u *Turn) {
	took := time.Duration(t - u.began).Seconds()
	r.forgive(t)
	behind := took / float64(1+u.behind)
	r.pace.average(took/float64(1+u.owed), r.pool.typical.Load(), paceClip, paceFloor)
	if u.work == u.size {
		r.coldPace.average(behind, r.pool.typical.Load(), paceClip, paceFloor)
	}
	if u.guessed {
		r.delay.average(max(took-paceFactor*r.pool.typical.Load()*float64(u.behind), lateFloor), r.pool.promptly.Load(), lateClip, lateFloor)
	}
	r.paceAt.Store(t)
}

// observeWhole takes a whole answer into the average: its time for each block to compute and each token to make, which cost
// about the same.
func (r *Replica) observeWhole(t int64, u *Turn, tokens int64) {
	took := time.Duration(t - u.began).Seconds()
	typical := max(r.pool.usual.Load(), paceFloor)
	r.whole.change(func(x float64) float64 { return faded(x, typical, paceFactor, t-r.wholeAt.Load()) })
	r.whole.average(took/float64(1+u.work+max(tokens, 0)), r.pool.usual.Load(), paceClip, paceFloor)
	r.wholeAt.Store(t)
}

// observeNone takes in that there was no answer for so long. If that is not longer than usual, it says nothing.
func (r *Replica) observeNone(t int64, u *Turn) {
	pace := time.Duration(t-u.began).Seconds() / float64(1+u.owed)
	if pace > r.pace.Load() {
		r.pace.average(pace, r.pool.typical.Load(), paceClip, paceFloor)
		r.paceAt.Store(t)
	}
}

// forgive makes good what was forgotten since the last answer: the next one counts against what is left, or a replica that is
// well again would have to prove it with dozens of answers, of which it gets one now and then.
func (r *Replica) forgive(t int64) {
	typical := r.pool.typical.Load()
	if typical == 0 {
		return
	}
	silence := t - r.paceAt.Load()
	r.pace.change(func(pace float64) float64 { return faded(pace, max(typical, paceFloor), paceFactor, silence) })
	if usual := r.pool.promptly.Load(); usual > 0 {
		r.delay.change(func(delay float64) float64 { return faded(delay, usual, lateFactor, silence) })
	}
}

// faded is what is left of a slow pace after so long without an answer: it is halved again and again until it is slow no more.
func faded(pace, typical, factor float64, silence int64) float64 {
	if pace <= factor*typical {
		return pace
	}
	return max(min(pace, paceMost*typical)*math.Exp2(-float64(silence)/float64(paceHalf)), factor*typical)
}

// average takes one value into an average that rises faster than it falls. first is what to begin with, if known; the value counts for
// at most clip averages.
func (f *atomicFloat) average(x, first, clip, floor float64) {
	f.change(func(old float64) float64 {
		if old == 0 {
			old = first
		}
		if old == 0 {
			return x
		}
		x := min(x, clip*max(old, floor))
		if x > old {
			return old + (x-old)*paceRise
		}
		return old + (x-old)*paceFall
	})
}

// slowness is how many times slower than typical the replica is, by its streams or by its whole answers.
func (r *Replica) slowness(t int64) float64 {
	slow := r.slowStreams(t)
	usual := r.pool.usual.Load()
	if usual == 0 {
		return slow
	}
	usual = max(usual, paceFloor)
	whole := r.whole.Load()
	if whole = faded(whole, usual, paceFactor, t-r.wholeAt.Load()); whole <= paceFactor*usual {
		return slow
	}
	return max(slow, whole/usual)
}

// slowStreams is how many times slower than typical the replica is, 1 when that is no more than paceFactor. An answer that
// is overdue counts as if it came now. While nothing is heard of a slow replica its past is forgotten, and it is tried again.
func (r *Replica) slowStreams(t int64) float64 {
	typical := r.pool.typical.Load()
	if typical == 0 {
		return 1
	}
	typical = max(typical, paceFloor)
	pace := faded(r.pace.Load(), typical, paceFactor, t-r.paceAt.Load())
	if r.unanswered.Load() > 0 {
		silence := time.Duration(t - r.progress.Load()).Seconds()
		pace = max(pace, silence/float64(1+max(r.owed.Load(), 0)))
	}
	late := r.late(t)
	if pace <= paceFactor*typical {
		return late
	}
	return max(late, pace/typical)
}

// late is how many times as long as usual the replica's delay is, 1 when that is no more than lateFactor.
func (r *Replica) late(t int64) float64 {
	usual := r.pool.promptly.Load()
	delay := faded(r.delay.Load(), usual, lateFactor, t-r.paceAt.Load())
	if usual == 0 || delay <= lateFactor*usual {
		return 1
	}
	return delay / usual
}

// retype works out anew, now and then, what is typical: the harmonic mean, to which slow replicas add little.
func (p *Pool) retype(t int64) {
	last := p.typicalAt.Load()
	if t-last < paceEvery && last != 0 || !p.typicalAt.CompareAndSwap(last, t) {
		return
	}
	var streams, wholes, delays harmonic
	for _, r := range p.Replicas() {
		if r.state(t) == WhyFit {
			streams.add(r.coldPace.Load())
			wholes.add(r.whole.Load())
			delays.add(r.delay.Load())
		}
	}
	streams.store(&p.typical)
	wholes.store(&p.usual)
	delays.store(&p.promptly)
	p.level(t)
}

// longSlow is how long a replica must have been slow to start slowly afterwards: what it had has gone elsewhere by then, and nobody
// knows that it is well before it has answered.
const longSlow = int64(2 * time.Second)

// level counts a replica that is kept back, or starts slowly, as one that has done lately what the others have on average: or all new
// conversations would go to it at once.
func (p *Pool) level(t int64) {
	var behind []*Replica
	work, n := 0.0, 0.0
	for _, r := range p.Replicas() {
		if r.state(t) == WhyFit && !r.keptBack(t) && r.warmth(t) == 1 {
			work, n = work+r.recent.sum(t), n+1
		} else {
			behind = append(behind, r)
		}
	}
	for _, r := range behind {
		if missing := work/max(n, 1) - r.recent.sum(t); missing >= 1 {
			r.recent.add(t, int(missing))
		}
	}
}

// keptBack tells whether the replica is so slow that it gets next to nothing, and begins its slow start when it no longer is.
func (r *Replica) keptBack(t int64) bool {
	if r.slowness(t) > boundSlow {
		r.slowFrom.CompareAndSwap(0, t)
		return true
	}
	if since := r.slowFrom.Swap(0); since != 0 && t-since >= longSlow {
		r.warmFrom.Store(t)
	}
	return false
}

// harmonic is a harmonic mean in progress.
type harmonic struct{ n, sum float64 }

func (h *harmonic) add(x float64) {
	if x > 0 {
		h.n, h.sum = h.n+1, h.sum+1/x
	}
}

func (h *harmonic) store(mean *atomicFloat) {
	if h.n > 0 {
		mean.Store(h.n / h.sum)
	}
}

// Two periods, the one under way and the one before, share a word each with their number, so that sums of the recent past
// need no lock and no timer. A word is: the period in the upper 24 bits, the sums in the lower 40.
type recentWords [2]atomic.Uint64

const recentBits = 40

func (w *recentWords) add(period uint64, change func(sums uint64) uint64) {
	word := &w[period&1]
	for {
		old := word.Load()
		sums := old % (1 << recentBits)
		if old>>recentBits != period%(1<<24) {
			sums = 0
		}
		if word.CompareAndSwap(old, period<<recentBits|change(sums)) {
			return
		}
	}
}

func (w *recentWords) get(period uint64) uint64 {
	word := w[period&1].Load()
	if word>>recentBits != period%(1<<24) {
		return 0
	}
	return word % (1 << recentBits)
}

func (w *recentWords) reset() {
	w[0].Store(0)
	w[1].Store(0)
}

// recentSum sums up about the last minute.
type recentSum struct{ words recentWords }

const recentPeriod = 60 * time.Second

func (s *recentSum) add(t int64, n int) {
	s.words.add(uint64(t/int64(recentPeriod)), func(sum uint64) uint64 { return min(sum+uint64(n), 1<<recentBits-1) })
}

// sum counts of the period before what is still within one period's length, so that it does not jump.
func (s *recentSum) sum(t int64) float64 {
	period := uint64(t / int64(recentPeriod))
	past := float64(t%int64(recentPeriod)) / float64(recentPeriod)
	return float64(s.words.get(period)) + float64(s.words.get(period-1))*(1-past)
}

// recentRatio counts good and bad endings of the last ten to twenty seconds.
type recentRatio struct{ words recentWords }

const ratioPeriod = 10 * time.Second

func (s *recentRatio) add(t int64, bad bool) {
	s.words.add(uint64(t/int64(ratioPeriod)), func(sums uint64) uint64 {
		good, failed := sums%(1<<20), sums>>20
		if max(good, failed) == 1<<20-1 {
			good, failed = good/2, failed/2
		}
		if bad {
			failed++
		} else {
			good++
		}
		return failed<<20 | good
	})
}

func (s *recentRatio) get(t int64) (all, bad float64) {
	period := uint64(t / int64(ratioPeriod))
	for _, sums := range []uint64{s.words.get(period), s.words.get(period - 1)} {
		all += float64(sums%(1<<20) + sums>>20)
		bad += float64(sums >> 20)
	}
	return all, bad
}
