package counter

import (
	"math"
	"time"
)

// collect makes the reports that someone waits for.
func (f *far) collect(now moment) []report {
	var reports []report
	n := 0
	for ; n < min(len(f.urgent), looks) && len(reports) < pressed; n++ {
		if k := f.urgent[n]; k.lease.asked > 0 || k.lease.low {
			reports = f.compose(reports, k, now)
		}
	}
	if f.urgent = f.urgent[n:]; len(f.urgent) == 0 {
		f.urgent = nil
	}
	return reports
}

// scan adds the reports that are due, puts counters to rest that have nothing to report any more, and notes when the next is
// due. It goes on where it last stopped, so that each counter has its turn however many are busy.
func (f *far) scan(reports []report, now moment) []report {
	if f.left == 0 {
		f.left, f.soon = len(f.active), now.mono+int64(tick)
		f.round, f.scanned = now.mono-f.scanned, now.mono
	}
	for seen := 0; f.left > 0 && seen < looks && len(reports) < batch; seen++ {
		if f.cursor >= len(f.active) {
			f.cursor = 0
		}
		if f.left--; len(f.active) == 0 {
			break
		}
		k := f.active[f.cursor]
		due, at := k.lease.due(k, now)
		switch {
		case at == math.MaxInt64:
			f.drop(f.cursor)
			continue
		case due:
			reports = f.compose(reports, k, now)
		default:
			f.soon = min(f.soon, at)
		}
		f.cursor++
	}
	f.left = min(f.left, len(f.active))
	f.pause(len(reports), now)
	return reports
}

// drop puts one of the active to rest. The last takes its place.
func (f *far) drop(i int) {
	end := len(f.active) - 1
	f.rest(f.active[i])
	f.active[i], f.active[end] = f.active[end], nil
	f.active = f.active[:end]
}

// pause says when the scan goes on. Scans keep Redis busy for a fifth of the time at most, as long as that is enough to hear
// of every counter in a second.
func (f *far) pause(reports int, now moment) {
	rest := min(4*f.took, 10*int64(tick))
	late := now.mono-f.scanned > horizon || f.round > 2*horizon
	switch {
	case f.left == 0:
		f.scanAt = max(f.soon, now.mono+rest)
	case reports == 0:
		f.scanAt = now.mono
	case late:
		f.scanAt = now.mono + f.took/4
	default:
		f.scanAt = now.mono + rest
	}
}

// lasts is how long Redis keeps a lease without a report: longer, where so many counters are busy that reports are rare.
func (f *far) lasts(l *lease) int64 { return max(l.ttl, min(4*f.round, int64(time.Minute))) }
