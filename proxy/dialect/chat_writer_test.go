package dialect

import (
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

func chatTranslation(to Protocol) *Translation {
	return &Translation{To: to, Created: 17, Request: &Request{From: wire.Chat, StreamUsage: true}}
}

// TestChatWriterEvents has the exact bytes of each event; a chunk's beginning and end, which are always the same, stand as <
// and >.
func TestChatWriterEvents(t *testing.T) {
	const (
		begin  = `data: {"id":"chatcmpl-msg_1","object":"chat.completion.chunk","created":17,"model":"claude","choices":[`
		opened = `{"index":0,"delta":{`
		closed = `},"logprobs":null,"finish_reason":null}]}` + "\n\n"
	)
	short := strings.NewReplacer(begin+opened, "<", closed, ">\n", "\n\n", "\n", begin, "<<")
	start := Event{Type: Start, ID: "msg_1", Name: "claude"}
	for _, c := range []struct {
		name   string
		events []Event
		want   string
	}{
		{"start", nil, `<"role":"assistant","content":"","refusal":null>`},
		{"text", []Event{{Type: Open}, {Type: Delta, Text: `"a\n\"b\""`}, {Type: Delta, Text: `"\u00e9"`}, {Type: Delta, Text: `""`}, {Type: Shut}}, `<"content":"a\n\"b\"">
<"content":"\u00e9">`},
		{"refusal", []Event{{Type: Open, Kind: Refusal}, {Type: Delta, Text: `"No."`}, {Type: Shut}, {Type: Stopped, Stop: StopRefusal}}, `<"refusal":"No.">
<},"logprobs":null,"finish_reason":"content_filter"}]}`},
		{"thought", []Event{{Type: Open, Kind: Thinking}, {Type: Delta, Text: `"Hm\n"`}, {Type: Delta, Text: `"so"`}, {Type: Signed, Text: `"si"`}, {Type: Signed, Text: `"g="`}, {Type: Shut},
			{Type: Open, Index: 1, Kind: Thinking, Redacted: `d"`}, {Type: Shut, Index: 1}, {Type: Open, Index: 2, Kind: Thinking}, {Type: Delta, Index: 2, Text: `"unsigned"`}, {Type: Shut, Index: 2}},
			`<"reasoning_content":"Hm\n">
<"reasoning_content":"so">
<"reasoning_details":[{"type":"reasoning.text","text":"Hm\nso","signature":"sig=","format":"anthropic-claude-v1","index":0}]>
<"reasoning_details":[{"type":"reasoning.encrypted","data":"d\"","format":"anthropic-claude-v1","index":1}]>
<"reasoning_content":"unsigned">`},
		{"calls", []Event{{Type: Open, Kind: ToolUse, ID: "t1", Name: "f"}, {Type: Delta, Text: `"{\"a\":"`}, {Type: Delta, Text: `"1}"`}, {Type: Shut}, {Type: Open, Index: 1, Kind: ToolUse, ID: "t2", Name: "g"}, {Type: Shut, Index: 1}, {Type: Stopped, Stop: StopTools}},
			`<"tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"f","arguments":""}}]>
<"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]>
<"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]>
<"tool_calls":[{"index":1,"id":"t2","type":"function","function":{"name":"g","arguments":""}}]>
<"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]>
<},"logprobs":null,"finish_reason":"tool_calls"}]}`},
		{"citations", []Event{{Type: Open}, {Type: Delta, Text: `"One \ud83c\udfc0 "`}, {Type: Shut}, {Type: Open, Index: 1}, {Type: Cited, Index: 1, Cite: Citation{URL: "https://a.b", Title: "T", Start: -1, End: -1}},
			{Type: Cited, Index: 1, Cite: Citation{Start: -1, End: -1, Raw: "{\"type\":\"char_location\",\n\"cited_text\":\"x\"}"}}, {Type: Delta, Index: 1, Text: `"zwei\t\u00e9é"`}, {Type: Shut, Index: 1}},
			`<"content":"One \ud83c\udfc0 ">
<"content":"zwei\t\u00e9é">
<"annotations":[{"type":"url_citation","url_citation":{"url":"https://a.b","title":"T","start_index":6,"end_index":13}},{"type":"char_location","cited_text":"x"}]>`},
		{"another block", []Event{{Type: Open, Kind: Other, Raw: `{"type":"server_tool_use"}`}, {Type: Delta, Text: `"{}"`}, {Type: Shut}, {Type: Ping}}, ": ping"},
		{"sequence", []Event{{Type: Stopped, Stop: StopSequence, Sequence: "\nEND"}}, `<},"logprobs":null,"finish_reason":"stop","stop_reason":"\nEND"}]}`},
		{"length", []Event{{Type: Stopped, Stop: StopLength}}, `<},"logprobs":null,"finish_reason":"length"}]}`},
		{"pause", []Event{{Type: Stopped, Stop: StopPause}}, `<},"logprobs":null,"finish_reason":"length"}]}`},
		{"end", []Event{{Type: Stopped}, {Type: Billed, Usage: wire.Usage{Prompt: 9, Completion: 5, CachedPrompt: 3, CacheWrite: 2, Reasoning: 1}}}, `<},"logprobs":null,"finish_reason":"stop"}]}`},
	} {
		w := chatTranslation(Messages).Writer()
		var out []byte
		for _, e := range append([]Event{start}, c.events...) {
			out = w.Event(out, &e)
		}
		got := strings.TrimSpace(short.Replace(string(out)))
		want := c.want
		if c.name != "start" {
			want = `<"role":"assistant","content":"","refusal":null>` + "\n" + want
		}
		if got != want {
			t.Errorf("%s:\n%s\nexpected:\n%s", c.name, got, want)
		}
		if c.name != "end" {
			continue
		}
		end := short.Replace(string(w.End(nil)))
		if want := `<<],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":3,"cache_write_tokens":2},"completion_tokens_details":{"reasoning_tokens":1}}}` + "\ndata: [DONE]\n"; end != want {
			t.Errorf("end:\n%s\nexpected:\n%s", end, want)
		}
	}
}

// TestChatWriterAsked has what the request and the gateway decide.
func TestChatWriterAsked(t *testing.T) {
	tr := chatTranslation(Chat)
	tr.ID, tr.Named, tr.Request.StreamUsage, tr.Request.Reasoning.Hidden = "chatcmpl-mine", "alias", false, true
	w := tr.Writer()
	var out []byte
	for _, e := range []Event{
		{Type: Start, ID: "x", Name: "m"}, {Type: Open, Kind: Thinking}, {Type: Delta, Text: `"secret"`}, {Type: Signed, Text: `"s"`}, {Type: Shut},
		{Type: Open, Index: 1, Kind: Thinking, Redacted: "d"}, {Type: Shut, Index: 1},
	} {
		out = w.Event(out, &e)
	}
	if got, want := string(w.End(out)), `data: {"id":"chatcmpl-mine","object":"chat.completion.chunk","created":17,"model":"alias","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]}`+"\n\ndata: [DONE]\n\n"; got != want {
		t.Errorf("got %s\nexpected %s", got, want)
	}
	if got := string(w.Whole(nil, &Answer{Blocks: []Block{{Kind: Thinking, Text: "secret", Signature: "s"}}})); strings.Contains(got, "secret") {
		t.Error(got)
	}
}

func TestChatWriterFail(t *testing.T) {
	w := chatTranslation(Chat).Writer()
	for _, c := range []struct {
		err  wire.Error
		want string
	}{
		{wire.Error{Type: "server_error", Code: "upstream_error", Message: "a\nb"}, `data: {"error":{"message":"a\nb","type":"server_error","param":null,"code":"upstream_error"}}`},
		{wire.Error{Raw: []byte("{\n \"message\": \"x y\"\n}")}, `data: {"error":{"message":"x y"}}`},
		{wire.Error{Type: "t", Message: "m", Raw: []byte("{")}, `data: {"error":{"message":"m","type":"t","param":null,"code":null}}`},
	} {
		if got := string(w.Fail(nil, &c.err)); got != c.want+"\n\n" {
			t.Errorf("got %s expected %s", got, c.want)
		}
	}
}

func TestChatWriterWhole(t *testing.T) {
	const usage = `,"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}`
	for _, c := range []struct {
		name, message, rest string
		answer              Answer
	}{
		{"text", `"content":"Hi\n\"you\"","refusal":null`, `"finish_reason":"stop"}]` + usage, Answer{Blocks: []Block{{Text: "Hi\n"}, {Text: `"you"`}}}},
		{"nothing", `"content":null,"refusal":null`, `"finish_reason":"length"}]` + usage + `,"service_tier":"default"`, Answer{Stop: StopLength, Tier: "default"}},
		{"calls", `"content":null,"refusal":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]`, `"finish_reason":"tool_calls"}]` + usage,
			Answer{Stop: StopTools, Blocks: []Block{{Kind: ToolUse, ID: "a", Name: "f", Input: `{"x":1}`}, {Kind: ToolUse, ID: "b", Name: "g", Input: "{}"}}}},
		{"thoughts", `"content":"x","refusal":null,"reasoning_content":"a\nbc","reasoning_details":[{"type":"reasoning.text","text":"a\n","signature":"s","format":"anthropic-claude-v1","index":0},{"type":"reasoning.encrypted","data":"d","format":"anthropic-claude-v1","index":1}]`, `"finish_reason":"stop"}]` + usage,
			Answer{Blocks: []Block{{Kind: Thinking, Text: "a\n", Signature: "s"}, {Kind: Thinking, Redacted: "d"}, {Kind: Thinking, Text: "bc"}, {Text: "x"}}}},
		{"refusal", `"content":null,"refusal":"No."`, `"finish_reason":"content_filter"}]` + usage, Answer{Stop: StopRefusal, Blocks: []Block{{Kind: Refusal, Text: "No."}}}},
		{"refused", `"content":"I","refusal":"Filtered."`, `"finish_reason":"content_filter"}]` + usage, Answer{Stop: StopRefusal, Refused: "Filtered.", Blocks: []Block{{Text: "I"}}}},
		{"sequence", `"content":"I","refusal":null`, `"finish_reason":"stop","stop_reason":"END"}]` + usage, Answer{Stop: StopSequence, Sequence: "END", Blocks: []Block{{Text: "I"}}}},
		{"citations", `"content":"eins zwei","refusal":null,"annotations":[{"type":"url_citation","url_citation":{"url":"u","title":"T","start_index":5,"end_index":9}},{"type":"page_location"}]`, `"finish_reason":"stop"}]` + usage,
			Answer{Blocks: []Block{{Text: "eins "}, {Text: "zwei", Citations: []Citation{{URL: "u", Title: "T", Start: -1, End: -1, Raw: `{}`}, {Raw: `{"type":"page_location"}`}}}}}},
	} {
		c.answer.ID, c.answer.Model, c.answer.Usage = "chatcmpl-1", "m", wire.Usage{Prompt: 1, Completion: 2}
		got := string(chatTranslation(Messages).Writer().Whole(nil, &c.answer))
		want := `{"id":"chatcmpl-1","object":"chat.completion","created":17,"model":"m","choices":[{"index":0,"message":{"role":"assistant",` + c.message + `},"logprobs":null,` + c.rest + `}`
		if got != want {
			t.Errorf("%s:\n%s\nexpected:\n%s", c.name, got, want)
		}
	}
}

// TestChatDeltaAllocates reads and writes pieces of an answer: in a stream nothing may be allocated for one.
func TestChatDeltaAllocates(t *testing.T) {
	for name, delta := range chatDeltas {
		step := chatStep(t, delta)
		if n := testing.AllocsPerRun(100, step); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

var chatDeltas = map[string]string{
	"text":      `{"content":" wörld\n\"x\""}`,
	"thought":   `{"reasoning_content":" hm\n"}`,
	"arguments": `{"tool_calls":[{"index":0,"function":{"arguments":"\"a\":\n"}}]}`,
}

// chatStep reads and writes one delta of a stream that has begun.
func chatStep(tb testing.TB, delta string) func() {
	tb.Helper()
	const head = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1770933892,"model":"gpt-4.1-nano","service_tier":"default","system_fingerprint":"fp_de604bd877","choices":[{"index":0,"delta":`
	tr := chatTranslation(Chat)
	r, w := tr.Reader(), tr.Writer()
	chunk := []byte(head + delta + `,"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"5gVz2"}`)
	var events []Event
	var out []byte
	step := func() {
		var err error
		if events, err = r.Event("", chunk, events[:0]); err != nil {
			tb.Fatal(err)
		}
		out = out[:0]
		for i := range events {
			out = w.Event(out, &events[i])
		}
	}
	open := slicesOf(head+`{"role":"assistant","content":"","tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]}}]}`, chunk)
	if !strings.Contains(delta, "tool_calls") {
		open = open[1:]
	}
	for _, data := range open {
		list, err := r.Event("", data, nil)
		if err != nil {
			tb.Fatal(err)
		}
		for i := range list {
			w.Event(nil, &list[i])
		}
	}
	return step
}

func slicesOf(first string, second []byte) [][]byte { return [][]byte{[]byte(first), second} }

func BenchmarkChatDelta(b *testing.B) {
	for name, delta := range chatDeltas {
		b.Run(name, func(b *testing.B) {
			step := chatStep(b, delta)
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}

// FuzzChatReader reads anything: no panic, and events in order as long as there is no error.
func FuzzChatReader(f *testing.F) {
	for _, delta := range chatDeltas {
		f.Add([]byte(`{"id":"c","choices":[{"delta":` + delta + `}]}` + "\n" + `{"choices":[{"finish_reason":"stop"}]}`))
	}
	f.Add([]byte(`{"choices":[{"delta":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}},{"index":0,"function":{"arguments":"x"}}]}}]}`))
	f.Add([]byte(`{"choices":[{"delta":{"reasoning_details":[{"type":"reasoning.text","signature":"s"},{"type":"reasoning.encrypted","data":"d"}],"annotations":[{}]}}]}`))
	f.Add([]byte(strings.Join(called(`{"function":{"name":"f","arguments":"{}"}}`, `{"function":{"name":"f","arguments":"{"}},{"function":{"name":"g"}}`), "\n")))
	f.Add([]byte(strings.Join(called(`{"index":0,"function":{"name":"f"}},{"index":1,"function":{"name":"g"}}`, `{"index":0,"function":{"arguments":"{}"}},{"index":1,"function":{"arguments":"\u007b}"}}`), "\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = (&chatReader{}).Whole(data)
		r, w := &chatReader{}, chatTranslation(Messages).Writer()
		var all []Event
		for line := range strings.SplitSeq(string(data), "\n") {
			events, err := r.Event("", []byte(line), nil)
			if err != nil {
				break
			}
			all = append(all, events...)
		}
		var out []byte
		for i := range all {
			out = w.Event(out, &all[i])
		}
		for _, ev := range chatStream(string(out)) {
			if !valid(ev.data) {
				t.Fatalf("not JSON: %s", ev.data)
			}
		}
		if len(all) > 0 && all[len(all)-1].Type == Stopped {
			checkOrder(t, all)
			checkBlocks(t, written((&Translation{Request: &Request{From: wire.Message}}).Writer(), all))
		}
	})
}
