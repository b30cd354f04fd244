package provider

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/proxy/wire"
)

// What a provider is asked for has its bound lowered, in the field that the provider knows, and is a request that the
// provider takes: the simulations are as strict as the providers.
func TestMaxTokens(t *testing.T) {
	const (
		chat     = `{"model":"MODEL","messages":[{"role":"user","content":"Hi"}]MORE}`
		text     = `{"model":"MODEL","prompt":"Hi"MORE}`
		message  = `{"model":"MODEL","messages":[{"role":"user","content":"Hi"}]MORE}`
		response = `{"model":"MODEL","input":"Hi"MORE}`
		claude   = "claude-sonnet-4-5-20250929"
		onAWS    = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
	)
	for _, row := range []struct {
		provider fakellm.Kind
		client   wire.Kind
		model    string
		body     string
		more     string
		most     int64
		want     string // paths of what the provider saw, with their values
	}{
		{fakellm.OpenAI, wire.Chat, "gpt-4o", chat, ``, 5, "max_completion_tokens=5 max_tokens="},
		{fakellm.OpenAI, wire.Chat, "my-model", chat, ``, 5, "max_completion_tokens= max_tokens=5"}, // a compatible server
		{fakellm.OpenAI, wire.Chat, "gpt-4o", chat, `,"max_tokens":100`, 5, "max_completion_tokens= max_tokens=5"},
		{fakellm.OpenAI, wire.Chat, "gpt-4o", chat, `,"max_tokens":3`, 5, "max_completion_tokens= max_tokens=3"},
		{fakellm.OpenAI, wire.Chat, "gpt-4o", chat, `,"max_tokens":3`, 0, "max_completion_tokens= max_tokens=3"},
		{fakellm.OpenAI, wire.Completion, "gpt-4o", text, ``, 5, "max_tokens=5"},
		{fakellm.OpenAI, wire.Response, "gpt-4o", response, `,"max_output_tokens":500`, 20, "max_output_tokens=20"},
		{fakellm.VLLM, wire.Chat, "gpt-4o", chat, ``, 5, "max_completion_tokens= max_tokens=5"},
		{fakellm.Azure, wire.Chat, "prod", chat, ``, 5, "max_completion_tokens=5 max_tokens="},
		{fakellm.Anthropic, wire.Message, claude, message, `,"max_tokens":100`, 5, "max_tokens=5 thinking="},
		{fakellm.Anthropic, wire.Message, claude, message, `,"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":4000}`, 3000, "max_tokens=3000 thinking.budget_tokens=2999"},
		{fakellm.Anthropic, wire.Message, claude, message, `,"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":4000}`, 300, "max_tokens=300 thinking.type=disabled"},
		{fakellm.Anthropic, wire.Chat, claude, chat, ``, 5, "max_tokens=5 thinking="},
		{fakellm.Anthropic, wire.Chat, claude, chat, `,"max_tokens":3`, 5, "max_tokens=3"},
		{fakellm.Anthropic, wire.Chat, claude, chat, `,"reasoning_effort":"high"`, 3000, "max_tokens=3000 thinking.budget_tokens=1500"},
		{fakellm.Anthropic, wire.Chat, claude, chat, `,"reasoning_effort":"high"`, 1000, "max_tokens=1000 thinking="},
		{fakellm.Anthropic, wire.Response, claude, response, `,"max_output_tokens":5000`, 20, "max_tokens=20"},
		{fakellm.Bedrock, wire.Chat, onAWS, chat, ``, 5, "inferenceConfig.maxTokens=5"},
		{fakellm.Bedrock, wire.Message, onAWS, message, `,"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":4000}`, 3000, "inferenceConfig.maxTokens=3000 additionalModelRequestFields.thinking.budget_tokens=2999"},
		{fakellm.Bedrock, wire.Message, onAWS, message, `,"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":4000}`, 1024, "inferenceConfig.maxTokens=1024 additionalModelRequestFields.thinking="},
		{fakellm.OpenAI, wire.Message, "gpt-4o", message, `,"max_tokens":100`, 5, "max_completion_tokens=5"},
	} {
		s, c := upstream(t, row.provider)
		s.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Tokens: 50} })
		body := strings.NewReplacer("MODEL", row.model, "MORE", row.more).Replace(row.body)
		call, reply := ask(t, c, row.client, body, func(call *Call) { call.MaxTokens = row.most })
		seen := s.Seen()
		saw := gjson.ParseBytes(seen[len(seen)-1].Body)
		for want := range strings.FieldsSeq(row.want) {
			path, value, _ := strings.Cut(want, "=")
			if got := saw.Get(path); got.String() != value || (value == "") == got.Exists() {
				t.Errorf("%s for %d, up to %d, %s: %s is %s, want %s", row.provider, row.client, row.most, body, path, got.Raw, value)
			}
		}
		if string(call.Body.Raw()) != body {
			t.Errorf("the client's body has become %s", call.Body.Raw())
		}
		if got := reply.Usage.Completion; row.most == 5 && got > 5 {
			t.Errorf("%s for %d: %d tokens", row.provider, row.client, got)
		}
		reply.Close()
	}
}

// The next attempt has a bound of its own.
func TestMaxTokensOfEachAttempt(t *testing.T) {
	s, c := upstream(t, fakellm.Anthropic)
	call, reply := ask(t, c, wire.Chat, `{"model":"claude-x","max_tokens":50,"messages":[{"role":"user","content":"Hi"}]}`, func(call *Call) { call.MaxTokens = 20 })
	reply.Close()
	for _, most := range []int64{40, 10, 0} {
		call.MaxTokens = most
		if err := c.Do(call, reply); err != nil {
			t.Fatal(err)
		}
		reply.Close()
	}
	var got []string
	for _, seen := range s.Seen() {
		got = append(got, gjson.GetBytes(seen.Body, "max_tokens").Raw)
	}
	if want := "20 40 10 50"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}
