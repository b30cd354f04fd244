package dialect

import (
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// chatRequest is a Chat Completions request that is being read. Beside OpenAI's own members it knows the widespread
// extensions: cache_control, top_k, reasoning (OpenRouter), thinking (Anthropic, DeepSeek, GLM).
type chatRequest struct {
	*Request
	talked  bool     // past the instructions that the messages begin with
	called  string   // id of the last function_call: the old form of calls has none of its own
	allowed []string // the tools that tool_choice leaves; nil: all
}

func readChat(body []byte) (*Request, error) {
	r := chatRequest{Request: &Request{From: wire.Chat, Raw: body}}
	messages, err := gjson.Result{}, error(nil)
	parse(body).ForEach(func(k, v gjson.Result) bool {
		switch {
		case v.Type == gjson.Null:
		case k.Str == "messages":
			messages = v
		default:
			err = r.member(k.Str, v)
		}
		return err == nil
	})
	if err == nil {
		err = r.readMessages(messages)
	}
	if err == nil {
		err = r.keepAllowed()
	}
	if err != nil {
		return nil, err
	}
	return r.Request, nil
}

// member reads a member of the request that is not null.
func (r *chatRequest) member(name string, v gjson.Result) (err error) {
	switch name {
	case "model":
		r.Model, err = wantString(name, v)
	case "tools":
		err = r.readTools(v)
	case "functions":
		err = r.readFunctions(v)
	case "tool_choice", "function_call":
		err = r.readChoice(name, v)
	case "parallel_tool_calls":
		r.Serial, err = wantBool(name, v)
		r.Serial = !r.Serial
	case "max_completion_tokens":
		r.MaxTokens, err = wantInt(name, v, 1)
	case "max_tokens":
		var most int64
		if most, err = wantInt(name, v, 1); r.MaxTokens == 0 {
			r.MaxTokens = most // the newer name counts where both are given
		}
	case "temperature":
		r.Temperature, err = wantFloat(name, v, 0, 2)
	case "top_p":
		r.TopP, err = wantFloat(name, v, 0, 1)
	case "top_k":
		err = r.readTopK(v)
	case "stop":
		err = r.readStop(v)
	case "stream":
		r.Stream, err = wantBool(name, v)
	case "stream_options":
		err = r.readStreamOptions(v)
	case "response_format":
		r.Format, err = r.readFormat(v)
	default:
		return r.option(name, v)
	}
	return err
}

// option reads what concerns reasoning, the user and the service, and keeps the rest as it is.
func (r *chatRequest) option(name string, v gjson.Result) (err error) {
	switch name {
	case "reasoning_effort":
		r.Reasoning.Effort, err = wantEffort(name, v)
	case "reasoning":
		err = r.readReasoning(v)
	case "thinking":
		err = r.readThinking(v)
	case "include_reasoning":
		r.Reasoning.Hidden, err = wantBool(name, v)
		r.Reasoning.Hidden = !r.Reasoning.Hidden
	case "user", "safety_identifier", "service_tier":
		err = r.service(name, v)
	default:
		r.extra(name, v)
	}
	r.Reasoning.Off = r.Reasoning.Off || r.Reasoning.Effort == "none"
	return err
}

// chatDefaults are values that ask for what happens anyway: nothing is lost with them.
var chatDefaults = map[string]string{
	"n":                 "1",
	"logprobs":          "false",
	"top_logprobs":      "0",
	"logit_bias":        "{}",
	"presence_penalty":  "0",
	"frequency_penalty": "0",
	"modalities":        `["text"]`,
	"verbosity":         `"medium"`,
	"store":             "false",
	"metadata":          "{}",
}

// chatHints change nothing of what the answer says.
var chatHints = []string{"store", "metadata", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "cache_control", "prediction",
	"verbosity", "truncation", "transforms", "usage"}

// extra keeps a member of the request that has no place in Request.
func (r *chatRequest) extra(path string, v gjson.Result) {
	if usual, ok := chatDefaults[path]; ok {
		if v.Raw == usual || v.Type == gjson.Number && v.Num == gjson.Parse(usual).Num || compact(v.Raw) == usual {
			return
		}
	}
	r.keep(path, v, slices.Contains(chatHints, path))
}

// keep notes a member, unless there is nothing in it.
func (r *chatRequest) keep(path string, v gjson.Result, hint bool) {
	if v.Type != gjson.Null && !(hint && (v.Raw == "[]" || v.Raw == "{}" || v.Raw == `""`)) {
		r.Extra = append(r.Extra, Extra{Path: path, Raw: v.Raw, Hint: hint})
	}
}

// compact takes the white space out of a short JSON value without spaces in its strings.
func compact(raw string) string {
	if len(raw) > 40 {
		return raw
	}
	return strings.Join(strings.Fields(raw), "")
}

// echoes are members of answers, and of what clients make of them, that come back with the conversation.
var echoes = []string{"annotations", "audio", "citations", "format", "id", "index", "logprobs", "obfuscation", "phase",
	"provider_specific_fields", "refusal", "status"}

// keepRest keeps the members of an object that are not among those read.
func (r *chatRequest) keepRest(path string, object gjson.Result, hint bool, read ...string) {
	if !object.IsObject() {
		return
	}
	object.ForEach(func(k, v gjson.Result) bool {
		if !slices.Contains(read, k.Str) {
			r.keep(path+"."+k.Str, v, hint || slices.Contains(echoes, k.Str))
		}
		return true
	})
}

func (r *chatRequest) readTopK(v gjson.Result) error {
	k, err := wantInt("top_k", v, -1)
	if k > 0 { // 0 and -1 stand for all
		r.TopK = &k
	}
	return err
}

func (r *chatRequest) readStop(v gjson.Result) error {
	add := func(path string, v gjson.Result) error {
		s, err := wantString(path, v)
		if s != "" {
			r.Stop = append(r.Stop, s)
		}
		return err
	}
	if v.IsArray() {
		return each("stop", v, mostListed, add)
	}
	return add("stop", v)
}

func (r *chatRequest) readStreamOptions(v gjson.Result) (err error) {
	if err = wantObject("stream_options", v); err != nil {
		return err
	}
	if usage := v.Get("include_usage"); usage.Exists() && usage.Type != gjson.Null {
		r.StreamUsage, err = wantBool("stream_options.include_usage", usage)
	}
	r.keepRest("stream_options", v, true, "include_usage")
	return err
}

func (r *chatRequest) readFormat(v gjson.Result) (*Format, error) {
	if err := wantObject("response_format", v); err != nil {
		return nil, err
	}
	r.keepRest("response_format", v, false, "type", "json_schema")
	switch kind := v.Get("type"); kind.Str {
	case "text":
		return nil, nil
	case "json_object":
		return &Format{}, nil
	case "json_schema":
		return r.readSchema("response_format.json_schema", v.Get("json_schema"))
	default:
		return nil, wanted("response_format.type", "text, json_object or json_schema", kind)
	}
}

func (r *chatRequest) readSchema(path string, v gjson.Result) (*Format, error) {
	if err := wantObject(path, v); err != nil {
		return nil, err
	}
	f, err := &Format{}, error(nil)
	if f.Name, err = wantString(path+".name", v.Get("name")); err != nil {
		return nil, err
	}
	v.ForEach(func(k, v gjson.Result) bool {
		switch path := path + "." + k.Str; {
		case v.Type == gjson.Null:
		case k.Str == "schema":
			f.Schema, err = v.Raw, wantObject(path, v)
		case k.Str == "description":
			f.Description, err = wantString(path, v)
		case k.Str == "strict":
			f.Strict = new(bool)
			*f.Strict, err = wantBool(path, v)
		case k.Str != "name":
			r.keep(path, v, false)
		}
		return err == nil
	})
	return f, err
}

var effortWords = []string{"none", "minimal", "low", "medium", "high", "xhigh", "max"}

func wantEffort(path string, v gjson.Result) (string, error) {
	if v.Type != gjson.String || !slices.Contains(effortWords, v.Str) {
		return "", wanted(path, "one of "+strings.Join(effortWords, ", "), v)
	}
	return v.Str, nil
}

// readReasoning reads OpenRouter's reasoning: https://openrouter.ai/docs/use-cases/reasoning-tokens
func (r *chatRequest) readReasoning(v gjson.Result) error {
	if err := wantObject("reasoning", v); err != nil {
		return err
	}
	enabled, err := gjson.Result{}, error(nil)
	v.ForEach(func(k, v gjson.Result) bool {
		switch path := "reasoning." + k.Str; {
		case v.Type == gjson.Null:
		case k.Str == "effort":
			r.Reasoning.Effort, err = wantEffort(path, v)
		case k.Str == "max_tokens":
			r.Reasoning.Budget, err = wantInt(path, v, 0)
		case k.Str == "exclude":
			r.Reasoning.Hidden, err = wantBool(path, v)
		case k.Str == "summary":
			r.Reasoning.Summary, err = wantString(path, v)
		case k.Str == "enabled":
			enabled = v
			_, err = wantBool(path, v)
		default:
			r.keep(path, v, false)
		}
		return err == nil
	})
	r.enable(enabled.Type == gjson.True, enabled.Type == gjson.False)
	return err
}

// readThinking reads Anthropic's thinking, which the gateways that extend this protocol have in common.
func (r *chatRequest) readThinking(v gjson.Result) error {
	if err := wantObject("thinking", v); err != nil {
		return err
	}
	if budget := v.Get("budget_tokens"); budget.Exists() && budget.Type != gjson.Null {
		n, err := wantInt("thinking.budget_tokens", budget, 0)
		if err != nil {
			return err
		}
		r.Reasoning.Budget = n
	}
	switch kind := v.Get("type"); kind.Str {
	case "enabled":
		r.enable(true, false)
	case "disabled":
		r.enable(false, true)
	case "adaptive":
		r.Reasoning.Adaptive = true
	default:
		return wanted("thinking.type", "enabled, disabled or adaptive", kind)
	}
	r.Reasoning.Hidden = r.Reasoning.Hidden || v.Get("display").Str == "omitted"
	r.keepRest("thinking", v, false, "type", "budget_tokens", "display")
	return nil
}

// enable asks for thoughts, of a middle kind where nothing says how much, or for none.
func (r *chatRequest) enable(on, off bool) {
	if on && r.Reasoning.Effort == "" && r.Reasoning.Budget == 0 {
		r.Reasoning.Effort = "medium"
	}
	r.Reasoning.Off = r.Reasoning.Off || off
}
