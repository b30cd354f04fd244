package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

// fault is one way in which a provider fails, and what becomes of a request that nobody else answers.
type fault struct {
	name     string
	provider string // who fails
	plan     string // how, as fakellm reads it in a model's name
	reason   string
	status   int    // without a stream
	began    bool   // a stream fails after its first content: nobody else is asked
	hung     bool   // the provider is silent until the gateway hangs up
	paid     string // "": never, prompt: what it has read, or more: of the answer too
}

var faults = []fault{
	{"connect refused", "refused", "", "upstream_error", 502, false, false, ""},
	{"TLS error", "untrusted", "", "upstream_error", 502, false, false, ""},
	{"reset before headers", "bad", "fault=reset", "upstream_error", 502, false, false, ""},
	{"429", "bad", "fault=429&retry_after=2", "upstream_rate_limited", 429, false, false, ""},
	{"500", "bad", "status=500", "upstream_error", 502, false, false, ""},
	{"503", "bad", "status=503", "upstream_error", 502, false, false, ""},
	{"stall before headers", "bad", "fault=stall", "timeout", 504, false, true, "prompt"},
	{"stall before first token", "bad", "fault=stall-first", "timeout", 504, false, true, "prompt"},
	{"stall mid-stream", "bad", "fault=stall-mid&tokens=8&event_delay=20ms", "timeout", 504, true, true, "prompt"},
	{"garbage", "bad", "fault=garbage", "upstream_error", 502, false, false, ""},
	{"cut mid-stream", "bad", "fault=cut&tokens=8&event_delay=20ms", "upstream_error", 502, true, false, "or more"},
	{"in-stream error", "bad", "fault=error-mid&tokens=8&event_delay=20ms", "upstream_error", 502, true, false, "or more"},
}

// cell is a fault met by one request.
type cell struct {
	fault
	stream bool
	after  string // who may answer in its place: none, target or model
	number int
}

func (c *cell) name() string {
	return fmt.Sprintf("%s, stream %t, fallback %s", c.fault.name, c.stream, c.after)
}

// served is the name of the model that fails, which no other cell has.
func (c *cell) served() string { return fmt.Sprintf("gpt-bad%d", c.number) }

// rescued tells that another answers.
func (c *cell) rescued() bool { return c.after != "none" && !(c.began && c.stream) }

const faultsConfig = `
prices: {file: "${PRICES}"}
providers:
  bad: {kind: openai, base_url: "${BAD}/v1"}
  good: {kind: openai, base_url: "${GOOD}/v1"}
  refused: {kind: openai, base_url: "http://${REFUSED}/v1"}
  untrusted: {kind: openai, base_url: "${UNTRUSTED}/v1"}
models:
  small: {targets: [{provider: good, model: gpt-small}]}
`

