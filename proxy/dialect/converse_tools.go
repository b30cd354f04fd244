package dialect

import (
	"cmp"
	"strings"

	"github.com/tidwall/gjson"
)

// decideTools decides what the model is told of tools, and whether it may, must or must not call them.
//
// Converse has no choice "none". The tools are left out then, unless the conversation has calls or results: with those
// Bedrock wants to be told of tools, also where the client names none anymore. Claude is given its own tool_choice none
// in that case. Other models are told in words, and the choice is noted as dropped, as a model may disobey.
func (c *converseRequest) decideTools() error {
	r := c.Request
	if err := c.keepFunctions(); err != nil {
		return err
	}
	var err error
	if c.choice, err = c.choiceAmong(c.tools); err != nil {
		return err
	}
	if err := c.weaken(); err != nil {
		return err
	}
	if err := c.decideFormat(); err != nil {
		return err
	}
	c.mute = c.called && c.schema == "" && (c.choice.Mode == ChoiceNone || len(c.tools) == 0)
	if c.mute && c.choice.Mode == ChoiceNone && c.family != claudeFamily {
		c.note("tool_choice")
	}
	if r.Serial && c.callable() && c.family != claudeFamily {
		path := c.where("parallel_tool_calls", "tool_choice.disable_parallel_tool_use", "parallel_tool_calls")
		if len(c.tools) == 1 {
			c.note(path)
			return nil
		}
		return c.refuse(path, "the model cannot be kept from calling several tools at once")
	}
	return nil
}

// forces tells what the model can be made to do: to call any tool, and to call a certain one. The others refuse toolChoice.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolChoice.html
func (c *converseRequest) forces() (anyTool, oneTool bool) {
	switch {
	case c.model.noForcing:
		return false, false
	case c.is(claudeFamily, novaFamily, nova2Family):
		return true, true
	}
	return strings.Contains(c.Model, "mistral-large"), false
}

// weaken makes of the client's choice what the model can be made to do.
func (c *converseRequest) weaken() error {
	anyTool, oneTool := c.forces()
	switch {
	case !c.forced() || oneTool:
		return nil
	case anyTool && c.choice.Mode == ChoiceNamed && len(c.tools) == 1:
		c.choice = Choice{Mode: ChoiceRequired}
		return nil
	case anyTool && c.choice.Mode == ChoiceRequired:
		return nil
	}
	c.choice = Choice{Mode: ChoiceAuto}
	return c.refuse("tool_choice", "the model cannot be made to call a tool")
}

// keepFunctions leaves out other tools, which are known to their provider alone.
func (c *converseRequest) keepFunctions() error {
	for _, tool := range c.Request.Tools {
		if tool.Raw == "" {
			c.tools = append(c.tools, tool)
		} else if err := c.refuse(tool.Path, "only tools that are functions can be sent"); err != nil {
			return err
		}
	}
	return nil
}

// forced reports whether the model must call a tool.
func (c *converseRequest) forced() bool {
	return c.choice.Mode == ChoiceRequired || c.choice.Mode == ChoiceNamed || c.schema != ""
}

// callable reports whether the model may call the client's tools.
func (c *converseRequest) callable() bool {
	return len(c.tools) > 0 && c.choice.Mode != ChoiceNone
}

// decideFormat finds how the model is bound to a JSON schema: natively, or by a tool with the schema for its input, which
// Restore makes text again. Where the client has tools as well, the model must call one of them or that one. Where the
// client forces a call, the answer is no text anyway.
func (c *converseRequest) decideFormat() error {
	f := c.Request.Format
	switch {
	case f == nil || f.Schema == "":
		return nil
	case c.binds(f.Schema) && (c.family != claudeFamily || strictnessOf(f.Schema).within()), c.model.jsonSchema && c.model.noForcing:
		c.native, c.strict = true, strictnessOf(f.Schema)
		return nil
	case c.forced():
		return nil
	case gjson.Get(f.Schema, "type").Str != "object":
		return c.refuse(c.where("response_format", "output_config.format", "text.format"), "the schema must be that of an object for this model")
	}
	c.schema = c.spareName(cmp.Or(f.Name, "answer"), mostConverseName)
	return nil
}

// mostConverseName is how long names of tools, and ids of their calls, may be.
const mostConverseName = 64

