package dialect

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// TestChatBodyByModel has what depends on the model and the server: members is what of the body is looked at.
func TestChatBodyByModel(t *testing.T) {
	const (
		think = `"thinking":{"type":"enabled","budget_tokens":10000}`
		off   = `"thinking":{"type":"disabled"}`
		tools = `"tools":[{"name":"f","input_schema":{"type":"object"}}]`
	)
	effort := func(level string) string { return `"output_config":{"effort":"` + level + `"}` }
	for _, c := range []struct{ kind, model, ask, members, want, dropped string }{
		{"openai", "gpt-4o", "", "max_tokens,max_completion_tokens", ",100", ""},
		{"openai", "ft:gpt-4o:mine", "", "max_tokens,max_completion_tokens", ",100", ""},
		{"openai", "o3-mini", "", "max_tokens,max_completion_tokens", ",100", ""},
		{"azure", "my-deployment", "", "max_tokens,max_completion_tokens", ",100", ""},
		{"openai", "mistral-large", "", "max_tokens,max_completion_tokens", "100,", ""},
		{"openai", "openai/gpt-5.2", "", "max_tokens,max_completion_tokens", "100,", ""},
		{"openai", "gpt-oss-120b", "", "max_tokens,max_completion_tokens", "100,", ""},
		{"vllm", "gpt-4o", "", "max_tokens,max_completion_tokens", "100,", ""},

		{"openai", "gpt-5", think, "reasoning_effort", "medium", ""},
		{"openai", "gpt-5", off, "reasoning_effort", "minimal", "thinking"},
		{"openai", "gpt-5", effort("max"), "reasoning_effort", "high", ""},
		{"openai", "o4-mini", effort("low"), "reasoning_effort", "low", ""},
		{"openai", "o4-mini", off, "reasoning_effort", "low", "thinking"},
		{"openai", "gpt-5.1", off, "reasoning_effort", "none", ""},
		{"openai", "gpt-5.2", effort("max"), "reasoning_effort", "xhigh", ""},
		{"openai", "gpt-5.6-sol", effort("max"), "reasoning_effort", "max", ""},
		{"openai", "gpt-5-pro", effort("low"), "reasoning_effort", "high", ""},
		{"openai", "gpt-5.2", `"thinking":{"type":"adaptive"}`, "reasoning_effort", "medium", ""},
		{"openai", "gpt-5.2", `"thinking":{"type":"enabled","budget_tokens":2000}`, "reasoning_effort", "low", ""},
		{"openai", "gpt-5.2", `"thinking":{"type":"enabled","budget_tokens":31999}`, "reasoning_effort", "high", ""},
		{"openai", "gpt-4o", think, "reasoning_effort", "", "thinking"},
		{"openai", "gpt-4o", off, "reasoning_effort", "", ""},
		{"openai", "gpt-5-chat-latest", think, "reasoning_effort", "", "thinking"},
		{"openai", "openai/gpt-5.4", think + "," + tools, "reasoning_effort", "medium", ""},
		{"openai", "gpt-5.4", think + "," + tools, "reasoning_effort", "none", "thinking"},
		{"openai", "gpt-5.6-sol", tools, "reasoning_effort", "none", ""},
		{"openai", "gpt-5.6-sol", think, "reasoning_effort", "medium", ""},
		{"vllm", "openai/gpt-oss-20b", think, "reasoning_effort,chat_template_kwargs", "medium,", ""},
		{"vllm", "Qwen/Qwen3-8B", think, "reasoning_effort,chat_template_kwargs", ",", "thinking"},
		{"vllm", "Qwen/Qwen3-8B", off, "reasoning_effort,chat_template_kwargs", `,{"enable_thinking":false}`, ""},
		{"vllm", "mistralai/Magistral", off, "reasoning_effort,chat_template_kwargs", ",", "thinking"},

		{"openai", "gpt-5", `"temperature":1,"top_p":1`, "temperature,top_p", ",", ""},
		{"openai", "gpt-5", `"temperature":0`, "temperature", "400 temperature", ""},
		{"openai", "o3", `"top_p":0.5`, "top_p", "400 top_p", ""},
		{"openai", "gpt-5.2", `"temperature":0`, "temperature", "0", ""},
		{"openai", "gpt-5.2", `"temperature":0,` + effort("low"), "temperature", "400 temperature", ""},
		{"openai", "gpt-5.5", `"temperature":0`, "temperature", "400 temperature", ""},
		{"openai", "gpt-5.5", `"temperature":0,` + tools, "temperature", "0", ""},
		{"openai", "gpt-4o", `"temperature":0.5,"top_p":0.25`, "temperature,top_p", "0.5,0.25", ""},
		{"openai", "gpt-4o", `"top_k":5`, "top_k", "400 top_k", ""},
		{"vllm", "m", `"top_k":5`, "top_k", "5", ""},

		{"openai", "gpt-4o", `"stop_sequences":["a","b","c","d"]`, "stop", `["a","b","c","d"]`, ""},
		{"openai", "gpt-4o", `"stop_sequences":["a","b","c","d","e"]`, "stop", "400 stop_sequences", ""},
		{"vllm", "m", `"stop_sequences":["a","b","c","d","e"]`, "stop", `["a","b","c","d","e"]`, ""},
		{"openai", "o3", `"stop_sequences":["a"]`, "stop", "400 stop_sequences", ""},
		{"openai", "gpt-5.2", `"stop_sequences":["a"]`, "stop", `["a"]`, ""},

		{"openai", "gpt-4o", `"metadata":{"user_id":"u"}`, "user", "u", ""},
		{"openai", "gpt-4o", `"metadata":{"user_id":"` + strings.Repeat("u", 100) + `"}`, "user", strings.Repeat("*", chatUsers), ""},
		{"openai", "gpt-4o", `"messages":[{"role":"user","content":[{"type":"document","title":"T","context":"C","citations":{"enabled":false},"source":{"type":"text","media_type":"text/plain","data":"D"}}]}]`, "messages.0.content.0.text", "[T]\nC\n\nD", ""},
		{"openai", "gpt-4o", `"messages":[{"role":"user","content":[{"type":"document","title":"T","context":"C","source":{"type":"base64","media_type":"application/pdf","data":"JVBE"}}]}]`, "messages.0.content.0.text,messages.0.content.1.file", `[T]
C,{"filename":"T.pdf","file_data":"data:application/pdf;base64,JVBE"}`, ""},
		{"openai", "gpt-4o", `"stream":true`, "stream,stream_options", `true,{"include_usage":true}`, ""},
	} {
		ask := `{"model":"x","max_tokens":100`
		if !strings.Contains(c.ask, `"messages"`) {
			ask += `,"messages":[{"role":"user","content":"x"}]`
		}
		if c.ask != "" {
			ask += "," + c.ask
		}
		got, dropped := chatMembers(t, c.kind, c.model, ask+"}", c.members)
		if c.members == "user" && len(c.want) == chatUsers {
			if len(got) != chatUsers || strings.Trim(got, "0123456789abcdef") != "" {
				t.Errorf("%s: a long user became %s", c.model, got)
			}
			continue
		}
		if got != c.want || dropped != c.dropped {
			t.Errorf("%s %s %s: %s %q, expected %q; dropped %q, expected %q", c.kind, c.model, c.ask, c.members, got, c.want, dropped, c.dropped)
		}
	}
}