// faultMatrix starts the providers and a gateway that has a model and a key for each cell.
func faultMatrix(t *testing.T) (g *running, bad *fakellm.Server, cells []*cell) {
	t.Helper()
	var servers [3]*fakellm.Server
	for i := range servers {
		var err error
		if servers[i], err = fakellm.Start(fakellm.Options{TLS: i == 2}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(servers[i].Close)
	}
	prices := filepath.Join(t.TempDir(), "prices.yml")
	if err := os.WriteFile(prices, []byte(`gpt-*: {input: $1/k, output: $2/k}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var models, keys strings.Builder
	for _, f := range faults {
		for _, stream := range []bool{true, false} {
			for _, after := range []string{"none", "target", "model"} {
				c := &cell{f, stream, after, len(cells)}
				cells = append(cells, c)
				targets := fmt.Sprintf("{provider: %s, model: %q}", c.provider, c.served()+"?"+c.plan)
				more := map[string]string{"target": ", {provider: good, model: gpt-next}], retry: {attempts: 1}", "model": "], fallback: [small]", "none": "]"}[after]
				times := "connect: 10m, first_token: 10m, idle: 10m, total: 10m"
				if c.hung {
					times = "connect: 10m, first_token: 700ms, idle: 700ms, total: 1500ms"
				}
				fmt.Fprintf(&models, "  model%d: {timeout: {"+times+"}, targets: [%s%s}\n", c.number, targets, more)
				fmt.Fprintf(&keys, "      - {name: k%d, key: jv-k%d-0123456789abcdef, limits: {spend: $1000/d}}\n", c.number, c.number)
			}
		}
	}
	config := strings.NewReplacer("${PRICES}", prices, "${BAD}", servers[0].URL(), "${GOOD}", servers[1].URL(), "${UNTRUSTED}", servers[2].URL(),
		"${REFUSED}", closedPort(t)).Replace(faultsConfig)
	return start(t, config+models.String()+"tenants:\n  acme:\n    timezone: "+noon()+"\n    keys:\n"+keys.String()), servers[0], cells
}

// Every fault, with a stream and without, with somebody else to ask and without: the client's outcome is right, headers and lines
// name who answered, providers are hung up on, and what is counted is what is told.
func TestFaultMatrix(t *testing.T) {
	quietly(t, func(r testing.TB) { playFaults(t, r) }) // who answers for one that stalls may be late as well
}

// playFaults tells t of what is counted wrong, and the round of answers that are not as they should be.
func playFaults(t *testing.T, round testing.TB) {
	g, bad, cells := faultMatrix(t)
	lines := make([]gjson.Result, len(cells))
	for wave := range slices.Chunk(cells, 18) { // so many at a time, so that stalls are waited for together
		asked := make([]*dialled, len(wave))
		for i, c := range wave {
			asked[i] = g.dial(t)
			asked[i].send(fmt.Sprintf("POST /v1/chat/completions\nX-Request-Id: fault-%d\nAuthorization: Bearer jv-k%d-0123456789abcdef\n\n"+
				`{"model":"model%d","stream":%t,"messages":[{"role":"user","content":"Say something long."}]}`, c.number, c.number, c.number, c.stream))
		}
		for i, c := range wave {
			a := asked[i].receive("POST")
			lines[c.number] = g.access(fmt.Sprintf("fault-%d", c.number))
			check := &quietRound{TB: t}
			c.checkAnswer(check, a)
			c.checkRoute(check, a, lines[c.number])
			c.checkCost(check, lines[c.number])
			if check.Failed() {
				round.Errorf("%s: %s", c.name(), check)
			}
		}
	}
	g.idle()
	used := g.used("acme")
	upstream := map[string]fakellm.Seen{}
	atBad := 0
	for _, c := range cells {
		if c.provider == "bad" {
			atBad++
		}
	}
	for _, seen := range bad.WaitDone(atBad, patience) {
		upstream[seen.Model] = seen
	}
	for _, c := range cells {
		if got := used[fmt.Sprintf("key/k%d/spend/d", c.number)]; got[1] != 0 || got[0]-lines[c.number].Get("cost_usd").Float() > 1e-9 || lines[c.number].Get("cost_usd").Float()-got[0] > 1e-9 {
			t.Errorf("%s: used and held %v: %s", c.name(), got, lines[c.number].Raw)
		}
		seen, asked := upstream[c.served()]
		if asked != (c.provider == "bad") || asked && (seen.Ended.IsZero() || c.hung == seen.ClosedByPeer.IsZero()) {
			round.Errorf("%s: %v, hung up %v, ended %v", c.name(), asked, seen.ClosedByPeer, seen.Ended)
		}
	}
	for _, row := range g.targets() {
		if row.Get("in_flight").Int() != 0 {
			t.Errorf("still under way: %s", row.Raw)
		}
	}
	t.Logf("fault matrix: %d cells", len(cells))
}

// targets is how the admin API shows them.
func (g *running) targets() []gjson.Result {
	g.Helper()
	res, err := http.Get("http://" + g.private + "/admin/v1/targets?limit=1000")
	if err != nil {
		g.Fatal(err)
	}
	return gjson.Get(bodyOf(g, res), "data").Array()
}

func (c *cell) checkAnswer(t testing.TB, a answer) {
	t.Helper()
	data := events(a.body)
	switch {
	case c.rescued() && c.stream:
		if a.status != 200 || a.cut || len(data) < 3 || data[len(data)-1] != "[DONE]" || strings.Contains(a.body, `"error"`) {
			t.Errorf("not a whole stream: %v", a)
		}
	case c.rescued():
		if a.status != 200 || a.cut || gjson.Get(a.body, "choices.0.message.content").Str == "" {
			t.Errorf("not an answer: %v", a)
		}
	case c.began && c.stream:
		if len(data) < 2 {
			t.Errorf("not the beginning of a stream: %v", a)
			return
		}
		last := data[len(data)-1]
		if a.status != 200 || a.cut || strings.Contains(a.body, "[DONE]") || !gjson.Get(data[1], "choices.0.delta.content").Exists() {
			t.Errorf("not the beginning of a stream: %v", a)
		}
		checkError(t, last, c.reason)
		if strings.Count(a.body, `"error"`) != 1 {
			t.Errorf("the failure is not told once: %s", a.body)
		}
	default:
		if a.status != c.status || a.cut || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("not %d: %v", c.status, a)
		}
		checkError(t, a.body, c.reason)
		if (a.header.Get("Retry-After") == "2") != (c.status == 429) {
			t.Errorf("Retry-After: %v", a)
		}
	}
	keepsSecrets(t, "an answer", a.body, "127.0.0.1", "refused", "x509")
}

// checkError holds an error to OpenAI's form.
func checkError(t testing.TB, text, code string) {
	t.Helper()
	e := gjson.Get(text, "error")
	if e.Get("code").Str != code || e.Get("message").Str == "" || e.Get("type").Str == "" || !e.Get("param").Exists() {
		t.Errorf("not an error of OpenAI's with the code %s: %s", code, text)
	}
}

func (c *cell) checkRoute(t testing.TB, a answer, line gjson.Result) {
	t.Helper()
	failed := c.served() + "?" + c.plan
	provider, model, attempts, route := c.provider, failed, 1, ""
	if c.rescued() {
		provider, model, attempts, route = "good", map[string]string{"target": "gpt-next", "model": "gpt-small"}[c.after], 2,
			map[string]string{"target": "failover:" + c.reason, "model": "fallback:small"}[c.after]
	}
	h := a.header
	if h.Get("X-Jarvis-Provider") != provider || h.Get("X-Jarvis-Model") != model || h.Get("X-Jarvis-Attempts") != fmt.Sprint(attempts) || h.Get("X-Jarvis-Route") != route {
		t.Errorf("headers of another than %s/%s after %d attempts, %q: %v", provider, model, attempts, route, h)
	}
	if c.rescued() && gjson.Get(strings.TrimPrefix(a.body, "data: "), "model").Str != model {
		t.Errorf("the answer does not name %s: %s", model, a.body)
	}
	if line.Get("provider").Str != provider || line.Get("served").Str != model || line.Get("attempts").Int() != int64(attempts) || line.Get("route").Str != route {
		t.Errorf("not by %s/%s after %d attempts: %s", provider, model, attempts, line.Raw)
	}
	want := c.provider + "/" + failed + ":" + c.reason
	if c.began && c.stream {
		want = ""
	}
	if line.Get("failed").Str != want {
		t.Errorf("failed is not %q: %s", want, line.Raw)
	}
	outcome := map[bool]string{true: "ok", false: map[int]string{429: "rate_limited", 504: "timeout", 502: "provider_error"}[c.status]}[c.rescued()]
	if line.Get("outcome").Str != outcome {
		t.Errorf("not %s: %s", outcome, line.Raw)
	}
}

// checkCost holds what is counted to what is documented: a failed attempt costs what the provider has, or may have, worked for.
func (c *cell) checkCost(t testing.TB, line gjson.Result) {
	t.Helper()
	lost := c.paid == "prompt" || c.paid == "or more" && c.stream
	estimated := lost || c.paid == "or more" && !c.stream && line.Get("estimated").Bool() // half a body may tell of its use
	cost := line.Get("cost_usd").Float()
	if c.rescued() == (cost == 0) && !lost && !estimated {
		t.Errorf("costs $%v: %s", cost, line.Raw)
	}
	if lost && (cost == 0 || !line.Get("estimated").Bool()) {
		t.Errorf("the failed attempt costs nothing: %s", line.Raw)
	}
}

// events are the data of a stream's events.
func events(body string) (data []string) {
	for line := range strings.Lines(body) {
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			data = append(data, strings.TrimSpace(text))
		}
	}
	return data
}

// bodyOf reads an answer to its end.
func bodyOf(t testing.TB, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// closedPort is an address where nobody listens.
func closedPort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
