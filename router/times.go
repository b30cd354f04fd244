package router

import (
	"math"
	"sync/atomic"
	"time"
)

// times is how long a target took of late until its first content. It is read and written without a lock: a count that is
// lost while a half is swept does no harm.
type times struct {
	ewma   atomic.Int64 // peak-EWMA in nanoseconds: it rises at once and falls slowly
	ewmaAt atomic.Int64
	halves [2]struct {
		since  atomic.Int64
		n      atomic.Int64
		counts [buckets]atomic.Uint32
	}
	turn atomic.Uint32 // which half counts

	last atomic.Pointer[percentile] // asked for
}

// percentile is the time that a share of calls stayed under.
type percentile struct {
	at    int64
	share float64
	d     time.Duration
}

const (
	buckets   = 96
	growth    = 1.15             // from a bucket to the next: what is read is at most 8 % off
	shortest  = time.Millisecond // the first bucket's upper bound; the last one's is ten minutes
	half      = 30 * time.Second
	forgetful = 10 * time.Second // in which the peak falls to a third
	fewest    = 20               // of fewer times there is no percentile
)

var logGrowth = math.Log(growth)

func bucketOf(d time.Duration) int {
	if d <= shortest {
		return 0
	}
	return min(buckets-1, int(math.Log(float64(d)/float64(shortest))/logGrowth)+1)
}

// timeOf stands for the times in a bucket: the middle of its bounds.
func timeOf(bucket int) time.Duration {
	if bucket == 0 {
		return shortest
	}
	return time.Duration(float64(shortest) * math.Pow(growth, float64(bucket)-0.5))
}

func (t *times) add(now time.Time, d time.Duration) {
	at := now.UnixNano()
	t.peak(at, d)
	turn := t.turn.Load()
	h := &t.halves[turn&1]
	if since := h.since.Load(); at-since > int64(half) && t.turn.CompareAndSwap(turn, turn+1) {
		h = &t.halves[(turn+1)&1]
		for i := range h.counts {
			h.counts[i].Store(0)
		}
		h.n.Store(0)
		h.since.Store(at)
	}
	h.counts[bucketOf(d)].Add(1)
	h.n.Add(1)
}

// peak moves the average: up at once, down as time goes by.
func (t *times) peak(at int64, d time.Duration) {
	old := t.ewma.Load()
	next := int64(d)
	if next < old {
		w := math.Exp(-float64(at-t.ewmaAt.Load()) / float64(forgetful))
		next = int64(float64(old)*w + float64(next)*(1-w))
	}
	t.ewma.Store(next)
	t.ewmaAt.Store(at)
}

// expected is how long the next call will take to its first content, about; 0: not known. What is not asked is forgotten.
func (t *times) expected(now time.Time) time.Duration {
	since := float64(now.UnixNano() - t.ewmaAt.Load())
	return time.Duration(float64(t.ewma.Load()) * math.Exp(-since/float64(4*forgetful)))
}

// percentile is the time that a share of the calls of the last minute stayed under; 0 where there were too few.
func (t *times) percentile(now time.Time, share float64) time.Duration {
	at := now.UnixNano()
	if p := t.last.Load(); p != nil && p.share == share && at-p.at < int64(100*time.Millisecond) {
		return p.d
	}
	p := &percentile{at: at, share: share, d: t.count(at, share)}
	t.last.Store(p)
	return p.d
}

func (t *times) count(at int64, share float64) time.Duration {
	var sum [buckets]int64
	n := t.gather(at, &sum)
	return rankOf(&sum, n, share)
}

// gather adds the times of the last minute, about, to a sum, and tells how many they are.
func (t *times) gather(at int64, sum *[buckets]int64) (n int64) {
	for i := range t.halves {
		h := &t.halves[i]
		if h.n.Load() == 0 || at-h.since.Load() >= int64(3*half) {
			continue
		}
		for b := range sum {
			count := int64(h.counts[b].Load()) // they are counted here, as a half may be swept meanwhile
			sum[b] += count
			n += count
		}
	}
	return n
}

// rankOf is the time that a share of n stayed under; 0 where they are too few.
func rankOf(sum *[buckets]int64, n int64, share float64) time.Duration {
	if n < fewest {
		return 0
	}
	rank := int64(math.Ceil(share * float64(n)))
	for b, count := range sum {
		if rank -= count; rank <= 0 {
			return timeOf(b)
		}
	}
	return timeOf(buckets - 1)
}
