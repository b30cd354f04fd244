package store

import (
	"context"
	"maps"
	"slices"
	"time"

	"jarvis-gateway/proxy/wire"
)

// series is what requests of one group cost, day by day or hour by hour. What lies between its first and its last is all there,
// also where nothing was used.
type series struct {
	group string
	begin []time.Time // of each
	cost  []wire.Money
	calls []int64
}

// mostSeries bounds how many groups are looked at, and largestSeries their hours and days together.
const (
	mostSeries    = 50
	largestSeries = 400_000
)

// costMeasures are what a series is made of.
func costMeasures() []measure {
	requests, _ := measureOf("requests")
	cost, _ := measureOf("cost_usd")
	return []measure{requests, cost}
}

// series finds the series of the dearest groups, the dearest first; without By, the one of everything. q is checked.
func (a *asker) series(ctx context.Context, q Question, unit string) ([]series, error) {
	groups := q
	groups.Order, groups.Limit = "", mostSeries
	top, err := a.rows(ctx, &groups, costMeasures())
	if err != nil {
		return nil, err
	}
	if len(top) > mostSeries {
		top = top[:mostSeries]
	}
	at := map[string]int{}
	list := make([]series, len(top))
	var names []string
	for i, row := range top {
		if len(q.By) > 0 {
			list[i].group = row.Group[0]
			names = append(names, row.Group[0])
		}
		at[list[i].group] = i
	}
	if len(q.By) > 0 && len(top) == 0 {
		return nil, nil
	}
	ticks := periods(unit, q.Since, q.Until, q.Zone)
	for i := range list {
		list[i].begin, list[i].cost, list[i].calls = ticks, make([]wire.Money, len(ticks)), make([]int64, len(ticks))
	}
	return list, a.fillSeries(ctx, q, unit, names, at, list)
}

// fillSeries asks for what each group used in each of its days or hours.
func (a *asker) fillSeries(ctx context.Context, q Question, unit string, names []string, at map[string]int, list []series) error {
	each := q
	each.By, each.Order, each.Limit = append([]string{unit}, q.By...), "", largestSeries
	if len(q.By) > 0 && q.By[0] != tagGroup {
		each.Where = map[string][]string{}
		maps.Copy(each.Where, q.Where)
		each.Where[q.By[0]] = names
	}
	rows, err := a.rows(ctx, &each, costMeasures())
	if err != nil {
		return err
	}
	for _, row := range rows {
		group := ""
		if len(q.By) > 0 {
			group = row.Group[1]
		}
		i, known := at[group]
		if !known {
			continue // a tag that is not among the dearest
		}
		if slot, found := slices.BinarySearchFunc(list[i].begin, row.Start, time.Time.Compare); found {
			list[i].cost[slot], list[i].calls[slot] = row.Cost, row.Requests
		}
	}
	return nil
}

// periods are the days or hours from the one that since is in to the last one before until.
func periods(unit string, since, until time.Time, zone *time.Location) (list []time.Time) {
	at := since.In(zone)
	y, m, d := at.Date()
	if unit == "hour" {
		for begin := fullHour(at); begin.Before(until); begin = fullHour(begin.Add(time.Hour)) {
			list = append(list, begin)
		}
		return list
	}
	for ; ; d++ {
		begin := time.Date(y, m, d, 0, 0, 0, 0, zone)
		if !begin.Before(until) {
			return list
		}
		list = append(list, begin)
	}
}

// fullHour is when the clock on the wall struck last.
func fullHour(at time.Time) time.Time {
	return at.Add(-time.Duration(at.Minute())*time.Minute - time.Duration(at.Second())*time.Second - time.Duration(at.Nanosecond()))
}
