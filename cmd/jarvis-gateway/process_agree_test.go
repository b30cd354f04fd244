package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/chdb"
	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/bench/prometheus"
	"jarvis-gateway/proxy/wire"
)

// Whoever is asked what was used and what it cost says the same: the API, the commands, Prometheus, the dashboards' SQL, tenants with
// their own keys, the providers, the access lines and the budgets, to the token and to the nano-dollar.

const agreedConfig = `
prices: {file: prices.yml}
stores: {state: "sqlite:${DIR}/state.db", usage: "${STORE}"}
providers:
  first: {kind: openai, base_url: "${FIRST}/v1", api_key: sk-first}
  second: {kind: openai, base_url: "${SECOND}/v1", api_key: sk-second}
  claude: {kind: anthropic, base_url: "${CLAUDE}", api_key: sk-claude}
models:
  chat: {targets: [{provider: first, model: one-1}, {provider: second, model: two-1}], breaker: {off: true}, rollout: {to: next, percent: 40, sticky: request, rollback: {off: true}}}
  next: {targets: [{provider: second, model: next-1}]}
  small: {targets: [{provider: first, model: small-1}], breaker: {off: true}, timeout: {first_token: 500ms}, retry: {attempts: 1}, fallback: [spare]}
  spare: {targets: [{provider: second, model: spare-1}]}
  tried: {targets: [{provider: second, model: tried-1}], rollout: {to: candidate, percent: 100, shadow: true}}
  candidate: {targets: [{provider: second, model: candidate-1}]}
  claude: {targets: [{provider: claude, model: claude-1}]}
  lost: {targets: [{provider: first, model: lost-1}], breaker: {off: true}}
  kept: {targets: [{provider: first, model: kept-1}], breaker: {off: true}, cache: {exact: 1h}}
  told: {targets: [{provider: second, model: told-1}], rag: {corpus: handbook, top_k: 1}}
  both: {targets: [{provider: second, model: both-1}], rag: {corpus: expenses, top_k: 1}, cache: {exact: 1h}}
corpora: {handbook: {files: ["${DIR}/leave.md"]}, expenses: {files: ["${DIR}/expenses.md"]}}
flows: {dir: "${FLOWS}"}
tenants:
  acme:
    limits: {spend: $1000/month, tokens: 1000M/month}
    teams: {red: {}}
    keys: [{name: main, key: jv-acme-0123456789abcdef, role: tenant_admin}, {name: red, key: jv-acme-red-0123456789abcdef, team: red}]
  globex: {limits: {spend: $1000/month, tokens: 1000M/month}, keys: [{name: main, key: jv-globex-0123456789abcdef, role: tenant_admin}]}
  few: {limits: {requests: 5/d, spend: $1000/month, tokens: 1000M/month}, keys: [{name: main, key: jv-few-0123456789abcdef, role: tenant_admin}]}
`

// agreedPrices are those of what providers call the models: of a prompt's token, one read from a cache, one written to it, and one of
// the answer, in nano-dollars.
var agreedPrices = map[string]struct {
	model                     string
	prompt, read, kept, wrote int64
}{
	"one-1": {"chat", 1000, 250, 0, 4000}, "two-1": {"chat", 5000, 1250, 0, 20_000}, "next-1": {"next", 700, 70, 0, 2800}, "small-1": {"small", 150, 75, 0, 600},
	"spare-1": {"spare", 333, 33, 0, 1111}, "tried-1": {"tried", 2000, 500, 0, 8000}, "candidate-1": {"candidate", 900, 90, 0, 3700},
	"claude-1": {"claude", 3000, 300, 3750, 15_000}, "lost-1": {"lost", 1000, 100, 0, 1000},
	"kept-1": {"kept", 1700, 170, 0, 6100}, "told-1": {"told", 600, 60, 0, 2300}, "both-1": {"both", 810, 90, 0, 3300},
}

