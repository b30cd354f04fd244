package fakellm

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

func anthropicInvalid(message string) *apiError {
	return &apiError{status: 400, kind: "invalid_request_error", message: message}
}

func readMessages(x *exchange) (render, *apiError) {
	if m := x.c.memo; m != nil && m.body == string(x.body) && m.ctype == x.ctype && m.deployment == x.path+x.beta && x.version != "" {
		x.bill.Prompt, x.model, x.stream = m.prompt, m.model, m.stream
		return m.work, nil
	}
	c, err := newClaude(x, messageRequest)
	if err != nil {
		return nil, err
	}
	if !x.violated {
		x.c.memo = &memo{string(x.body), x.ctype, x.path + x.beta, c.message, x.bill.Prompt, x.model, x.stream}
	}
	return c.message, nil
}

func readCountTokens(x *exchange) (render, *apiError) {
	if _, err := newClaude(x, countRequest); err != nil {
		return nil, err
	}
	n := x.bill.Prompt
	x.bill = Usage{}
	return func(*exchange) (answer, *apiError) {
		return answer{ctype: jsonType, body: fmt.Appendf(nil, `{"input_tokens":%d}`, n)}, nil
	}, nil
}

// newClaude reads a request of the given shape.
func newClaude(x *exchange, shape check) (*claude, *apiError) {
	if err := x.versioned(); err != nil {
		return nil, err
	}
	root := gjson.ParseBytes(x.body)
	if !gjson.ValidBytes(x.body) || !root.IsObject() {
		return nil, anthropicInvalid("The request body is not valid JSON: expected an object")
	}
	x.top("model", root.Get("model"))
	x.top("stream", root.Get("stream"))
	if wrong := shape(x, "", root); wrong != "" {
		return nil, anthropicInvalid(wrong)
	}
	if !x.s.serves(x.model) {
		return nil, anthropicStock(x, 404)
	}
	c := &claude{chat: chat{n: 1, limit: -1, parallel: true}}
	names := c.fields(root)
	c.said = saidIn(root.Get("messages"))
	if wrong := c.wrong(x, root, names); wrong != "" {
		return nil, anthropicInvalid(wrong)
	}
	c.system(x, root.Get("system"))
	c.billed(x)
	c.choose()
	c.prompt = root.Get("messages").Raw
	return c, nil
}

// versioned checks the header fields that every request needs.
func (x *exchange) versioned() *apiError {
	mt, _, _ := strings.Cut(x.ctype, ";")
	switch {
	case x.version == "":
		return anthropicInvalid("anthropic-version: header is required")
	case x.version != "2026-10-21" && x.version != "2023-06-01" && x.version != "2023-01-01":
		return anthropicInvalid("anthropic-version: \"" + x.version + "\" is not a valid version")
	case x.ctx.IsPost() && !strings.EqualFold(strings.TrimSpace(mt), jsonType):
		return anthropicInvalid("content-type: must be application/json")
	}
	return nil
}

// fields reads all but the messages, and returns the names of all tools.
func (c *claude) fields(root gjson.Result) []string {
	if v := root.Get("max_tokens"); v.Exists() {
		c.limit = int(v.Int())
	}
	c.heat, c.topP = optional(root.Get("temperature")), optional(root.Get("top_p"))
	c.topK = root.Get("top_k").Type == gjson.Number
	c.thinking, c.budget = root.Get("thinking.type").Str, int(root.Get("thinking.budget_tokens").Int())
	c.display = root.Get("thinking.display").Str
	c.thinks = c.thinking == "enabled" || c.thinking == "adaptive"
	for _, s := range root.Get("stop_sequences").Array() {
		c.stops = append(c.stops, s.Str)
	}
	for _, at := range []string{"output_format", "output_config.format"} {
		if f := root.Get(at); f.IsObject() {
			c.format, c.schema = "json_schema", f
		}
	}
	c.choosing(root.Get("tool_choice"))
	var names []string
	for _, t := range root.Get("tools").Array() {
		names = append(names, t.Get("name").Str)
		if t.Get("input_schema").Exists() {
			c.tools = append(c.tools, tool{name: t.Get("name").Str, schema: t.Get("input_schema"), strict: t.Get("strict").Bool()})
		}
	}
	return names
}

