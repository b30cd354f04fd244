package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

const breakerConfig = `
providers:
  one: {kind: openai, base_url: "%s/v1"}
  two: {kind: openai, base_url: "%s/v1"}
models:
  chat: {targets: [{provider: one, model: m}, {provider: two, model: m}], breaker: {open: 1h, consecutive: %d}}
  rested: {targets: [{provider: one, model: r}, {provider: two, model: r}]}
  hasty: {targets: [{provider: one, model: h}, {provider: two, model: h}], timeout: {first_token: 10m, total: 10m}}
  again: {targets: [{provider: one, model: a}], retry: {attempts: 3, backoff: 1ms..60s}}
  gpt-*: {targets: [{provider: one}, {provider: two}]}
tenants:
  acme: {keys: [{name: main, key: "%s"}]}
alerts: {webhook: "%s/hook", secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}
`

// breaking is a gateway over two providers and a webhook.
type breaking struct {
	*running
	one, two *fakellm.Server
	mu       sync.Mutex
	hooks    []string
}

func newBreaking(t *testing.T, consecutive int) *breaking {
	t.Helper()
	b := &breaking{}
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.hooks = append(b.hooks, r.Header.Get("Webhook-Id")+" "+r.Header.Get("Webhook-Signature")+" "+string(body))
	}))
	t.Cleanup(hook.Close)
	for _, s := range []**fakellm.Server{&b.one, &b.two} {
		var err error
		if *s, err = fakellm.Start(fakellm.Options{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup((*s).Close)
	}
	b.running = start(t, fmt.Sprintf(breakerConfig, b.one.URL(), b.two.URL(), consecutive, tenantKey, hook.URL))
	return b
}

// hurry has breakers open for a moment only, those that are open too.
func (b *breaking) hurry(t *testing.T) {
	t.Helper()
	b.configure(strings.Replace(readFile(t, b.path), "open: 1h", "open: 50ms", 1))
	eventually(t, "the reload", func() bool { return strings.Contains(b.log.String(), "config reloaded") })
}

// failing has the first provider fail.
func (b *breaking) failing(p fakellm.Plan) {
	b.one.SetPlan(func(*fakellm.Seen) fakellm.Plan { return p })
}

// target is how one stands.
func (b *breaking) target(model, provider string) gjson.Result {
	b.Helper()
	for _, row := range b.targets() {
		if row.Get("model").Str == model && row.Get("provider").Str == provider {
			return row
		}
	}
	b.Fatalf("no %s at %s", model, provider)
	return gjson.Result{}
}

// by is who answers a request.
func (b *breaking) by(t *testing.T, model string) string {
	t.Helper()
	a := b.ask(t, chatRequest(model, false))
	if a.status != 200 {
		t.Fatalf("%v", a)
	}
	return a.header.Get("X-Jarvis-Provider") + " " + a.header.Get("X-Jarvis-Attempts") + " " + a.header.Get("X-Jarvis-Route")
}

// Five failures open a target's breaker, which the very next request finds; probes close it again. It is in metrics, in the admin
// API, in the log and in the audit log.
func TestBreakerEndToEnd(t *testing.T) {
	b := newBreaking(t, 5)
	b.failing(fakellm.Plan{Status: 500})
	for range 5 {
		if by := b.by(t, "chat"); by != "two 2 failover:upstream_error" {
			t.Error(by)
		}
	}
	if by := b.by(t, "chat"); by != "two 1 " {
		t.Error("the breaker is open: " + by)
	}
	if row := b.target("chat", "one"); row.Get("state").Str != "open" || row.Get("cause").Str != "consecutive" || row.Get("failed").Int() != 5 || row.Get("error_rate").Float() != 1 || !row.Get("until").Exists() {
		t.Error(row.Raw)
	}
	const one = `{model="chat",provider="one",served="m"}`
	if m := b.metrics(); m["jarvis_breaker_state"+one] != 2 || m[`jarvis_breaker_opens_total{cause="consecutive",model="chat",provider="one",served="m"}`] < 1 ||
		m[`jarvis_retries_total{from="one",model="chat",reason="upstream_error",to="two"}`] < 5 {
		t.Errorf("%v", m["jarvis_breaker_state"+one])
	}
	b.failing(fakellm.Plan{})
	b.hurry(t)
	eventually(t, "a probe", func() bool { return b.by(t, "chat") == "one 1 " })
	if by := b.by(t, "chat"); by != "one 1 " {
		t.Error(by)
	}
	if row := b.target("chat", "one"); row.Get("state").Str != "closed" || row.Get("cause").Exists() || b.metrics()["jarvis_breaker_state"+one] != 0 {
		t.Error(row.Raw)
	}
	eventually(t, "the log", func() bool {
		_, opened := b.log.find(func(l gjson.Result) bool { return l.Get("state").Str == "open" && l.Get("provider").Str == "one" })
		_, closed := b.log.find(func(l gjson.Result) bool { return l.Get("state").Str == "closed" && l.Get("provider").Str == "one" })
		return opened && closed
	})
	eventually(t, "the audit log", func() bool {
		res, err := http.Get("http://" + b.private + "/admin/v1/audit?limit=100")
		if err != nil {
			t.Fatal(err)
		}
		text := bodyOf(t, res)
		return strings.Contains(text, `"breaker.open"`) && strings.Contains(text, `"breaker.close"`) && strings.Contains(text, `"chat at one/m"`)
	})
}

// A provider that refuses our key is left alone at once, and the operator is told, once for each time that it begins.
func TestRefusedKeyAlerts(t *testing.T) {
	b := newBreaking(t, 5)
	b.failing(fakellm.Plan{Status: 401})
	if by := b.by(t, "chat"); by != "two 2 failover:upstream_auth" {
		t.Error(by)
	}
	if by := b.by(t, "chat"); by != "two 1 " {
		t.Error("its breaker is open: " + by)
	}
	b.hurry(t)
	eventually(t, "another probe", func() bool {
		b.by(t, "chat")
		return b.metrics()[`jarvis_breaker_opens_total{cause="auth",model="chat",provider="one",served="m"}`] >= 3
	})
	b.by(t, "rested")
	told := func() []string {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.hooks
	}
	eventually(t, "the webhook", func() bool { return len(told()) > 0 })
	hooks := told()
	_, body, _ := strings.Cut(hooks[0], " v1,")
	_, body, _ = strings.Cut(body, " ")
	e := gjson.Parse(body)
	if len(hooks) != 1 || e.Get("type").Str != "provider.auth_refused" || e.Get("data.provider").Str != "one" || e.Get("data.model").Str != "chat" || e.Get("data.served").Str != "m" || e.Get("timestamp").Str == "" {
		t.Errorf("%q", hooks)
	}
}

// A target that is rate-limited rests for as long as it said, however it says so.
func TestRestEndToEnd(t *testing.T) {
	for _, row := range []struct {
		header map[string]string
		rests  time.Duration // until, from the answer; 0: it does not
	}{
		{map[string]string{"Retry-After": "60"}, time.Minute},
		{map[string]string{"Retry-After": "30", "Retry-After-Ms": "72500"}, 72500 * time.Millisecond},
		{map[string]string{"Retry-After": "a date"}, 80 * time.Second},
		{nil, 0},
	} {
		b := newBreaking(t, 5)
		begun := time.Now()
		if row.header["Retry-After"] == "a date" {
			row.header["Retry-After"] = begun.Add(row.rests).UTC().Format(http.TimeFormat)
		}
		b.failing(fakellm.Plan{Status: 429, Header: row.header})
		if by := b.by(t, "rested"); by != "two 2 failover:upstream_rate_limited" {
			t.Error(by)
		}
		at := b.target("rested", "one")
		until, err := time.Parse(time.RFC3339, at.Get("resting_until").Str)
		earliest, latest := begun.Add(row.rests-time.Second), time.Now().Add(row.rests+time.Second)
		if row.rests > 0 && (err != nil || until.Before(earliest) || until.After(latest)) || row.rests == 0 && err == nil {
			t.Errorf("%v: rests until %s", row.header, at.Raw)
		}
		want := map[bool]string{true: "two 1 ", false: "two 2 failover:upstream_rate_limited"}[row.rests > 0]
		if by := b.by(t, "rested"); by != want {
			t.Errorf("%v: %s", row.header, by)
		}
		b.cancel()
	}
}

// A client that wants to wait a moment only says nothing of a target that takes longer, and nobody else is asked for it then.
func TestHasteIsNoFailure(t *testing.T) {
	b := newBreaking(t, 5)
	b.failing(fakellm.Plan{Delay: ages})
	for i := range 6 {
		a := b.ask(t, strings.Replace(chatRequest("hasty", i%2 == 0), "\n", "\nX-Jarvis-Timeout: 50ms\n", 1))
		if a.status != 504 || a.header.Get("X-Jarvis-Attempts") != "1" {
			t.Errorf("%v", a)
		}
	}
	if row := b.target("hasty", "one"); row.Get("state").Str != "closed" {
		t.Error(row.Raw)
	}
}

// A target is asked again after a pause, as often as it may be, and who leaves meanwhile ends that.
func TestRetriesEndToEnd(t *testing.T) {
	b := newBreaking(t, 50)
	b.failing(fakellm.Plan{Status: 503, RetryAfter: time.Millisecond})
	a := b.ask(t, chatRequest("again", false))
	line := b.access(a.header.Get("X-Request-Id"))
	if a.status != 502 || a.header.Get("X-Jarvis-Attempts") != "3" || a.header.Get("X-Jarvis-Route") != "retry:upstream_error, retry:upstream_error" ||
		line.Get("failed").Str != "one/a:upstream_error, one/a:upstream_error, one/a:upstream_error" || len(b.one.WaitDone(3, patience)) != 3 {
		t.Errorf("%v\n%s", a, line.Raw)
	}
	b.failing(fakellm.Plan{Status: 503, RetryAfter: time.Minute})
	b.one.Reset()
	c := b.dial(t)
	c.send(strings.Replace(chatRequest("again", false), "\n", "\nX-Request-Id: leaves\n", 1))
	b.one.WaitDone(1, patience)
	left := time.Now()
	c.Close()
	if line := b.access("leaves"); line.Get("outcome").Str != "client_gone" || line.Get("attempts").Int() != 1 || time.Since(left) > patience/2 {
		t.Errorf("after %s: %s", time.Since(left), line.Raw)
	}
	if row := b.target("again", "one"); row.Get("in_flight").Int() != 0 || !row.Get("unheeded").Bool() {
		t.Error(row.Raw)
	}
}

// Targets are shown and taken out of service by commands, and a reload changes nothing about it.
func TestTargetCommands(t *testing.T) {
	b := newBreaking(t, 5)
	command := func(want string, args ...string) {
		t.Helper()
		var out, problems record
		code := run(t.Context(), append([]string{"target", "--admin", "http://" + b.private}, args...), &out, &problems)
		if text := out.String() + problems.String(); code != 0 && !strings.HasPrefix(want, "!") || !strings.Contains(text, strings.TrimPrefix(want, "!")) {
			t.Errorf("%v: %d %s", args, code, text)
		}
	}
	command("chat    one       m       closed", "list")
	command("open (forced)", "open", "chat", "one")
	if by := b.by(t, "chat"); by != "two 1 " {
		t.Error(by)
	}
	config := readFile(t, b.path)
	b.configure(strings.Replace(config, "consecutive: 5", "consecutive: 7", 1))
	eventually(t, "the reload", func() bool { return strings.Contains(b.log.String(), "config reloaded") })
	if by := b.by(t, "chat"); by != "two 1 " {
		t.Error("forgotten by the reload: " + by)
	}
	command(`"forced": "closed"`, "close", "chat", "one", "m", "--json")
	b.failing(fakellm.Plan{Status: 500})
	for range 8 {
		if by := b.by(t, "chat"); by != "two 2 failover:upstream_error" {
			t.Error(by)
		}
	}
	command("chat   one       m       closed", "auto", "chat", "one")
	command("It holds for every model of gpt-* one that clients will ask for.", "open", "gpt-*", "one")
	if by := b.by(t, "gpt-9"); by != "two 1 " {
		t.Error(by)
	}
	command("!There is no target", "open", "chat", "nobody")
	command("chat", "list", "--json")
}

// A stream counts when it ends: broken off by the provider it is a failure, by the client it is none.
func TestStreamsBreak(t *testing.T) {
	b := newBreaking(t, 3)
	b.failing(fakellm.Plan{Tokens: 8, EventDelay: 10 * time.Millisecond, Fault: fakellm.StallMidStream})
	for i := range 4 {
		c := b.dial(t)
		id := fmt.Sprintf("leaves-%d", i)
		c.send(strings.Replace(chatRequest("chat", true), "\n", "\nX-Request-Id: "+id+"\n", 1))
		if _, err := c.br.ReadString('{'); err != nil {
			t.Fatal(err)
		}
		c.Close()
		b.access(id)
	}
	if row := b.target("chat", "one"); row.Get("state").Str != "closed" || row.Get("in_flight").Int() != 0 {
		t.Errorf("clients that leave: %s", row.Raw)
	}
	b.failing(fakellm.Plan{Tokens: 8, EventDelay: 10 * time.Millisecond, Fault: fakellm.CutMidStream})
	for range 3 {
		if a := b.ask(t, chatRequest("chat", true)); a.status != 200 || a.header.Get("X-Jarvis-Provider") != "one" || !strings.Contains(a.body, `"error"`) {
			t.Errorf("%v", a)
		}
	}
	if row := b.target("chat", "one"); row.Get("state").Str != "open" || row.Get("in_flight").Int() != 0 {
		t.Errorf("streams that break off: %s", row.Raw)
	}
}

// After a fallback, headers and answers name who really served, in every dialect, but where the model's name is to be kept.
func TestFallbackNames(t *testing.T) {
	b := newBreaking(t, 50)
	b.failing(fakellm.Plan{Status: 500})
	config := strings.Replace(readFile(t, b.path), "models:\n", `models:
  plain: {breaker: {off: true}, targets: [{provider: one, model: gpt-large}], fallback: [small]}
  masked: {breaker: {off: true}, targets: [{provider: one, model: gpt-large}], fallback: [small], answer_model: asked}
  small: {targets: [{provider: two, model: gpt-small}]}
`, 1)
	b.configure(config)
	eventually(t, "the reload", func() bool { return strings.Contains(b.log.String(), "config reloaded") })
	for model, named := range map[string]string{"plain": "gpt-small", "masked": "masked"} {
		for path, body := range map[string]string{
			"chat/completions": `{"model":%q,"stream":%t,"messages":[{"role":"user","content":"Hi"}]}`,
			"messages":         `{"model":%q,"stream":%t,"max_tokens":50,"messages":[{"role":"user","content":"Hi"}]}`,
			"responses":        `{"model":%q,"stream":%t,"input":"Hi"}`,
		} {
			for _, stream := range []bool{false, true} {
				a := b.ask(t, "POST /v1/"+path+"\n\n"+fmt.Sprintf(body, model, stream))
				h := a.header
				if a.status != 200 || h.Get("X-Jarvis-Provider") != "two" || h.Get("X-Jarvis-Model") != "gpt-small" || h.Get("X-Jarvis-Attempts") != "2" || h.Get("X-Jarvis-Route") != "fallback:small" {
					t.Errorf("%s %s, stream %t: %v", path, model, stream, a)
				}
				if !strings.Contains(a.body, `"model":"`+named+`"`) || model == "masked" && strings.Contains(a.body, "gpt-") {
					t.Errorf("%s %s, stream %t: the answer does not name %s: %s", path, model, stream, named, a.body)
				}
			}
		}
	}
	if n := b.metrics()[`jarvis_fallbacks_total{from="plain",model="plain",reason="upstream_error",to="small"}`]; n != 6 {
		t.Errorf("%v fallbacks", n)
	}
}