func agreedPriceFile() string {
	var b strings.Builder
	perMillion := func(nano int64) string { return fmt.Sprintf("$%v/M", float64(nano)/1000) }
	for served, p := range agreedPrices {
		fmt.Fprintf(&b, "%s: {input: %s, cached: %s, output: %s", served, perMillion(p.prompt), perMillion(p.read), perMillion(p.wrote))
		if p.kept > 0 {
			fmt.Fprintf(&b, ", write: %s", perMillion(p.kept))
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// agreed is a gateway, and everybody who knows what it did.
type agreed struct {
	*process
	providers []*fakellm.Server
	board     *spent
	begun     time.Time
	ref       figures // what the API says, by tenant and model
}

// keptTokens is how much of each prompt Claude writes to its cache.
const keptTokens = 2

func newAgreed(t *testing.T, store string) *agreed {
	t.Helper()
	bin, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asProgram, "1") // a process of its own: what other tests count is not in its metrics
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := &agreed{begun: time.Now()}
	fails := func(seen *fakellm.Seen) fakellm.Plan {
		random := rand.New(rand.NewPCG(seed, uint64(seen.Seq)))
		p := fakellm.Plan{Tokens: 1 + random.IntN(40), Cached: random.IntN(4), Reasoning: 1}
		switch luck := random.IntN(100); {
		case seen.Model == "lost-1":
			p.Status = 500
		case seen.Model == "small-1" && luck < 40:
			p.Fault = fakellm.StallBeforeFirstToken
		case luck < 20:
			p.Status = 503
		case luck < 30:
			p.Fault = fakellm.ResetBeforeHeaders
		case luck < 40:
			p.Fault = fakellm.CutMidStream
		}
		return p
	}
	for _, o := range []fakellm.Options{{Plan: fails}, {Default: fakellm.Plan{Cached: 3, EventDelay: 2 * time.Millisecond}}, {Kind: fakellm.Anthropic, Default: fakellm.Plan{Cached: 4, Written: keptTokens}}} {
		s, err := fakellm.Start(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		w.providers = append(w.providers, s)
	}
	w.board = &spent{url: strings.TrimSuffix(strings.TrimPrefix(store, "clickhouse+"), "/default"), since: w.begun}
	flows := t.TempDir()
	writeFlow(t, flows, "triage.yml", agreedFlow)
	writeFlow(t, flows, "strict.yml", agreedStrict)
	config := strings.NewReplacer("${STORE}", store, "${FIRST}", w.providers[0].URL(), "${SECOND}", w.providers[1].URL(), "${CLAUDE}", w.providers[2].URL(), "${FLOWS}", flows).Replace(agreedConfig)
	w.process = newProcess(t, bin, config, "prices.yml", agreedPriceFile(), "leave.md", agreedHandbook, "expenses.md", agreedExpenses)
	if !strings.HasPrefix(store, "clickhouse") {
		return w
	}
	if err := migrateUsage(t.Context(), filepath.Join(w.dir, "jarvis.yml"), false, io.Discard); err != nil {
		t.Fatal(err)
	}
	return w
}

// traffic is requests of every sort: answered, failed over, sent to other models, copied, cut, left, and refused for all reasons.
func (w *agreed) traffic(t *testing.T) {
	client := clients(t)
	var wg sync.WaitGroup
	for n := range 6 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(n)))
			for i := range 40 {
				model := []string{"chat", "chat", "small", "tried", "claude", "lost", "nobody"}[random.IntN(7)]
				key := []string{"acme", "acme-red", "globex"}[random.IntN(3)]
				q := question{model: model, text: prose(random, 10+random.IntN(200)), stream: model == "small" || random.IntN(2) == 0, most: 50}
				if q.stream && random.IntN(8) == 0 {
					q.leaveAfter = 2
				}
				w.one(client, key, fmt.Sprintf("%s-%d-%d", key, n, i), &q)
			}
		})
	}
	wg.Go(func() { w.featured(t) })
	wg.Wait()
	for i := range 8 {
		w.one(client, "few", fmt.Sprint("few-", i), &question{model: "chat", text: "once more"})
	}
	for _, row := range [][3]string{{"POST", "acme", `{"model":`}, {"POST", "globex", `{"messages":[]}`}, {"POST", "nobody", `{"model":"chat"}`}, {"GET", "acme", ""}} {
		path := map[string]string{"GET": "/v1/models", "POST": "/v1/chat/completions"}[row[0]]
		if status, body := w.send(t, row[0], path, row[1], row[2]); (status == 200) != (row[0] == "GET") {
			t.Errorf("%v: %d %s", row, status, body)
		}
	}
}

func keyNamed(name string) string { return "jv-" + name + "-0123456789abcdef" }

// one asks once, and reads the answer, or leaves.
func (w *agreed) one(client *http.Client, key, id string, q *question) {
	req, err := http.NewRequest(http.MethodPost, "http://"+w.at.Load().api+"/v1/chat/completions", strings.NewReader(string(q.body())))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+keyNamed(key))
	req.Header.Set("X-Request-Id", id)
	res, err := client.Do(req)
	if err != nil {
		panic(err) // it runs
	}
	defer res.Body.Close()
	if q.leaveAfter > 0 {
		_, _ = res.Body.Read(make([]byte, 100))
		return
	}
	_, _ = io.Copy(io.Discard, res.Body) // it may be cut
}

func (w *agreed) send(t *testing.T, method, path, key, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+w.at.Load().api+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+keyNamed(key))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, bodyOf(t, res)
}

// figure is what was used, of one tenant, model or both.
type figure struct {
	requests, errors, gone, estimated   int64
	prompt, completion, cached, written int64
	nano                                int64
}

func (f figure) plus(o figure) figure {
	return figure{f.requests + o.requests, f.errors + o.errors, f.gone + o.gone, f.estimated + o.estimated, f.prompt + o.prompt, f.completion + o.completion,
		f.cached + o.cached, f.written + o.written, f.nano + o.nano}
}

// figures are by tenant and model, or with only one of them.
type figures map[[2]string]figure

// of sums up what is kept, by the one of the two that is kept.
func (f figures) of(keep func(pair [2]string) bool, by func(pair [2]string) [2]string) figures {
	sums := figures{}
	for pair, one := range f {
		if keep(pair) {
			sums[by(pair)] = sums[by(pair)].plus(one)
		}
	}
	return sums
}

