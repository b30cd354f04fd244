package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// eachStore runs a test on every database, an empty one.
func eachStore(t *testing.T, test func(t *testing.T, s *Store)) {
	both(t, func(t *testing.T, url string) { test(t, opened(t, url, Options{})) })
}

func fill(t *testing.T, s *Store, token string, records []*usage.Record, feedback ...*usage.Feedback) {
	t.Helper()
	if err := s.Write(t.Context(), token, records, feedback); err != nil {
		t.Fatal(err)
	}
}

func asked(t *testing.T, s *Store, q Question) *Answer {
	t.Helper()
	a, err := s.Ask(t.Context(), q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	return a
}

var askNoon = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

// sample is what random records are made from. Some names are what somebody may call something to do harm.
type sample struct {
	*rand.Rand
	from time.Time
	span time.Duration
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

const hostile = `a'b"c\d'; DROP TABLE requests; --%s?{x:String}` + "\n`/*"

func (s sample) record() *usage.Record {
	r := &usage.Record{Time: s.from.Add(time.Duration(s.Int64N(int64(s.span)))).Truncate(time.Microsecond), ID: fmt.Sprint("req_", s.IntN(300))}
	r.UID = usage.NewUID(r.Time)
	r.Tenant, r.Team, r.Key = pick(s.Rand, "acme", "globex", "", hostile, "租户"), pick(s.Rand, "", "ops"), pick(s.Rand, "k1", "k2")
	r.User, r.Scene = fmt.Sprint("u", s.IntN(5)), pick(s.Rand, "", "batch", "chat")
	for _, tag := range []string{"x", "y", hostile, "x"} {
		if s.IntN(3) == 0 {
			r.Tags = append(r.Tags, tag)
		}
	}
	r.Endpoint, r.Stream, r.Asked, r.Model = "chat", s.IntN(2) == 0, pick(s.Rand, "a", "b"), pick(s.Rand, "a", "b", "")
	r.Provider, r.Served, r.Replica, r.Region = pick(s.Rand, "p", "q"), "gpt", pick(s.Rand, "", "http://10.0.0.1"), pick(s.Rand, "", "eu")
	r.Cache, r.Prompt, r.Rollout, r.Arm = pick(s.Rand, "", "exact", "semantic", "miss"), pick(s.Rand, "", "t@1", "t@2"), pick(s.Rand, "", "a"), pick(s.Rand, "", "a", "b")
	r.Usage = usage.Usage{Prompt: s.Int64N(1000), Completion: s.Int64N(500), CachedPrompt: s.Int64N(100), CacheWrite: s.Int64N(50), Reasoning: s.Int64N(90), Estimated: s.IntN(5) == 0}
	r.Cost, r.Saved = wire.Money(s.Int64N(1e9)), wire.Money(s.Int64N(1e8))
	r.Total = time.Duration(s.IntN(40)) * time.Millisecond // few, so that many are equal
	if r.Stream {
		r.First = r.Total / 2
	}
	r.Outcome, r.Code, r.Interrupted = pick(s.Rand, "ok", "ok", "ok", "client_gone", "timeout", "provider_error", "rate_limited"), pick(s.Rand, "", "slow"), s.IntN(12) == 0
	if r.Interrupted {
		r.Outcome = "interrupted"
	}
	for i := range s.IntN(4) {
		a := usage.Attempt{Kind: "first", Provider: pick(s.Rand, "p", "q"), Begun: time.Duration(i) * time.Second}
		if i > 0 {
			a.Kind = pick(s.Rand, "retry", "failover", "fallback", "hedge", "continue", "shadow")
		}
		r.Attempts = append(r.Attempts, a)
	}
	return r
}

func (s sample) opinion(records []*usage.Record) *usage.Feedback {
	r := pick(s.Rand, records...)
	at := r.Time.Add(time.Duration(s.IntN(1e6)) * time.Microsecond)
	f := &usage.Feedback{UID: usage.NewUID(at), Time: at, Request: r.ID, Of: r.UID, Tenant: r.Tenant, Score: pick(s.Rand, -1, 0, 0.1, 0.2, 1, 5)}
	if s.IntN(3) == 0 {
		f.Of = usage.UID{} // nobody knew the record
	}
	return f
}

// Whatever is asked of whatever there is, the databases find what counting in plain Go does.
func TestAnswersArePlainCounts(t *testing.T) {
	eachStore(t, func(t *testing.T, s *Store) {
		seed := uint64(20261123)
		r := sample{rand.New(rand.NewPCG(seed, 1)), askNoon.Add(-40 * 24 * time.Hour), 40 * 24 * time.Hour}
		var records []*usage.Record
		var feedback []*usage.Feedback
		for range 600 {
			records = append(records, r.record())
		}
		for range 200 {
			feedback = append(feedback, r.opinion(records))
		}
		fill(t, s, "all", records, feedback...)
		for i := range 80 {
			q := r.question()
			got := asked(t, s, q)
			want := plainly(q, records, feedback)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("question %d: %+v\n got %s\nwant %s", i, q, told(got), told(want))
			}
		}
	})
}

func told(a *Answer) string {
	lines := []string{fmt.Sprintf("%v..%v more %t total %+v", a.Since, a.Until, a.More, a.Total)}
	for _, r := range a.Rows {
		lines = append(lines, fmt.Sprintf("%q %v %+v", r.Group, r.Start, r.Sums))
	}
	return strings.Join(lines, "\n")
}

func (s sample) question() Question {
	zone := time.UTC
	for _, name := range []string{"Asia/Shanghai", "Europe/Berlin", "America/St_Johns"} {
		if found, err := time.LoadLocation(name); err == nil && s.IntN(2) == 0 {
			zone = found
		}
	}
	q := Question{Since: s.from.Add(time.Duration(s.Int64N(int64(s.span / 2)))).Truncate(time.Microsecond), Limit: pick(s.Rand, 1, 3, 10_000), Zone: zone, Desc: s.IntN(2) == 0}
	q.Until = q.Since.Add(time.Duration(s.Int64N(int64(s.span)))).Truncate(time.Microsecond)
	groups := Groups()
	s.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
	times := 0
	for _, g := range groups[:s.IntN(4)] {
		if slices.Contains([]string{"minute", "hour", "day", "week", "month"}, g) {
			times++
		}
		if times < 2 || len(q.By) == 0 {
			q.By = append(q.By, g)
		}
		if times > 1 {
			break
		}
	}
	if times > 1 {
		q.By = q.By[:1]
	}
	q.Where = map[string][]string{}
	for name, values := range map[string][]string{"tenant": {"acme", hostile}, "tag": {"x", hostile}, "scene": {""}, "outcome": {"ok", "timeout"}, "user": {"u1", "' OR 1=1 --"}} {
		if s.IntN(5) == 0 {
			q.Where[name] = values
		}
	}
	if q.Order = pick(s.Rand, "", "requests", "cost_usd", "error_rate", "cache_hit_rate", "score", "total_p95_ms", "first_token_p50_ms", "fallbacks"); len(q.By) > 0 && s.IntN(4) == 0 {
		q.Order = q.By[0]
	}
	return q
}

// plainly answers a question by counting.
func plainly(q Question, records []*usage.Record, feedback []*usage.Feedback) *Answer {
	in := func(r *usage.Record) bool {
		for name, values := range q.Where {
			if !slices.ContainsFunc(valuesOf(r, name), func(v string) bool { return slices.Contains(values, v) }) {
				return false
			}
		}
		return !r.Time.Before(q.Since) && r.Time.Before(q.Until)
	}
	newest := map[[2]string]*usage.Record{}
	for _, r := range records {
		if at := [2]string{r.Tenant, r.ID}; !r.Time.Before(q.Since) && r.Time.Before(q.Until.Add(24*time.Hour)) && (newest[at] == nil || newer(r, newest[at])) {
			newest[at] = r
		}
	}
	scores := map[usage.UID]*usage.Feedback{}
	for _, f := range feedback {
		of := f.Of
		if of == (usage.UID{}) {
			r := newest[[2]string{f.Tenant, f.Request}]
			if r == nil {
				continue
			}
			of = r.UID
		}
		if have := scores[of]; f.Time.Before(q.Since) || have != nil && (have.Time.After(f.Time) || have.Time.Equal(f.Time) && have.UID.String() > f.UID.String()) {
			continue
		}
		scores[of] = f
	}
	groups, names, starts := map[string][]*usage.Record{}, map[string][]string{}, map[string]time.Time{}
	var all []*usage.Record
	for _, r := range records {
		if !in(r) {
			continue
		}
		all = append(all, r)
		combos, start := [][]string{{}}, time.Time{}
		for _, by := range q.By {
			values := valuesOf(r, by)
			if name, at := period(by, r.Time.In(q.Zone)); name != "" {
				values, start = []string{name}, at
			}
			var next [][]string
			for _, c := range combos {
				for _, v := range values {
					next = append(next, append(slices.Clone(c), v))
				}
			}
			combos = next
		}
		for _, c := range combos {
			key := strings.Join(c, "\x00")
			groups[key], names[key], starts[key] = append(groups[key], r), c, start
		}
	}
	a := &Answer{By: q.By, Since: q.Since, Until: q.Until, Rows: []Row{}, Total: sums(all, scores)}
	for key, list := range groups {
		a.Rows = append(a.Rows, Row{Group: names[key], Start: starts[key], Sums: sums(list, scores)})
	}
	if len(q.By) == 0 {
		a.Rows = []Row{{Group: []string{}, Sums: a.Total}}
	}
	slices.SortFunc(a.Rows, func(x, y Row) int { return q2(q).compare(x, y) })
	if a.More = len(a.Rows) > q.Limit; a.More {
		a.Rows = a.Rows[:q.Limit]
	}
	return a
}

func newer(a, b *usage.Record) bool {
	return a.Time.After(b.Time) || a.Time.Equal(b.Time) && a.UID.String() > b.UID.String()
}

func valuesOf(r *usage.Record, name string) []string {
	if name == "tag" {
		tags := slices.Sorted(maps.Keys(maps.Collect(func(yield func(string, bool) bool) {
			for _, tag := range r.Tags {
				yield(tag, true)
			}
		})))
		if len(tags) == 0 {
			return []string{""}
		}
		return tags
	}
	return []string{map[string]string{"tenant": r.Tenant, "team": r.Team, "key": r.Key, "user": r.User, "scene": r.Scene, "model": r.Model, "asked": r.Asked,
		"provider": r.Provider, "served": r.Served, "replica": r.Replica, "region": r.Region, "endpoint": r.Endpoint, "outcome": r.Outcome, "code": r.Code,
		"cache": r.Cache, "prompt": r.Prompt, "corpus": r.Corpus, "flow": r.Flow, "rollout": r.Rollout, "arm": r.Arm}[name]}
}

// period is the calendar's, by the clock of the zone.
func period(by string, at time.Time) (string, time.Time) {
	y, m, d := at.Date()
	switch by {
	case "minute", "hour":
		back := time.Duration(at.Second())*time.Second + time.Duration(at.Nanosecond())
		if by == "hour" {
			back += time.Duration(at.Minute()) * time.Minute
		}
		begin := at.Add(-back)
		return begin.Format(time.RFC3339), begin
	case "week":
		d -= (int(at.Weekday()) + 6) % 7
		fallthrough
	case "day":
		begin := time.Date(y, m, d, 0, 0, 0, 0, at.Location())
		return begin.Format(time.DateOnly), begin
	case "month":
		return at.Format("2006-01"), time.Date(y, m, 1, 0, 0, 0, 0, at.Location())
	}
	return "", time.Time{}
}

func sums(list []*usage.Record, scores map[usage.UID]*usage.Feedback) (s Sums) {
	var totals, firsts []int64
	for _, r := range list {
		s.Requests++
		s.Errors += count(slices.Contains([]string{"provider_error", "timeout", "internal_error", "unavailable", "interrupted"}, r.Outcome))
		s.ClientGone += count(r.Outcome == "client_gone")
		s.Interrupted += count(r.Interrupted)
		fell, providers := false, map[string]bool{}
		for _, a := range r.Attempts {
			s.Retries += count(a.Kind == "retry")
			fell = fell || a.Kind == "fallback"
			if a.Kind != "hedge" && a.Kind != "shadow" {
				providers[a.Provider] = true
			}
		}
		s.Fallbacks += count(fell || len(providers) > 1)
		s.Prompt += r.Usage.Prompt
		s.Completion += r.Usage.Completion
		s.Cached += r.Usage.CachedPrompt
		s.CacheWrite += r.Usage.CacheWrite
		s.Reasoning += r.Usage.Reasoning
		s.Estimated += count(r.Usage.Estimated)
		s.Cost += r.Cost
		s.Saved += r.Saved
		s.CacheHits += count(r.Cache == "exact" || r.Cache == "semantic")
		s.CacheMisses += count(r.Cache == "miss")
		if !r.Interrupted {
			totals = append(totals, r.Total.Microseconds())
			if r.Stream && r.First > 0 {
				firsts = append(firsts, r.First.Microseconds())
			}
		}
		if f := scores[r.UID]; f != nil {
			s.Feedback++
			s.Scores += int64(math.Round(f.Score * 1e6))
		}
	}
	s.TotalP50, s.TotalP95, s.TotalP99 = nearest(totals, 50), nearest(totals, 95), nearest(totals, 99)
	s.FirstP50, s.FirstP95 = nearest(firsts, 50), nearest(firsts, 95)
	return s
}

func count(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

func nearest(list []int64, percent float64) int64 {
	if len(list) == 0 {
		return -1
	}
	slices.Sort(list)
	return list[int(math.Ceil(percent*float64(len(list))/100))-1]
}

// q2 orders rows.
type q2 Question

func (q q2) compare(x, y Row) int {
	by := map[string]func(r Row) float64{
		"requests": func(r Row) float64 { return float64(r.Requests) }, "cost_usd": func(r Row) float64 { return float64(r.Cost) },
		"error_rate": func(r Row) float64 { return r.ErrorRate() }, "cache_hit_rate": func(r Row) float64 { return r.CacheHitRate() },
		"score": func(r Row) float64 { return r.Score() }, "total_p95_ms": func(r Row) float64 { return float64(r.TotalP95) },
		"first_token_p50_ms": func(r Row) float64 { return float64(r.FirstP50) }, "fallbacks": func(r Row) float64 { return float64(r.Fallbacks) },
	}[q.Order]
	var order int
	switch at := slices.Index(q.By, q.Order); {
	case at >= 0:
		order = cmp.Compare(sortable(x, at), sortable(y, at))
	case by != nil:
		order = cmp.Compare(by(x), by(y))
	default:
		order = -cmp.Compare(x.Cost, y.Cost)
		if !x.Start.IsZero() {
			order = cmp.Or(x.Start.Compare(y.Start), order)
		}
	}
	if q.Order != "" && q.Desc {
		order = -order
	}
	for i := range x.Group {
		order = cmp.Or(order, cmp.Compare(sortable(x, i), sortable(y, i)))
	}
	return order
}

// sortable is a group's value as databases sort it: times by when they are, not by what they are called.
func sortable(r Row, i int) string {
	if _, err := time.Parse(time.RFC3339, r.Group[i]); err == nil && !r.Start.IsZero() {
		return fmt.Sprintf("%020d", r.Start.UnixMicro())
	}
	return r.Group[i]
}

// Days are those of the zone, also when its clock is moved; an hour that strikes twice is two, one that is left out is none.
func TestCalendar(t *testing.T) {
	eachStore(t, func(t *testing.T, s *Store) {
		var records []*usage.Record
		for _, at := range []string{
			"2026-03-28T22:59:59.999999Z", "2026-03-28T23:00:00Z", "2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", "2026-03-29T21:59:59Z", "2026-03-29T22:00:00Z", // spring in Berlin
			"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T22:59:59Z", "2026-10-25T23:00:00Z", // autumn
			"2026-12-31T15:59:59Z", "2026-12-31T16:00:00Z", // New Year in Shanghai
		} {
			when, err := time.Parse(time.RFC3339, at)
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, &usage.Record{UID: usage.NewUID(when), Time: when})
		}
		fill(t, s, "dst", records)
		for _, try := range []struct{ zone, by, since, until, want string }{
			{"Europe/Berlin", "day", "2026-03-28", "2026-03-31", "2026-03-28 1, 2026-03-29 4, 2026-03-30 1"},
			{"Europe/Berlin", "hour", "2026-03-28", "2026-03-31", "2026-03-28T23:00:00+01:00 1, 2026-03-29T00:00:00+01:00 1, 2026-03-29T01:00:00+01:00 1, 2026-03-29T03:00:00+02:00 1, 2026-03-29T23:00:00+02:00 1, 2026-03-30T00:00:00+02:00 1"},
			{"Europe/Berlin", "hour", "2026-10-25", "2026-10-26", "2026-10-25T02:00:00+02:00 1, 2026-10-25T02:00:00+01:00 1, 2026-10-25T23:00:00+01:00 1, 2026-10-26T00:00:00+01:00 1"},
			{"Europe/Berlin", "day", "2026-10-25", "2026-10-27", "2026-10-25 3, 2026-10-26 1"},
			{"Europe/Berlin", "week", "2026-03-01", "2027-01-01", "2026-03-23 5, 2026-03-30 1, 2026-10-19 3, 2026-10-26 1, 2026-12-28 2"},
			{"Asia/Shanghai", "day", "2026-12-01", "2027-01-02", "2026-12-31 1, 2027-01-01 1"},
			{"Asia/Shanghai", "month", "2026-12-01", "2027-01-02", "2026-12 1, 2027-01 1"},
			{"Asia/Shanghai", "minute", "2026-12-31", "2027-01-02", "2026-12-31T23:59:00+08:00 1, 2027-01-01T00:00:00+08:00 1"},
			{"UTC", "month", "2026-01-01", "2027-01-02", "2026-03 6, 2026-10 4, 2026-12 2"},
		} {
			zone, err := time.LoadLocation(try.zone)
			if err != nil {
				t.Fatal(err)
			}
			q := Question{By: []string{try.by}, Zone: zone, Since: date(t, try.since), Until: date(t, try.until)}
			var got []string
			for _, r := range asked(t, s, q).Rows {
				got = append(got, fmt.Sprint(r.Group[0], " ", r.Requests))
			}
			if strings.Join(got, ", ") != try.want {
				t.Errorf("%s by %s from %s:\n got %s\nwant %s", try.zone, try.by, try.since, strings.Join(got, ", "), try.want)
			}
		}
	})
}

func date(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// What makes no sense is refused before the database hears of it.
func TestQuestionsThatAreRefused(t *testing.T) {
	eachStore(t, func(t *testing.T, s *Store) {
		for _, try := range []struct {
			q     Question
			param string
		}{
			{Question{By: []string{"tenant; DROP TABLE requests"}}, "by"},
			{Question{By: []string{"uid"}}, "by"},
			{Question{By: []string{"tenant", "tenant"}}, "by"},
			{Question{By: []string{"day", "hour"}}, "by"},
			{Question{By: []string{"tenant", "team", "key", "user", "scene"}}, "by"},
			{Question{Where: map[string][]string{"1=1 --": {"x"}}}, "where.1=1 --"},
			{Question{Where: map[string][]string{"day": {"x"}}}, "where.day"},
			{Question{Where: map[string][]string{"tenant": make([]string, 1001)}}, "where"},
			{Question{Order: "1"}, "order"},
			{Question{Order: "tenant"}, "order"},
			{Question{Limit: -1}, "limit"},
			{Question{Limit: 10_001}, "limit"},
			{Question{Since: askNoon, Until: askNoon.Add(-1)}, "until"},
			{Question{Since: askNoon.AddDate(-11, 0, 0), Until: askNoon}, "since"},
			{Question{Since: time.Unix(0, 0), Until: askNoon}, "since"},
		} {
			_, err := s.Ask(t.Context(), try.q)
			if e, ok := err.(*wire.Error); !ok || e.Status != 400 || e.Param != try.param {
				t.Errorf("%+v: %v", try.q, err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Ask(ctx, Question{}); err == nil {
			t.Error("an answer for one who has left")
		} else if e, ok := err.(*wire.Error); !ok || e.Status != 503 || strings.Contains(e.Message, "context") {
			t.Error(err)
		}
	})
}
