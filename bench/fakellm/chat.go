package fakellm

import (
	"regexp"
	"strings"

	"github.com/tidwall/gjson"
)

// chat is a chat completion request.
type chat struct {
	n         int
	limit     int // of completion tokens a choice, -1: none
	last      string
	lastRole  string
	prompt    string   // raw
	owed      []string // ids of tool calls that still want an answer
	tools     []tool
	calls     []tool // to be called in the answer
	toolMode  string // "", none, auto, required, or the name of a function
	parallel  bool
	format    string // "", text, json_object, json_schema
	schema    gjson.Result
	thinks    bool // a thought was asked for (Anthropic, Bedrock)
	logprobs  bool
	top       int
	usage     bool // a usage event at the end of a stream
	running   bool // usage in every event (vLLM)
	obfuscate bool

	streamOptions bool
	promptProbs   int // vLLM: prompt_logprobs, -1 when not asked for
	tokenIDs      bool
	transfer      string // vLLM: kv_transfer_params, raw

	one [1]choice // of the answer, when n is 1
}

// tool is a function or custom tool on offer.
type tool struct {
	name   string
	schema gjson.Result
	custom bool
	strict bool // Claude's input is bound to the schema
}

var chatRules = map[string]rule{
	"messages": is(arr), "model": is(str), "stream": is(flag | null), "stream_options": is(obj | null),
	"audio": is(obj | null), "function_call": is(str | obj), "functions": is(arr), "logit_bias": is(obj | null),
	"frequency_penalty": between(num|null, -2, 2), "presence_penalty": between(num|null, -2, 2),
	"logprobs": is(flag | null), "top_logprobs": between(whole|null, 0, 20), "max_completion_tokens": is(whole | null),
	"max_tokens": is(whole | null), "metadata": is(obj | null), "modalities": is(arr | null), "moderation": is(obj | null),
	"n": between(whole|null, 1, 128), "parallel_tool_calls": is(flag), "prediction": is(obj | null),
	"prompt_cache_key": is(str | null), "prompt_cache_options": is(obj), "prompt_cache_retention": is(str | null),
	"reasoning_effort": is(str | null), "response_format": is(obj), "safety_identifier": is(str | null), "seed": is(whole | null),
	"service_tier": is(str | null), "stop": is(str | arr | null), "store": is(flag | null), "temperature": between(num|null, 0, 2),
	"tool_choice": is(str | obj), "tools": is(arr), "top_p": between(num|null, 0, 1), "user": is(str), "verbosity": is(str | null),
	"web_search_options": is(obj),
}

// memo is a request for a chat that was found good. Load generators repeat themselves, and reading is what costs most.
type memo struct {
	body, ctype, deployment string
	work                    render
	prompt                  int
	model                   string
	stream                  bool
}

func readChat(x *exchange) (render, *apiError) {
	if m := x.c.memo; m != nil && m.body == string(x.body) && m.ctype == x.ctype && m.deployment == x.params.deployment {
		x.bill.Prompt, x.model, x.stream = m.prompt, m.model, m.stream
		return m.work, nil
	}
	c, err := newChat(x)
	if err != nil {
		return nil, err
	}
	if !x.violated {
		x.c.memo = &memo{string(x.body), x.ctype, x.params.deployment, c.answer, x.bill.Prompt, x.model, x.stream}
	}
	return c.answer, nil
}

func newChat(x *exchange) (*chat, *apiError) {
	c := &chat{n: 1, limit: -1, parallel: true, obfuscate: true, promptProbs: -1}
	var messages gjson.Result
	err := x.object(chatRules, func(key string, v gjson.Result) {
		if key == "messages" {
			messages = v
		} else {
			c.field(key, v)
		}
	})
	if err != nil {
		return nil, err
	}
	if err := x.wantModel(); err != nil {
		return nil, err
	}
	if err := c.messages(x, messages); err != nil {
		return nil, err
	}
	if err := c.checked(x); err != nil {
		return nil, err
	}
	x.bill.Prompt += c.toolTokens()
	c.prompt = messages.Raw
	return c, nil
}

