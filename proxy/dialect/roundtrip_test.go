package dialect

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// A request that goes from Chat to Messages and back asks the same of a model: who says what in which order, the calls and
// their results, the media, the tools and the limits. Requests that one of the two cannot carry whole are left out.
func TestRequestRoundTrips(t *testing.T) {
	files, err := filepath.Glob("testdata/requests/*.chat.json")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(body), "// model: ") {
			continue
		}
		first, err := Read(wire.Chat, body)
		if err != nil {
			continue
		}
		there := &Translation{Request: first, To: Messages, Provider: "anthropic", Model: "claude-sonnet-4-20250514"} // knows no JSON schema: a tool stands for it
		messages, err := there.AppendRequest(nil)
		if err != nil || len(there.Dropped()) > 0 || there.schema != "" || there.names != nil || midSystem(first) || first.Format != nil {
			continue
		}
		second, err := Read(wire.Message, messages)
		if err != nil {
			t.Errorf("%s: its own Messages request is refused: %v\n%s", file, err, messages)
			continue
		}
		back := &Translation{Request: second, To: Chat, Provider: "openai", Model: "gpt-5.2"}
		chat, err := back.AppendRequest(nil)
		if err != nil || lossy(back.Dropped()) {
			continue
		}
		third, err := Read(wire.Chat, chat)
		if err != nil {
			t.Errorf("%s: its own Chat request is refused: %v\n%s", file, err, chat)
			continue
		}
		if moved[strings.TrimSuffix(filepath.Base(file), ".chat.json")] {
			continue
		}
		compared++
		if want, got := meaning(t, first), meaning(t, third); want != got {
			t.Errorf("%s:\n%s\nafter Messages and back:\n%s\nvia %s", file, want, got, messages)
		}
	}
	t.Logf("%d requests kept their meaning from Chat to Messages and back", compared)
	if compared < 15 {
		t.Error("too few requests could be compared")
	}
}

// moved are requests whose parts look different on the way back, as they must: Chat has no images in a tool's result and no
// documents of plain text, Messages wants the tools of past calls declared and a user who begins.
var moved = map[string]bool{
	"bedrock-blank":                true,
	"bedrock-choice-none-first":    true,
	"bedrock-no-tools-left":        true,
	"claude-files":                 true,
	"claude-only-system":           true,
	"claude-starts-with-assistant": true,
	"file-csv":                     true,
	"file-text":                    true,
	"tool-round-image":             true,
	"tool-round-no-tools":          true,
}

func midSystem(r *Request) bool {
	return slices.ContainsFunc(r.Turns, func(t Turn) bool { return t.Role == RoleSystem })
}

// lossy tells that more was left out than hints: cache markers and thoughts have no place in OpenAI's chat.
func lossy(dropped []string) bool {
	return slices.ContainsFunc(dropped, func(path string) bool {
		return !strings.Contains(path, "cache_control") && !strings.Contains(path, "thinking")
	})
}

// meaning is what a request asks, in a form that can be compared: neighbouring texts of one side are one.
func meaning(t *testing.T, r *Request) string {
	t.Helper()
	var lines []string
	ids := map[string]string{} // of calls, by their order: every dialect has its own rules for them
	for _, turn := range r.Turns {
		for i := range turn.Blocks {
			if b := &turn.Blocks[i]; b.Kind == ToolUse {
				ids[b.ID] = fmt.Sprint("#", len(ids))
			}
		}
	}
	add := func(who, kind, what string) {
		what = strings.ReplaceAll(what, "\n", "") // between the parts of a text
		if kind == "text" && len(lines) > 0 && strings.HasPrefix(lines[len(lines)-1], who+" text: ") {
			lines[len(lines)-1] += what
			return
		}
		lines = append(lines, who+" "+kind+": "+what)
	}
	for _, b := range r.System {
		add("system", "text", b.Text)
	}
	for _, turn := range r.Turns {
		for i := range turn.Blocks {
			describeBlock(t, add, ids, []string{"user", "assistant", "system"}[turn.Role], &turn.Blocks[i])
		}
	}
	for _, tool := range r.Tools {
		lines = append(lines, fmt.Sprintf("tool %s %q %s", tool.Name, tool.Description, schemaMeans(canonicalJSON(t, cmp.Or(tool.Schema, "{}")))))
	}
	lines = append(lines, fmt.Sprintf("choice %v %t, stop %q", r.Choice, r.Serial && len(r.Tools) > 0, r.Stop))
	if r.Temperature != nil {
		lines = append(lines, fmt.Sprint("temperature ", *r.Temperature))
	}
	return strings.Join(lines, "\n")
}

// schemaMeans takes the ways to say that any object will do for one.
func schemaMeans(schema string) string {
	switch schema {
	case "{}", `{"type":"object"}`, `{"properties":{},"type":"object"}`:
		return "any object"
	}
	return schema
}

func describeBlock(t *testing.T, add func(who, kind, what string), ids map[string]string, who string, b *Block) {
	switch b.Kind {
	case Text, Refusal:
		if strings.TrimSpace(b.Text) != "" {
			add(who, "text", strings.TrimSpace(b.Text))
		}
	case Image, Document, Audio:
		add(who, "media", fmt.Sprintf("%s %s %s %s", b.Media.Type, b.Media.Data, b.Media.URL, b.Media.Text))
	case ToolUse:
		add(who, "call", ids[b.ID]+" "+b.Name+" "+canonicalJSON(t, b.Input))
	case ToolResult:
		add(who, "result of", ids[b.ID])
		for i := range b.Content {
			describeBlock(t, add, ids, "tool", &b.Content[i])
		}
	case Thinking, Other:
	}
}

func canonicalJSON(t *testing.T, text string) string {
	t.Helper()
	if text == "" {
		return "{}"
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
