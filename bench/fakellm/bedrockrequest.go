package fakellm

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

func bedrockInvalid(format string, args ...any) *apiError {
	return &apiError{status: 400, kind: "ValidationException", message: fmt.Sprintf(format, args...)}
}

func readConverse(x *exchange, operation string) (render, *apiError) {
	if m := x.c.memo; m != nil && m.body == string(x.body) && m.deployment == x.path {
		x.bill.Prompt, x.model, x.stream = m.prompt, m.model, m.stream
		return m.work, nil
	}
	root, err := x.shaped(operation)
	if err != nil {
		return nil, err
	}
	c, err := newConverse(x, root)
	if err != nil {
		return nil, err
	}
	c.paths = root.Get("additionalModelResponseFieldPaths")
	if !x.violated {
		x.c.memo = &memo{string(x.body), "", x.path, c.answer, x.bill.Prompt, x.model, x.stream}
	}
	return c.answer, nil
}

// readBedrockCount counts a Converse request, or the Messages request that an InvokeModel would carry.
func readBedrockCount(x *exchange) (render, *apiError) {
	root, err := x.shaped("CountTokens")
	if err != nil {
		return nil, err
	}
	if body := root.Get("input.invokeModel.body"); body.Exists() {
		x.bill.Prompt = tokensOf(body.Str) * 3 / 4
	} else if _, err := newConverse(x, root.Get("input.converse")); err != nil {
		return nil, err
	}
	n := x.bill.Prompt
	x.bill = Usage{}
	return func(*exchange) (answer, *apiError) {
		return answer{ctype: jsonType, body: fmt.Appendf(nil, `{"inputTokens":%d}`, n)}, nil
	}, nil
}

// shaped is the request's body once it is found to have the shape of the operation.
func (x *exchange) shaped(operation string) (gjson.Result, *apiError) {
	root := gjson.ParseBytes(x.body)
	if !gjson.ValidBytes(x.body) || !root.IsObject() {
		return root, &apiError{status: 400, kind: "SerializationException", message: "Unexpected token in the request body: expected a JSON object"}
	}
	x.repetitions("", root)
	model, _, _ := strings.Cut(x.model, "?")
	if x.s.shapes != nil {
		s := x.s.shapes.operations[operation]
		if b := s.Members["modelId"].of.check("modelId", gjson.Result{Type: gjson.String, Str: model}); b != nil {
			return root, b.err()
		}
		if b := s.check("", root); b != nil {
			return root, b.err()
		}
	}
	if !x.s.serves(x.model) {
		return root, bedrockInvalid("The provided model identifier is invalid.")
	}
	return root, nil
}

// repetitions flags keys that occur twice in an object, except in documents, whose keys are the client's.
func (x *exchange) repetitions(at string, v gjson.Result) {
	var keys names
	v.ForEach(func(k, inner gjson.Result) bool {
		if k.Type == gjson.String && keys.repeats(k.Str) {
			x.violation("repeated key %q in %s", k.Str, at)
		}
		if strings.HasPrefix(k.Str, "jarvis") || strings.HasPrefix(k.Str, "x_jarvis") {
			x.violation("internal field %s", under(at, k.Str))
		}
		if inner.IsObject() && k.Str != "input" && k.Str != "json" || inner.IsArray() {
			x.repetitions(under(at, k.Str), inner)
		}
		return true
	})
}

// newConverse reads a Converse request whose shape is right.
func newConverse(x *exchange, root gjson.Result) (*converse, *apiError) {
	c := &converse{claude: claude{chat: chat{n: 1, limit: -1, parallel: true}}}
	c.fields(root)
	c.said = saidInConverse(root.Get("messages"))
	if err := c.wrong(root); err != nil {
		return nil, err
	}
	model, _, _ := strings.Cut(x.model, "?")
	if isClaude(model) {
		if wrong := c.claudeWrong(root, model); wrong != "" {
			return nil, bedrockInvalid("The model returned the following errors: %s", wrong)
		}
	}
	for _, b := range root.Get("system").Array() {
		x.bill.Prompt += 3 + tokensOf(b.Get("text").Str)
	}
	c.billed(x)
	c.choose()
	c.prompt = root.Get("messages").Raw
	return c, nil
}

// isClaude reports whether Claude's own rules hold: for its models, and for names that tell no vendor.
func isClaude(model string) bool {
	return strings.Contains(model, "claude") || !strings.Contains(model, ".")
}

// converse is a Converse request, kept as the Claude request that it stands for.
type converse struct {
	claude
	tooled bool         // toolConfig is there
	paths  gjson.Result // of model response fields to send along
}

