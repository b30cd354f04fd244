package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// replaying runs a trace against a configuration, both given as text.
func replaying(t *testing.T, config, trace string, args ...string) gjson.Result {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"jarvis.yml": config, "trace.jsonl": trace, "prices.yml": "large: {input: $10/M, output: $100/M}\nsmall: {input: $1/M, output: $10/M}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := ran(t, append([]string{"route", "--replay", filepath.Join(dir, "trace.jsonl"), "-c", filepath.Join(dir, "jarvis.yml"), "--json"}, args...)...)
	return gjson.Parse(out)
}

// replayedConfig has one tenant with limits and guards of his, a model whose tokens cost $0.01 and $0.10 each thousand, and a lesser one.
func replayedConfig(limits, key, guards string) string {
	return `
providers: {openai: {kind: openai, api_key: sk-replayed}}
prices: {file: prices.yml}
models:
  chat: {targets: [{provider: openai, model: large}]}
  small: {targets: [{provider: openai, model: small}], fallback: [chat]}
tenants:
  acme:
    limits: {` + limits + `}
    guards: [` + guards + `]
    keys: [{name: main, key: jv-replayed-main-0123, limits: {` + key + `}}, {name: other, key: jv-replayed-other-0123}]
`
}

// each is a trace of so many requests of a kind, so many seconds apart.
func each(n int, apart float64, line string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"at":%g,"model":"chat","key":"main",%s}`+"\n", float64(i)*apart, line)
	}
	return b.String()
}

// What limits do to a trace can be followed by hand.
func TestReplayCountsLimits(t *testing.T) {
	const small = `"prompt_tokens":10,"completion_tokens":10`
	for name, row := range map[string]struct {
		limits, key, guards, trace string
		want                       map[string]string
	}{
		"requests by the minute": {"", "requests: 3/m", "", each(10, 10, small), map[string]string{ // at 0, 10 and 20 s, and again when these are a minute ago
			"refused": "4", "tenants.0.refused": "4", "limits.#": "1", "limits.0.limit": "key main, requests 3/m", "limits.0.refused": "4", "targets.0.calls": "6", "tenants.0.prompt_tokens": "60"}},
		"places": {"concurrency: 2", "", "", each(5, 0.1, `"prompt_tokens":10,"completion_tokens":100`) + `{"at":3,"model":"chat","key":"other","prompt_tokens":10,"completion_tokens":1}` + "\n",
			map[string]string{"refused": "3", "limits.0.limit": "tenant acme, concurrency 2", "limits.0.refused": "3", "tenants.0.requests": "6"}},
		"a line": {"concurrency: 2, on_exceed: queue, queue: {wait: 10s, max: 2}", "", "", each(5, 0.1, `"prompt_tokens":10,"completion_tokens":51`), map[string]string{
			// Each takes 1.3 s. The third has waited from 0.2 to 1.3 s, the fourth from 0.3 to 1.4 s, the fifth has no place.
			"refused": "1", "limits.0.waited": "2", "limits.0.refused": "1", "tenants.0.waited_most_ms": "1100", "seconds": "2.7", "targets.0.calls": "4", "targets.0.in_flight_most": "2"}},
		"waiting in vain": {"concurrency: 1, on_exceed: queue, queue: {wait: 1s}", "", "", each(2, 0.5, `"prompt_tokens":10,"completion_tokens":101`), map[string]string{
			"refused": "1", "limits.0.waited": "1", "limits.0.refused": "1", "tenants.0.waited_most_ms": "1000", "targets.0.calls": "1"}},
		"waiting for time": {"", "requests: 1/s, on_exceed: queue, queue: {wait: 10s}", "", each(3, 0, small), map[string]string{
			"refused": "0", "limits.0.waited": "2", "targets.0.calls": "3"}},
		"none overtakes": {"tokens: 2000/m, on_exceed: queue, queue: {wait: 2m}", "", "", // there is room for the third when it comes, but the second waits
			each(1, 0, `"prompt_tokens":1000,"completion_tokens":10`) + `{"at":1,"model":"chat","prompt_tokens":1100,"completion_tokens":10}` + "\n" + `{"at":5,"model":"chat","prompt_tokens":10,"completion_tokens":10}` + "\n",
			map[string]string{"refused": "0", "limits.0.waited": "2", "targets.0.calls": "3"}},
		"a lesser model": {"", "requests: {limit: 2/d, on_exceed: {downgrade: small}}", "", each(5, 1, small), map[string]string{
			"refused": "0", "tenants.0.downgraded": "3", "limits.0.downgraded": "3", `targets.#(model=="small").calls`: "3", `targets.#(model=="chat").calls`: "2",
			`ways.#(route=="limit:small").requests`: "3", "tenants.0.cost_usd": "0.00253"}}, // 2 x (10 x 0.00001 + 10 x 0.0001) + 3 x a tenth of that
		"a budget by the day": {"spend: $0.005/d", "", "", each(8, 6*3600, `"prompt_tokens":100,"completion_tokens":10`), map[string]string{
			// Each costs $0.002. What is left after two does not pay for the third; two days have four each.
			"refused": "4", "limits.0.limit": "tenant acme, spend $0.005/d", "limits.0.refused": "4", "tenants.0.cost_usd": "0.008"}},
		"tokens of one model": {"tokens: {limit: 100/d, models: [small]}", "", "", each(5, 1, small), map[string]string{"refused": "0", "limits.#": "0"}},
		"a stream that ends early": {"tokens: 1000/d", "", "", each(1, 1, `"prompt_tokens":100,"completion_tokens":5000`), map[string]string{
			"refused": "0", "tenants.0.shortened": "1"}},
		"guards": {"", "", "{kind: pii}, {kind: deny, name: project, patterns: [phoenix]}",
			`{"at":0,"key":"main","body":{"model":"chat","messages":[{"role":"user","content":"mail ann@example.com"}]},"completion_tokens":5}` + "\n" +
				`{"at":1,"key":"main","body":{"model":"chat","messages":[{"role":"user","content":"what of phoenix?"}]},"completion_tokens":5}` + "\n" + each(3, 1, small),
			map[string]string{"refused": "1", "not_judged": "3", "guards.#": "2", "guards.0.guard": "pii", "guards.0.masked": "1", "guards.1.refused": "1", "guards.1.tenant": "acme", "targets.0.calls": "4"}},
		"all refused": {"tokens: 100/d", "", "", each(2, 1, `"prompt_tokens":1000,"completion_tokens":10`), map[string]string{"refused": "2", "targets": "[]", "ways": "[]"}},
		"nothing":     {"", "", "", each(3, 1, small), map[string]string{"refused": "0", "limits.#": "0", "guards.#": "0", "not_judged": "0", "tenants.0.requests": "3", "tenants.0.cost_usd": "0.0033"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := replaying(t, replayedConfig(row.limits, row.key, row.guards), row.trace)
			for path, want := range row.want {
				if is := got.Get(path).String(); is != want {
					t.Errorf("%s is %s, want %s in %s", path, is, want, got.Raw)
				}
			}
		})
	}
}

