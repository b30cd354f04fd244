package dialect

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// TestMessagesBodyAgain translates requests twice, as failover does: the first time must leave the request as it was.
func TestMessagesBodyAgain(t *testing.T) {
	files, err := filepath.Glob("testdata/requests/claude-*.chat.json")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d requests, %v", len(files), err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(body, []byte("//")) {
			_, body, _ = bytes.Cut(body, []byte("\n"))
		}
		req, err := Read(wire.Chat, body)
		if err != nil {
			t.Fatal(err)
		}
		translate := func(model string) string {
			tr := &Translation{To: Messages, Provider: "anthropic", Request: req, Model: model, Drop: true}
			out, err := tr.AppendRequest([]byte("x"))
			if err != nil {
				return err.Error()
			}
			return string(out)
		}
		first := translate("claude-sonnet-4-5")
		translate("claude-opus-4-6")
		if again := translate("claude-sonnet-4-5"); again != first {
			t.Errorf("%s: first\n%s\nand then\n%s", file, first, again)
		}
		if !strings.HasPrefix(first, `x{"model":"claude-sonnet-4-5"`) && !strings.Contains(first, "tool_choice asks") && !strings.Contains(first, "nothing_left") {
			t.Errorf("%s: %s", file, first)
		}
	}
}

// TestSchemaTool asks for JSON by a tool and gets text.
func TestSchemaTool(t *testing.T) {
	body := `{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"look.up"}}],
		"response_format":{"type":"json_schema","json_schema":{"name":"person","schema":{"type":"object"}}}}`
	req, err := Read(wire.Chat, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		tool string
		kind Kind
		stop Stop
	}{"answer": {"person", Text, StopEnd}, "call": {fitted("look.up", 128), ToolUse, StopTools}} {
		tr := &Translation{To: Messages, Provider: "anthropic", Request: req, Model: "claude-sonnet-4-20250514"}
		if _, err := tr.AppendRequest(nil); err != nil {
			t.Fatal(err)
		}
		events, err := play(t, tr.Reader(), lines(begins+`{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"`+test.tool+`","input":{}}}
			{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}
			{"type":"content_block_stop","index":0}
			`+ends))
		if err != nil {
			t.Fatal(err)
		}
		for i := range events {
			tr.Restore(&events[i])
		}
		a := gather(t, events)
		if b := a.Blocks[0]; b.Kind != test.kind || a.Stop != test.stop || b.Text+b.Input != `{"a":1}` || b.Kind == ToolUse && b.Name != "look.up" {
			t.Errorf("%s: %+v", name, a)
		}
		tr.called = false
		whole, err := tr.Reader().Whole([]byte(`{"content":[{"type":"tool_use","id":"t","name":"` + test.tool + `","input":{"a":1}}],"stop_reason":"tool_use"}`))
		if err != nil {
			t.Fatal(err)
		}
		tr.RestoreAnswer(whole)
		if b := whole.Blocks[0]; b.Kind != test.kind || whole.Stop != test.stop || b.Text+b.Input != `{"a":1}` {
			t.Errorf("%s: %+v", name, whole)
		}
	}
}

func TestClaudeSchema(t *testing.T) {
	for schema, want := range map[string]bool{
		`{"type":"object","properties":{"a":{"type":"string","enum":["x"]}},"additionalProperties":false}`:                                                         true,
		`{"type":"object","properties":{"a":{"type":"array","items":{"type":"string"},"minItems":1}},"additionalProperties":false}`:                                true,
		`{"type":"object","properties":{"minimum":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/b"}]}},"$defs":{"b":{"type":"string"}},"additionalProperties":false}`: true,
		`{"type":"object","properties":{}}`: false,
		`{"type":"object","properties":{"a":{"type":"integer","minimum":1}},"additionalProperties":false}`:           false,
		`{"type":"object","properties":{"a":{"anyOf":[{"type":"object"}]}},"additionalProperties":false}`:            false,
		`{"type":"object","properties":{"a":{"type":"array","items":{"oneOf":[]}}},"additionalProperties":false}`:    false,
		`{"type":"object","properties":{"a":{"type":"array","items":{},"minItems":2}},"additionalProperties":false}`: false,
		strings.Repeat(`{"items":`, 100) + `{}` + strings.Repeat(`}`, 100):                                           false,
		`[]`: false,
	} {
		if claudeSchema(schema) != want {
			t.Errorf("%s: not %t", schema, want)
		}
	}
}
