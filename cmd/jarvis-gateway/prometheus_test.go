package main

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/bench/prometheus"
)

const configsOfPrometheus = "../../configs/prometheus"

// The tools that come with Prometheus and Alertmanager accept the examples, and the alerts' own tests pass.
func TestPrometheusConfigs(t *testing.T) {
	for _, args := range [][]string{
		{"promtool", "check", "config", "prometheus.yml"},
		{"promtool", "check", "rules", "--lint-fatal", "rules/recording.yml", "rules/alerts.yml"},
		{"promtool", "test", "rules", "tests/alerts.yml", "tests/burns.yml"},
		{"amtool", "check-config", "alertmanager.yml"},
	} {
		t.Run(strings.Join(args[:len(args)-1], " "), func(t *testing.T) {
			bin, err := exec.LookPath(args[0])
			if err != nil {
				t.Skip(args[0] + " is not installed")
			}
			cmd := exec.Command(bin, args[1:]...)
			cmd.Dir = configsOfPrometheus
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// rules are a file of them.
type rules struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Record, Alert, Expr string
	For                 string
	Labels, Annotations map[string]string
}

func readRules(t *testing.T, name string) (list []rule) {
	t.Helper()
	var file rules
	if err := yaml.Unmarshal([]byte(readFile(t, filepath.Join(configsOfPrometheus, "rules", name))), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		list = append(list, g.Rules...)
	}
	return list
}

// Every alert tells how bad it is, what it is about and what to do, and a test has it fire and not fire.
func TestAlertsAreTold(t *testing.T) {
	type asked struct {
		Expr string
		Exp  []struct{ Labels string } `yaml:"exp_samples"`
	}
	var all []asked
	for _, name := range []string{"alerts.yml", "burns.yml"} {
		var file struct {
			Tests []struct {
				Asked []asked `yaml:"promql_expr_test"`
			}
		}
		if err := yaml.Unmarshal([]byte(readFile(t, filepath.Join(configsOfPrometheus, "tests", name))), &file); err != nil {
			t.Fatal(err)
		}
		for _, test := range file.Tests {
			all = append(all, test.Asked...)
		}
	}
	fires, rests := map[string]bool{}, map[string]bool{}
	for _, r := range readRules(t, "alerts.yml") {
		for _, a := range all {
			if m := regexp.MustCompile(`alertname=~?"([^"]+)"`).FindStringSubmatch(a.Expr); m == nil || !regexp.MustCompile("^(?:"+m[1]+")$").MatchString(r.Alert) {
				continue
			}
			fires[r.Alert] = fires[r.Alert] || slices.ContainsFunc(a.Exp, func(e struct{ Labels string }) bool {
				return strings.Contains(e.Labels, `alertname="`+r.Alert+`",alertstate="firing"`) && strings.Contains(e.Labels, `severity="`+r.Labels["severity"]+`"`)
			})
			rests[r.Alert] = rests[r.Alert] || len(a.Exp) == 0
		}
		if !slices.Contains([]string{"page", "warning", "notice"}, r.Labels["severity"]) || !strings.HasSuffix(r.Annotations["summary"], ".") || len(r.Annotations["runbook"]) < 80 {
			t.Errorf("%s: %v %v", r.Alert, r.Labels, r.Annotations)
		}
		if !fires[r.Alert] || !rests[r.Alert] {
			t.Errorf("%s: tested when it fires: %t, when it does not: %t", r.Alert, fires[r.Alert], rests[r.Alert])
		}
	}
}

const scrapedConfig = `
stores: {state: "sqlite:${DIR}/state.db"}
telemetry: {otlp: "${OTLP}", sample: 100%}
providers:
  up: {kind: openai, base_url: "${UP}/v1", api_key: sk-up-0123456789abcdef}
  sick: {kind: openai, base_url: "${SICK}/v1", api_key: sk-up-0123456789abcdef}
  refusing: {kind: openai, base_url: "${UP}/v1", api_key: sk-revoked-0123456789}
  gpu: {kind: vllm, replicas: ["${GPU}", "${GPU2}"]}
models:
  chat: {targets: [{provider: up, model: gpt-4o}]}
  shaky: {targets: [{provider: sick, model: gpt-4o}, {provider: up, model: gpt-4o}]}
  lost: {targets: [{provider: sick, model: gpt-4o-mini}], fallback: [chat]}
  keyed: {targets: [{provider: refusing, model: gpt-4o}, {provider: up, model: gpt-4o}]}
  own: {targets: [{provider: gpu, model: fake}]}
  kept: {targets: [{provider: up, model: gpt-4o}], cache: {exact: 10m}}
  told: {targets: [{provider: up, model: gpt-4o}], rag: {corpus: handbook, top_k: 3}}
  sad: {targets: [{provider: sick, model: gpt-4o-mini}]}
corpora: {handbook: {files: [leave.md, expenses.md]}}
flows: {dir: "${FLOWS}"}
tenants:
  watched: {limits: {spend: $100/month}, keys: [{name: main, key: jv-watched-0123456789abcdef}]}
  few: {limits: {requests: 2/d}, keys: [{name: main, key: jv-few-0123456789abcdef}]}
  patient: {limits: {concurrency: 1, on_exceed: queue}, keys: [{name: main, key: jv-patient-0123456789abcdef}]}
`

// scrapedFlow has steps that go well, fail, and are skipped.
const scrapedFlow = `
name: triage
version: 1.0.0
steps:
  - {id: sort, ask: {model: chat, user: "{{ input }}", max_tokens: 9}}
  - {id: hope, ask: {model: sad, user: "{{ input }}"}, on_error: continue}
  - {id: never, if: "false", ask: {model: chat, user: "{{ input }}"}}
  - {id: parts, each: {of: '["a", "b"]', as: part, parallel: 2, ask: {model: kept, user: "{{ part }}", max_tokens: 9}}}
output: "{{ steps.sort.text }}"
`

// lostFlow fails.
const lostFlow = `
name: lost
version: 2.0.0
steps: [{id: ask, ask: {model: sad, user: "{{ input }}"}}]
output: "{{ steps.ask.text }}"
`

// scraped is a gateway that a Prometheus looks at, and what is behind it.
type scraped struct {
	*process
	up *fakellm.Server
}

func newScraped(t *testing.T) *scraped {
	t.Helper()
	bin, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asProgram, "1") // a process of its own: what other tests count is not in its metrics
	var servers [2]*fakellm.Server
	for i, plan := range []fakellm.Plan{{Delay: 5 * time.Millisecond, Cached: 3}, {Status: 500}} {
		if servers[i], err = fakellm.Start(fakellm.Options{APIKey: "sk-up-0123456789abcdef", Default: plan, Quiet: true}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(servers[i].Close)
	}
	gpus := replicas(t, 2, fakellm.Options{Quiet: true, Default: fakellm.Plan{EventDelay: 5 * time.Millisecond}})
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(collector.Close)
	config := strings.NewReplacer("${OTLP}", collector.URL, "${UP}", servers[0].URL(), "${SICK}", servers[1].URL(), "${GPU}", gpus[0].URL(), "${GPU2}", gpus[1].URL(), "${FLOWS}", flowsIn(t)).Replace(scrapedConfig)
	return &scraped{newProcess(t, bin, config, "leave.md", "# Leave\n\nYou can carry over five days of leave.\n", "expenses.md", "# Expenses\n\nSend receipts within a month.\n"), servers[0]}
}

// flowsIn makes a folder of them.
func flowsIn(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{"triage.yml": scrapedFlow, "lost.yml": lostFlow} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ask sends traffic of every sort once: what is answered, streamed, refused, waits, fails and is answered by another, or from the
// cache, with passages, by a flow.
func (w *scraped) ask(t *testing.T) {
	t.Helper()
	client := clients(t)
	unique := time.Now().String()
	var wg sync.WaitGroup
	for _, q := range []question{
		{key: "watched", model: "chat"}, {key: "watched", model: "chat", stream: true}, {key: "watched", model: "shaky"}, {key: "watched", model: "lost"},
		{key: "watched", model: "keyed"}, {key: "watched", model: "own", stream: true}, {key: "watched", model: "own"}, {key: "few", model: "chat"},
		{key: "few", model: "nobody"}, {key: "patient", model: "chat"}, {key: "patient", model: "chat", stream: true}, {key: "unknown", model: "chat"},
		{key: "watched", model: "own", stream: true, leaveAfter: 2},
		{key: "watched", model: "kept"}, {key: "watched", model: "kept", text: unique}, {key: "watched", model: "kept", text: unique},
		{key: "watched", model: "told", text: "How many days of leave can I carry over?"}, {key: "watched", model: "told"},
		{key: "watched", model: "flow/triage"}, {key: "watched", model: "flow/lost"},
	} {
		q.key, q.text, q.most = "jv-"+q.key+"-0123456789abcdef", cmp.Or(q.text, "What is it?"), 9
		wg.Go(func() { q.ask(client, w.at.Load().api) })
	}
	wg.Wait()
}

// What rules and dashboards ask Prometheus has answers, with native histograms and without, and what Prometheus says of tokens and
// money is what the provider says.
func TestPrometheus(t *testing.T) {
	w := newScraped(t)
	for _, kind := range []struct {
		name     string
		features []string
	}{{"buckets", nil}, {"native histograms", []string{"native-histograms", "exemplar-storage"}}} {
		t.Run(kind.name, func(t *testing.T) {
			p := prometheus.Start(t, w.prometheus(t), kind.features...)
			eventually(t, "Prometheus looks at the gateway", func() bool {
				up, err := p.Query("up")
				return err == nil && len(up) == 1 && up[0].Value == 1
			})
			for begun := time.Now(); time.Since(begun) < 3*time.Second; time.Sleep(100 * time.Millisecond) {
				w.ask(t)
			}
			w.sameSums(t, p)
			ratios(t, p)
			var names []string
			if err := p.Get("/api/v1/label/__name__/values", nil, &names); err != nil {
				t.Fatal(err)
			}
			for _, r := range readRules(t, "recording.yml") {
				namesExist(t, names, r.Record, r.Expr)
				answers(t, p, "recorded as "+r.Record, r.Expr)
				answers(t, p, r.Record, r.Record)
			}
			for _, r := range readRules(t, "alerts.yml") {
				namesExist(t, names, r.Alert, r.Expr)
				if _, err := p.Query(r.Expr); err != nil {
					t.Errorf("%s: %v", r.Alert, err)
				}
			}
			n := 0
			for _, b := range boards(t) {
				n += b.ask(t, p, names)
			}
			t.Logf("%d expressions of dashboards answered from %s", n, kind.name)
			native, err := p.Query(`jarvis_request_duration_seconds`)
			if err != nil || (len(native) > 0) != (kind.features != nil) {
				t.Errorf("%d native histograms, %v", len(native), err)
			}
			if kind.features != nil {
				exemplary(t, p)
			}
		})
	}
}

// exemplary checks that there is a way from how long requests took to their traces.
func exemplary(t *testing.T, p *prometheus.Server) {
	t.Helper()
	for _, name := range []string{"jarvis_request_duration_seconds", "jarvis_first_token_seconds"} {
		var found []struct {
			Exemplars []struct{ Labels map[string]string }
		}
		now := time.Now()
		if err := p.Get("/api/v1/query_exemplars", url.Values{"query": {name}, "start": {fmt.Sprint(now.Unix() - 60)}, "end": {fmt.Sprint(now.Unix() + 1)}}, &found); err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 || len(found[0].Exemplars) == 0 || len(found[0].Exemplars[0].Labels["trace_id"]) != 32 {
			t.Errorf("no way from %s to traces: %v", name, found)
		}
	}
}

// prometheus is the example's configuration, in a hurry and for this gateway.
func (w *scraped) prometheus(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(configsOfPrometheus)
	if err != nil {
		t.Fatal(err)
	}
	text := readFile(t, configsOfPrometheus+"/prometheus.yml")
	for _, change := range [][2]string{
		{"scrape_interval: 15s", "scrape_interval: 200ms"}, {"evaluation_interval: 15s", "evaluation_interval: 400ms"},
		{"rules/*.yml", dir + "/rules/*.yml"}, {"127.0.0.1:8081", w.at.Load().private},
	} {
		if strings.Count(text, change[0]) != 1 {
			t.Fatalf("prometheus.yml has not %s once", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	return text
}

// gpt4o is what a token of it costs, read, read from a cache, and written, in nano-dollars.
const gpt4oPrompt, gpt4oCached, gpt4oWritten = 2500, 1250, 10_000

// sameSums waits until Prometheus has seen the last request, and compares.
func (w *scraped) sameSums(t *testing.T, p *prometheus.Server) {
	t.Helper()
	own := w.up.Stats()
	cached := w.metric(`jarvis_tokens_total{kind="cached",model="chat",provider="up",tenant="watched"}`)
	for _, want := range []struct {
		expr  string
		value float64
	}{
		{`sum(jarvis_tokens_total{provider="up",kind="prompt"})`, float64(own.PromptTokens)},
		{`sum(jarvis_tokens_total{provider="up",kind="completion"})`, float64(own.CompletionTokens)},
		{`round((sum(jarvis_cost_usd_total{provider="up"}) + sum(jarvis_tokens_total{provider="up",kind="cached"}) * 1250e-9) * 1e9)`,
			float64(own.PromptTokens*gpt4oPrompt + own.CompletionTokens*gpt4oWritten)},
		{`sum(jarvis_upstream_attempts_total{provider=~"up|refusing"})`, float64(own.Requests)},
	} {
		var got []prometheus.Sample
		var err error
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if got, err = p.Query(want.expr); err == nil && len(got) == 1 && got[0].Value == want.value {
				break
			}
		}
		if err != nil || len(got) != 1 || got[0].Value != want.value || want.value == 0 {
			t.Errorf("%s is %v (%v), the provider says %v", want.expr, got, err, want.value)
		}
	}
	if cached == 0 {
		t.Error("nothing was read from the provider's cache")
	}
}

// ratios checks how much of the traffic was answered from the cache, got passages, went well.
func ratios(t *testing.T, p *prometheus.Server) {
	t.Helper()
	for expr, want := range map[string]float64{
		`jarvis:flow_failed:ratio15m{flow="lost"}`:   1,
		`jarvis:flow_failed:ratio15m{flow="triage"}`: 0,
		`sum(rate(jarvis_flow_steps_total{step="hope",outcome="failed"}[1m])) / sum(rate(jarvis_flow_steps_total{step="hope"}[1m]))`:    1,
		`sum(rate(jarvis_flow_steps_total{step="never",outcome="skipped"}[1m])) / sum(rate(jarvis_flow_steps_total{step="never"}[1m]))`: 1,
		`round(10 * jarvis:rag_found:ratio5m{model="told"})`:                                                                            5,
	} {
		if got, err := p.Query(expr); err != nil || len(got) != 1 || got[0].Value != want {
			t.Errorf("%s is %v, not %v: %v", expr, got, want, err)
		}
	}
	if got, err := p.Query(`jarvis:cache_hits:ratio5m{model="kept"}`); err != nil || len(got) != 1 || got[0].Value < 0.5 || got[0].Value > 0.9 {
		t.Errorf("of four in five requests the cache should have the answer, but %v: %v", got, err)
	}
}

// answers checks that there is a number to see.
func answers(t *testing.T, p *prometheus.Server, what, expr string) {
	t.Helper()
	got, err := p.Query(expr)
	if err != nil || !slices.ContainsFunc(got, func(s prometheus.Sample) bool { return !math.IsNaN(s.Value) && !math.IsInf(s.Value, 0) }) {
		t.Errorf("%s: %v, %v\n%s", what, got, err, expr)
	}
}

var ownNames = regexp.MustCompile(`jarvis[_:][a-z0-9_:]+`)

// namesExist checks that there is everything that an expression names: where a part of it may be missing, a wrong name is not seen otherwise.
func namesExist(t *testing.T, names []string, what, expr string) {
	t.Helper()
	for _, name := range ownNames.FindAllString(expr, -1) {
		if base := strings.TrimSuffix(name, "_bucket"); !slices.Contains(names, base) && !slices.Contains(names, base+"_bucket") {
			t.Errorf("%s: there is no %s", what, name)
		}
	}
}

var filled = strings.NewReplacer("$__rate_interval", "1m", "$__range", "5m", "$tenant", ".*", "$model", ".*", "$provider", ".*", "$instance", ".*", "$corpus", ".*", "$flow", ".*")

// ask asks everything that a dashboard asks Prometheus, and counts it.
func (b board) ask(t *testing.T, p *prometheus.Server, names []string) (n int) {
	t.Helper()
	for _, panel := range b.Panels {
		for _, q := range panel.Targets {
			if q.Expr != "" {
				what := fmt.Sprintf("%s, %v, %s", b.file, panel, q.RefID)
				namesExist(t, names, what, q.Expr)
				answers(t, p, what, filled.Replace(q.Expr))
				n++
			}
		}
	}
	for _, v := range b.Templating.List {
		if m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Query); m != nil {
			var values []string
			if err := p.Get("/api/v1/label/"+m[2]+"/values", url.Values{"match[]": {m[1]}}, &values); err != nil || len(values) == 0 {
				t.Errorf("%s: the variable %s: %v, %v", b.file, v.Name, values, err)
			}
			n++
		}
	}
	return n
}
