package dialect

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTraits(t *testing.T) {
	for model, want := range map[string]traits{
		"claude-3-haiku-20240307":                      {maxTokens: 4096},
		"anthropic.claude-v2:1":                        {maxTokens: 4096},
		"claude-3-5-sonnet-20241022":                   {maxTokens: 8192},
		"us.anthropic.claude-3-7-sonnet-20250219-v1:0": {maxTokens: 64000, thinking: thinksBudget},
		"claude-opus-4-20250514":                       {maxTokens: 32000, thinking: thinksBudget},
		"claude-4-sonnet-20250514":                     {maxTokens: 64000, thinking: thinksBudget},
		"claude-opus-4-1-20250805":                     {maxTokens: 32000, thinking: thinksBudget, oneSampler: true},
		"us.anthropic.claude-sonnet-4-5-20250929-v1:0": {maxTokens: 64000, thinking: thinksBudget, jsonSchema: true, oneSampler: true},
		"anthropic/claude-haiku-4.5":                   {maxTokens: 64000, thinking: thinksBudget, jsonSchema: true, oneSampler: true},
		"claude-opus-4-5":                              {maxTokens: 64000, thinking: thinksBudget, efforts: efforts3, jsonSchema: true, oneSampler: true},
		"claude-opus-4-6":                              {maxTokens: 128000, thinking: thinksBoth, efforts: efforts4, jsonSchema: true, oneSampler: true, noPrefill: true},
		"arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-opus-4-7": {maxTokens: 128000, thinking: thinksFreely, efforts: efforts5, jsonSchema: true, noSampling: true, noPrefill: true},
		"claude-opus-5":                 {maxTokens: 128000, thinking: thinksFreely, restless: true, off: "disabled", efforts: efforts5, jsonSchema: true, noSampling: true, noPrefill: true},
		"claude-opus-5-5":               newest,
		"claude-opus-6":                 newest,
		"anthropic.claude-fable-5-v1:0": {maxTokens: 128000, thinking: thinksFreely, restless: true, efforts: efforts5, jsonSchema: true, noSampling: true, noPrefill: true},
		"claude-fable-5-1":              newest,
	} {
		want.claude = true
		if got := traitsOf(model); got != want {
			t.Errorf("%s: %+v, expected %+v", model, got, want)
		}
	}
	for _, model := range []string{"amazon.nova-pro-v1:0", "deepseek-chat", ""} {
		if got := traitsOf(model); got != (traits{}) {
			t.Errorf("%s: %+v", model, got)
		}
	}
}

// TestTraitsAgainstPrices compares the table with LiteLLM's.
func TestTraitsAgainstPrices(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(shared(t, "prices-litellm"), "model_prices_and_context_window.json"))
	if err != nil {
		t.Fatal(err)
	}
	var models map[string]struct {
		Provider string `json:"litellm_provider"`
		Most     int64  `json:"max_output_tokens"`
		Thinks   bool   `json:"supports_reasoning"`
		Adaptive bool   `json:"supports_adaptive_thinking"`
		Samples  *bool  `json:"supports_sampling_params"`
		XHigh    bool   `json:"supports_xhigh_reasoning_effort"`
		Schema   bool   `json:"supports_native_structured_output"`
	}
	if err := json.Unmarshal(raw, &models); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for name, m := range models {
		if !strings.Contains(name, "claude") || m.Provider != "anthropic" && m.Provider != "bedrock" {
			continue
		}
		seen++
		got := traitsOf(name)
		if got.maxTokens != m.Most || got.thinking == thinksNever && m.Thinks || got.thinking >= thinksBoth != m.Adaptive {
			t.Errorf("%s: %+v, LiteLLM says %+v", name, got, m)
		}
		m.Schema = m.Schema && !strings.Contains(name, "opus-4-1") // only with a beta header
		if m.Samples != nil && *m.Samples == got.noSampling || m.XHigh && !got.hasEffort("xhigh") || m.Schema && !got.jsonSchema {
			t.Errorf("%s: %+v, LiteLLM says %+v", name, got, m)
		}
	}
	if seen < 20 {
		t.Errorf("%d models compared", seen)
	}
}
