package dialect

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

const responsesAll = `{
  "model": "clever", "input": "Weather?", "stream": true, "instructions": "Be\nbrief.", "include": ["reasoning.encrypted_content"],
  "max_output_tokens": 100, "temperature": 0.5, "metadata": {"a": "b"}, "user": "u1", "reasoning": {"effort": "high"},
  "text": {"verbosity": "low"}, "parallel_tool_calls": false, "tool_choice": "required",
  "tools": [
    {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}, "strict": true},
    {"type": "function", "name": "get_time"}
  ]
}`

func responsesTo(t testing.TB, body string) *responsesWriter {
	t.Helper()
	r, err := Read(wire.Response, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Previous = "resp_before"
	tr := &Translation{Request: r, ID: "resp_0123456789abcdef", Named: "clever", Created: 1767225600}
	return tr.Writer().(*responsesWriter)
}

func written(w Writer, events []Event) (out []byte) {
	for i := range events {
		out = w.Event(out, &events[i])
	}
	return w.End(out)
}

// thoughtful has a thought, a text and two tool calls, one of which has no arguments.
var thoughtful = []Event{
	{Type: Start, ID: "msg_1", Name: "claude"},
	{Type: Ping},
	{Type: Open, Kind: Thinking},
	{Type: Delta, Text: `"I \"should\" "`},
	{Type: Delta, Text: `"look.\ud83d\ude00"`},
	{Type: Signed, Text: `"c2ln"`},
	{Type: Signed, Text: `"bmVk"`},
	{Type: Shut},
	{Type: Open, Index: 1, Kind: Text},
	{Type: Delta, Index: 1, Text: `"Let me "`},
	{Type: Cited, Index: 1, Cite: Citation{URL: "https://example.com/a", Title: "A \"page\"", Start: -1, End: -1}},
	{Type: Delta, Index: 1, Text: `"see\u2026"`},
	{Type: Shut, Index: 1},
	{Type: Open, Index: 2, Kind: ToolUse, ID: "toolu_1", Name: "get_weather"},
	{Type: Delta, Index: 2, Text: `"{\"city\":"`},
	{Type: Delta, Index: 2, Text: `" \"Oslo\"}"`},
	{Type: Shut, Index: 2},
	{Type: Open, Index: 3, Kind: ToolUse, ID: "toolu_2", Name: "get_time"},
	{Type: Shut, Index: 3},
	{Type: Stopped, Stop: StopTools},
	{Type: Billed, Usage: wire.Usage{Prompt: 50, Completion: 20, CachedPrompt: 30, CacheWrite: 5, Reasoning: 8}},
}

func TestResponsesStream(t *testing.T) {
	w := responsesTo(t, responsesAll)
	out := written(w, thoughtful)
	compare(t, "testdata/responses_stream.golden", out)
	checkResponses(t, out, thoughtful)
}

// TestResponsesAtOnce checks that nothing is held back: what opens content and every delta is written at once.
func TestResponsesAtOnce(t *testing.T) {
	w := responsesTo(t, responsesAll)
	for _, e := range thoughtful {
		out := w.Event(nil, &e)
		if e.Type == Delta && !bytes.Contains(out, []byte(`"delta":`+e.Text)) {
			t.Errorf("after %s: %s", e.Text, out)
		}
		if e.Type == Open && !bytes.Contains(out, []byte(`"response.output_item.added"`)) {
			t.Errorf("after the opening of %d: %s", e.Index, out)
		}
	}
}

func TestResponsesStreams(t *testing.T) {
	text := func(i int, kind Kind, s string) []Event {
		return []Event{{Type: Open, Index: i, Kind: kind}, {Type: Delta, Index: i, Text: s}, {Type: Shut, Index: i}}
	}
	for name, c := range map[string]struct {
		events []Event
		status string // and the items' types and statuses
	}{
		"nothing":        {[]Event{{Type: Start}, {Type: Stopped}}, "completed"},
		"text":           {slices.Concat(text(0, Text, `"a"`), text(1, Text, `"b"`), []Event{{Type: Stopped}}), "completed message:completed:2"},
		"cut":            {slices.Concat(text(0, Text, `"a"`), text(1, ToolUse, `"{\"a\":"`), []Event{{Type: Stopped, Stop: StopLength}}), "incomplete/max_output_tokens message:completed:1 function_call:incomplete"},
		"filtered":       {slices.Concat(text(0, Text, `"a"`), []Event{{Type: Stopped, Stop: StopRefusal}}), "incomplete/content_filter message:incomplete:1"},
		"refusal":        {slices.Concat(text(0, Text, `"a"`), text(1, Refusal, `"no"`), []Event{{Type: Stopped, Stop: StopRefusal}}), "completed message:completed:2"},
		"hidden thought": {[]Event{{Type: Open, Kind: Thinking, Redacted: "x\"y"}, {Type: Shut}, {Type: Stopped}}, "completed reasoning"},
		"signed only":    {[]Event{{Type: Open, Kind: Thinking}, {Type: Signed, Text: `"x"`}, {Type: Shut}, {Type: Stopped}}, "completed reasoning"},
		"own tools":      {slices.Concat(text(0, Text, `"a"`), text(1, Other, `"?"`), text(2, Text, `"b"`), []Event{{Type: Stopped, Stop: StopPause}}), "completed message:completed:2"},
		"parts apart":    {slices.Concat(text(0, Text, `"a"`), text(1, Thinking, `"t"`), text(2, Text, `"b"`), []Event{{Type: Stopped}}), "completed message:completed:1 reasoning message:completed:1"},
		"mixed": {[]Event{
			{Type: Open, Kind: Text}, {Type: Delta, Text: `"a"`}, {Type: Open, Index: 1, Kind: ToolUse, ID: "1", Name: "x"}, {Type: Open, Index: 2, Kind: ToolUse, ID: "2", Name: "y"},
			{Type: Delta, Index: 2, Text: `"{}"`}, {Type: Delta, Text: `"b"`}, {Type: Delta, Index: 1, Text: `"{}"`}, {Type: Shut, Index: 1}, {Type: Shut, Index: 0}, {Type: Shut, Index: 2}, {Type: Stopped},
		}, "completed message:completed:1 function_call:completed function_call:completed"},
	} {
		t.Run(name, func(t *testing.T) {
			final := checkResponses(t, written(responsesTo(t, responsesAll), c.events), c.events)
			got := final.Get("status").Str
			if reason := final.Get("incomplete_details.reason").Str; reason != "" {
				got += "/" + reason
			}
			final.Get("output").ForEach(func(_, item gjson.Result) bool {
				got += " " + item.Get("type").Str
				if status := item.Get("status"); status.Exists() {
					got += ":" + status.Str
				}
				if content := item.Get("content"); content.Exists() {
					got += fmt.Sprint(":", len(content.Array()))
				}
				return true
			})
			if got != c.status {
				t.Errorf("%s, expected %s", got, c.status)
			}
		})
	}
}

// TestResponsesUsage: clients read the usage of a complete answer whether or not the provider told it.
func TestResponsesUsage(t *testing.T) {
	events := []Event{{Type: Start}, {Type: Open}, {Type: Delta, Text: `"a"`}, {Type: Shut}, {Type: Stopped}}
	stream := checkResponses(t, written(responsesTo(t, responsesAll), events), events)
	whole := gjson.ParseBytes(responsesTo(t, responsesAll).Whole(nil, gather(t, events)))
	for _, object := range []gjson.Result{stream, whole} {
		if usage := object.Get("usage"); usage.Get("input_tokens").Raw != "0" || usage.Get("total_tokens").Raw != "0" {
			t.Errorf("usage: %s", usage.Raw)
		}
	}
	cut := checkResponses(t, responsesTo(t, responsesAll).Fail(nil, &wire.Error{Status: 502}), nil)
	if cut.Get("usage").Exists() {
		t.Errorf("of a failed answer: %s", cut.Get("usage").Raw)
	}
}

// TestResponsesSplitCharacter: what two deltas share is one character again in the whole.
func TestResponsesSplitCharacter(t *testing.T) {
	out := written(responsesTo(t, responsesAll), []Event{{Type: Open}, {Type: Delta, Text: `"\ud83d"`}, {Type: Delta, Text: `"\ude00"`}, {Type: Shut}, {Type: Stopped}})
	if !bytes.Contains(out, []byte(`"type":"response.output_text.done"`)) || !bytes.Contains(out, []byte(`"text":"\ud83d\ude00"`)) {
		t.Errorf("%s", out)
	}
}

func TestResponsesFail(t *testing.T) {
	for n := range len(thoughtful) - 2 { // wherever it breaks
		w := responsesTo(t, responsesAll)
		var out []byte
		for i := range n {
			out = w.Event(out, &thoughtful[i])
		}
		out = w.Fail(out, &wire.Error{Status: 529, Type: "overloaded_error", Message: "Overloaded"})
		final := checkResponses(t, out, nil)
		if final.Get("status").Str != "failed" || final.Get("error").Raw != `{"code":"server_error","message":"Overloaded"}` {
			t.Errorf("after %d events: %s", n, final.Raw)
		}
		if _, _, ok := Stored(w); ok {
			t.Error("a failed answer is to be kept")
		}
	}
	for status, code := range map[int]string{429: "rate_limit_exceeded", 400: "invalid_prompt", 502: "server_error"} {
		out := responsesTo(t, responsesAll).Fail(nil, &wire.Error{Status: status, Raw: []byte(`{"message":"m"}`)})
		if final := checkResponses(t, out, nil); final.Get("error.code").Str != code || final.Get("error.message").Str != "m" {
			t.Errorf("%d: %s", status, final.Get("error"))
		}
	}
}

func TestResponsesWhole(t *testing.T) {
	stream := written(responsesTo(t, responsesAll), thoughtful)
	a := gather(t, thoughtful)
	w := responsesTo(t, responsesAll)
	whole := w.Whole(nil, a)
	checkSchema(t, "Response", string(whole))
	final := checkResponses(t, stream, thoughtful)
	for _, member := range []string{"id", "model", "created_at", "status", "usage", "tools", "instructions", "text", "reasoning", "previous_response_id", "metadata", "user", "store"} {
		if got, want := gjson.GetBytes(whole, member).Raw, final.Get(member).Raw; got != want {
			t.Errorf("%s: %s, in the stream %s", member, got, want)
		}
	}
	sameJSON(t, gjson.GetBytes(whole, "output").Raw, final.Get("output").Raw)
	object, items, ok := Stored(w)
	if !ok || !bytes.Equal(object, whole) || gjson.GetBytes(whole, "output").Raw != string(items) {
		t.Errorf("stored: %t %s %s", ok, object, items)
	}
	a.Tier = "priority"
	if whole := responsesTo(t, responsesAll).Whole(nil, a); gjson.GetBytes(whole, "service_tier").Str != "priority" {
		t.Errorf("tier: %s", whole)
	}
}

// TestResponsesSealed checks that a thought comes back as its provider wrote it, from what is stored and, where the client
// asked for it, from the answer.
func TestResponsesSealed(t *testing.T) {
	a := gather(t, thoughtful)
	a.Blocks = append(a.Blocks, Block{Kind: Thinking, Redacted: `hid"den`}, Block{Kind: Thinking, Signature: "only"})
	for body, shown := range map[string]bool{
		`{"model":"m","input":"hi"}`:                                           false,
		`{"model":"m","input":"hi","store":false}`:                             true,
		`{"model":"m","input":"hi","include":["reasoning.encrypted_content"]}`: true,
	} {
		w := responsesTo(t, body)
		whole := w.Whole(nil, a)
		if got := bytes.Contains(whole, []byte("encrypted_content")); got != shown {
			t.Errorf("%s: encrypted content shown: %t", body, got)
		}
		_, items, ok := Stored(w)
		if ok == strings.Contains(body, "false") {
			t.Errorf("%s: stored: %t", body, ok)
		}
		if !ok {
			items = []byte(gjson.GetBytes(whole, "output").Raw)
		}
		r, err := Read(wire.Response, fmt.Appendf(nil, `{"model":"m","input":%s}`, items))
		if err != nil || len(r.Turns) != 1 || len(r.Turns[0].Blocks) != len(a.Blocks) {
			t.Fatalf("%+v, %v", r, err)
		}
		for i, b := range r.Turns[0].Blocks {
			want := a.Blocks[i]
			if b.Kind != want.Kind || b.Text != want.Text || b.Signature != want.Signature || b.Redacted != want.Redacted || b.ID != want.ID || b.Name != want.Name {
				t.Errorf("block %d: %+v, was %+v", i, b, want)
			}
		}
	}
}

// TestResponsesRecorded writes every recorded stream, and every recorded answer.
func TestResponsesRecorded(t *testing.T) {
	for folder, to := range map[string]Protocol{"anthropic": Messages, "amazon-bedrock": Converse} {
		for _, rec := range recordings(t, folder) {
			t.Run(folder+"/"+rec.name, func(t *testing.T) {
				w := responsesTo(t, responsesAll)
				w.t.To = to
				if rec.whole != nil {
					a, err := w.t.Reader().Whole(rec.whole)
					if err != nil {
						t.Fatal(err)
					}
					out := w.Whole(nil, a)
					checkSchema(t, "Response", string(out))
					checkAnswer(t, gjson.ParseBytes(out), a)
					return
				}
				events, err := play(t, w.t.Reader(), rec.events)
				if spliced := strings.HasPrefix(rec.name, "spliced"); err != nil && spliced {
					return // two answers in one are an error: see messagesReader
				}
				if err != nil {
					t.Fatal(err)
				}
				final := checkResponses(t, written(w, events), events)
				again := responsesTo(t, responsesAll).Whole(nil, gather(t, events))
				sameJSON(t, final.Get("output").Raw, gjson.GetBytes(again, "output").Raw)
			})
		}
	}
}

// checkResponses checks a stream's order, and that the answer at its end is what the events say.
func checkResponses(t *testing.T, stream []byte, events []Event) gjson.Result {
	t.Helper()
	var final gjson.Result
	s := responsesStream{items: map[int64]gjson.Result{}, open: map[string]string{}}
	texts := strings.Split(strings.TrimSuffix(string(stream), "\n\n"), "\n\n")
	sequence := int64(0)
	for _, text := range texts {
		if text == ": ping" {
			continue
		}
		head, data, ok := strings.Cut(text, "\ndata: ")
		ev := gjson.Parse(data)
		if !ok || strings.Contains(data, "\n") || head != "event: "+ev.Get("type").Str || final.IsObject() {
			t.Fatalf("not an event, or after the end: %s", text)
		}
		if ev.Get("sequence_number").Int() != sequence {
			t.Errorf("event %d: %s", sequence, data)
		}
		sequence++
		checkSchema(t, "ResponseStreamEvent", data)
		final = s.event(t, ev)
	}
	if !final.IsObject() {
		t.Fatalf("no end: %s", texts[len(texts)-1])
	}
	if final.Get("status").Str == "failed" {
		return final
	}
	if len(s.open) > 0 {
		t.Errorf("never done: %v", s.open)
	}
	if n := len(final.Get("output").Array()); n != len(s.items) {
		t.Errorf("%d items in the answer, %d in the events", n, len(s.items))
	}
	for i, item := range s.items {
		if got := final.Get(fmt.Sprint("output.", i)); got.Raw != item.Raw {
			t.Errorf("item %d is %s, in the events %s", i, got.Raw, item.Raw)
		}
	}
	checkAnswer(t, final, gather(t, events))
	return final
}

// responsesStream is what a client knows of a stream.
type responsesStream struct {
	seen  []string
	items map[int64]gjson.Result // that are done
	open  map[string]string      // items and parts that are not done, with their texts
	added int64
}

func (s *responsesStream) event(t *testing.T, ev gjson.Result) (final gjson.Result) {
	t.Helper()
	kind, index := strings.TrimPrefix(ev.Get("type").Str, "response."), ev.Get("output_index").Int()
	item := fmt.Sprint("item ", index)
	part := fmt.Sprint(item, " part ", ev.Get("content_index").Raw, ev.Get("summary_index").Raw)
	want := map[int]string{0: "created", 1: "in_progress"}[len(s.seen)]
	s.seen = append(s.seen, kind)
	if _, isOpen := s.open[item]; want != "" && kind != want || strings.Contains(kind, "_") && kind != "in_progress" && kind != "output_item.added" && !isOpen {
		t.Errorf("event %d is %s", len(s.seen)-1, ev.Raw)
	}
	switch kind {
	case "completed", "incomplete", "failed":
		return ev.Get("response")
	case "output_item.added":
		if index != s.added {
			t.Errorf("item %d comes as %d", s.added, index)
		}
		s.added++
		s.open[item] = ev.Get("item.id").Str
		if ev.Get("item.type").Str == "function_call" {
			s.open[part] = ""
		}
	case "output_item.done":
		if s.open[item] != ev.Get("item.id").Str {
			t.Errorf("%s was %s", ev.Raw, s.open[item])
		}
		delete(s.open, item)
		s.items[index] = ev.Get("item")
	case "content_part.added", "reasoning_summary_part.added":
		s.open[part] = ""
	case "content_part.done", "reasoning_summary_part.done", "function_call_arguments.done":
		got := ev.Get("part.text").Str + ev.Get("part.refusal").Str + ev.Get("arguments").Str
		if want, isOpen := s.open[part]; !isOpen || want != got {
			t.Errorf("%s is done with %q, was %q", part, got, want)
		}
		delete(s.open, part)
	case "output_text.delta", "refusal.delta", "reasoning_summary_text.delta", "function_call_arguments.delta":
		if _, isOpen := s.open[part]; !isOpen {
			t.Errorf("%s is not open: %s", part, ev.Raw)
		}
		s.open[part] += ev.Get("delta").Str
	}
	return final
}

// checkAnswer checks a response object against the answer that it is of.
func checkAnswer(t *testing.T, object gjson.Result, a *Answer) {
	t.Helper()
	var got, want []string
	object.Get("output").ForEach(func(_, item gjson.Result) bool {
		switch item.Get("type").Str {
		case "message":
			for _, part := range item.Get("content").Array() {
				got = append(got, "text "+part.Get("text").Str+part.Get("refusal").Str)
			}
		case "reasoning":
			got = append(got, "thought "+item.Get("summary.0.text").Str)
		case "function_call":
			got = append(got, "call "+item.Get("call_id").Str+item.Get("name").Str+item.Get("arguments").Str)
		}
		return true
	})
	for _, b := range a.Blocks {
		switch b.Kind {
		case Text, Refusal:
			want = append(want, "text "+b.Text)
		case Thinking:
			want = append(want, "thought "+b.Text)
		case ToolUse:
			if b.Input == "" {
				b.Input = "{}"
			}
			want = append(want, "call "+b.ID+b.Name+b.Input)
		}
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("the answer is %s, expected %s", g, w)
	}
	if usage := object.Get("usage"); usage.Exists() || a.Usage != (wire.Usage{}) {
		if u := wire.ReadUsage([]byte(usage.Raw)); u != a.Usage {
			t.Errorf("usage is %+v, expected %+v", u, a.Usage)
		}
	}
	if got, want := object.Get("service_tier").Str, cmp.Or(a.Tier, "default"); got != want {
		t.Errorf("the tier is %q, expected %q", got, want)
	}
}

func sameJSON(t *testing.T, a, b string) {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{x, y} { // of thoughts, the spelling inside may differ
		for _, item := range v.([]any) {
			delete(item.(map[string]any), "encrypted_content")
		}
	}
	if !reflect.DeepEqual(x, y) {
		t.Errorf("%s\nis not\n%s", a, b)
	}
}

var schemas = map[string]*jsonschema.Schema{}

// checkSchema checks JSON against a schema of OpenAI's own description of its API.
func checkSchema(t *testing.T, name, text string) {
	t.Helper()
	if schemas[name] == nil {
		schemas[name] = compileSchema(t, name)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Errorf("%v: %s", err, text)
		return
	}
	if err := schemas[name].Validate(doc); err != nil {
		t.Errorf("not a %s: %v\n%s", name, err, text)
	}
}

func compileSchema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(shared(t, "openai-openapi"), "openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseRegexpEngine(func(s string) (jsonschema.Regexp, error) {
		if strings.Contains(s, "(?!") || strings.Contains(s, "(?=") { // Go has no looking ahead
			s = ""
		}
		return regexp.Compile(s)
	})
	for self, schema := range doc.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any) {
		modern(schema, "#/components/schemas/"+self)
	}
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("openapi.json#/components/schemas/" + name)
}

