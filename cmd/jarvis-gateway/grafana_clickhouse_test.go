package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/bench/chdb"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/usage/store"
	"jarvis-gateway/proxy/wire"
)

// spent is forty days of traffic in a real ClickHouse, which the dashboards of costs ask.
type spent struct {
	*store.Store
	url        string // of its HTTP interface
	since, now time.Time
	records    []*usage.Record
}

func newSpent(t *testing.T) *spent {
	t.Helper()
	at := chdb.Start(t)
	s := &spent{url: strings.TrimSuffix(strings.TrimPrefix(at, "clickhouse+"), "/default"), now: time.Now().UTC()}
	s.since = s.now.Add(-40 * 24 * time.Hour)
	var err error
	if s.Store, err = store.Open(t.Context(), at, store.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var opinions []*usage.Feedback
	for i := range 4000 {
		record := s.record(r, i)
		if i%8 > 0 && i%8 < 4 {
			callOf(s.records[i-i%8], record, i%8)
		}
		s.records = append(s.records, record)
		if i%9 == 0 {
			opinions = append(opinions, &usage.Feedback{UID: usage.NewUID(record.Time), Time: record.Time, Request: record.ID, Of: record.UID, Tenant: record.Tenant,
				Key: record.Key, Score: float64(r.IntN(5)) / 4, Model: record.Model, Prompt: record.Prompt})
		}
	}
	if err := s.Write(t.Context(), "all of it", s.records, opinions); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *spent) record(r *rand.Rand, i int) *usage.Record {
	pick := func(names ...string) string { return names[r.IntN(len(names))] }
	at := s.now.Add(-time.Duration(r.Int64N(int64(s.now.Sub(s.since)))))
	if i == 0 {
		at = s.since
	}
	used := usage.Usage{Prompt: r.Int64N(4000), Completion: r.Int64N(900)}
	used.CachedPrompt = used.Prompt / 3
	record := &usage.Record{
		UID: usage.NewUID(at), Time: at, ID: fmt.Sprint("req_", i), Tenant: pick("acme", "o'hara"), Team: pick("", "search"), Key: pick("main", "batch"), User: pick("", "ann", "bob"),
		Scene: pick("", "chat", "mail"), Endpoint: "chat", Model: pick("chat", "small"), Provider: pick("openai", "gpu"), Served: "m", Cache: pick("", "", "miss", "exact"), Prompt: pick("", "support@1.0.0"),
		Corpus: pick("", "", "handbook@3f9a2c1d", "faq@0a1b2c3d"), Usage: used, Cost: wire.Money(r.Int64N(20_000_000)), First: time.Duration(1+r.Int64N(900)) * time.Millisecond,
		Total: time.Duration(1+r.Int64N(9000)) * time.Millisecond, Status: 200, Outcome: pick("ok", "ok", "ok", "timeout", "client_gone"), Finish: "stop",
		Attempts: []usage.Attempt{{Model: "chat", Provider: "openai", Result: "ok", Usage: used}},
	}
	if record.Cache == "exact" {
		servedByNobody(record)
		record.Saved = wire.Money(1 + r.Int64N(20_000_000))
	}
	if i%8 == 0 {
		record.Flow, record.Cache, record.Corpus = pick("triage@1.0.0", "triage@1.1.0", "digest@2.0.0"), "", ""
		record.Model, record.Saved = "flow/"+strings.Split(record.Flow, "@")[0], 0
		servedByNobody(record)
	}
	return record
}

// servedByNobody has a record be that of a request for which no provider was asked.
func servedByNobody(r *usage.Record) {
	r.Provider, r.Usage, r.Cost, r.Attempts = "", usage.Usage{}, 0, nil
}

// callOf has a record be that of a call that a flow's run made.
func callOf(run, r *usage.Record, n int) {
	r.Flow, r.Tenant, r.Team, r.Key, r.User, r.Scene = run.Flow, run.Tenant, run.Team, run.Key, run.User, run.Scene
	r.Time = run.Time.Add(time.Duration(n) * time.Millisecond)
	r.ID = run.ID + []string{"", ".sort", ".parts.0", ".parts.1"}[n]
}

// Every question that dashboards put to ClickHouse has an answer, whether all is chosen or one, and what they say of money is what
// the records, and the usage API, say.
func TestDashboardsOnClickHouse(t *testing.T) {
	s := newSpent(t)
	all, acme := s.filler(map[string]string{}), s.filler(map[string]string{"tenant": "acme", "model": "chat", "provider": "openai", "corpus": "handbook", "flow": "triage"})
	n := 0
	for _, b := range boards(t) {
		for _, p := range b.Panels {
			for _, q := range p.Targets {
				if q.RawSQL == "" {
					continue
				}
				for _, fill := range []func(string) string{all, acme} {
					s.answers(t, fmt.Sprintf("%s, %v", b.file, p), fill(q.RawSQL), q.QueryType)
				}
				n++
			}
		}
		for _, v := range b.Templating.List {
			if v.Datasource != nil && v.Datasource.Type == "grafana-clickhouse-datasource" {
				if rows := s.query(t, "the variable "+v.Name, v.Query); len(rows) < 2 {
					t.Errorf("%s: the variable %s is one of %v", b.file, v.Name, rows)
				}
				n++
			}
		}
	}
	t.Logf("%d questions of dashboards answered by ClickHouse", n)

	var cost, ofAcme wire.Money
	for _, r := range s.records {
		cost += r.Cost
		if r.Tenant == "acme" && r.Model == "chat" {
			ofAcme += r.Cost
		}
	}
	panel := sqlOf(t, "cost.json", "Cost")
	near(t, "the cost of all", s.number(t, all(panel)), float64(cost)/1e9)
	near(t, "the cost of one", s.number(t, acme(panel)), float64(ofAcme)/1e9)
	sum := 0.0
	for _, row := range s.query(t, "top spenders", all(sqlOf(t, "cost.json", "Top spenders"))) {
		sum += row["cost"].(float64)
	}
	near(t, "what the top spenders spent", sum, float64(cost)/1e9)
	answer, err := s.Ask(t.Context(), store.Question{Since: s.since.Add(-time.Hour), Until: s.now.Add(time.Hour)})
	if err != nil || answer.Total.Cost != cost {
		t.Errorf("the API says %v, not %v: %v", answer, cost, err)
	}
	s.sameOfFeatures(t, all, acme)
	for name, where := range map[string]map[string][]string{"": nil, "acme": {"tenant": {"acme"}, "model": {"chat"}}} {
		f, err := s.Forecast(t.Context(), store.Question{Until: time.Now(), Where: where})
		if err != nil || len(f) != 1 {
			t.Fatal(f, err)
		}
		fill := all
		if name != "" {
			fill = acme
		}
		got, want := s.number(t, fill(sqlOf(t, "cost.json", "Expected this month"))), float64(f[0].Expected)/1e9
		if want == 0 || math.Abs(got-want) > want/1000 { // some seconds have passed between the two
			t.Errorf("the dashboard expects %v of %q, the API %v", got, name, want)
		}
	}
}

// sameOfFeatures compares what dashboards say of the cache, corpora and flows with the records.
func (s *spent) sameOfFeatures(t *testing.T, all, chosen func(string) string) {
	t.Helper()
	var saved, ofChat, ofTenant, informed, flowed wire.Money
	var runs, calls, steps, parts float64
	for _, r := range s.records {
		saved += r.Saved
		if r.Model == "chat" {
			ofChat += r.Saved // though it has no provider
		}
		if r.Tenant == "acme" {
			ofTenant += r.Saved
		}
		if r.Model == "chat" && strings.HasPrefix(r.Corpus, "handbook@") {
			informed += r.Cost
		}
		if strings.HasPrefix(r.Flow, "triage@") {
			flowed += r.Cost
			if strings.HasPrefix(r.Model, "flow/") {
				runs++
			} else {
				calls++
			}
		}
	}
	near(t, "what the cache saved", s.number(t, all(sqlOf(t, "cache.json", "Saved"))), float64(saved)/1e9)
	near(t, "what it saved of one model", s.number(t, chosen(sqlOf(t, "cache.json", "Saved"))), float64(ofChat)/1e9)
	near(t, "what it saved for one tenant", s.number(t, chosen(sqlOf(t, "tenant.json", "Saved"))), float64(ofTenant)/1e9)
	near(t, "the cost of requests with passages", s.number(t, chosen(sqlOf(t, "rag.json", "Cost"))), float64(informed)/1e9)
	near(t, "the cost of a run", s.number(t, chosen(sqlOf(t, "flows.json", "Cost of one run"))), float64(flowed)/1e9/runs)
	near(t, "the calls of a run", s.number(t, chosen(sqlOf(t, "flows.json", "Calls of one run"))), calls/runs)
	for _, row := range s.query(t, "steps", chosen(sqlOf(t, "flows.json", "Steps"))) {
		if steps += row["calls"].(float64); row["step"] == "parts" {
			parts += row["calls"].(float64)
		}
	}
	near(t, "the calls of all steps", steps, calls)
	near(t, "the calls for each item", parts, calls*2/3)
	if rows := s.query(t, "runs", chosen(sqlOf(t, "flows.json", "Runs"))); len(rows) == 0 || slices.ContainsFunc(rows, func(row map[string]any) bool { return row["calls"] != 3.0 }) {
		t.Errorf("runs have made 3 calls each, but are shown as %v", rows)
	}
}

// sqlOf is what a panel asks ClickHouse.
func sqlOf(t *testing.T, file, title string) string {
	t.Helper()
	for _, b := range boards(t) {
		for _, p := range b.Panels {
			if b.file == file && p.Title == title && len(p.Targets) > 0 && p.Targets[0].RawSQL != "" {
				return p.Targets[0].RawSQL
			}
		}
	}
	t.Fatalf("%s has no panel %s", file, title)
	return ""
}

// query asks, with the rights of one who may only read.
func (s *spent) query(t *testing.T, what, sql string) (rows []map[string]any) {
	t.Helper()
	res, err := http.Post(s.url+"/?"+url.Values{"default_format": {"JSON"}, "database": {"default"}, "output_format_json_quote_64bit_integers": {"0"}}.Encode(), "text/plain", strings.NewReader(sql))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Data []map[string]any }
	if err = json.Unmarshal(body, &answer); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("%s: %d %s\n%s", what, res.StatusCode, body[:min(len(body), 600)], sql)
	}
	return answer.Data
}