// Limits of end users are each user's own.
func TestReplayCountsUsers(t *testing.T) {
	config := strings.Replace(replayedConfig("", "", ""), "    guards:", "    user_limits: {requests: 2/m}\n    guards:", 1)
	var trace strings.Builder
	for i := range 12 {
		fmt.Fprintf(&trace, `{"at":%d,"model":"chat","user":"u%d","prompt_tokens":10,"completion_tokens":1}`+"\n", i, i%4%3)
	}
	got := replaying(t, config, trace.String()) // u0 comes six times, u1 and u2 three times each
	if got.Get("refused").Int() != 4+1+1 || got.Get("limits.#").Int() != 1 {
		t.Error(got.Raw)
	}
}

// madeTrace is one of many requests, all sorts of them.
func madeTrace(n int, seed uint64) string {
	dice := rand.New(rand.NewPCG(seed, 7))
	var b strings.Builder
	at := 0.0
	for range n {
		at += dice.ExpFloat64() / 20
		model, key := []string{"chat", "small"}[dice.IntN(2)], []string{"main", "other"}[dice.IntN(2)]
		if dice.IntN(4) == 0 {
			fmt.Fprintf(&b, `{"at":%g,"key":"%s","user":"u%d","body":{"model":"%s","stream":%t,"max_tokens":400,"messages":[{"role":"user","content":"%s"}]},"completion_tokens":%d}`+"\n",
				at, key, dice.IntN(9), model, dice.IntN(2) == 0, strings.Repeat("hello there ", dice.IntN(40)), dice.IntN(400))
			continue
		}
		fmt.Fprintf(&b, `{"at":%g,"model":"%s","key":"%s","user":"u%d","stream":true,"prompt_tokens":%d,"completion_tokens":%d}`+"\n",
			at, model, key, dice.IntN(9), dice.IntN(3000), dice.IntN(900))
	}
	return b.String()
}

