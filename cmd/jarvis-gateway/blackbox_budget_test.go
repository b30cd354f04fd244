package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

// budgetAmount is the tokens that each key of TestBudgetInEveryDialect has: for the prompt and some of the answer.
const budgetAmount = 150

// Whatever a client and its provider speak, an answer that a budget does not pay for in full ends at what it pays for, as if
// the model had come to its limit, and what is counted is what the client is told.
func TestBudgetInEveryDialect(t *testing.T) {
	var config strings.Builder
	config.WriteString("providers:\n")
	kinds := []string{"openai", "vllm", "azure", "anthropic", "bedrock"}
	servers := map[string]*fakellm.Server{}
	for _, kind := range kinds {
		s, err := fakellm.Start(fakellm.Options{Kind: fakellm.Kind(kind), APIKey: upstreamKey, LogBodies: true, Default: fakellm.Plan{Tokens: 400}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		servers[kind] = s
		base, more := s.URL(), ""
		switch kind {
		case "openai":
			base += "/v1"
		case "bedrock":
			more = ", region: us-east-1"
		case "azure":
			more = ", api_version: 2024-10-21"
		}
		fmt.Fprintf(&config, "  %s: {kind: %s, base_url: %q, api_key: %q%s}\n", kind, kind, base, upstreamKey, more)
	}
	models := map[string]string{"openai": "gpt-4o", "vllm": "llama", "azure": "gpt-4o", "anthropic": "claude-sonnet-4-5", "bedrock": "anthropic.claude-sonnet-4-20250514-v1:0"}
	config.WriteString("models:\n")
	for _, kind := range kinds {
		fmt.Fprintf(&config, "  %s: {targets: [{provider: %s, model: %q}]}\n", kind, kind, models[kind])
	}
	config.WriteString("tenants:\n  acme:\n    timezone: " + noon() + "\n    keys:\n")
	type scene struct {
		kind, call string
		stream     bool
	}
	var scenes []scene
	for _, kind := range kinds {
		for _, call := range []string{"chat/completions", "completions", "messages", "responses"} {
			if call == "completions" && kind != "openai" && kind != "vllm" || call == "responses" && kind == "azure" {
				continue
			}
			for _, stream := range []bool{false, true} {
				fmt.Fprintf(&config, "      - {name: k%d, key: jv-k%d-0123456789abcdef, limits: {tokens: %d/d}}\n", len(scenes), len(scenes), budgetAmount)
				scenes = append(scenes, scene{kind, call, stream})
			}
		}
	}
	g := start(t, config.String())
	for i, s := range scenes {
		t.Run(fmt.Sprintf("%s from %s, stream %t", s.call, s.kind, s.stream), func(t *testing.T) {
			body := map[string]string{
				"chat/completions": `{"model":%q,"messages":[{"role":"user","content":"How long may it be?"}],"stream":%t}`,
				"completions":      `{"model":%q,"prompt":"How long may it be?","stream":%t}`,
				"messages":         `{"model":%q,"max_tokens":1000,"messages":[{"role":"user","content":"How long may it be?"}],"stream":%t}`,
				"responses":        `{"model":%q,"input":"How long may it be?","stream":%t}`,
			}[s.call]
			request := fmt.Sprintf("POST /v1/%s\nAuthorization: Bearer jv-k%d-0123456789abcdef\n\n"+body, s.call, i, s.kind, s.stream)
			servers[s.kind].Reset()
			a := g.ask(t, request)
			if a.status != 200 || a.cut {
				t.Fatal(a)
			}
			if !endedByLength.MatchString(a.body) || a.header.Get("X-Jarvis-Max-Tokens") == "" {
				t.Errorf("no word of its length: %v", a)
			}
			line := g.access(a.header.Get("X-Request-Id"))
			total := line.Get("prompt_tokens").Int() + line.Get("completion_tokens").Int()
			at := g.used("acme")[fmt.Sprintf("key/k%d/tokens/d", i)]
			if at != [2]float64{float64(total), 0} || total > budgetAmount+1 || total < budgetAmount*8/10 {
				t.Errorf("used and held %v of %d; the line: %s", at, budgetAmount, line.Raw)
			}
			if told := toldUsage(a.body); told != 0 && told != total {
				t.Errorf("the client was told of %d tokens, %d are counted: %s", told, total, a.body)
			}
			// What is counted of a stream that was cut is an estimate where the provider has a vocabulary of its own.
			if seen := servers[s.kind].WaitDone(1, patience); len(seen) != 1 || seen[0].Billed.Total > budgetAmount+1 || !s.stream && int64(seen[0].Billed.Total) != total {
				t.Errorf("the provider bills %+v of %d requests, %d are counted", seen[0].Billed, len(seen), total)
			}
			if again := g.ask(t, request); again.status != 429 || errorCode(again) != "" && errorCode(again) != "rate_limit_exceeded" && errorCode(again) != "insufficient_quota" {
				t.Errorf("with nothing left: %v", again)
			}
		})
	}
}

var endedByLength = regexp.MustCompile(`"finish_reason": ?"length"|"stop_reason": ?"max_tokens"|"reason": ?"max_output_tokens"`)

// toldUsage is the sum of the last usage in an answer, 0 if there is none.
func toldUsage(body string) (total int64) {
	parts := []string{body}
	if strings.Contains(body, "data: ") {
		parts = strings.Split(body, "data: ")
	}
	for _, part := range parts {
		for _, path := range []string{"usage", "response.usage"} {
			if u := gjson.Get(part, path); u.IsObject() {
				total = u.Get("prompt_tokens").Int() + u.Get("completion_tokens").Int() + u.Get("input_tokens").Int() + u.Get("output_tokens").Int()
			}
		}
	}
	return total
}
