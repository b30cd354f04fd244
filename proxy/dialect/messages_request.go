package dialect

import (
	"slices"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// messagesRequest is a request of Anthropic's Messages API that is being read.
type messagesRequest struct{ *Request }

func readMessages(body []byte, counts bool) (*Request, error) {
	r := messagesRequest{&Request{From: wire.Message, Raw: body}}
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
	if err == nil && r.MaxTokens == 0 && !counts {
		_, err = wantInt("max_tokens", gjson.Result{}, 1)
	}
	if err == nil {
		err = r.readTurns(messages)
	}
	if err != nil {
		return nil, err
	}
	return r.Request, nil
}

// member reads a member of the request that is not null.
func (r messagesRequest) member(name string, v gjson.Result) (err error) {
	switch name {
	case "model":
		r.Model, err = wantString(name, v)
	case "system":
		r.System, err = r.readText(name, v)
	case "tools":
		err = r.readTools(v)
	case "tool_choice":
		err = r.readChoice(v)
	case "max_tokens":
		r.MaxTokens, err = wantInt(name, v, 1)
	case "stop_sequences":
		err = r.readStop(v)
	case "temperature":
		r.Temperature, err = wantFloat(name, v, 0, 1)
	case "top_p":
		r.TopP, err = wantFloat(name, v, 0, 1)
	case "top_k":
		var k int64
		if k, err = wantInt(name, v, 0); k > 0 { // 0 stands for all
			r.TopK = &k
		}
	case "stream":
		r.Stream, err = wantBool(name, v)
	case "metadata":
		err = r.readMetadata(v)
	case "service_tier":
		err = r.readTier(v)
	case "thinking":
		err = r.readThinking(v)
	case "output_config":
		err = r.readOutput(v)
	case "output_format":
		err = r.readFormat(name, v)
	default:
		r.keep(name, v, slices.Contains(messagesHints, name))
	}
	return err
}

// messagesHints make an answer cheaper, faster or its context smaller; what a model without them says is as good.
var messagesHints = []string{"cache_control", "context_management", "speed", "diagnostics", "betas", "anthropic_beta", "anthropic_version", "user_profile_id"}

// keep keeps what has no place in Request, unless it asks for nothing.
func (r messagesRequest) keep(path string, v gjson.Result, hint bool) {
	switch v.Raw {
	case "", "null", "[]", "{}", "false":
		return
	}
	r.Extra = append(r.Extra, Extra{Path: path, Raw: v.Raw, Hint: hint})
}

// keepRest keeps the members of an object that are not among those read.
func (r messagesRequest) keepRest(path string, object gjson.Result, hint bool, read ...string) {
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

func (r messagesRequest) readStop(v gjson.Result) error {
	if err := wantList("stop_sequences", v); err != nil {
		return err
	}
	return each("stop_sequences", v, mostListed, func(path string, one gjson.Result) error {
		s, err := wantString(path, one)
		if s != "" {
			r.Stop = append(r.Stop, s)
		}
		return err
	})
}

func (r messagesRequest) readMetadata(v gjson.Result) (err error) {
	if err = wantObject("metadata", v); err != nil {
		return err
	}
	if user := v.Get("user_id"); user.Exists() && user.Type != gjson.Null {
		r.User, err = wantString("metadata.user_id", user)
	}
	r.keepRest("metadata", v, true, "user_id")
	return err
}

func (r messagesRequest) readTier(v gjson.Result) error {
	switch v.Str {
	case "auto":
		r.Tier = "auto"
	case "standard_only":
		r.Tier = "default"
	default:
		return wanted("service_tier", "auto or standard_only", v)
	}
	return nil
}

func (r messagesRequest) readThinking(v gjson.Result) (err error) {
	if err = wantObject("thinking", v); err != nil {
		return err
	}
	switch kind := v.Get("type"); kind.Str {
	case "enabled":
		r.Reasoning.Budget, err = wantInt("thinking.budget_tokens", v.Get("budget_tokens"), 1024)
	case "adaptive":
		r.Reasoning.Adaptive = true
	case "disabled", "between_tools": // the latter is as little as the newest models can do
		r.Reasoning.Off = true
	default:
		err = wanted("thinking.type", "enabled, adaptive or disabled", kind)
	}
	if err != nil {
		return err
	}
	switch display := v.Get("display"); display.Str {
	case "omitted":
		r.Reasoning.Hidden = true
	case "summarized":
	case "":
		if display.Exists() && display.Type != gjson.Null {
			return wanted("thinking.display", "summarized or omitted", display)
		}
	default: // shows more than a summary
		r.keep("thinking.display", display, true)
	}
	r.keepRest("thinking", v, false, "type", "budget_tokens", "display")
	return nil
}

func (r messagesRequest) readOutput(v gjson.Result) (err error) {
	if err = wantObject("output_config", v); err != nil {
		return err
	}
	if effort := v.Get("effort"); effort.Exists() && effort.Type != gjson.Null {
		if effort.Str == "none" || effort.Str == "minimal" { // OpenAI's alone
			return wanted("output_config.effort", "low, medium, high, xhigh or max", effort)
		}
		r.Reasoning.Effort, err = wantEffort("output_config.effort", effort)
	}
	if format := v.Get("format"); err == nil && format.Exists() && format.Type != gjson.Null {
		err = r.readFormat("output_config.format", format)
	}
	r.keepRest("output_config", v, false, "effort", "format")
	return err
}

func (r messagesRequest) readFormat(path string, v gjson.Result) error {
	if err := wantObject(path, v); err != nil {
		return err
	}
	if kind := v.Get("type"); kind.Str != "json_schema" {
		return wanted(path+".type", "json_schema", kind)
	}
	schema := v.Get("schema")
	if err := wantObject(path+".schema", schema); err != nil {
		return err
	}
	r.Format = &Format{Schema: schema.Raw, Name: v.Get("name").Str}
	r.keepRest(path, v, false, "type", "schema", "name")
	return nil
}

func (r messagesRequest) readTools(v gjson.Result) error {
	if err := wantList("tools", v); err != nil {
		return err
	}
	return each("tools", v, mostTools, func(path string, tool gjson.Result) error {
		if err := wantObject(path, tool); err != nil {
			return err
		}
		kind := tool.Get("type")
		if kind.Exists() && kind.Type != gjson.Null && kind.Str != "custom" {
			if _, err := wantString(path+".type", kind); err != nil {
				return err
			}
			r.Tools = append(r.Tools, Tool{Raw: tool.Raw, Path: path}) // its schema is known to Anthropic's models alone
			return nil
		}
		return r.readTool(path, tool)
	})
}

// toolHints are members of tools that change how they are told of, not what they are.
var toolHints = []string{"eager_input_streaming", "input_examples", "defer_loading", "output_schema"}

func (r messagesRequest) readTool(path string, v gjson.Result) error {
	tool, err := Tool{Path: path}, error(nil)
	if tool.Name, err = wantName(path+".name", v.Get("name")); err != nil {
		return err
	}
	schema := v.Get("input_schema")
	if err = wantObject(path+".input_schema", schema); err != nil {
		return err
	}
	tool.Schema = schema.Raw
	v.ForEach(func(k, v gjson.Result) bool {
		switch path := path + "." + k.Str; {
		case v.Type == gjson.Null || k.Str == "name" || k.Str == "input_schema" || k.Str == "type":
		case k.Str == "description":
			tool.Description, err = wantString(path, v)
		case k.Str == "strict":
			tool.Strict = new(bool)
			*tool.Strict, err = wantBool(path, v)
		case k.Str == "cache_control":
			tool.Cache, err = v.Raw, wantObject(path, v)
		case k.Str == "allowed_callers" && compact(v.Raw) == `["direct"]`:
		default:
			r.keep(path, v, slices.Contains(toolHints, k.Str))
		}
		return err == nil
	})
	r.Tools = append(r.Tools, tool)
	return err
}

func (r messagesRequest) readChoice(v gjson.Result) (err error) {
	if err = wantObject("tool_choice", v); err != nil {
		return err
	}
	switch kind := v.Get("type"); kind.Str {
	case "auto":
		r.Choice.Mode = ChoiceAuto
	case "any":
		r.Choice.Mode = ChoiceRequired
	case "none":
		r.Choice.Mode = ChoiceNone
	case "tool":
		r.Choice.Mode = ChoiceNamed
		r.Choice.Name, err = wantName("tool_choice.name", v.Get("name"))
	default:
		err = wanted("tool_choice.type", "auto, any, tool or none", kind)
	}
	if serial := v.Get("disable_parallel_tool_use"); err == nil && serial.Exists() && serial.Type != gjson.Null {
		r.Serial, err = wantBool("tool_choice.disable_parallel_tool_use", serial)
	}
	r.keepRest("tool_choice", v, false, "type", "name", "disable_parallel_tool_use")
	return err
}
