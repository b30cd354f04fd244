package fakellm

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

const anthropicVersion = "anthropic-version: 2023-06-01"

func messages(t testing.TB, s *Server, body string, header ...string) reply {
	t.Helper()
	return post(t, s, "/v1/messages?beta=true", body, append([]string{anthropicVersion}, header...)...)
}

func messageBody(model, more string) string {
	return `{"model":"` + model + `","max_tokens":2000,"messages":[{"role":"user","content":"hello there"}]` + more + `}`
}

func TestAnthropicMessage(t *testing.T) {
	s := start(t, Options{Kind: Anthropic, APIKey: "sk-ant", Default: Plan{Cached: 2, Written: 1}})
	got := messages(t, s, messageBody("fake?tokens=3", ""), "x-api-key: sk-ant")
	want(t, "status", got.status, 200)
	want(t, "words", len(strings.Fields(got.get("content.0.text").Str)), 3)
	want(t, "kind", got.get("type").Str+got.get("role").Str+got.get("content.0.type").Str, "messageassistanttext")
	want(t, "stop", got.get("stop_reason").Str, "end_turn")
	want(t, "stop sequence", got.get("stop_sequence").Raw, "null")
	want(t, "usage", got.get("usage").Raw, `{"input_tokens":3,"cache_creation_input_tokens":1,"cache_read_input_tokens":2,"cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":0},"output_tokens":3,"service_tier":"standard","inference_geo":"not_available"}`)
	want(t, "limit", got.header.Get("anthropic-ratelimit-tokens-remaining"), "59000")
	want(t, "id", strings.HasPrefix(got.header.Get("request-id"), "req_"), true)
	want(t, "billed", s.WaitDone(1, patience)[0].Billed, Usage{Prompt: 6, Completion: 3, Cached: 2, Total: 9})

	for header, message := range map[string]string{"x-api-key: other": "invalid x-api-key", "authorization: Bearer sk-ant": "x-api-key header is required"} {
		got := messages(t, s, messageBody("fake", ""), header)
		want(t, header, got.status, 401)
		want(t, header, got.get("error.message").Str, message)
		want(t, "type", got.get("error.type").Str, "authentication_error")
		want(t, "request id", got.get("request_id").Str, got.header.Get("request-id"))
	}
	got = post(t, s, "/v1/messages", messageBody("fake", ""), "x-api-key: sk-ant")
	want(t, "no version", got.get("error.message").Str, "anthropic-version: header is required")
}

func TestAnthropicStream(t *testing.T) {
	s := start(t, Options{Kind: Anthropic, Default: Plan{Thinking: "so so", Text: "one two", Tools: []Call{{ID: "toolu_1", Name: "f", Input: `{"a":1}`}}, Cached: 2}})
	got := messages(t, s, messageBody("fake", `,"stream":true`))
	want(t, "type", got.header.Get("content-type"), sseType)
	var kinds []string
	for ev := range strings.SplitSeq(strings.TrimSpace(got.body), "\n\n") {
		name, data, _ := strings.Cut(ev, "\ndata: ")
		kind := gjson.Get(data, "type").Str
		want(t, "name", name, "event: "+kind)
		if d := gjson.Get(data, "delta.type").Str; d != "" {
			kind = d
		}
		kinds = append(kinds, kind)
	}
	want(t, "events", strings.Join(kinds, " "), "message_start content_block_start ping thinking_delta thinking_delta signature_delta content_block_stop"+
		" content_block_start text_delta text_delta content_block_stop content_block_start input_json_delta input_json_delta content_block_stop message_delta message_stop")
	events := got.events()
	want(t, "signature", gjson.Get(events[5], "delta.signature").Str, signed("so so"))
	want(t, "call", gjson.Get(events[11], "content_block").Raw, `{"type":"tool_use","id":"toolu_1","name":"f","input":{}}`)
	want(t, "first usage", gjson.Get(events[0], "message.usage.output_tokens").Int(), 1)
	want(t, "usage", gjson.Get(events[15], "usage").Raw, `{"input_tokens":4,"cache_creation_input_tokens":0,"cache_read_input_tokens":2,"output_tokens":7,"output_tokens_details":{"thinking_tokens":2}}`)
	want(t, "stop", gjson.Get(events[15], "delta.stop_reason").Str, "tool_use")
	want(t, "billed", s.WaitDone(1, patience)[0].Billed, Usage{Prompt: 6, Completion: 7, Cached: 2, Reasoning: 2, Total: 13})

	whole := messages(t, s, messageBody("fake", ""))
	want(t, "blocks", whole.get("content.#.type").Raw, `["thinking","text","tool_use"]`)
	want(t, "input", whole.get("content.2.input").Raw, `{"a":1}`)
	want(t, "whole usage", whole.get("usage.output_tokens").Int(), 7)
	want(t, "same id", whole.get("id").Str != gjson.Get(events[0], "message.id").Str, true)
}

