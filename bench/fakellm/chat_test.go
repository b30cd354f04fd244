package fakellm

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

func TestChat(t *testing.T) {
	s := start(t, Options{})
	got := post(t, s, "/v1/chat/completions", chatBody("gpt-5-nano?tokens=5&reasoning=7&cached=2", ""))
	want(t, "model", got.get("model").Str, "gpt-5-nano")
	want(t, "words", len(strings.Fields(got.get("choices.0.message.content").Str)), 5)
	seen := s.WaitDone(1, patience)[0]
	want(t, "billed", seen.Billed, Usage{Prompt: 6, Completion: 12, Cached: 2, Reasoning: 7, Total: 18})
	want(t, "usage", got.get("usage.completion_tokens_details.reasoning_tokens").Int(), 7)
	want(t, "total", got.get("usage.total_tokens").Int(), 18)
	want(t, "finished", seen.Finished, true)
	want(t, "model in the log", seen.Model, "gpt-5-nano")
}

// TestStreamAddsUp checks that a stream says what the whole answer says, and costs the same.
func TestStreamAddsUp(t *testing.T) {
	for _, kind := range []Kind{OpenAI, VLLM} {
		for _, ask := range []string{chatBody("fake?tokens=9&reasoning=3", ""), chatBody("fake-echo", ""), chatBody("fake?size=300&tokens=7", `,"max_tokens":6`),
			toolBody("call: all", ""), chatBody("fake", `,"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":`+weather+`}}`)} {
			s := start(t, Options{Kind: kind})
			whole := post(t, s, "/v1/chat/completions", ask)
			streamed := post(t, s, "/v1/chat/completions", ask[:len(ask)-1]+`,"stream":true,"stream_options":{"include_usage":true}}`)
			text, args, finish := joined(streamed.events())
			want(t, "text", text, whole.get("choices.0.message.content").String())
			want(t, "arguments", args, strings.TrimPrefix(whole.get("choices.0.message.tool_calls.#.function.arguments").String(), "[]"))
			want(t, "finish", finish, whole.get("choices.0.finish_reason").Str)
			all := s.WaitDone(2, patience)
			want(t, "bill", all[1].Billed, all[0].Billed)
			events := streamed.events()
			want(t, "usage", gjson.Get(events[len(events)-2], "usage.completion_tokens").Int(), int64(all[1].Billed.Completion))
			want(t, "usage of the whole", whole.get("usage.completion_tokens").Int(), int64(all[0].Billed.Completion))
		}
	}
}

// joined puts the deltas of choice 0 together.
func joined(events []string) (text, args, finish string) {
	var calls []string
	for _, ev := range events {
		delta := gjson.Get(ev, "choices.0.delta")
		text += delta.Get("content").String()
		finish += gjson.Get(ev, "choices.0.finish_reason").Str
		for _, c := range delta.Get("tool_calls").Array() {
			i := int(c.Get("index").Int())
			if c.Get("id").Exists() {
				calls = append(calls, "")
			}
			calls[i] += c.Get("function.arguments").Str
		}
	}
	for i, c := range calls {
		if i > 0 {
			args += ","
		}
		args += string(quote(nil, c))
	}
	if calls != nil {
		args = "[" + args + "]"
	}
	return text, args, finish
}

func TestUsageOnlyWhenAsked(t *testing.T) {
	s := start(t, Options{})
	for more, c := range map[string][2]bool{"": {false, false}, `,"stream_options":{}`: {false, false}, `,"stream_options":{"include_usage":true}`: {true, true}} {
		events := post(t, s, "/v1/chat/completions", chatBody("fake", `,"stream":true`+more)).events()
		want(t, more+": null in others", gjson.Get(events[0], "usage").Exists(), c[0])
		want(t, more+": last", gjson.Get(events[len(events)-2], "usage.total_tokens").Exists(), c[1])
	}
	events := post(t, s, "/v1/chat/completions", chatBody("fake", `,"stream":true,"stream_options":{"include_obfuscation":false}`)).events()
	want(t, "padding", gjson.Get(events[0], "obfuscation").Exists(), false)
}

