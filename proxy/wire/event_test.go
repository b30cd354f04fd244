package wire

import (
	"strings"
	"testing"
)

func TestClassifyChunks(t *testing.T) {
	for data, want := range map[string]EventClass{
		`{"choices":[{"delta":{"role":"assistant"}}]}`:                                                Preamble,
		`{"choices":[{"delta":{"role":"assistant","content":""}}]}`:                                   Preamble,
		`{"choices":[{"delta":{"role":"assistant","content":null,"refusal":null}}]}`:                  Preamble,
		`{"choices":[{"delta":{"tool_calls":[],"audio":{}}}]}`:                                        Preamble,
		`{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}`:                                 Preamble,
		`{"choices":[],"usage":{"prompt_tokens":1}}`:                                                  Preamble,
		`{"choices":[{"delta":{},"finish_reason":null}]}`:                                             Preamble,
		`{"choices":[{"delta":{},"finish_reason":""}]}`:                                               Preamble,
		`{"choices":[{"delta":{"content":"a"}}]}`:                                                     Content,
		`{"choices":[{"delta":{"content":" "}}]}`:                                                     Content,
		`{"choices":[{"delta":{"role":"assistant","content":"a"}}]}`:                                  Content,
		`{"choices":[{"delta":{"refusal":"no"}}]}`:                                                    Content,
		`{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}`:                                        Content,
		`{"choices":[{"delta":{"function_call":{"name":"f"}}}]}`:                                      Content,
		`{"choices":[{"delta":{"reasoning_content":"hm"}}]}`:                                          Content,
		`{"choices":[{"delta":{"audio":{"id":"x"}}}]}`:                                                Content,
		`{"choices":[{"delta":{"unheard_of":0}}]}`:                                                    Content,
		`{"choices":[{"delta":{}},{"delta":{"content":"b"}}]}`:                                        Content,
		`{"choices":[{"text":"a"}]}`:                                                                  Content,
		`{"choices":[{"text":""}]}`:                                                                   Preamble,
		`{"choices":[{"text":"","finish_reason":"stop"}]}`:                                            Last,
		`{"choices":[{"delta":{},"finish_reason":"stop"}]}`:                                           Last,
		`{"choices":[{"delta":{"content":"a"},"finish_reason":"length"}]}`:                            Last,
		`{"error":{"message":"x"}}`:                                                                   Failure,
		`{"error":"x"}`:                                                                               Failure,
		`{"error":null,"choices":[{"delta":{"content":"a"}}]}`:                                        Content,
		`{"choices":[{"delta":{"content":"say \"error\": {}"}}]}`:                                     Content,
		`{"object":"error","message":"x","code":400}`:                                                 Failure,
		`{"object":"chat.completion.chunk","choices":[{"delta":{"content":"\"object\":\"error\""}}]}`: Content,
		`not JSON`: Preamble,
		``:         Preamble,
	} {
		for _, kind := range []Kind{Chat, Completion} {
			if got := kind.Classify([]byte(data)); got != want {
				t.Errorf("%s: %d, want %d", data, got, want)
			}
		}
	}
}

func TestClassifyResponses(t *testing.T) {
	for data, want := range map[string]EventClass{
		`{"type":"response.created"}`:            Preamble,
		`{"type":"response.queued"}`:             Preamble,
		`{"type":"response.in_progress"}`:        Preamble,
		`{"type":"keepalive"}`:                   Preamble,
		`{"type":"response.output_item.added"}`:  Content,
		`{"type":"response.output_text.delta"}`:  Content,
		`{"type":"response.unheard_of"}`:         Content,
		`{"type":"response.completed"}`:          Last,
		`{"type":"response.incomplete"}`:         Last,
		`{"type":"response.failed"}`:             Failure,
		`{"type":"error","message":"x"}`:         Failure,
		`{"error":{"message":"x"}}`:              Failure,
		`{"type":"response.created","error":{}}`: Preamble,
	} {
		if got := Response.Classify([]byte(data)); got != want {
			t.Errorf("%s: %d, want %d", data, got, want)
		}
	}
}

func TestClassifyPlain(t *testing.T) {
	for data, want := range map[string]EventClass{
		`{"type":"transcript.text.delta"}`:      Content,
		`{"type":"image_generation.completed"}`: Content,
		`{"type":"error","error":{}}`:           Failure,
		`{"error":{"message":"x"}}`:             Failure,
		`{"error":null}`:                        Content,
	} {
		if got := Plain.Classify([]byte(data)); got != want {
			t.Errorf("%s: %d, want %d", data, got, want)
		}
	}
}

func TestErrorIn(t *testing.T) {
	for data, want := range map[string]string{
		`{"error":{"message":"x","code":1}}`:                              `{"message":"x","code":1}`,
		`{"type":"response.failed","response":{"error":{"message":"x"}}}`: `{"message":"x"}`,
		`{"error":"out of \"memory\""}`:                                   `{"message":"out of \"memory\""}`,
		` {"object":"error","message":"x"} `:                              `{"object":"error","message":"x"}`,
		`{"type":"error","code":"c","message":"x"}`:                       `{"type":"error","code":"c","message":"x"}`,
		`{"detail":"x"}`: ``,
		`{"message":1}`:  ``,
		`["message"]`:    ``,
		`<html>`:         ``,
		``:               ``,
	} {
		if got := string(ErrorIn([]byte(data))); got != want {
			t.Errorf("%s: %s, want %s", data, got, want)
		}
	}
}

func TestMatchModel(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"gpt-4o", "gpt-4o", true}, {"gpt-4o", "gpt-4o-mini", false}, {"gpt-*", "gpt-", true}, {"gpt-*", "gpt-4o", true},
		{"gpt-*", "GPT-4o", false}, {"*", "", true}, {"*", "a/b", true}, {"a*a", "a", false}, {"a*a", "aa", true}, {"a*b", "acb", true},
		{"openai/*", "openai/gpt/x", true}, {"openai/*", "openai", false}, {"", "", true}, {"", "a", false},
	} {
		if MatchModel(c.pattern, c.name) != c.want {
			t.Errorf("%q and %q: %t", c.pattern, c.name, !c.want)
		}
		for _, name := range []string{c.name, strings.ToUpper(c.name), strings.ToLower(c.name)} {
			if want := MatchModel(strings.ToLower(c.pattern), strings.ToLower(name)); MatchModelFold(c.pattern, name) != want || MatchModelFold(strings.ToUpper(c.pattern), name) != want {
				t.Errorf("%q and %q in any case: %t", c.pattern, name, !want)
			}
		}
	}
}