func TestAnthropicTools(t *testing.T) {
	s := start(t, Options{Kind: Anthropic})
	tools := `,"tools":[{"name":"a","input_schema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}},{"name":"b","input_schema":{"type":"object"}}]`
	for choice, names := range map[string]string{
		`{"type":"any"}`: `["a","b"]`, `{"type":"any","disable_parallel_tool_use":true}`: `["a"]`, `{"type":"tool","name":"b"}`: `["b"]`,
		`{"type":"auto"}`: `[null]`, `{"type":"none"}`: `[null]`,
	} {
		got := messages(t, s, messageBody("fake", tools+`,"tool_choice":`+choice))
		calls := got.get("content.#.name").Raw
		if calls == "[]" {
			calls = "[null]"
		}
		want(t, choice, calls, names)
	}
	got := messages(t, s, messageBody("fake", tools+`,"tool_choice":{"type":"tool","name":"a"}`))
	want(t, "input", got.get("content.0.input").Raw, `{"n":1}`)
	want(t, "stop", got.get("stop_reason").Str, "tool_use")
	got = messages(t, s, messageBody("fake?text=one%20END%20two", `,"stop_sequences":["END"]`))
	want(t, "stop sequence", got.get("stop_reason").Str+got.get("stop_sequence").Str+got.get("content.0.text").Str, "stop_sequenceENDone ")
	got = messages(t, s, strings.Replace(messageBody("fake", ""), "2000", "4", 1))
	want(t, "limit", got.get("stop_reason").Str, "max_tokens")
	got = messages(t, s, messageBody("fake", `,"output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"x":{"const":5}}}}}`))
	want(t, "format", got.get("content.0.text").Str, `{"x":5}`)
}

// TestAnthropicToolLoop goes round a loop with thoughts, as a good client does.
func TestAnthropicToolLoop(t *testing.T) {
	s := start(t, Options{Kind: Anthropic})
	more := `,"tools":[{"name":"f","input_schema":{"type":"object"}}],"thinking":{"type":"enabled","budget_tokens":1024}}`
	open := `{"model":"fake","max_tokens":2000,"messages":[{"role":"user","content":"call: f"}`
	first := messages(t, s, open+`]`+more)
	want(t, "first", first.get("content.#.type").Raw, `["thinking","tool_use"]`)
	result := `{"role":"user","content":[{"type":"tool_result","tool_use_id":"` + first.get("content.1.id").Str + `","content":"5"}]}`
	turn := func(content string) reply {
		return messages(t, s, open+`,{"role":"assistant","content":`+content+`},`+result+`]`+more)
	}
	want(t, "second", turn(first.get("content").Raw).get("stop_reason").Str, "end_turn")
	for content, message := range map[string]string{
		`[` + first.get("content.1").Raw + `]`:                                                           "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When",
		strings.Replace(first.get("content").Raw, `"sig_`, `"sig_x`, 1):                                  "messages.1.content.0: Invalid `signature` in `thinking` block",
		`[{"type":"thinking","thinking":"hm","signature":"jarvis-"},` + first.get("content.1").Raw + `]`: "messages.1.content.0: Invalid `signature` in `thinking` block",
	} {
		got := turn(content)
		if got.status != 400 || !strings.HasPrefix(got.get("error.message").Str, message) {
			t.Errorf("%s\ngot  %s\nwant %s", content, got.body, message)
		}
	}
}

