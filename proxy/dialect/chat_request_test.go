package dialect

import (
	"errors"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// TestChatMalformed has requests that no provider could be sent: each is a 400 that names the place and what belongs there.
func TestChatMalformed(t *testing.T) {
	ask := func(rest string) string {
		return `{"model":"m","messages":[{"role":"user","content":"x"}],` + rest + `}`
	}
	says := func(messages string) string { return `{"model":"m","messages":` + messages + `}` }
	asks := func(part string) string {
		return says(`[{"role":"user","content":"x"},{"role":"user","content":[{"type":"text","text":"y"},` + part + `]}]`)
	}
	answers := func(rest string) string {
		return says(`[{"role":"user","content":"x"},{"role":"assistant",` + rest + `}]`)
	}
	for _, c := range []struct{ body, param, message string }{
		{`{"model":"m"}`, "messages", "messages is missing: it must be a list."},
		{says(`"hello"`), "messages", `messages must be a list, not "hello".`},
		{says(`[]`), "messages", "messages must have at least one message."},
		{says(`["x"]`), "messages[0]", `messages[0] must be an object, not "x".`},
		{says(`[{"content":"x"}]`), "messages[0].role", "messages[0].role is missing: it must be system, developer, user, assistant, tool or function."},
		{says(`[{"role":"human","content":"x"}]`), "messages[0].role", `messages[0].role must be system, developer, user, assistant, tool or function, not "human".`},
		{says(`[{"role":"user"}]`), "messages[0].content", "messages[0].content is missing: it must be a string or a list of parts."},
		{says(`[{"role":"user","content":null}]`), "messages[0].content", "messages[0].content must be a string or a list of parts, not null."},
		{says(`[{"role":"user","content":{"type":"text"}}]`), "messages[0].content", "messages[0].content must be a string or a list of parts, not an object."},
		{says(`[{"role":"user","name":1,"content":"x"}]`), "messages[0].name", "messages[0].name must be a string, not 1."},
		{asks(`{"text":"x"}`), "messages[1].content[1].type", "messages[1].content[1].type is missing: it must be a string."},
		{asks(`{"type":"text","text":1}`), "messages[1].content[1].text", "messages[1].content[1].text must be a string, not 1."},
		{asks(`{"type":"image_url"}`), "messages[1].content[1].image_url", "messages[1].content[1].image_url is missing: it must be an object."},
		{asks(`{"type":"image_url","image_url":{"url":"cat.png"}}`), "messages[1].content[1].image_url.url", `messages[1].content[1].image_url.url must be an http or https URL, or a data URL such as data:image/png;base64,..., not "cat.png".`},
		{asks(`{"type":"image_url","image_url":{"url":"data:image/png;base64,***"}}`), "messages[1].content[1].image_url.url", "not \"data:image/png;base64,***\""},
		{asks(`{"type":"image_url","image_url":{"url":"data:text/html;base64,AAAA"}}`), "messages[1].content[1].image_url.url", "data:image/png"},
		{asks(`{"type":"input_audio","input_audio":{"data":"!","format":"wav"}}`), "messages[1].content[1].input_audio.data", "must be base64"},
		{asks(`{"type":"input_audio","input_audio":{"data":"AAAA","format":"tape"}}`), "messages[1].content[1].input_audio.format", `must be wav or mp3, not "tape"`},
		{asks(`{"type":"file","file":{}}`), "messages[1].content[1].file.file_data", "file_data is missing"},
		{asks(`{"type":"file","file":{"file_data":"not base64"}}`), "messages[1].content[1].file.file_data", "must be a data URL"},
		{asks(`{"type":"file","file":{"filename":"a.txt","file_data":"A"}}`), "messages[1].content[1].file.file_data", "must be base64"},
		{answers(`"tool_calls":{}`), "messages[1].tool_calls", "must be a list, not an object"},
		{answers(`"tool_calls":[{"type":"function","function":{"name":"f","arguments":"{}"}}]`), "messages[1].tool_calls[0].id", "id is missing"},
		{answers(`"tool_calls":[{"id":"c","function":{"arguments":"{}"}}]`), "messages[1].tool_calls[0].function.name", "name is missing"},
		{answers(`"tool_calls":[{"id":"c","function":{"name":"f","arguments":{"a":1}}}]`), "messages[1].tool_calls[0].function.arguments", "must be a string, not an object"},
		{answers(`"name":"a"`), "messages[1].content", "is missing"},
		{answers(`"content":"x","reasoning_details":{}`), "messages[1].reasoning_details", "must be a list"},
		{answers(`"content":"x","thinking_blocks":[{"type":"idea"}]`), "messages[1].thinking_blocks[0].type", `must be thinking or redacted_thinking, not "idea"`},
		{says(`[{"role":"tool","content":"x"}]`), "messages[0].tool_call_id", "tool_call_id is missing"},
		{says(`[{"role":"tool","tool_call_id":"c"}]`), "messages[0].content", "content is missing"},
		{says(`[{"role":"function","name":"f","content":"x"}]`), "messages[0]", "no message before it has a function_call"},
		{ask(`"tools":{}`), "tools", "tools must be a list, not an object."},
		{ask(`"tools":[1]`), "tools[0]", "tools[0] must be an object, not 1."},
		{ask(`"tools":[{"name":"f"}]`), "tools[0].type", "tools[0].type is missing: it must be a string."},
		{ask(`"tools":[{"type":"function"}]`), "tools[0].function", "tools[0].function is missing"},
		{ask(`"tools":[{"type":"function","function":{}}]`), "tools[0].function.name", "is missing"},
		{ask(`"tools":[{"type":"function","function":{"name":""}}]`), "tools[0].function.name", `must be a string that is not empty, not ""`},
		{ask(`"tools":[{"type":"function","function":{"name":"f","parameters":"{}"}}]`), "tools[0].function.parameters", "must be an object"},
		{ask(`"tools":[{"type":"function","function":{"name":"f","strict":1}}]`), "tools[0].function.strict", "must be true or false, not 1"},
		{ask(`"functions":[{"description":"d"}]`), "functions[0].name", "is missing"},
		{ask(`"tool_choice":"always"`), "tool_choice", `must be none, auto or required, not "always"`},
		{ask(`"tool_choice":true`), "tool_choice", "none, auto, required, or an object"},
		{ask(`"tool_choice":{"type":"tool"}`), "tool_choice.type", `must be function, allowed_tools or custom, not "tool"`},
		{ask(`"tool_choice":{"type":"function"}`), "tool_choice.function.name", "is missing"},
		{ask(`"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"none","tools":[]}}`), "tool_choice.allowed_tools.mode", `must be auto or required, not "none"`},
		{ask(`"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"function":{"name":"f"}}]}}`), "tool_choice.allowed_tools.tools[0]", `names "f", which is not among the tools`},
		{ask(`"function_call":{}`), "function_call.name", "is missing"},
		{ask(`"parallel_tool_calls":"no"`), "parallel_tool_calls", "must be true or false"},
		{ask(`"max_tokens":0`), "max_tokens", "max_tokens must be a whole number of at least 1, not 0."},
		{ask(`"max_tokens":1.5`), "max_tokens", "not 1.5"},
		{ask(`"max_completion_tokens":"10"`), "max_completion_tokens", `not "10"`},
		{ask(`"temperature":2.1`), "temperature", "temperature must be a number from 0 to 2, not 2.1."},
		{ask(`"top_p":-1`), "top_p", "must be a number from 0 to 1"},
		{ask(`"top_k":"a"`), "top_k", "must be a whole number"},
		{ask(`"stop":1`), "stop", "must be a string, not 1"},
		{ask(`"stop":["a",1]`), "stop[1]", "must be a string, not 1"},
		{ask(`"stream":"yes"`), "stream", "must be true or false"},
		{ask(`"stream_options":true`), "stream_options", "must be an object"},
		{ask(`"stream_options":{"include_usage":1}`), "stream_options.include_usage", "must be true or false, not 1"},
		{ask(`"response_format":"json"`), "response_format", "must be an object"},
		{ask(`"response_format":{"type":"xml"}`), "response_format.type", `must be text, json_object or json_schema, not "xml"`},
		{ask(`"response_format":{"type":"json_schema"}`), "response_format.json_schema", "is missing"},
		{ask(`"response_format":{"type":"json_schema","json_schema":{"schema":{}}}`), "response_format.json_schema.name", "is missing"},
		{ask(`"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":[]}}`), "response_format.json_schema.schema", "must be an object, not a list"},
		{ask(`"reasoning_effort":"huge"`), "reasoning_effort", "none, minimal, low, medium, high, xhigh, max"},
		{ask(`"reasoning":"low"`), "reasoning", "must be an object"},
		{ask(`"reasoning":{"effort":1}`), "reasoning.effort", "must be one of"},
		{ask(`"reasoning":{"max_tokens":-1}`), "reasoning.max_tokens", "at least 0"},
		{ask(`"reasoning":{"enabled":"yes"}`), "reasoning.enabled", "must be true or false"},
		{ask(`"thinking":{"type":"on"}`), "thinking.type", `must be enabled, disabled or adaptive, not "on"`},
		{ask(`"thinking":{"type":"enabled","budget_tokens":"9"}`), "thinking.budget_tokens", "whole number"},
		{ask(`"user":1`), "user", "must be a string"},
		{ask(`"service_tier":1`), "service_tier", "must be a string"},
		{`{"model":1,"messages":[]}`, "model", "must be a string"},
	} {
		_, err := readChat([]byte(c.body))
		var e *wire.Error
		if !errors.As(err, &e) || e.Status != 400 || e.Param != c.param || !strings.Contains(e.Message, c.message) {
			t.Errorf("%s:\n%v\nexpected %s: %s", c.body, err, c.param, c.message)
		}
	}
}

// FuzzReadChat reads anything and writes what it understood for each provider.
func FuzzReadChat(f *testing.F) {
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]}]}`))
	f.Add([]byte(`{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":"x"}]}`))
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"image_uml","image_url":{"url":"data:irage/png;base64,AA=="}}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := wire.Parse(body); err != nil {
			return
		}
		r, err := readChat(body)
		var e *wire.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("not a *wire.Error: %v", err)
		}
		if err != nil {
			return
		}
		for _, kind := range []string{"openai", "vllm"} {
			tr := &Translation{Request: r, To: Chat, Provider: kind, Model: "gpt-5.2", Drop: true}
			out, err := tr.AppendRequest(nil)
			if errors.As(err, &e) && e.Code == "nothing_left" {
				continue
			}
			if err != nil {
				t.Fatalf("refused with drop: %v", err)
			}
			if !valid(out) {
				t.Fatalf("not JSON: %s", out)
			}
		}
	})
}
