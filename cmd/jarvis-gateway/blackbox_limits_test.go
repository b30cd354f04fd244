package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// used is how much of each limit of a tenant is used and held, by the limit's id without its tenant.
func (g *running) used(tenant string) map[string][2]float64 {
	g.Helper()
	res, err := http.Get("http://" + g.private + "/admin/v1/limits?limit=100&tenant=" + tenant)
	if err != nil {
		g.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		g.Fatal(err)
	}
	all := map[string][2]float64{}
	for _, row := range gjson.GetBytes(b, "data").Array() {
		id := strings.TrimPrefix(strings.TrimPrefix(row.Get("id").Str, "tenant/"+tenant+"/"), "gateway/")
		all[id] = [2]float64{row.Get("used").Float(), row.Get("held").Float()}
	}
	return all
}

// heldAnswer is kept back until the upstream's release.
const heldAnswer = "200\nContent-Type: application/json\n\n@hold\n" + emptyAnswer

// A request over a limit that queues waits for its turn: as long as it may, as many as may, and no longer than its client.
func TestQueue(t *testing.T) {
	g, u := withUpstream(t, `
providers: {up: {kind: openai, base_url: "http://${UPSTREAM}/v1"}}
models: {chat: {targets: [{provider: up}]}}
tenants:
  acme:
    keys: [{name: main, key: "${KEY}"}]
    limits: {concurrency: 1, requests: 100/d, on_exceed: queue, queue: {max: 2, wait: 10m}}
  hasty:
    keys: [{name: main, key: jv-hasty-0123456789abcdef}]
    limits: {concurrency: 1, on_exceed: queue, queue: {wait: 100ms}}
`)
	u.script(heldAnswer, emptyAnswer, emptyAnswer)
	waiting := func(n float64) {
		t.Helper()
		eventually(t, fmt.Sprintf("%v in flight", n), func() bool { return g.metrics()["jarvis_requests_in_flight"] == n })
	}
	var in []*dialled
	send := func(n float64) {
		t.Helper()
		c := g.dial(t)
		c.send("chat\nX-Request-Id: queue-" + fmt.Sprint(len(in)))
		in = append(in, c)
		waiting(n)
	}
	send(1) // is served
	eventually(t, "the first one upstream", func() bool { return len(u.sightings()) == 1 })
	send(2) // waits
	send(3) // waits
	full := g.ask(t, "chat")
	if full.status != 429 || errorCode(full) != "rate_limit_exceeded" || full.header.Get("Retry-After") == "" || !strings.Contains(full.body, "2 requests wait for it already") {
		t.Errorf("%v", full)
	}
	if n := g.used("acme")["requests/d"][0]; n != 1 {
		t.Errorf("%v requests are counted, of which one was let in", n)
	}
	in[1].Close() // leaves the line
	if line := g.access("queue-1"); line.Get("outcome").Str != "client_gone" || line.Get("provider").Exists() {
		t.Errorf("%s", line.Raw)
	}
	waiting(2)
	send(3) // has its place
	u.release()
	for _, i := range []int{0, 2, 3} {
		if a := in[i].receive("POST"); a.status != 200 {
			t.Errorf("request %d: %v", i, a)
		}
	}
	if len(u.sightings()) != 3 {
		t.Errorf("the provider was asked %d times", len(u.sightings()))
	}
	if at := g.used("acme"); at["requests/d"] != [2]float64{3, 0} || at["concurrency"] != [2]float64{0, 0} {
		t.Errorf("%v", at)
	}

	u.script(heldAnswer)
	hasty := "chat\nAuthorization: Bearer jv-hasty-0123456789abcdef"
	first := g.dial(t)
	first.send(hasty)
	eventually(t, "the first one upstream", func() bool { return len(u.sightings()) == 1 })
	begun := time.Now()
	a := g.ask(t, hasty)
	if took := time.Since(begun); a.status != 429 || took < 100*time.Millisecond || took > patience/2 || !strings.Contains(a.body, "waited") {
		t.Errorf("after %v: %v", took, a)
	}
	u.release()
	if a := first.receive("POST"); a.status != 200 {
		t.Errorf("%v", a)
	}
}

