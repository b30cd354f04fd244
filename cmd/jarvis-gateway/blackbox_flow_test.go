package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// oracle is a provider that answers each request by what the user says in it, and remembers what it was sent.
type oracle struct {
	*httptest.Server
	reply func(user string, r *http.Request) (status int, text string)

	mu        sync.Mutex
	bodies    []gjson.Result
	now, most int            // requests at once
	left      chan time.Time // when a request's client was gone
}

func newOracle(t testing.TB, reply func(user string, r *http.Request) (int, string)) *oracle {
	o := &oracle{reply: reply, left: make(chan time.Time, 100)}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	return o
}

func (o *oracle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	body := gjson.ParseBytes(raw)
	o.mu.Lock()
	o.bodies = append(o.bodies, body)
	o.now++
	o.most = max(o.most, o.now)
	o.mu.Unlock()
	status, text := o.reply(body.Get("messages|@reverse|0.content").Str, r)
	o.mu.Lock()
	o.now--
	o.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if status != 200 {
		fmt.Fprintf(w, `{"error":{"message":%q,"type":"server_error","code":"oracle_says_no"}}`, text)
		return
	}
	content, _ := json.Marshal(text)
	fmt.Fprintf(w, `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":%s},"finish_reason":"stop"}],`+
		`"usage":{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110}}`, content)
}

func (o *oracle) saw() []gjson.Result {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]gjson.Result{}, o.bodies...)
}

// hang holds a request until its client has gone.
func (o *oracle) hang(r *http.Request) (int, string) {
	<-r.Context().Done()
	o.left <- time.Now()
	return 500, ""
}

func echo(user string, _ *http.Request) (int, string) { return 200, "<" + user + ">" }

const triageFlow = `name: triage
version: 1.2.0
description: Sorts a message and answers it
steps:
  - id: sort
    ask: {model: small, system: "Sort, {{ vars.who }}.", user: "sort {{ input }}", max_tokens: 5, temperature: 0, logit_bias: {"7": -1}}
  - id: answer
    if: steps.sort.text contains "billing"
    ask: {model: chat, messages: "{{ messages }}"}
  - id: note
    if: steps.answer.skipped
    set: steps.sort.text + "!"
output: "{{ steps.answer.text ?? steps.note }} for {{ tenant }}/{{ scene }}"
`

const partsFlow = `name: parts
version: 0.1.0
steps:
  - id: list
    each: {of: 'split(input, ",")', as: part, at_most: 5, parallel: 3, ask: {model: small, user: "do {{ part }}"}}
output: '{{ map(steps.list.items, .text) }}'
`

// flowConfig is a gateway before an oracle, with a folder of flows. more is put behind the tenant's keys.
func flowConfig(t testing.TB, o *oracle, more string, files ...string) (config, dir string) {
	t.Helper()
	dir = t.TempDir()
	for i, text := range files {
		writeFlow(t, dir, fmt.Sprintf("f%d.yml", i), text)
	}
	return strings.NewReplacer("${UP}", o.URL, "${DIR}", dir, "${KEY}", tenantKey, "${UPSTREAM_KEY}", upstreamKey, "${MORE}", more).Replace(`
providers: {up: {kind: openai, base_url: "${UP}/v1", api_key: "${UPSTREAM_KEY}"}}
models:
  small: {targets: [{provider: up, model: gpt-4o-mini}]}
  chat: {targets: [{provider: up, model: gpt-4o}]}
flows: {dir: "${DIR}"}
tenants:
  acme: {keys: [{name: main, key: "${KEY}"}]${MORE}}
  other: {models: [chat], keys: [{name: main, key: jv-other-0123456789abcdef}]}
`), dir
}

