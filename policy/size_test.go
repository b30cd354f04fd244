package policy

import (
	"fmt"
	"math"
	"testing"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

// long is a tariff of a model with very long answers.
type long struct{ perToken }

func (long) Longest() int64 { return 100_000 }

func admitted(t *testing.T, g *Gate, c *Caller, a Ask) *Grant {
	t.Helper()
	r := &Grant{}
	if err := g.Admit(c, &a, r); err != nil {
		t.Fatalf("%+v: %v", a, err)
	}
	return r
}

// What is only held is not spent: a client that waits a moment gets in, and nobody is alarmed.
func TestHeldIsNotSpent(t *testing.T) {
	tariff := perToken{in: 1000, out: 1000}
	g, c := counting(t, Tenant{Limits: Limits{Spend: spends(t, "$0.001/d")}}, Limits{}) // 1,000 tokens
	a := Ask{Model: "chat", Tariff: tariff, Prompt: 500, Answers: true, Cap: 300}
	first := admitted(t, g, c, a)
	var r Grant
	err := g.Admit(c, &a, &r)
	turnedDown(t, err, "rate_limit_exceeded", "What is left of the budget of $0.001/d for tenant acme is held by requests in flight. Please try again.")
	if e := err.(*wire.Error); e.Final || e.Retry < time.Second {
		t.Errorf("%+v", e)
	}
	err = r.refusal(&r.holds[0], counter.Short{Share: true})
	turnedDown(t, err, "rate_limit_exceeded", "The store of the limits does not answer, and until it does no more of the budget of $0.001/d for tenant acme may be used here.")
	u := wire.Usage{Prompt: 500, Completion: 490}
	first.Settle(u, tariff.Cost(u), true)
	turnedDown(t, g.Admit(c, &a, &r), "insufficient_quota", "is spent: what is left, $0.00001, does not pay")
}

func TestRetryIsHonest(t *testing.T) {
	g, c := counting(t, Tenant{Limits: Limits{Tokens: rates(t, "1k/m")}}, Limits{})
	admitted(t, g, c, Ask{Model: "chat", Prompt: 700, Answers: true})
	var r Grant
	err := g.Admit(c, &Ask{Model: "chat", Prompt: 700, Answers: true}, &r)
	turnedDown(t, err, "rate_limit_exceeded", "Please try again.")
	if e := err.(*wire.Error); e.Retry < time.Second {
		t.Errorf("a retry after %s, though nobody knows when the first one ends", e.Retry)
	}
	err = g.Admit(c, &Ask{Model: "chat", Prompt: 5000, Answers: true}, &r)
	turnedDown(t, err, "rate_limit_exceeded", "Request too large")
	if e := err.(*wire.Error); !e.Final || e.Retry != 0 {
		t.Errorf("%+v", e)
	}
}

// Thoughts that the client is not shown cannot be counted while they come, so all that may come is held, and bounded.
func TestHiddenTokensAreBounded(t *testing.T) {
	tariff := long{perToken{in: 1000, out: 1000}}
	g, c := counting(t, Tenant{Limits: Limits{Spend: spends(t, "$0.1/d")}}, Limits{}) // 100,000 tokens
	r := admitted(t, g, c, Ask{Model: "chat", Tariff: tariff, Prompt: 100, Answers: true, Cuttable: true, Hidden: true})
	most, _ := r.Cap()
	if r.Meter() || most == 0 || most > 100_000/8 {
		t.Errorf("metered %v, at most %d tokens", r.Meter(), most)
	}
	u := wire.Usage{Prompt: 100, Completion: most}
	r.Settle(u, tariff.Cost(u), true)
	r = admitted(t, g, c, Ask{Model: "chat", Tariff: tariff, Prompt: 100, Answers: true, Cuttable: true})
	if !r.Meter() {
		t.Error("an ordinary stream is not metered")
	}
	u.Reasoning = 50
	r.Settle(u, tariff.Cost(u), true)
	if r = admitted(t, g, c, Ask{Model: "chat", Tariff: tariff, Prompt: 100, Answers: true, Cuttable: true}); r.Meter() {
		t.Error("the model has thought, and is still taken to show all")
	}
}

// What a fallback may cost is held before it is asked.
func TestAimHoldsForTheNextTarget(t *testing.T) {
	cheap, dear := perToken{in: 10, out: 10}, long{perToken{in: 1000, out: 1000}}
	g, c := counting(t, Tenant{Limits: Limits{Spend: spends(t, "$0.1/d")}}, Limits{})
	r := admitted(t, g, c, Ask{Model: "chat", Tariff: cheap, Prompt: 100, Answers: true, Cuttable: true})
	if err := r.Aim(dear, "dear", false); err != nil {
		t.Fatal(err)
	}
	most, _ := r.Cap()
	if left := g.left(t, c, Spend); most == 0 || left > 100_000_000-1000*most || r.Meter() {
		t.Errorf("at most %d tokens, and $%d are left", most, left)
	}
	r.Settle(wire.Usage{}, 0, false)
	r = admitted(t, g, c, Ask{Model: "chat", Tariff: cheap, Prompt: 50_000, Answers: true, Cap: 100})
	if err := r.Aim(perToken{in: 10_000, out: 10_000}, "dearest", false); err == nil || !err.(*wire.Error).Failover {
		t.Errorf("a target that the budget cannot pay: %v", err)
	}
	r.Settle(wire.Usage{}, 0, false)
	r = admitted(t, g, c, Ask{Model: "chat", Tariff: cheap, Prompt: 1000, Answers: true, Cap: 100})
	before := g.left(t, c, Spend)
	r.Lost(1000, 50_000)
	if err := r.Aim(cheap, "cheap", false); err != nil || g.left(t, c, Spend) > before-50_000 {
		t.Errorf("what an attempt cost in vain is not held: %d are left of %d, %v", g.left(t, c, Spend), before, err)
	}
	r.Settle(wire.Usage{}, 0, false)
	if left := g.left(t, c, Spend); left != 100_000_000 {
		t.Errorf("%d are left when nothing was used", left)
	}
}

// What would not fit into a budget of which nothing is used is refused for good, and nobody is told to come again.
func TestTooLargeForAnyBudget(t *testing.T) {
	for name, limits := range map[string]Limits{"insufficient_quota": {Spend: spends(t, "$0.1/month")}, "rate_limit_exceeded": {Tokens: rates(t, "1000/d")}} {
		g, c := counting(t, Tenant{Limits: limits}, Limits{})
		for _, n := range []int64{1000, 1 << 20} {
			var r Grant
			err := g.Admit(c, &Ask{Model: "chat", Tariff: long{perToken{in: 10_000, out: 40_000}}, Prompt: 10, Answers: true, N: n}, &r)
			turnedDown(t, err, name, "Request too large: ")
			if e, ok := err.(*wire.Error); ok && (!e.Final || e.Retry != 0) {
				t.Errorf("%d answers: %+v", n, e)
			}
		}
	}
}

// An answer that costs nothing is not bounded for the sake of a budget of money.
func TestWhatCostsNothingIsNotBounded(t *testing.T) {
	g, c := counting(t, Tenant{Limits: Limits{Spend: spends(t, "$0.1/d")}}, Limits{})
	for name, tariff := range map[string]Tariff{"free": endless{}, "only the prompt costs": endless{perToken{in: 10}}} {
		for _, prompt := range []int64{10, 1000} {
			r := admitted(t, g, c, Ask{Model: "chat", Tariff: tariff, Prompt: prompt, Answers: true})
			if most, _ := r.Cap(); most != 0 {
				t.Errorf("%s: max_tokens is %d", name, most)
			}
			r.Settle(wire.Usage{}, 0, false)
		}
	}
}

func TestAbsurdNumbers(t *testing.T) {
	g, c := counting(t, Tenant{Limits: Limits{Spend: spends(t, "$1/d"), Tokens: rates(t, "1M/d")}}, Limits{})
	for _, most := range []int64{math.MaxInt64, 1 << 44, 999_999_999_999_999} {
		for _, n := range []int64{1, 1 << 20, math.MaxInt64} {
			var r Grant
			err := g.Admit(c, &Ask{Model: "chat", Tariff: perToken{in: 1, out: 1}, Prompt: 10, Answers: true, Cap: most, N: n}, &r)
			if clamp, _ := r.Cap(); err == nil && (clamp == 0 || clamp*min(n, 1<<20) > 1_000_000) {
				t.Errorf("%d x %d: admitted with %d each", n, most, clamp)
			}
			r.Settle(wire.Usage{}, 0, false)
		}
	}
	if left := g.left(t, c, Spend); left != 1_000_000_000 {
		t.Errorf("%d are left", left)
	}
}

// A limit by model holds by whatever name the model is asked for.
func TestLimitsByAnyName(t *testing.T) {
	r := rates(t, "1/h")
	r[0].Models = []string{"gpt-*"}
	g, c := counting(t, Tenant{Limits: Limits{Requests: r}}, Limits{})
	if !c.ByModel() {
		t.Fatal("it does not bound some models only")
	}
	var grant Grant
	if err := g.Admit(c, &Ask{Names: []string{"alias", "alias", "gpt-4o", "openai/gpt-4o"}}, &grant); err != nil {
		t.Fatal(err)
	}
	if err := g.Admit(c, &Ask{Names: []string{"chat", "chat", "llama", "gpu/llama"}}, &grant); err != nil {
		t.Errorf("another model: %v", err)
	}
	turnedDown(t, g.Admit(c, &Ask{Names: []string{"gpt-4o", "gpt-*", "gpt-4o", "openai/gpt-4o"}}, &grant), "rate_limit_exceeded", "requests of 1/h")
}

// End users are named by clients: however many names they make up, the memory for them is bounded.
func TestUsersAreBounded(t *testing.T) {
	h := &habits{}
	seen := map[string]bool{}
	for i := range mostUsers + 50_000 {
		seen[h.user(fmt.Sprint(i))] = true
	}
	if len(seen) > mostUsers+256 || len(seen) < mostUsers {
		t.Errorf("%d names of counters", len(seen))
	}
	if a, b := h.user("7"), h.user("7"); a != b || h.user("") != "-" {
		t.Errorf("%s, %s", a, b)
	}
}

func TestReferencesAreHeld(t *testing.T) {
	for body, want := range map[string]bool{
		`{"input":"a picture of an image file"}`:                       false,
		`{"input":"image"`:                                             true, // half a body
		`{"prompt":"write","previous_response_id":null,"x":"`:          false,
		`{"prompt" : {"id":"pmpt_1"}}`:                                 true,
		`{"messages":[{"content":"\"file_id\" is a word"}]}`:           false,
		`{"input":"go on","previous_response_id":"resp_1"}`:            true,
		`{"input":[{"type":"input_file","file_id":"file-1"}]}`:         true,
		`{"messages":[{"content":[{"type":"image_url"}]}]}`:            true,
		`{"messages":[{"content":[{"type":"image","source":{}}]}]}`:    true,
		`{"messages":[{"content":[{"type":"document","source":{}}]}]}`: true,
	} {
		if n := scan([]byte(body)).elsewhere; (n > 0) != want {
			t.Errorf("%s: %d tokens", body, n)
		}
	}
}
