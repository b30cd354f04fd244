package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/bench/fakellm"
)

const boundsConfig = `
providers:
  one: {kind: openai, base_url: "%s/v1"}
  two: {kind: openai, base_url: "%s/v1"}
  gpu: {kind: vllm, replicas: ["%s"], max_in_flight: 1, queue: {wait: 60s}}
models:
  helped: {targets: [{provider: one, model: a}], fallback: [dear], breaker: {off: true}}
  dear: {targets: [{provider: two, model: b}]}
  turned: {targets: [{provider: one, model: a}], rules: [{when: {scene: beta}, model: dear}]}
  again: {targets: [{provider: one, model: a}], retry: {attempts: 3, backoff: 1s..10m}}
  own: {targets: [{provider: gpu, model: fake}]}
tenants:
  acme: {keys: [{name: main, key: "%s"}]}
  bound: {keys: [{name: main, key: jv-bound-0123456789abcdef, limits: {requests: {limit: 1/h, models: [dear]}}}]}
  one: {models: [helped, turned, dear, one/*], keys: [{name: main, key: jv-only-one-0123456789abcdef}]}
`

// bounded is a gateway whose callers bound what is asked.
type bounded struct {
	*running
	gpu, one, two *fakellm.Server
}

func newBounded(t *testing.T) *bounded {
	t.Helper()
	servers := append(replicas(t, 1, fakellm.Options{Default: fakellm.Plan{Delay: ages}}), replicas(t, 2, fakellm.Options{})...)
	b := &bounded{gpu: servers[0], one: servers[1], two: servers[2]}
	b.one.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Status: 500} })
	b.running = start(t, fmt.Sprintf(boundsConfig, b.one.URL(), b.two.URL(), servers[0].URL(), tenantKey))
	return b
}

// A limit on a model holds for who is served by it as a fallback.
func TestLimitsHoldForFallbacks(t *testing.T) {
	b := newBounded(t)
	request := strings.Replace(chatRequest("helped", false), "\n", "\nAuthorization: Bearer jv-bound-0123456789abcdef\n", 1)
	if a := b.ask(t, request); a.status != 200 || a.header.Get("X-Jarvis-Provider") != "two" {
		t.Errorf("%v", a)
	}
	if a := b.ask(t, request); a.status != 429 || errorCode(a) != "rate_limit_exceeded" {
		t.Errorf("%v", a)
	}
}

// Who may ask one provider for anything may not have another one do so, by whatever way it comes to that.
func TestElsewhereOnOtherModels(t *testing.T) {
	b := newBounded(t)
	for name, row := range map[string]struct{ model, scene string }{"fallback": {"helped", ""}, "rule": {"turned", "beta"}} {
		a := b.ask(t, fmt.Sprintf("POST /v1/chat/completions\nAuthorization: Bearer jv-only-one-0123456789abcdef\nX-Jarvis-Metadata: {\"scene\":%q}\n\n"+
			`{"model":%q,"api_base":"https://elsewhere.example","messages":[]}`, row.scene, row.model))
		if a.status != 400 || !strings.Contains(a.body, "leave this field out") {
			t.Errorf("%s: %v", name, a)
		}
	}
	if n := len(b.two.Seen()); n > 0 {
		t.Errorf("%d requests for elsewhere", n)
	}
}

// A client that waits for a moment only is not made to wait longer for another attempt, or for a place.
func TestPatienceBoundsWaiting(t *testing.T) {
	b := newBounded(t)
	hasty := func(model, waits string) string {
		return strings.Replace(chatRequest(model, false), "\n", "\nX-Jarvis-Timeout: "+waits+"\n", 1)
	}
	const soon = 30 * time.Second // half of what it could be
	b.one.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Status: 503, RetryAfter: 5 * time.Minute} })
	begun := time.Now()
	if a := b.ask(t, hasty("again", "60s")); a.status != 502 || a.header.Get("X-Jarvis-Attempts") != "1" || time.Since(begun) > soon {
		t.Errorf("after %s: %v", time.Since(begun), a)
	}
	first := b.dial(t)
	first.send(chatRequest("own", false))
	eventually(t, "the first one at the provider", func() bool { return served(b.gpu) == 1 })
	begun = time.Now()
	if a := b.ask(t, hasty("own", "200ms")); a.status != 429 || time.Since(begun) > soon {
		t.Errorf("after %s: %v", time.Since(begun), a)
	}
	if n := served(b.gpu); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
}
