package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

const rolloutConfig = `
providers:
  old: {kind: openai, base_url: "%s/v1"}
  new: {kind: openai, base_url: "%s/v1"}
models:
  tried: {targets: [{provider: old, model: gpt-4o}], rollout: {to: tried-next, percent: 30, tenants: [acme], rollback: {off: true}}}
  tried-next: {targets: [{provider: new, model: gpt-4o-mini}]}
  staged: {targets: [{provider: old, model: gpt-4o}], rollout: {to: staged-next, scenes: [beta]}}
  staged-next: {targets: [{provider: new, model: gpt-4o-mini}]}
  risky: {targets: [{provider: old, model: gpt-4o}], rollout: {to: risky-next, percent: 50, sticky: request, rollback: {min_calls: 5}}}
  risky-next: {targets: [{provider: new, model: gpt-4o-mini}]}
  rescued: {targets: [{provider: old, model: gpt-4o}], rollout: {to: rescued-next, percent: 50, sticky: request, rollback: {min_calls: 5}}}
  rescued-next: {targets: [{provider: new, model: gpt-4o-mini}], fallback: [rescued], breaker: {off: true}}
  mirrored: {targets: [{provider: old, model: gpt-4o}], rollout: {to: mirrored-next, percent: 100, shadow: true}}
  mirrored-next: {targets: [{provider: new, model: gpt-4o-mini}], fallback: [mirrored]}
tenants:
  acme: {keys: [{name: main, key: "` + tenantKey + `"}], limits: {requests: 100000/d, tokens: 100M/d, spend: $100/d}, guards: [{kind: pii, types: [email]}]}
  other: {keys: [{name: main, key: jv-other-0123456789abcdef}]}
`

// trying is a gateway whose models are tried against another provider's.
type trying struct {
	*running
	old, new *fakellm.Server
}

