package dialect

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// paramOf is the field that an error names.
func paramOf(err error) string {
	var e *wire.Error
	if !errors.As(err, &e) || e.Status != 400 {
		return fmt.Sprint(err)
	}
	return e.Param
}

// repeated is a JSON list of n times the element, in which each %d is its number.
func repeated(n int, element string) string {
	var b strings.Builder
	for i := range n {
		b.WriteByte(",["[min(1, max(0, 1-i))])
		b.WriteString(strings.ReplaceAll(element, "%d", fmt.Sprint(i)))
	}
	return b.String() + "]"
}

// TestLongLists are requests of few bytes that would become gigabytes.
func TestLongLists(t *testing.T) {
	parts, tools, listed := mostParts+1, mostTools+1, mostListed+1
	const hi = `"messages":[{"role":"user","content":"hi"}]`
	function := `{"type":"function","function":{"name":"f%d"}}`
	for _, c := range []struct {
		from        wire.Kind
		body, param string
	}{
		{wire.Chat, `{"messages":[{"role":"user","content":` + repeated(parts, `""`) + `}]}`, "messages[0].content[99999]"},
		{wire.Chat, `{"messages":` + repeated(parts, `{"role":"user","content":""}`) + `}`, "messages"},
		{wire.Chat, `{"messages":[{"role":"assistant","tool_calls":` + repeated(parts, `{"id":"a","type":"function","function":{"name":"f"}}`) + `}]}`, "messages[0].tool_calls[99999]"},
		{wire.Chat, `{"messages":[{"role":"assistant","content":"","thinking_blocks":` + repeated(parts, `{"type":"thinking"}`) + `}]}`, "messages[0].thinking_blocks[99999]"},
		{wire.Chat, `{"messages":[{"role":"assistant","content":"","reasoning_details":` + repeated(parts, `{"type":"reasoning.text"}`) + `}]}`, "messages[0].reasoning_details[99999]"},
		{wire.Chat, `{` + hi + `,"stop":` + repeated(listed, `"x"`) + `}`, "stop"},
		{wire.Chat, `{` + hi + `,"tools":` + repeated(tools, function) + `}`, "tools"},
		{wire.Chat, `{` + hi + `,"functions":` + repeated(tools, `{"name":"f"}`) + `}`, "functions"},
		{wire.Chat, `{` + hi + `,"tools":[` + function + `],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":` + repeated(tools, function) + `}}}`, "tool_choice.allowed_tools.tools"},
		{wire.Message, `{"max_tokens":1,"messages":[{"role":"user","content":` + repeated(parts, `{"type":"text","text":""}`) + `}]}`, "messages[0].content[99999]"},
		{wire.Message, `{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"content","content":` + repeated(parts, `{"type":"text","text":""}`) + `}}]}]}`, "messages[0].content[0].source.content[99998]"},
		{wire.Message, `{"max_tokens":1,"system":` + repeated(parts, `{"type":"text","text":""}`) + `,` + hi + `}`, "system"},
		{wire.Message, `{"max_tokens":1,` + hi + `,"stop_sequences":` + repeated(listed, `"x"`) + `}`, "stop_sequences"},
		{wire.Message, `{"max_tokens":1,` + hi + `,"tools":` + repeated(tools, `{"name":"f","input_schema":{}}`) + `}`, "tools"},
		{wire.Message, `{"max_tokens":1,` + hi + `,"betas":["` + strings.Repeat("a, ,", listed) + `"]}`, "betas[0]"},
		{wire.Message, `{"max_tokens":1,` + hi + `,"additionalModelResponseFieldPaths":` + repeated(listed, `0`) + `}`, "additionalModelResponseFieldPaths"},
		{wire.Response, `{"input":` + repeated(parts, `{"role":"user","content":""}`) + `}`, "input"},
		{wire.Response, `{"input":[{"role":"user","content":` + repeated(parts, `{"type":"input_text","text":""}`) + `}]}`, "input[0].content[99999]"},
		{wire.Response, `{"input":[{"type":"reasoning","summary":` + repeated(parts, `{"text":""}`) + `}]}`, "input[0].summary[99999]"},
		{wire.Response, `{"input":"hi","include":` + repeated(listed, `"x"`) + `}`, "include"},
		{wire.Response, `{"input":"hi","tools":` + repeated(tools, `{"type":"x"}`) + `}`, "tools"},
		{wire.Response, `{"input":"hi","tools":[{"type":"x"}],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":` + repeated(tools, `{"type":"x"}`) + `}}`, "tool_choice.tools"},
	} {
		tr := &Translation{To: Converse, Provider: "bedrock", Model: "anthropic.claude-sonnet-4-5-20250929-v1:0"}
		var err error
		if tr.Request, err = Read(c.from, []byte(c.body)); err == nil {
			_, err = tr.AppendRequest(nil)
		}
		if paramOf(err) != c.param {
			t.Errorf("%.80s: %.200s, expected %s", c.body, paramOf(err), c.param)
		}
	}
}