// TestAnthropicOmittedThought: the newest models leave the text of thoughts out, but sign and bill them.
func TestAnthropicOmittedThought(t *testing.T) {
	s := start(t, Options{Kind: Anthropic})
	body := messageBody("claude-opus-5?thinking=so%20so&tokens=3", `,"thinking":{"type":"adaptive"}`)
	got := messages(t, s, body)
	want(t, "block", got.get("content.0").Raw, `{"type":"thinking","thinking":"","signature":"`+signed("")+`"}`)
	want(t, "billed", got.get("usage.output_tokens").Int(), 5)
	want(t, "shown", messages(t, s, strings.Replace(body, `"adaptive"`, `"adaptive","display":"summarized"`, 1)).get("content.0.thinking").Str, "so so")
	events := messages(t, s, strings.TrimSuffix(body, "}")+`,"stream":true}`).events()
	want(t, "signature", gjson.Get(events[3], "delta.type").Str, "signature_delta")
	want(t, "streamed", gjson.Get(events[len(events)-2], "usage.output_tokens").Int(), 5)
	back := `{"model":"claude-opus-5","max_tokens":9,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":` + got.get("content").Raw + `},{"role":"user","content":"y"}]}`
	want(t, "said back", messages(t, s, back).status, 200)
}

func TestAnthropicStrict(t *testing.T) {
	s := start(t, Options{Kind: Anthropic})
	user, tool := `{"role":"user","content":"x"}`, `{"name":"f","input_schema":{"type":"object"}}`
	said := func(all string) string { return `{"model":"fake","max_tokens":10,"messages":[` + all + `]}` }
	with := func(more string) string {
		return `{"model":"fake","max_tokens":2000,"messages":[` + user + `],` + more + `}`
	}
	call := `{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f","input":{}},{"type":"tool_use","id":"t2","name":"f","input":{}}]}`
	result := func(id string) string { return `{"type":"tool_result","tool_use_id":"` + id + `"}` }
	marker := `,"cache_control":{"type":"ephemeral"}}`
	for _, c := range []struct{ body, message string }{
		{`{`, "The request body is not valid JSON"},
		{`{"model":"fake","messages":[` + user + `]}`, "max_tokens: Field required"},
		{`{"model":"fake","max_tokens":0,"messages":[` + user + `]}`, "max_tokens: Input should be greater than or equal to 1"},
		{`{"model":"fake","max_tokens":"9","messages":[` + user + `]}`, "max_tokens: Input should be a valid integer"},
		{`{"max_tokens":1,"messages":[` + user + `]}`, "model: Field required"},
		{said(``), "messages: at least one message is required"},
		{said(`{"role":"assistant","content":"x"}`), "messages: first message must use the \"user\" role"},
		{said(`{"role":"system","content":"x"},` + user), "messages: Unexpected role \"system\""},
		{said(`{"role":"robot","content":"x"}`), "messages.0.role: Input should be 'user' or 'assistant'"},
		{said(`{"role":"user","content":"x","name":"bob"}`), "messages.0.name: Extra inputs are not permitted"},
		{said(`{"role":"user","content":""}`), "messages.0: all messages must have non-empty content"},
		{said(`{"role":"user","content":[{"type":"text","text":""}]}`), "messages: text content blocks must be non-empty"},
		{said(`{"role":"user","content":[{"type":"text","text":" \n"}]}`), "messages: text content blocks must contain non-whitespace text"},
		{said(`{"role":"user","content":[{"type":"smell"}]}`), "messages.0.content.0: Input tag 'smell' found using 'type'"},
		{said(`{"role":"user","content":[{"type":"text","text":"x","colour":1}]}`), "messages.0.content.0.text.colour: Extra inputs"},
		{said(`{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/bmp","data":"eA=="}}]}`), "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"},
		{said(`{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"%%"}}]}`), "messages.0.content.0.image.source.base64: invalid base64 data"},
		{said(user + `,{"role":"assistant","content":"so "}`), "messages: final assistant content cannot end with trailing whitespace"},
		{said(user + `,` + call), "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t1, t2."},
		{said(user + `,` + call + `,{"role":"user","content":[` + result("t1") + `]}`), "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t2."},
		{said(user + `,` + call + `,{"role":"user","content":[{"type":"text","text":"x"},` + result("t1") + `,` + result("t2") + `]}`), "messages.1: `tool_use` ids were found without"},
		{said(user + `,` + call + `,{"role":"user","content":[` + result("t1") + `,` + result("t2") + `,` + result("t3") + `]}`), "messages.2.content.2: unexpected `tool_use_id` found in `tool_result` blocks: t3."},
		{said(`{"role":"user","content":[` + result("t1") + `]}`), "messages.0.content.0: unexpected `tool_use_id`"},
		{said(user + `,{"role":"assistant","content":[{"type":"tool_use","id":"a.b","name":"f","input":{}}]}`), "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"},
		{said(user + `,{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":"{}"}]}`), "messages.1.content.0.tool_use.input: Input should be an object"},
		{with(`"xyz":1`), "xyz: Extra inputs are not permitted"},
		{with(`"n":1`), "n: Extra inputs are not permitted"},
		{with(`"output_format":{"type":"json_schema","schema":{}}`), "output_format: Extra inputs are not permitted"},
		{with(`"temperature":1.5`), "temperature: range: 0..1"},
		{with(`"top_p":-1`), "top_p: range: 0..1"},
		{with(`"stop_sequences":[" "]`), "stop_sequences: each stop sequence must contain non-whitespace"},
		{with(`"thinking":{"type":"enabled","budget_tokens":100}`), "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"},
		{with(`"thinking":{"type":"enabled","budget_tokens":2000}`), "`max_tokens` must be greater than `thinking.budget_tokens`."},
		{with(`"thinking":{"type":"enabled","budget_tokens":1024},"temperature":0.5`), "`temperature` may only be set to 1 when thinking is enabled"},
		{with(`"thinking":{"type":"enabled","budget_tokens":1024},"top_k":5`), "`top_k` must be unset when thinking is enabled."},
		{with(`"thinking":{"type":"enabled","budget_tokens":1024},"tools":[` + tool + `],"tool_choice":{"type":"any"}`), "Thinking may not be enabled when tool_choice forces tool use."},
		{with(`"tools":[{"name":"a b","input_schema":{"type":"object"}}]`), "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"},
		{with(`"tools":[{"name":"a"}]`), "tools.0.custom.input_schema: Field required"},
		{with(`"tools":[{"name":"a","input_schema":{"type":"string"}}]`), "tools.0.custom.input_schema.type: Input should be 'object'"},
		{with(`"tools":[{"type":"function","function":{}}]`), "tools.0: Input tag 'function' found using 'type'"},
		{with(`"tools":[` + tool + `,` + tool + `]`), "tools: Tool names must be unique."},
		{with(`"tools":[` + tool + `],"tool_choice":{"type":"tool","name":"g"}`), "Tool 'g' not found in provided tools"},
		{with(`"tool_choice":{"type":"auto"}`), "tool_choice may only be specified while providing tools."},
		{with(`"tools":[` + tool + `],"tool_choice":"auto"`), "tool_choice: Input should be an object"},
		{with(`"output_config":{"format":{"type":"json_object"}}`), "output_config.format: Input tag 'json_object'"},
		{with(`"metadata":{"user":"x"}`), "metadata.user: Extra inputs"},
		{with(`"system":[` + strings.Repeat(`{"type":"text","text":"x"`+marker+`,`, 5) + `{"type":"text","text":"x"}]`), "A maximum of 4 blocks with cache_control may be provided. Found 5."},
		{with(`"system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"2h"}}]`), "system.0.text.cache_control.ephemeral.ttl: Input should be '5m' or '1h'"},
		{strings.Replace(with(`"temperature":1,"top_p":0.5`), "fake", "claude-sonnet-4-5-20250929", 1), "`temperature` and `top_p` cannot both be specified for this model."},
		{strings.Replace(with(`"temperature":0.5`), "fake", "claude-opus-4-7", 1), "`temperature` is deprecated for this model."},
		{strings.Replace(with(`"thinking":{"type":"enabled","budget_tokens":1024}`), "fake", "claude-opus-5", 1), `"thinking.type.enabled" is not supported for this model.`},
		{strings.Replace(said(user+`,{"role":"assistant","content":"so"}`), "fake", "claude-sonnet-4-6", 1), "This model does not support assistant message prefill."},
	} {
		got := messages(t, s, c.body)
		if got.status != 400 || got.get("error.type").Str != "invalid_request_error" || !strings.HasPrefix(got.get("error.message").Str, c.message) {
			t.Errorf("%s\ngot  %d %s\nwant %s", c.body, got.status, got.body, c.message)
		}
	}
	want(t, "merged", messages(t, s, said(user+`,`+user+`,{"role":"assistant","content":"a"},{"role":"assistant","content":"b"}`)).status, 200)
	want(t, "repeated results", messages(t, s, said(user+`,`+call+`,{"role":"user","content":[`+result("t2")+`]},{"role":"user","content":[`+result("t1")+`,{"type":"text","text":"so?"}]}`)).status, 200)
	want(t, "both", messages(t, s, strings.Replace(with(`"temperature":1,"top_p":0.5`), "fake", "claude-3-5-haiku-20241022", 1)).status, 200)
	want(t, "unknown model", messages(t, s, messageBody("unknown-x", "")).get("error").Raw, `{"type":"not_found_error","message":"model: unknown-x"}`)
	want(t, "beta", messages(t, s, with(`"output_format":{"type":"json_schema","schema":{}}`), "anthropic-beta: structured-outputs-2025-11-13").status, 200)
	s.Reset()
	messages(t, s, said(`{"role":"user","role":"user","content":"x"}`))
	want(t, "repeated", strings.Join(s.WaitDone(1, patience)[0].Violations, ""), `repeated key "role" in messages.0`)
}

