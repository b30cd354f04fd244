package dialect

import (
	"cmp"

	"github.com/tidwall/gjson"
)

// mostToolName is how long Anthropic's names of tools may be: ^[a-zA-Z0-9_-]{1,128}$.
const mostToolName = 128

// decideTools finds the tools and which of them the model may call.
func (b *messagesBody) decideTools() error {
	strict := &strictness{}
	if b.nativeFormat() {
		strict = strictnessOf(b.r.Format.Schema)
	}
	for _, tool := range b.r.Tools {
		if tool.Raw == "" {
			if tool.Schema == "" {
				tool.Strict = nil // there is nothing to be strict about
			} else if tool.Strict != nil && *tool.Strict && !(b.traits.jsonSchema && claudeSchema(tool.Schema) && strict.admits(tool.Schema)) {
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
	var err error
	if b.choice, err = b.choiceAmong(b.tools); err != nil {
		return err
	}
	if len(b.tools) == 0 {
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
	for _, name := range pastNames(b.turns) {
		b.tools = append(b.tools, Tool{Name: name})
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
	case b.nativeFormat():
		b.format = f
		return nil
	case b.forced(): // the answer is a call, not text
		return nil
	case gjson.Get(f.Schema, "type").Str != "object":
		return b.refuse(b.path("response_format", "text.format"), "the schema must be that of an object for this model")
	}
	b.schema = b.spareName(cmp.Or(f.Name, "answer"), mostToolName)
	b.choice = Choice{Mode: ChoiceNamed, Name: b.schema}
	if len(b.tools) > 0 && b.r.Choice.Mode != ChoiceNone && len(b.r.Tools) > 0 {
		b.choice.Mode = ChoiceRequired
	}
	about := cmp.Or(f.Description, "Gives the final answer. Its input is what the user gets to see.")
	b.tools = append(b.tools, Tool{Name: b.schema, Description: about, Schema: f.Schema})
	return nil
}

// nativeFormat reports whether the model is asked for JSON natively.
func (b *messagesBody) nativeFormat() bool {
	f := b.r.Format
	return f != nil && f.Schema != "" && b.traits.jsonSchema && (b.traits.noForcing || claudeSchema(f.Schema) && strictnessOf(f.Schema).within())
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
	if tool.Cache != "" && !b.unmarked[tool.Path] {
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
