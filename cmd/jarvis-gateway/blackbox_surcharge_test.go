package main

import (
	"strings"
	"testing"

	"jarvis-gateway/bench/fakellm"
)

// What makes an answer dearer than its model's price is refused where money is limited, and passed on where it is not.
func TestSurchargesUnderLimitsOnMoney(t *testing.T) {
	s, err := fakellm.Start(fakellm.Options{Kind: fakellm.Anthropic})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	g := start(t, `
providers: {up: {kind: anthropic, base_url: "`+s.URL()+`", api_key: x}}
models: {chat: {targets: [{provider: up, model: claude-opus-4-5}]}}
tenants:
  acme: {limits: {spend: $100/d}, keys: [{name: main, key: `+tenantKey+`}]}
  free: {keys: [{name: main, key: jv-free-0123456789abcdef}]}
`)
	for _, row := range []struct {
		key, field string
		refused    bool
	}{
		{tenantKey, `"speed":"fast"`, true}, {tenantKey, `"inference_geo":"us"`, true}, {tenantKey, `"inference_geo":5`, true},
		{tenantKey, `"speed":"standard"`, false}, {tenantKey, `"inference_geo":"global"`, false}, {"jv-free-0123456789abcdef", `"speed":"fast"`, false},
		{tenantKey, `"tools":[{"type":"advisor_20260301","name":"advisor","model":"claude-opus-4-7"}]`, true},
		{tenantKey, `"context_management":{"edits":[{"type":"compact_20260112"}]}`, true},
		{tenantKey, `"context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}`, false},
	} {
		a := g.ask(t, "POST /v1/messages\nx-api-key: "+row.key+"\n\n"+`{"model":"chat","max_tokens":20,"messages":[{"role":"user","content":"Hello"}],`+row.field+`}`)
		if refused := a.status == 400 && strings.Contains(a.body, "under a limit on spending"); refused != row.refused {
			t.Errorf("%s with %s: %v", row.field, row.key, a)
		}
	}
	if n := len(s.Seen()); n != 4 {
		t.Errorf("the provider saw %d requests", n)
	}
}
