package provider

import (
	"testing"

	"jarvis-gateway/proxy/wire"
)

// Each kind of provider is asked for the rest of an answer as its models understand it.
func TestOnward(t *testing.T) {
	const (
		asked = `{"model":"m","messages":[{"role":"user","content":"a"}],"stream":true}`
		said  = "He said: \"海\n "
		whole = `{"role":"assistant","content":"He said: \"海\n "}`
		trim  = `{"role":"assistant","content":"He said: \"海"}`
	)
	clients, err := New(map[string]Config{
		"openai": {Kind: "openai", BaseURL: "http://127.0.0.1:1"}, "vllm": {Kind: "vllm", BaseURL: "http://127.0.0.1:1"}, "anthropic": {Kind: "anthropic"},
		"bedrock": {Kind: "bedrock", Region: "us-east-1", APIKey: "key"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		provider, model string
		exact           bool
	}{
		{"openai", "gpt-4o", false},
		{"openai", "claude-3-5-haiku", false},
		{"vllm", "qwen", true},
		{"anthropic", "claude-3-5-haiku", true},
		{"anthropic", "claude-opus-4-6", false},
		{"anthropic", "kimi-k2", false},
		{"bedrock", "us.anthropic.claude-sonnet-4-20250514-v1:0", true},
		{"bedrock", "amazon.nova-pro-v1:0", false},
	} {
		body, err := wire.Parse([]byte(asked))
		if err != nil {
			t.Fatal(err)
		}
		next, exact, err := clients[row.provider].Onward(&body, row.model, said)
		if err != nil {
			t.Fatal(err)
		}
		messages := next.Get("messages").Array()
		if row.exact {
			if len(messages) != 2 || messages[1].Raw != trim {
				t.Errorf("%s: %s", row.model, next.Raw())
			}
		} else if len(messages) != 3 || messages[1].Raw != whole || messages[2].Get("role").Str != "user" || messages[2].Get("content").Str == "" {
			t.Errorf("%s: %s", row.model, next.Raw())
		}
		vllm := row.provider == "vllm"
		if exact != row.exact || next.Get("continue_final_message").Bool() != vllm || next.Get("add_generation_prompt").Exists() != vllm || string(body.Raw()) != asked {
			t.Errorf("%s: exact %t: %s", row.model, exact, next.Raw())
		}
	}
	for _, c := range clients {
		c.Close()
	}
}
