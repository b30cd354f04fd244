package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// message is an answer as encoding/json reads it.
type message struct {
	ID, Model    string
	Content      []map[string]json.RawMessage
	StopReason   *string `json:"stop_reason"`
	StopSequence *string `json:"stop_sequence"`
	StopDetails  struct {
		Explanation string
	} `json:"stop_details"`
	Usage json.RawMessage `json:"usage"`
}

// tier is the service tier that the answer was served in, in OpenAI's words.
func (m *message) tier(t *testing.T) string {
	t.Helper()
	var u struct {
		Tier string `json:"service_tier"`
	}
	if err := json.Unmarshal(m.Usage, &u); err != nil {
		t.Fatal(err)
	}
	switch u.Tier {
	case "", "not_available":
		return ""
	case "standard":
		return "default"
	}
	t.Fatalf("a tier that this test does not know: %q", u.Tier)
	return ""
}

type messageEvent struct {
	Type         string
	Index        int
	Message      message
	ContentBlock map[string]json.RawMessage `json:"content_block"`
	Delta        map[string]json.RawMessage
	Usage        json.RawMessage
}

// assembled is what the events of a stream add up to, without this package's reader.
func assembled(t *testing.T, events []recorded) *Answer {
	t.Helper()
	a := &Answer{}
	for _, data := range events {
		var e messageEvent
		if err := json.Unmarshal(data.data, &e); err != nil {
			t.Fatal(err)
		}
		addMessageEvent(t, a, &e)
	}
	for i := range a.Blocks {
		if b := &a.Blocks[i]; b.Kind == ToolUse && b.Input == "" {
			b.Input = "{}"
		}
	}
	return a
}

func addMessageEvent(t *testing.T, a *Answer, e *messageEvent) {
	text := func(name string) (s string) {
		json.Unmarshal(e.Delta[name], &s)
		return s
	}
	addUsage(a, e.Usage)
	switch e.Type {
	case "message_start":
		a.ID, a.Model = e.Message.ID, e.Message.Model
		for _, block := range e.Message.Content {
			a.Blocks = append(a.Blocks, blockOf(t, block))
		}
		if e.Message.StopReason != nil {
			a.Stop = messagesStop(*e.Message.StopReason)
		}
		addUsage(a, e.Message.Usage)
	case "content_block_start":
		b := blockOf(t, e.ContentBlock)
		if b.Kind == ToolUse && b.Input == "{}" {
			b.Input = ""
		}
		a.Blocks = append(a.Blocks, b)
	case "content_block_delta":
		b := &a.Blocks[e.Index]
		switch text("type") {
		case "text_delta":
			b.Text += text("text")
		case "thinking_delta":
			b.Text += text("thinking")
		case "signature_delta":
			b.Signature += text("signature")
		case "citations_delta":
			b.Citations = append(b.Citations, citationOf(t, e.Delta["citation"]))
		case "input_json_delta":
			if b.Kind == ToolUse {
				b.Input += text("partial_json")
			}
		}
	case "message_delta":
		if r := text("stop_reason"); r != "" {
			a.Stop, a.Sequence = messagesStop(r), text("stop_sequence")
		}
	}
}

func addUsage(a *Answer, raw json.RawMessage) {
	var u struct {
		Input, Output, Read, Write *int64
		Details                    struct {
			Thinking int64 `json:"thinking_tokens"`
		} `json:"output_tokens_details"`
		Iterations []struct{ Input, Output, Read, Write int64 }
	}
	if raw == nil || json.Unmarshal(bytes.NewBufferString(strings.NewReplacer(`"input_tokens"`, `"Input"`, `"output_tokens"`, `"Output"`,
		`"cache_read_input_tokens"`, `"Read"`, `"cache_creation_input_tokens"`, `"Write"`).Replace(string(raw))).Bytes(), &u) != nil {
		return
	}
	fresh := a.Usage.Prompt - a.Usage.CachedPrompt - a.Usage.CacheWrite
	for from, to := range map[*int64]*int64{u.Input: &fresh, u.Output: &a.Usage.Completion, u.Read: &a.Usage.CachedPrompt, u.Write: &a.Usage.CacheWrite} {
		if from != nil {
			*to = *from
		}
	}
	a.Usage.Prompt = fresh + a.Usage.CachedPrompt + a.Usage.CacheWrite
	a.Usage.Reasoning = max(a.Usage.Reasoning, u.Details.Thinking)
	if n := len(u.Iterations); n > 0 { // they are all of it, but for what was declined
		a.Usage = wire.Usage{Reasoning: a.Usage.Reasoning}
		for _, one := range u.Iterations {
			if one.Output > 0 {
				a.Usage = a.Usage.Plus(wire.Usage{Prompt: one.Input + one.Read + one.Write, Completion: one.Output, CachedPrompt: one.Read, CacheWrite: one.Write})
			}
		}
	}
}

