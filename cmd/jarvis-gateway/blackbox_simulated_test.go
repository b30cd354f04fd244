package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// simulatedBudget is what each tenant of TestSimulatedBudgets has, in dollars: an answer and not half of one. What is left for the
// last pays for its prompt and the shortest answer that is worth asking for, if the prompt is held as it is counted.
const simulatedBudget = 0.0008

const simulatedConfig = `
prices: {file: %q}
providers: {sim: {kind: simulated}}
models:
  chat: {targets: [{provider: sim, model: gpt-4o}]}
  claude: {targets: [{provider: sim, model: claude-sonnet-4-5}]}
tenants:
`

// Whoever tries the gateway without an account sees budgets that hold: whatever he asks in whatever dialect, whole or as a
// stream, a tenant never spends more than he has, spends nearly all of it, and is told so in the headers.
func TestSimulatedBudgets(t *testing.T) {
	prices := filepath.Join(t.TempDir(), "prices.yml")
	if err := os.WriteFile(prices, []byte("gpt-4o: {input: $2.5/M, output: $10/M}\nclaude-sonnet-4-5: {input: $2/M, output: $8/M}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	asking := map[string]string{
		"chat/completions": `{"model":%q,"stream":%t,"messages":[{"role":"user","content":"What is 预算 and who keeps it? Say so in many words."}]%s}`,
		"completions":      `{"model":%q,"stream":%t,"prompt":"What is 预算 and who keeps it? Say so in many words."%s}`,
		"responses":        `{"model":%q,"stream":%t,"input":"What is 预算 and who keeps it? Say so in many words."%s}`,
		"messages":         `{"model":%q,"stream":%t,"max_tokens":1000,"messages":[{"role":"user","content":"What is 预算 and who keeps it? Say so in many words."}]%s}`,
	}
	type scene struct {
		call, model, more string
		stream            bool
	}
	var scenes []scene
	config := fmt.Sprintf(simulatedConfig, prices)
	for call := range asking {
		for _, model := range []string{"chat", "claude"} {
			for _, stream := range []bool{false, true} {
				scenes = append(scenes, scene{call, model, "", stream})
			}
		}
	}
	scenes = append(scenes, scene{"chat/completions", "chat", `,"n":3`, false}, scene{"chat/completions", "chat", `,"n":3`, true},
		scene{"completions", "chat", `,"n":2`, false}, scene{"chat/completions", "chat", `,"stream_options":{"include_usage":true}`, true})
	for i := range scenes {
		config += fmt.Sprintf("  t%d: {timezone: %s, limits: {spend: $%g/d}, keys: [{name: main, key: jv-t%d-0123456789abcdef}]}\n", i, noon(), simulatedBudget, i)
	}
	g := start(t, config)
	for i, s := range scenes {
		t.Run(fmt.Sprintf("%s of %s%s, stream %t", s.call, s.model, s.more, s.stream), func(t *testing.T) {
			t.Parallel()
			request := fmt.Sprintf("POST /v1/%s\nAuthorization: Bearer jv-t%d-0123456789abcdef\n\n"+asking[s.call], s.call, i, s.model, s.stream, s.more)
			spent, last := spendAll(t, g, request)
			at := g.used(fmt.Sprintf("t%d", i))["spend/d"]
			near(t, "dollars spent", at[0], spent)
			if at[0] > simulatedBudget || at[0] < simulatedBudget*8/10 || at[1] != 0 {
				t.Errorf("$%v of $%v are used, and $%v held", at[0], simulatedBudget, at[1])
			}
			if !endedByLength.MatchString(last.body) || last.header.Get("X-Jarvis-Max-Tokens") == "" || strings.Contains(last.body, "in many words.") {
				t.Errorf("the last answer is not short, or does not say so: %v", last)
			}
		})
	}
}

// spendAll asks until there is no money left, and adds up what the access lines say.
func spendAll(t *testing.T, g *running, request string) (dollars float64, last answer) {
	t.Helper()
	for range 100 {
		a := g.ask(t, request)
		if a.status == 429 {
			return dollars, last
		}
		if a.status != 200 || a.cut {
			t.Fatal(a)
		}
		line := g.access(a.header.Get("X-Request-Id"))
		if told := toldUsage(a.body); told != 0 && told != line.Get("prompt_tokens").Int()+line.Get("completion_tokens").Int() {
			t.Errorf("told of %d tokens: %s", told, line.Raw)
		}
		dollars += line.Get("cost_usd").Float()
		last = a
	}
	t.Fatalf("$%v are spent, and no end", dollars)
	return 0, last
}
