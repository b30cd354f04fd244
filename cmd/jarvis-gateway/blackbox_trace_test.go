package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

const (
	clientTrace  = "0af7651916cd43dd8448eb211c80319c"
	clientSpan   = "b7ad6b7169203331"
	clientParent = "00-" + clientTrace + "-" + clientSpan

	wholeAnswer  = `{"id":"c-1","object":"chat.completion","model":"gpt-real","choices":[{"index":0,"message":{"role":"assistant","content":"` + confidence + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":70,"completion_tokens":5,"total_tokens":75,"prompt_tokens_details":{"cached_tokens":64}}}`
	streamAnswer = "data: {\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" + confidence + "\"},\"finish_reason\":null}]}\n\n" +
		"data: {\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\n" +
		"data: {\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\n" +
		"data: [DONE]\n\n"
)

// collecting is the OpenTelemetry Collector's own receiver (bench/collector), and what it has taken.
type collecting struct {
	testing.TB
	address string
	taken   record
}

// collectorProgram is built once: it has a module of its own, with all of the collector's.
var collectorProgram = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(states, "collector")
	build := exec.Command("go", "build", "-o", bin, ".")
	build.Dir = filepath.Join("..", "..", "bench", "collector")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
})

func newCollector(t testing.TB) *collecting {
	t.Helper()
	bin, err := collectorProgram()
	if err != nil {
		t.Skipf("the collector cannot be built here: %v", err)
	}
	c := &collecting{TB: t, address: "127.0.0.1:" + freePort(t)}
	var complaints record
	cmd := exec.CommandContext(t.Context(), bin, c.address)
	cmd.Stdout, cmd.Stderr, cmd.Cancel = &c.taken, &complaints, func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _ = cmd.Wait(); t.Failed() { // it was told to end
			t.Logf("the collector: %s", complaints.String())
		}
	})
	eventually(t, "the collector", func() bool { return strings.Contains(c.taken.String(), "listening") })
	return c
}

// spanTaken is a span as the collector has it.
type spanTaken struct {
	gjson.Result
	attributes map[string]gjson.Result
}

func (s spanTaken) id() string     { return s.Get("spanId").Str }
func (s spanTaken) parent() string { return s.Get("parentSpanId").Str }
func (s spanTaken) name() string   { return s.Get("name").Str }

// attribute is one as text; "" for none.
func (s spanTaken) attribute(key string) string {
	var text string
	s.attributes[key].ForEach(func(kind, v gjson.Result) bool {
		text = v.String()
		if kind.Str == "arrayValue" {
			text = "[" + v.Get("values.#.stringValue").String() + "]"
		}
		return true
	})
	return text
}

func (s spanTaken) time(key string) int64 {
	n, _ := strconv.ParseInt(s.Get(key).String(), 10, 64)
	return n
}