func blockOf(t *testing.T, raw map[string]json.RawMessage) Block {
	t.Helper()
	text := func(name string) (s string) {
		json.Unmarshal(raw[name], &s)
		return s
	}
	switch text("type") {
	case "text":
		b := Block{Kind: Text, Text: text("text")}
		var cites []json.RawMessage
		json.Unmarshal(raw["citations"], &cites)
		for _, c := range cites {
			b.Citations = append(b.Citations, citationOf(t, c))
		}
		return b
	case "thinking":
		return Block{Kind: Thinking, Text: text("thinking"), Signature: text("signature")}
	case "redacted_thinking":
		return Block{Kind: Thinking, Redacted: text("data")}
	case "tool_use":
		return Block{Kind: ToolUse, ID: text("id"), Name: text("name"), Input: string(raw["input"])}
	}
	return Block{Kind: Other}
}

func citationOf(t *testing.T, raw json.RawMessage) Citation {
	t.Helper()
	var c struct {
		Type, URL, Title string
		Cited            string `json:"cited_text"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	cite := Citation{Start: -1, End: -1, Raw: string(raw)}
	if c.Type == "web_search_result_location" {
		cite.URL, cite.Title, cite.Cited = c.URL, c.Title, c.Cited
	}
	return cite
}

// common is an answer without what only its own protocol knows.
func common(a *Answer) *Answer {
	for i := range a.Blocks {
		if a.Blocks[i].Kind == Other {
			a.Blocks[i].Raw = ""
		}
	}
	return a
}

func TestMessagesReaderRecordings(t *testing.T) {
	for _, rec := range recordings(t, "anthropic") {
		t.Run(rec.name, func(t *testing.T) {
			var got, want *Answer
			if rec.whole != nil {
				var m message
				if err := json.Unmarshal(rec.whole, &m); err != nil {
					t.Fatal(err)
				}
				want = &Answer{ID: m.ID, Model: m.Model, Stop: messagesStop(*m.StopReason), Tier: m.tier(t), Refused: m.StopDetails.Explanation}
				addUsage(want, m.Usage)
				for _, b := range m.Content {
					want.Blocks = append(want.Blocks, blockOf(t, b))
				}
				var err error
				if got, err = (&messagesReader{}).Whole(rec.whole); err != nil {
					t.Fatal(err)
				}
			} else {
				events, err := play(t, &messagesReader{}, rec.events)
				if strings.HasPrefix(rec.name, "spliced-message-start") {
					spliced(t, events, err)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				got, want = gather(t, events), assembled(t, rec.events)
			}
			if !reflect.DeepEqual(common(got), want) {
				t.Errorf("read\n%+v\nexpected\n%+v", got, want)
			}
			if got.Usage.Prompt == 0 && len(got.Blocks) > 1 {
				t.Errorf("no usage: %+v", got.Usage)
			}
		})
	}
}

// spliced is the recording in which another answer begins in the middle of a tool call.
func spliced(t *testing.T, events []Event, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "another answer") {
		t.Errorf("the splice gives error %v", err)
	}
	for _, e := range events {
		if e.Type == Shut && e.Index == 1 || e.Type == Stopped {
			t.Error("half a tool call looks whole")
		}
	}
}

func TestMessagesReaderRefusal(t *testing.T) {
	for _, rec := range recordings(t, "anthropic") {
		if rec.name == "anthropic-refusal.json" {
			a, err := (&messagesReader{}).Whole(rec.whole)
			if err != nil || a.Stop != StopRefusal || !strings.Contains(a.Refused, "blocked under Anthropic's Usage Policy") || a.Tier != "default" {
				t.Errorf("%+v, %v", a, err)
			}
			return
		}
	}
	t.Error("no recording of a refusal")
}

// events are the data of a stream, one event a line.
func lines(text string) (list []recorded) {
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		list = append(list, recorded{data: []byte(strings.TrimSpace(line))})
	}
	return list
}

const (
	begins = `{"type":"message_start","message":{"id":"msg_1","model":"claude-x","content":[],"usage":{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":1}}}` + "\n"
	ends   = `{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":9}}` + "\n" + `{"type":"message_stop"}`
)

func TestMessagesReaderStreams(t *testing.T) {
	usage := wire.Usage{Prompt: 15, CachedPrompt: 5, Completion: 9}
	for name, test := range map[string]struct {
		stream string
		want   Answer
	}{
		"input given whole": {begins + `{"type":"content_block_start","index":7,"content_block":{"type":"tool_use","id":"t","name":"n","input":{"a":"\"b"}}}
			{"type":"content_block_delta","index":7,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}
			{"type":"content_block_stop","index":7}
			` + ends, Answer{ID: "msg_1", Model: "claude-x", Usage: usage, Stop: StopTools, Blocks: []Block{{Kind: ToolUse, ID: "t", Name: "n", Input: `{"a":"\"b"}`}}}},
		"no input": {begins + `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"n","input":{}}}
			{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":""}}
			{"type":"content_block_stop","index":0}
			` + ends, Answer{ID: "msg_1", Model: "claude-x", Usage: usage, Stop: StopTools, Blocks: []Block{{Kind: ToolUse, ID: "t", Name: "n", Input: `{}`}}}},
		"never stopped block": {begins + `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"Hi"}}
			{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\u0021"}}
			{"type":"news","of":"tomorrow"}
			` + ends, Answer{ID: "msg_1", Model: "claude-x", Usage: usage, Stop: StopTools, Blocks: []Block{{Kind: Text, Text: "Hi!"}}}},
		"hidden thought": {begins + `{"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"xyz"}}
			{"type":"content_block_stop","index":0}
			{"type":"content_block_start","index":1,"content_block":{"type":"thinking","thinking":"","signature":"s"}}
			{"type":"content_block_stop","index":1}
			` + ends, Answer{ID: "msg_1", Model: "claude-x", Usage: usage, Stop: StopTools, Blocks: []Block{{Kind: Thinking, Redacted: "xyz"}, {Kind: Thinking, Signature: "s"}}}},
		"another start before content": {`{"type":"message_start","message":{"id":"msg_0","usage":{"input_tokens":99,"cache_creation_input_tokens":3}}}` + "\n" + begins + ends,
			Answer{ID: "msg_0", Usage: usage, Stop: StopTools}},
		"no stop reason": {begins + `{"type":"message_stop"}`, Answer{ID: "msg_1", Model: "claude-x", Usage: wire.Usage{Prompt: 15, CachedPrompt: 5, Completion: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			events, err := play(t, &messagesReader{}, lines(test.stream))
			if err != nil {
				t.Fatal(err)
			}
			if got := gather(t, events); !reflect.DeepEqual(got, &test.want) {
				t.Errorf("read\n%+v\nexpected\n%+v", got, &test.want)
			}
		})
	}
}

func TestMessagesReaderStops(t *testing.T) {
	for reason, want := range map[string]Stop{"end_turn": StopEnd, "max_tokens": StopLength, "model_context_window_exceeded": StopLength,
		"stop_sequence": StopSequence, "tool_use": StopTools, "refusal": StopRefusal, "pause_turn": StopPause, "of tomorrow": StopEnd} {
		stream := begins + `{"type":"message_delta","delta":{"stop_reason":"` + reason + `","stop_sequence":"END"}}` + "\n" + `{"type":"message_stop"}`
		events, err := play(t, &messagesReader{}, lines(stream))
		if a := gather(t, events); err != nil || a.Stop != want || a.Sequence != "END" {
			t.Errorf("%s: %v %q, %v", reason, a.Stop, a.Sequence, err)
		}
	}
}

func TestMessagesReaderFailures(t *testing.T) {
	for _, test := range []struct {
		stream, want string
		status       int
	}{
		{begins + `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, "overloaded_error: Overloaded", 529},
		{`{"type":"error","error":{"type":"rate_limit_error","message":"Slow"}}`, "rate_limit_error: Slow", 429},
		{begins + `{"type":"error","error":{"type":"api_error","message":"Oops"}}`, "api_error: Oops", 500},
		{begins + `{"type":"error","error":{"type":"strange","message":"Oops"}}`, "strange: Oops", 0},
		{`{"type":"content_block_start"}`, "does not begin with message_start", -1},
		{begins + `{"type":"content_block_delta","index":3,"delta":{"type":"text_delta","text":"x"}}`, "content block 3 goes on", -1},
		{begins + ends + "\n" + `{"type":"content_block_start","index":0,"content_block":{"type":"text"}}`, "after the end", -1},
		{begins + strings.Repeat(`{"type":"content_block_start","index":1,"content_block":{"type":"text"}}`+"\n", 2), "began twice", -1},
		{begins + `{"type":"message_sta`, "not JSON", -1},
	} {
		_, err := play(t, &messagesReader{}, lines(test.stream))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s\ngives %v, expected %q", test.stream, err, test.want)
		}
		if f := (*Failure)(nil); errors.As(err, &f) != (test.status >= 0) || f != nil && f.Status != test.status {
			t.Errorf("%s\ngives %+v, expected status %d", test.stream, f, test.status)
		}
	}
	var open strings.Builder
	for i := range 100 {
		open.WriteString(`{"type":"content_block_start","index":` + string(rune('0'+i/10)) + `.` + string(rune('0'+i%10)) + `e1,"content_block":{"type":"text"}}` + "\n")
	}
	if _, err := play(t, &messagesReader{}, lines(begins+open.String())); err == nil {
		t.Error("blocks without bound are accepted")
	}
	for _, whole := range []string{`{"type":"error","error":{"type":"api_error","message":"x"}}`, `{"id":"x"}`, `[]`, `{"content":[`} {
		if _, err := (&messagesReader{}).Whole([]byte(whole)); err == nil {
			t.Errorf("%s is accepted", whole)
		}
	}
}

func FuzzMessagesReader(f *testing.F) {
	f.Add([]byte(begins + ends))
	f.Add([]byte(begins + `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"n","input":{"a":1}}}` + "\n" + ends))
	f.Add([]byte(begins + `{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"a","signature":"b"}}` + "\n" +
		`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c"}}` + "\n" + begins))
	f.Add([]byte(`{"content":[{"type":"text","text":"a","citations":[{"type":"web_search_result_location","url":1}]},3],"usage":{"input_tokens":1e99}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, w := &messagesReader{}, newMessagesWriter(&Translation{})
		var all []Event
		var out []byte
		for line := range bytes.SplitSeq(data, []byte("\n")) {
			events, err := r.Event("", slices.Clone(line), nil)
			for i := range events {
				out = w.Event(out, &events[i])
			}
			all = append(all, events...)
			if err != nil {
				out = w.Fail(out, wire.Server(502, "", err.Error(), nil))
				break
			}
		}
		if r.stopped {
			checkOrder(t, all)
			out = w.End(out)
		}
		for _, e := range eventsIn(t, out) {
			if !json.Valid(e.data) {
				t.Errorf("not JSON: %s", e.data)
			}
		}
		if a, err := (&messagesReader{}).Whole(data); err == nil {
			if whole := newMessagesWriter(&Translation{}).Whole(nil, a); !json.Valid(whole) {
				t.Errorf("not JSON: %s", whole)
			}
		}
	})
}
