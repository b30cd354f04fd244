package counter

import (
	"math"
	"math/bits"
	"time"
)

// moment is now on both clocks: mono runs evenly and is for what takes time, wall is for calendars.
type moment struct{ mono, wall int64 }

func (c *Counters) time() moment {
	t := c.now()
	return moment{int64(t.Sub(c.start)), t.UnixNano()}
}

// forward keeps time from running backwards between those who looked at the clock before they had the lock.
func (c *Counters) forward(now moment) moment {
	now.mono = max(now.mono, c.last)
	c.last = now.mono
	return now
}

// meter counts what was used, and forgets it as its algorithm says.
type meter interface {
	used(now moment) int64
	add(now moment, n int64)                // a negative n takes back what the same moment added
	gone(now moment, n int64) time.Duration // until n of what is used is no longer
	resize(limit int64)
}

func newMeter(s Spec, now moment) meter {
	switch s.Algorithm {
	case Sliding:
		return &sliding{sub: max(1, (int64(s.Window)+subs-1)/subs)}
	case Token, Leaky:
		return &bucket{limit: max(0, s.Limit), window: max(1, int64(s.Window)), last: now.mono}
	case Calendar:
		m := &calendar{period: s.Period, zone: s.zone()}
		m.begin, m.end = m.around(now.wall)
		return m
	}
	return level{}
}

// level has no memory: of places only those count that are held.
type level struct{}

func (level) used(moment) int64                { return 0 }
func (level) add(moment, int64)                {}
func (level) gone(moment, int64) time.Duration { return 0 }
func (level) resize(int64)                     {}

// bucket is both buckets: what is used leaves at an even rate. A token bucket's tokens are what is missing here.
type bucket struct {
	limit, window int64
	debt          int64 // used and not gone yet
	part          int64 // of the next unit to leave, in 1/window
	last          int64
}

func (b *bucket) used(now moment) int64 {
	elapsed := now.mono - b.last
	b.last = now.mono
	if b.debt <= 0 {
		b.part = 0
		return b.debt
	}
	hi, lo := bits.Mul64(uint64(elapsed), uint64(b.limit))
	lo, carry := bits.Add64(lo, uint64(b.part), 0)
	hi += carry
	if hi >= uint64(b.window) {
		b.debt, b.part = 0, 0
		return 0
	}
	left, part := bits.Div64(hi, lo, uint64(b.window))
	if left >= uint64(b.debt) {
		b.debt, b.part = 0, 0
		return 0
	}
	b.debt, b.part = b.debt-int64(left), int64(part)
	return b.debt
}

func (b *bucket) add(now moment, n int64) {
	_ = b.used(now)
	b.debt += n
}

func (b *bucket) gone(_ moment, n int64) time.Duration {
	if n <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(n), uint64(b.window))
	lo, borrow := bits.Sub64(lo, uint64(b.part), 0)
	hi -= borrow
	lo, carry := bits.Add64(lo, uint64(b.limit)-1, 0) // rounds up
	hi += carry
	if b.limit <= 0 || hi >= uint64(b.limit) {
		return math.MaxInt64
	}
	d, _ := bits.Div64(hi, lo, uint64(b.limit))
	return time.Duration(min(d, math.MaxInt64))
}

func (b *bucket) resize(limit int64) { b.limit = max(0, limit) }
