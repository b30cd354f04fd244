package store

import "jarvis-gateway/proxy/wire"

// Sums is what a group of requests comes to.
type Sums struct {
	Requests    int64
	Errors      int64 // of the requests, those that the gateway or a provider failed; not what clients did wrong, or limits refused
	ClientGone  int64 // of the requests, those whose client left before the end
	Interrupted int64 // of the errors, those that the end of the gateway's process cut
	Fallbacks   int64 // requests that were sent to another provider, or to a fallback, after a failure
	Retries     int64 // attempts

	Prompt, Completion, Cached, CacheWrite, Reasoning int64 // tokens
	Estimated                                         int64 // requests whose tokens no provider reported

	Cost, Saved            wire.Money
	CacheHits, CacheMisses int64 // of the requests that might have been answered from a cache

	// Microseconds, by nearest rank: the least that so many of a hundred did not exceed. -1: there is none. Interrupted requests
	// are left out, and of First what is no stream, or gave nothing.
	TotalP50, TotalP95, TotalP99 int64
	FirstP50, FirstP95           int64

	Feedback int64 // requests that somebody had an opinion of
	Scores   int64 // their sum, in millionths
}

// measure is one thing that is told of a group.
type measure struct {
	name  string
	unit  measureUnit
	needs part
	sql   string               // over the columns of `picked`
	rank  *rank                // a percentile, in place of sql
	order string               // what rows are ordered by, where that is not sql
	field func(s *Sums) *int64 // nil: it is made of others
}

type measureUnit int

const (
	inCount measureUnit = iota
	inMoney
	inMillis
	inShare // from 0 to 1
	inScore
)

// part is what a statement needs beside the requests.
type part int

const (
	attemptPart part = 1 << iota
	feedbackPart
	rankPart
)

// rank is a percentile of a column, over the rows where the column among is 1.
type rank struct {
	percent       int
	column, among string
}

// measures are all that there are, in the order in which they are told.
var measures = []measure{
	{name: "requests", sql: "count(*)", field: func(s *Sums) *int64 { return &s.Requests }},
	{name: "errors", sql: "sum(wrong)", field: func(s *Sums) *int64 { return &s.Errors }},
	{name: "error_rate", unit: inShare, order: "coalesce(sum(wrong) * 1.0 / nullif(count(*) - sum(gone), 0), 0)"},
	{name: "interrupted", sql: "sum(interrupted)", field: func(s *Sums) *int64 { return &s.Interrupted }},
	{name: "client_gone", sql: "sum(gone)", field: func(s *Sums) *int64 { return &s.ClientGone }},
	{name: "fallbacks", needs: attemptPart, sql: "sum(fell)", field: func(s *Sums) *int64 { return &s.Fallbacks }},
	{name: "retries", needs: attemptPart, sql: "sum(retried)", field: func(s *Sums) *int64 { return &s.Retries }},
	{name: "prompt_tokens", sql: "sum(prompt_tokens)", field: func(s *Sums) *int64 { return &s.Prompt }},
	{name: "completion_tokens", sql: "sum(completion_tokens)", field: func(s *Sums) *int64 { return &s.Completion }},
	{name: "cached_tokens", sql: "sum(cached_tokens)", field: func(s *Sums) *int64 { return &s.Cached }},
	{name: "cache_write_tokens", sql: "sum(cache_write_tokens)", field: func(s *Sums) *int64 { return &s.CacheWrite }},
	{name: "reasoning_tokens", sql: "sum(reasoning_tokens)", field: func(s *Sums) *int64 { return &s.Reasoning }},
	{name: "estimated", sql: "sum(estimated)", field: func(s *Sums) *int64 { return &s.Estimated }},
	{name: "cost_usd", unit: inMoney, sql: "sum(cost_nano)", field: func(s *Sums) *int64 { return (*int64)(&s.Cost) }},
	{name: "saved_usd", unit: inMoney, sql: "sum(saved_nano)", field: func(s *Sums) *int64 { return (*int64)(&s.Saved) }},
	{name: "cache_hits", sql: "sum(hit)", field: func(s *Sums) *int64 { return &s.CacheHits }},
	{name: "cache_misses", sql: "sum(missed)", field: func(s *Sums) *int64 { return &s.CacheMisses }},
	{name: "cache_hit_rate", unit: inShare, order: "coalesce(sum(hit) * 1.0 / nullif(sum(hit) + sum(missed), 0), 0)"},
	percentile("total_p50_ms", 50, "total_us", "timed", func(s *Sums) *int64 { return &s.TotalP50 }),
	percentile("total_p95_ms", 95, "total_us", "timed", func(s *Sums) *int64 { return &s.TotalP95 }),
	percentile("total_p99_ms", 99, "total_us", "timed", func(s *Sums) *int64 { return &s.TotalP99 }),
	percentile("first_token_p50_ms", 50, "first_us", "streamed", func(s *Sums) *int64 { return &s.FirstP50 }),
	percentile("first_token_p95_ms", 95, "first_us", "streamed", func(s *Sums) *int64 { return &s.FirstP95 }),
	{name: "feedback", needs: feedbackPart, sql: "sum(rated)", field: func(s *Sums) *int64 { return &s.Feedback }},
	{name: "score", unit: inScore, needs: feedbackPart, sql: "sum(score)", order: "coalesce(sum(score) * 1.0 / nullif(sum(rated), 0), 0)",
		field: func(s *Sums) *int64 { return &s.Scores }},
}

func percentile(name string, percent int, column, among string, field func(*Sums) *int64) measure {
	return measure{name: name, unit: inMillis, needs: rankPart, rank: &rank{percent, column, among}, field: field}
}

func measureOf(name string) (measure, bool) {
	for _, m := range measures {
		if m.name == name {
			return m, true
		}
	}
	return measure{}, false
}

func measureNames() []string {
	names := make([]string, len(measures))
	for i, m := range measures {
		names[i] = m.name
	}
	return names
}

// ErrorRate is the share of failures among the requests whose clients stayed; 0 without any.
func (s *Sums) ErrorRate() float64 { return over(s.Errors, s.Requests-s.ClientGone) }

// CacheHitRate is the share of hits among what might have been one; 0 without any.
func (s *Sums) CacheHitRate() float64 { return over(s.CacheHits, s.CacheHits+s.CacheMisses) }

// Score is the mean of what was said; 0 without any.
func (s *Sums) Score() float64 { return over(s.Scores, s.Feedback) / 1e6 }

func over(n, of int64) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}
