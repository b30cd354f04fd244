package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"
)

const usageTimes = "Times are 7d, 24h, today, month (its first day), 2026-01-31 or 2026-01-31T08:00:00Z."

// usageCommand tells what was used. Its subcommands have flags of their own, as not all talk to a gateway that runs.
func usageCommand() *cobra.Command {
	a := &usageAsk{}
	c := &cobra.Command{
		Use: "usage", Short: "Print what was used and what it cost: by tenant, model, day and much else", Args: cobra.NoArgs,
		Long: "Print what was used and what it cost.\n\n--by takes arm, asked, cache, code, corpus, endpoint, flow, key, model, outcome, prompt, provider, region, replica, rollout, scene,\n" +
			"served, tag, team, tenant, user, and one of minute, hour, day, week and month. --where takes the same, without times.\n" + usageTimes + "\n\n" + talks,
		Example: "  jarvis-gateway usage --by tenant,model --since 7d\n  jarvis-gateway usage --by day --since month --where scene=batch --format csv",
	}
	a.flags(c)
	f := c.Flags()
	f.StringVar(&a.format, "format", "table", "table, json or csv")
	a.texts(c, "by", "groups, such as tenant,model")
	a.texts(c, "order", "the column to order by, such as requests or total_p95_ms (default: by time, else the dearest first)")
	a.texts(c, "limit", "rows at most (default 100)")
	f.Bool("desc", true, "the largest first")
	c.RunE = a.run(func(c *cobra.Command, q url.Values) error { return a.print(c, q) })
	c.AddCommand(usageForecast(), usageAnomalies(), usageRequests(), usageMigrateCommand(), usageExportCommand())
	return c
}

const talks = "It talks to a gateway that runs, through its private port (server.admin)."

// usageAsk is one question, as its flags say.
type usageAsk struct {
	client
	format string
	where  []string
	names  []string // flags that are parameters of the API as they stand
}

func (a *usageAsk) flags(c *cobra.Command) {
	own := &cobra.Command{}
	a.client.flags(own)
	c.Flags().AddFlagSet(own.PersistentFlags())
	c.Flags().StringArrayVar(&a.where, "where", nil, "NAME=VALUE: only of these, such as scene=batch; may be given again")
	a.texts(c, "since", "from then on, such as 7d (default 24h)")
	a.texts(c, "until", "before then (default now)")
	a.texts(c, "timezone", "where days begin, such as Asia/Shanghai (default UTC)")
}

// texts adds a flag that the gateway reads.
func (a *usageAsk) texts(c *cobra.Command, name, about string) {
	c.Flags().String(name, "", about)
	a.names = append(a.names, name)
}

// run puts the flags into parameters.
func (a *usageAsk) run(then func(*cobra.Command, url.Values) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, _ []string) error {
		q := url.Values{}
		for _, name := range a.names {
			if f := c.Flags().Lookup(name); f.Changed {
				q.Set(name, f.Value.String())
			}
		}
		if f := c.Flags().Lookup("desc"); f != nil && f.Changed {
			q.Set("desc", f.Value.String())
		}
		for _, pair := range a.where {
			name, value, ok := strings.Cut(pair, "=")
			if !ok {
				return fmt.Errorf("--where: %q is not NAME=VALUE", clip(pair))
			}
			q.Add("where."+name, value)
		}
		return then(c, q)
	}
}

func (a *usageAsk) print(c *cobra.Command, q url.Values) error {
	switch {
	case a.json:
		a.format = "json"
	case a.format == "csv":
		q.Set("format", "csv")
		return a.copy(c, q)
	case a.format != "table" && a.format != "json":
		return fmt.Errorf("--format: %q is none of table, json and csv", clip(a.format))
	}
	answer, err := a.call(c.Context(), http.MethodGet, "/usage?"+q.Encode(), nil)
	if err != nil || a.format == "json" {
		return firstError(err, func() error { return printJSON(c.OutOrStdout(), answer) })
	}
	if answer.Get("has_more").Bool() {
		fmt.Fprintln(c.ErrOrStderr(), "There are more rows, which the total counts: see --limit.")
	}
	return usageTable(answer).print(c.OutOrStdout())
}

// copy prints an answer as it comes.
func (a *usageAsk) copy(c *cobra.Command, q url.Values) error {
	res, err := a.open(c.Context(), http.MethodGet, "/usage?"+q.Encode(), nil, "text/csv")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(c.OutOrStdout(), res.Body); err != nil {
		return fmt.Errorf("the gateway's answer was cut off: %w", err)
	}
	return nil
}

