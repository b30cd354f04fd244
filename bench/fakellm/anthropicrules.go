package fakellm

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// claude is a request to a Claude model, through Anthropic or through Bedrock. Its choice of tools and formats is the chat's.
type claude struct {
	chat
	said     []said
	thinking string // "", disabled, enabled, adaptive
	display  string // of thoughts: "", summarized, omitted
	budget   int
	heat     *float64 // temperature
	topP     *float64
	topK     bool
	stops    []string
	stopped  string // the stop sequence that ended the answer
}

// said is one message.
type said struct {
	role   string
	at     string // its place in the request
	blocks []block
}

// block is a content block with what the rules look at, in Anthropic's terms; kind is its type.
type block struct {
	kind, at              string
	id, name              string // of a tool_use; id also of the tool_use that a tool_result answers
	text, signature, data string
}

const docs = "Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking"

// signed is the signature of a thought: who has it can check it.
func signed(thought string) string {
	sum := sha256.Sum256([]byte("fakellm " + thought))
	return "sig_" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// generation is the version in the name of a Claude model, such as 4.5, wherever it stands in the name; 0 for other names.
func generation(model string) float64 {
	_, name, ok := strings.Cut(model, "claude-")
	if !ok {
		return 0
	}
	version := ""
	for part := range strings.SplitSeq(name, "-") {
		part, _, _ = strings.Cut(part, "@")
		n, err := strconv.Atoi(part)
		switch {
		case err != nil && version != "", err == nil && n > 99:
			v, _ := strconv.ParseFloat(version, 64)
			return v
		case err == nil && version == "":
			version = part
		case err == nil:
			version += "." + part
		}
	}
	v, _ := strconv.ParseFloat(version, 64)
	return v
}

// omits reports whether thoughts come without their text, as the newest models do unless they are told otherwise.
func (c *claude) omits(model string) bool {
	return c.display == "omitted" || c.display == "" && c.thinks && generation(model) >= 4.7
}

// sampling are the rules for temperature and its like.
func (c *claude) sampling(model string) string {
	gen := generation(model)
	switch {
	case gen >= 4.7 && c.heat != nil && *c.heat != 1:
		return "`temperature` is deprecated for this model."
	case gen >= 4.7 && c.topP != nil && *c.topP != 1:
		return "`top_p` is deprecated for this model."
	case gen >= 4.7 && c.topK:
		return "`top_k` is deprecated for this model."
	case c.heat != nil && c.topP != nil && (gen >= 4.5 || strings.Contains(model, "claude-opus-4-1")):
		return "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
	}
	return ""
}

// thinkingRules are the rules for a request that asks for thoughts.
func (c *claude) thinkingRules(model string) string {
	gen := generation(model)
	switch {
	case c.thinking != "enabled" && c.thinking != "adaptive":
		return ""
	case c.thinking == "enabled" && gen >= 4.7:
		return "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior."
	case c.thinking == "adaptive" && gen > 0 && gen < 4.6:
		return "adaptive thinking is not supported on this model"
	case c.thinking == "enabled" && c.budget < 1024:
		return "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
	case c.thinking == "enabled" && c.limit >= 0 && c.budget >= c.limit:
		return "`max_tokens` must be greater than `thinking.budget_tokens`. " + docs + "#max-tokens-and-context-window-size"
	case c.heat != nil && *c.heat != 1:
		return "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode. " + docs
	case c.topK:
		return "`top_k` must be unset when thinking is enabled. " + docs
	case c.topP != nil && *c.topP < 0.95:
		return "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled. " + docs
	case c.toolMode != "" && c.toolMode != "auto" && c.toolMode != "none":
		return "Thinking may not be enabled when tool_choice forces tool use."
	}
	return c.loopBeginsWithThought()
}

// loopBeginsWithThought checks that the tool calls since the user last spoke began with a thought, which is asked only of thinking
// with a budget.
func (c *claude) loopBeginsWithThought() string {
	if c.thinking != "enabled" {
		return ""
	}
	var first *said
	calls := false
	for i := range c.said {
		m := &c.said[i]
		switch {
		case m.role == "assistant" && first == nil:
			first = m
		case m.role == "user" && !m.has("tool_result"):
			first, calls = nil, false
		}
		calls = calls || m.role == "assistant" && m.has("tool_use")
	}
	if first == nil || !calls || len(first.blocks) == 0 {
		return ""
	}
	b := &first.blocks[0]
	if b.kind == "thinking" || b.kind == "redacted_thinking" {
		return ""
	}
	return b.at + ".type: Expected `thinking` or `redacted_thinking`, but found `" + b.kind + "`. When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks). We recommend you include thinking blocks from previous turns. To avoid this requirement, disable `thinking`. " + docs //nolint:misspell // Anthropic's own words
}

func (m *said) has(kind string) bool {
	return slices.ContainsFunc(m.blocks, func(b block) bool { return b.kind == kind })
}

// thoughts checks that the thoughts in the conversation are this simulation's own, unchanged.
func (c *claude) thoughts() string {
	for i := range c.said {
		m := &c.said[i]
		for j := range m.blocks {
			b := &m.blocks[j]
			switch {
			case b.kind != "thinking" && b.kind != "redacted_thinking":
			case m.role != "assistant":
				return b.at + ": `" + b.kind + "` blocks may only be in `assistant` messages"
			case b.kind == "thinking" && b.signature != signed(b.text):
				return b.at + ": Invalid `signature` in `thinking` block"
			case b.kind == "redacted_thinking" && b.data == "":
				return b.at + ": Invalid `data` in `redacted_thinking` block"
			case j == len(m.blocks)-1:
				return m.at + ": The final block in an assistant message cannot be `thinking`."
			}
		}
	}
	return ""
}

// ending are the rules for a conversation whose last word the assistant has.
func (c *claude) ending(model string) string {
	if len(c.said) == 0 || c.said[len(c.said)-1].role != "assistant" {
		return ""
	}
	if generation(model) >= 4.6 {
		return "This model does not support assistant message prefill. The conversation must end with a user message."
	}
	last := c.said[len(c.said)-1]
	if n := len(last.blocks); n > 0 && last.blocks[n-1].kind == "text" {
		if text := last.blocks[n-1].text; strings.TrimRight(text, " \t\r\n") != text {
			return "messages: final assistant content cannot end with trailing whitespace"
		}
	}
	return ""
}

// paired checks that tool calls are answered at once, all of them and nothing else.
func (c *claude) paired() string {
	var owed []string
	for i := range c.said {
		m := &c.said[i]
		if m.role == "assistant" {
			owed = m.calls()
			if wrong := m.repeatedCall(); wrong != "" {
				return wrong
			}
			if len(owed) > 0 && i == len(c.said)-1 {
				return unpaired(m.at, owed)
			}
			continue
		}
		results := m.leading("tool_result")
		var missing []string
		for _, id := range owed {
			if !slices.ContainsFunc(results, func(b block) bool { return b.id == id }) {
				missing = append(missing, id)
			}
		}
		if missing != nil {
			return unpaired(c.said[i-1].at, missing)
		}
		if wrong := m.strayResult(owed); wrong != "" {
			return wrong
		}
		owed = nil
	}
	return ""
}

func unpaired(at string, ids []string) string {
	return at + ": `tool_use` ids were found without `tool_result` blocks immediately after: " + strings.Join(ids, ", ") +
		". Each `tool_use` block must have a corresponding `tool_result` block in the next message."
}

func (m *said) calls() []string {
	var ids []string
	for _, b := range m.blocks {
		if b.kind == "tool_use" {
			ids = append(ids, b.id)
		}
	}
	return ids
}

func (m *said) repeatedCall() string {
	var ids []string
	for _, b := range m.blocks {
		if b.kind == "tool_use" && slices.Contains(ids, b.id) {
			return "messages: `tool_use` ids must be unique"
		}
		if b.kind == "tool_use" {
			ids = append(ids, b.id)
		}
	}
	return ""
}

// leading are the blocks of that kind before the first of another one.
func (m *said) leading(kind string) []block {
	n := slices.IndexFunc(m.blocks, func(b block) bool { return b.kind != kind })
	if n < 0 {
		n = len(m.blocks)
	}
	return m.blocks[:n]
}

func (m *said) strayResult(owed []string) string {
	var answered []string
	for _, b := range m.blocks {
		switch {
		case b.kind != "tool_result":
		case !slices.Contains(owed, b.id):
			return b.at + ": unexpected `tool_use_id` found in `tool_result` blocks: " + b.id +
				". Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
		case slices.Contains(answered, b.id):
			return b.at + ": each tool_use must have a single result. Found multiple `tool_result` blocks with id: " + b.id
		default:
			answered = append(answered, b.id)
		}
	}
	return ""
}

// merged joins neighbours of the same role, as Anthropic does before it looks.
func merged(all []said) []said {
	var out []said
	for _, m := range all {
		if n := len(out); n > 0 && out[n-1].role == m.role {
			out[n-1].blocks = append(slices.Clip(out[n-1].blocks), m.blocks...)
			continue
		}
		out = append(out, m)
	}
	return out
}

// offered are the rules for tools and the choice among them; names are all tools, also the provider's own.
func (c *claude) offered(names []string) string {
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return "tools: Tool names must be unique."
		}
	}
	switch c.toolMode {
	case "":
	case "auto", "none", "required":
		if len(names) == 0 {
			return "tool_choice may only be specified while providing tools."
		}
	default:
		if !slices.Contains(names, c.toolMode) {
			return "Tool '" + c.toolMode + "' not found in provided tools"
		}
	}
	return ""
}

