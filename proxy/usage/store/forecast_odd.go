package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"jarvis-gateway/proxy/wire"
)

// Anomaly is a day or an hour that cost far more, or far less, than such days or hours did before.
type Anomaly struct {
	Group  string // value of By
	Begin  time.Time
	Cost   wire.Money
	Usual  wire.Money // the median of those before
	Spread wire.Money // how far they are from it: 1.4826 times the median distance, at least a tenth of the median, and a cent
	Calls  int64
	Times  float64 // how many spreads it is away; below zero: it cost less
	Past   int     // how many it is compared with
}

// A day is compared with the same weekday of eight weeks before it, an hour with the same hour of the four weeks before it, on
// working days or on weekends as its own. Both take four of these at least, after the first use. What is more than five
// spreads away is an anomaly: of what is spread like a bell, one in two million is.
const (
	oddFrom      = 5
	oddHistory   = 4
	oddHours     = 28 * 24
	leastSpread  = wire.Dollar / 100
	longestHours = 31 * day
	longestDays  = 366 * day
)

// Anomalies tells of the days, or hours, from q.Since on. By default, of the last week or the last day. It asks for a question
// without an order, by one group or none; of these, the dearest are looked at. The newest come first.
func (s *Store) Anomalies(ctx context.Context, q Question, unit string) ([]Anomaly, error) {
	return s.asker().anomalies(ctx, q, unit)
}

func (a *asker) anomalies(ctx context.Context, q Question, unit string) ([]Anomaly, error) {
	since := q.Since
	if err := q.checkAhead(); err != nil {
		return nil, err
	}
	back, usual, longest := historyDays*day, 7*day, longestDays
	switch unit {
	case "hour":
		back, usual, longest = oddHours*time.Hour, day, longestHours
	case "day":
	default:
		return nil, wire.Invalid("unit", "unit: unknown unit %q (choices: day, hour).", shorten(unit))
	}
	if since.IsZero() {
		since = q.Until.Add(-usual)
	}
	if since.After(q.Until) || q.Until.Sub(since) > longest {
		return nil, wire.Invalid("since", "since: expected a time up to %d days before until.", longest/day)
	}
	ctx, done, err := a.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	q.Since = later(since.Add(-back-day), q.oldest) // a day more, as clocks are moved
	found, err := a.series(ctx, q, unit)
	list := []Anomaly{}
	for i := range found {
		list = append(list, found[i].odd(unit, since, q.Until)...)
	}
	slices.SortStableFunc(list, func(x, y Anomaly) int {
		return cmp.Or(y.Begin.Compare(x.Begin), cmp.Compare(max(y.Times, -y.Times), max(x.Times, -x.Times)))
	})
	return list[:min(len(list), q.Limit)], err
}

// odd finds the anomalies that begin at since or later. Of what is not over yet only too much can be told.
func (s *series) odd(unit string, since, now time.Time) (list []Anomaly) {
	used := slices.IndexFunc(s.calls, func(n int64) bool { return n > 0 })
	for i, begin := range s.begin {
		if used < 0 || begin.Before(since) {
			continue
		}
		past := s.past(unit, used, i)
		if len(past) < oddHistory {
			continue
		}
		median := middle(past)
		for j, cost := range past {
			past[j] = distance(cost, median)
		}
		spread := max(times(middle(past), 14826, 10_000), median/10, leastSpread)
		over := i == len(s.begin)-1 && now.Before(after(unit, begin))
		away := s.cost[i] - median
		if distance(away, 0) <= oddFrom*spread || over && away < 0 {
			continue
		}
		list = append(list, Anomaly{s.group, begin, s.cost[i], median, spread, s.calls[i], float64(away*100/spread) / 100, len(past)})
	}
	return list
}

// after is when a day or an hour is over.
func after(unit string, begin time.Time) time.Time {
	if unit == "hour" {
		return begin.Add(time.Hour)
	}
	return begin.AddDate(0, 0, 1)
}

// past is what the ones that i is compared with have cost.
func (s *series) past(unit string, used, i int) (costs []wire.Money) {
	at := s.begin[i]
	back := at.AddDate(0, 0, -historyDays)
	if unit == "hour" {
		back = at.AddDate(0, 0, -oddHours/24)
	}
	for j := used; j < i; j++ {
		b := s.begin[j]
		alike := b.Weekday() == at.Weekday()
		if unit == "hour" {
			alike = b.Hour() == at.Hour() && weekend(b) == weekend(at)
		}
		if alike && !b.Before(back) {
			costs = append(costs, s.cost[j])
		}
	}
	return costs
}

func weekend(t time.Time) bool { return t.Weekday() == time.Saturday || t.Weekday() == time.Sunday }

// middle is the median, of two in the middle the mean. It sorts the list.
func middle(list []wire.Money) wire.Money {
	slices.Sort(list)
	n := len(list)
	return list[(n-1)/2] + (list[n/2]-list[(n-1)/2])/2
}
