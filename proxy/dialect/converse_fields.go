package dialect

import (
	"regexp"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// appendInference writes what every model has.
func (c *converseRequest) appendInference(dst []byte) ([]byte, error) {
	s, err := c.sampling(c.model, c.thought.thinks())
	if err != nil {
		return nil, err
	}
	start := len(dst)
	dst = append(key(dst, "inferenceConfig"), '{')
	empty := len(dst)
	if c.maxTokens > 0 {
		dst = intField(dst, "maxTokens", c.maxTokens)
	}
	if s.temperature != nil {
		dst = floatField(dst, "temperature", *s.temperature)
	}
	if s.topP != nil {
		dst = floatField(dst, "topP", *s.topP)
	}
	stops, err := c.stops()
	if err != nil {
		return nil, err
	}
	if len(stops) > 0 {
		dst = appendStrings(key(dst, "stopSequences"), stops)
	}
	if len(dst) == empty {
		return dst[:start], nil
	}
	return append(dst, '}'), nil
}

// stops are the stop sequences, without those that Claude refuses.
func (c *converseRequest) stops() ([]string, error) {
	if c.family != claudeFamily {
		return c.Request.Stop, nil
	}
	return c.refuseBlankStops("the model does not stop at white space alone")
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for _, s := range list {
		dst = wire.AppendString(comma(dst), s)
	}
	return append(dst, ']')
}

// appendOutput writes outputConfig: the JSON schema that the answer's text is bound to.
func (c *converseRequest) appendOutput(dst []byte) ([]byte, error) {
	f := c.Request.Format
	if !c.native {
		return dst, nil
	}
	dst = append(key(dst, "outputConfig"), `{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{`...)
	dst = field(dst, "schema", f.Schema)
	if f.Name != "" {
		dst = field(dst, "name", f.Name)
	}
	if f.Description != "" {
		dst = field(dst, "description", f.Description)
	}
	return append(dst, `}}}}`...), nil
}

// converseSchemas are parts of the names of models, beside Claude, that can be bound to a JSON schema.
// https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html
var converseSchemas = []string{
	"qwen.qwen3", "openai.gpt-oss", "deepseek.v3", "google.gemma-3", "minimax.", "moonshot", "nvidia.nemotron",
	"mistral.magistral", "mistral.ministral", "mistral.mistral-large-3", "mistral.voxtral",
}

func hasConverseSchema(model string) bool {
	return slices.ContainsFunc(converseSchemas, func(part string) bool { return strings.Contains(model, part) })
}

// appendAdditional writes additionalModelRequestFields: what only the model's family has.
func (c *converseRequest) appendAdditional(dst []byte) (_ []byte, err error) {
	start := len(dst)
	dst = append(key(dst, "additionalModelRequestFields"), '{')
	empty := len(dst)
	switch c.family {
	case claudeFamily:
		dst, err = c.appendClaude(dst)
	case novaFamily, nova2Family:
		dst = c.appendNova(dst)
	default:
		dst, err = c.appendOthers(dst)
	}
	if err != nil {
		return nil, err
	}
	if len(dst) == empty {
		return dst[:start], nil
	}
	return append(dst, '}'), nil
}

// appendClaude writes members of Anthropic's Messages.
// https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html
func (c *converseRequest) appendClaude(dst []byte) ([]byte, error) {
	switch c.thought.kind {
	case "":
	case "enabled":
		dst = append(key(dst, "thinking"), `{"type":"enabled"`...)
		dst = append(intField(dst, "budget_tokens", c.thought.budget), '}')
	default:
		dst = field(append(key(dst, "thinking"), '{'), "type", c.thought.kind)
		if display := c.display(c.model, c.thought); display != "" {
			dst = field(dst, "display", display)
		}
		dst = append(dst, '}')
	}
	if c.thought.effort != "" {
		dst = append(field(append(key(dst, "output_config"), '{'), "effort", c.thought.effort), '}')
	}
	if kind := c.claudeChoice(); kind != "" {
		dst = field(append(key(dst, "tool_choice"), '{'), "type", kind)
		if kind == "tool" {
			dst = field(dst, "name", c.toolName(c.choice.Name, 64))
		}
		if kind != "none" {
			dst = boolField(dst, "disable_parallel_tool_use", true)
		}
		dst = append(dst, '}')
	}
	s, err := c.sampling(c.model, c.thought.thinks())
	if s.topK != nil {
		dst = intField(dst, "top_k", *s.topK)
	}
	if err != nil {
		return nil, err
	}
	return c.appendBetas(dst)
}

// appendBetas writes the beta features that a client of the Messages API asks for in the body. Claude Opus 4.5 knows
// effort only as one.
func (c *converseRequest) appendBetas(dst []byte) ([]byte, error) {
	var betas []string
	add := func(path string, v gjson.Result) error {
		for one := range strings.SplitSeq(v.Str, ",") {
			switch {
			case blank(one):
			case len(betas) == mostListed:
				return wire.Invalid(path, "%s: at most %d beta features may be asked for.", path, mostListed)
			default:
				betas = append(betas, strings.TrimSpace(one))
			}
		}
		return nil
	}
	for _, x := range c.Request.Extra {
		if x.Path != "anthropic_beta" && x.Path != "betas" {
			continue
		}
		if err := each(x.Path, gjson.Parse(x.Raw), mostListed, add); err != nil { // a string is a list of one
			return nil, err
		}
	}
	if c.thought.effort != "" && strings.Contains(c.Model, "opus-4-5") {
		betas = append(betas, "effort-2025-11-24")
	}
	if len(betas) == 0 {
		return dst, nil
	}
	return appendStrings(key(dst, "anthropic_beta"), slices.Compact(betas)), nil
}

// appendNova writes what Amazon's models have. https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html
func (c *converseRequest) appendNova(dst []byte) []byte {
	if k := c.Request.TopK; k != nil {
		dst = append(intField(append(key(dst, "inferenceConfig"), '{'), "topK", *k), '}')
	}
	if !c.asksForThoughts() {
		return dst // which are off unless asked for
	}
	if c.family != nova2Family {
		c.note(c.reasoningPath())
		return dst
	}
	r, effort := c.Request, c.threeEfforts()
	if effort == "high" && (r.MaxTokens > 0 || r.Temperature != nil || r.TopP != nil) {
		effort = "medium" // high takes none of these
		c.note(c.reasoningPath())
	}
	dst = append(key(dst, "reasoningConfig"), `{"type":"enabled"`...)
	return append(field(dst, "maxReasoningEffort", effort), '}')
}

func (c *converseRequest) appendOthers(dst []byte) ([]byte, error) {
	if c.Request.TopK != nil {
		if err := c.refuse("top_k", "the model has no such parameter"); err != nil {
			return nil, err
		}
	}
	r := c.Request.Reasoning
	switch {
	case c.family == gptOSSFamily && c.asksForThoughts():
		return field(dst, "reasoning_effort", c.threeEfforts()), nil
	case c.family == gptOSSFamily && (r.Off || r.Effort == "none"):
		c.note(c.reasoningPath()) // less than this it cannot
		return field(dst, "reasoning_effort", "low"), nil
	case c.family == openaiFamily && r.Effort != "":
		return append(field(append(key(dst, "reasoning"), '{'), "effort", r.Effort), '}'), nil
	case c.asksForThoughts():
		c.note(c.reasoningPath()) // clients such as Claude Code ask every model to think
	}
	return dst, nil
}

func (c *converseRequest) asksForThoughts() bool {
	r := c.Request.Reasoning
	return !r.Off && r.Effort != "none" && (r.Effort != "" || r.Budget > 0 || r.Adaptive)
}

// threeEfforts is the effort for models that know but low, medium and high.
func (c *converseRequest) threeEfforts() string {
	r := c.Request.Reasoning
	tokens := r.Budget
	if r.Effort != "" || tokens == 0 {
		tokens = budgetOf(r.Effort)
	}
	switch {
	case tokens <= budgetOf("low"):
		return "low"
	case tokens < budgetOf("high"):
		return "medium"
	}
	return "high"
}

// converseMembers are members of Converse's own that clients may send beside those of their dialect.
var converseMembers = []string{"guardrailConfig", "performanceConfig", "requestMetadata", "promptVariables"}

// appendExtras writes what is about the service, and what the client has of Converse's own.
func (c *converseRequest) appendExtras(dst []byte) ([]byte, error) {
	switch tier := c.Request.Tier; tier {
	case "", "auto", "default": // the default
	case "flex", "priority":
		dst = append(field(append(key(dst, "serviceTier"), '{'), "type", tier), '}')
	default:
		c.note("service_tier")
	}
	fields := c.wantedFields()
	for _, x := range c.Request.Extra {
		switch {
		case slices.Contains(converseMembers, x.Path):
			dst = rawField(dst, x.Path, x.Raw)
		case x.Path == "additionalModelResponseFieldPaths":
			err := each(x.Path, gjson.Parse(x.Raw), mostListed, func(_ string, path gjson.Result) error {
				fields = append(fields, path.Str)
				return nil
			})
			if err != nil {
				return nil, err
			}
		case c.family == claudeFamily && (x.Path == "anthropic_beta" || x.Path == "betas"):
		case x.Hint:
			c.note(x.Path)
		default:
			if err := c.refuse(x.Path, "Converse has no counterpart"); err != nil {
				return nil, err
			}
		}
	}
	if slices.Sort(fields); len(fields) > 0 {
		dst = appendStrings(key(dst, "additionalModelResponseFieldPaths"), slices.Compact(fields))
	}
	return c.appendUser(dst), nil
}

// wantedFields asks which stop sequence was met: Claude says it at the top of an answer, or in a stream's message_delta.
// Bedrock does not mind fields that an answer does not have.
func (c *converseRequest) wantedFields() []string {
	if c.family != claudeFamily || len(c.Request.Stop) == 0 {
		return nil
	}
	return []string{"/delta/stop_sequence", "/stop_sequence"}
}

// metadataValue is what Bedrock takes as a value of requestMetadata, which ends up in the account's own logs.
var metadataValue = regexp.MustCompile(`^[a-zA-Z0-9\s:_@$#=/+,\-.]{1,256}$`)

func (c *converseRequest) appendUser(dst []byte) []byte {
	user := c.Request.User
	switch own := slices.ContainsFunc(c.Request.Extra, func(x Extra) bool { return x.Path == "requestMetadata" }); {
	case user == "":
	case own || !metadataValue.MatchString(user):
		c.note(c.userPath())
	default:
		dst = field(append(key(dst, "requestMetadata"), '{'), "user", user)
		dst = append(dst, '}')
	}
	return dst
}
