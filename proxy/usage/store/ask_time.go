package store

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// askUnits are the times that a question may be grouped by. Weeks begin on Monday.
var askUnits = []string{"minute", "hour", "day", "week", "month"}

// askAfter is how long after a request its last attempt may begin.
const askAfter = 24 * time.Hour

// tick is the number of the minute, hour, day, week or month that a request came in. ClickHouse may know other zones, so
// that it is told here when the zone's clock is moved. Days, weeks and months are those of the clock on the wall, in
// microseconds as if it were UTC's; minutes and hours are moments, so that an hour that the clock strikes twice is two.
func (a *asker) tick(unit string, q *Question) string {
	us := fmt.Sprintf(a.ticks, "r.time")
	wall := fmt.Sprintf("(%s + %s)", us, offsets(us, q))
	switch unit {
	case "minute":
		return fmt.Sprintf("%s - %s %% %d", us, wall, time.Minute.Microseconds())
	case "hour":
		return fmt.Sprintf("%s - %s %% %d", us, wall, time.Hour.Microseconds())
	case "day":
		return fmt.Sprintf("%[1]s - %[1]s %% %[2]d", wall, day.Microseconds())
	case "week": // 1970 began on a Thursday
		return fmt.Sprintf("%[1]s - (%[1]s + %[2]d) %% %[3]d", wall, 3*day.Microseconds(), 7*day.Microseconds())
	}
	return fmt.Sprintf("(toInt64(toYear(toDateTime(intDiv(%[1]s, 1000000), 'UTC'))) * 12 + toMonth(toDateTime(intDiv(%[1]s, 1000000), 'UTC')) - 1)", wall)
}

// offsets is how far ahead of UTC the zone is at a moment, in microseconds.
func offsets(us string, q *Question) string {
	var arms strings.Builder
	at := q.Since.In(q.Zone)
	for {
		_, offset := at.Zone()
		ahead := time.Duration(offset) * time.Second
		_, end := at.ZoneBounds()
		if end.IsZero() || !end.Before(q.Until) {
			if arms.Len() == 0 {
				return fmt.Sprintf("(%d)", ahead.Microseconds())
			}
			fmt.Fprintf(&arms, " ELSE %d END", ahead.Microseconds())
			return "CASE" + arms.String()
		}
		fmt.Fprintf(&arms, " WHEN %s < %d THEN %d", us, end.UnixMicro(), ahead.Microseconds())
		at = end.In(q.Zone)
	}
}

// nameTick is what a tick is called, and when it begins.
func nameTick(unit string, tick int64, zone *time.Location) (string, time.Time) {
	if unit == "month" {
		begin := time.Date(int(tick/12), time.Month(tick%12+1), 1, 0, 0, 0, 0, zone)
		return fmt.Sprintf("%04d-%02d", tick/12, tick%12+1), begin
	}
	at := time.UnixMicro(tick)
	if unit == "minute" || unit == "hour" {
		at = at.In(zone)
		return at.Format(time.RFC3339), at
	}
	y, m, d := at.UTC().Date()
	return at.UTC().Format(time.DateOnly), time.Date(y, m, d, 0, 0, 0, 0, zone)
}

// clock is the clock on the wall of a zone, for moments that are mostly close to each other.
type clock struct {
	zone       *time.Location
	from, till int64 // of ahead
	ahead      int64
}

// tick is what asker.tick has ClickHouse find.
func (c *clock) tick(unit string, us int64) int64 {
	if us < c.from || us >= c.till {
		c.move(us)
	}
	wall := us + c.ahead
	switch unit {
	case "minute":
		return us - wall%time.Minute.Microseconds()
	case "hour":
		return us - wall%time.Hour.Microseconds()
	case "day":
		return wall - wall%day.Microseconds()
	case "week":
		return wall - (wall+3*day.Microseconds())%(7*day.Microseconds())
	}
	y, m, _ := time.UnixMicro(wall).UTC().Date()
	return int64(y)*12 + int64(m) - 1
}

func (c *clock) move(us int64) {
	at := time.UnixMicro(us).In(c.zone)
	_, offset := at.Zone()
	begin, end := at.ZoneBounds()
	c.ahead, c.from, c.till = int64(offset)*1e6, math.MinInt64, math.MaxInt64
	if !begin.IsZero() {
		c.from = begin.UnixMicro()
	}
	if !end.IsZero() {
		c.till = end.UnixMicro()
	}
}