func (c *chat) field(key string, v gjson.Result) {
	switch key {
	case "n":
		c.n = max(1, int(v.Int()))
	case "max_tokens", "max_completion_tokens":
		if v.Type == gjson.Number {
			c.limit = int(v.Int())
		}
	case "tools":
		c.tools = toolsOf(v)
	case "tool_choice":
		c.toolMode = v.Str
		if v.IsObject() {
			c.toolMode = v.Get("function.name").Str + v.Get("custom.name").Str
		}
	case "parallel_tool_calls":
		c.parallel = v.Bool()
	case "response_format":
		c.format, c.schema = v.Get("type").Str, v.Get("json_schema")
	case "logprobs":
		c.logprobs = v.Bool()
	case "top_logprobs":
		c.top = int(v.Int())
	default:
		c.streamField(key, v)
	}
}

func (c *chat) streamField(key string, v gjson.Result) {
	switch key {
	case "stream_options":
		c.streamOptions = v.IsObject()
		c.usage = v.Get("include_usage").Bool()
		c.running = v.Get("continuous_usage_stats").Bool()
		if o := v.Get("include_obfuscation"); o.Exists() {
			c.obfuscate = o.Bool()
		}
	case "prompt_logprobs":
		if v.Type == gjson.Number {
			c.promptProbs = int(v.Int())
		}
	case "return_token_ids":
		c.tokenIDs = v.Bool()
	case "kv_transfer_params":
		c.transfer = v.Raw
	}
}

func toolsOf(v gjson.Result) []tool {
	var all []tool
	v.ForEach(func(_, t gjson.Result) bool {
		kind := t.Get("type").Str
		body := t.Get(kind)
		all = append(all, tool{name: body.Get("name").Str, schema: body.Get("parameters"), custom: kind == "custom"})
		return true
	})
	return all
}

func (c *chat) toolTokens() int {
	sum := 0
	for _, t := range c.tools {
		sum += tokensOf(t.name) + tokensOf(t.schema.Raw)
	}
	return sum
}

var toolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// checked are the rules that span fields.
func (c *chat) checked(x *exchange) *apiError {
	for i, t := range c.tools {
		if !toolName.MatchString(t.name) {
			return invalid("", "invalid_value", "Invalid 'tools[%d].function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.", i)
		}
	}
	switch c.toolMode {
	case "", "none", "auto", "required":
		if c.toolMode != "" && c.toolMode != "none" && c.tools == nil && x.endpoint != "responses" {
			return invalid("tool_choice", "", "'tool_choice' is only allowed when 'tools' are specified.")
		}
	default:
		if c.named(c.toolMode) == nil && x.endpoint != "responses" {
			return invalid("tool_choice", "", "Tool choice '%s' not found in 'tools' parameter.", c.toolMode)
		}
	}
	return c.formatChecked(x)
}

func (c *chat) formatChecked(x *exchange) *apiError {
	switch c.format {
	case "", "text", "json_object":
	case "json_schema":
		if !c.schema.Get("name").Exists() && x.endpoint != "responses" {
			return invalid("response_format.json_schema.name", "missing_required_parameter", "Missing required parameter: 'response_format.json_schema.name'.")
		}
	default:
		return invalid("response_format.type", "invalid_value", "Invalid value: '%s'. Supported values are: 'text', 'json_object', and 'json_schema'.", c.format)
	}
	if c.streamOptions && !x.stream {
		return invalid("stream_options", "", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	}
	if c.top > 0 && !c.logprobs {
		return invalid("top_logprobs", "", "'logprobs' must be set to true if 'top_logprobs' is used.")
	}
	if x.shape.usageByDefault && c.streamOptions {
		c.usage = true
	}
	c.choose()
	return nil
}

func (c *chat) named(name string) *tool {
	for i := range c.tools {
		if c.tools[i].name == name {
			return &c.tools[i]
		}
	}
	return nil
}

// choose picks the tools to call: the one named by tool_choice, else those named after "call:" in the last user message, else all
// (without parallel calls the first of them).
func (c *chat) choose() {
	_, wanted, asked := strings.Cut(c.last, "call:")
	asked = asked && c.lastRole == "user"
	switch {
	case len(c.tools) == 0 || c.toolMode == "none":
		return
	case c.toolMode != "" && c.toolMode != "auto" && c.toolMode != "required":
		if t := c.named(c.toolMode); t != nil {
			c.calls = []tool{*t}
		}
		return
	case !asked && c.toolMode != "required":
		return
	}
	for _, t := range c.tools {
		if strings.Contains(wanted, t.name) {
			c.calls = append(c.calls, t)
		}
	}
	if c.calls == nil {
		c.calls = c.tools
	}
	if !c.parallel {
		c.calls = c.calls[:1]
	}
}
