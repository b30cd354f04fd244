package main

import (
	"math"
	"slices"
)

// metric is one line of the report: a figure of a scenario's readings, and the target it must meet.
// Targets are numbered as in the project's performance targets; without a number a metric is for information.
type metric struct {
	scenario string
	what     string
	value    func(r, direct reading) float64
	added    bool // over direct: the value needs a direct reading of the same round
	number   int
	limit    float64
	rule     rule
}

// rule is how a limit is to be read.
type rule string

const (
	ratioAtMost  rule = "ratio at most"
	ratioAtLeast rule = "ratio at least"
	valueAtMost  rule = "at most" // the gateway's own value
)

func cpu(r, _ reading) float64       { return r.CPU }
func perSecond(r, _ reading) float64 { return r.PerSecond }
func addedP50(r, d reading) float64  { return r.P50 - d.P50 }
func addedP99(r, d reading) float64  { return r.P99 - d.P99 }
func open1000(r, _ reading) float64  { return r.Open1000 }
func open5000(r, _ reading) float64  { return r.Open5000 }
func idle(r, _ reading) float64      { return r.Idle }
func idleOwn(r, _ reading) float64   { return r.IdleOwn }

var metrics = []metric{
	{scenario: "small", what: "CPU us/request", value: cpu, number: 2, limit: 1.3, rule: ratioAtMost},
	{scenario: "small", what: "requests/s", value: perSecond, number: 2, limit: 0.7, rule: ratioAtLeast},
	{scenario: "small-1000", what: "CPU us/request", value: cpu, number: 1, limit: 1.3, rule: ratioAtMost},
	{scenario: "small-1000", what: "added p50 us", value: addedP50, added: true, number: 3, limit: 1.5, rule: ratioAtMost},
	{scenario: "small-1000", what: "added p99 us", value: addedP99, added: true, number: 3, limit: 2, rule: ratioAtMost},
	{scenario: "limits", what: "CPU us/request", value: cpu},
	{scenario: "limits", what: "requests/s", value: perSecond},
	{scenario: "10k", what: "CPU us/request", value: cpu, number: 4, limit: 1.6, rule: ratioAtMost},
	{scenario: "10k", what: "requests/s", value: perSecond},
	{scenario: "10k-1000", what: "CPU us/request", value: cpu, number: 4, limit: 1.4, rule: ratioAtMost},
	{scenario: "10k-1000", what: "added p50 us", value: addedP50, added: true},
	{scenario: "10k-1000", what: "added p99 us", value: addedP99, added: true},
	{scenario: "100k", what: "CPU us/request", value: cpu, number: 5, limit: 1.6, rule: ratioAtMost},
	{scenario: "100k", what: "requests/s", value: perSecond},
	{scenario: "paced", what: "CPU us/event", value: cpu, number: 6, limit: 1.2, rule: ratioAtMost},
	{scenario: "paced", what: "first token added p50 us", value: addedP50, added: true, number: 6, limit: 2, rule: ratioAtMost},
	{scenario: "paced", what: "first token added p99 us", value: addedP99, added: true},
	{scenario: "burst", what: "CPU us/event", value: cpu, number: 7, limit: 1.1, rule: ratioAtMost},
	{scenario: "burst", what: "events/s", value: perSecond},
	{scenario: "held", what: "KiB per stream at 1,000", value: open1000},
	{scenario: "held", what: "KiB per stream at 5,000", value: open5000, number: 8, limit: 40, rule: valueAtMost},
	{scenario: "held", what: "idle RSS MiB", value: idle, number: 9, limit: 25, rule: valueAtMost},
	{scenario: "held", what: "idle, without the program's own pages, MiB", value: idleOwn},
}

// row is a metric with its figures: medians over the rounds, NaN where there is none.
type row struct {
	Number   int     `json:"target,omitempty"`
	Scenario string  `json:"scenario"`
	What     string  `json:"what"`
	Direct   figure  `json:"direct"`
	Bare     figure  `json:"bare"`
	Gateway  figure  `json:"gateway"`
	Ratio    figure  `json:"ratio"` // gateway / bare
	Min      figure  `json:"ratio_min"`
	Max      figure  `json:"ratio_max"`
	Rule     rule    `json:"rule,omitempty"`
	Limit    float64 `json:"limit,omitempty"`
	Verdict  string  `json:"verdict,omitempty"` // pass, miss, unclear, disturbed
}

// row computes the metric from a scenario's readings.
func (m metric) row(readings []reading) row {
	values := m.values(readings)
	r := row{Number: m.number, Scenario: m.scenario, What: m.what, Rule: m.rule, Limit: m.limit}
	r.Direct, r.Bare, r.Gateway = median(values["direct"]), median(values["bare"]), median(values["gateway"])
	r.Ratio, r.Min, r.Max = m.ratio(values["bare"], values["gateway"])
	r.judge()
	wall := m.added || m.rule == ratioAtLeast // against the wall clock, on which others' work shows
	if wall && r.Verdict != "" && float64(others(readings)) > calm {
		r.Verdict = "disturbed"
	}
	return r
}

// others is what other processes used of the cores in the middle round.
func others(readings []reading) figure {
	var v []float64
	for _, r := range readings {
		v = append(v, r.Others)
	}
	return median(v)
}

// values are the metric's figures by target, in the order of the rounds. Direct has no CPU or memory, and adds nothing to itself.
func (m metric) values(readings []reading) map[string][]float64 {
	direct := map[int]reading{}
	for _, r := range readings {
		if r.Target == "direct" {
			direct[r.Round] = r
		}
	}
	out := map[string][]float64{}
	for _, r := range readings {
		d, ok := direct[r.Round]
		v := m.value(r, d)
		if m.added && !ok || r.Target == "direct" && v == 0 {
			continue
		}
		out[r.Target] = append(out[r.Target], v)
	}
	return out
}

// ratio compares neighbours: each round on its own, then the median of that. What is added over direct is a small
// difference of large numbers and may be nothing in a round; its ratio is that of the medians.
func (m metric) ratio(bare, gateway []float64) (mid, low, high figure) {
	var ratios []float64
	for i := range min(len(bare), len(gateway)) {
		if bare[i] > 0 {
			ratios = append(ratios, gateway[i]/bare[i])
		}
	}
	if len(ratios) == 0 {
		return none, none, none
	}
	mid = median(ratios)
	if m.added {
		mid = median(gateway) / median(bare)
	}
	return mid, figure(slices.Min(ratios)), figure(slices.Max(ratios))
}

// judge compares with the limit. Where bare or the gateway seems to add less than nothing, noise was larger than
// what was to be measured, and there is no verdict.
func (r *row) judge() {
	v := float64(r.Ratio)
	if r.Rule == valueAtMost {
		v = float64(r.Gateway)
	}
	switch {
	case r.Number == 0 || math.IsNaN(float64(r.Gateway)):
	case math.IsNaN(v) || v <= 0 || r.Bare <= 0:
		r.Verdict = "unclear"
	case r.Rule == ratioAtLeast && v >= r.Limit, r.Rule != ratioAtLeast && v <= r.Limit:
		r.Verdict = "pass"
	default:
		r.Verdict = "miss"
	}
}

func median(v []float64) figure {
	if len(v) == 0 {
		return none
	}
	s := slices.Sorted(slices.Values(v))
	return figure((s[(len(s)-1)/2] + s[len(s)/2]) / 2)
}