func writeFlow(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func withFlows(t testing.TB, o *oracle, more string, files ...string) *running {
	t.Helper()
	config, _ := flowConfig(t, o, more, files...)
	return start(t, config)
}

// flowRequest asks for a flow. more are further members of the body, each behind a comma.
func flowRequest(name, input, more string, headers ...string) string {
	text, _ := json.Marshal(input)
	return "POST /v1/chat/completions\n" + strings.Join(append(headers, ""), "\n") + "\n" + `{"model":"flow/` + name + `","messages":[{"role":"user","content":` + string(text) + `}]` + more + `}`
}

func outputOf(a answer) string { return gjson.Get(a.body, "choices.0.message.content").Str }

// A flow is a model: its calls go upstream in order, with what the request gave, and the answer is a chat completion of all that was
// used.
func TestFlow(t *testing.T) {
	o := newOracle(t, func(user string, r *http.Request) (int, string) {
		if user == "sort 我要发票" {
			return 200, "billing"
		}
		return echo(user, r)
	})
	g := withFlows(t, o, "", triageFlow)
	a := g.ask(t, flowRequest("triage", "我要发票", `,"temperature":2,"user":"ann","metadata":{"who":"小明"}`, "X-Request-Id: run-1", `X-Jarvis-Metadata: {"scene":"mail"}`))
	if a.status != 200 || outputOf(a) != "<我要发票> for acme/mail" {
		t.Fatal(a)
	}
	for name, want := range map[string]string{"X-Jarvis-Flow": "triage@1.2.0", "X-Request-Id": "run-1", "X-Jarvis-Warning": "dropped: temperature",
		"X-Jarvis-Cost-Usd": "0.000371"} { // 100 and 10 tokens of gpt-4o-mini (0.15, 0.60) and of gpt-4o (2.50, 10)
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := gjson.Get(a.body, "[object,model,choices.0.finish_reason,usage.prompt_tokens,usage.completion_tokens,usage.total_tokens]").Raw; got != `["chat.completion","flow/triage","stop",200,20,220]` {
		t.Errorf("the answer has %s", got)
	}
	want := []string{`{"model":"gpt-4o-mini","messages":[{"role":"system","content":"Sort, 小明."},{"role":"user","content":"sort 我要发票"}],"max_tokens":5,"temperature":0,"logit_bias":{"7":-1},"user":"ann"}`,
		`{"model":"gpt-4o","messages":[{"content":"我要发票","role":"user"}],"user":"ann"}`}
	saw := o.saw()
	if len(saw) != len(want) {
		t.Fatalf("the provider saw %v", saw)
	}
	for i := range want {
		if saw[i].Raw != want[i] {
			t.Errorf("the provider saw\n%s, not\n%s", saw[i].Raw, want[i])
		}
	}
	if a = g.ask(t, flowRequest("triage", "hello", "")); outputOf(a) != "<sort hello>! for acme/" || len(o.saw()) != 3 {
		t.Errorf("%v, and the provider saw %d", a, len(o.saw()))
	}
	for _, id := range []string{"run-1.sort", "run-1.answer"} {
		if line := g.access(id); line.Get("flow").Str != "triage@1.2.0" || line.Get("scene").Str != "mail" || line.Get("prompt_tokens").Int() != 100 {
			t.Errorf("%s", line.Raw)
		}
	}
	if line := g.access("run-1"); line.Get("flow").Str != "triage@1.2.0" || line.Get("prompt_tokens").Int() != 0 || line.Get("cost_usd").Float() != 0 {
		t.Errorf("%s", line.Raw)
	}
}

func TestFlowStream(t *testing.T) {
	g := withFlows(t, newOracle(t, echo), "", triageFlow)
	a := g.ask(t, flowRequest("triage", "x", `,"stream":true,"stream_options":{"include_usage":true}`))
	var kinds []string
	for event := range strings.SplitSeq(strings.TrimSpace(a.body), "\n\n") {
		data := strings.TrimPrefix(event, "data: ")
		kinds = append(kinds, data)
		if data != "[DONE]" {
			kinds[len(kinds)-1] = gjson.Get(data, "[object,choices.0.delta,choices.0.finish_reason,usage.total_tokens]").Raw
		}
	}
	want := `["chat.completion.chunk",{"role":"assistant","content":""},null]` + "\n" + `["chat.completion.chunk",{"content":"<sort x>! for acme/"},null]` + "\n" +
		`["chat.completion.chunk",{},"stop"]` + "\n" + `["chat.completion.chunk",110]` + "\n[DONE]"
	if got := strings.Join(kinds, "\n"); a.status != 200 || a.header.Get("Content-Type") != "text/event-stream" || got != want {
		t.Errorf("%v: %v\n%s\nnot\n%s", a.status, a.header, got, want)
	}
}

// Calls for the items of a list go out so many at once, and their answers are in the list's order.
func TestFlowEach(t *testing.T) {
	full := make(chan struct{})
	var once sync.Once
	var o *oracle
	o = newOracle(t, func(user string, r *http.Request) (int, string) {
		o.mu.Lock()
		if o.now == 3 {
			once.Do(func() { close(full) })
		}
		o.mu.Unlock()
		<-full
		return echo(user, r)
	})
	g := withFlows(t, o, "", partsFlow)
	a := g.ask(t, flowRequest("parts", "e,d,c,b,a", "", "X-Request-Id: many"))
	if outputOf(a) != `["<do e>","<do d>","<do c>","<do b>","<do a>"]` || o.most != 3 {
		t.Errorf("%v, with %d at once", a, o.most)
	}
	if g.access("many.list.4").Get("status").Int() != 200 {
		t.Error("the last item has no line")
	}
	if a = g.ask(t, flowRequest("parts", "1,2,3,4,5,6", "")); a.status != 500 || errorCode(a) != "flow_failed" || !strings.Contains(a.body, "6 items are more than at_most, 5") {
		t.Errorf("%v", a)
	}
}

// A call that fails ends the run with its own error, or does not.
func TestFlowErrors(t *testing.T) {
	o := newOracle(t, func(user string, r *http.Request) (int, string) {
		if strings.Contains(user, "bad") {
			return 400, "that is bad"
		}
		return echo(user, r)
	})
	const goes = "name: goes\nversion: 1.0.0\nsteps:\n" +
		"  - {id: one, ask: {model: small, user: bad}, on_error: continue}\n" +
		"  - id: all\n    each: {of: 'split(input, \",\")', ask: {model: small, user: '{{ item }}'}}\n    on_error: continue\n" +
		"output: '{{ steps.one.error.status }} {{ steps.one.error.code }} {{ steps.one }}|{{ steps.all.error.status }} {{ steps.all }}'\n"
	const broken = "name: broken\nversion: 1.0.0\nsteps: [{id: a, ask: {model: small, user: '{{ input }}'}}, {id: b, set: steps.a.json.x.y}]\noutput: x\n"
	g := withFlows(t, o, "", triageFlow, partsFlow, goes, broken)
	for _, c := range []struct {
		name, request, message string
		status                 int
		code                   string
		saw                    int
	}{
		{"a call fails", flowRequest("triage", "bad", ""), "Flow triage@1.2.0, step sort: that is bad", 400, "oracle_says_no", 1},
		{"an item fails", flowRequest("parts", "bad", ""), "Flow parts@0.1.0, step list: that is bad", 400, "oracle_says_no", 1},
		{"an expression comes to nothing", flowRequest("broken", "x", ""), "Flow broken@1.0.0, step b: the expression steps.a.json.x.y came to nothing: cannot fetch x from <nil>.", 500, "flow_failed", 1},
		{"no such flow", flowRequest("none", "x", ""), "The model `flow/none` does not exist or you do not have access to it.", 404, "model_not_found", 0},
		{"not this tenant's", flowRequest("triage", "x", "", "Authorization: Bearer jv-other-0123456789abcdef"), "The model `flow/triage` does not exist or you do not have access to it.", 404, "model_not_found", 0},
		{"another endpoint", "POST /v1/embeddings\n\n{\"model\":\"flow/triage\",\"input\":\"x\"}", "The model flow/triage is a flow, which only /v1/chat/completions takes.", 400, "", 0},
		{"responses", "POST /v1/responses\n\n{\"model\":\"flow/triage\",\"input\":\"x\"}", "The model flow/triage is a flow, which only /v1/chat/completions takes.", 400, "", 0},
		{"tools", flowRequest("triage", "x", `,"tools":[{"type":"function","function":{"name":"f"}}]`), "tools: a flow answers with one text. Leave this field out.", 400, "", 0},
		{"two answers", flowRequest("triage", "x", `,"n":2`), "n: a flow answers with one text. Leave this field out.", 400, "", 0},
		{"metadata that is no text", flowRequest("triage", "x", `,"metadata":{"a":1}`), "metadata: the values must be strings.", 400, "", 0},
		{"a stream that fails before its content", flowRequest("triage", "bad", `,"stream":true`), "Flow triage@1.2.0, step sort: that is bad", 400, "oracle_says_no", 1},
	} {
		before := len(o.saw())
		a := g.ask(t, c.request)
		if a.status != c.status || errorCode(a) != c.code || gjson.Get(a.body, "error.message").Str != c.message || len(o.saw())-before != c.saw {
			t.Errorf("%s: %v, and the provider saw %d", c.name, a, len(o.saw())-before)
		}
	}
	if a := g.ask(t, flowRequest("goes", "a,bad,c", "")); outputOf(a) != "400 oracle_says_no |400 <a>\n\n<c>" {
		t.Errorf("%v", a)
	}
	for series := range g.metrics() {
		if strings.Contains(series, "oracle_says_no") && strings.HasPrefix(series, "jarvis_refusals_total") {
			t.Errorf("a provider's word is a label: %s", series)
		}
	}
}

// A client that leaves, and time that is over, end the call under way: its provider sees the connection closed.
func TestFlowEnds(t *testing.T) {
	var o *oracle
	o = newOracle(t, func(_ string, r *http.Request) (int, string) { return o.hang(r) })
	slow := strings.Replace(strings.Replace(triageFlow, "triage", "slow", 1), "steps:", "timeout: 300ms\nsteps:", 1)
	g := withFlows(t, o, ", limits: {flow_runs: 1, concurrency: 1}", triageFlow, partsFlow, slow)
	for i, row := range []struct{ flow, input string }{{"triage", "x"}, {"parts", "a"}} {
		c := g.dial(t)
		c.send(flowRequest(row.flow, row.input, "", fmt.Sprintf("X-Request-Id: leaves-%d", i)))
		eventually(t, "the call upstream", func() bool { return len(o.saw()) == i+1 })
		begun := time.Now()
		c.Close()
		if took := (<-o.left).Sub(begun); took > time.Second {
			t.Errorf("the provider knew after %s", took)
		}
		if line := g.access(fmt.Sprintf("leaves-%d", i)); line.Get("outcome").Str != "client_gone" || line.Get("status").Int() != 499 {
			t.Errorf("%s", line.Raw)
		}
		g.idle()
	}
	a := g.ask(t, flowRequest("slow", "x", "", "X-Request-Id: late"))
	if a.status != 504 || errorCode(a) != "flow_timeout" || !strings.Contains(a.body, "Flow slow@1.2.0 did not end in 300ms.") {
		t.Errorf("%v", a)
	}
	<-o.left
	if line := g.access("late.sort"); line.Get("status").Int() != 504 || line.Get("outcome").Str != "timeout" {
		t.Errorf("the call: %s", line.Raw)
	}
	if a = g.ask(t, flowRequest("triage", "x", "", "X-Jarvis-Timeout: 200ms")); a.status != 504 || !strings.Contains(a.body, "did not end in 200ms") {
		t.Errorf("%v", a)
	}
	g.idle()
	for series, want := range map[string]float64{`jarvis_flow_running{flow="triage"}`: 0, `jarvis_flow_runs_total{flow="slow",outcome="timeout"}`: 1, `jarvis_flow_runs_total{flow="parts",outcome="client_gone"}`: 1} {
		if got := g.metrics()[series]; got != want {
			t.Errorf("%s is %v", series, got)
		}
	}
}

// A draining gateway lets a flow that runs come to its end, and calls it off when its time is over.
func TestFlowDrain(t *testing.T) {
	for name, drain := range map[string]string{"ends": "1m", "is called off": "1500ms"} {
		t.Run(name, func(t *testing.T) {
			free := make(chan struct{})
			var o *oracle
			o = newOracle(t, func(user string, r *http.Request) (int, string) {
				if drain != "1m" {
					return o.hang(r)
				}
				<-free
				return echo(user, r)
			})
			config, _ := flowConfig(t, o, "", triageFlow)
			g := start(t, "server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0, drain: "+drain+"}\n"+config)
			c := g.dial(t)
			c.send(flowRequest("triage", "x", ""))
			eventually(t, "the call upstream", func() bool { return len(o.saw()) == 1 })
			g.cancel()
			eventually(t, "draining", g.logged("draining", ""))
			close(free)
			a := c.receive("POST")
			if drain == "1m" && (a.status != 200 || outputOf(a) != "<sort x>! for acme/") || drain != "1m" && (a.status != 503 || errorCode(a) != "shutting_down") {
				t.Errorf("%v", a)
			}
			g.stop()
		})
	}
}

// The request holds a place among running flows and no other, so that limits which let one request in at a time let a flow run.
func TestFlowLimits(t *testing.T) {
	var hold sync.Map
	o := newOracle(t, func(user string, r *http.Request) (int, string) {
		if free, ok := hold.Load(user); ok {
			<-free.(chan struct{})
		}
		return echo(user, r)
	})
	g := withFlows(t, o, ", limits: {flow_runs: 1, concurrency: 1, on_exceed: reject}", triageFlow, partsFlow)
	if a := g.ask(t, flowRequest("triage", "x", "")); a.status != 200 {
		t.Fatalf("with one place for a request: %v", a)
	}
	free := make(chan struct{})
	hold.Store("sort slow", free)
	c := g.dial(t)
	c.send(flowRequest("triage", "slow", ""))
	eventually(t, "the call upstream", func() bool { return len(o.saw()) == 2 })
	if a := g.ask(t, flowRequest("triage", "y", "")); a.status != 429 || errorCode(a) != "rate_limit_exceeded" || !strings.Contains(a.body, "Too many flows running") || a.header.Get("Retry-After") == "" {
		t.Errorf("a second run: %v", a)
	}
	if got := g.metrics()[`jarvis_flow_running{flow="triage"}`]; got != 1 {
		t.Errorf("%v flows run", got)
	}
	close(free)
	if a := c.receive("POST"); a.status != 200 {
		t.Error(a)
	}
	if a := g.ask(t, flowRequest("triage", "z", "")); a.status != 200 {
		t.Errorf("the place is not free again: %v", a)
	}
}

// Each call takes from the budget, so that a flow ends in the middle where that is spent; a model that is not the tenant's stays so.
func TestFlowBudget(t *testing.T) {
	o := newOracle(t, func(user string, r *http.Request) (int, string) {
		if strings.HasPrefix(user, "sort") {
			return 200, "billing"
		}
		return echo(user, r)
	})
	g := withFlows(t, o, `, limits: {tokens: 150/d}`, triageFlow)
	a := g.ask(t, flowRequest("triage", "x", ""))
	if a.status != 429 || errorCode(a) != "rate_limit_exceeded" || !strings.HasPrefix(gjson.Get(a.body, "error.message").Str, "Flow triage@1.2.0, step answer: ") || len(o.saw()) != 1 ||
		a.header.Get("X-Jarvis-Cost-Usd") != "0.000021" {
		t.Errorf("%v, and the provider saw %d", a, len(o.saw()))
	}
	config, _ := flowConfig(t, o, ", models: [flow/triage, small]", triageFlow)
	g = start(t, config)
	if a = g.ask(t, flowRequest("triage", "x", "")); a.status != 404 || errorCode(a) != "model_not_found" || !strings.Contains(a.body, "step answer: The model `chat` does not exist") {
		t.Errorf("%v", a)
	}
	a = g.ask(t, "GET /v1/models")
	if got := gjson.Get(a.body, "data.#.id").Raw; got != `["flow/triage","small"]` {
		t.Errorf("models: %s", got)
	}
}

// The tenant's guards look at every call.
func TestFlowGuards(t *testing.T) {
	o := newOracle(t, echo)
	g := withFlows(t, o, ", guards: [{kind: pii, action: mask}]", triageFlow)
	a := g.ask(t, flowRequest("triage", "ann@example.com", ""))
	if outputOf(a) != "<sort ann@example.com>! for acme/" || strings.Contains(o.saw()[0].Raw, "ann@") {
		t.Errorf("%v, and the provider saw %v", a, o.saw())
	}
}

// What a client sends of what only the gateway's own calls have says nothing.
func TestFlowSpoofed(t *testing.T) {
	g := withFlows(t, newOracle(t, echo), "", triageFlow)
	a := g.ask(t, "chat\nX-Request-Id: fake.sort\nX-Jarvis-Flow: triage@1.2.0\nX-Jarvis-Flow-Step: sort")
	if line := g.access("fake.sort"); a.status != 200 || a.header.Get("X-Jarvis-Flow") != "" || line.Get("flow").Exists() {
		t.Errorf("%v\n%s", a, line.Raw)
	}
	if r := g.recorded(t, "fake.sort"); r.Get("flow").Str != "" {
		t.Errorf("%s", r.Raw)
	}
}

// Each call has a record of its own, and the run one without tokens: the sums are what the provider counted.
func TestFlowRecords(t *testing.T) {
	o := newOracle(t, echo)
	g := withFlows(t, o, "", triageFlow, partsFlow)
	for _, request := range []string{flowRequest("triage", "x", "", "X-Request-Id: r1"), flowRequest("parts", "a,b,c", "", "X-Request-Id: r2")} {
		if a := g.ask(t, request); a.status != 200 {
			t.Fatal(a)
		}
	}
	eventually(t, "the records in the store", func() bool { return g.metrics()["jarvis_usage_delivered_total"] >= 6 })
	g.at(t, "")
	out, _ := ran(t, "usage", "--by", "flow", "--format", "json")
	rows := map[string]string{}
	for _, row := range gjson.Get(out, "data").Array() {
		rows[row.Get("group.flow").Str] = row.Get("[requests,prompt_tokens,completion_tokens]").Raw
	}
	if len(rows) != 2 || rows["triage@1.2.0"] != "[2,100,10]" || rows["parts@0.1.0"] != "[4,300,30]" {
		t.Errorf("by flow: %v in %s", rows, out)
	}
	run, call := g.recorded(t, "r1"), g.recorded(t, "r1.sort")
	if run.Get("flow").Str != "triage@1.2.0" || run.Get("model").Str != "flow/triage" || run.Get("cost_usd").Float() != 0 || run.Get("outcome").Str != "ok" || run.Get("status").Int() != 200 {
		t.Errorf("the run: %s", run.Raw)
	}
	if call.Get("flow").Str != "triage@1.2.0" || call.Get("model").Str != "small" || call.Get("cost_usd").Float() != 0.000021 {
		t.Errorf("the call: %s", call.Raw)
	}
}

// Steps have metrics, and those of a flow that is gone are gone.
func TestFlowMetrics(t *testing.T) {
	o := newOracle(t, echo)
	config, dir := flowConfig(t, o, "", triageFlow, partsFlow)
	g := start(t, config)
	g.ask(t, flowRequest("triage", "x", ""))
	g.ask(t, flowRequest("parts", "a", ""))
	now := g.metrics()
	for series, want := range map[string]float64{
		`jarvis_flow_runs_total{flow="triage",outcome="ok"}`:                                1,
		`jarvis_flow_run_seconds_count{flow="triage"}`:                                      1,
		`jarvis_flow_steps_total{flow="triage",kind="ask",outcome="ok",step="sort"}`:        1,
		`jarvis_flow_steps_total{flow="triage",kind="ask",outcome="skipped",step="answer"}`: 1,
		`jarvis_flow_steps_total{flow="triage",kind="set",outcome="ok",step="note"}`:        1,
		`jarvis_flow_step_seconds_count{flow="parts",step="list"}`:                          1,
		`jarvis_flow_running{flow="parts"}`:                                                 0,
	} {
		if got, there := now[series]; got < want || !there { // other tests run flows of these names, too
			t.Errorf("%s is %v", series, got)
		}
	}
	before := now[`jarvis_config_reloads_total{result="ok"}`]
	if err := os.Remove(filepath.Join(dir, "f1.yml")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reload", func() bool { return g.metrics()[`jarvis_config_reloads_total{result="ok"}`] > before })
	for series := range g.metrics() {
		if strings.HasPrefix(series, "jarvis_flow_") && strings.Contains(series, `flow="parts"`) {
			t.Errorf("%s is still there", series)
		}
	}
	if a := g.ask(t, flowRequest("parts", "a", "")); a.status != 404 {
		t.Errorf("%v", a)
	}
}

// A run that is under way when the configuration changes goes on as it began.
func TestFlowReload(t *testing.T) {
	free := make(chan struct{})
	o := newOracle(t, func(user string, r *http.Request) (int, string) {
		if user == "sort slow" {
			<-free
		}
		return echo(user, r)
	})
	config, dir := flowConfig(t, o, "", triageFlow)
	g := start(t, config)
	c := g.dial(t)
	c.send(flowRequest("triage", "slow", ""))
	eventually(t, "the call upstream", func() bool { return len(o.saw()) == 1 })
	before := g.metrics()[`jarvis_config_reloads_total{result="ok"}`]
	writeFlow(t, dir, "f0.yml", "name: triage\nversion: 2.0.0\nsteps: [{id: only, set: input}]\noutput: 'new {{ steps.only }}'\n")
	eventually(t, "the reload", func() bool { return g.metrics()[`jarvis_config_reloads_total{result="ok"}`] > before })
	if a := g.ask(t, flowRequest("triage", "x", "")); outputOf(a) != "new x" || a.header.Get("X-Jarvis-Flow") != "triage@2.0.0" || a.header.Get("X-Jarvis-Cost-Usd") != "" {
		t.Errorf("%v", a)
	}
	close(free)
	if a := c.receive("POST"); outputOf(a) != "<sort slow>! for acme/" || a.header.Get("X-Jarvis-Flow") != "triage@1.2.0" {
		t.Errorf("%v", a)
	}
	writeFlow(t, dir, "f0.yml", "name: triage\nversion: 3.0.0\nsteps: [{id: a, ask: {model: nobody, user: x}}]\noutput: x\n")
	eventually(t, "the refusal", g.logged("the config was not reloaded; the one before stays in force", `steps[0].ask.model: unknown model \"nobody\"`))
}

// The run's span has one for each step below it, and these the requests that they made.
func TestFlowTrace(t *testing.T) {
	c := newCollector(t)
	o := newOracle(t, echo)
	config, _ := flowConfig(t, o, "", triageFlow)
	g := start(t, config+"telemetry: {otlp: \"http://"+c.address+"\", sample: 100%}\n")
	if a := g.ask(t, flowRequest("triage", "x", "", "X-Request-Id: traced")); a.status != 200 {
		t.Fatal(a)
	}
	byName := map[string]spanTaken{}
	eventually(t, "the spans", func() bool {
		for _, s := range c.spans() {
			byName[s.name()] = s
		}
		_, whole := byName["invoke_workflow triage"]
		return whole && byName["chat small"].Exists()
	})
	run := byName["invoke_workflow triage"]
	if run.attribute("gen_ai.operation.name") != "invoke_workflow" || run.attribute("jarvis.flow") != "triage@1.2.0" || run.attribute("gen_ai.agent.name") != "triage" {
		t.Errorf("the run: %s", run)
	}
	for _, name := range []string{"step sort", "step answer", "step note"} {
		if s := byName[name]; s.parent() != run.id() || s.attribute("jarvis.flow.step") != strings.TrimPrefix(name, "step ") {
			t.Errorf("%s: %s", name, s)
		}
	}
	if s := byName["step answer"]; s.attribute("jarvis.flow.outcome") != "skipped" {
		t.Errorf("%s", s)
	}
	call := byName["chat small"]
	if call.parent() != byName["step sort"].id() || call.attribute("jarvis.request_id") != "traced.sort" || call.Get("traceId").Str != run.Get("traceId").Str {
		t.Errorf("the call: %s", call)
	}
	if up := byName["chat gpt-4o-mini"]; up.parent() != call.id() {
		t.Errorf("the provider's: %s", up)
	}
}

// The example's flows do what is said of them.
func TestFlowsExample(t *testing.T) {
	setVariables(t)
	text, err := os.ReadFile(configs + "/flows.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.Abs(configs + "/flows")
	if err != nil {
		t.Fatal(err)
	}
	o := newOracle(t, func(user string, r *http.Request) (int, string) {
		if strings.Contains(user, "bill") {
			return 200, "Billing"
		}
		return echo(user, r)
	})
	t.Setenv("OPENAI_BASE_URL", o.URL+"/v1")
	g := start(t, strings.Replace(string(text), "{dir: flows}", "{dir: "+dir+"}", 1))
	key := "Authorization: Bearer " + os.Getenv("SUPPORT_KEY")
	a := g.ask(t, flowRequest("digest", "one\n\n二\n\n", "", key))
	if want := "<Give a title to: <Sum up in one sentence: one>\n<Sum up in one sentence: 二>>\n\n<Sum up in one sentence: one>\n<Sum up in one sentence: 二>"; outputOf(a) != want {
		t.Errorf("%v, want %s", a, want)
	}
	if a = g.ask(t, flowRequest("digest", "one", "", key)); outputOf(a) != "<Sum up in one sentence: one>" {
		t.Errorf("%v", a)
	}
	for input, want := range map[string]string{"Where is my bill?": "You answer questions on bills of Jarvis.", "Hi": ""} {
		a = g.ask(t, flowRequest("triage", input, `,"metadata":{"product":"Jarvis"}`, key))
		saw := o.saw()
		if last := saw[len(saw)-1]; a.status != 200 || last.Get("model").Str != "gpt-4o" || last.Get(`messages.#(role=="system").content`).Str != want {
			t.Errorf("%v, and the provider saw %s", a, last.Raw)
		}
	}
}

// The README's flow is one that the program takes, and its commands do what is said of them.
func TestReadmeFlows(t *testing.T) {
	o := newOracle(t, echo)
	g := withFlows(t, o, "", readmeBlock(t, "yml", "name: triage"))
	if a := g.ask(t, flowRequest("triage", "x", "")); outputOf(a) != "<x>!" || a.header.Get("X-Jarvis-Flow") != "triage@1.0.0" {
		t.Errorf("%v", a)
	}
	program := filepath.Join(t.TempDir(), "jarvis-gateway")
	if err := os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\n%s=1 exec '%s' \"$@\"\n", asProgram, os.Args[0]), 0o700); err != nil {
		t.Fatal(err)
	}
	shell := exec.Command("bash", "-euc", readmeBlock(t, "sh", "flow list"))
	shell.Dir = filepath.Join("..", "..")
	shell.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"))
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, want := range []string{`dir: configs/flows\n`, `(?m)^flow/digest +1\.0\.0 +3 +chat, gpt-4o-mini +Sums up`, `(?m)^flow/triage +1\.0\.0 +3 +chat, gpt-4o-mini +Sorts`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("no %s in:\n%s", want, out)
		}
	}
}

// A flow that is wrong is told by check with its file, line and path, beside what is wrong with the configuration, and only once.
func TestFlowsChecked(t *testing.T) {
	config, dir := flowConfig(t, newOracle(t, echo), ", models: [flow/triage, flow/*, chat]", strings.Replace(triageFlow, "model: chat", "model: chatt", 1))
	file := filepath.Join(t.TempDir(), "jarvis.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	want := filepath.ToSlash(dir) + "/f0.yml:9: steps[1].ask.model: unknown model \"chatt\" (have: chat, small; or provider/model)\njarvis-gateway: the configuration has 1 problem\n"
	if code, _, stderr := command(t, "check", file); code != 1 || stderr != want {
		t.Errorf("exit code %d:\n%s\nwant\n%s", code, stderr, want)
	}
	writeFlow(t, dir, "f0.yml", triageFlow)
	for _, c := range []struct{ from, to, want string }{
		{"models: [flow/triage, ", "models: [flow/nope, ", `tenants.acme.models[0]: unknown model "flow/nope" (have: chat, small, flow/triage; or provider/model with: up)`},
		{"  small: {", "  flow/x: {targets: [{provider: up}]}\n  small: {", "models.flow/x: names that begin with flow/ are those of flows"},
		{"providers: {up:", "providers: {flow: {kind: simulated}, up:", "providers.flow: flow/NAME is the name of a flow, so call the provider otherwise"},
		{`flows: {dir: "`, `flows: {workers: 4, dir: "`, "flows.workers: not supported yet"},
	} {
		if err := os.WriteFile(file, []byte(strings.Replace(config, c.from, c.to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := command(t, "check", file); code != 1 || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d:\n%s", c.to, code, stderr)
		}
	}
}

// A role that may chat and no more runs no flow.
func TestFlowRole(t *testing.T) {
	o := newOracle(t, echo)
	config, _ := flowConfig(t, o, "", triageFlow)
	config += "  chats: {keys: [{name: main, key: jv-chats-0123456789abcdef, role: chatter}]}\nroles: {chatter: {permissions: [chat:create]}}\n"
	g := start(t, config)
	a := g.ask(t, flowRequest("triage", "x", "", "Authorization: Bearer jv-chats-0123456789abcdef"))
	if a.status != 403 || errorCode(a) != "permission_denied" || !strings.Contains(a.body, "workflow:execute") || len(o.saw()) != 0 {
		t.Errorf("%v, and the provider saw %d", a, len(o.saw()))
	}
}
