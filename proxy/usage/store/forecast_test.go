package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// spent is a request that cost something.
func spent(at time.Time, tenant string, cost wire.Money) *usage.Record {
	return &usage.Record{UID: usage.NewUID(at), Time: at, Tenant: tenant, Outcome: "ok", Cost: cost}
}

func berlin(t *testing.T) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// A forecast knows weekdays once it has seen two of each, and says how it was made.
func TestForecast(t *testing.T) {
	zone := berlin(t)
	now := time.Date(2026, 3, 19, 12, 0, 0, 0, zone) // a Thursday, with the clock moved on the 29th
	var records []*usage.Record
	for back := range 60 {
		at := now.AddDate(0, 0, -back)
		cost := 10 * wire.Dollar
		if at.Weekday() == time.Saturday || at.Weekday() == time.Sunday {
			cost = wire.Dollar
		}
		if back == 0 {
			cost = 4 * wire.Dollar
		}
		records = append(records, spent(at, "steady", cost))
		if back >= 1 && back <= 4 {
			records = append(records, spent(at, "new", wire.Money(back)*wire.Dollar))
		}
	}
	records = append(records, spent(now.Add(-6*time.Hour), "today", 2*wire.Dollar), spent(now.Add(time.Minute), "steady", 500*wire.Dollar))
	eachStore(t, func(t *testing.T, s *Store) {
		fill(t, s, "days", records)
		got, err := s.Forecast(t.Context(), Question{By: []string{"tenant"}, Until: now, Zone: zone})
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, f := range got {
			lines = append(lines, fmt.Sprintf("%s %s: %s so far, %s expected, %s to %s, by %s of %d days", f.Group, f.Month, f.Spent, f.Expected, f.Low, f.High, f.Method, f.Days))
		}
		// March had 13 working days and 5 days of weekends before the 19th. Half of that is left, then come 8 and 4.
		want := []string{
			"steady 2026-03: $135 so far, $224 expected, $224 to $224, by weekdays of 56 days",
			"new 2026-03: $10 so far, $41.25 expected, $35.602581714 to $46.897418286, by mean of 4 days", // the mean distance is $1, and 12 days and 11 hours are left
			"today 2026-03: $2 so far, $52 expected, $2 to $102, by pace of 0 days",
		}
		if !slices.Equal(lines, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
		whole, err := s.Forecast(t.Context(), Question{Until: now, Zone: zone, Where: map[string][]string{"tenant": {"nobody"}}})
		if err != nil || len(whole) != 1 || whole[0].Method != ByNothing || whole[0].Expected != 0 {
			t.Errorf("%+v %v", whole, err)
		}
	})
}

// What stands out from its own history is found, and what always goes up and down is not.
func TestAnomalies(t *testing.T) {
	now := time.Date(2026, 3, 18, 15, 30, 0, 0, time.UTC) // a Wednesday
	r := rand.New(rand.NewPCG(7, 7))
	var records []*usage.Record
	for back := range 60 * 24 {
		at := now.Add(-time.Duration(back) * time.Hour).Truncate(time.Hour).Add(time.Minute)
		office := at.Hour() >= 8 && at.Hour() < 18 && at.Weekday() != time.Saturday && at.Weekday() != time.Sunday
		cost := wire.Money(r.Int64N(int64(wire.Dollar / 20)))
		if office {
			cost += wire.Dollar
		}
		switch back {
		case 5: // 10:00 today
			cost *= 80
		case 24 + 5, 24 + 6: // yesterday at 10 and 9, an outage
			continue
		case 0: // not over yet
			cost /= 10
		}
		records = append(records, spent(at, "acme", cost))
	}
	for back := range 30 { // an even one
		records = append(records, spent(now.AddDate(0, 0, -back), "small", wire.Dollar/1000*wire.Money(back%3)))
	}
	eachStore(t, func(t *testing.T, s *Store) {
		fill(t, s, "hours", records)
		got, err := s.Anomalies(t.Context(), Question{By: []string{"tenant"}, Since: now.Add(-48 * time.Hour), Until: now}, "hour")
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, a := range got {
			lines = append(lines, fmt.Sprintf("%s %s %t %d", a.Group, a.Begin.Format(time.DateTime), a.Times > 0, a.Past))
			if a.Usual < wire.Dollar || a.Usual > wire.Dollar*11/10 || a.Cost != 0 && a.Cost < 80*wire.Dollar {
				t.Errorf("%+v", a)
			}
		}
		if want := "acme 2026-03-18 10:00:00 true 20, acme 2026-03-17 10:00:00 false 20, acme 2026-03-17 09:00:00 false 20"; strings.Join(lines, ", ") != want {
			t.Errorf("got  %s\nwant %s", strings.Join(lines, ", "), want)
		}
		days, err := s.Anomalies(t.Context(), Question{Until: now}, "day")
		if err != nil || len(days) != 1 || days[0].Begin != time.Date(2026, 3, 18, 0, 0, 0, 0, time.UTC) || days[0].Past != 8 {
			t.Errorf("%+v %v", days, err)
		}
		for _, bad := range []Question{{By: []string{"day"}}, {By: []string{"tenant", "model"}}, {Since: now.AddDate(0, -2, 0), Until: now}} {
			if _, err := s.Anomalies(t.Context(), bad, "hour"); err == nil {
				t.Errorf("%+v", bad)
			}
		}
	})
}
