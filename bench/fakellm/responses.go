package fakellm

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// turn is a request of the Responses API. Its choice of tools and formats is the chat's.
type turn struct {
	chat
	raw        map[string]string // request fields that the answer repeats, as JSON
	input      gjson.Result
	items      []byte // the input as a list of items, without brackets
	itemCount  int
	known      []string // ids of tool calls that may be answered
	previous   string
	keep       bool
	background bool
}

var turnRules = map[string]rule{
	"background": is(flag | null), "client_metadata": is(obj | null), "context_management": is(arr | null), "conversation": is(obj | str | null), "include": is(arr | null),
	"input": is(arr | str), "instructions": is(str | null), "max_output_tokens": between(whole|null, 16, 1<<30),
	"max_tool_calls": is(whole | null), "metadata": is(obj | null), "model": is(str), "moderation": is(obj | null),
	"parallel_tool_calls": is(flag | null), "previous_response_id": is(str | null), "prompt": is(obj | null),
	"prompt_cache_key": is(str | null), "prompt_cache_options": is(obj), "prompt_cache_retention": is(str | null),
	"reasoning": is(obj | null), "safety_identifier": is(str | null), "service_tier": is(str | null), "store": is(flag | null),
	"stream": is(flag | null), "stream_options": is(obj | null), "temperature": between(num|null, 0, 2), "text": is(obj),
	"tool_choice": is(obj | str), "tools": is(arr), "top_logprobs": between(whole, 0, 20), "top_p": between(num|null, 0, 1),
	"truncation": is(str | null), "user": is(str),
}

// findResponse looks up what is below responses.
func (x *exchange) findResponse(rest string) (endpoint, *apiError) {
	id, action, _ := strings.Cut(rest, "/")
	x.params.id, x.params.action = unescape(id), action
	switch {
	case rest == "":
		return x.method(http.MethodPost, readTurn)
	case rest == "input_tokens":
		return x.method(http.MethodPost, readInputTokens)
	case action == "" && x.ctx.IsDelete():
		return deleteResponse, nil
	case action == "":
		return x.method(http.MethodGet, getResponse)
	case action == "cancel":
		return x.method(http.MethodPost, cancelResponse)
	case action == "input_items":
		return x.method(http.MethodGet, listItems)
	}
	return nil, x.noSuchURL()
}

func readTurn(x *exchange) (render, *apiError) {
	t := &turn{chat: chat{n: 1, limit: -1, parallel: true, obfuscate: true}, raw: map[string]string{}, keep: true}
	if err := x.object(turnRules, t.field); err != nil {
		return nil, err
	}
	if err := x.wantModel(); err != nil {
		return nil, err
	}
	if !t.input.Exists() && t.raw["prompt"] == "" {
		return nil, invalid("input", "missing_required_parameter", "Missing required parameter: 'input'.")
	}
	if err := t.recall(x); err != nil {
		return nil, err
	}
	if err := t.read(x); err != nil {
		return nil, err
	}
	if err := t.checked(x); err != nil {
		return nil, err
	}
	x.bill.Prompt += t.toolTokens()
	return t.answer, nil
}

func readInputTokens(x *exchange) (render, *apiError) {
	if _, err := readTurn(x); err != nil {
		return nil, err
	}
	n := x.bill.Prompt
	x.bill = Usage{}
	return func(*exchange) (answer, *apiError) {
		return answer{ctype: jsonType, body: fmt.Appendf(nil, `{"object":"response.input_tokens","input_tokens":%d}`, n)}, nil
	}, nil
}

func (t *turn) field(key string, v gjson.Result) {
	t.raw[key] = v.Raw
	switch key {
	case "input":
		t.input = v
	case "max_output_tokens":
		if v.Type == gjson.Number {
			t.limit = int(v.Int())
		}
	case "previous_response_id":
		t.previous = v.Str
	case "store":
		t.keep = v.Type != gjson.False
	case "background":
		t.background = v.Bool()
	case "tools":
		t.tools = flatTools(v)
	case "tool_choice":
		t.toolMode = v.Str
		if v.IsObject() {
			t.toolMode = v.Get("name").Str
		}
	case "parallel_tool_calls":
		t.parallel = v.Type != gjson.False
	case "text":
		t.format, t.schema = v.Get("format.type").Str, v.Get("format")
	case "stream_options":
		if o := v.Get("include_obfuscation"); o.Exists() {
			t.obfuscate = o.Bool()
		}
	}
}

// flatTools are the function and custom tools of the Responses API; the provider's own tools are never called.
func flatTools(v gjson.Result) []tool {
	var all []tool
	v.ForEach(func(_, t gjson.Result) bool {
		if kind := t.Get("type").Str; kind == "function" || kind == "custom" {
			all = append(all, tool{name: t.Get("name").Str, schema: t.Get("parameters"), custom: kind == "custom"})
		}
		return true
	})
	return all
}