func newTrying(t *testing.T) *trying {
	t.Helper()
	g := &trying{}
	for _, s := range []**fakellm.Server{&g.old, &g.new} {
		var err error
		if *s, err = fakellm.Start(fakellm.Options{LogBodies: true}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup((*s).Close)
	}
	g.running = start(t, "server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0, drain: 5m}\n"+fmt.Sprintf(rolloutConfig, g.old.URL(), g.new.URL()))
	return g
}

// rollout is how a model's stands at a gateway.
func (g *running) rollout(model string) gjson.Result {
	g.Helper()
	res, err := http.Get("http://" + g.private + "/admin/v1/rollouts")
	if err != nil {
		g.Fatal(err)
	}
	for _, row := range gjson.Get(bodyOf(g, res), "data").Array() {
		if row.Get("model").Str == model {
			return row
		}
	}
	g.Fatalf("no rollout of %s", model)
	return gjson.Result{}
}

// A share of the users gets the other model, always the same ones, and only those of the tenants and scenes that are meant.
func TestRolloutOnTheWire(t *testing.T) {
	g := newTrying(t)
	c := g.dial(t)
	ask := func(model, key, user, scene string) string {
		t.Helper()
		a := c.do(fmt.Sprintf("POST /v1/chat/completions\nAuthorization: Bearer %s\nX-Jarvis-Metadata: {\"scene\":%q}\n\n"+`{"model":%q,"user":%q,"messages":[{"role":"user","content":"hi"}]}`, key, scene, model, user))
		if a.status != 200 {
			t.Fatalf("%v", a)
		}
		return a.header.Get("X-Jarvis-Provider") + " " + a.header.Get("X-Jarvis-Route")
	}
	const stays, goes, others, users = "old ", "new rollout:tried-next", "jv-other-0123456789abcdef", 200
	went := 0
	for i := range users {
		user := fmt.Sprint("user-", i)
		first := ask("tried", tenantKey, user, "")
		if first != stays && first != goes {
			t.Fatal(first)
		}
		if first == goes {
			went++
		}
		if i%10 == 0 && ask("tried", tenantKey, user, "another") != first {
			t.Errorf("%s changed", user)
		}
	}
	if went < users*20/100 || went > users*40/100 { // 30 % give or take three standard deviations
		t.Errorf("%d of %d users went to the other model", went, users)
	}
	for i := range 20 {
		if got := ask("tried", others, fmt.Sprint("user-", i), ""); got != stays {
			t.Errorf("another tenant: %s", got)
		}
	}
	if got := ask("staged", others, "ann", "beta"); got != "new rollout:staged-next" {
		t.Errorf("its scene: %s", got)
	}
	if got := ask("staged", others, "ann", "live"); got != stays {
		t.Errorf("another scene: %s", got)
	}
	row := g.rollout("tried")
	if row.Get("percent").Num != 30 || row.Get("arms.1.calls").Int() < int64(went) || row.Get("arms.0.calls").Int()+row.Get("arms.1.calls").Int() != users+users/10 ||
		row.Get("arms.0.cost_usd").Num <= 0 || row.Get("arms.0.cost_per_call_usd").Num <= row.Get("arms.1.cost_per_call_usd").Num || !row.Get("arms.0.first_token_p95_ms").Exists() {
		t.Error(row.Raw)
	}
	m := g.metrics()
	if m[`jarvis_rollout_percent{model="tried",to="tried-next"}`] != 30 || m[`jarvis_rollout_requests_total{arm="tried-next",model="tried",outcome="ok"}`] < float64(went) {
		t.Error("the metrics do not show it")
	}
}

// A model that fails where the one before does not is given up, on every gateway and for good, until somebody wants otherwise.
func TestRolloutIsRolledBack(t *testing.T) {
	g := newTrying(t)
	replica := startAt(t, g.path)
	g.new.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Status: 500} })
	eventually(t, "the rollback", func() bool { g.ask(t, chatRequest("risky", false)); return g.rollout("risky").Get("halted").Exists() })
	after := g.new.Seen()
	for range 20 {
		if a := g.ask(t, chatRequest("risky", false)); a.status != 200 || a.header.Get("X-Jarvis-Provider") != "old" {
			t.Errorf("%v", a)
		}
	}
	row := g.rollout("risky")
	if len(g.new.Seen()) != len(after) || row.Get("percent").Num != 0 || !strings.Contains(row.Get("halted").Str, "of its calls fail") || row.Get("arms.1.failed").Int() < 5 {
		t.Error(row.Raw)
	}
	eventually(t, "the audit log", func() bool {
		res, err := http.Get("http://" + g.private + "/admin/v1/audit?action=rollout.rolled_back")
		if err != nil {
			t.Fatal(err)
		}
		line := gjson.Get(bodyOf(t, res), "data.0")
		return line.Get("actor").Str == "gateway" && line.Get("target").Str == "risky" && line.Get("before.percent").Num == 50 && line.Get("after.percent").Num == 0
	})
	eventually(t, "the log", g.logged("a rollout is called off", "risky"))
	eventually(t, "the other gateway", func() bool { return replica.rollout("risky").Get("halted").Str == row.Get("halted").Str })

	g.stop()
	g.running = startAt(t, g.path)
	if again := g.rollout("risky"); again.Get("halted").Str != row.Get("halted").Str {
		t.Errorf("after a restart: %s", again.Raw)
	}

	g.new.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{} })
	command := func(want string, args ...string) {
		t.Helper()
		var out record
		code := run(t.Context(), append([]string{"rollout", "--admin", "http://" + g.private}, args...), &out, &out)
		if code != 0 && !strings.HasPrefix(want, "!") || !strings.Contains(out.String(), strings.TrimPrefix(want, "!")) {
			t.Errorf("%v: %d %s", args, code, out.String())
		}
	}
	command("called off: ", "list")
	command("set by hand", "set", "risky", "100")
	if a := g.ask(t, chatRequest("risky", false)); a.header.Get("X-Jarvis-Route") != "rollout:risky-next" {
		t.Errorf("%v", a)
	}
	eventually(t, "the other gateway", func() bool { return replica.rollout("risky").Get("percent").Num == 100 })
	command(`"halted": "too rude"`, "halt", "risky", "--reason", "too rude", "--json")
	if a := g.ask(t, chatRequest("risky", false)); a.header.Get("X-Jarvis-Route") != "" {
		t.Errorf("%v", a)
	}
	eventually(t, "the other gateway", func() bool { return replica.rollout("risky").Get("halted").Str == "too rude" })
	command("!There is no rollout of a model", "set", "risky-next", "5")
	command("!is no share", "set", "risky", "lots")
	g.configure(strings.Replace(readFile(t, g.path), "to: risky-next, percent: 50", "to: risky-next, percent: 100", 1))
	eventually(t, "another rollout, which begins anew", func() bool { return g.rollout("risky").Get("percent").Num == 100 })
}

// No caller has a model given up: not by asking for a template that is not there.
func TestRolloutHeedsNoCaller(t *testing.T) {
	g, dir := newTrying(t), t.TempDir()
	template(t, dir, "1.0.0", "of {{product}}")
	g.configure(readFile(t, g.path) + "prompts: {dir: " + dir + "}\n")
	eventually(t, "the reload", func() bool { return strings.Contains(g.log.String(), "config reloaded") })
	for range 30 {
		a := g.ask(t, "POST /v1/chat/completions\n\n"+`{"model":"risky","prompt":{"id":"nope"},"messages":[{"role":"user","content":"hi"}]}`)
		if a.status != 404 || errorCode(a) != "prompt_not_found" {
			t.Fatalf("%v", a)
		}
	}
	if row := g.rollout("risky"); row.Get("halted").Exists() || row.Get("arms.1.failed").Int() != 0 {
		t.Error(row.Raw)
	}
}