// resources are the attributes of who sent something.
func (c *collecting) resources() (all []string) {
	for line := range strings.Lines(c.taken.String()) {
		gjson.Get(line, "resourceSpans.#.resource.attributes|@flatten").ForEach(func(_, a gjson.Result) bool {
			all = append(all, a.Get("key").Str+"="+a.Get("value.stringValue").Str)
			return true
		})
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// spans are those that the collector has, by the order of their beginnings.
func (c *collecting) spans() (all []spanTaken) {
	for line := range strings.Lines(c.taken.String()) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		gjson.Get(line, "resourceSpans.#.scopeSpans.#.spans|@flatten|@flatten").ForEach(func(_, span gjson.Result) bool {
			s := spanTaken{span, map[string]gjson.Result{}}
			span.Get("attributes").ForEach(func(_, a gjson.Result) bool {
				s.attributes[a.Get("key").Str] = a.Get("value")
				return true
			})
			all = append(all, s)
			return true
		})
	}
	slices.SortStableFunc(all, func(a, b spanTaken) int {
		return cmp.Compare(a.time("startTimeUnixNano"), b.time("startTimeUnixNano"))
	})
	return all
}

// of waits for the spans of a request, the request's own first, and checks what holds of all: they are one trace, below the request's.
func (c *collecting) of(t testing.TB, id string) (request spanTaken, below []spanTaken) {
	t.Helper()
	eventually(t, "the spans of "+id, func() bool {
		for _, s := range c.spans() {
			if s.attribute("jarvis.request_id") == id {
				request = s
				return true
			}
		}
		return false
	})
	seen := map[string]bool{}
	for _, s := range c.spans() {
		if s.Get("traceId").Str != request.Get("traceId").Str || s.id() == request.id() {
			continue
		}
		below = append(below, s)
		if s.parent() != request.id() || seen[s.id()] || !spanID.MatchString(s.id()) {
			t.Errorf("a span of %s has the wrong parent or id: %s", id, s)
		}
		seen[s.id()] = true
		if s.time("startTimeUnixNano") < request.time("startTimeUnixNano") || s.time("endTimeUnixNano") > request.time("endTimeUnixNano") ||
			s.time("endTimeUnixNano") < s.time("startTimeUnixNano") {
			t.Errorf("a span of %s is not inside of it: %s", id, s)
		}
	}
	return request, below
}

var spanID = regexp.MustCompile(`^[0-9a-f]{16}$`)

func names(spans []spanTaken) (list []string) {
	for _, s := range spans {
		list = append(list, s.name())
	}
	return list
}

// wants compares attributes, and which of those with a prefix there are.
func (s spanTaken) wants(t testing.TB, want map[string]string) {
	t.Helper()
	for key, text := range want {
		if got := s.attribute(key); got != text {
			t.Errorf("%s: %s is %q, not %q", s.name(), key, got, text)
		}
	}
	for key := range s.attributes {
		if _, expected := want[key]; !expected && strings.HasPrefix(key, "gen_ai.") {
			t.Errorf("%s: %s is %q", s.name(), key, s.attribute(key))
		}
	}
}

const tracedConfig = `
telemetry: {otlp: "http://${COLLECTOR}", sample: ${SAMPLE}, service: gw-one, resource: {deployment.environment.name: test}}
providers:
  first: {kind: openai, base_url: "http://${FIRST}/v1", api_key: "${UPSTREAM_KEY}"}
  second: {kind: openai, base_url: "http://${SECOND}/v1", api_key: "${UPSTREAM_KEY}"}
models:
  chat: {targets: [{provider: first, model: gpt-real}, {provider: second, model: gpt-other}]}
tenants:
  acme: {keys: [{name: main, key: "${KEY}", limits: {requests: 1000/m}}], guards: [{kind: pii, action: mask}]}
`

func traced(t testing.TB, c *collecting, sample string) (g *running, first, second *upstream) {
	t.Helper()
	first, second = newUpstream(t), newUpstream(t)
	g = start(t, strings.NewReplacer("${COLLECTOR}", c.address, "${SAMPLE}", sample, "${FIRST}", first.addr(), "${SECOND}", second.addr(),
		"${UPSTREAM_KEY}", upstreamKey, "${KEY}", tenantKey).Replace(tracedConfig))
	return g, first, second
}

// One request that fails over, as a collector sees it: the client's trace goes on through the gateway to both providers.
func TestTrace(t *testing.T) {
	c := newCollector(t)
	g, first, second := traced(t, c, "0%")
	first.script("503\n\n{\"error\":{\"message\":\"" + confidence + "\"}}")
	second.script(streamAnswer)
	a := g.ask(t, "stream\nX-Request-Id: req-a\nTraceparent: "+clientParent+"-01\nTracestate: rojo=1\nTracestate: congo=2\nBaggage: user="+confidence+
		"\nX-Jarvis-Metadata: {\"scene\":\"support\",\"user\":\""+confidence+"\"}\nUser-Agent: test/1\n")
	if a.status != 200 || !strings.HasSuffix(a.body, "[DONE]\n\n") {
		t.Fatal(a)
	}
	request, below := c.of(t, "req-a")
	if got := strings.Join(names(below), ", "); got != "admit, guards, chat gpt-real, chat gpt-other, guards" {
		t.Fatalf("spans: %s", got)
	}
	request.wants(t, map[string]string{
		"http.request.method": "POST", "http.route": "/v1/chat/completions", "url.path": "/v1/chat/completions", "http.response.status_code": "200",
		"user_agent.original": "test/1", "error.type": "", "jarvis.tenant": "acme", "jarvis.key": "main", "jarvis.scene": "support", "jarvis.outcome": "ok",
		"jarvis.model": "chat", "jarvis.provider": "second", "jarvis.attempts": "2", "jarvis.route": "failover:upstream_error",
		"gen_ai.operation.name": "chat", "gen_ai.request.model": "chat", "gen_ai.request.stream": "true", "gen_ai.provider.name": "openai",
		"gen_ai.response.model": "gpt-other", "gen_ai.response.finish_reasons": `[["length"]]`, "gen_ai.usage.input_tokens": "7", "gen_ai.usage.output_tokens": "3",
		"gen_ai.response.time_to_first_chunk": request.attribute("gen_ai.response.time_to_first_chunk"),
	})
	if request.name() != "chat chat" || request.Get("kind").Int() != 2 || request.parent() != clientSpan || request.Get("traceId").Str != clientTrace ||
		request.Get("traceState").Str != "rojo=1,congo=2" || request.Get("flags").Int() != 0x301 || request.Get("status.code").Int() != 0 {
		t.Errorf("the request's span: %s", request)
	}
	failed, answered := below[2], below[3]
	host, port, _ := strings.Cut(second.addr(), ":")
	failed.wants(t, map[string]string{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-real", "gen_ai.provider.name": "openai", "gen_ai.request.stream": "true",
		"http.response.status_code": "503", "error.type": "upstream_error", "jarvis.provider": "first", "jarvis.attempt": "first"})
	answered.wants(t, map[string]string{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-other", "gen_ai.provider.name": "openai", "gen_ai.request.stream": "true",
		"http.response.status_code": "200", "error.type": "", "jarvis.provider": "second", "jarvis.attempt": "failover", "server.address": host, "server.port": port,
		"gen_ai.response.finish_reasons": `[["length"]]`, "gen_ai.usage.input_tokens": "7", "gen_ai.usage.output_tokens": "3",
		"gen_ai.response.time_to_first_chunk": answered.attribute("gen_ai.response.time_to_first_chunk")})
	for span, up := range map[*spanTaken]*upstream{&failed: first, &answered: second} {
		h := up.sightings()[0].header
		if h.Get("Traceparent") != "00-"+clientTrace+"-"+span.id()+"-01" || strings.Join(h.Values("Tracestate"), ",") != "rojo=1,congo=2" || h.Get("Baggage") != "" {
			t.Errorf("%s was told %q", span.name(), h)
		}
		if span.Get("kind").Int() != 3 || (span.Get("status.code").Int() == 2) != (span == &failed) {
			t.Errorf("the span of a call: %s", span)
		}
	}
	if got := strings.Join(c.resources(), " "); got != "deployment.environment.name=test service.name=gw-one" {
		t.Errorf("the gateway calls itself %s", got)
	}
	if id := g.access("req-a").Get("trace_id").Str; id != clientTrace {
		t.Errorf("the access line has the trace %q", id)
	}
	eventually(t, "the count of spans", func() bool { return g.metrics()["jarvis_spans_exported_total"] >= 6 })
	keepsSecrets(t, "a span", c.taken.String(), confidence, tenantKey, upstreamKey)
}

// What is kept: what was sampled, what failed and what was slow. The rest leaves nothing.
func TestTraceKept(t *testing.T) {
	c := newCollector(t)
	g, first, second := traced(t, c, "0%")
	slow := start(t, strings.NewReplacer("${COLLECTOR}", c.address, "${SAMPLE}", "0%, slow: 1us", "${FIRST}", first.addr(), "${SECOND}", second.addr(),
		"${UPSTREAM_KEY}", upstreamKey, "${KEY}", tenantKey).Replace(tracedConfig))
	down := "503\n\n{}"
	for i, r := range []struct {
		id            string
		at            *running
		first, second []string
		request       string
		status        int
		kept          bool
		name          string
	}{
		{"plain", g, []string{wholeAnswer}, nil, "chat", 200, false, ""},
		{"sampled by the client", g, []string{wholeAnswer}, nil, "chat\nTraceparent: PARENT-01", 200, true, "chat chat"},
		{"not sampled by the client", g, []string{wholeAnswer}, nil, "chat\nTraceparent: PARENT-00", 200, false, ""},
		{"two parents", g, []string{wholeAnswer}, nil, "chat\nTraceparent: PARENT-01\nTraceparent: PARENT-01", 200, false, ""},
		{"failed", g, []string{down}, []string{down}, "chat", 502, true, "chat chat"},
		{"failed, not sampled by the client", g, []string{down}, []string{down}, "chat\nTraceparent: PARENT-00", 502, true, "chat chat"},
		{"put right", g, []string{down}, []string{wholeAnswer}, "chat", 200, true, "chat chat"},
		{"broken off", g, []string{strings.Split(streamAnswer, "\n\n")[0] + "\n\n@cut"}, nil, "stream", 200, true, "chat chat"},
		{"caller's mistake", g, nil, nil, "POST /v1/chat/completions\n\n{}", 400, false, ""},
		{"mistake of a sampled caller", g, nil, nil, "POST /v1/chat/completions\nTraceparent: PARENT-01\n\n{}", 400, true, "POST /v1/chat/completions"},
		{"no such model", g, nil, nil, "POST /v1/chat/completions\nTraceparent: PARENT-01\n\n{\"model\":\"" + confidence + "\",\"messages\":[]}", 404, true, "POST /v1/chat/completions"},
		{"stranger", g, nil, nil, "chat\nAuthorization: Bearer wrong\nTraceparent: PARENT-01", 401, false, ""},
		{"slow", slow, []string{wholeAnswer}, nil, "chat", 200, true, "chat chat"},
		{"slow stream", slow, []string{streamAnswer}, nil, "stream", 200, true, "chat chat"},
	} {
		id := "req-" + strings.ReplaceAll(strings.NewReplacer(",", "", "'", "").Replace(r.id), " ", "-")
		first.script(r.first...)
		second.script(r.second...)
		parent := fmt.Sprintf("00-%032x-%s", i+1, clientSpan)
		line, rest, _ := strings.Cut(strings.ReplaceAll(r.request, "PARENT", parent), "\n")
		a := r.at.ask(t, line+"\nX-Request-Id: "+id+"\n"+rest)
		if a.status != r.status {
			t.Fatalf("%s: %s", r.id, a)
		}
		if !r.kept {
			defer func() {
				for _, s := range c.spans() {
					if s.attribute("jarvis.request_id") == id {
						t.Errorf("%s was kept: %s", id, s)
					}
				}
			}()
			continue
		}
		request, below := c.of(t, id)
		if request.name() != r.name || request.attribute("http.response.status_code") != strconv.Itoa(r.status) {
			t.Errorf("%s: %s", r.id, request)
		}
		if failed := request.Get("status.code").Int() == 2; failed != (r.status >= 500 || r.id == "broken off") {
			t.Errorf("%s: status %s, below it %s", r.id, request.Get("status"), names(below))
		}
	}
	for _, at := range []*running{g, slow} {
		at.stop() // which sends what is left
	}
	keepsSecrets(t, "a span", strings.ReplaceAll(c.taken.String(), "req-", ""), tenantKey, upstreamKey, `"`+confidence+`"`)
}

// Without tracing the client's trace goes on as it is; with it, it depends on the provider.
func TestTracePropagation(t *testing.T) {
	up := newUpstream(t)
	const providers = `
providers:
  own: {kind: openai, base_url: "http://${UP}/v1", api_key: x}
  cloud: {kind: azure, base_url: "http://${UP}", api_key: x, api_version: 2024-10-21}
  claude: {kind: anthropic, base_url: "http://${UP}", api_key: x}
models:
  own: {targets: [{provider: own}]}
  cloud: {targets: [{provider: cloud}]}
  claude: {targets: [{provider: claude}]}
tenants:
  acme: {keys: [{name: main, key: "${KEY}"}]}
`
	claude := `{"id":"m","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`
	nobody := "127.0.0.1:" + freePort(t)
	for section, told := range map[string]map[string]string{
		"":                                       {"own": "client", "cloud": "client", "claude": "client"},
		"{otlp: http://NOBODY}":                  {"own": "gateway", "cloud": "", "claude": ""},
		"{otlp: http://NOBODY, propagate: all}":  {"own": "gateway", "cloud": "gateway", "claude": "gateway"},
		"{otlp: http://NOBODY, propagate: none}": {"own": "", "cloud": "", "claude": ""},
	} {
		config := strings.NewReplacer("${UP}", up.addr(), "${KEY}", tenantKey).Replace(providers)
		if section != "" {
			config = "telemetry: " + strings.ReplaceAll(section, "NOBODY", nobody) + config
		}
		g := start(t, config)
		for model, want := range told {
			for _, state := range []string{"rojo=1", "not a state"} {
				up.script(map[bool]string{true: claude, false: wholeAnswer}[model == "claude"])
				a := g.ask(t, fmt.Sprintf("POST /v1/chat/completions\nTraceparent: %s-00\nTracestate: %s\nBaggage: a=b\n\n"+`{"model":%q,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`, clientParent, state, model))
				if a.status != 200 {
					t.Fatal(a)
				}
				h := up.sightings()[0].header
				got, wantState := "", state
				switch parent := h.Get("Traceparent"); {
				case parent == clientParent+"-00":
					got = "client"
				case strings.HasPrefix(parent, "00-"+clientTrace) && strings.HasSuffix(parent, "-00") && len(parent) == 55:
					got = "gateway"
				case parent != "":
					got = parent
				}
				if want == "" || want == "gateway" && state != "rojo=1" {
					wantState = ""
				}
				if got != want || h.Get("Tracestate") != wantState || h.Get("Baggage") != "" {
					t.Errorf("%s: %s was told %q, %q and %q", section, model, h.Get("Traceparent"), h.Get("Tracestate"), h.Get("Baggage"))
				}
			}
		}
		line, _ := g.log.find(func(l gjson.Result) bool { return l.Get("msg").Str == "request" })
		if section != "" {
			eventually(t, "an access line", func() (ok bool) {
				line, ok = g.log.find(func(l gjson.Result) bool { return l.Get("msg").Str == "request" })
				return ok
			})
		}
		if (line.Get("trace_id").Str != "") != (section != "") {
			t.Errorf("%s: %s", section, line)
		}
	}
}

// A hedge is two spans, of which one is lost.
func TestTraceHedge(t *testing.T) {
	c := newCollector(t)
	up := map[string]*fakellm.Server{}
	for _, name := range []string{"slow", "quick"} {
		s, err := fakellm.Start(fakellm.Options{Kind: fakellm.OpenAI, APIKey: upstreamKey})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		up[name] = s
	}
	g := start(t, strings.NewReplacer("${COLLECTOR}", c.address, "${slow}", up["slow"].URL(), "${quick}", up["quick"].URL(), "${UPSTREAM_KEY}", upstreamKey, "${KEY}", tenantKey).Replace(`
telemetry: {otlp: "http://${COLLECTOR}", sample: 100%}
providers:
  slow: {kind: openai, base_url: "${slow}/v1", api_key: "${UPSTREAM_KEY}"}
  quick: {kind: openai, base_url: "${quick}/v1", api_key: "${UPSTREAM_KEY}"}
models:
  chat: {hedge: {after: 20ms, max_extra: 100%}, breaker: {off: true}, targets: [{provider: slow, model: gpt-slow}, {provider: quick, model: gpt-quick}]}
tenants:
  acme: {keys: [{name: main, key: "${KEY}"}]}
`))
	up["slow"].SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Delay: ages} })
	for i := range 5 {
		id := fmt.Sprintf("req-%d", i)
		if a := g.ask(t, "stream\nX-Request-Id: "+id); a.status != 200 {
			t.Fatal(a)
		}
		request, below := c.of(t, id)
		if got := strings.Join(names(below), ", "); got != "admit, chat gpt-slow, chat gpt-quick" {
			t.Fatalf("spans: %s", got)
		}
		below[1].wants(t, map[string]string{"jarvis.result": "lost", "error.type": "", "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-slow", "gen_ai.provider.name": "openai", "gen_ai.request.stream": "true",
			"gen_ai.usage.input_tokens": below[1].attribute("gen_ai.usage.input_tokens"), "gen_ai.usage.output_tokens": below[1].attribute("gen_ai.usage.output_tokens")})
		if below[2].attribute("jarvis.attempt") != "hedge" || below[2].attribute("jarvis.result") != "ok" || request.attribute("jarvis.provider") != "quick" || request.parent() != "" {
			t.Errorf("%s\n%s", request, below[2])
		}
	}
}