func (c *converse) fields(root gjson.Result) {
	conf := root.Get("inferenceConfig")
	if v := conf.Get("maxTokens"); v.Type == gjson.Number {
		c.limit = int(v.Int())
	}
	c.heat, c.topP = optional(conf.Get("temperature")), optional(conf.Get("topP"))
	for _, s := range conf.Get("stopSequences").Array() {
		c.stops = append(c.stops, s.Str)
	}
	extra := root.Get("additionalModelRequestFields")
	c.topK = extra.Get("top_k").Type == gjson.Number
	c.thinking, c.budget = extra.Get("thinking.type").Str, int(extra.Get("thinking.budget_tokens").Int())
	c.display = extra.Get("thinking.display").Str
	c.thinks = c.thinking == "enabled" || c.thinking == "adaptive"
	if s := root.Get("outputConfig.textFormat.structure.jsonSchema.schema"); s.Type == gjson.String {
		c.format, c.schema = "json_schema", gjson.Parse(`{"schema":`+s.Str+`}`)
	}
	c.tooled = root.Get("toolConfig").IsObject()
	for _, t := range root.Get("toolConfig.tools").Array() {
		if spec := t.Get("toolSpec"); spec.Exists() {
			c.tools = append(c.tools, tool{name: spec.Get("name").Str, schema: spec.Get("inputSchema.json"), strict: spec.Get("strict").Bool()})
		}
	}
	if choice := extra.Get("tool_choice"); choice.IsObject() { // Claude's own
		c.choosing(choice)
	}
	root.Get("toolConfig.toolChoice").ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "any":
			c.toolMode = "required"
		case "tool":
			c.toolMode = v.Get("name").Str
		default:
			c.toolMode = k.Str
		}
		return true
	})
}

// saidInConverse is the conversation in Anthropic's terms.
func saidInConverse(messages gjson.Result) []said {
	var all []said
	for i, v := range messages.Array() {
		m := said{role: v.Get("role").Str, at: "messages." + strconv.Itoa(i)}
		for j, b := range v.Get("content").Array() {
			m.blocks = append(m.blocks, converseBlock(b, fmt.Sprintf("%s.content.%d", m.at, j)))
		}
		all = append(all, m)
	}
	return all
}

func converseBlock(v gjson.Result, at string) block {
	b := block{at: at}
	v.ForEach(func(k, v gjson.Result) bool {
		switch {
		case v.Type == gjson.Null:
			return true
		case k.Str == "text":
			b.kind, b.text = "text", v.Str
		case k.Str == "toolUse":
			b.kind, b.id, b.name, b.text = "tool_use", v.Get("toolUseId").Str, v.Get("name").Str, v.Get("input").Raw
		case k.Str == "toolResult":
			b.kind, b.id, b.text = "tool_result", v.Get("toolUseId").Str, v.Get("content").Raw
		case v.Get("reasoningText").Exists():
			b.kind, b.text, b.signature = "thinking", v.Get("reasoningText.text").Str, v.Get("reasoningText.signature").Str
		case v.Get("redactedContent").Exists():
			b.kind, b.data = "redacted_thinking", v.Get("redactedContent").Str
		case k.Str == "document":
			b.kind, b.name, b.text = "document", v.Get("name").Str, v.Get("source.text").Str
		default:
			b.kind = k.Str
		}
		return false
	})
	return b
}

// wrong are Converse's own rules, which its shapes do not tell.
func (c *converse) wrong(root gjson.Result) *apiError {
	if len(c.said) == 0 || c.said[0].role != "user" {
		return bedrockInvalid("A conversation must start with a user message. Try again with a conversation that starts with a user message.")
	}
	for i := range c.said {
		m := &c.said[i]
		if m.role != "user" && m.role != "assistant" || i > 0 && m.role == c.said[i-1].role {
			return bedrockInvalid("A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again.")
		}
		if err := c.saidWrong(m); err != nil {
			return err
		}
	}
	if err := c.resultsWrong(root); err != nil {
		return err
	}
	return c.toolsWrong(root)
}

var documentName = regexp.MustCompile(`^\s?([a-zA-Z0-9\-()\[\]]+\s?)+$`)

