package main

import (
	"encoding/csv"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/prometheus"
)

// Everybody who is asked in TestEveryoneSaysTheSame.

func (w *agreed) commands(t *testing.T) {
	t.Setenv("JARVIS_ADMIN", "http://"+w.at.Load().private)
	out, _ := ran(t, "usage", "--by", "tenant,model", "--limit", "1000", "--format", "json")
	agree(t, "usage --format json", w.ref, w.rows(t, out), func(f figure) figure { return f })
	out, _ = ran(t, "usage", "--by", "tenant,model", "--limit", "1000", "--format", "csv")
	sheet, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	all := figures{}
	for _, cells := range sheet[1:] {
		number := func(name string) int64 { return gjson.Parse(cells[slices.Index(sheet[0], name)]).Int() }
		cost, err := moneyIn(cells[slices.Index(sheet[0], "cost_usd")])
		if err != nil {
			t.Fatal(err)
		}
		all[[2]string{cells[0], cells[1]}] = figure{number("requests"), number("errors"), number("client_gone"), number("estimated"), number("prompt_tokens"),
			number("completion_tokens"), number("cached_tokens"), number("cache_write_tokens"), cost}
	}
	agree(t, "usage --format csv", w.ref, all, func(f figure) figure { return f })
	for by, sums := range map[string]figures{"tenant": w.ref.of(allPairs, byTenant), "model": w.ref.of(allPairs, byModel)} {
		agree(t, "the API by "+by, sums, w.rows(t, w.must("/admin/v1/usage?by="+by)), func(f figure) figure { return f })
	}
}

var overTime = regexp.MustCompile(`rate\(([^\[]+)\[\$__rate_interval\]\)`)

// panel is what a dashboard asks Prometheus, of all that there was in place of how fast it grows.
func (w *agreed) panel(t *testing.T, p *prometheus.Server, title, tenant, model string) []prometheus.Sample {
	t.Helper()
	expr := ""
	for _, b := range boards(t) {
		for _, panel := range b.Panels {
			if b.file == "traffic.json" && panel.Title == title {
				expr = panel.Targets[0].Expr
			}
		}
	}
	expr = strings.TrimSuffix(overTime.ReplaceAllString(expr, "$1"), " * 3600")
	expr = strings.NewReplacer("$tenant", tenant, "$model", model, "$provider", ".*").Replace(expr)
	got, err := p.Query(expr)
	if err != nil || expr == "" {
		t.Fatalf("%s: %v\n%s", title, err, expr)
	}
	return got
}

func (w *agreed) prometheus(t *testing.T, p *prometheus.Server) {
	of := func(samples []prometheus.Sample, measure func(float64) figure) figures {
		all := figures{}
		for _, s := range samples {
			all[[2]string{s.Labels["tenant"], s.Labels["model"]}] = measure(s.Value)
		}
		return all
	}
	cost := func(v float64) figure { return figure{nano: nano(v)} }
	count := func(v float64) figure { return figure{requests: int64(v)} }
	agree(t, "Prometheus, cost by tenant", w.ref.of(allPairs, byTenant), of(w.panel(t, p, "Cost per hour, by tenant", ".*", ".*"), cost), nanoOf)
	agree(t, "Prometheus, cost by model", w.ref.of(allPairs, byModel), of(w.panel(t, p, "Cost per hour, by model", ".*", ".*"), cost), nanoOf)
	// What is for no model, as a list of models, or of nobody who is known, is counted and not recorded.
	agree(t, "Prometheus, requests by tenant", w.ref.of(found, byTenant), of(w.panel(t, p, "By tenant", ".+", ".+"), count), requestsOf)
	agree(t, "Prometheus, requests by model", w.ref.of(found, byModel), of(w.panel(t, p, "By model", ".+", ".+"), count), requestsOf)
	named, err := p.Query(`sum by (tenant) (jarvis_requests_total{endpoint="chat",tenant!=""})`)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, "Prometheus, requests for answers by tenant", w.ref.of(someones, byTenant), of(named, count), requestsOf)
	copies, err := p.Query(`sum by (model) (label_replace(jarvis_shadows_total{outcome!="dropped"}, "model", "$1", "to", "(.*)"))`)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, "Prometheus, copies", w.ref.of(func(pair [2]string) bool { return pair[0] == "" }, itself), of(copies, count), requestsOf)
	estimates, err := p.Query(`sum by (model) (jarvis_usage_estimated_total)`)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, "Prometheus, estimates", w.ref.of(allPairs, byModel), of(estimates, func(v float64) figure { return figure{estimated: int64(v)} }), func(f figure) int64 { return f.estimated })
	for pair, want := range w.ref.of(found, itself) {
		kinds := map[string]int64{}
		for _, s := range w.panel(t, p, "Tokens", pair[0], pair[1]) {
			kinds[s.Labels["kind"]] = int64(s.Value)
		}
		if got := [4]int64{kinds["prompt"], kinds["completion"], kinds["cached"], kinds["cache_write"]}; got != [4]int64{want.prompt, want.completion, want.cached, want.written} {
			t.Errorf("Prometheus, tokens of %v: %v, the API says %+v", pair, kinds, want)
		}
		failed := w.panel(t, p, "Failed", pair[0], pair[1])
		rate := over(want.errors, want.requests-want.gone)
		if len(failed) != 1 || math.Abs(failed[0].Value-rate) > 1e-12 && !math.IsNaN(failed[0].Value) {
			t.Errorf("Prometheus, failures of %v: %v, the API says %v", pair, failed, rate)
		}
	}
}

