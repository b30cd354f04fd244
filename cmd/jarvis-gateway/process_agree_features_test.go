package main

import (
	"encoding/csv"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/prometheus"
)

// What the cache, corpora and flows did is told the same by everybody in TestEveryoneSaysTheSame, and where SQLite keeps the records.

const (
	agreedHandbook = "# Leave\n\n## Carry-over\n\nUp to five days are carried over to the next year.\n"
	agreedExpenses = "# Expenses\n\nSend receipts within a month. A hotel may cost 220 euros.\n"

	// agreedFlow has calls that the cache answers, that get passages, that fail, and a step that is skipped.
	agreedFlow = `name: triage
version: 1.0.0
steps:
  - {id: sort, ask: {model: kept, user: "{{ input }}"}}
  - {id: look, ask: {model: told, user: "{{ input }}"}}
  - {id: hope, ask: {model: lost, user: "{{ input }}"}, on_error: continue}
  - {id: never, if: "false", ask: {model: kept, user: "{{ input }}"}}
output: "{{ steps.sort.text }}"
`
	agreedStrict = "name: strict\nversion: 2.1.0\nsteps: [{id: ask, ask: {model: lost, user: \"{{ input }}\"}}]\noutput: x\n"
)

// featured is requests that the cache answers and does not, that get passages and do not, and flows.
func (w *agreed) featured(t *testing.T) {
	client := clients(t)
	texts := []string{"How many days can I carry over to the next year?", "What may a hotel cost?", "Write a poem.", "Say hello."}
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(11, uint64(n)))
			for i := range 24 {
				model := []string{"kept", "kept", "told", "both", "flow/triage", "flow/strict"}[random.IntN(6)]
				q := question{model: model, text: texts[random.IntN(len(texts))], stream: random.IntN(2) == 0, most: 50}
				if q.stream && model == "kept" && random.IntN(3) == 0 {
					q.leaveAfter = 1
				}
				w.one(client, []string{"acme", "acme-red", "globex"}[random.IntN(3)], fmt.Sprintf("featured-%d-%d", n, i), &q)
			}
		})
	}
	wg.Wait()
	if status, body := w.send(t, http.MethodPost, "/v1/chat/completions", "acme", `{"model":"both","store":true,"messages":[{"role":"user","content":"hi"}]}`); status != 200 { // it goes round the cache
		t.Error(status, body)
	}
}

// portion is what was used of one value that a question is grouped by.
type portion struct{ requests, prompt, completion, nano, saved int64 }

func (s portion) plus(o portion) portion {
	return portion{s.requests + o.requests, s.prompt + o.prompt, s.completion + o.completion, s.nano + o.nano, s.saved + o.saved}
}

type portions map[string]portion

// of keeps of each name what cut makes of it, where it is not empty.
func (s portions) of(cut func(name string) string) portions {
	all := portions{}
	for name, one := range s {
		if name = cut(name); name != "" {
			all[name] = all[name].plus(one)
		}
	}
	return all
}

// measured is one measure of them, where there is any.
func (s portions) measured(measure func(portion) int64) map[string]int64 {
	all := map[string]int64{}
	for name, one := range s {
		if n := measure(one); n != 0 {
			all[name] = n
		}
	}
	return all
}

func equal[V comparable](t *testing.T, what string, want, got map[string]V) {
	t.Helper()
	if !maps.Equal(want, got) {
		t.Errorf("%s: %v, the API says %v", what, got, want)
	}
}

// sharesIn reads an answer of the API.
func sharesIn(t *testing.T, body string, by ...string) portions {
	t.Helper()
	all := portions{}
	for _, row := range gjson.Get(body, "data").Array() {
		var name []string
		for _, group := range by {
			name = append(name, row.Get("group."+group).Str)
		}
		cost, err := moneyIn(row.Get("cost_usd").Raw)
		if err != nil {
			t.Fatal(err, body)
		}
		saved, err := moneyIn(row.Get("saved_usd").Raw)
		if err != nil {
			t.Fatal(err, body)
		}
		all[strings.Join(name, " ")] = portion{row.Get("requests").Int(), row.Get("prompt_tokens").Int(), row.Get("completion_tokens").Int(), cost, saved}
	}
	return all
}

// shared asks the API, and has both formats of the command say the same.
func (w *agreed) shared(t *testing.T, by ...string) portions {
	t.Helper()
	groups := strings.Join(by, ",")
	all := sharesIn(t, w.must("/admin/v1/usage?limit=1000&by="+groups), by...)
	t.Setenv("JARVIS_ADMIN", "http://"+w.at.Load().private)
	out, _ := ran(t, "usage", "--by", groups, "--limit", "1000", "--format", "json")
	equal(t, "usage --format json --by "+groups, all, sharesIn(t, out, by...))
	out, _ = ran(t, "usage", "--by", groups, "--limit", "1000", "--format", "csv")
	sheet, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	printed := portions{}
	for _, cells := range sheet[1:] {
		cell := func(name string) string { return cells[slices.Index(sheet[0], name)] }
		number := func(name string) int64 { return gjson.Parse(cell(name)).Int() }
		s := portion{requests: number("requests"), prompt: number("prompt_tokens"), completion: number("completion_tokens")}
		if s.nano, err = moneyIn(cell("cost_usd")); err != nil {
			t.Fatal(err)
		}
		if s.saved, err = moneyIn(cell("saved_usd")); err != nil {
			t.Fatal(err)
		}
		printed[strings.Join(cells[:len(by)], " ")] = s
	}
	equal(t, "usage --format csv --by "+groups, all, printed)
	return all
}

