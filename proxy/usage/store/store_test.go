package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// noon is when all that these tests write happened, unless they say otherwise. It is not long ago by the clock of ClickHouse,
// which forgets minutes after a while.
var noon = time.Now().UTC().Truncate(time.Hour).Add(123456*time.Microsecond - 2*time.Hour)

// opened is a store with its tables.
func opened(t testing.TB, url string, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// record is the i-th, with every field set to something of its own.
func record(i int, at time.Time) *usage.Record {
	name := func(what string) string { return fmt.Sprint(what, i%3) }
	used := usage.Usage{
		Prompt: 1000 + int64(i), Completion: 11, CachedPrompt: 12, CacheWrite: 13, Reasoning: 14, Audio: 15, Estimated: i%2 == 1,
		Tier: wire.TierFlex, CacheWrite1h: 16, ImageIn: 17, AudioOut: 18, Images: 19, Millis: 20, Characters: 21,
	}
	r := &usage.Record{
		UID: uidOf(i), Time: at, ID: fmt.Sprint("req_", i), Tenant: name("tenant"), Team: name("team"), Key: name("key"), User: "user-" + name("é\x00'\"\\"),
		Scene: name("scene"), Tags: []string{"a", name("tag'")}, Endpoint: "chat", Stream: i%2 == 0, Asked: name("asked"), Model: name("model"),
		Provider: name("provider"), Served: name("served"), Replica: "replica", Region: "region", Route: "route", Rollout: "rollout", Arm: "arm",
		Cache: "miss", Similarity: 0.25, Prompt: "prompt", Corpus: "corpus", Flow: "flow", Usage: used, Cost: math.MaxInt64 / 1_000_000, Saved: 22, Price: "price",
		Queued: 23 * time.Microsecond, First: 24 * time.Microsecond, Upstream: 25 * time.Microsecond, Overhead: 26 * time.Microsecond,
		Total: 27 * time.Microsecond, Status: 499, Outcome: "ok", Code: "code", Finish: "stop", Gone: i%2 == 0, Interrupted: i%2 == 1, In: 28, Out: 29,
	}
	for n := range i%3 + 1 {
		r.Attempts = append(r.Attempts, usage.Attempt{
			Kind: "retry", Provider: "p", Model: "m", Replica: "r", Region: "g", Result: "ok", Begun: time.Duration(n) * time.Second,
			First: 30 * time.Microsecond, Usage: used, Cost: 31,
		})
	}
	if i%5 == 0 {
		r.Content = usage.Content{Asked: "Wer da?", Answered: "日本\n\t\x00"}
	}
	return r
}

func uidOf(i int) (u usage.UID) {
	copy(u[:], fmt.Sprintf("%08d%08d", i, i))
	return u
}

func records(from, n int, at time.Time) (list []*usage.Record) {
	for i := range n {
		list = append(list, record(from+i, at.Add(time.Duration(i)*time.Millisecond)))
	}
	return list
}

func opinion(i int, request string, score float64, at time.Time) *usage.Feedback {
	return &usage.Feedback{
		UID: uidOf(1000 + i), Time: at, Request: request, Of: uidOf(i), Tenant: "t", Key: "k", User: "u", Score: score, Comment: "c", Metadata: `{"d":1}`,
		Model: "m", Prompt: "p", Rollout: "r", Arm: "a",
	}
}

func write(t testing.TB, s *Store, token string, records []*usage.Record, feedback ...*usage.Feedback) {
	t.Helper()
	if err := s.Write(t.Context(), token, records, feedback); err != nil {
		t.Fatal(err)
	}
}

// number asks for one.
func (s *Store) number(t testing.TB, query string) (n int64) {
	t.Helper()
	if err := s.db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// counts are how many rows the tables have, and the tokens of all requests.
func (s *Store) counts(t testing.TB) string {
	t.Helper()
	final := ""
	if s.clickhouse {
		final = " FINAL"
	}
	return fmt.Sprint(s.number(t, `SELECT count(*) FROM requests`), s.number(t, `SELECT count(*) FROM attempts`), s.number(t, `SELECT count(*) FROM contents`),
		s.number(t, `SELECT count(*) FROM feedback`+final), s.number(t, `SELECT coalesce(sum(prompt_tokens), 0) FROM requests`))
}

// expect compares counts with those of records that were written once. A rollup that counts twice is found too.
func (s *Store) expect(t testing.TB, feedback int, written ...[]*usage.Record) {
	t.Helper()
	var requests, attempts, contents, tokens int64
	for _, r := range slices.Concat(written...) {
		requests++
		attempts += int64(len(r.Attempts))
		tokens += r.Usage.Prompt
		if r.Content.Asked != "" {
			contents++
		}
	}
	if got, want := s.counts(t), fmt.Sprint(requests, attempts, contents, feedback, tokens); got != want {
		t.Fatalf("requests, attempts, contents, feedback, tokens: %s, want %s", got, want)
	}
	if !s.clickhouse {
		return
	}
	for _, rollup := range []string{"requests_minute", "requests_hour", "requests_day"} {
		got := fmt.Sprint(s.number(t, `SELECT sum(requests) FROM `+rollup), s.number(t, `SELECT sum(attempts) FROM `+rollup), s.number(t, `SELECT sum(prompt_tokens) FROM `+rollup))
		if want := fmt.Sprint(requests, attempts, tokens); got != want {
			t.Fatalf("%s: requests, attempts, tokens: %s, want %s", rollup, got, want)
		}
	}
}

func TestWrite(t *testing.T) { both(t, testWrite) }

func testWrite(t *testing.T, url string) {
	s := opened(t, url, Options{})
	s.expect(t, 0)
	one, two := records(0, 100, noon), records(100, 50, noon.Add(40*24*time.Hour))
	write(t, s, "a", one)
	write(t, s, "b", two, opinion(7, "req_7", 0.5, noon))
	s.expect(t, 1, one, two)
	write(t, s, "c", nil, opinion(8, "req_8", 1, noon))
	write(t, s, "d", nil)
	s.expect(t, 2, one, two)
}

// Every column of every table has the value of its record.
func TestColumns(t *testing.T) { both(t, testColumns) }

func testColumns(t *testing.T, url string) {
	s := opened(t, url, Options{})
	r, f := record(5, noon), opinion(5, "req_5", 0.5, noon)
	write(t, s, "a", []*usage.Record{r}, f)
	checkRow(t, s, requestsTable(), r)
	checkRow(t, s, attemptsTable(), attempt{r, &r.Attempts[0], 1})
	checkRow(t, s, contentsTable(), r)
	checkRow(t, s, feedbackTable(), f)
}

func checkRow[R any](t *testing.T, s *Store, table table[R], row R) {
	t.Helper()
	for _, c := range table.columns {
		want, show := fmt.Sprint(c.one(row)), quoted(c.name)
		if s.clickhouse {
			switch c.name {
			case "tags":
				show = "toJSONString(" + show + ")"
			case "time":
				show = "toUnixTimestamp64Micro(" + show + ")"
			}
			show = "toString(" + show + ")"
		}
		if b, ok := c.one(row).(bool); ok && !s.clickhouse {
			want = map[bool]string{false: "0", true: "1"}[b]
		}
		var got string
		if err := s.db.QueryRowContext(t.Context(), `SELECT `+show+` FROM `+table.name+` ORDER BY time LIMIT 1`).Scan(&got); err != nil {
			t.Fatalf("%s.%s: %v", table.name, c.name, err)
		}
		if got != want {
			t.Errorf("%s.%s: %q, want %q", table.name, c.name, got, want)
		}
	}
}

// Nothing that a record can hold keeps it, and those that came with it, out of the tables.
func TestAnything(t *testing.T) { both(t, testAnything) }

func testAnything(t *testing.T, url string) {
	s := opened(t, url, Options{})
	strange := []*usage.Record{
		{UID: uidOf(1)},
		{UID: uidOf(2), Time: time.Unix(1<<50, 0), Similarity: math.NaN(), Status: -1, ID: "\xff\x00", Tags: []string{"", "\xff"}},
		{UID: uidOf(3), Time: noon, Similarity: math.Inf(1), Status: 1 << 40, Cost: math.MinInt64, Usage: usage.Usage{Prompt: math.MinInt64, Tier: 99}},
		{UID: uidOf(4), Time: noon, User: strings.Repeat("x", 1<<20), Total: math.MaxInt64, Attempts: []usage.Attempt{{Begun: math.MinInt64}}},
	}
	write(t, s, "a", strange, &usage.Feedback{UID: uidOf(5), Score: math.Inf(-1)})
	if got := s.number(t, `SELECT count(*) FROM requests`); got != 4 {
		t.Errorf("%d requests", got)
	}
}

// The same batch again, as after an answer that was lost.
func TestRepeat(t *testing.T) { both(t, testRepeat) }

func testRepeat(t *testing.T, url string) {
	s := opened(t, url, Options{})
	one, two := records(0, 100, noon), records(100, 100, noon)
	for range 3 {
		write(t, s, "a", one, opinion(1, "req_1", 1, noon))
		write(t, s, "b", two)
	}
	s.expect(t, 1, one, two)
	write(t, s, "a", one, opinion(1, "req_1", 1, noon))
	s.expect(t, 1, one, two)
	again := opened(t, url, Options{}) // another process
	write(t, again, "b", two)
	again.expect(t, 1, one, two)
}

// Two batches with the same rows but for their tokens are two batches: it is the token that tells a repeated one.
func TestAlike(t *testing.T) { both(t, testAlike) }

func testAlike(t *testing.T, url string) {
	s := opened(t, url, Options{})
	one, two := records(0, 10, noon), records(0, 10, noon)
	for i, r := range two {
		r.UID = uidOf(100 + i)
	}
	write(t, s, "a", one)
	write(t, s, "b", two)
	s.expect(t, 0, one, two)
}

// A batch of which only some tables, or only some rollups, have the rows.
func TestHalfWritten(t *testing.T) { both(t, testHalfWritten) }

func testHalfWritten(t *testing.T, url string) {
	tables := []string{"attempts", "contents", "feedback", "requests"}
	if strings.HasPrefix(url, "clickhouse") {
		tables = append(tables, "requests_minute", "requests_hour", "requests_day")
	}
	for i, table := range tables {
		s := opened(t, url+table, Options{})
		if !s.clickhouse {
			table = stored(table)
		}
		s.rename(t, table, "gone")
		list := records(1000*i, 50, noon)
		err := s.Write(t.Context(), "a", list, []*usage.Feedback{opinion(i, table, 1, noon)})
		if err == nil || errors.Is(err, ErrRefused) {
			t.Fatalf("without %s: %v", table, err)
		}
		s.rename(t, "gone", table)
		for range 2 {
			write(t, s, "a", list, opinion(i, table, 1, noon))
		}
		s.expect(t, 1, list)
	}
}

func (s *Store) rename(t testing.TB, from, to string) {
	t.Helper()
	statement := `ALTER TABLE ` + from + ` RENAME TO ` + to
	if s.clickhouse {
		statement = `RENAME TABLE ` + from + ` TO ` + to
	}
	if _, err := s.db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// The latest feedback of a request counts, in whatever order it comes; other tenants' requests may have the same id.
func TestFeedback(t *testing.T) { both(t, testFeedback) }

func testFeedback(t *testing.T, url string) {
	s := opened(t, url, Options{})
	first, second := opinion(1, "req", 0.25, noon), opinion(1, "req", 0.75, noon.Add(time.Second))
	second.UID = uidOf(77)
	other := opinion(1, "req", 1, noon.Add(time.Hour))
	other.Tenant = "other"
	write(t, s, "b", nil, second)
	write(t, s, "a", nil, first, other)
	write(t, s, "b", nil, second)
	final := map[bool]string{true: " FINAL"}[s.clickhouse]
	var score float64
	if err := s.db.QueryRowContext(t.Context(), `SELECT sum(score) FROM feedback`+final).Scan(&score); err != nil || score != 1.75 {
		t.Errorf("%v, %v", score, err)
	}
	if n := s.number(t, `SELECT count(*) FROM feedback`+final); n != 2 {
		t.Errorf("%d opinions", n)
	}
}

// A database that cannot take records now may later; nothing is thrown away for it.
func TestNotRefused(t *testing.T) { both(t, testNotRefused) }

func testNotRefused(t *testing.T, url string) {
	s, err := Open(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.clickhouse {
		if err := s.Write(t.Context(), "a", records(0, 1, noon), nil); err == nil || errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "usage migrate") {
			t.Errorf("without tables: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Write(ctx, "a", records(0, 1, noon), nil); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("cancelled: %v", err)
	}
}