func over(n, of int64) float64 { return float64(n) / float64(max(of, 1)) }

func (w *agreed) dashboards(t *testing.T) {
	s, all := w.board, w.board.filler(map[string]string{})
	read := func(rows []map[string]any) figures {
		sums := figures{}
		for _, row := range rows {
			text := func(name string) string { v, _ := row[name].(string); return v }
			number := func(name string) float64 { v, _ := row[name].(float64); return v }
			pair := [2]string{text("tenant"), text("model")}
			sums[pair] = sums[pair].plus(figure{requests: int64(number("calls")), prompt: int64(number("read")), completion: int64(number("written")), cached: int64(number("cached")),
				written: int64(number("kept")), nano: nano(number("cost"))})
		}
		return sums
	}
	ask := func(title, file string, fill func(string) string) figures {
		return read(s.query(t, title, fill(sqlOf(t, file, title))))
	}
	spending := func(f figure) [4]int64 { return [4]int64{f.requests, f.prompt, f.completion, f.nano} }
	tenants, models := w.ref.of(allPairs, byTenant), w.ref.of(allPairs, byModel)
	agree(t, "the panel Top spenders", tenants, ask("Top spenders", "cost.json", all), spending)
	agree(t, "the panel Cost and quality per model", models, ask("Cost and quality per model", "cost.json", all), func(f figure) [2]int64 { return [2]int64{f.requests, f.nano} })
	agree(t, "the panel By tenant", tenants, ask("By tenant", "cost.json", all), nanoOf)
	agree(t, "the panel By model", models, ask("By model", "cost.json", all), nanoOf)
	agree(t, "the panel Cost per key and user", tenants, ask("Cost per key and user", "cost.json", all), func(f figure) [2]int64 { return [2]int64{f.requests, f.nano} })
	agree(t, "the panel By tenant and model", w.ref, ask("By tenant and model", "cache.json", all), func(f figure) [2]int64 { return [2]int64{f.prompt, f.cached} })
	for pair, want := range tenants {
		if pair[0] == "" {
			continue // whose dashboard would that be?
		}
		own := s.filler(map[string]string{"tenant": pair[0]})
		number := func(title string) float64 { return s.number(t, own(sqlOf(t, "tenant.json", title))) }
		got := [3]int64{nano(number("Cost")), int64(number("Requests")), int64(number("Tokens"))}
		if got != [3]int64{want.nano, want.requests, tokensOf(want)} || math.Abs(number("Failed")-over(want.errors, want.requests-want.gone)) > 1e-12 {
			t.Errorf("the dashboard of %s says %v, and failed %v, the API %+v", pair[0], got, number("Failed"), want)
		}
		if got := nano(s.number(t, own(sqlOf(t, "cost.json", "Cost")))); got != want.nano {
			t.Errorf("the cost of %s is %d on the dashboard, the API says %d", pair[0], got, want.nano)
		}
	}
}

func (w *agreed) ownKeys(t *testing.T) {
	for _, tenant := range []string{"acme", "globex", "few"} {
		status, body := w.send(t, http.MethodGet, "/v1/usage?by=tenant,model&limit=1000", tenant, "")
		if status != 200 {
			t.Fatal(body)
		}
		agree(t, "GET /v1/usage", w.ref.of(func(pair [2]string) bool { return pair[0] == tenant }, itself), w.rows(t, body), func(f figure) figure { return f })
	}
}