// counted is a metric of the gateway, summed up by some labels, whose values are joined by a blank.
type counted func(name string, by ...string) map[string]float64

// askedOf has Prometheus sum up.
func askedOf(t *testing.T, p *prometheus.Server) counted {
	return func(name string, by ...string) map[string]float64 {
		t.Helper()
		samples, err := p.Query("sum by (" + strings.Join(by, ",") + ") (" + name + ")")
		if err != nil {
			t.Fatal(err)
		}
		return sums(samples, by)
	}
}

func sums(samples []prometheus.Sample, by []string) map[string]float64 {
	all := map[string]float64{}
	for _, s := range samples {
		var name []string
		for _, label := range by {
			name = append(name, s.Labels[label])
		}
		all[strings.Join(name, " ")] += s.Value
	}
	return all
}

// scrape reads what Prometheus would.
func (w *agreed) scrape(t *testing.T) counted {
	text := w.must("/metrics")
	return func(name string, by ...string) map[string]float64 {
		t.Helper()
		metric, want, _ := strings.Cut(strings.TrimSuffix(name, "}"), "{")
		var samples []prometheus.Sample
		for line := range strings.Lines(text) {
			rest, ok := strings.CutPrefix(line, metric+"{")
			if labels, value, found := strings.Cut(rest, "} "); ok && found && strings.Contains(labels, want) {
				s := prometheus.Sample{Labels: map[string]string{}, Value: gjson.Parse(value).Float()}
				for label := range strings.SplitSeq(labels, `",`) {
					name, value, _ := strings.Cut(strings.TrimSuffix(label, `"`), `="`)
					s.Labels[name] = value
				}
				samples = append(samples, s)
			}
		}
		return sums(samples, by)
	}
}

// whole are those that are not 0.
func whole(all map[string]float64, unit float64) map[string]int64 {
	out := map[string]int64{}
	for name, v := range all {
		if n := nano(v * unit / 1e9); n != 0 {
			out[name] = n
		}
	}
	return out
}

func nameItself(name string) string  { return name } // which "" is not
func requestsIn(s portion) int64     { return s.requests }
func savedOf(s portion) int64        { return s.saved }
func versionless(name string) string { name, _, _ = strings.Cut(name, "@"); return name }

// flowOf is the flow that a model is; "" for any other.
func flowOf(model string) string {
	if name, ok := strings.CutPrefix(model, "flow/"); ok {
		return name
	}
	return ""
}

// ofCache is a name that begins with a result of the cache.
func ofCache(name string) string {
	if strings.HasPrefix(name, " ") {
		return ""
	}
	return name
}

func joined(a map[string]int64) (n int64) {
	for _, v := range a {
		n += v
	}
	return n
}

// features compares the API with the commands and the metrics.
func (w *agreed) features(t *testing.T, metrics counted) {
	byCache, byCorpus, byFlow := w.shared(t, "cache"), w.shared(t, "corpus"), w.shared(t, "flow")
	models, tenants := w.shared(t, "cache", "model"), w.shared(t, "tenant", "model")
	for what, n := range map[string]int64{"hits": byCache["exact"].requests, "misses": byCache["miss"].requests, "savings": byCache["exact"].saved, "requests without a cache": byCache[""].requests,
		"cost of hits": 1 - byCache["exact"].nano, "savings of misses": 1 - byCache["miss"].saved, "corpora": int64(len(byCorpus)) - 1, "flows": int64(len(byFlow)) - 2} {
		if n <= 0 {
			t.Errorf("there are no %s: %v %v %v", what, byCache, byCorpus, byFlow)
		}
	}
	looks := whole(metrics(`jarvis_cache_requests_total`, "result"), 1)
	equal(t, "metrics of the cache", byCache.of(nameItself).measured(requestsIn), map[string]int64{"exact": looks["hit"] + looks["shared"], "miss": looks["miss"]})
	if looks["bypass"] == 0 {
		t.Errorf("nothing went round the cache: %v", looks)
	}
	hits := map[string]int64{}
	for name, n := range whole(metrics(`jarvis_cache_requests_total`, "result", "model"), 1) {
		result, model, _ := strings.Cut(name, " ")
		if result = map[string]string{"hit": "exact", "shared": "exact", "miss": "miss"}[result]; result != "" {
			hits[result+" "+model] += n
		}
	}
	equal(t, "metrics of the cache by model", models.of(ofCache).measured(requestsIn), hits)
	equal(t, "metrics of savings", tenants.measured(savedOf), whole(metrics(`jarvis_cache_saved_usd_total`, "tenant", "model"), 1e9))
	equal(t, "metrics of corpora", byCorpus.of(versionless).measured(requestsIn), whole(metrics(`jarvis_rag_retrievals_total{result="found"}`, "corpus"), 1))
	runs := w.shared(t, "model").of(flowOf).measured(requestsIn)
	equal(t, "metrics of runs", runs, whole(metrics(`jarvis_flow_runs_total`, "flow"), 1))
	steps := joined(whole(metrics(`jarvis_flow_steps_total{outcome="ok"}`, "flow"), 1)) + joined(whole(metrics(`jarvis_flow_steps_total{outcome="failed"}`, "flow"), 1))
	if n := joined(byFlow.of(versionless).measured(requestsIn)); n != steps+joined(runs) {
		t.Errorf("metrics of steps: %d calls and %d runs, the API says %d", steps, joined(runs), n)
	}
	own := portions{}
	for _, tenant := range []string{"acme", "globex"} {
		status, body := w.send(t, http.MethodGet, "/v1/usage?by=cache&limit=1000", tenant, "")
		if status != 200 {
			t.Fatal(body)
		}
		for name, s := range sharesIn(t, body, "cache").of(nameItself) {
			own[name] = own[name].plus(s)
		}
	}
	equal(t, "GET /v1/usage by cache", byCache.of(nameItself), own)
}

