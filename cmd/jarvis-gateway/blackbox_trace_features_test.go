package main

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/bench/fakellm"
)

// A model with passages and a cache: a miss, the hit after it, a stream's hit and a bypass, as a collector sees them.
func TestTraceOfCacheAndPassages(t *testing.T) {
	c := newCollector(t)
	up, err := fakellm.Start(fakellm.Options{APIKey: upstreamKey, Default: fakellm.Plan{Text: "Five days, says ann-of-the-office.", Tokens: 9}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	g := start(t, strings.NewReplacer("${COLLECTOR}", c.address, "${UP}", up.URL(), "${UPSTREAM_KEY}", upstreamKey, "${DIR}", handbook(t), "${KEY}", tenantKey).Replace(`
telemetry: {otlp: "http://${COLLECTOR}", sample: 100%}
providers: {up: {kind: openai, base_url: "${UP}/v1", api_key: "${UPSTREAM_KEY}"}}
corpora: {handbook: {files: ["${DIR}/**/*.md"]}}
models: {desk: {targets: [{provider: up, model: gpt-4o}], rag: {corpus: handbook, top_k: 1}, cache: {exact: 10m}}}
tenants: {acme: {keys: [{name: main, key: "${KEY}"}], guards: [{kind: pii, action: mask}]}}
`))
	const question = "how many days can I carry over?"
	const miss, hit = "retrieve, admit, guards, cache, chat gpt-4o, guards", "retrieve, admit, guards, cache, guards"
	for i, row := range []struct{ id, headers, stream, spans, cache, attempts, finish string }{
		{"miss", "", "false", miss, "miss", "1", `[["stop"]]`},
		{"hit", "", "false", hit, "exact", "", `[["stop"]]`},
		{"stream-miss", "", "true", miss, "miss", "1", `[["stop"]]`},
		{"stream-hit", "", "true", hit, "exact", "", `[["stop"]]`},
		{"bypass", "Cache-Control: no-store\n", "false", miss, "bypass", "1", `[["stop"]]`},
	} {
		a := g.ask(t, "POST /v1/chat/completions\n"+row.headers+"X-Request-Id: "+row.id+fmt.Sprintf("\nTraceparent: 00-%032x-%s-01\n\n", i+1, clientSpan)+
			`{"model":"desk","stream":`+row.stream+`,"messages":[{"role":"user","content":"`+question+`"}]}`)
		if a.status != 200 || !strings.Contains(a.body, "ann-of-the-office") {
			t.Fatal(a)
		}
		request, below := c.of(t, row.id)
		if got := strings.Join(names(below), ", "); got != row.spans {
			t.Fatalf("%s: spans: %s", row.id, got)
		}
		if request.parent() != clientSpan || request.attribute("jarvis.cache") != row.cache || request.attribute("jarvis.attempts") != row.attempts ||
			request.attribute("gen_ai.response.model") != "gpt-4o" || request.attribute("gen_ai.response.finish_reasons") != row.finish {
			t.Errorf("%s: %s", row.id, request)
		}
		if used := request.attribute("gen_ai.usage.output_tokens"); (used == "0") != (row.cache == "exact") || used == "" {
			t.Errorf("%s: %q tokens: %s", row.id, used, request)
		}
		if first := request.attribute("gen_ai.response.time_to_first_chunk"); (first != "") != (row.stream == "true") {
			t.Errorf("%s: first chunk %q", row.id, first)
		}
		corpus, _, _ := strings.Cut(a.header.Get("X-Jarvis-Passages"), ";")
		below[0].wants(t, map[string]string{"jarvis.rag.corpus": corpus, "jarvis.rag.passages": "1", "jarvis.rag.tokens": below[0].attribute("jarvis.rag.tokens")})
		below[3].wants(t, map[string]string{"jarvis.cache": row.cache})
		if below[0].attribute("jarvis.rag.tokens") == "" || corpus == "" || below[0].Get("kind").Int() != 1 {
			t.Errorf("%s: %s", row.id, below[0])
		}
		for j := range 4 { // a stream goes through guards while it comes
			if below[j].time("endTimeUnixNano") > below[j+1].time("startTimeUnixNano") {
				t.Errorf("%s: %s overlaps %s", row.id, below[j].name(), below[j+1].name())
			}
		}
	}
	keepsSecrets(t, "a span", c.taken.String(), "carry", "carried", "leave.md", "ann@example.com", "ann-of-the-office", tenantKey, upstreamKey)
}

// tree is a trace: each span's parent, by names. Names of calls of the same are told apart by their request's id.
func (c *collecting) tree(t *testing.T, id string, want map[string]string) map[string]spanTaken {
	t.Helper()
	all := map[string]spanTaken{}
	call := func(s spanTaken) string {
		if request := s.attribute("jarvis.request_id"); request != "" {
			return request
		}
		return s.name()
	}
	eventually(t, "the trace of "+id, func() bool {
		clear(all)
		trace := ""
		for _, s := range c.spans() {
			if s.attribute("jarvis.request_id") == id {
				trace = s.Get("traceId").Str
			}
		}
		byID := map[string]spanTaken{}
		for _, s := range c.spans() {
			if s.Get("traceId").Str == trace && trace != "" {
				byID[s.id()] = s
			}
		}
		for _, s := range byID {
			name := call(s)
			if parent, ok := byID[s.parent()]; ok && call(s) == s.name() && strings.Contains(call(parent), ".") {
				name = call(parent) + "/" + s.name() // of a call
			}
			all[name] = s
		}
		return len(all) >= len(want)
	})
	for name, parent := range want {
		s, ok := all[name]
		above := all[parent]
		if !ok || parent != "" && s.parent() != above.id() {
			t.Errorf("%s: %s is not below %s: %s", id, name, parent, s)
			continue
		}
		if parent != "" && (s.time("startTimeUnixNano") < above.time("startTimeUnixNano") || s.time("endTimeUnixNano") > above.time("endTimeUnixNano")) {
			t.Errorf("%s: %s is not inside of %s: %s\n%s", id, name, parent, s, above)
		}
	}
	if len(all) != len(want) {
		t.Errorf("%s: %d spans, want %d: %v", id, len(all), len(want), all)
	}
	return all
}

const tracedFlow = `name: triage
version: 1.2.0
steps:
  - {id: sort, ask: {model: small, user: "{{ input }}"}}
  - {id: hope, ask: {model: small, user: "fail {{ input }}"}, on_error: continue}
  - {id: never, if: "false", ask: {model: chat, user: x}}
  - {id: parts, each: {of: '["a", "b"]', as: part, parallel: 2, ask: {model: chat, user: "{{ part }} {{ input }}"}}}
  - {id: note, set: input + "!"}
output: "{{ steps.sort.text }}"
`

const strictFlow = `name: strict
version: 0.1.0
steps:
  - {id: sort, ask: {model: small, user: "{{ input }}"}}
  - {id: last, ask: {model: chat, user: "fail {{ input }}"}}
output: "{{ steps.last.text }}"
`

const calmFlow = `name: calm
version: 0.1.0
steps:
  - {id: one, ask: {model: small, user: "{{ input }}"}}
  - {id: two, ask: {model: chat, user: "{{ input }}"}}
output: "{{ steps.two.text }}"
`

func traceable(t *testing.T, c *collecting, sample string, o *oracle) *running {
	t.Helper()
	config, _ := flowConfig(t, o, "", tracedFlow, strictFlow, calmFlow)
	return start(t, strings.NewReplacer("${COLLECTOR}", c.address, "${SAMPLE}", sample).Replace("telemetry: {otlp: \"http://${COLLECTOR}\", sample: ${SAMPLE}}\n")+
		strings.ReplaceAll(config, "model: gpt-4o-mini}]", "model: gpt-4o-mini}], retry: {attempts: 1}"))
}

// A flow is one trace: its steps below the run, their requests below these, and the calls of providers below those. The client's
// context comes in, the providers' goes out.
func TestTraceOfFlows(t *testing.T) {
	c := newCollector(t)
	parents := make(chan [2]string, 100)
	o := newOracle(t, func(user string, r *http.Request) (int, string) {
		parents <- [2]string{r.Header.Get("X-Request-Id"), r.Header.Get("Traceparent") + " " + r.Header.Get("Tracestate") + r.Header.Get("Baggage")}
		if strings.HasPrefix(user, "fail") {
			return 400, "no " + confidence
		}
		return 200, "<" + user + ">"
	})
	g := traceable(t, c, "0%", o)
	const context = "Traceparent: " + clientParent + "-01\nTracestate: rojo=1\nBaggage: a=b"
	if a := g.ask(t, flowRequest("triage", confidence, "", "X-Request-Id: run", context)); a.status != 200 {
		t.Fatal(a)
	}
	want := map[string]string{"run": "", "admit": "run", "step sort": "run", "step hope": "run", "step never": "run", "step parts": "run", "step note": "run"}
	for id, at := range map[string][2]string{"run.sort": {"step sort", "gpt-4o-mini"}, "run.hope": {"step hope", "gpt-4o-mini"}, "run.parts.0": {"step parts", "gpt-4o"}, "run.parts.1": {"step parts", "gpt-4o"}} {
		want[id], want[id+"/admit"], want[id+"/chat "+at[1]] = at[0], id, id
	}
	all := c.tree(t, "run", want)
	run := all["run"]
	run.wants(t, map[string]string{"gen_ai.operation.name": "invoke_workflow", "gen_ai.agent.name": "triage", "gen_ai.agent.version": "1.2.0", "gen_ai.request.model": "flow/triage",
		"jarvis.flow": "triage@1.2.0", "jarvis.outcome": "ok", "http.response.status_code": "200", "error.type": ""})
	if run.name() != "invoke_workflow triage" || run.Get("kind").Int() != 2 || run.parent() != clientSpan || run.Get("traceId").Str != clientTrace || run.Get("traceState").Str != "rojo=1" || run.Get("status.code").Int() != 0 {
		t.Errorf("the run: %s", run)
	}
	for name, told := range map[string][4]string{"sort": {"ask", "ok"}, "hope": {"ask", "failed", "oracle_says_no"}, "never": {"ask", "skipped"}, "parts": {"each", "ok"}, "note": {"set", "ok"}} {
		s := all["step "+name]
		s.wants(t, map[string]string{"jarvis.flow.step": name, "jarvis.flow.kind": told[0], "jarvis.flow.outcome": told[1], "error.type": s.attribute("error.type")})
		if failed := told[1] == "failed"; (s.Get("status.code").Int() == 2) != failed || (s.attribute("error.type") != "") != failed || s.Get("kind").Int() != 1 {
			t.Errorf("step %s: %s", name, s)
		}
	}
	for range 4 {
		got := <-parents
		up := all[got[0]+"/chat gpt-4o"]
		if !up.Exists() {
			up = all[got[0]+"/chat gpt-4o-mini"]
		}
		if got[1] != "00-"+clientTrace+"-"+up.id()+"-01 rojo=1" {
			t.Errorf("%s: the provider was told %q, the span is %s", got[0], got[1], up.id())
		}
	}
	for _, id := range []string{"run", "run.sort", "run.parts.1"} {
		if line := g.access(id); line.Get("trace_id").Str != clientTrace {
			t.Errorf("%s", line.Raw)
		}
	}
	keepsSecrets(t, "a span", c.taken.String(), confidence, tenantKey, upstreamKey)
}

// Of a flow that failed, met an error or was slow, all is kept, also the calls that were none of it; of any other nothing.
func TestTraceOfFlowsKept(t *testing.T) {
	c := newCollector(t)
	o := newOracle(t, func(user string, _ *http.Request) (int, string) {
		if strings.HasPrefix(user, "fail") {
			return 503, "no"
		}
		if user == "slow" {
			<-time.After(80 * time.Millisecond) // as a provider does; two of them are more than slow says
		}
		return 200, "<" + user + ">"
	})
	g := traceable(t, c, "0%", o)
	slow := traceable(t, c, "0%, slow: 120ms", o)
	calls := func(id string, steps ...string) map[string]string {
		want := map[string]string{id: "", "admit": id}
		for _, step := range steps {
			name, model, _ := strings.Cut(step, " ")
			at := id + "." + name
			name, _, _ = strings.Cut(name, ".")
			want["step "+name], want[at] = id, "step "+name
			if model != "" {
				want[at+"/admit"], want[at+"/chat "+model] = at, at
			}
		}
		return want
	}
	for _, row := range []struct {
		at                      *running
		id, flow, input, header string
		status                  int
		want                    map[string]string
	}{
		{g, "quiet", "calm", "x", "", 200, nil},
		{g, "unsampled", "calm", "x", "Traceparent: " + clientParent + "-00", 200, nil},
		{g, "put-right", "triage", "x", "", 200, calls("put-right", "sort gpt-4o-mini", "hope gpt-4o-mini", "parts.0 gpt-4o", "parts.1 gpt-4o")},
		{g, "failed", "strict", "x", "Traceparent: 00-1af7651916cd43dd8448eb211c80319c-" + clientSpan + "-00", 502, calls("failed", "sort gpt-4o-mini", "last gpt-4o")},
		{slow, "slow", "calm", "slow", "", 200, calls("slow", "one gpt-4o-mini", "two gpt-4o")},
		{g, "refused", "calm", "x", "Authorization: Bearer jv-other-0123456789abcdef", 404, nil},
	} {
		if row.id == "put-right" {
			row.want["step never"], row.want["step note"] = "put-right", "put-right"
		}
		a := row.at.ask(t, flowRequest(row.flow, row.input, "", "X-Request-Id: "+row.id, cmp.Or(row.header, "Accept: */*")))
		if a.status != row.status {
			t.Fatalf("%s: %v", row.id, a)
		}
		if row.want == nil {
			continue
		}
		all := c.tree(t, row.id, row.want)
		if s := all[row.id]; (s.Get("status.code").Int() == 2) != (row.status >= 500) || (s.attribute("error.type") != "") != (row.status >= 500) {
			t.Errorf("%s: %s", row.id, s)
		}
		if s := all["step last"]; row.id == "failed" && (s.attribute("jarvis.flow.outcome") != "failed" || s.attribute("error.type") == "" || s.Get("status.code").Int() != 2) {
			t.Errorf("%s", s)
		}
	}
	g.stop() // which sends what is left
	slow.stop()
	for _, s := range c.spans() {
		if id, _, _ := strings.Cut(s.attribute("jarvis.request_id"), "."); id == "quiet" || id == "unsampled" || id == "refused" {
			t.Errorf("%s was kept: %s", id, s)
		}
	}
}