// chatMembers writes a request of the Messages API for a server of a kind, and returns members of it or which path is
// refused.
func chatMembers(t *testing.T, kind, model, ask, members string) (found, dropped string) {
	t.Helper()
	request, err := readMessages([]byte(ask), false)
	if err != nil {
		t.Fatal(err)
	}
	tr := &Translation{Request: request, To: Chat, Provider: kind, Model: model}
	out, err := tr.AppendRequest(nil)
	var e *wire.Error
	if errors.As(err, &e) {
		return "400 " + e.Param, ""
	}
	var list []string
	for name := range strings.SplitSeq(members, ",") {
		list = append(list, gjson.GetBytes(out, name).String())
	}
	return strings.Join(list, ","), strings.Join(tr.Dropped(), ",")
}

// TestChatBodiesAreValid checks what TestRequests writes for OpenAI against OpenAI's own description of its API.
func TestChatBodiesAreValid(t *testing.T) {
	schema := chatSchema(t)
	files, err := filepath.Glob("testdata/requests/*.openai.golden")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		body, _, _ := bytes.Cut(raw, []byte("\ndropped: "))
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err != nil {
			continue // refused
		}
		checked++
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if checked < 20 {
		t.Errorf("only %d bodies", checked)
	}
	for _, body := range []string{`{"model":"m"}`, `{"model":"m","messages":[{"role":"tool","content":"x"}]}`, `{"model":"m","messages":[{"role":"user","content":[{"type":"image"}]}]}`} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
		if err != nil || schema.Validate(doc) == nil {
			t.Errorf("the check accepts %s", body)
		}
	}
}

func chatSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(shared(t, "openai-openapi"), "openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	// The recursion of an older draft, which the document uses beside that of its own, is not needed here.
	raw = bytes.ReplaceAll(raw, []byte(`"$recursiveRef":"#"`), []byte(`"type":"object"`))
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseRegexpEngine(func(s string) (jsonschema.Regexp, error) { return regexp.Compile(strings.ReplaceAll(s, "(?!", "(?:")) })
	if err := compiler.AddResource("https://api.test/openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("https://api.test/openapi.json#/components/schemas/CreateChatCompletionRequest")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}
