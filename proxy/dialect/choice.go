package dialect

import (
	"slices"

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
	if id := gjson.Get(b.Raw, "id").Str; b.Kind == Other && id != "" {
		if t.uncalled == nil {
			t.uncalled = map[string]bool{}
		}
		t.uncalled[id] = true
	}
	return t.refuse(b.Path, why)
}

// orphan reports whether a block is the result of a call that was left out, and names it.
func (t *Translation) orphan(b *Block) bool {
	if b.Kind != ToolResult || !t.uncalled[b.ID] {
		return false
	}
	t.note(b.Path)
	return true
}