func TestAnthropicErrors(t *testing.T) {
	s := start(t, Options{Kind: Anthropic})
	for status, kind := range map[string]string{"401": "authentication_error", "403": "permission_error", "404": "not_found_error",
		"413": "request_too_large", "429": "rate_limit_error", "500": "api_error", "529": "overloaded_error"} {
		got := messages(t, s, messageBody("fake?retry_after=3&status="+status, ""))
		want(t, status, got.get("error.type").Str, kind)
		want(t, status, string(appendInt(nil, got.status)), status)
		want(t, "retry-after", got.header.Get("retry-after"), "3")
	}
	want(t, "path", do(t, s, "POST", "/v1/complete", "{}").get("error.type").Str, "not_found_error")
	want(t, "method", do(t, s, "GET", "/v1/messages", "").status, 405)
}

func TestAnthropicFaults(t *testing.T) {
	s := start(t, Options{Kind: Anthropic})
	stream := func(fault string) reply { return messages(t, s, messageBody("fake?fault="+fault, `,"stream":true`)) }
	for fault, c := range map[string]struct{ first, last string }{
		"error-first&fault_as=529": {`"overloaded_error"`, `"overloaded_error"`},
		"error-mid":                {"message_start", `"api_error"`},
		"no-done":                  {"message_start", "message_delta"},
		"garbage-events":           {"<html>", "message_stop"},
	} {
		got := stream(fault)
		all := got.events()
		if got.err != nil || got.status != 200 || !strings.Contains(all[0], c.first) || !strings.Contains(all[len(all)-1], c.last) {
			t.Errorf("%s: %v\n%s", fault, got.err, got.body)
		}
	}
	want(t, "named", strings.HasPrefix(stream("error-first").body, "event: error\ndata: {\"type\":\"error\""), true)
	got := stream("cut")
	want(t, "cut", got.err, io.ErrUnexpectedEOF)
	want(t, "within an event", strings.HasSuffix(got.body, "\n\n"), false)
	want(t, "429", stream("429&retry_after=2").header.Get("retry-after"), "2")
	want(t, "no stream", messages(t, s, messageBody("fake?fault=error-mid", "")).status, 500)
}