// A model that others have to answer for is no better than one that fails.
func TestRolloutWithAFallback(t *testing.T) {
	g := newTrying(t)
	g.new.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Status: 500} })
	eventually(t, "the rollback", func() bool {
		if a := g.ask(t, chatRequest("rescued", false)); a.status != 200 {
			t.Errorf("%v", a)
		}
		return g.rollout("rescued").Get("halted").Exists()
	})
}

// A copy goes to the other model as the guards have left the request. The client and his tenant do not notice.
func TestShadowOnTheWire(t *testing.T) {
	g := newTrying(t)
	g.new.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Text: "of the other model"} })
	used := func(unit string) float64 {
		res, err := http.Get("http://" + g.private + "/admin/v1/limits?tenant=acme")
		if err != nil {
			t.Fatal(err)
		}
		return gjson.Get(bodyOf(t, res), `data.#(unit=="`+unit+`").used`).Num
	}
	const requests = 6
	cost, asked := 0.0, 0
	for i := range requests {
		stream := i%2 == 0
		a := g.ask(t, fmt.Sprintf("POST /v1/chat/completions\nX-Request-Id: mirrored-%d\n\n"+`{"model":"mirrored","stream":%t,"messages":[{"role":"user","content":"write to ann@example.com"}]}`, i, stream))
		if a.status != 200 || strings.Contains(a.body, "of the other model") || a.header.Get("X-Jarvis-Provider") != "old" || a.header.Get("X-Jarvis-Route") != "" {
			t.Fatalf("%v", a)
		}
		line := g.access(fmt.Sprint("mirrored-", i))
		cost += line.Get("cost_usd").Num
		asked += int(line.Get("prompt_tokens").Int() + line.Get("completion_tokens").Int())
	}
	copies, originals := g.new.WaitDone(requests, patience), g.old.Seen()
	if len(copies) != requests || len(originals) != requests {
		t.Fatalf("%d copies of %d requests", len(copies), len(originals))
	}
	for i := range copies {
		c := &copies[i]
		if len(c.Violations) > 0 || c.Model != "gpt-4o-mini" || !strings.HasPrefix(c.Get("X-Request-Id"), "shadow-mirrored-") {
			t.Errorf("the copy %+v", c)
		}
		original := ""
		for j := range originals {
			if "shadow-"+originals[j].Get("X-Request-Id") == c.Get("X-Request-Id") {
				original = string(originals[j].Body)
			}
		}
		if strings.Contains(string(c.Body), "ann@") || strings.Replace(original, `"gpt-4o"`, `"gpt-4o-mini"`, 1) != string(c.Body) {
			t.Errorf("the request %s\nthe copy    %s", original, c.Body)
		}
	}
	eventually(t, "both compared", func() bool {
		r := g.rollout("mirrored")
		return r.Get("arms.0.calls").Int() == requests && r.Get("arms.1.calls").Int() == requests && r.Get("arms.1.tokens").Int() > 0
	})
	if n, spent := used("requests"), used("spend"); n != requests || spent < cost*0.999 || spent > cost*1.001 || used("tokens") != float64(asked) {
		t.Errorf("the tenant used %g requests, %g tokens and $%g, want %d, %d and $%g", n, used("tokens"), spent, requests, asked, cost)
	}
	if m := g.metrics(); m[`jarvis_shadows_total{model="mirrored",outcome="ok",to="mirrored-next"}`] < requests {
		t.Error("the metrics do not show it")
	}

	// One that fails is not answered by another model, and harms nobody.
	g.new.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Status: 500} })
	if a := g.ask(t, chatRequest("mirrored", false)); a.status != 200 {
		t.Errorf("%v", a)
	}
	eventually(t, "the failure", func() bool { return g.rollout("mirrored").Get("arms.1.failed").Int() == 1 })
	if n := len(g.old.Seen()); n != requests+1 {
		t.Errorf("the model itself was asked %d times", n)
	}
}

// A copy whose answer does not end is dropped at the end of the gateway, which waits for it no longer.
func TestShadowEndsWithTheGateway(t *testing.T) {
	g := newTrying(t)
	g.new.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Fault: fakellm.StallMidStream} })
	if a := g.ask(t, chatRequest("mirrored", true)); a.status != 200 {
		t.Fatalf("%v", a)
	}
	g.new.Wait(1, patience)
	began := time.Now()
	if code := g.stop(); code != 0 || time.Since(began) > patience/2 {
		t.Errorf("exit code %d after %s: %s", code, time.Since(began), g.log.String())
	}
	if seen := g.new.WaitDone(1, patience); len(seen) != 1 || seen[0].ClosedByPeer.IsZero() {
		t.Errorf("the copy goes on: %+v", seen)
	}
}