// markers counts the cache_control or cachePoint members anywhere in v.
func markers(v gjson.Result, key string) int {
	n := 0
	if strings.Contains(v.Raw, `"`+key+`"`) {
		v.ForEach(func(k, inner gjson.Result) bool {
			if k.Str == key && inner.IsObject() {
				n++
			}
			n += markers(inner, key)
			return true
		})
	}
	return n
}

// tooManyMarkers is for the member that has n markers, when that is too many.
func tooManyMarkers(n int) string {
	if n <= 4 {
		return ""
	}
	return fmt.Sprintf("A maximum of 4 blocks with cache_control may be provided. Found %d.", n)
}

// strictRules are the limits over all strict tools together with the schema of the answer.
// https://platform.claude.com/docs/en/build-with-claude/structured-outputs#schema-complexity-limits
func (c *claude) strictRules() string {
	optional, unions := countSchema(c.schema.Get("schema"))
	strict := 0
	for _, t := range c.tools {
		if t.strict {
			strict++
			o, u := countSchema(t.schema)
			optional, unions = optional+o, unions+u
		}
	}
	switch {
	case strict > 20:
		return fmt.Sprintf("Too many strict tools (%d). The maximum number of strict tools supported is 20. Try reducing the number of tools marked as strict.", strict)
	case optional > 24:
		return fmt.Sprintf("Schemas contains too many optional parameters (%d), which would make grammar compilation inefficient. Reduce the number of optional parameters in your tool schemas (limit: 24).", optional)
	case unions > 16:
		return fmt.Sprintf("Schemas contains too many parameters with union types (%d parameters with type arrays or anyOf). This causes exponential compilation cost. Reduce the number of nullable or union-typed parameters (limit: 16 parameters with unions).", unions)
	}
	return ""
}

