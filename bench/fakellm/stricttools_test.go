package fakellm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestStrictLimits has one request within Claude's limits over all strict schemas, and one beyond, for each limit.
func TestStrictLimits(t *testing.T) {
	claude, bedrock := start(t, Options{Kind: Anthropic}), described(t, Options{})
	schema := func(n int, property, required string) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`"p%d":%s`, i, property))
		}
		return `{"type":"object","properties":{` + strings.Join(all, ",") + `},"required":[` + required + `],"additionalProperties":false}`
	}
	none, wrapped := schema(0, "", ""), func(inner string) string { return schema(1, inner, `"p0"`) }
	optional, unions := schema(12, `{"type":"string"}`, ""), wrapped(schema(5, `{"type":["string","null"]}`, ""))
	for _, c := range []struct {
		tools   []string
		strict  bool
		format  string
		message string
	}{
		{slices.Repeat([]string{none}, 20), true, "", ""},
		{slices.Repeat([]string{none}, 21), true, "", "Too many strict tools (21)."},
		{slices.Repeat([]string{none}, 21), false, "", ""},
		{[]string{optional, optional}, true, "", ""},
		{[]string{optional, optional}, true, schema(1, `{"type":"string"}`, ""), "Schemas contains too many optional parameters (25)"},
		{[]string{optional, optional, optional}, false, none, ""},
		{[]string{unions, unions, unions}, true, schema(1, `{"anyOf":[{"type":"null"}]}`, `"p0"`), ""},
		{[]string{unions, unions, unions}, true, schema(2, `{"anyOf":[{"type":"null"}]}`, `"p0","p1"`), "Schemas contains too many parameters with union types (17 "},
	} {
		var tools, specs []string
		for i, s := range c.tools {
			tools = append(tools, fmt.Sprintf(`{"name":"f%d","input_schema":%s,"strict":%t}`, i, s, c.strict))
			specs = append(specs, fmt.Sprintf(`{"toolSpec":{"name":"f%d","inputSchema":{"json":%s},"strict":%t}}`, i, s, c.strict))
		}
		more, output := `,"tools":[`+strings.Join(tools, ",")+`]`, `,"toolConfig":{"tools":[`+strings.Join(specs, ",")+`]}`
		if c.format != "" {
			more += `,"output_config":{"format":{"type":"json_schema","schema":` + c.format + `}}`
			output += `,"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":` + strconv.Quote(c.format) + `}}}}`
		}
		got, there := messages(t, claude, messageBody("fake", more)), post(t, bedrock, "/model/fake/converse", converseBody(output))
		said, model := got.get("error.message").Str, there.get("message").Str
		if (got.status == 200) != (c.message == "") || !strings.HasPrefix(said, c.message) {
			t.Errorf("%d tools, %s: %d %s", len(c.tools), c.message, got.status, got.body)
		}
		if (there.status == 200) != (c.message == "") || !strings.HasPrefix(strings.TrimPrefix(model, "The model returned the following errors: "), c.message) {
			t.Errorf("%d tools of Bedrock's, %s: %d %s", len(c.tools), c.message, there.status, there.body)
		}
	}
}
