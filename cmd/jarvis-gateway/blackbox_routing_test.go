package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// ruledConfig has a model whose rules look at one thing each; the answer's model tells which one decided.
const ruledConfig = `
providers: {sim: {kind: simulated}}
models:
  chat:
    targets: [{provider: sim, model: base}]
    rules:
      - {when: {tenant: gold*}, model: gold}
      - {when: {scene: batch}, model: cheap}
      - {when: {tag: [night, weekend]}, model: cheap}
      - {when: {header: {X-Env: [prod, live]}}, model: prod}
      - {when: {modality: image}, model: eyes}
      - {when: 'tools && header("X-Env") != "test"', model: exact}
      - {when: {tokens: '>300', stream: false}, model: long}
  clock:
    targets: [{provider: sim, model: base}]
    rules:
      - {when: {time: "%s"}, model: gold}
      - {when: {time: "%s"}, model: cheap}
  meant:
    targets: [{provider: sim, model: base, when: {user: ann}}, {provider: sim, model: other, when: 'user == "bob"'}]
  gold: {targets: [{provider: sim, model: gold-1}], rules: [{when: {tenant: gold*}, model: cheap}]}
  cheap: {targets: [{provider: sim, model: cheap-1}]}
  prod: {targets: [{provider: sim, model: prod-1}]}
  eyes: {targets: [{provider: sim, model: eyes-1}]}
  exact: {targets: [{provider: sim, model: exact-1}]}
  long: {targets: [{provider: sim, model: long-1}]}
tenants:
  acme: {keys: [{name: main, key: "` + tenantKey + `"}]}
  golden: {keys: [{name: main, key: jv-golden-0123456789abcdef}], models: [chat]}
  spare: {keys: [{name: main, key: jv-spare-0123456789abcdef}], limits: {requests: [{limit: 1/d, models: [cheap]}]}}
`

// around is the time of day that now is in, or is not, whatever time zone the test runs in.
func around(hours int) string {
	at := time.Now().UTC().Add(time.Duration(hours) * time.Hour)
	return fmt.Sprintf("%s-%s UTC", at.Add(-time.Hour).Format("15:04"), at.Add(time.Hour).Format("15:04"))
}