// countSchema counts the properties in a schema, wherever they are, that are optional and that have several types.
func countSchema(v gjson.Result) (optional, unions int) {
	required := v.Get("required").Array()
	v.Get("properties").ForEach(func(name, p gjson.Result) bool {
		if !slices.ContainsFunc(required, func(r gjson.Result) bool { return r.Str == name.Str }) {
			optional++
		}
		if p.Get("anyOf").Exists() || p.Get("type").IsArray() {
			unions++
		}
		return true
	})
	inner := func(v gjson.Result) {
		o, u := countSchema(v)
		optional, unions = optional+o, unions+u
	}
	for _, name := range []string{"properties", "$defs", "definitions", "anyOf", "allOf"} {
		v.Get(name).ForEach(func(_, v gjson.Result) bool {
			inner(v)
			return true
		})
	}
	if items := v.Get("items"); items.IsObject() {
		inner(items)
	}
	return optional, unions
}

// billed counts the conversation, and remembers what was said last.
func (c *claude) billed(x *exchange) {
	for i := range c.said {
		m := &c.said[i]
		x.bill.Prompt += 3
		c.lastRole, c.last = m.role, ""
		for _, b := range m.blocks {
			switch b.kind {
			case "image":
				x.bill.Prompt += 85
			case "document":
				x.bill.Prompt += 10 + tokensOf(b.text)
			case "text":
				c.last += b.text
				x.bill.Prompt += tokensOf(b.text)
			default:
				x.bill.Prompt += tokensOf(b.name + b.text)
			}
		}
	}
	x.bill.Prompt += c.toolTokens()
}