// Who leaves in the midst of an answer pays for what there was of it, and holds nothing any more.
func TestLeftStreamIsPaid(t *testing.T) {
	g, u := withUpstream(t, `
prices: {unknown: {assume: {input: $1/k, output: $1/k}}}
providers: {up: {kind: openai, base_url: "http://${UPSTREAM}/v1"}}
models: {chat: {targets: [{provider: up, model: odd}]}}
tenants:
  acme: {keys: [{name: main, key: "${KEY}"}], limits: {tokens: 1M/d, spend: $1000/d, concurrency: 5}}
  loose: {keys: [{name: main, key: jv-loose-0123456789abcdef}], limits: {tokens: 1M/m}}
`)
	for tenant, key := range map[string]string{"acme": tenantKey, "loose": "jv-loose-0123456789abcdef"} {
		u.script(strings.Repeat(contentEvent, 10) + "@hang\n")
		c := g.dial(t)
		c.begun = u.clientBegun
		c.send("stream\nX-Request-Id: left-" + tenant + "\nAuthorization: Bearer " + key)
		var text strings.Builder
		for strings.Count(text.String(), "Hi") < 10 {
			line, err := c.br.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			text.WriteString(line)
		}
		c.Close()
		line := g.access("left-" + tenant)
		prompt, completion := line.Get("prompt_tokens").Float(), line.Get("completion_tokens").Float()
		if line.Get("outcome").Str != "client_gone" || completion < 10 || completion > 13 || prompt < 1 || prompt > 20 || !line.Get("estimated").Bool() {
			t.Errorf("%s", line.Raw)
		}
		at := g.used(tenant)
		for id, want := range map[string]float64{"tokens/d": prompt + completion, "tokens/m": prompt + completion, "spend/d": (prompt + completion) / 1000, "concurrency": 0} {
			if got, ok := at[id]; ok && got != [2]float64{want, 0} {
				t.Errorf("%s of %s: used and held %v, want %v and 0", id, tenant, got, want)
			}
		}
	}
}

// What fails costs nothing, and what one limit refuses takes nothing of the others.
func TestNothingForNothing(t *testing.T) {
	g, u := withUpstream(t, `
prices: {unknown: {assume: {input: $1/k, output: $1/k}}}
providers: {up: {kind: openai, base_url: "http://${UPSTREAM}/v1"}}
models: {chat: {targets: [{provider: up, model: odd}]}}
limits: {requests: 4/d, tokens: 1M/d}
tenants:
  acme:
    teams: {dev: {limits: {requests: 100/d, tokens: 1M/d, spend: $1000/d}}}
    keys: [{name: main, key: "${KEY}", team: dev, limits: {requests: 100/d, tokens: 1M/d, concurrency: 3}}]
    limits: {requests: 100/d, tokens: 1M/d, spend: $1000/month}
    user_limits: {requests: 100/d, tokens: 1M/d}
`)
	for _, reply := range []string{"500\n\n{}", "429\n\n{}", "400\n\n{\"error\":{\"message\":\"m\"}}", "@reset\n"} {
		u.script(reply)
		g.ask(t, "chat")
	}
	for range 3 {
		if a := g.ask(t, "chat"); a.status != 429 || !strings.Contains(a.body, "gateway") {
			t.Errorf("%v", a)
		}
	}
	g.idle()
	for _, tenant := range []string{"acme", ""} {
		for id, at := range g.used(tenant) {
			want := 0.0
			if strings.HasSuffix(id, "requests/d") {
				want = 4
			}
			if at != [2]float64{want, 0} {
				t.Errorf("%s: used and held %v, want %v and 0", id, at, want)
			}
		}
	}
}

// A changed limit counts on, and so does a gateway that comes again.
func TestLimitsCountOn(t *testing.T) {
	u := newUpstream(t)
	state := filepath.Join(stateDir(t), "state.db")
	config := func(amount int) string {
		return fmt.Sprintf(`
stores: {state: "sqlite:%s"}
providers: {up: {kind: openai, base_url: "http://%s/v1"}}
models: {chat: {targets: [{provider: up}]}}
tenants: {acme: {keys: [{name: main, key: %q}], limits: {tokens: %d/d, timezone: %s}}}
`, state, u.addr(), tenantKey, amount, noon())
	}
	answer := `{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":90}}`
	g := start(t, config(150))
	u.script(answer, answer, answer)
	ask := func(want int) {
		t.Helper()
		if a := g.ask(t, "chat"); a.status != want {
			t.Errorf("%v, want %d", a, want)
		}
	}
	ask(200)
	ask(200) // clamped, which this provider does not heed
	ask(429)
	if at := g.used("acme")["tokens/d"]; at != [2]float64{200, 0} {
		t.Errorf("%v", at)
	}
	g.configure("server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0}\n" + config(1000))
	eventually(t, "the new limit", func() bool {
		return g.ask(t, "chat").header.Get("X-Ratelimit-Limit-Tokens") == "1000"
	})
	if code := g.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	g = start(t, config(1000))
	if at := g.used("acme")["tokens/d"]; at[0] < 300 {
		t.Errorf("%v after a restart", at)
	}
}