func TestRulesOnTheWire(t *testing.T) {
	g := start(t, fmt.Sprintf(ruledConfig, around(6), around(0)))
	say := func(model, text, more string) string {
		return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%s}]%s}`, model, text, more)
	}
	hello, chinese, english := `"hello"`, `"`+strings.Repeat("预算是谁的", 120)+`"`, `"`+strings.Repeat("whose is the budget ", 50)+`"`
	picture := `[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]`
	for name, row := range map[string]struct{ headers, body, served, route string }{
		"none fits":                   {"", say("chat", hello, ""), "base", ""},
		"a tenant":                    {"Authorization: Bearer jv-golden-0123456789abcdef\n", say("chat", hello, ""), "gold-1", "rule:gold"},
		"a scene":                     {`X-Jarvis-Metadata: {"scene":"batch"}` + "\n", say("chat", hello, ""), "cheap-1", "rule:cheap"},
		"another scene":               {`X-Jarvis-Metadata: {"scene":"chat"}` + "\n", say("chat", hello, ""), "base", ""},
		"a tag":                       {`X-Jarvis-Metadata: {"tags":["blue","night"]}` + "\n", say("chat", hello, ""), "cheap-1", "rule:cheap"},
		"a header":                    {"x-env: live\n", say("chat", hello, ""), "prod-1", "rule:prod"},
		"a picture":                   {"", say("chat", picture, ""), "eyes-1", "rule:eyes"},
		"tools":                       {"", say("chat", hello, `,"tools":[{"type":"function","function":{"name":"f"}}]`), "exact-1", "rule:exact"},
		"tools, in a test":            {"X-Env: test\n", say("chat", hello, `,"tools":[{"type":"function","function":{"name":"f"}}]`), "base", ""},
		"600 Chinese characters":      {"", say("chat", chinese, ""), "long-1", "rule:long"},
		"more, but of English":        {"", say("chat", english, ""), "base", ""},
		"long, as a stream":           {"", say("chat", chinese, `,"stream":true`), "base", ""},
		"a time of day":               {"", say("clock", hello, ""), "cheap-1", "rule:cheap"},
		"a target for a user":         {`X-Jarvis-Metadata: {"user":"ann"}` + "\n", say("meant", hello, ""), "base", ""},
		"another for another":         {"", say("meant", hello, `,"user":"bob"`), "other", ""},
		"the rules of where it goes":  {"", say("gold", hello, ""), "gold-1", ""},
		"a tenant without that model": {"Authorization: Bearer jv-golden-0123456789abcdef\n", say("gold", hello, ""), "", ""},
		"no target for a user":        {"", say("meant", hello, ""), "", ""},
	} {
		a := g.ask(t, "POST /v1/chat/completions\n"+row.headers+"\n"+row.body)
		if a.header.Get("X-Jarvis-Model") != row.served || a.header.Get("X-Jarvis-Route") != row.route {
			t.Errorf("%s: %q by %q, want %q by %q: %v", name, a.header.Get("X-Jarvis-Model"), a.header.Get("X-Jarvis-Route"), row.served, row.route, a)
			continue
		}
		if line := g.access(a.header.Get("X-Request-Id")); line.Get("route").Str != row.route || line.Get("served").Str != row.served {
			t.Errorf("%s: the access line says %s", name, line.Raw)
		}
		if want := map[string]int{"no target for a user": 400, "a tenant without that model": 404}[name]; want != 0 && a.status != want {
			t.Errorf("%s: %v", name, a)
		}
	}
	if n := g.metrics()[`jarvis_detours_total{kind="rule",model="chat",to="cheap"}`]; n != 2 {
		t.Errorf("%v requests went to cheap by a rule", n)
	}
}

// A limit on a model counts what came to it by a rule.
func TestLimitsCountWhereARuleLeads(t *testing.T) {
	g := start(t, fmt.Sprintf(ruledConfig, around(6), around(0)))
	ask := func(scene string) int {
		return g.ask(t, "chat\nAuthorization: Bearer jv-spare-0123456789abcdef\nX-Jarvis-Metadata: {\"scene\":\""+scene+"\"}").status
	}
	if got := fmt.Sprint(ask("batch"), ask("batch"), ask("other"), ask("other")); got != "200 429 200 200" {
		t.Errorf("status %s", got)
	}
}

const degradeConfig = `
providers:
  up: {kind: openai, base_url: "%s/v1"}
  sim: {kind: simulated}
models:
  chat:
    targets: [{provider: up, model: big}]
    breaker: {window: 1s, min_calls: 4, off: true}
    degrade: [{to: small, when: {error_rate: 50%%}, hold: 300ms}]
  small: {targets: [{provider: sim, model: small-1}]}
tenants:
  acme: {keys: [{name: main, key: "` + tenantKey + `"}]}
`

// While the provider of a model fails another model answers; when it does no more, it is asked again.
func TestDegradeOnTheWire(t *testing.T) {
	var failing atomic.Bool
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if failing.Load() {
			http.Error(w, `{"error":{"message":"down"}}`, http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"id":"x","object":"chat.completion","model":"big","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`)
	}))
	t.Cleanup(up.Close)
	g := start(t, fmt.Sprintf(degradeConfig, up.URL))
	served := func() (string, int) {
		a := g.ask(t, "chat")
		return a.header.Get("X-Jarvis-Model") + " " + a.header.Get("X-Jarvis-Route"), a.status
	}
	const itself, spared, gauge = "big ", "small-1 degrade:small", `jarvis_degraded{cause="error_rate",model="chat",to="small"}`
	if got, status := served(); got != itself || status != 200 {
		t.Fatalf("%s, status %d", got, status)
	}
	failing.Store(true)
	eventually(t, "the other model", func() bool { got, status := served(); return got == spared && status == 200 })
	if g.metrics()[gauge] != 1 {
		t.Error("the metric does not show it")
	}
	failing.Store(false)
	eventually(t, "the model itself", func() bool { got, status := served(); return got == itself && status == 200 })
	if g.metrics()[gauge] != 0 {
		t.Error("the metric does not show that it serves again")
	}
	for _, message := range []string{"a model is degraded", "a model serves again"} {
		if _, logged := g.log.find(func(l gjson.Result) bool { return l.Get("msg").Str == message && l.Get("model").Str == "chat" }); !logged {
			t.Errorf("the log does not say: %s", message)
		}
	}
}
