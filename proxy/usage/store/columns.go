package store

import (
	"cmp"
	"encoding/json"
	"math"
	"time"

	"github.com/google/uuid"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// column is one column of a table whose rows are made of R. The tables of both databases have the same columns; the files that
// create them are tested against these lists.
type column[R any] struct {
	name  string
	house string        // ClickHouse's type and codec
	lite  string        // SQLite's type
	one   func(R) any   // a value for SQLite
	all   func([]R) any // the values of many rows for ClickHouse, which takes them by the column
}

// table is where the rows made of R go.
type table[R any] struct {
	name    string
	columns []column[R]
}

// attempt is a row of attempts.
type attempt struct {
	record *usage.Record
	*usage.Attempt
	seq int
}

// What ClickHouse keeps values as. Names are few and repeat; what clients may make up at will is not a name. Numbers are
// mostly small: T64 leaves out the bits that no value of a block has.
const (
	uid      = "UUID"
	instant  = "DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1))"
	text     = "String CODEC(ZSTD(1))"
	prose    = "String CODEC(ZSTD(6))"
	word     = "LowCardinality(String)"
	words    = "Array(LowCardinality(String))"
	flag     = "Bool"
	small    = "UInt16 CODEC(T64, ZSTD(1))"
	number   = "Int64 CODEC(T64, ZSTD(1))"
	fraction = "Float64 CODEC(ZSTD(1))"
)

func requestsTable() table[*usage.Record] {
	type r = *usage.Record
	list := []column[r]{
		col("uid", uid, func(r r) usage.UID { return r.UID }),
		col("time", instant, func(r r) time.Time { return r.Time }),
		col("id", text, func(r r) string { return r.ID }),
		col("tenant", word, func(r r) string { return r.Tenant }),
		col("team", word, func(r r) string { return r.Team }),
		col("key", word, func(r r) string { return r.Key }),
		col("user", text, func(r r) string { return r.User }),
		col("scene", word, func(r r) string { return r.Scene }),
		col("tags", words, func(r r) []string { return r.Tags }),
		col("endpoint", word, func(r r) string { return r.Endpoint }),
		col("stream", flag, func(r r) bool { return r.Stream }),
		col("asked", word, func(r r) string { return r.Asked }),
		col("model", word, func(r r) string { return r.Model }),
		col("provider", word, func(r r) string { return r.Provider }),
		col("served", word, func(r r) string { return r.Served }),
		col("replica", word, func(r r) string { return r.Replica }),
		col("region", word, func(r r) string { return r.Region }),
		col("route", word, func(r r) string { return r.Route }),
		col("rollout", word, func(r r) string { return r.Rollout }),
		col("arm", word, func(r r) string { return r.Arm }),
		col("cache", word, func(r r) string { return r.Cache }),
		col("similarity", fraction, func(r r) float64 { return r.Similarity }),
		col("prompt", word, func(r r) string { return r.Prompt }),
		col("corpus", word, func(r r) string { return r.Corpus }),
		col("flow", word, func(r r) string { return r.Flow }),
	}
	list = append(list, tokenColumns(func(r r) *usage.Usage { return &r.Usage })...)
	return table[r]{"requests", append(list,
		col("cost_nano", number, func(r r) int64 { return int64(r.Cost) }),
		col("saved_nano", number, func(r r) int64 { return int64(r.Saved) }),
		col("price", word, func(r r) string { return r.Price }),
		span("queued_us", func(r r) time.Duration { return r.Queued }),
		span("first_us", func(r r) time.Duration { return r.First }),
		span("upstream_us", func(r r) time.Duration { return r.Upstream }),
		span("overhead_us", func(r r) time.Duration { return r.Overhead }),
		span("total_us", func(r r) time.Duration { return r.Total }),
		col("status", small, func(r r) uint16 { return narrow(r.Status) }),
		col("outcome", word, func(r r) string { return r.Outcome }),
		col("code", word, func(r r) string { return r.Code }),
		col("finish", word, func(r r) string { return r.Finish }),
		col("gone", flag, func(r r) bool { return r.Gone }),
		col("interrupted", flag, func(r r) bool { return r.Interrupted }),
		col("bytes_in", number, func(r r) int64 { return r.In }),
		col("bytes_out", number, func(r r) int64 { return r.Out }),
		col("attempts", small, func(r r) uint16 { return narrow(len(r.Attempts)) }),
	)}
}

func attemptsTable() table[attempt] {
	list := []column[attempt]{
		col("uid", uid, func(a attempt) usage.UID { return a.record.UID }),
		col("seq", small, func(a attempt) uint16 { return narrow(a.seq) }),
		col("time", instant, func(a attempt) time.Time { return a.record.Time.Add(a.Begun) }),
		col("tenant", word, func(a attempt) string { return a.record.Tenant }),
		col("model", word, func(a attempt) string { return cmp.Or(a.Entry, a.record.Model) }),
		col("kind", word, func(a attempt) string { return a.Kind }),
		col("provider", word, func(a attempt) string { return a.Provider }),
		col("served", word, func(a attempt) string { return a.Model }),
		col("replica", word, func(a attempt) string { return a.Replica }),
		col("region", word, func(a attempt) string { return a.Region }),
		col("result", word, func(a attempt) string { return a.Result }),
		span("begun_us", func(a attempt) time.Duration { return a.Begun }),
		span("first_us", func(a attempt) time.Duration { return a.First }),
	}
	list = append(list, tokenColumns(func(a attempt) *usage.Usage { return &a.Usage })...)
	return table[attempt]{"attempts", append(list, col("cost_nano", number, func(a attempt) int64 { return int64(a.Cost) }))}
}

func feedbackTable() table[*usage.Feedback] {
	type f = *usage.Feedback
	return table[f]{"feedback", []column[f]{
		col("uid", uid, func(f f) usage.UID { return f.UID }),
		col("time", instant, func(f f) time.Time { return f.Time }),
		col("request", text, func(f f) string { return f.Request }),
		col("of", uid, func(f f) usage.UID { return f.Of }),
		col("tenant", word, func(f f) string { return f.Tenant }),
		col("key", word, func(f f) string { return f.Key }),
		col("user", text, func(f f) string { return f.User }),
		col("score", fraction, func(f f) float64 { return f.Score }),
		col("comment", prose, func(f f) string { return f.Comment }),
		col("metadata", prose, func(f f) string { return f.Metadata }),
		col("model", word, func(f f) string { return f.Model }),
		col("prompt", word, func(f f) string { return f.Prompt }),
		col("rollout", word, func(f f) string { return f.Rollout }),
		col("arm", word, func(f f) string { return f.Arm }),
	}}
}

func contentsTable() table[*usage.Record] {
	type r = *usage.Record
	return table[r]{"contents", []column[r]{
		col("uid", uid, func(r r) usage.UID { return r.UID }),
		col("time", instant, func(r r) time.Time { return r.Time }),
		col("tenant", word, func(r r) string { return r.Tenant }),
		col("id", text, func(r r) string { return r.ID }),
		col("asked", prose, func(r r) string { return r.Content.Asked }),
		col("answered", prose, func(r r) string { return r.Content.Answered }),
	}}
}

func tokenColumns[R any](of func(R) *usage.Usage) []column[R] {
	count := func(name string, field func(*usage.Usage) int64) column[R] {
		return col(name, number, func(r R) int64 { return field(of(r)) })
	}
	return []column[R]{
		count("prompt_tokens", func(u *usage.Usage) int64 { return u.Prompt }),
		count("completion_tokens", func(u *usage.Usage) int64 { return u.Completion }),
		count("cached_tokens", func(u *usage.Usage) int64 { return u.CachedPrompt }),
		count("cache_write_tokens", func(u *usage.Usage) int64 { return u.CacheWrite }),
		count("cache_write_1h_tokens", func(u *usage.Usage) int64 { return u.CacheWrite1h }),
		count("reasoning_tokens", func(u *usage.Usage) int64 { return u.Reasoning }),
		count("audio_tokens", func(u *usage.Usage) int64 { return u.Audio }),
		count("audio_out_tokens", func(u *usage.Usage) int64 { return u.AudioOut }),
		count("image_in_tokens", func(u *usage.Usage) int64 { return u.ImageIn }),
		count("images", func(u *usage.Usage) int64 { return u.Images }),
		count("audio_ms", func(u *usage.Usage) int64 { return u.Millis }),
		count("characters", func(u *usage.Usage) int64 { return u.Characters }),
		col("tier", word, func(r R) string { return tierName(of(r).Tier) }),
		col("estimated", flag, func(r R) bool { return of(r).Estimated }),
	}
}

func tierName(t wire.Tier) string {
	switch t {
	case wire.TierStandard:
		return "standard"
	case wire.TierFlex:
		return "flex"
	case wire.TierPriority:
		return "priority"
	case wire.TierBatch:
		return "batch"
	}
	return ""
}

// span is a duration, in whole microseconds.
func span[R any](name string, of func(R) time.Duration) column[R] {
	return col(name, number, func(r R) int64 { return of(r).Microseconds() })
}

// narrow makes a number fit what small numbers are kept in.
func narrow(n int) uint16 { return uint16(min(max(n, 0), math.MaxUint16)) } //nolint:gosec // it is bounded

// col makes a column of the one function that finds its value. Values are made what both databases can hold on the way, so
// that no record is refused for what is in it.
func col[R, T any](name, house string, of func(R) T) column[R] {
	var sample T
	return column[R]{
		name: name, house: house, lite: liteType(sample),
		one: func(r R) any { return liteValue(of(r)) },
		all: func(rows []R) any { return houseValues(rows, of) },
	}
}

// liteType is SQLite's type: times are microseconds since 1970, lists are JSON.
func liteType(sample any) string {
	switch sample.(type) {
	case string, usage.UID, []string:
		return "TEXT"
	case float64:
		return "REAL"
	}
	return "INTEGER"
}

func liteValue(v any) any {
	switch v := v.(type) {
	case usage.UID:
		return v.String()
	case time.Time:
		return keepable(v).UnixMicro()
	case float64:
		return finite(v)
	case uint16:
		return int64(v)
	case []string:
		if len(v) == 0 {
			return "[]"
		}
		list, _ := json.Marshal(v) // strings always can be
		return string(list)
	}
	return v
}

func houseValues[R, T any](rows []R, of func(R) T) any {
	switch of := any(of).(type) {
	case func(R) usage.UID:
		return gather(rows, func(r R) uuid.UUID { return uuid.UUID(of(r)) })
	case func(R) time.Time:
		return gather(rows, func(r R) time.Time { return keepable(of(r)) })
	case func(R) float64:
		return gather(rows, func(r R) float64 { return finite(of(r)) })
	}
	return gather(rows, of)
}

func gather[R, T any](rows []R, of func(R) T) []T {
	list := make([]T, len(rows))
	for i, r := range rows {
		list[i] = of(r)
	}
	return list
}

// keepable is a time that ClickHouse can keep: from 1970 to 2200.
func keepable(t time.Time) time.Time {
	const end = 7258118400 // 2200-01-01
	return time.UnixMicro(min(max(t.UnixMicro(), 0), end*1e6)).UTC()
}

func finite(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

func names[R any](columns []column[R]) []string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = c.name
	}
	return list
}
