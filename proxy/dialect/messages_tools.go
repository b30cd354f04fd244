package dialect

import (
	"cmp"
	"slices"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// mostToolName is how long Anthropic's names of tools may be: ^[a-zA-Z0-9_-]{1,128}$.
const mostToolName = 128

// decideTools finds the tools and which of them the model may call.
func (b *messagesBody) decideTools() error {
	for _, tool := range b.r.Tools {
		if tool.Raw == "" {
			if tool.Schema == "" {
				tool.Strict = nil // there is nothing to be strict about
			} else if tool.Strict != nil && *tool.Strict && !(b.traits.jsonSchema && claudeSchema(tool.Schema)) {
				b.note(tool.Path + ".strict")
				tool.Strict = nil
			}
		} else if !anthropicTool(gjson.Get(tool.Raw, "type").Str) {
			if err := b.refuse(tool.Path, "a tool of this type is not known to Anthropic"); err != nil {
				return err
			}
			continue
		}
		b.tools = append(b.tools, tool)
	}
	b.choice = b.r.Choice
	if len(b.tools) == 0 {
		switch {
		case b.forced() && len(b.r.Tools) == 0:
			return wire.Invalid("tool_choice", "tool_choice asks for a tool, but there are none.")
		case b.forced():
			b.note("tool_choice") // its tools were left out
		}
		b.recallTools()
	}
	if b.forced() && b.traits.noForcing {
		b.choice = Choice{Mode: ChoiceAuto}
		return b.refuse("tool_choice", "the model cannot be made to call a tool")
	}
	return nil
}

// anthropicTool reports whether a type is that of a tool of Anthropic's own, which have a date: web_search_20250305.
func anthropicTool(kind string) bool {
	if kind == "mcp_toolset" {
		return true
	}
	at := len(kind) - len("_20250305")
	if at < 1 || kind[at] != '_' {
		return false
	}
	for _, c := range kind[at+1:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// recallTools declares the tools that the conversation speaks of where the request has none any more, and forbids them:
// the blocks of a conversation must be of known tools.
func (b *messagesBody) recallTools() {
	for _, turn := range b.turns {
		for _, block := range turn.Blocks {
			if block.Kind == ToolUse && !slices.ContainsFunc(b.tools, func(t Tool) bool { return t.Name == block.Name }) {
				b.tools = append(b.tools, Tool{Name: block.Name})
			}
		}
	}
	b.choice = Choice{Mode: ChoiceNone}
}

// decideFormat finds how the model is asked for JSON: natively where it has that and the schema is one that it takes, else
// by a tool with the schema for its input, which Restore makes text again. For any JSON object an instruction does: a tool
// without a schema tempts models to answer {}, and clients of OpenAI have to ask for JSON in words too.
func (b *messagesBody) decideFormat() error {
	f := b.r.Format
	switch {
	case f == nil:
		return nil
	case f.Schema == "":
		b.system = append(b.system, Block{Kind: Text, Text: "Answer with one JSON object and nothing else: no text around it and no code fence."})
		return nil
	case b.traits.jsonSchema && (claudeSchema(f.Schema) || b.traits.noForcing):
		b.format = f
		return nil
	case b.forced(): // the answer is a call, not text
		return nil
	case gjson.Get(f.Schema, "type").Str != "object":
		return b.refuse(b.path("response_format", "text.format"), "the schema must be that of an object for this model")
	}
	b.schema = fitted(cmp.Or(f.Name, "answer"), mostToolName)
	for b.toolNamed(b.schema) {
		b.schema = fitted("answer_"+b.schema, mostToolName)
	}
	b.choice = Choice{Mode: ChoiceNamed, Name: b.schema}
	if len(b.tools) > 0 && b.r.Choice.Mode != ChoiceNone && len(b.r.Tools) > 0 {
		b.choice.Mode = ChoiceRequired
	}
	about := cmp.Or(f.Description, "Gives the final answer. Its input is what the user gets to see.")
	b.tools = append(b.tools, Tool{Name: b.schema, Description: about, Schema: f.Schema})
	return nil
}

func (b *messagesBody) toolNamed(name string) bool {
	return slices.ContainsFunc(b.tools, func(t Tool) bool { return fitted(t.Name, mostToolName) == name })
}

// notInSchema are the keywords that Anthropic's structured outputs refuse.
// https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
var notInSchema = []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
	"maxItems", "uniqueItems", "contains", "minContains", "maxContains", "prefixItems", "minProperties", "maxProperties",
	"patternProperties", "propertyNames", "unevaluatedProperties", "dependentRequired", "dependentSchemas", "not", "if", "then", "else", "oneOf"}

// claudeSchema reports whether a JSON schema is one that Claude's answers and strict tools can be bound to.
func claudeSchema(schema string) bool { return claudeSchemaAt(gjson.Parse(schema), 0) }

func claudeSchemaAt(v gjson.Result, depth int) bool {
	if !v.IsObject() || depth > 32 {
		return false
	}
	if v.Get("type").Str == "object" && v.Get("additionalProperties").Raw != "false" {
		return false
	}
	fine := true
	v.ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "properties", "$defs", "definitions":
			v.ForEach(func(_, v gjson.Result) bool {
				fine = claudeSchemaAt(v, depth+1)
				return fine
			})
		case "items":
			fine = claudeSchemaAt(v, depth+1)
		case "anyOf", "allOf":
			for _, one := range v.Array() {
				fine = fine && claudeSchemaAt(one, depth+1)
			}
		case "minItems":
			fine = v.Num <= 1
		default:
			fine = !slices.Contains(notInSchema, k.Str)
		}
		return fine
	})
	return fine
}