// binds reports whether the model's answers, and its calls of strict tools, can be bound to a JSON schema.
func (c *converseRequest) binds(schema string) bool {
	return (c.model.jsonSchema || hasConverseSchema(c.Model)) && claudeSchema(schema)
}

// appendTools writes toolConfig.
func (c *converseRequest) appendTools(dst []byte) ([]byte, error) {
	if !c.callable() && !c.called && c.schema == "" {
		return dst, nil
	}
	dst = append(key(dst, "toolConfig"), `{"tools":[`...)
	if c.callable() || c.called {
		for i := range c.tools {
			dst = c.appendTool(dst, &c.tools[i])
		}
	}
	if len(c.tools) == 0 && c.called {
		dst = c.appendPastTools(dst)
	}
	if name := c.schema; name != "" {
		f := c.Request.Format
		about := cmp.Or(f.Description, "Gives the final answer. Its input is what the user gets to see.")
		dst = appendToolSpec(dst, name, about, f.Schema, false)
	}
	return append(c.appendChoice(append(dst, ']')), '}'), nil
}

func (c *converseRequest) appendTool(dst []byte, tool *Tool) []byte {
	strict := tool.Strict != nil && *tool.Strict
	if strict && !(c.binds(tool.Schema) && (c.family != claudeFamily || c.strict.admits(tool.Schema))) {
		strict = false
		c.note(tool.Path + ".strict")
	}
	dst = appendToolSpec(dst, c.toolName(tool.Name, mostConverseName), tool.Description, tool.Schema, strict)
	switch {
	case tool.Cache == "" || c.unmarked[tool.Path]:
	case c.is(claudeFamily):
		dst = c.appendCache(dst, &Block{Path: tool.Path, Cache: tool.Cache})
	default: // Nova caches messages and instructions only
		c.note(c.markerPath(&Block{Path: tool.Path}))
	}
	return dst
}

func appendToolSpec(dst []byte, name, about, schema string, strict bool) []byte {
	dst = field(append(comma(dst), `{"toolSpec":{`...), "name", name)
	if !blank(about) {
		dst = field(dst, "description", about)
	}
	dst = rawField(append(key(dst, "inputSchema"), '{'), "json", objectSchema(schema))
	dst = append(dst, '}')
	if strict {
		dst = boolField(dst, "strict", true)
	}
	return append(dst, '}', '}')
}

// appendPastTools tells of the tools that the conversation has calls of.
func (c *converseRequest) appendPastTools(dst []byte) []byte {
	names := pastNames(c.Request.Turns)
	if len(names) == 0 {
		names = []string{c.spareName("tool", mostConverseName)}
	}
	for _, name := range names {
		dst = appendToolSpec(dst, c.toolName(name, mostConverseName), "Not available anymore.", "", false)
	}
	return dst
}

// appendChoice writes toolChoice. Converse has no word for some of Claude's choices: then all of the choice goes to the
// additional fields, as Bedrock refuses a choice in both places. Auto is the default, and some models know no other.
func (c *converseRequest) appendChoice(dst []byte) []byte {
	if c.claudeChoice() != "" {
		return dst
	}
	name := c.schema
	anyTool, oneTool := c.forces()
	switch {
	case name != "" && !anyTool: // it is asked to in words
	case name != "" && !c.callable() && oneTool:
		dst = append(key(dst, "toolChoice"), `{"tool":{`...)
		return append(field(dst, "name", name), '}', '}')
	case name != "" || c.choice.Mode == ChoiceRequired:
		return append(key(dst, "toolChoice"), `{"any":{}}`...)
	case c.choice.Mode == ChoiceNamed:
		dst = append(key(dst, "toolChoice"), `{"tool":{`...)
		return append(field(dst, "name", c.toolName(c.choice.Name, mostConverseName)), '}', '}')
	}
	return dst
}

// claudeChoice is Claude's own type of choice where Converse has none: to call nothing, or one tool at a time.
func (c *converseRequest) claudeChoice() string {
	switch {
	case c.family != claudeFamily:
		return ""
	case c.mute:
		return "none"
	case !c.Request.Serial || !c.callable():
		return ""
	case c.schema != "" || c.choice.Mode == ChoiceRequired:
		return "any"
	case c.choice.Mode == ChoiceNamed:
		return "tool"
	}
	return "auto"
}
