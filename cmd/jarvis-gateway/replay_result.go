package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// replayed is what came of a trace.
type replayed struct {
	requests   int
	unanswered int
	extra      int // calls beyond one for each request
	span       time.Duration
	ways       []way
	targets    []*tallied
	replicas   []*machine

	spenders []*spender
	limits   []*limitRow // that had too little
	guards   []*guardRow // that looked at requests
	unjudged int         // requests that guards would look at, of which the trace has no body
}

// way is how requests came from the model that was asked for to the one that served.
type way struct {
	asked, how, serves string
	n                  int
}

// tallied is what a target got.
type tallied struct {
	model, provider, served string

	calls, failed int
	usage         wire.Usage
	cost          wire.Money
	first         times

	busy, most int
	since      time.Duration // when busy last changed
	worked     time.Duration // the sum of what each call took
}

func (r *replayed) came(asked string, d router.Detour) {
	serves := asked
	if len(d) > 0 {
		serves = d[len(d)-1].To
	}
	found := way{asked: asked, how: d.String(), serves: serves}
	i := slices.IndexFunc(r.ways, func(w way) bool { return w.asked == found.asked && w.how == found.how })
	if i < 0 {
		i, r.ways = len(r.ways), append(r.ways, found)
	}
	r.ways[i].n++
}

func (r *replayed) of(t *router.Target) *tallied {
	for _, at := range r.targets {
		if at.model == t.Route && at.provider == t.Provider && at.served == t.Model {
			return at
		}
	}
	at := &tallied{model: t.Route, provider: t.Provider, served: t.Model}
	r.targets = append(r.targets, at)
	return at
}

func (r *replayed) answered(tries int) { r.extra += tries - 1 }

func (t *tallied) enter(now time.Duration) {
	t.worked += time.Duration(t.busy) * (now - t.since)
	t.busy, t.since = t.busy+1, now
	t.most = max(t.most, t.busy)
}

func (t *tallied) leave(now time.Duration) {
	t.worked += time.Duration(t.busy) * (now - t.since)
	t.busy, t.since = t.busy-1, now
}

func (t *tallied) answered(u wire.Usage, cost wire.Money) {
	t.usage, t.cost = t.usage.Plus(u), t.cost.Plus(cost)
}

// times are how long calls took until their first token.
type times []time.Duration

func (t *times) add(d time.Duration) { *t = append(*t, d) }

func (t times) percentile(share float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	slices.Sort(t)
	return t[min(len(t)-1, int(share*float64(len(t))))]
}

// row is what a target got, for programs.
type row struct {
	Model      string      `json:"model"`
	Provider   string      `json:"provider"`
	Served     string      `json:"served"`
	Calls      int         `json:"calls"`
	Share      float64     `json:"share"`
	Failed     int         `json:"failed"`
	Prompt     int64       `json:"prompt_tokens"`
	Cached     int64       `json:"cached_tokens"`
	Completion int64       `json:"completion_tokens"`
	Cost       json.Number `json:"cost_usd"`
	Busy       float64     `json:"in_flight_mean"`
	Most       int         `json:"in_flight_most"`
	P50        float64     `json:"first_token_p50_ms"`
	P95        float64     `json:"first_token_p95_ms"`
}

func (r *replayed) row(t *tallied, calls int) row {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return row{Model: t.model, Provider: t.provider, Served: t.served, Calls: t.calls, Share: float64(t.calls) / float64(max(calls, 1)), Failed: t.failed,
		Prompt: t.usage.Prompt, Cached: t.usage.CachedPrompt, Completion: t.usage.Completion, Cost: json.Number(t.cost.AppendDecimal(nil)),
		Busy: float64(t.worked) / float64(max(r.span, 1)), Most: t.most, P50: ms(t.first.percentile(0.5)), P95: ms(t.first.percentile(0.95))}
}

// rows are all targets that got anything, as the configuration has them.
func (r *replayed) rows() (list []row) {
	calls := 0
	for _, t := range r.targets {
		calls += t.calls
	}
	slices.SortFunc(r.targets, func(a, b *tallied) int {
		return cmp.Or(cmp.Compare(a.model, b.model), cmp.Compare(a.provider, b.provider), cmp.Compare(a.served, b.served))
	})
	for _, t := range r.targets {
		list = append(list, r.row(t, calls))
	}
	return list
}