// Limits that never bind change nothing: neither who answers, nor when, nor what it costs.
func TestReplayWithLimitsThatNeverBind(t *testing.T) {
	for seed := range uint64(4) {
		trace := madeTrace(600, seed)
		args := []string{"--error-rate", "openai=3%", "--seed", fmt.Sprint(seed)}
		free := replaying(t, replayedConfig("", "", ""), trace, args...)
		wide := replaying(t, strings.Replace(replayedConfig("requests: 1M/m, tokens: [1G/m, 100G/d], spend: [$1M/d, $10M/month], concurrency: 100000, on_exceed: queue", "requests: 1M/s, spend: $1M/month", ""),
			"    guards:", "    user_limits: {tokens: 1G/d, requests: 1M/m}\n    guards:", 1), trace, args...)
		if free.Raw != wide.Raw {
			t.Errorf("seed %d: it comes to\n%s, not to\n%s", seed, wide.Raw, free.Raw)
		}
		if free.Get("requests").Int() != 600 || free.Get("unanswered").Int() == 0 {
			t.Error(free.Raw)
		}
	}
}

// Whatever the limits, no request is lost, what is spent stays in the budget, no more are under way than may be, and it is the same each time.
func TestReplayKeepsToLimits(t *testing.T) {
	for seed := range uint64(4) {
		trace := madeTrace(800, seed)
		config := replayedConfig("concurrency: 6, on_exceed: queue, queue: {wait: 3s, max: 10}, spend: $0.5/d", "tokens: 40k/m, requests: {limit: 200/m, on_exceed: {downgrade: small}}", "")
		args := []string{"--error-rate", "openai/small=10%"} // then it is asked of the dearer one, if there is enough left
		got := replaying(t, config, trace, args...)
		calls, most := int64(0), int64(0)
		for _, at := range got.Get("targets").Array() {
			calls, most = calls+at.Get("calls").Int()-at.Get("failed").Int(), max(most, at.Get("in_flight_most").Int())
		}
		var refused, waited int64
		for _, l := range got.Get("limits").Array() {
			refused, waited = refused+l.Get("refused").Int(), waited+l.Get("waited").Int()
		}
		if calls+got.Get("refused").Int()+got.Get("unanswered").Int() != 800 || refused != got.Get("refused").Int() || refused == 0 || waited == 0 || most > 6 {
			t.Errorf("seed %d: %s", seed, got.Raw)
		}
		if cost := got.Get("tenants.0.cost_usd").Num; cost > 0.5001 || cost < 0.45 {
			t.Errorf("seed %d: $%g is spent of $0.5: %s", seed, cost, got.Raw)
		}
		if longest := got.Get("tenants.0.waited_most_ms").Num; longest > 3000 {
			t.Errorf("seed %d: one waits for %g ms, not 3 s", seed, longest)
		}
		if again := replaying(t, config, trace, args...); again.Raw != got.Raw {
			t.Errorf("seed %d: another time it comes to\n%s, not to\n%s", seed, again.Raw, got.Raw)
		}
	}
}

// What people are shown.
func TestReplayShowsLimits(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace.jsonl")
	lines := each(4, 0.1, `"prompt_tokens":100,"completion_tokens":50`) +
		`{"at":1,"tenant":"bounded","key":"main","body":{"model":"chat","messages":[{"role":"user","content":"mail ann@example.com"}]},"completion_tokens":20}
{"at":1,"tenant":"bounded","key":"lesser","body":{"model":"chat","messages":[{"role":"user","content":"of phoenix"}]},"completion_tokens":9}
{"at":9,"tenant":"bounded","key":"lesser","model":"shared","prompt_tokens":200,"completion_tokens":50}
` + strings.Repeat(`{"at":10,"tenant":"bounded","key":"main","model":"shared","prompt_tokens":20,"completion_tokens":50}`+"\n", 8)
	if err := os.WriteFile(trace, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := ran(t, "route", "--replay", trace, "-c", routeConfig, "--tenant", "acme")
	const file = "testdata/route/replayed.golden"
	if *update {
		if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want := readFile(t, file); out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}
