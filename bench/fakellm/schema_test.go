package fakellm

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/tidwall/gjson"
)

// TestAnswersFollowTheSpecification checks generated answers against OpenAI's own description of its API.
func TestAnswersFollowTheSpecification(t *testing.T) {
	compile := specification(t)
	for _, c := range []struct{ path, body, schema, events string }{
		{"/v1/chat/completions", chatBody("fake", ""), "CreateChatCompletionResponse", ""},
		{"/v1/chat/completions", chatBody("fake?reasoning=5&cached=2", `,"n":2,"logprobs":true,"top_logprobs":3`), "CreateChatCompletionResponse", ""},
		{"/v1/chat/completions", toolBody("call: both", ""), "CreateChatCompletionResponse", ""},
		{"/v1/chat/completions", chatBody("fake", `,"stream":true,"stream_options":{"include_usage":true},"logprobs":true,"top_logprobs":1`), "", "CreateChatCompletionStreamResponse"},
		{"/v1/chat/completions", toolBody("call: both", `,"stream":true`), "", "CreateChatCompletionStreamResponse"},
		{"/v1/completions", `{"model":"fake","prompt":["a","b"],"n":2,"logprobs":1}`, "CreateCompletionResponse", ""},
		{"/v1/embeddings", `{"model":"fake","input":["a","b"]}`, "CreateEmbeddingResponse", ""},
		{"/v1/moderations", `{"input":"I will kill you"}`, "CreateModerationResponse", ""},
		{"/v1/images/generations", `{"model":"gpt-image-1","prompt":"a cat"}`, "ImagesResponse", ""},
		{"/v1/images/generations", `{"model":"dall-e-3","prompt":"a cat"}`, "ImagesResponse", ""},
		{"/v1/images/generations", `{"model":"gpt-image-1","prompt":"a cat","stream":true,"partial_images":2}`, "", "ImageGenStreamEvent"},
		{"/v1/responses", `{"model":"fake?reasoning=3","input":"hi"}`, "Response", ""},
		{"/v1/responses", `{"model":"fake","input":"hi","max_output_tokens":16,"stream":true}`, "", "ResponseStreamEvent"},
		{"/v1/responses", responseTools("call: all", `,"stream":true`), "", "ResponseStreamEvent"},
		{"/v1/responses", responseTools("call: all", ``), "Response", ""},
		{"/v1/audio/speech", `{"model":"fake","input":"hello","voice":"alloy","stream_format":"sse"}`, "", "CreateSpeechResponseStreamEvent"},
	} {
		s := start(t, Options{})
		got := post(t, s, c.path, c.body)
		if got.status != 200 || got.err != nil {
			t.Errorf("%s %s: %d %v %s", c.path, c.body, got.status, got.err, got.body)
			continue
		}
		if c.schema != "" {
			valid(t, compile(c.schema), got.body)
		}
		for _, ev := range got.events() {
			if c.events != "" && ev != "[DONE]" {
				valid(t, compile(c.events), ev)
			}
		}
	}
}

func specification(t *testing.T) func(name string) *jsonschema.Schema {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(sharedData(t), "openai-openapi", "openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	loosen(doc)
	c := jsonschema.NewCompiler()
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	return func(name string) *jsonschema.Schema {
		sch, err := c.Compile("openapi.json#/components/schemas/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return sch
	}
}

// loosen gives the older keyword nullable its meaning, which is null besides everything else.
func loosen(node any) {
	switch n := node.(type) {
	case []any:
		for _, v := range n {
			loosen(v)
		}
	case map[string]any:
		for _, v := range n {
			loosen(v)
		}
		delete(n, "$recursiveAnchor") // of an older draft
		if n["nullable"] == true {
			was := map[string]any{}
			for k, v := range n {
				was[k] = v
				delete(n, k)
			}
			n["anyOf"] = []any{was, map[string]any{"type": "null"}}
		}
	}
}

func valid(t *testing.T, sch *jsonschema.Schema, body string) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Errorf("%v: %s", err, body)
		return
	}
	prune(v)
	if err := sch.Validate(v); err != nil {
		t.Errorf("%v\n%s", err, body)
	}
}

// prune makes up for what real answers (see the recordings) do otherwise than described: nulls, and a name that is not sent.
func prune(node any) {
	if n, ok := node.(map[string]any); ok {
		for _, key := range []string{"user", "usage"} {
			if v, ok := n[key]; ok && v == nil {
				delete(n, key)
			}
		}
		if n["type"] == "response.function_call_arguments.done" {
			n["name"] = ""
		}
		prune(n["response"])
	}
}

const weather = `{"type":"object","properties":{"city":{"type":"string"},"unit":{"enum":["c","f"]},"days":{"type":"integer","minimum":2}},"required":["city","days"]}`

func toolBody(ask, more string) string {
	return `{"model":"fake","messages":[{"role":"user","content":"` + ask + `"}],"tools":[{"type":"function","function":{"name":"get_weather","parameters":` + weather +
		`}},{"type":"function","function":{"name":"get_time"}}]` + more + `}`
}

func responseTools(ask, more string) string {
	return `{"model":"fake","input":"` + ask + `","tools":[{"type":"function","name":"get_weather","parameters":` + weather +
		`,"strict":true},{"type":"function","name":"get_time","parameters":null,"strict":null}]` + more + `}`
}

func TestExampleFollowsItsSchema(t *testing.T) {
	for schema, want := range map[string]string{
		weather: `{"city":"fake","days":2}`,
		`{"type":"object","properties":{"a":{"type":"array","items":{"$ref":"#/$defs/x"}}},"$defs":{"x":{"anyOf":[{"type":"null"},{"type":"string"}]}}}`: `{"a":[null]}`,
		`{"type":["string","null"],"maxLength":2}`: `"fa"`,
		`{"const":{"x":1}}`:                        `{"x":1}`,
		`{"type":"string","format":"date"}`:        `"2026-01-31"`,
		``:                                         `{}`,
	} {
		if got := string(example(gjson.Parse(schema))); got != want {
			t.Errorf("%s: got %s, want %s", schema, got, want)
		}
	}
}
