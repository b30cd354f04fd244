package store

import (
	"context"
	"math/bits"
	"slices"
	"time"

	"jarvis-gateway/proxy/wire"
)

// How a forecast was made.
const (
	ByWeekdays = "weekdays" // a day costs what its weekday cost on average in the last eight weeks
	ByMean     = "mean"     // less than two weeks are known: a day costs what all of them cost on average
	ByPace     = "pace"     // no full day is known: it goes on as today
	ByNothing  = "nothing"  // nothing was used
)

// Forecast is what a month comes to.
type Forecast struct {
	Group       string // value of By
	Month       string // 2026-01
	Since, Ends time.Time
	Spent       wire.Money // so far
	Expected    wire.Money // at the month's end
	// Four months of five end between them, if days differ from each other as they did, each for itself.
	Low, High wire.Money
	Method    string
	Days      int // full days that are known
}

const (
	historyDays = 56
	enoughDays  = 14
	day         = 24 * time.Hour
)

// Forecast tells what the dearest groups will have cost at the end of the month that q.Until is in, which stands for now. What is
// older than q.Since is left out. It asks for a question without an order, by one group or none.
func (s *Store) Forecast(ctx context.Context, q Question) ([]Forecast, error) {
	return s.asker().forecast(ctx, q)
}

func (a *asker) forecast(ctx context.Context, q Question) ([]Forecast, error) {
	oldest := later(q.Since, q.oldest)
	if err := q.checkAhead(); err != nil {
		return nil, err
	}
	ctx, done, err := a.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	now := q.Until.In(q.Zone)
	y, m, d := now.Date()
	q.Since = later(time.Date(y, m, d-historyDays, 0, 0, 0, 0, q.Zone), oldest)
	found, err := a.series(ctx, q, "day")
	list := make([]Forecast, len(found))
	for i := range found {
		list[i] = foretell(&found[i], now)
	}
	return list, err
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// checkAhead is check for a question whose time is not its own to say.
func (q *Question) checkAhead() error {
	q.Since = time.Time{}
	if err := q.check(time.Now()); err != nil {
		return err
	}
	for i, name := range q.By {
		if i > 0 || slices.Contains(askUnits, name) {
			return wire.Invalid("by", "by: expected one group that is no time, or none.")
		}
	}
	return nil
}

// foretell makes the forecast from whole numbers alone, so that it is the same everywhere. The last day is today.
func foretell(s *series, now time.Time) Forecast {
	y, m, _ := now.Date()
	f := Forecast{Group: s.group, Month: now.Format("2006-01"), Since: time.Date(y, m, 1, 0, 0, 0, 0, now.Location()), Ends: time.Date(y, m+1, 1, 0, 0, 0, 0, now.Location())}
	for i, begin := range s.begin {
		if !begin.Before(f.Since) {
			f.Spent += s.cost[i]
		}
	}
	h := historyOf(s, now)
	f.Method, f.Days = h.method, len(h.costs)
	rest, left := h.rest(now, f.Ends)
	f.Expected = f.Spent.Plus(rest)
	// Of what is spread like a bell, four fifths lie within 1.28 deviations, and a deviation is 1.25 times the mean distance.
	about := times(h.distance(), 16*root(micros(left)*1_000_000), 10*root(micros(day)*1_000_000))
	if h.method == ByPace {
		about = rest // one may be wrong altogether
	}
	f.Low, f.High = max(f.Spent, f.Expected-about), f.Expected.Plus(about)
	return f
}

// history is what full days have cost, the oldest first.
type history struct {
	method   string
	weekdays []time.Weekday
	costs    []wire.Money
	pace     wire.Money // of a day, as today goes
}

// historyOf begins with the first day on which anything was used.
func historyOf(s *series, now time.Time) *history {
	h := &history{method: ByNothing}
	today := len(s.begin) - 1
	for i := range max(today, 0) {
		if len(h.costs) > 0 || s.calls[i] > 0 {
			h.weekdays, h.costs = append(h.weekdays, s.begin[i].Weekday()), append(h.costs, s.cost[i])
		}
	}
	switch {
	case len(h.costs) >= enoughDays:
		h.method = ByWeekdays
	case len(h.costs) > 0:
		h.method = ByMean
	case today >= 0 && s.calls[today] > 0:
		h.method = ByPace
		h.pace = times(s.cost[today], micros(day), max(micros(now.Sub(s.begin[today])), 1))
	}
	return h
}

// expected is what a day costs.
func (h *history) expected(on time.Weekday) wire.Money {
	sum, n := wire.Money(0), 0
	for i, cost := range h.costs {
		if h.method != ByWeekdays || h.weekdays[i] == on {
			sum, n = sum.Plus(cost), n+1
		}
	}
	if n == 0 {
		return h.pace
	}
	return sum / wire.Money(n)
}

// rest is what will be used from now on, and how long that is.
func (h *history) rest(now, ends time.Time) (sum wire.Money, left time.Duration) {
	y, m, d := now.Date()
	for at := now; at.Before(ends); {
		d++
		next := time.Date(y, m, d, 0, 0, 0, 0, now.Location())
		begin := time.Date(y, m, d-1, 0, 0, 0, 0, now.Location())
		sum = sum.Plus(times(h.expected(at.Weekday()), micros(next.Sub(at)), micros(next.Sub(begin))))
		left += next.Sub(at)
		at = next
	}
	return sum, left
}

// distance is how far a day is from what was to be expected, on average.
func (h *history) distance() wire.Money {
	if len(h.costs) == 0 {
		return 0
	}
	var sum wire.Money
	for i, cost := range h.costs {
		sum = sum.Plus(distance(cost, h.expected(h.weekdays[i])))
	}
	return sum / wire.Money(len(h.costs))
}

func distance(a, b wire.Money) wire.Money { return max(a, b) - min(a, b) }

func micros(d time.Duration) uint64 { return uint64(max(d, 0) / time.Microsecond) }

// times is m * n / of, rounded down, for numbers that are not negative.
func times(m wire.Money, n, of uint64) wire.Money {
	hi, lo := bits.Mul64(uint64(max(m, 0)), n)
	if hi >= of {
		return wire.Money(1<<63 - 1)
	}
	q, _ := bits.Div64(hi, lo, of)
	return wire.Money(min(q, 1<<63-1)) //nolint:gosec // it is bounded
}

// root is the whole root.
func root(n uint64) uint64 {
	r := uint64(0)
	for bit := uint64(1) << 31; bit > 0; bit >>= 1 {
		if (r+bit)*(r+bit) <= n {
			r += bit
		}
	}
	return r
}