func (c *converse) saidWrong(m *said) *apiError {
	if len(m.blocks) == 0 {
		return bedrockInvalid("The content field in the Message object at %s is empty. Add a ContentBlock object to the content field and try again.", m.at)
	}
	for i := range m.blocks {
		b := &m.blocks[i]
		switch b.kind {
		case "text":
			if strings.TrimSpace(b.text) == "" {
				return bedrockInvalid("The text field in the ContentBlock object at %s is blank. Add text to the text field, and try again.", b.at)
			}
		case "document":
			if !documentName.MatchString(b.name) {
				return bedrockInvalid("The file name at %s.document.name can only contain alphanumeric characters, whitespace characters, hyphens, parentheses, and square brackets. The name can't contain more than one consecutive whitespace character.", b.at)
			}
			if !m.has("text") {
				return bedrockInvalid("A text block must be included in the content of the Message object at %s when it has a document. Add a text block and try again.", m.at)
			}
		case "tool_use":
			if !strings.HasPrefix(b.text, "{") {
				return bedrockInvalid("The format of the value at %s.toolUse.input is invalid. Provide a json object for the field and try again.", b.at)
			}
		}
		if (b.kind == "tool_use" || b.kind == "tool_result") && !c.tooled {
			return bedrockInvalid("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
		}
	}
	return nil
}

// resultsWrong checks that each tool call is answered in the next message.
func (c *converse) resultsWrong(root gjson.Result) *apiError {
	var owed []string
	for i := range c.said {
		m := &c.said[i]
		if m.role == "assistant" {
			owed = m.calls()
			if len(owed) > 0 && i == len(c.said)-1 {
				return bedrockInvalid("Expected toolResult blocks at messages.%d.content for the following Ids: %s", i+1, strings.Join(owed, ", "))
			}
			continue
		}
		var given []string
		for _, b := range m.blocks {
			if b.kind != "tool_result" {
				continue
			}
			if slices.Contains(given, b.id) {
				return bedrockInvalid("The toolResult blocks at %s.content contain duplicate Ids: %s", m.at, b.id)
			}
			given = append(given, b.id)
			if b.text == "[]" && root.Get(b.at+".toolResult.status").Str == "error" {
				return bedrockInvalid("The content field at %s.toolResult cannot be empty when status value is error.", b.at)
			}
		}
		if len(given) > len(owed) {
			return bedrockInvalid("The number of toolResult blocks at %s.content exceeds the number of toolUse blocks of previous turn.", m.at)
		}
		if missing := slices.DeleteFunc(owed, func(id string) bool { return slices.Contains(given, id) }); len(missing) > 0 {
			return bedrockInvalid("Expected toolResult blocks at %s.content for the following Ids: %s", m.at, strings.Join(missing, ", "))
		}
	}
	return nil
}

func (c *converse) toolsWrong(root gjson.Result) *apiError {
	var names []string
	for i, t := range root.Get("toolConfig.tools").Array() {
		spec := t.Get("toolSpec")
		if !spec.Exists() {
			continue
		}
		name := spec.Get("name").Str
		if slices.Contains(names, name) {
			return bedrockInvalid("The tool %s is already defined at toolConfig.tools.%d.", name, slices.Index(names, name))
		}
		names = append(names, name)
		if at := fmt.Sprintf("toolConfig.tools.%d.toolSpec.inputSchema.json", i); spec.Get("inputSchema.json.type").Str != "object" {
			return bedrockInvalid("The value at %s.type must be one of the following: object.", at)
		}
	}
	if chosen := root.Get("toolConfig.toolChoice.tool.name"); chosen.Exists() && !slices.Contains(names, chosen.Str) {
		return bedrockInvalid("The tool %s in toolConfig.toolChoice.tool is not defined in toolConfig.tools.", chosen.Str)
	}
	return nil
}

// claudeWrong are the rules of the model behind, in its words.
func (c *converse) claudeWrong(root gjson.Result, model string) string {
	wrong := ""
	root.Get("additionalModelRequestFields").ForEach(func(k, _ gjson.Result) bool {
		if !slices.Contains([]string{"thinking", "top_k", "anthropic_beta", "output_config", "tool_choice", "metadata"}, k.Str) {
			wrong = k.Str + ": Extra inputs are not permitted"
		}
		return wrong == ""
	})
	var names []string
	for _, t := range c.tools {
		names = append(names, t.name)
	}
	limited := c.claude
	if limited.limit < 0 {
		limited.limit = 4096 // what a model allows itself by default
	}
	for _, w := range []string{
		wrong, c.paired(), c.offered(names), tooManyMarkers(markers(root, "cachePoint")), c.sampling(model), c.thoughts(), limited.thinkingRules(model), c.strictRules(), c.ending(model),
	} {
		if w != "" {
			return w
		}
	}
	return ""
}