// hook is where alerts go.
type hook struct {
	*httptest.Server
	mu   sync.Mutex
	told []*http.Request
	text []string
}

func newHook(t *testing.T) *hook {
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.told, h.text = append(h.told, r), append(h.text, string(b))
		if len(h.told) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable) // the first time: it must come again
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) heard() ([]*http.Request, []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.told, h.text
}

// A share of a budget that is used is told once, signed, and again until it is heard.
func TestBudgetAlert(t *testing.T) {
	h := newHook(t)
	secret := []byte("0123456789abcdef0123456789abcdef")
	g, u := withUpstream(t, fmt.Sprintf(`
prices: {unknown: {assume: {input: $1/k, output: $1/k}}}
providers: {up: {kind: openai, base_url: "http://${UPSTREAM}/v1"}}
models: {chat: {targets: [{provider: up, model: odd}]}}
tenants:
  acme:
    keys: [{name: main, key: "${KEY}"}]
    limits: {spend: $1/d}
    alerts: {at: [50%%, 100%%], webhook: %q, secret: whsec_%s}
`, h.URL+"/hook", base64.StdEncoding.EncodeToString(secret)))
	spend := func(tokens, status int) answer {
		t.Helper()
		u.script(fmt.Sprintf(`{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":%d}}`, tokens))
		a := g.ask(t, fmt.Sprintf("POST /v1/chat/completions\n\n"+`{"model":"chat","max_tokens":%d,"messages":[]}`, tokens))
		if a.status != status {
			t.Errorf("%v, want %d", a, status)
		}
		return a
	}
	spend(499, 200)
	spend(1, 200)
	spend(300, 200)
	if a := spend(1, 200); a.header.Get("X-Jarvis-Budget-Warning") != "tenant acme:80" {
		t.Errorf("%v", a)
	}
	eventually(t, "the alert, twice", func() bool { told, _ := h.heard(); return len(told) == 2 })
	spend(198, 200)
	spend(100, 429) // 1 token is left
	eventually(t, "the second alert", func() bool { told, _ := h.heard(); return len(told) == 3 })
	spend(100, 429)
	g.idle()
	told, texts := h.heard()
	for i, text := range texts {
		id, at := told[i].Header.Get("Webhook-Id"), told[i].Header.Get("Webhook-Timestamp")
		mac := hmac.New(sha256.New, secret)
		fmt.Fprintf(mac, "%s.%s.%s", id, at, text)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); told[i].Header.Get("Webhook-Signature") != want || id == "" || at == "" {
			t.Errorf("message %d: %v, want the signature %s", i, told[i].Header, want)
		}
		percent := []int64{50, 50, 100}[i]
		if data := gjson.Get(text, "data"); data.Get("percent").Int() != percent || data.Get("tenant").Str != "acme" || data.Get("limit").Str != "spend $1/d" || data.Get("amount").Float() != 1 {
			t.Errorf("message %d: %s", i, text)
		}
	}
	if len(texts) != 3 || texts[0] != texts[1] || told[0].Header.Get("Webhook-Id") != told[1].Header.Get("Webhook-Id") || told[1].Header.Get("Webhook-Id") == told[2].Header.Get("Webhook-Id") {
		t.Errorf("%d messages: %s", len(texts), texts)
	}
	reached := g.metrics()[`jarvis_budget_alerts_total{outcome="reached"}`]
	if reached < 2 {
		t.Errorf("%v reached", reached)
	}
}

// A key that was revoked or has expired is told so without a trace in any limit.
func TestKeysThatEnd(t *testing.T) {
	soon := time.Now().Add(1500 * time.Millisecond)
	g, u := withUpstream(t, fmt.Sprintf(`
providers: {up: {kind: openai, base_url: "http://${UPSTREAM}/v1"}}
models: {chat: {targets: [{provider: up}]}}
tenants: {acme: {keys: [{name: main, key: "${KEY}", expires: %q}], limits: {requests: 1000000/d}}}
`, soon.UTC().Format(time.RFC3339Nano)))
	served := 0.0
	for {
		u.script(emptyAnswer)
		before := time.Now()
		a := g.ask(t, "chat")
		if a.status == 401 {
			if time.Now().Before(soon) {
				t.Errorf("%v before its time", time.Until(soon))
			}
			break
		}
		if served++; a.status != 200 || before.After(soon) {
			t.Fatalf("%v, %v after its time", a, time.Since(soon))
		}
		time.Sleep(20 * time.Millisecond)
	}
	if at := g.used("acme")["requests/d"]; at[0] != served {
		t.Errorf("%v, want %v", at, served)
	}
}