func TestEmptyPartsTakeNoRoom(t *testing.T) {
	for from, body := range map[wire.Kind]string{
		wire.Chat:    `{"messages":[{"role":"user","content":` + repeated(1000, `""`) + `}]}`,
		wire.Message: `{"max_tokens":1,"messages":[{"role":"user","content":` + repeated(1000, `{"type":"text","text":""}`) + `}]}`,
	} {
		r, err := Read(from, []byte(body))
		if err != nil || len(r.Turns) != 1 || cap(r.Turns[0].Blocks) != 0 {
			t.Errorf("%d: %+v, %v", from, r, err)
		}
	}
}

// TestManyDocuments counts the names that are tried for each document: they must not be more with more documents.
func TestManyDocuments(t *testing.T) {
	per := func(documents int) float64 {
		return testing.AllocsPerRun(1, func() {
			c := &converseRequest{documents: map[string]int{}}
			for range documents {
				c.documentName("a.txt")
			}
		}) / float64(documents)
	}
	if few, many := per(10), per(2000); many > 3*few {
		t.Errorf("%.1f allocations for each of few, %.1f for each of many", few, many)
	}
	c, got := &converseRequest{documents: map[string]int{}}, ""
	for _, name := range []string{"a", "a 3", "a.txt", "a", "a 3"} {
		got += c.documentName(name) + ", "
	}
	if want := "a, a 3, a 2, a 4, a 3 2, "; got != want {
		t.Errorf("%s, expected %s", got, want)
	}
}