// usageColumns are those of the table, after the groups. What nobody used is left out where some never do.
var usageColumns = []struct {
	head, field string
	cell        func(gjson.Result) string
	seldom      bool
}{
	{"REQUESTS", "requests", gjson.Result.String, false},
	{"ERRORS", "errors", gjson.Result.String, false},
	{"ERROR_RATE", "error_rate", percent, false},
	{"FALLBACKS", "fallbacks", gjson.Result.String, true},
	{"RETRIES", "retries", gjson.Result.String, true},
	{"PROMPT", "prompt_tokens", gjson.Result.String, false},
	{"COMPLETION", "completion_tokens", gjson.Result.String, false},
	{"CACHED", "cached_tokens", gjson.Result.String, true},
	{"REASONING", "reasoning_tokens", gjson.Result.String, true},
	{"COST", "cost_usd", nil, false},
	{"SAVED", "saved_usd", nil, true},
	{"CACHE_HITS", "cache_hit_rate", percent, true},
	{"P50", "total_p50_ms", latency, false},
	{"P95", "total_p95_ms", latency, false},
	{"P99", "total_p99_ms", latency, true},
	{"FIRST_P50", "first_token_p50_ms", latency, true},
	{"FIRST_P95", "first_token_p95_ms", latency, true},
	{"RATED", "feedback", gjson.Result.String, true},
	{"SCORE", "score", rounded, true},
}

// usageTable has a row for each group and, where there are groups, one for all.
func usageTable(answer gjson.Result) *grid {
	g := &grid{}
	groups := answer.Get("by").Array()
	for _, name := range groups {
		g.text(strings.ToUpper(name.String()))
	}
	rows := answer.Get("data").Array()
	if len(groups) > 0 {
		rows = append(rows, answer.Get("total"))
	}
	total := answer.Get("total")
	for i, row := range rows {
		for j, name := range groups {
			cell := row.Get("group").Map()[name.String()].String()
			if i == len(rows)-1 {
				cell = map[bool]string{true: "total", false: " "}[j == 0]
			}
			g.add(j, cell)
		}
	}
	for _, column := range usageColumns {
		if all := total.Get(column.field); column.seldom && all.Float() == 0 {
			continue
		}
		values := make([]gjson.Result, len(rows))
		for i, row := range rows {
			values[i] = row.Get(column.field)
		}
		g.numbers(column.head, values, column.cell)
	}
	return g
}

func percent(v gjson.Result) string { return strconv.FormatFloat(100*v.Float(), 'f', 1, 64) + "%" }

