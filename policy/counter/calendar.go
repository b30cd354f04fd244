package counter

import "time"

// calendar counts what was used in this day or month.
type calendar struct {
	period     Period
	zone       *time.Location
	begin, end int64 // of the window, in wall time
	total      int64
	slot       *slot // where the count survives this process; nil: nowhere
}

// used moves to the next window when it has come. It does not move back with a clock that does, by an hour at most: then the
// clock was wrong before, and the count goes on in the window there is.
func (m *calendar) used(now moment) int64 {
	switch {
	case now.wall >= m.end:
		m.begin, m.end = m.around(now.wall)
		m.total = 0
	case now.wall < m.begin-int64(time.Hour):
		m.begin, m.end = m.around(now.wall)
	}
	return m.total
}

func (m *calendar) add(now moment, n int64) {
	_ = m.used(now)
	m.total += n
	if m.slot != nil {
		m.slot.count(m)
	}
}

func (m *calendar) gone(now moment, n int64) time.Duration {
	if n <= 0 {
		return 0
	}
	return time.Duration(m.end - now.wall)
}

func (m *calendar) resize(int64) {}

// around is the window that a moment is in.
func (m *calendar) around(wall int64) (begin, end int64) {
	y, mon, d := time.Unix(0, wall).In(m.zone).Date()
	if m.period == Month {
		return m.midnight(y, mon, 1), m.midnight(y, mon+1, 1)
	}
	return m.midnight(y, mon, d), m.midnight(y, mon, d+1)
}

// midnight is when a day begins. Where clocks change at midnight there may be none, or two: then it is the first moment of
// the day.
func (m *calendar) midnight(y int, mon time.Month, d int) int64 {
	t := time.Date(y, mon, d, 0, 0, 0, 0, m.zone)
	from, until := t.ZoneBounds()
	switch told, want := plain(t), time.Date(y, mon, d, 0, 0, 0, 0, time.UTC); {
	case told.Before(want): // midnight is skipped, and this is before the gap
		return until.UnixNano()
	case told.After(want):
		return from.UnixNano()
	}
	if !from.IsZero() {
		_, before := from.Add(-1).Zone()
		_, after := t.Zone()
		if first := t.Add(time.Duration(after-before) * time.Second); first.Before(from) {
			return first.UnixNano() // it comes twice
		}
	}
	return t.UnixNano()
}

// plain is what the clock on the wall shows.
func plain(t time.Time) time.Time {
	y, mon, d := t.Date()
	return time.Date(y, mon, d, t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}