func TestAnthropicOtherEndpoints(t *testing.T) {
	s := start(t, Options{Kind: Anthropic, Models: []string{"a", "b", "c"}})
	count := post(t, s, "/v1/messages/count_tokens", `{"model":"a","messages":[{"role":"user","content":"hello there"}],"system":"12345678"}`, anthropicVersion)
	want(t, "count", count.body, `{"input_tokens":11}`)
	want(t, "count is strict", post(t, s, "/v1/messages/count_tokens", messageBody("a", ""), anthropicVersion).get("error.message").Str, "max_tokens: Extra inputs are not permitted")
	list := do(t, s, "GET", "/v1/models?limit=1&after_id=a", "", anthropicVersion)
	want(t, "list", list.get("data.#.id").Raw+list.get("has_more").Raw+list.get("first_id").Raw+list.get("last_id").Raw, `["b"]true"b""b"`)
	want(t, "one", do(t, s, "GET", "/v1/models/c", "", anthropicVersion).get("type").Str, "model")
	want(t, "none", do(t, s, "GET", "/v1/models/d", "", anthropicVersion).status, 404)
}

// TestPlannedToolsEverywhere calls the same tools in every dialect.
func TestPlannedToolsEverywhere(t *testing.T) {
	p := Plan{Text: "look", Thinking: "hm", Tools: []Call{{ID: "c1", Name: "f", Input: `{"a":[1]}`}, {Name: "g"}}}
	for _, c := range []struct {
		kind                               Kind
		path, body, text, name, input, id1 string
	}{
		{OpenAI, "/v1/chat/completions", chatBody("fake", ""), "choices.0.message.content", "choices.0.message.tool_calls.1.function.name", "choices.0.message.tool_calls.0.function.arguments", "choices.0.message.tool_calls.0.id"},
		{OpenAI, "/v1/responses", `{"model":"fake","input":"x"}`, "output.0.content.0.text", "output.2.name", "output.1.arguments", "output.1.call_id"},
		{Anthropic, "/v1/messages", messageBody("fake", ""), "content.1.text", "content.3.name", "content.2.input", "content.2.id"},
		{Bedrock, "/model/fake/converse", converseBody(""), "output.message.content.1.text", "output.message.content.3.toolUse.name", "output.message.content.2.toolUse.input", "output.message.content.2.toolUse.toolUseId"},
	} {
		s := start(t, Options{Kind: c.kind, Default: p})
		got := post(t, s, c.path, c.body, anthropicVersion)
		want(t, c.path+" text", got.get(c.text).Str, "look")
		want(t, c.path+" name", got.get(c.name).Str, "g")
		want(t, c.path+" input", got.get(c.input).String(), `{"a":[1]}`)
		want(t, c.path+" id", got.get(c.id1).Str, "c1")
	}
	vllm := start(t, Options{Kind: VLLM, Default: p})
	got := post(t, vllm, "/v1/chat/completions", chatBody("fake", ""))
	want(t, "thought", got.get("choices.0.message.reasoning_content").Str, "hm")
	var text, input strings.Builder
	for _, ev := range post(t, vllm, "/v1/chat/completions", streaming("fake")).events() {
		text.WriteString(gjson.Get(ev, "choices.0.delta.content").Str)
		input.WriteString(gjson.Get(ev, "choices.0.delta.tool_calls.0.function.arguments").Str)
	}
	want(t, "streamed text", text.String(), "look")
	want(t, "streamed input", input.String(), `{"a":[1]}{}`)
}