// bills compares with what providers charge, where they say so: an answer that broke off is estimated.
func (w *agreed) bills(t *testing.T) {
	theirs := map[string]figure{}
	for _, s := range w.providers {
		for _, seen := range s.Seen() {
			b, price := seen.Billed, agreedPrices[seen.Model]
			kept := int64(0)
			if s == w.providers[2] && b.Prompt > 0 {
				kept = keptTokens
			}
			f := figure{prompt: int64(b.Prompt), completion: int64(b.Completion), cached: int64(b.Cached), written: kept}
			f.nano = (f.prompt-f.cached-kept)*price.prompt + f.cached*price.read + kept*price.kept + f.completion*price.wrote
			theirs[seen.Get("X-Request-Id")] = theirs[seen.Get("X-Request-Id")].plus(f)
		}
	}
	want, ours, compared := figures{}, figures{}, 0
	for _, row := range w.board.query(t, "the records", `SELECT id, tenant, model, toInt64(estimated) AS guessed, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, cost_nano FROM requests`) {
		number := func(name string) int64 { v, _ := row[name].(float64); return int64(v) }
		if number("guessed") > 0 {
			continue
		}
		id, _ := row["id"].(string)
		tenant, _ := row["tenant"].(string)
		model, _ := row["model"].(string)
		pair := [2]string{tenant, model}
		ours[pair] = ours[pair].plus(figure{prompt: number("prompt_tokens"), completion: number("completion_tokens"), cached: number("cached_tokens"), written: number("cache_write_tokens"), nano: number("cost_nano")})
		want[pair] = want[pair].plus(theirs[id])
		compared++
	}
	agree(t, "the providers", ours, want, promised)
	if all := w.ref.sum(); int64(compared) != all.requests-all.estimated {
		t.Errorf("%d records are not estimated, the API says %d", compared, all.requests-all.estimated)
	}
	var invoice int64 // of all calls, by themselves
	for _, row := range w.board.query(t, "the attempts", `SELECT sum(cost_nano) AS cost FROM attempts`) {
		invoice = int64(row["cost"].(float64))
	}
	if all := w.ref.sum(); invoice != all.nano {
		t.Errorf("the attempts cost %d, the requests %d", invoice, all.nano)
	}
}

func (w *agreed) accessLines(t *testing.T) {
	pairs, tenants := figures{}, figures{}
	for text := range strings.Lines(w.log.String()) {
		line := gjson.Parse(text)
		if line.Get("msg").Str != "request" || line.Get("tenant").Str == "" || line.Get("endpoint").Str != "chat" {
			continue
		}
		f := figure{requests: 1, prompt: line.Get("prompt_tokens").Int(), completion: line.Get("completion_tokens").Int(), cached: line.Get("cached_tokens").Int(), written: line.Get("cache_write_tokens").Int()}
		if cost := line.Get("cost_usd").Raw; cost != "" {
			var err error
			if f.nano, err = moneyIn(cost); err != nil {
				t.Fatal(err)
			}
		}
		f.estimated, f.gone = int64(len(line.Get("estimated").Raw)/len("true")), 0
		tenant := line.Get("tenant").Str
		tenants[[2]string{tenant}] = tenants[[2]string{tenant}].plus(f)
		pair := [2]string{tenant, agreedPrices[line.Get("served").Str].model}
		pairs[pair] = pairs[pair].plus(f)
	}
	own := w.ref.of(someones, itself)
	agree(t, "the access lines", own, pairs, promised)
	agree(t, "the access lines", own.of(allPairs, byTenant), tenants, func(f figure) [2]int64 { return [2]int64{f.requests, f.estimated} })
}

func (w *agreed) budgets(t *testing.T) {
	for pair, want := range w.ref.of(someones, byTenant) {
		at := w.limits(pair[0])
		spend, tokens := at["tenant/"+pair[0]+"/spend/month"], at["tenant/"+pair[0]+"/tokens/month"]
		if nano(spend.used) != want.nano || int64(tokens.used) != tokensOf(want) || spend.held+tokens.held != 0 {
			t.Errorf("the budgets of %s: %+v, %+v; the API says %+v", pair[0], spend, tokens, want)
		}
	}
}