// modern writes the recursion of an older draft, which the description uses too, as references.
func modern(schema any, self string) {
	switch s := schema.(type) {
	case map[string]any:
		delete(s, "$recursiveAnchor")
		if _, ok := s["$recursiveRef"]; ok {
			delete(s, "$recursiveRef")
			s["$ref"] = self
		}
		for _, inner := range s {
			modern(inner, self)
		}
	case []any:
		for _, inner := range s {
			modern(inner, self)
		}
	}
}

func TestResponsesDeltaAllocatesNothing(t *testing.T) {
	w := responsesTo(t, responsesAll)
	dst := make([]byte, 0, 64<<10)
	for _, e := range []Event{{Type: Start}, {Type: Open}} {
		w.Event(dst, &e)
	}
	w.items[0].parts[0].text = make([]byte, 0, 1<<20) // whose growth is the one thing that costs
	e := Event{Type: Delta, Text: `"some words of the answer"`}
	if n := testing.AllocsPerRun(1000, func() { w.Event(dst[:0], &e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCharacters(t *testing.T) {
	for literal, want := range map[string]int64{``: 0, `abc`: 3, `a\n\"\\b`: 5, `\u00e9\ud83d\ude00x`: 3, `é😀漢`: 3, `\uDBFF\uDFFF`: 1, `\u`: 1} {
		if n := characters([]byte(literal)); n != want {
			t.Errorf("%s: %d, expected %d", literal, n, want)
		}
	}
}

// TestNamespaces: calls of functions in namespaces come back as the client knows them, also when two names become one.
func TestNamespaces(t *testing.T) {
	const function = `{"type":"function","name":`
	w := responsesTo(t, `{"input":"x","tools":[{"type":"namespace","name":"a","tools":[`+function+`"b"},`+function+`"c"}]},{"type":"namespace","name":"a__","tools":[`+function+`"b"}]},`+function+`"plain"}]}`)
	var calls []Event
	for i, tool := range w.t.Request.Tools {
		calls = append(calls, Event{Type: Open, Index: i, Kind: ToolUse, ID: "c", Name: tool.Name}, Event{Type: Shut, Index: i})
	}
	out := string(written(w, calls))
	for _, want := range []string{`"name":"b","namespace":"a","arguments"`, `"name":"c","namespace":"a","arguments"`, `"name":"b","namespace":"a__","arguments"`, `"name":"plain","arguments"`} {
		if strings.Count(out, want) < 3 { // added, done, and the whole answer
			t.Errorf("%s\nwithout %s", out, want)
		}
	}
	if strings.Contains(out, "a__b") {
		t.Errorf("%s\nhas a name that the client does not know", out)
	}
}
