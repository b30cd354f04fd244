package dialect

import (
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// TestCarried holds single requests against what of them must reach a provider, what must not, and what is named as left
// out. A wanted text that begins with "400 " is the path that a refusal names.
func TestCarried(t *testing.T) {
	const closed, open = `{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}`, `{"type":"object","properties":{"a":{"type":"string"}}}`
	const ask, llama = `"messages":[{"role":"user","content":"x"}]`, "meta.llama3-3-70b-instruct-v1:0"
	format := func(schema string) string {
		return `{` + ask + `,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":` + schema + `}}}`
	}
	tool := func(choice string) string {
		return `{` + ask + `,"tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"c"}}],"tool_choice":` + choice + `}`
	}
	const fiveMarkers = `{"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"tools":[{"name":"f","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral"}}],
		"max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"type":"text","text":"b","cache_control":{"type":"ephemeral"}},{"type":"text","text":"c","cache_control":{"type":"ephemeral"}}]}]}`
	chatMarkers := strings.NewReplacer(`"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"tools":[{"name":"f","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral"}}],`,
		`"tools":[{"type":"function","function":{"name":"f"},"cache_control":{"type":"ephemeral"}}],"cache_control":{"type":"ephemeral"},`).Replace(fiveMarkers)
	const calls = `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","tool_calls":[{"id":"c1","type":"custom","custom":{"name":"g","input":"x"}}]},{"role":"tool","tool_call_id":"c1","content":"r"},{"role":"user","content":"z"}]}`
	const breaks = `{"prompt_cache_options":{"mode":"explicit"},"input":[{"role":"system","content":[{"type":"input_text","text":"s","prompt_cache_breakpoint":{"mode":"explicit"}}]},{"role":"user","content":[{"type":"input_text","text":"u","prompt_cache_breakpoint":{"mode":"explicit"}}]}]}`
	const badCall = `{"input":[{"role":"user","content":"a"},{"type":"function_call","call_id":"c1","name":"f","arguments":"{bad"},{"type":"function_call_output","call_id":"c1","output":"r"}]}`
	const ownItems = `{"input":[{"role":"user","content":"a"},{"type":"web_search_call","id":"ws","status":"completed"},{"type":"custom_tool_call","call_id":"c1","name":"patch","input":"x"},{"type":"function_call","call_id":"c2","name":"f","arguments":"{}"},{"type":"custom_tool_call_output","call_id":"c1","output":"ok"},{"type":"function_call_output","call_id":"c2","output":"r"}]}`
	const found = `{"max_tokens":9,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"ToolSearch","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":[{"type":"tool_reference","tool_name":"Foo"}]}]}],"tools":[{"name":"ToolSearch","input_schema":{"type":"object"}},{"name":"Foo","input_schema":{"type":"object"}}]}`
	const spaces = `{"input":[{"role":"user","content":"a"},{"type":"function_call","call_id":"c","namespace":"mcp__files","name":"read","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"r"}],"tools":[{"type":"namespace","name":"mcp__files","description":"Files.","tools":[{"type":"function","name":"read","parameters":{"type":"object"}}]}],"tool_choice":{"type":"function","namespace":"mcp__files","name":"read"}}`
	const prefill = `{"max_tokens":9,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"BEGUN"}]}`

	for _, c := range []struct {
		name, client, provider, model, body string
		drop                                bool
		want, not, dropped                  string
	}{
		{name: "a schema of its own", client: "chat", provider: "anthropic", body: format(closed), want: `"output_config"`, not: `"tool_choice"`},
		{name: "a schema that means itself", client: "chat", provider: "anthropic", body: format(`{"type":"object","properties":{"a":{"$ref":"#"}},"additionalProperties":false}`), want: `"tool_choice"`, not: `"output_config"`},
		{name: "definitions in a circle", client: "chat", provider: "anthropic", body: format(`{"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"additionalProperties":false,"$defs":{"x":{"anyOf":[{"$ref":"#/$defs/x"},{"type":"null"}]}}}`), not: `"output_config"`},
		{name: "definitions", client: "chat", provider: "anthropic", body: format(`{"type":"object","properties":{"a":{"$ref":"#/$defs/x"},"b":{"$ref":"#/$defs/x"}},"additionalProperties":false,"$defs":{"x":{"type":"string"}}}`), want: `"output_config"`},
		{name: "a schema elsewhere", client: "chat", provider: "anthropic", body: format(`{"type":"object","properties":{"a":{"$ref":"https://example.com/a"}},"additionalProperties":false}`), not: `"output_config"`},
		{name: "allOf with a reference", client: "chat", provider: "anthropic", body: format(`{"type":"object","properties":{"a":{"allOf":[{"$ref":"#/$defs/x"}]}},"additionalProperties":false,"$defs":{"x":{"type":"string"}}}`), not: `"output_config"`},
		{name: "object or null", client: "chat", provider: "anthropic", body: format(`{"type":"object","properties":{"a":{"type":["object","null"]}},"additionalProperties":false}`), not: `"output_config"`},
		{name: "an open schema for Qwen", client: "chat", provider: "bedrock", model: "qwen.qwen3-32b-v1:0", body: format(open), want: `You must call the tool n`, not: `outputConfig`},
		{name: "a closed one", client: "chat", provider: "bedrock", model: "qwen.qwen3-32b-v1:0", body: format(closed), want: `outputConfig`},

		{name: "Llama cannot be forced", client: "chat", provider: "bedrock", model: llama, body: format(closed), want: `You must call the tool n`, not: `toolChoice`},
		{name: "nor by its client", client: "chat", provider: "bedrock", model: llama, body: `{` + ask + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required"}`, want: "400 tool_choice"},
		{name: "Mistral Large has any", client: "chat", provider: "bedrock", model: "mistral.mistral-large-2407-v1:0", body: `{` + ask + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"f"}}}`, want: `"toolChoice":{"any":{}}`},

		{name: "five markers", client: "messages", provider: "bedrock", body: fiveMarkers, dropped: "messages[0].content[0].cache_control"},
		{name: "five markers with one for all", client: "chat", provider: "anthropic", body: chatMarkers, dropped: "messages[0].content[0].cache_control"},

		{name: "the result of a call left out", client: "chat", provider: "anthropic", drop: true, body: calls, not: "tool_result", dropped: "messages[1].tool_calls[0] messages[2]"},
		{name: "also for Bedrock", client: "chat", provider: "bedrock", drop: true, body: calls, not: "toolResult", dropped: "messages[1].tool_calls[0] messages[2]"},
		{name: "a tool left out is chosen", client: "messages", provider: "openai", drop: true, body: `{"max_tokens":9,` + ask + `,"tools":[{"name":"f","input_schema":{"type":"object"}},{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"tool","name":"web_search"}}`, want: `"tool_choice":"auto"`, dropped: "tools[1] tool_choice"},
		{name: "the only tool left out is chosen", client: "messages", provider: "openai", drop: true, body: `{"max_tokens":9,` + ask + `,"tools":[{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"any"}}`, not: `tool_choice`, dropped: "tools[0] tool_choice"},
		{name: "no tool, but a choice", client: "messages", provider: "openai", body: `{"max_tokens":9,` + ask + `,"tool_choice":{"type":"any"}}`, want: "400 tool_choice"},
		{name: "a tool that is not there", client: "chat", provider: "bedrock", drop: true, body: tool(`{"type":"function","function":{"name":"nobody"}}`), want: "400 tool_choice"},

		{name: "both forms of calls", client: "chat", provider: "anthropic", body: `{"messages":[{"role":"user","content":"a"},{"role":"assistant","function_call":{"name":"f","arguments":"{}"},"tool_calls":[{"id":"c1","type":"function","function":{"name":"g","arguments":"{}"}}]}]}`, want: `"name":"g"`},
		{name: "a breakpoint of OpenAI's", client: "chat", provider: "anthropic", body: `{"messages":[{"role":"user","content":[{"type":"text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}}]}],"prompt_cache_options":{"mode":"explicit"}}`, want: `"cache_control":{"type":"ephemeral"}`, dropped: "prompt_cache_options"},
		{name: "what answers have", client: "messages", provider: "openai", body: `{"max_tokens":9,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"text","text":"b","citations":null},{"type":"tool_use","id":"1","name":"f","input":{},"caller":{"type":"direct"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"1"}]}]}`},
		{name: "the name of instructions", client: "chat", provider: "bedrock", body: `{"messages":[{"role":"system","name":"boss","content":"s"},{"role":"user","content":"a"}]}`, dropped: "messages[0].name"},
		{name: "top_p with thoughts", client: "chat", provider: "anthropic", body: `{` + ask + `,"reasoning_effort":"low","top_p":0.97}`, want: `"top_p":0.97`},
		{name: "top_p for a model without", client: "chat", provider: "anthropic", model: "claude-opus-4-7", body: `{` + ask + `,"top_p":0.97}`, want: "400 top_p"},

		{name: "breakpoints for a model that knows them", client: "responses", provider: "openai", model: "gpt-5.6", body: breaks, want: `"prompt_cache_options":{"mode":"explicit"}`},
		{name: "in instructions", client: "responses", provider: "azure", model: "gpt-5.6", body: breaks, want: `{"role":"system","content":[{"type":"text","text":"s","prompt_cache_breakpoint":{"mode":"explicit"}}]}`},
		{name: "and for one that does not", client: "responses", provider: "openai", body: breaks, not: "prompt_cache", dropped: "input[0].content[0].prompt_cache_breakpoint prompt_cache_options"},
		{name: "harmless members of tools", client: "responses", provider: "anthropic", body: `{"input":[{"role":"user","content":"a"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}","caller":{"type":"direct"}},{"type":"function_call_output","call_id":"c","output":"r"}],"tools":[{"type":"function","name":"f","allowed_callers":["direct"],"output_schema":{"type":"object"},"defer_loading":true}]}`, dropped: "tools[0].output_schema tools[0].defer_loading"},

		{name: "arguments that are no JSON", client: "chat", provider: "anthropic", body: `{"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{bad"}}]},{"role":"tool","tool_call_id":"c1","content":"r"}]}`, want: `"input":{"invalid_json":"{bad"}`, dropped: "messages[1].tool_calls[0].function.arguments"},
		{name: "in the old form", client: "chat", provider: "bedrock", body: `{"messages":[{"role":"user","content":"a"},{"role":"assistant","function_call":{"name":"f","arguments":"[1]"}},{"role":"function","name":"f","content":"r"}]}`, want: `"input":{"invalid_json":"[1]"}`, dropped: "messages[1].function_call.arguments"},
		{name: "in an item", client: "responses", provider: "bedrock", body: badCall, want: `"input":{"invalid_json":"{bad"}`, dropped: "input[1].arguments"},
		{name: "for OpenAI as they are", client: "responses", provider: "openai", body: badCall, want: `"arguments":"{bad"`},
		{name: "for vLLM as an object", client: "responses", provider: "vllm", body: badCall, want: `"arguments":"{\"invalid_json\":\"{bad\"}"`, dropped: "input[1].arguments"},

		{name: "items of OpenAI's tools", client: "responses", provider: "openai", body: ownItems, want: "400 input[1]"},
		{name: "left out", client: "responses", provider: "openai", drop: true, body: ownItems, want: `"tool_call_id":"c2"`, not: "c1", dropped: "input[1] input[2] input[4]"},
		{name: "left out for Claude", client: "responses", provider: "anthropic", drop: true, body: ownItems, want: `"tool_use_id":"c2"`, not: "c1", dropped: "input[1] input[2] input[4]"},
		{name: "left out for Bedrock", client: "responses", provider: "bedrock", drop: true, body: ownItems, want: `"toolUseId":"c2"`, not: "c1", dropped: "input[1] input[2] input[4]"},

		{name: "wishes", client: "chat", provider: "anthropic", body: `{` + ask + `,"verbosity":"low","usage":{"include":true},"transforms":["middle-out"]}`, dropped: "verbosity usage transforms"},
		{name: "wishes in the Responses API", client: "responses", provider: "vllm", body: `{"input":"a","text":{"verbosity":"low"},"truncation":"auto","client_metadata":{"x":"y"}}`, dropped: "text.verbosity truncation client_metadata"},
		{name: "a tool that was found", client: "messages", provider: "openai", body: found, want: `"content":"Tool available: Foo"`},
		{name: "a tool that was found, for Bedrock", client: "messages", provider: "bedrock", body: found, want: `"content":[{"text":"Tool available: Foo"}]`},

		{name: "functions in namespaces", client: "responses", provider: "anthropic", body: spaces, want: `"tools":[{"name":"mcp__files__read","input_schema"`, dropped: "tools[0].description"},
		{name: "a call of one", client: "responses", provider: "openai", body: spaces, want: `"function":{"name":"mcp__files__read","arguments":"{}"}`, dropped: "tools[0].description"},
		{name: "a choice of one", client: "responses", provider: "bedrock", body: spaces, want: `"toolChoice":{"tool":{"name":"mcp__files__read"}}`, dropped: "tools[0].description"},
		{name: "other tools in namespaces", client: "responses", provider: "openai", body: `{"input":"a","tools":[{"type":"namespace","name":"n","tools":[{"type":"custom","name":"x"}]}]}`, want: "400 tools[0].tools[0]"},

		{name: "base64 with a line break at its end", client: "messages", provider: "openai", body: `{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo=\n"}}]}]}`, want: `base64,iVBORw0KGgo="`},
		{name: "text as base64", client: "messages", provider: "vllm", body: `{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"base64","media_type":"text/plain","data":"aGVsbG8="}}]}]}`, want: `"hello"`},
		{name: "text as a file", client: "responses", provider: "vllm", body: `{"input":[{"role":"user","content":[{"type":"input_file","filename":"a.txt","file_data":"data:text/plain;base64,aGVsbG8="}]}]}`, want: `hello`},
		{name: "CSV as a file", client: "responses", provider: "vllm", body: `{"input":[{"role":"user","content":[{"type":"input_file","filename":"a.csv","file_data":"data:text/csv;base64,aGVsbG8="}]}]}`, want: `hello`},
		{name: "a picture as a file", client: "responses", provider: "anthropic", body: `{"input":[{"role":"user","content":[{"type":"input_file","filename":"a.png","file_data":"data:image/png;base64,iVBORw0KGgo="}]}]}`, want: `"type":"image"`},
		{name: "a PDF without a name", client: "chat", provider: "anthropic", body: `{"messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"JVBERi0xLjQK"}}]}]}`, want: `"media_type":"application/pdf"`},

		{name: "a prefilled answer", client: "messages", provider: "openai", drop: true, body: prefill, not: "BEGUN", dropped: "messages[1]"},
		{name: "which vLLM goes on with", client: "messages", provider: "vllm", body: prefill, want: `"continue_final_message":true`},

		{name: "the path of detail", client: "chat", provider: "anthropic", body: `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://a.b/c.png","detail":"low"}}]}]}`, dropped: "messages[0].content[0].image_url.detail"},
		{name: "the path of one stop", client: "chat", provider: "anthropic", body: `{` + ask + `,"stop":" "}`, want: "400 stop"},
		{name: "the path of the second", client: "chat", provider: "bedrock", body: `{` + ask + `,"stop":["","\n"]}`, want: "400 stop[1]"},
		{name: "the path of the user", client: "chat", provider: "anthropic", body: `{` + ask + `,"safety_identifier":"` + strings.Repeat("u", 300) + `"}`, dropped: "safety_identifier"},

		{name: "a schema that is kept to", client: "messages", provider: "openai", body: `{"max_tokens":9,` + ask + `,"output_config":{"format":{"type":"json_schema","schema":` + closed + `}}}`, want: `"strict":true`},
		{name: "one that OpenAI would refuse", client: "messages", provider: "openai", body: `{"max_tokens":9,` + ask + `,"output_config":{"format":{"type":"json_schema","schema":` + open + `}}}`, not: `"strict"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := Translation{Provider: c.provider, Model: c.model, Drop: c.drop}
			for _, p := range providers {
				if p.kind == c.provider || p.kind == "openai" && c.provider == "azure" {
					tr.To = p.to
					if tr.Model == "" {
						tr.Model = p.model
					}
				}
			}
			from := map[string]wire.Kind{"chat": wire.Chat, "messages": wire.Message, "responses": wire.Response}[c.client]
			out, err := translate(&tr, from, []byte(c.body))
			got := string(out)
			if err != nil {
				got, _, _ = strings.Cut(string(refusal(t, err)), ":")
			}
			if strings.HasPrefix(c.want, "400 ") {
				if got != c.want {
					t.Fatalf("%s, expected %s", got, c.want)
				}
				return
			}
			if !strings.Contains(got, c.want) || c.not != "" && strings.Contains(got, c.not) || err != nil {
				t.Errorf("%s\nexpected with %q, without %q (%v)", got, c.want, c.not, err)
			}
			if dropped := tr.Dropped(); !slices.Equal(dropped, strings.Fields(c.dropped)) {
				t.Errorf("dropped: %q, expected %q", dropped, c.dropped)
			}
		})
	}
}