// Many requests at once, on connections that serve several each: every one has its own trace, and none is missing.
func TestTraceTogether(t *testing.T) {
	c := newCollector(t)
	up, err := fakellm.Start(fakellm.Options{Kind: fakellm.OpenAI, APIKey: upstreamKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	g := start(t, strings.NewReplacer("${COLLECTOR}", c.address, "${UP}", up.URL(), "${UPSTREAM_KEY}", upstreamKey, "${KEY}", tenantKey).Replace(`
telemetry: {otlp: "http://${COLLECTOR}", sample: 100%}
providers: {up: {kind: openai, base_url: "${UP}/v1", api_key: "${UPSTREAM_KEY}"}}
models: {chat: {targets: [{provider: up, model: gpt-real}]}}
tenants: {acme: {keys: [{name: main, key: "${KEY}"}]}}
`))
	const clients, each = 8, 25
	var all sync.WaitGroup
	for i := range clients {
		conn := g.dial(t)
		all.Go(func() {
			for j := range each {
				if a := conn.do(fmt.Sprintf("%s\nX-Request-Id: req-%d-%d", []string{"chat", "stream"}[j%2], i, j)); a.status != 200 {
					t.Error(a)
				}
			}
		})
	}
	all.Wait()
	if code := g.stop(); code != 0 { // the last ones go out
		t.Errorf("exit code %d", code)
	}
	traces := map[string][]spanTaken{}
	eventually(t, "all spans", func() bool { return len(c.spans()) >= clients*each*3 })
	for _, s := range c.spans() {
		id := s.Get("traceId").Str
		traces[id] = append(traces[id], s)
	}
	if len(traces) != clients*each {
		t.Errorf("%d traces of %d requests", len(traces), clients*each)
	}
	for id, spans := range traces {
		if got := strings.Join(names(spans), ", "); got != "chat chat, admit, chat gpt-real" {
			t.Errorf("%s has %s", id, got)
		}
	}
}

// Tracing follows a reload: what is under way ends as it began.
func TestTraceReload(t *testing.T) {
	c := newCollector(t)
	g, first, _ := traced(t, c, "100%")
	on, err := os.ReadFile(g.path)
	if err != nil {
		t.Fatal(err)
	}
	conn := g.dial(t)
	reloaded := func(config []byte) {
		t.Helper()
		before := g.metrics()[`jarvis_config_reloads_total{result="ok"}`] // other tests reload, too
		g.configure(string(config))
		eventually(t, "the reload", func() bool { return g.metrics()[`jarvis_config_reloads_total{result="ok"}`] > before })
	}
	for n, config := range [][]byte{on, regexp.MustCompile(`(?m)^telemetry:.*$`).ReplaceAll(on, nil), on} {
		if n > 0 {
			reloaded(config)
		}
		first.script(wholeAnswer)
		id := fmt.Sprintf("req-%d", n)
		if a := conn.do("chat\nX-Request-Id: " + id); a.status != 200 {
			t.Fatal(a)
		}
		if on := bytes.Contains(config, []byte("otlp")); on {
			c.of(t, id)
		} else if g.access(id).Get("trace_id").Exists() || first.sightings()[0].header.Get("Traceparent") != "" {
			t.Errorf("%s was traced", id)
		}
	}
	for _, s := range c.spans() {
		if s.attribute("jarvis.request_id") == "req-1" {
			t.Errorf("a request was traced that should not be: %s", s)
		}
	}
}

// A collector that is not there costs requests nothing, nor does it keep the gateway from ending.
func TestTraceNobodyCollects(t *testing.T) {
	g, first, _ := traced(t, &collecting{address: "127.0.0.1:" + freePort(t)}, "100%")
	for range 20 {
		first.script(wholeAnswer)
		if a := g.ask(t, "chat"); a.status != 200 {
			t.Fatal(a)
		}
	}
	eventually(t, "the warning", func() bool { return strings.Contains(g.log.String(), "the collector does not take spans") })
	begun := time.Now()
	if code := g.stop(); code != 0 || time.Since(begun) > lastSpans+10*time.Second {
		t.Errorf("exit code %d after %s", code, time.Since(begun))
	}
}