// recall takes the previous response into account: its tokens are paid again, its tool calls may be answered.
func (t *turn) recall(x *exchange) *apiError {
	if t.previous == "" {
		return nil
	}
	r, ok := x.s.responses.get(t.previous)
	if !ok {
		return invalid("previous_response_id", "previous_response_not_found", "Previous response with id '%s' not found.", t.previous)
	}
	x.bill.Prompt += r.tokens
	t.known = slices.Clone(r.calls)
	return nil
}

func (t *turn) read(x *exchange) *apiError {
	if s := gjson.Parse(t.raw["instructions"]); s.Type == gjson.String {
		x.bill.Prompt += 3 + tokensOf(s.Str)
	}
	if t.input.Type == gjson.String {
		x.bill.Prompt += 3 + tokensOf(t.input.Str)
		t.lastRole, t.last = "user", t.input.Str
		t.item(x, append(quote([]byte(`{"type":"message","role":"user","content":[{"type":"input_text","text":`), t.last), "}]}"...))
		return nil
	}
	var err *apiError
	t.input.ForEach(func(_, v gjson.Result) bool {
		if err = t.readItem(x, v); err == nil {
			t.item(x, []byte(v.Raw))
		}
		return err == nil
	})
	return err
}

// item remembers an input item, with an id of its own unless it has one.
func (t *turn) item(x *exchange, raw []byte) {
	if t.itemCount > 0 {
		t.items = append(t.items, ',')
	}
	if gjson.GetBytes(raw, "id").Exists() {
		t.items = append(t.items, raw...)
	} else {
		t.items = append(x.id(append(t.items, `{"id":"`...), "msg_", 500+t.itemCount), `",`...)
		t.items = append(t.items, raw[1:]...)
	}
	t.itemCount++
}

func (t *turn) readItem(x *exchange, v gjson.Result) *apiError {
	at := fmt.Sprintf("input[%d]", t.itemCount)
	if !v.IsObject() {
		return invalid(at, "invalid_type", "Invalid type for '%s': expected an input item, but got %s instead.", at, typesOf(v))
	}
	x.bill.Prompt += 3
	t.lastRole, t.last = "", ""
	switch kind := v.Get("type").Str; kind {
	case "", "message":
		return t.readMessage(x, at, v)
	case "function_call", "custom_tool_call":
		t.known = append(t.known, v.Get("call_id").Str)
		x.bill.Prompt += tokensOf(v.Get("name").Str + v.Get("arguments").Str + v.Get("input").Str)
	case "function_call_output", "custom_tool_call_output":
		id := v.Get("call_id").Str
		if !slices.Contains(t.known, id) {
			return invalid("input", "", "No tool call found for function call output with call_id %s.", id)
		}
		x.bill.Prompt += tokensOf(v.Get("output").String())
	case "reasoning", "item_reference", "compaction", "file_search_call", "web_search_call", "computer_call", "computer_call_output",
		"image_generation_call", "code_interpreter_call", "local_shell_call", "local_shell_call_output", "shell_call", "shell_call_output",
		"apply_patch_call", "apply_patch_call_output", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "mcp_call":
	default:
		return invalid(at+".type", "invalid_value", "Invalid value: '%s'. Supported values are: 'message', 'function_call', 'function_call_output', 'reasoning' and the other item types.", kind)
	}
	return nil
}

func (t *turn) readMessage(x *exchange, at string, v gjson.Result) *apiError {
	t.lastRole = v.Get("role").Str
	switch t.lastRole {
	case "user", "assistant", "system", "developer":
	default:
		return invalid(at+".role", "invalid_value", "Invalid value: '%s'. Supported values are: 'assistant', 'system', 'developer', and 'user'.", t.lastRole)
	}
	body := v.Get("content")
	if body.Type == gjson.String {
		t.last = body.Str
		x.bill.Prompt += tokensOf(body.Str)
		return nil
	}
	if !body.IsArray() {
		return invalid(at+".content", "invalid_type", "Invalid type for '%s.content': expected one of an array of objects or string, but got %s instead.", at, typesOf(body))
	}
	var err *apiError
	body.ForEach(func(_, part gjson.Result) bool {
		switch kind := part.Get("type").Str; kind {
		case "input_text", "output_text", "refusal":
			text := part.Get("text").Str + part.Get("refusal").Str
			t.last += text
			x.bill.Prompt += tokensOf(text)
		case "input_image":
			x.bill.Prompt += 85
		case "input_file", "input_audio":
			x.bill.Prompt += 10
		default:
			err = invalid(at+".content", "invalid_value", "Invalid value: '%s'. Supported values are: 'input_text', 'input_image', 'output_text', 'refusal', 'input_file', and 'input_audio'.", kind)
		}
		return err == nil
	})
	return err
}
