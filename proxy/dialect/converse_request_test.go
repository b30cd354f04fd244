package dialect

import (
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// forBedrock reads a chat request and writes it for a model of Bedrock's.
func forBedrock(t *testing.T, model, body string) (*Translation, string) {
	t.Helper()
	r, err := Read(wire.Chat, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	tr := &Translation{Request: r, To: Converse, Provider: "bedrock", Model: model}
	out, err := tr.AppendRequest(nil)
	if err != nil {
		t.Fatal(err)
	}
	return tr, string(out)
}

const oldClaude = "anthropic.claude-3-5-sonnet-20241022-v2:0"

func TestConverseSchemaComesBackAsText(t *testing.T) {
	tr, body := forBedrock(t, oldClaude, `{"model":"m","messages":[{"role":"user","content":"hi"}],
		"tools":[{"type":"function","function":{"name":"a.b"}},{"type":"function","function":{"name":"out"}}],
		"response_format":{"type":"json_schema","json_schema":{"name":"out","schema":{"type":"object"}}}}`)
	if !strings.Contains(body, `"name":"answer_out"`) || !strings.Contains(body, `"toolChoice":{"any":{}}`) {
		t.Error(body)
	}
	events, err := converseStream(t, `
		contentBlockStart {"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"1","name":"answer_out"}}}
		contentBlockDelta {"contentBlockIndex":0,"delta":{"toolUse":{"input":"{}"}}}
		messageStop {"stopReason":"tool_use"}`)
	for i := range events {
		tr.Restore(&events[i])
	}
	if got, want := storied(events), `start; open 0 text; delta 0 "{}"; shut 0; stop end`; err != nil || got != want {
		t.Errorf("%v %s, expected %s", err, got, want)
	}
	open := Event{Type: Open, Kind: ToolUse, Name: fitted("a.b", 64)}
	if tr.Restore(&open); open.Name != "a.b" {
		t.Errorf("the tool is called %s", open.Name)
	}
}

func TestConverseCount(t *testing.T) {
	tr, _ := forBedrock(t, oldClaude, `{"model":"m","max_tokens":5,"stop":["x"],"messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f"}}]}`)
	out, err := tr.AppendCount([]byte("before"))
	want := `before{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"hi"}]}],"system":[{"text":"s"}],` +
		`"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{}}}}}]}}}}`
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s\nexpected\n%s", err, out, want)
	}
}

func TestDocumentNames(t *testing.T) {
	c := &converseRequest{documents: map[string]int{}}
	for _, names := range [][2]string{
		{"a.pdf", "a"}, {"a.PDF", "a 2"}, {"a", "a 3"}, {"", "document"}, {"日本.md", "document 2"},
		{"x  y__z.v2.docx", "x y z v2"}, {"[1] (b)-c", "[1] (b)-c"}, {"../../etc/passwd\n<b>", "etc passwd b"},
		{strings.Repeat("n ", 200), strings.TrimSpace(strings.Repeat("n ", 95))},
	} {
		if got := c.documentName(names[0]); got != names[1] {
			t.Errorf("%q became %q, expected %q", names[0], got, names[1])
		}
	}
}

func TestUnsigned(t *testing.T) {
	turn := func(role Role, kinds ...Kind) Turn {
		turn := Turn{Role: role}
		for _, k := range kinds {
			turn.Blocks = append(turn.Blocks, Block{Kind: k, Signature: "s"})
		}
		return turn
	}
	for name, c := range map[string]struct {
		turns []Turn
		want  bool
	}{
		"no calls":                     {[]Turn{turn(RoleUser, Text), turn(RoleAssistant, Text), turn(RoleUser, Text)}, false},
		"calls":                        {[]Turn{turn(RoleUser, Text), turn(RoleAssistant, ToolUse), turn(RoleUser, ToolResult)}, true},
		"and then text":                {[]Turn{turn(RoleUser, Text), turn(RoleAssistant, ToolUse), turn(RoleUser, ToolResult), turn(RoleUser, Text)}, true},
		"done with":                    {[]Turn{turn(RoleAssistant, ToolUse), turn(RoleUser, ToolResult), turn(RoleAssistant, Text), turn(RoleUser, Text)}, false},
		"thought of":                   {[]Turn{turn(RoleAssistant, Thinking, ToolUse), turn(RoleSystem, Text), turn(RoleUser, ToolResult)}, false},
		"thought of before":            {[]Turn{turn(RoleAssistant, Thinking), turn(RoleAssistant, ToolUse), turn(RoleUser, ToolResult), turn(RoleAssistant, ToolUse), turn(RoleUser, ToolResult)}, false},
		"thoughts of another question": {[]Turn{turn(RoleAssistant, Thinking, Text), turn(RoleUser, Text), turn(RoleAssistant, ToolUse), turn(RoleUser, ToolResult)}, true},
	} {
		if got := (&Translation{Request: &Request{Turns: c.turns}}).unsigned(); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestThoughts(t *testing.T) {
	for _, c := range []struct {
		model   string
		from    wire.Kind
		asked   Reasoning
		forced  bool
		want    thought
		dropped []string
	}{
		{"claude-sonnet-4-5", wire.Chat, Reasoning{}, false, thought{}, nil},
		{"claude-sonnet-4-5", wire.Chat, Reasoning{Effort: "low"}, false, thought{kind: "enabled", budget: 2048}, nil},
		{"claude-sonnet-4-5", wire.Chat, Reasoning{Effort: "max"}, false, thought{kind: "enabled", budget: 5000}, nil},
		{"claude-sonnet-4-5", wire.Chat, Reasoning{Budget: 20000}, false, thought{kind: "enabled", budget: 9999}, nil},
		{"claude-sonnet-4-5", wire.Chat, Reasoning{Effort: "low"}, true, thought{}, []string{"reasoning_effort"}},
		{"claude-sonnet-4-5", wire.Message, Reasoning{Effort: "low"}, false, thought{}, []string{"output_config.effort"}},
		{"claude-3-5-haiku", wire.Response, Reasoning{Effort: "low"}, false, thought{}, []string{"reasoning"}},
		{"claude-opus-4-5", wire.Message, Reasoning{Effort: "max", Budget: 2000}, false, thought{kind: "enabled", budget: 2000, effort: "high"}, nil},
		{"claude-opus-4-6", wire.Chat, Reasoning{Effort: "minimal"}, false, thought{kind: "adaptive", effort: "low"}, nil},
		{"claude-opus-4-7", wire.Message, Reasoning{Budget: 9000}, false, thought{kind: "adaptive", effort: "medium"}, nil},
		{"claude-opus-4-7", wire.Chat, Reasoning{Off: true}, false, thought{}, nil},
		{"claude-opus-5", wire.Chat, Reasoning{Effort: "none"}, false, thought{kind: "disabled"}, nil},
		{"claude-opus-5", wire.Chat, Reasoning{}, true, thought{kind: "disabled"}, nil},
		{"claude-fable-5", wire.Chat, Reasoning{Off: true}, false, thought{}, []string{"reasoning_effort"}},
	} {
		tr := &Translation{Model: c.model, Request: &Request{From: c.from, Reasoning: c.asked}}
		got, err := tr.thought(traitsOf(c.model), 10000, c.forced)
		if err != nil || got != c.want || !slices.Equal(tr.Dropped(), c.dropped) {
			t.Errorf("%s, %+v, forced %t: %+v, dropped %v, %v", c.model, c.asked, c.forced, got, tr.Dropped(), err)
		}
	}
	tr := &Translation{Request: &Request{From: wire.Message, Reasoning: Reasoning{Budget: 10000}}}
	if th, err := tr.thought(traitsOf("claude-sonnet-4-5"), 10000, false); err == nil {
		t.Errorf("a budget of all tokens: %+v", th)
	}
}
