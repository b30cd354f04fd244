package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/wire"
)

// spender is what a tenant's requests came to.
type spender struct {
	tenant string

	requests, refused, downgraded, shortened int

	usage  wire.Usage
	cost   wire.Money
	waited time.Duration // the longest that one waited in line
}

// spentRow is the same, for programs.
type spentRow struct {
	Tenant     string      `json:"tenant"`
	Requests   int         `json:"requests"`
	Refused    int         `json:"refused"`
	Downgraded int         `json:"downgraded"`
	Shortened  int         `json:"shortened"`
	Waited     float64     `json:"waited_most_ms"`
	Prompt     int64       `json:"prompt_tokens"`
	Completion int64       `json:"completion_tokens"`
	Cost       json.Number `json:"cost_usd"`
}

// limitRow is how often a limit had too little for requests of a tenant.
type limitRow struct {
	Tenant     string `json:"tenant"`
	Limit      string `json:"limit"`
	Refused    int    `json:"refused"`
	Downgraded int    `json:"downgraded"`
	Waited     int    `json:"waited"`
}

// guardRow is how often a guard of a tenant's did something.
type guardRow struct {
	Tenant  string `json:"tenant"`
	At      string `json:"at"`
	Guard   string `json:"guard"`
	Kind    string `json:"kind"`
	Refused int    `json:"refused"`
	Masked  int    `json:"masked"`
	Noted   int    `json:"noted"`
	Unasked int    `json:"not_asked"` // as it asks a server
}

// entry is that of a list for which same is true, or else fresh, which is put there.
func entry[T any](list *[]*T, fresh T, same func(*T) bool) *T {
	i := slices.IndexFunc(*list, same)
	if i < 0 {
		i, *list = len(*list), append(*list, &fresh)
	}
	return (*list)[i]
}

func (r *replayed) spender(tenant string) *spender {
	return entry(&r.spenders, spender{tenant: tenant}, func(s *spender) bool { return s.tenant == tenant })
}

func (r *replayed) limit(tenant, limit string) *limitRow {
	return entry(&r.limits, limitRow{Tenant: tenant, Limit: limit}, func(l *limitRow) bool { return l.Tenant == tenant && l.Limit == limit })
}

func (r *replayed) guard(tenant string, f policy.Finding) *guardRow {
	return entry(&r.guards, guardRow{Tenant: tenant, At: f.At, Guard: f.Guard, Kind: f.Kind}, func(g *guardRow) bool { return g.Tenant == tenant && g.At == f.At })
}

// tenants are the rows of all that asked for anything, by name.
func (r *replayed) tenants() (list []spentRow) {
	slices.SortFunc(r.spenders, func(a, b *spender) int { return cmp.Compare(a.tenant, b.tenant) })
	for _, s := range r.spenders {
		list = append(list, spentRow{s.tenant, s.requests, s.refused, s.downgraded, s.shortened, float64(s.waited.Microseconds()) / 1000,
			s.usage.Prompt, s.usage.Completion, json.Number(s.cost.AppendDecimal(nil))})
	}
	slices.SortFunc(r.limits, func(a, b *limitRow) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Limit, b.Limit))
	})
	slices.SortFunc(r.guards, func(a, b *guardRow) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.At, b.At))
	})
	return list
}

// refused is how many requests limits or guards refused.
func (r *replayed) refused() (n int) {
	for _, s := range r.spenders {
		n += s.refused
	}
	return n
}

// printSpent prints what tenants spent, and what limits and guards did.
func (r *replayed) printSpent(out io.Writer) error {
	var rows [][]string
	for _, s := range r.tenants() {
		rows = append(rows, []string{s.Tenant, strconv.Itoa(s.Requests), strconv.Itoa(s.Refused), strconv.Itoa(s.Downgraded), strconv.Itoa(s.Shortened), waiting(int64(s.Waited)),
			strconv.FormatInt(s.Prompt, 10), strconv.FormatInt(s.Completion, 10), "$" + s.Cost.String()})
	}
	fmt.Fprintln(out)
	err := table(out, "TENANT REQUESTS REFUSED DOWNGRADED SHORTENED LONGEST_WAIT PROMPT COMPLETION COST", rows)
	if rows = nil; err == nil && len(r.limits) > 0 {
		for _, l := range r.limits {
			rows = append(rows, []string{l.Tenant, l.Limit, strconv.Itoa(l.Refused), strconv.Itoa(l.Downgraded), strconv.Itoa(l.Waited)})
		}
		fmt.Fprintln(out)
		err = table(out, "TENANT LIMIT REFUSED DOWNGRADED WAITED", rows)
	}
	if rows = nil; err == nil && len(r.guards) > 0 {
		for _, g := range r.guards {
			rows = append(rows, []string{g.Tenant, g.At, g.Guard, g.Kind, strconv.Itoa(g.Refused), strconv.Itoa(g.Masked), strconv.Itoa(g.Noted), strconv.Itoa(g.Unasked)})
		}
		fmt.Fprintln(out)
		err = table(out, "TENANT AT GUARD KIND REFUSED MASKED NOTED NOT_ASKED", rows)
	}
	if r.unjudged > 0 {
		fmt.Fprintf(out, "\nGuards could not judge %d requests, of which the trace has no body.\n", r.unjudged)
	}
	return err
}