func (s *spent) number(t *testing.T, sql string) float64 {
	t.Helper()
	rows := s.query(t, "a number", sql)
	if len(rows) != 1 || len(rows[0]) != 1 {
		t.Fatalf("%v\n%s", rows, sql)
	}
	for _, v := range rows[0] {
		n, _ := v.(float64)
		return n
	}
	return 0
}

// answers checks that there is something to see: a number in every row's column that has any, and a time in each row of a series.
func (s *spent) answers(t *testing.T, what, sql, kind string) {
	t.Helper()
	rows := s.query(t, what, sql)
	finite := slices.ContainsFunc(rows, func(row map[string]any) bool {
		for _, v := range row {
			if n, ok := v.(float64); ok && !math.IsNaN(n) {
				return true
			}
		}
		return false
	})
	if !finite {
		t.Errorf("%s: no number in %v\n%s", what, rows, sql)
	}
	if kind == "timeseries" && len(rows) > 0 && rows[0]["time"] == nil {
		t.Errorf("%s: no time in %v", what, rows[0])
	}
}

var conditional = regexp.MustCompile(`\$__conditionalAll\((.*?), \$(\w+)\)`)

// filler does what Grafana and its plugin for ClickHouse do: it puts in what was chosen, all where nothing was, and the range.
func (s *spent) filler(chosen map[string]string) func(string) string {
	quoted := func(name string) string {
		value := chosen[name]
		if value == "" {
			value = "acme" // of the one variable that always has a value
		}
		return "'" + strings.ReplaceAll(value, "'", `\'`) + "'"
	}
	values := regexp.MustCompile(`\$\{(\w+):singlequote\}`)
	interval := regexp.MustCompile(`\$__timeInterval\(([\w.]+)\)`)
	unix := func(t time.Time) string { return "toDateTime(" + strconv.FormatInt(t.Unix(), 10) + ")" }
	return func(sql string) string {
		sql = conditional.ReplaceAllStringFunc(sql, func(m string) string {
			parts := conditional.FindStringSubmatch(m)
			if chosen[parts[2]] == "" {
				return "1=1"
			}
			return parts[1]
		})
		sql = values.ReplaceAllStringFunc(sql, func(m string) string { return quoted(values.FindStringSubmatch(m)[1]) })
		sql = interval.ReplaceAllString(sql, "toStartOfInterval(toDateTime($1), INTERVAL 3600 second)")
		return strings.NewReplacer("$__fromTime", unix(s.since.Add(-time.Minute)), "$__toTime", unix(s.now.Add(time.Minute))).Replace(sql)
	}
}