func (r *replayed) machines() []*machine {
	slices.SortFunc(r.replicas, func(a, b *machine) int {
		return cmp.Or(cmp.Compare(a.provider, b.provider), cmp.Compare(a.address, b.address))
	})
	return r.replicas
}

func (r *replayed) printJSON(out io.Writer) error {
	type replica struct {
		Provider string  `json:"provider"`
		Replica  string  `json:"replica"`
		Requests int     `json:"requests"`
		Hits     float64 `json:"hit_share"`
	}
	type detour struct {
		Asked    string `json:"asked"`
		Route    string `json:"route"`
		Serves   string `json:"serves"`
		Requests int    `json:"requests"`
	}
	all := struct {
		Requests   int       `json:"requests"`
		Unanswered int       `json:"unanswered"`
		Refused    int       `json:"refused"`
		Extra      int       `json:"extra_calls"`
		Seconds    float64   `json:"seconds"`
		Ways       []detour  `json:"ways"`
		Targets    []row     `json:"targets"`
		Replicas   []replica `json:"replicas"`

		Tenants  []spentRow  `json:"tenants"`
		Limits   []*limitRow `json:"limits"`
		Guards   []*guardRow `json:"guards"`
		Unjudged int         `json:"not_judged"` // by guards, as the trace has no bodies
	}{r.requests, r.unanswered, r.refused(), r.extra, r.span.Seconds(), []detour{}, append([]row{}, r.rows()...), []replica{},
		r.tenants(), append([]*limitRow{}, r.limits...), append([]*guardRow{}, r.guards...), r.unjudged}
	for _, w := range r.ways {
		all.Ways = append(all.Ways, detour{w.asked, w.how, w.serves, w.n})
	}
	for _, c := range r.machines() {
		all.Replicas = append(all.Replicas, replica{c.provider, c.address, c.requests, c.hits()})
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(all)
}

func (c *machine) hits() float64 { return float64(c.held) / float64(max(c.blocks, 1)) }

// print prints it for people.
func (r *replayed) print(out io.Writer) error {
	fmt.Fprintf(out, "%d requests in %s: %d refused, %d not answered, %d calls more than requests\n\n", r.requests, r.span.Round(time.Second), r.refused(), r.unanswered, r.extra)
	var rows [][]string
	for _, w := range r.ways {
		rows = append(rows, []string{w.asked, w.how, w.serves, strconv.Itoa(w.n), percentage(float64(w.n) / float64(r.requests))})
	}
	if err := table(out, "ASKED ROUTE SERVED_BY REQUESTS SHARE", rows); err != nil {
		return err
	}
	rows = nil
	for _, t := range r.rows() {
		rows = append(rows, []string{t.Model, t.Provider + "/" + t.Served, strconv.Itoa(t.Calls), percentage(t.Share), strconv.Itoa(t.Failed), strconv.FormatInt(t.Prompt, 10),
			percentage(float64(t.Cached) / float64(max(t.Prompt, 1))), strconv.FormatInt(t.Completion, 10), "$" + t.Cost.String(), fmt.Sprintf("%.3g", t.Busy), strconv.Itoa(t.Most), fmt.Sprintf("%.0fms", t.P50), fmt.Sprintf("%.0fms", t.P95)})
	}
	fmt.Fprintln(out)
	if err := table(out, "MODEL TARGET CALLS SHARE FAILED PROMPT CACHED COMPLETION COST BUSY MOST P50 P95", rows); err != nil {
		return err
	}
	if err := r.printSpent(out); err != nil || len(r.replicas) == 0 {
		return err
	}
	rows = nil
	for _, c := range r.machines() {
		rows = append(rows, []string{c.provider, c.address, strconv.Itoa(c.requests), percentage(c.hits())})
	}
	fmt.Fprintln(out)
	return table(out, "PROVIDER REPLICA REQUESTS HITS", rows)
}

func percentage(share float64) string { return fmt.Sprintf("%.1f%%", 100*share) }