// boards compares the API with the dashboards' SQL.
func (w *agreed) boards(t *testing.T) {
	s, fill := w.board, w.board.filler(map[string]string{})
	ask := func(title, file string) []map[string]any { return s.query(t, title, fill(sqlOf(t, file, title))) }
	number := func(row map[string]any, name string) float64 { v, _ := row[name].(float64); return v }
	text := func(row map[string]any, name string) string { v, _ := row[name].(string); return v }
	tenants := w.shared(t, "tenant", "model")
	total := joined(tenants.measured(savedOf))
	for _, file := range []string{"cache.json", "cost.json"} {
		if got := nano(s.number(t, fill(sqlOf(t, file, "Saved")))); got != total {
			t.Errorf("the panel Saved of %s: %d, the API says %d", file, got, total)
		}
	}
	saved, calls, hits := map[string]int64{}, map[string]int64{}, int64(0)
	for _, row := range ask("Saved, by tenant and model", "cache.json") {
		name := text(row, "tenant") + " " + text(row, "model")
		if n := nano(number(row, "saved")); n != 0 {
			saved[name] = n
		}
		calls[name] = int64(number(row, "calls"))
		hits += nano(number(row, "hits") * number(row, "calls") / 1e9)
	}
	equal(t, "the panel Saved, by tenant and model", tenants.measured(savedOf), saved)
	byCache := w.shared(t, "cache")
	if hits != byCache["exact"].requests || joined(calls) != byCache["exact"].requests+byCache["miss"].requests {
		t.Errorf("the panel says %d hits of %d, the API %v", hits, joined(calls), byCache)
	}
	spenders := map[string]int64{}
	for _, row := range ask("Top spenders", "cost.json") {
		if n := nano(number(row, "saved")); n != 0 {
			spenders[text(row, "tenant")] += n
		}
	}
	equal(t, "savings in the panel Top spenders", tenants.of(func(name string) string { name, _, _ = strings.Cut(name, " "); return name }).measured(savedOf), spenders)
	read := func(rows []map[string]any, group string, requests func(row map[string]any) float64) portions {
		all := portions{}
		for _, row := range rows {
			all[text(row, group)+"@"+text(row, "version")] = portion{requests: nano(requests(row) / 1e9), prompt: int64(number(row, "read")), completion: int64(number(row, "written")), nano: nano(number(row, "cost"))}
		}
		return all
	}
	unsaved := func(all portions) portions { // which these panels do not tell
		some := all.of(nameItself)
		for name, s := range some {
			s.saved = 0
			some[name] = s
		}
		return some
	}
	equal(t, "the panel Corpora", unsaved(w.shared(t, "corpus")), read(ask("Corpora", "rag.json"), "corpus", func(row map[string]any) float64 { return number(row, "calls") }))
	flows := ask("Flows", "flows.json")
	equal(t, "the panel Flows", unsaved(w.shared(t, "flow")), read(flows, "flow", func(row map[string]any) float64 { return number(row, "runs") * (1 + number(row, "calls")) }))
	runs := map[string]int64{}
	for _, row := range flows {
		runs[text(row, "flow")] = int64(number(row, "runs"))
	}
	equal(t, "runs in the panel Flows", w.shared(t, "model").of(flowOf).measured(requestsIn), runs)
}

// SQLite answers as ClickHouse does.
func TestFeaturesSayTheSameInSQLite(t *testing.T) {
	w := newAgreed(t, "sqlite:${DIR}/usage.db")
	w.featured(t)
	eventually(t, "all counted and delivered", func() bool {
		return w.metric("jarvis_requests_in_flight") == 0 && w.metric("jarvis_usage_spooled") == 0
	})
	w.features(t, w.scrape(t))
}