func TestTools(t *testing.T) {
	s := start(t, Options{})
	for _, c := range []struct{ ask, more, names string }{
		{"hi", "", ""},
		{"call: all", "", `["get_weather","get_time"]`},
		{"call: get_time", "", `["get_time"]`},
		{"call: all", `,"parallel_tool_calls":false`, `["get_weather"]`},
		{"call: all", `,"tool_choice":"none"`, ""},
		{"hi", `,"tool_choice":"required"`, `["get_weather","get_time"]`},
		{"hi", `,"tool_choice":{"type":"function","function":{"name":"get_time"}}`, `["get_time"]`},
	} {
		got := post(t, s, "/v1/chat/completions", toolBody(c.ask, c.more))
		want(t, c.ask+c.more, got.get("choices.0.message.tool_calls.#.function.name").String(), c.names)
	}
	got := post(t, s, "/v1/chat/completions", toolBody("call: get_weather", ""))
	want(t, "arguments", got.get("choices.0.message.tool_calls.0.function.arguments").Str, `{"city":"fake","days":2}`)
	want(t, "finish", got.get("choices.0.finish_reason").Str, "tool_calls")
	answered := `{"model":"fake","messages":[{"role":"user","content":"call: x"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"x","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":"5"}]}`
	want(t, "answered", post(t, s, "/v1/chat/completions", answered).status, 200)
}

func TestStrict(t *testing.T) {
	s := start(t, Options{})
	m := `"messages":[{"role":"user","content":"x"}]`
	for _, c := range []struct{ body, param, code, message string }{
		{`{`, "", "", "could not parse the JSON"},
		{`[]`, "", "", "could not parse the JSON"},
		{`{"model":"fake",` + m + `} x`, "", "", "could not parse the JSON"},
		{`{` + m + `}`, "", "", "you must provide a model"},
		{`{"model":"fake"}`, "messages", "missing_required_parameter", "'messages'"},
		{`{"model":"fake","messages":[]}`, "messages", "empty_array", "empty array"},
		{`{"model":"fake","messages":"x"}`, "messages", "invalid_type", "an array, but got a string"},
		{`{"model":7,` + m + `}`, "model", "invalid_type", "a string, but got an integer"},
		{`{"model":"fake","messages":["x"]}`, "messages[0]", "invalid_type", "an object, but got a string"},
		{`{"model":"fake","messages":[{"content":"x"}]}`, "messages[0].role", "missing_required_parameter", "role"},
		{`{"model":"fake","messages":[{"role":"robot","content":"x"}]}`, "messages[0].role", "invalid_value", "'robot'"},
		{`{"model":"fake","messages":[{"role":"user","content":null}]}`, "messages.[0].content", "", "got null"},
		{`{"model":"fake","messages":[{"role":"user","content":[{"type":"text"}]}]}`, "messages[0].content[0].text", "missing_required_parameter", "text"},
		{`{"model":"fake","messages":[{"role":"user","content":[{"type":"smell"}]}]}`, "messages[0].content[0].type", "invalid_value", "'smell'"},
		{`{"model":"fake","messages":[{"role":"tool","tool_call_id":"a","content":"x"}]}`, "messages.[0].role", "", "with 'tool_calls'"},
		{`{"model":"fake","messages":[{"role":"assistant","tool_calls":[{"id":"c7"}]},{"role":"user","content":"x"}]}`, "messages", "", "c7"},
		{`{"model":"fake","temperature":"hot",` + m + `}`, "temperature", "invalid_type", "a decimal, but got a string"},
		{`{"model":"fake","temperature":-0.5,` + m + `}`, "temperature", "decimal_below_min_value", ">= 0, but got -0.5"},
		{`{"model":"fake","n":1.5,` + m + `}`, "n", "invalid_type", "an integer, but got a decimal"},
		{`{"model":"fake","n":200,` + m + `}`, "n", "integer_above_max_value", "<= 128"},
		{`{"model":"fake","stream_options":{},` + m + `}`, "stream_options", "", "only allowed when 'stream'"},
		{`{"model":"fake","frobnicate":1,` + m + `}`, "", "", "Unrecognized request argument supplied: frobnicate"},
		{`{"model":"fake","tool_choice":"auto",` + m + `}`, "tool_choice", "", "only allowed when 'tools'"},
		{`{"model":"fake","response_format":{"type":"xml"},` + m + `}`, "response_format.type", "invalid_value", "'xml'"},
	} {
		got := post(t, s, "/v1/chat/completions", c.body)
		want(t, c.body, got.status, 400)
		e := got.get("error")
		if e.Get("param").Str != c.param || e.Get("code").Str != c.code || !strings.Contains(e.Get("message").Str, c.message) {
			t.Errorf("%s: got %s", c.body, got.body)
		}
	}
	for _, seen := range s.Seen() {
		want(t, "billed", seen.Billed, Usage{})
	}
	want(t, "content type", post(t, s, "/v1/chat/completions", chatBody("fake", ""), "content-type: text/plain").status, 400)
	want(t, "unknown model", post(t, s, "/v1/chat/completions", chatBody("unknown-x", "")).get("error.code").Str, "model_not_found")
	want(t, "unknown path", post(t, s, "/v1/nothing", "").get("error.message").Str, "Invalid URL (POST /v1/nothing)")
	want(t, "wrong method", do(t, s, "GET", "/v1/chat/completions", "").status, 405)
	lenient := start(t, Options{Lenient: true})
	want(t, "lenient", post(t, lenient, "/v1/chat/completions", chatBody("fake", `,"frobnicate":1`)).status, 200)
}