func (b *messagesBody) appendTools(dst []byte) []byte {
	if len(b.tools) == 0 {
		return dst
	}
	dst = append(key(dst, "tools"), '[')
	for i := range b.tools {
		dst = b.appendTool(comma(dst), &b.tools[i])
	}
	return b.appendChoice(append(dst, ']'))
}

func (b *messagesBody) appendTool(dst []byte, tool *Tool) []byte {
	if tool.Raw != "" {
		return append(dst, tool.Raw...)
	}
	name := tool.Name
	if name != b.schema || b.schema == "" {
		name = b.toolName(name, mostToolName)
	}
	dst = field(append(dst, '{'), "name", name)
	if tool.Description != "" {
		dst = field(dst, "description", tool.Description)
	}
	dst = append(key(dst, "input_schema"), objectSchema(tool.Schema)...)
	if tool.Strict != nil && *tool.Strict {
		dst = boolField(dst, "strict", true)
	}
	if tool.Cache != "" {
		dst = rawField(dst, "cache_control", tool.Cache)
	}
	return append(dst, '}')
}

// objectSchema is the schema of a tool's input, which Anthropic wants to say that it is an object's.
func objectSchema(schema string) string {
	root := gjson.Parse(schema)
	switch {
	case !root.IsObject():
		return `{"type":"object","properties":{}}`
	case root.Get("type").Exists():
		return root.Raw
	}
	said := append([]byte(`{"type":"object"`), ',')
	if len(root.Map()) == 0 {
		said = said[:len(said)-1]
	}
	return string(append(said, root.Raw[1:]...))
}

func (b *messagesBody) appendChoice(dst []byte) []byte {
	choice := b.choice
	if choice.Mode == ChoiceUnset && b.r.Serial {
		choice.Mode = ChoiceAuto
	}
	kind := [...]string{ChoiceUnset: "", ChoiceAuto: "auto", ChoiceNone: "none", ChoiceRequired: "any", ChoiceNamed: "tool"}[choice.Mode]
	if kind == "" {
		return dst
	}
	dst = field(append(key(dst, "tool_choice"), '{'), "type", kind)
	if choice.Mode == ChoiceNamed {
		name := choice.Name
		if b.schema == "" || name != b.schema {
			name = b.toolName(name, mostToolName)
		}
		dst = field(dst, "name", name)
	}
	if b.r.Serial && choice.Mode != ChoiceNone {
		dst = boolField(dst, "disable_parallel_tool_use", true)
	}
	return append(dst, '}')
}