// latency leaves out digits that nobody needs.
func latency(v gjson.Result) string {
	if v.Float() == 0 {
		return ""
	}
	d := time.Duration(v.Float() * float64(time.Millisecond))
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

func rounded(v gjson.Result) string {
	if v.Type == gjson.Null {
		return ""
	}
	return strconv.FormatFloat(v.Float(), 'f', 3, 64)
}

func usageForecast() *cobra.Command {
	a := &usageAsk{}
	c := &cobra.Command{
		Use: "forecast", Short: "Print what the month will have cost, beside the budgets", Args: cobra.NoArgs,
		Long: "Print what the month will have cost, of the dearest groups.\n\nA day to come costs what its weekday cost on average in the last eight weeks. With less than two weeks known it costs\n" +
			"what a day cost on average; with less than a day known it goes on as today. Four months of five end between LOW and\nHIGH, if days differ as they did, each for itself. --until stands for now, --since leaves out what is older.\n\n" + talks,
		Example: "  jarvis-gateway usage forecast --by tenant",
	}
	a.flags(c)
	a.texts(c, "by", "one group, such as tenant")
	c.RunE = a.run(func(c *cobra.Command, q url.Values) error {
		answer, err := a.call(c.Context(), http.MethodGet, "/usage/forecast?"+q.Encode(), nil)
		if err != nil || a.json {
			return firstError(err, func() error { return printJSON(c.OutOrStdout(), answer) })
		}
		return forecastTable(q.Get("by"), answer.Get("data").Array()).print(c.OutOrStdout())
	})
	return c
}

func forecastTable(by string, rows []gjson.Result) *grid {
	g := &grid{}
	g.group(by, rows)
	at := g.text("MONTH")
	for _, r := range rows {
		g.add(at, r.Get("month").String())
	}
	for _, column := range []struct{ head, field string }{{"SPENT", "spent_usd"}, {"EXPECTED", "expected_usd"}, {"LOW", "low_usd"}, {"HIGH", "high_usd"}} {
		g.numbers(column.head, fields(rows, column.field), nil)
	}
	at = g.text("KNOWN")
	for _, r := range rows {
		g.add(at, r.Get("days").String()+"d, "+r.Get("method").String())
	}
	at = g.text("BUDGETS_LEFT")
	for _, r := range rows {
		var left []string
		for _, b := range r.Get("budgets").Array() {
			left = append(left, "$"+b.Get("free").Raw+" of "+b.Get("text").String())
		}
		g.add(at, strings.Join(left, ", "))
	}
	return g
}

func usageAnomalies() *cobra.Command {
	a := &usageAsk{}
	c := &cobra.Command{
		Use: "anomalies", Short: "Print days or hours that cost far more, or far less, than they used to", Args: cobra.NoArgs,
		Long: "Print days or hours that cost far more, or far less, than they used to, the newest first.\n\nA day is compared with the same weekday of the eight weeks before, an hour with the same hour of the four weeks before,\n" +
			"on working days or weekends as its own. AWAY is how many spreads it is from their median, from 5 on: a spread is 1.4826\ntimes the median distance from the median, and at least a tenth of the median, and a cent.\n\n" + talks,
	}
	a.flags(c)
	a.texts(c, "by", "one group, such as tenant; the dearest 50 are looked at")
	a.texts(c, "unit", "day or hour (default day)")
	a.texts(c, "limit", "rows at most (default 100)")
	c.RunE = a.run(func(c *cobra.Command, q url.Values) error {
		answer, err := a.call(c.Context(), http.MethodGet, "/usage/anomalies?"+q.Encode(), nil)
		if err != nil || a.json {
			return firstError(err, func() error { return printJSON(c.OutOrStdout(), answer) })
		}
		rows := answer.Get("data").Array()
		g := &grid{}
		at := g.text("BEGIN")
		for _, r := range rows {
			g.add(at, r.Get("begin").String())
		}
		g.group(q.Get("by"), rows)
		g.numbers("COST", fields(rows, "cost_usd"), nil)
		g.numbers("USUAL", fields(rows, "usual_usd"), nil)
		g.numbers("AWAY", fields(rows, "times"), func(v gjson.Result) string { return fmt.Sprintf("%+.1f", v.Float()) })
		g.numbers("REQUESTS", fields(rows, "requests"), gjson.Result.String)
		return g.print(c.OutOrStdout())
	})
	return c
}

func usageRequests() *cobra.Command {
	a := &usageAsk{}
	most := 0
	c := &cobra.Command{
		Use: "requests", Short: "List single requests, the newest first", Args: cobra.NoArgs,
		Long:    "List single requests, the newest first. With --json, also their attempts and timings.\n" + usageTimes + "\n\n" + talks,
		Example: "  jarvis-gateway usage requests --where tenant=acme --where outcome=timeout\n  jarvis-gateway usage requests --id req_0123 --json",
	}
	a.flags(c)
	a.texts(c, "id", "the X-Request-Id, also of long ago")
	a.texts(c, "uid", "the record's own id, also of long ago")
	c.Flags().IntVar(&most, "limit", 100, "requests at most")
	c.RunE = a.run(func(c *cobra.Command, q url.Values) error {
		rows, err := a.requests(c, q, most)
		if err != nil || a.json {
			return firstError(err, func() error { return printRows(c.OutOrStdout(), rows) })
		}
		return requestTable(rows).print(c.OutOrStdout())
	})
	return c
}

// requests reads page after page until there are enough.
func (a *usageAsk) requests(c *cobra.Command, q url.Values, most int) (rows []gjson.Result, err error) {
	for len(rows) < most {
		q.Set("limit", strconv.Itoa(min(most-len(rows), 1000)))
		answer, err := a.call(c.Context(), http.MethodGet, "/usage/requests?"+q.Encode(), nil)
		if err != nil {
			return nil, err
		}
		rows = append(rows, answer.Get("data").Array()...)
		if !answer.Get("has_more").Bool() {
			break
		}
		q.Set("after", answer.Get("last_id").String())
	}
	return rows, nil
}

func requestTable(rows []gjson.Result) *grid {
	g := &grid{}
	for _, field := range words("time request_id tenant key model provider outcome") {
		at := g.text(strings.ToUpper(field))
		for _, v := range fields(rows, field) {
			g.add(at, v.String())
		}
	}
	for _, column := range []struct {
		head, field string
		cell        func(gjson.Result) string
	}{{"PROMPT", "prompt_tokens", gjson.Result.String}, {"COMPLETION", "completion_tokens", gjson.Result.String}, {"COST", "cost_usd", nil},
		{"FIRST", "first_token_ms", latency}, {"TOTAL", "total_ms", latency}} {
		g.numbers(column.head, fields(rows, column.field), column.cell)
	}
	return g
}

func fields(rows []gjson.Result, name string) []gjson.Result {
	list := make([]gjson.Result, len(rows))
	for i, r := range rows {
		list[i] = r.Get(name)
	}
	return list
}