func TestModels(t *testing.T) {
	s := start(t, Options{Models: []string{"a", "org/b"}})
	want(t, "list", do(t, s, "GET", "/v1/models", "").get("data.#.id").Raw, `["a","org/b"]`)
	want(t, "one", do(t, s, "GET", "/v1/models/org%2Fb", "").get("id").Str, "org/b")
	want(t, "slash", do(t, s, "GET", "/v1/models/org/b", "").get("id").Str, "org/b")
	want(t, "none", do(t, s, "GET", "/v1/models/c", "").status, 404)
	want(t, "not served", post(t, s, "/v1/chat/completions", chatBody("c", "")).status, 404)
	want(t, "served", post(t, s, "/v1/chat/completions", chatBody("org/b?tokens=1", "")).status, 200)
}

func TestEmbeddings(t *testing.T) {
	s := start(t, Options{})
	floats := post(t, s, "/v1/embeddings", `{"model":"fake","input":["one text","another"],"dimensions":8}`)
	packed := post(t, s, "/v1/embeddings", `{"model":"fake","input":["one text","another"],"dimensions":8,"encoding_format":"base64"}`)
	want(t, "dimensions", len(floats.get("data.1.embedding").Array()), 8)
	raw, err := base64.StdEncoding.DecodeString(packed.get("data.1.embedding").Str)
	want(t, "base64", err, nil)
	want(t, "bytes", len(raw), 32)
	want(t, "tokens", post(t, s, "/v1/embeddings", `{"model":"fake","input":[1,2,3]}`).get("usage.prompt_tokens").Int(), 3)
	want(t, "batch of tokens", post(t, s, "/v1/embeddings", `{"model":"fake","input":[[1,2,3],[4]]}`).get("data.#").Int(), 2)
	want(t, "default", len(post(t, s, "/v1/embeddings", `{"model":"text-embedding-3-small","input":"a"}`).get("data.0.embedding").Array()), 1536)
	for _, bad := range []string{`"input":""`, `"input":[]`, `"input":{}`, `"input":"a","dimensions":0`, `"input":"a","encoding_format":"hex"`} {
		want(t, bad, post(t, s, "/v1/embeddings", `{"model":"fake",`+bad+`}`).status, 400)
	}
	near, far := similarity("how do I reset my password?", "how do I reset my password"), similarity("how do I reset my password?", "the weather in Paris")
	if near < 0.9 || far > 0.3 {
		t.Errorf("similar texts %v, others %v", near, far)
	}
}

func similarity(a, b string) (dot float32) {
	v, w := Embed(a, 256), Embed(b, 256)
	for i := range v {
		dot += v[i] * w[i]
	}
	return dot
}

func TestCompletions(t *testing.T) {
	s := start(t, Options{})
	got := post(t, s, "/v1/completions", `{"model":"fake?tokens=3","prompt":["a","b"],"n":2,"echo":true}`)
	want(t, "choices", got.get("choices.#").Int(), 4)
	want(t, "echo", strings.HasPrefix(got.get("choices.2.text").Str, "b "), true)
	want(t, "usage", got.get("usage.completion_tokens").Int(), 12)
	streamed := post(t, s, "/v1/completions", `{"model":"fake","prompt":[5,6,7],"max_tokens":4,"stream":true,"stream_options":{"include_usage":true}}`)
	events := streamed.events()
	want(t, "events", len(events), 7)
	want(t, "finish", gjson.Get(events[4], "choices.0.finish_reason").Str, "length")
	want(t, "usage event", gjson.Get(events[5], "usage.total_tokens").Int(), 7)
	want(t, "no prompt", post(t, s, "/v1/completions", `{"model":"fake"}`).status, 400)
}