// TestReplayClaude plays the recordings of Anthropic and Bedrock, whole, event by event and byte by byte.
func TestReplayClaude(t *testing.T) {
	for kind, c := range map[Kind]struct{ folder, path, body string }{
		Anthropic: {"anthropic", "/v1/messages", messageBody("x", "")},
		Bedrock:   {"amazon-bedrock", "/model/x/converse-stream", converseBody("")},
	} {
		s := start(t, Options{Kind: kind})
		for _, ex := range load(t, "provider-fixtures/"+c.folder, LoadFixtures) {
			for _, slow := range []bool{false, true} {
				if slow && len(ex.Body) > 10_000 {
					continue
				}
				s.Reset()
				p := Replay(ex)
				p.ByteAtATime = slow
				s.SetPlan(func(*Seen) Plan { return p })
				got := post(t, s, c.path, c.body, anthropicVersion)
				want(t, ex.Name+" error", got.err, nil)
				want(t, ex.Name+" body", got.body == string(ex.Body), true)
				want(t, ex.Name+" type", got.header.Get("content-type"), ex.ContentType)
				seen := s.WaitDone(1, patience)[0]
				want(t, ex.Name+" billed", seen.Billed, ex.Usage)
				if ex.Stream && !slow {
					want(t, ex.Name+" events", seen.Events, len(ex.Payloads))
				}
			}
		}
	}
}

func TestFirstOfSeveralStreams(t *testing.T) {
	for _, ex := range load(t, "provider-fixtures/anthropic", LoadFixtures) {
		if !ex.Stream {
			continue
		}
		want(t, ex.Name, bytes.Count(ex.Body, []byte("event: message_stop\n")), 1)
		want(t, ex.Name, bytes.HasSuffix(ex.Body, []byte("data: {\"type\":\"message_stop\"}\n\n")), true)
	}
	want(t, "no JSON", string(firstStream([]byte("data: x\n{}{} y\n"))[1]), "{}{} y")
	want(t, "values on one line", len(firstStream([]byte(`{"type":"a"}{"type":"message_stop"}{"type":"a"}`))), 2)
}