func allPairs([2]string) bool           { return true }
func someones(pair [2]string) bool      { return pair[0] != "" }
func byTenant(pair [2]string) [2]string { return [2]string{pair[0]} }
func byModel(pair [2]string) [2]string  { return [2]string{"", pair[1]} }
func itself(pair [2]string) [2]string   { return pair }
func found(pair [2]string) bool         { return pair[0] != "" && pair[1] != "" }
func nanoOf(f figure) int64             { return f.nano }
func requestsOf(f figure) int64         { return f.requests }
func tokensOf(f figure) int64           { return f.prompt + f.completion }
func nano(dollars float64) int64        { return int64(math.Round(dollars * 1e9)) }
func (f figures) sum() (all figure) {
	return f.of(allPairs, func([2]string) [2]string { return [2]string{} })[[2]string{}]
}
func promised(f figure) [5]int64 {
	return [5]int64{f.prompt, f.completion, f.cached, f.written, f.nano}
}
func moneyIn(raw string) (int64, error) { m, err := wire.ParseMoney(raw); return int64(m), err }

// agree compares one measure of everything that either knows.
func agree[T comparable](t *testing.T, what string, want, got figures, measure func(figure) T) {
	t.Helper()
	for _, pair := range slices.Sorted(func(yield func(string) bool) {
		all := maps.Clone(want)
		maps.Copy(all, got)
		for pair := range all {
			if !yield(pair[0] + "\x00" + pair[1]) {
				return
			}
		}
	}) {
		tenant, model, _ := strings.Cut(pair, "\x00")
		at := [2]string{tenant, model}
		if w, g := measure(want[at]), measure(got[at]); w != g {
			t.Errorf("%s, of tenant %q and model %q: %v, the API says %v", what, tenant, model, g, w)
		}
	}
}

// rows reads an answer of the API.
func (w *agreed) rows(t *testing.T, body string) figures {
	t.Helper()
	all := figures{}
	for _, row := range gjson.Get(body, "data").Array() {
		cost, err := moneyIn(row.Get("cost_usd").Raw)
		if err != nil {
			t.Fatal(err, body)
		}
		pair := [2]string{row.Get("group.tenant").Str, row.Get("group.model").Str}
		all[pair] = figure{row.Get("requests").Int(), row.Get("errors").Int(), row.Get("client_gone").Int(), row.Get("estimated").Int(), row.Get("prompt_tokens").Int(),
			row.Get("completion_tokens").Int(), row.Get("cached_tokens").Int(), row.Get("cache_write_tokens").Int(), cost}
	}
	return all
}

func TestEveryoneSaysTheSame(t *testing.T) {
	w := newAgreed(t, chdb.Start(t))
	p := prometheus.Start(t, (&scraped{process: w.process}).prometheus(t))
	w.traffic(t)
	eventually(t, "all counted and delivered", func() bool {
		copies := 0.0
		for line := range strings.Lines(w.must("/metrics")) {
			if strings.HasPrefix(line, "jarvis_shadows_total{") {
				_, n, _ := strings.Cut(line, "} ")
				copies += gjson.Parse(n).Float()
			}
		}
		tried := 0
		for _, seen := range w.providers[1].Seen() {
			if seen.Model == "tried-1" {
				tried++
			}
		}
		return w.metric("jarvis_requests_in_flight") == 0 && w.metric("jarvis_usage_spooled") == 0 && copies >= float64(tried)
	})
	settled := time.Now()
	eventually(t, "Prometheus has looked", func() bool {
		last, err := p.Query("min(timestamp(up))")
		return err == nil && len(last) == 1 && last[0].Value > float64(settled.UnixNano())/1e9
	})
	w.board.now = time.Now()
	w.ref = w.rows(t, w.must("/admin/v1/usage?by=tenant,model&limit=1000"))
	total := w.ref.sum()
	for name, n := range map[string]int64{"requests": total.requests, "failures": total.errors, "clients that left": total.gone, "estimates": total.estimated, "cached tokens": total.cached,
		"cache writes": total.written, "copies": w.ref[[2]string{"", "candidate"}].requests, "requests sent to the new model": w.ref[[2]string{"acme", "next"}].requests,
		"fallbacks": w.ref[[2]string{"acme", "spare"}].nano, "refusals": w.ref[[2]string{"few", "chat"}].requests + w.ref[[2]string{"few", "next"}].requests - 5} {
		if n <= 0 {
			t.Errorf("there are no %s in %v", name, w.ref)
		}
	}
	w.commands(t)
	w.prometheus(t, p)
	w.dashboards(t)
	w.ownKeys(t)
	w.bills(t)
	w.accessLines(t)
	w.budgets(t)
	w.features(t, askedOf(t, p))
	w.boards(t)
	if t.Failed() {
		return
	}
	t.Logf("%d requests, %d tokens and %d nano-dollars of %d tenants and models, cache, corpora and flows are the same in the API, the commands, Prometheus, the dashboards' SQL, with tenants' keys, in the lines and budgets",
		total.requests, total.prompt+total.completion, total.nano, len(w.ref))
}