func (c *claude) choosing(v gjson.Result) {
	switch kind := v.Get("type").Str; kind {
	case "any":
		c.toolMode = "required"
	case "tool":
		c.toolMode = v.Get("name").Str
	default:
		c.toolMode = kind
	}
	c.parallel = !v.Get("disable_parallel_tool_use").Bool()
}

func optional(v gjson.Result) *float64 {
	if v.Type != gjson.Number {
		return nil
	}
	return &v.Num
}

// saidIn is the conversation of a request whose shape is right.
func saidIn(messages gjson.Result) []said {
	var all []said
	for i, v := range messages.Array() {
		m := said{role: v.Get("role").Str, at: "messages." + strconv.Itoa(i)}
		body := v.Get("content")
		if body.Type == gjson.String {
			m.blocks = []block{{kind: "text", at: m.at + ".content", text: body.Str}}
		}
		for j, b := range body.Array() {
			if b.IsObject() {
				m.blocks = append(m.blocks, blockIn(b, fmt.Sprintf("%s.content.%d", m.at, j)))
			}
		}
		all = append(all, m)
	}
	return all
}

func blockIn(v gjson.Result, at string) block {
	b := block{kind: v.Get("type").Str, at: at, id: v.Get("id").Str, name: v.Get("name").Str,
		text: v.Get("text").Str, signature: v.Get("signature").Str, data: v.Get("data").Str}
	switch b.kind {
	case "thinking":
		b.text = v.Get("thinking").Str
	case "tool_use":
		b.text = v.Get("input").Raw
	case "tool_result":
		b.id = v.Get("tool_use_id").Str
		b.text = textIn(v.Get("content"))
	case "document":
		b.text = v.Get("source.data").Str
	}
	return b
}

// textIn is the text of a content that is a string or blocks.
func textIn(v gjson.Result) string {
	if v.Type == gjson.String {
		return v.Str
	}
	var b strings.Builder
	for _, part := range v.Array() {
		b.WriteString(part.Get("text").Str)
	}
	return b.String()
}

// wrong are the rules that span fields, in the order in which a request breaks them most plainly.
func (c *claude) wrong(x *exchange, root gjson.Result, names []string) string {
	if len(c.said) == 0 {
		return "messages: at least one message is required"
	}
	if c.said[0].role != "user" {
		return "messages: first message must use the \"user\" role"
	}
	if wrong := blank("system", root.Get("system")); wrong != "" {
		return wrong
	}
	for _, m := range root.Get("messages.#.content").Array() {
		if wrong := blank("messages", m); wrong != "" {
			return wrong
		}
	}
	model, _, _ := strings.Cut(x.model, "?")
	ending := c.ending(model) // of the last message as it was sent
	c.said = merged(c.said)
	for _, wrong := range []string{
		c.empty(), c.paired(), c.offered(names), tooManyMarkers(markers(root, "cache_control")), c.sampling(model), c.thoughts(),
		c.thinkingRules(model), c.strictRules(), ending,
	} {
		if wrong != "" {
			return wrong
		}
	}
	return ""
}

// blank looks for text blocks without text, also in tool results.
func blank(place string, content gjson.Result) string {
	for _, b := range content.Array() {
		switch text := b.Get("text"); {
		case b.Get("type").Str != "text":
		case text.Str == "":
			return place + ": text content blocks must be non-empty"
		case strings.TrimSpace(text.Str) == "":
			return place + ": text content blocks must contain non-whitespace text"
		}
		if inner := b.Get("content"); inner.IsArray() {
			if wrong := blank(place, inner); wrong != "" {
				return wrong
			}
		}
	}
	return ""
}

// empty looks for messages that say nothing; only the last one, of the assistant, may.
func (c *claude) empty() string {
	for i, m := range c.said {
		if i == len(c.said)-1 && m.role == "assistant" {
			break
		}
		if len(m.blocks) == 0 || len(m.blocks) == 1 && m.blocks[0].kind == "text" && m.blocks[0].text == "" {
			return m.at + ": all messages must have non-empty content except for the optional final assistant message"
		}
	}
	return ""
}

func (c *claude) system(x *exchange, v gjson.Result) {
	if v.Exists() && v.Type != gjson.Null {
		x.bill.Prompt += 3 + tokensOf(textIn(v))
	}
}