// TestAllowedTools sends those among which a choice is, each once and in the order of the tools.
func TestAllowedTools(t *testing.T) {
	for from, body := range map[wire.Kind]string{
		wire.Chat: `{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"b"}},{"type":"function","function":{"name":"c"}}],
			"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"c"}},{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"c"}}]}}}`,
		wire.Response: `{"input":"hi","tools":[{"type":"function","name":"a"},{"type":"function","name":"b"},{"type":"function","name":"c"}],
			"tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"c"},{"type":"function","name":"a"},{"type":"function","name":"c"}]}}`,
	} {
		r, err := Read(from, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		out, err := (&Translation{Request: r, To: Messages, Provider: "anthropic", Model: "claude-sonnet-4-5"}).AppendRequest(nil)
		if got := gjson.GetBytes(out, "tools.#.name").Raw; got != `["a","c"]` || err != nil {
			t.Errorf("%d: %s, %v", from, got, err)
		}
	}
}

func TestResolveGrows(t *testing.T) {
	asked := 0
	find := func(string) ([]byte, error) {
		asked++
		return []byte(`[{"id":"msg_a_0","type":"message","content":"` + strings.Repeat("x", 1000) + `"}]`), nil
	}
	one := `{"type":"item_reference","id":"msg_a_0"}`
	body := []byte(`{"input":` + repeated(100, one) + `}`)
	if _, err := Resolve(body, 50_000, find); paramOf(err) != "input" || asked != 1 {
		t.Errorf("%v after %d questions", err, asked)
	}
	if got, err := Resolve(body, 200_000, find); err != nil || len(got) < 100_000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	asked = 0
	if _, err := Resolve([]byte(`{"input":`+repeated(1000, `{"type":"item_reference","id":"msg_%d_0"}`)+`}`), 1<<20, find); paramOf(err) != "input" || asked != mostResponses {
		t.Errorf("%v after %d questions", err, asked)
	}
}

func TestExpandGrows(t *testing.T) {
	past := Past{Input: []byte(`[{"x":"` + strings.Repeat("x", 1000) + `"}]`)}
	if _, err := Expand([]Past{past, past}, []byte(`{"input":"x"}`), 1500); paramOf(err) != "previous_response_id" {
		t.Error(err)
	}
}

// translatedTo translates a request and answers with one member of what comes out.
func translatedTo(t *testing.T, from wire.Kind, to Protocol, body, path string) (*Translation, string) {
	t.Helper()
	provider, model := "openai", "gpt-5.2"
	switch to {
	case Messages:
		provider, model = "anthropic", "claude-3-7-sonnet-20250219"
	case Converse:
		provider, model = "bedrock", "us.anthropic.claude-3-7-sonnet-20250219-v1:0"
	}
	tr := &Translation{To: to, Provider: provider, Model: model}
	var err error
	if tr.Request, err = Read(from, []byte(body)); err != nil {
		return tr, paramOf(err)
	}
	out, err := tr.AppendRequest(nil)
	if err != nil {
		return tr, paramOf(err)
	}
	return tr, gjson.GetBytes(out, path).Raw
}

// TestNamesOfTools are names that must be changed, some into names that others have.
func TestNamesOfTools(t *testing.T) {
	taken := fitted("a.b", 64)
	tools := func(names ...string) string {
		list := []byte{'['}
		for _, name := range names {
			list = append(field(append(comma(list), `{"type":"function","function":{`...), "name", name), "}}"...)
		}
		return string(append(list, ']'))
	}
	call := `{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"a.b"}}]},{"role":"tool","tool_call_id":"c","content":"x"}`
	for _, body := range []string{
		`{"messages":[{"role":"user","content":"hi"}],"tools":` + tools("a.b", taken) + `}`,
		`{"messages":[{"role":"user","content":"hi"}],"tools":` + tools(taken, "a.b") + `}`,
		`{"messages":[{"role":"user","content":"hi"},` + call + `],"tools":` + tools(taken) + `}`,
	} {
		for to, path := range map[Protocol]string{Chat: "tools.#.function.name", Messages: "tools.#.name", Converse: "toolConfig.tools.#.toolSpec.name"} {
			tr, names := translatedTo(t, wire.Chat, to, body, path)
			seen := map[string]bool{}
			for _, name := range gjson.Parse(names).Array() {
				if seen[name.Str] {
					t.Errorf("%d: %s is the name of two tools: %s", to, name.Str, body)
				}
				seen[name.Str] = true
			}
			if got := tr.restoreName(taken); !seen[taken] || got != taken {
				t.Errorf("%d: a call of %s becomes one of %s: %s", to, taken, got, body)
			}
			if other := tr.toolName("a.b", 64); other == taken || tr.restoreName(other) != "a.b" {
				t.Errorf("%d: a.b is told as %s, which means %s: %s", to, other, tr.restoreName(other), body)
			}
		}
	}
}

// TestSchemaToolName gives the tool that stands for a schema a name that is not taken: by a tool, by one of Anthropic's own, nor
// by a call of before.
func TestSchemaToolName(t *testing.T) {
	format := `"output_config":{"format":{"type":"json_schema","name":"x","schema":{"type":"object","additionalProperties":false}}}`
	past := `{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"x","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c"}]}`
	for _, body := range []string{
		`{"max_tokens":9,"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"x","input_schema":{}}],` + format + `}`,
		`{"max_tokens":9,"messages":[{"role":"user","content":"hi"},` + past + `],` + format + `}`,
		`{"max_tokens":9,"messages":[{"role":"user","content":"hi"},` + past + `],"tools":[{"name":"y","input_schema":{}}],` + format + `}`,
	} {
		tr, names := translatedTo(t, wire.Message, Converse, body, "toolConfig.tools.#.toolSpec.name")
		if tr.schema != "answer_x" || strings.Count(names, `"answer_x"`) != 1 {
			t.Errorf("Converse: %s with tools %s: %s", tr.schema, names, body)
		}
	}
	raw := `{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"web_search_20250305","name":"x"}],"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object"}}}}`
	if tr, names := translatedTo(t, wire.Chat, Messages, raw, "tools.#.name"); names != `["x","answer_x"]` {
		t.Errorf("Messages: %s with tools %s", tr.schema, names)
	}
}

// TestEmptyNames are ids and names that cannot be told from one another.
func TestEmptyNames(t *testing.T) {
	for _, c := range []struct {
		from        wire.Kind
		body, param string
	}{
		{wire.Chat, `{"messages":[{"role":"assistant","tool_calls":[{"id":"","type":"function","function":{"name":"f"}}]}]}`, "messages[0].tool_calls[0].id"},
		{wire.Chat, `{"messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":""}}]}]}`, "messages[0].tool_calls[0].function.name"},
		{wire.Chat, `{"messages":[{"role":"tool","tool_call_id":"","content":"x"}]}`, "messages[0].tool_call_id"},
		{wire.Chat, `{"messages":[],"tools":[{"type":"function","function":{"name":""}}]}`, "tools[0].function.name"},
		{wire.Chat, `{"messages":[],"tool_choice":{"type":"function","function":{"name":""}}}`, "tool_choice.function.name"},
		{wire.Message, `{"max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"","name":"f","input":{}}]}]}`, "messages[0].content[0].id"},
		{wire.Message, `{"max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"","input":{}}]}]}`, "messages[0].content[0].name"},
		{wire.Message, `{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":""}]}]}`, "messages[0].content[0].tool_use_id"},
		{wire.Message, `{"max_tokens":1,"messages":[],"tools":[{"name":"","input_schema":{}}]}`, "tools[0].name"},
		{wire.Message, `{"max_tokens":1,"messages":[],"tool_choice":{"type":"tool","name":""}}`, "tool_choice.name"},
		{wire.Message, `{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"text","data":""}}]}]}`, "messages[0].content[0].source.data"},
		{wire.Message, `{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"content","content":""}}]}]}`, "messages[0].content[0].source.content"},
		{wire.Message, `{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"file","file_id":""}}]}]}`, "messages[0].content[0].source.file_id"},
		{wire.Response, `{"input":[{"type":"function_call","call_id":"","name":"f","arguments":""}]}`, "input[0].call_id"},
		{wire.Response, `{"input":[{"type":"function_call","call_id":"a","name":"","arguments":""}]}`, "input[0].name"},
		{wire.Response, `{"input":[{"type":"function_call_output","call_id":"","output":"x"}]}`, "input[0].call_id"},
		{wire.Response, `{"input":"x","tools":[{"type":"function","name":""}]}`, "tools[0].name"},
		{wire.Response, `{"input":"x","tool_choice":{"type":"function","name":""}}`, "tool_choice.name"},
		{wire.Response, `{"input":[{"role":"user","content":[{"type":"input_file","file_id":""}]}]}`, "input[0].content[0].file_id"},
	} {
		if _, err := Read(c.from, []byte(c.body)); paramOf(err) != c.param {
			t.Errorf("%s: %s, expected %s", c.body, paramOf(err), c.param)
		}
	}
}

// TestNothingSaid are requests in which there is nothing, or nothing is left: what comes out must be one all the same.
func TestNothingSaid(t *testing.T) {
	for _, c := range []struct {
		name string
		from wire.Kind
		to   Protocol
		body string
		path string
		want string
	}{
		{"an empty message", wire.Message, Chat, `{"max_tokens":9,"messages":[{"role":"user","content":""}]}`, "messages", `[{"role":"user","content":""}]`},
		{"an empty message at the end", wire.Message, Chat, `{"max_tokens":9,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":[]}]}`,
			"messages.#.role", `["user","assistant","user"]`},
		{"an empty message after an answer, not a prefill", wire.Message, Converse, `{"max_tokens":9,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":""}]}`,
			"messages.2.content", `[{"text":"Continue."}]`},
		{"the same", wire.Chat, Messages, `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":""}]}`,
			"messages.2.content", `[{"type":"text","text":"Continue."}]`},
		{"a real prefill", wire.Chat, Messages, `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`, "messages.#.role", `["user","assistant"]`},
		{"an empty answer alone", wire.Message, Chat, `{"max_tokens":9,"messages":[{"role":"assistant","content":""}]}`, "messages", "messages"},
		{"a lone empty stop sequence", wire.Message, Converse, `{"max_tokens":9,"messages":[{"role":"user","content":"a"}],"stop_sequences":[""]}`, "inferenceConfig", `{"maxTokens":9}`},
		{"empty instructions", wire.Response, Chat, `{"instructions":"","input":[{"role":"system","content":"x"},{"role":"user","content":"y"}]}`, "messages.0.content", `"x"`},
		{"answers of several messages", wire.Response, Chat, `{"input":[{"role":"user","content":"a"},{"role":"assistant","content":"I will look."},{"role":"assistant","content":[{"type":"output_text","text":"Done "},{"type":"output_text","text":"now."}]},{"role":"user","content":"b"}]}`,
			"messages.#.content", `["a","I will look.","Done now.","b"]`},
		{"answers of several messages with a call", wire.Response, Chat, `{"input":[{"role":"user","content":"a"},{"role":"assistant","content":"I will look."},{"type":"function_call","call_id":"c","name":"f","arguments":""},{"role":"assistant","content":"Done now."},{"type":"function_call_output","call_id":"c","output":"x"}]}`,
			"messages.1.content", `"I will look.\n\nDone now."`},
	} {
		if _, got := translatedTo(t, c.from, c.to, c.body, c.path); got != c.want {
			t.Errorf("%s: %s, expected %s", c.name, got, c.want)
		}
	}
}
