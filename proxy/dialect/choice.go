package dialect

import (
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// choiceAmong is the client's choice as it can be told with the tools that are sent. A tool that was left out cannot be
// forced: the model is free then.
func (t *Translation) choiceAmong(sent []Tool) (Choice, error) {
	choice := t.Request.Choice
	named := func(tool Tool) bool { return nameOf(&tool) == choice.Name }
	switch {
	case choice.Mode != ChoiceRequired && choice.Mode != ChoiceNamed:
		return choice, nil
	case len(t.Request.Tools) == 0:
		return choice, wire.Invalid("tool_choice", "tool_choice asks for a tool, but there are none.")
	case choice.Mode == ChoiceNamed && !slices.ContainsFunc(t.Request.Tools, named):
		return choice, wire.Invalid("tool_choice", "tool_choice names %q, which is not among the tools.", choice.Name)
	case len(sent) == 0:
		t.note("tool_choice")
		return Choice{}, nil
	case choice.Mode == ChoiceNamed && !slices.ContainsFunc(sent, named):
		t.note("tool_choice")
		return Choice{Mode: ChoiceAuto}, nil
	}
	return choice, nil
}

// nameOf is the name of a tool, "" for one of a provider's own that has none.
func nameOf(tool *Tool) string {
	if tool.Name == "" && tool.Raw != "" {
		return gjson.Get(tool.Raw, "name").Str
	}
	return tool.Name
}

// refuseBlock is refuse for a part of a conversation. Of a call that is left out the result is, too: see orphan.
func (t *Translation) refuseBlock(b *Block, why string) error {
	for _, name := range []string{"id", "call_id"} {
		if id := gjson.Get(b.Raw, name).Str; b.Kind == Other && id != "" {
			if t.uncalled == nil {
				t.uncalled = map[string]bool{}
			}
			t.uncalled[id] = true
		}
	}
	if b.Kind == Other && t.Request.From == wire.Response {
		why = "items of this type are understood only by OpenAI's own Responses API"
	}
	return t.refuse(b.Path, why)
}

// callInput is a call's input as a JSON object, and names the place where the client sent what is none.
func (t *Translation) callInput(b *Block) string {
	input := inputObject(b.Input)
	if input != b.Input && !blank(b.Input) {
		path := b.Path + ".arguments"
		if t.Request.From == wire.Chat && !strings.HasSuffix(b.Path, ".function_call") {
			path = b.Path + ".function.arguments"
		}
		t.note(path)
	}
	return input
}

// toolReference is the text that stands for what a search for tools found, where the protocol has no such block.
func (t *Translation) toolReference(b *Block, most int) (text string, ok bool) {
	if t.Request.From != wire.Message || b.Kind != Other || gjson.Get(b.Raw, "type").Str != "tool_reference" {
		return "", false
	}
	return "Tool available: " + t.toolName(gjson.Get(b.Raw, "tool_name").Str, most), true
}

// orphan reports whether a block is the result of a call that was left out, and names it.
func (t *Translation) orphan(b *Block) bool {
	if b.Kind != ToolResult || !t.uncalled[b.ID] {
		return false
	}
	t.note(b.Path)
	return true
}
