package dialect

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// eventsIn takes a stream for a client of the Messages API apart, and checks that each event is named for its type.
func eventsIn(t testing.TB, stream []byte) (list []recorded) {
	t.Helper()
	for event := range strings.SplitSeq(strings.TrimSuffix(string(stream), "\n\n"), "\n\n") {
		if event == "" {
			continue
		}
		name, data, ok := strings.Cut(strings.TrimPrefix(event, "event: "), "\ndata: ")
		var typed struct{ Type string }
		if err := json.Unmarshal([]byte(data), &typed); err != nil || !ok || typed.Type != name || strings.Contains(data, "\n") {
			t.Errorf("event %q of type %q: %v", event, typed.Type, err)
		}
		list = append(list, recorded{data: []byte(data)})
	}
	return list
}

// ours is an answer as a client of the Messages API sees it: without blocks of other dialects and such that say nothing.
func ours(a *Answer) *Answer {
	a.Blocks = slices.DeleteFunc(a.Blocks, func(b Block) bool {
		return b.Kind == Other || b.Kind == Text && b.Text == "" && b.Citations == nil
	})
	if len(a.Blocks) == 0 {
		a.Blocks = nil
	}
	return a
}

// TestMessagesRoundTrip writes what was read of every recording and reads it back.
func TestMessagesRoundTrip(t *testing.T) {
	for _, rec := range recordings(t, "anthropic") {
		if strings.HasPrefix(rec.name, "spliced") {
			continue
		}
		t.Run(rec.name, func(t *testing.T) {
			w := newMessagesWriter(&Translation{})
			if rec.whole != nil {
				want, err := (&messagesReader{}).Whole(rec.whole)
				if err != nil {
					t.Fatal(err)
				}
				out := w.Whole([]byte("x"), want)[1:]
				got, err := (&messagesReader{}).Whole(out)
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				if !reflect.DeepEqual(got, ours(want)) {
					t.Errorf("wrote\n%+v\nexpected\n%+v", got, want)
				}
				return
			}
			events, err := play(t, &messagesReader{}, rec.events)
			if err != nil {
				t.Fatal(err)
			}
			var out []byte
			for i := range events {
				out = w.Event(out, &events[i])
			}
			back, err := play(t, &messagesReader{}, eventsIn(t, w.End(out)))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := gather(t, back), ours(gather(t, events)); !reflect.DeepEqual(got, want) {
				t.Errorf("wrote\n%+v\nexpected\n%+v", got, want)
			}
		})
	}
}

func TestMessagesWriterStream(t *testing.T) {
	for _, test := range []struct {
		name   string
		events []Event
		want   string
	}{
		{"text and calls that mix", []Event{
			{Type: Ping},
			{Type: Start, ID: "chatcmpl-1", Name: "gpt-5.2"},
			{Type: Open, Index: 0, Kind: Text},
			{Type: Delta, Index: 0, Text: `"Hi \u00e9\n"`},
			{Type: Open, Index: 1, Kind: ToolUse, ID: "call.1", Name: "look"},
			{Type: Open, Index: 2, Kind: ToolUse, ID: "", Name: "find"},
			{Type: Shut, Index: 0},
			{Type: Delta, Index: 2, Text: `"{\"a\":"`},
			{Type: Delta, Index: 1, Text: `"{}"`},
			{Type: Delta, Index: 0, Text: `"too late"`},
			{Type: Delta, Index: 2, Text: `"1}"`},
			{Type: Shut, Index: 1},
			{Type: Shut, Index: 2},
			{Type: Billed, Usage: wire.Usage{Prompt: 30, CachedPrompt: 10, CacheWrite: 5, Completion: 7, Reasoning: 3}},
			{Type: Stopped, Stop: StopTools},
		}, `event: ping
data: {"type":"ping"}

event: message_start
data: {"type":"message_start","message":{"id":"msg_gateway","type":"message","role":"assistant","model":"pro","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi \u00e9\n"}}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"call_1_e8b7b7b379","name":"look","input":{}}}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"msg_gateway_2","name":"find","input":{}}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":15,"cache_creation_input_tokens":5,"cache_read_input_tokens":10,"output_tokens":7,"output_tokens_details":{"thinking_tokens":3}}}

event: message_stop
data: {"type":"message_stop"}

`},
		{"thoughts, a refusal, what is left out", []Event{
			{Type: Start, ID: "chatcmpl-1", Name: "gpt-5.2"},
			{Type: Open, Index: 0, Kind: Thinking},
			{Type: Delta, Index: 0, Text: `"Hm"`},
			{Type: Shut, Index: 0},
			{Type: Open, Index: 1, Kind: Other, Raw: `{"type":"server_tool_use"}`},
			{Type: Shut, Index: 1},
			{Type: Open, Index: 2, Kind: Text},
			{Type: Delta, Index: 2, Text: `""`},
			{Type: Shut, Index: 2},
			{Type: Open, Index: 3, Kind: Thinking, Redacted: "xyz"},
			{Type: Shut, Index: 3},
			{Type: Open, Index: 4, Kind: Thinking},
			{Type: Signed, Index: 4, Text: `"sig"`},
			{Type: Shut, Index: 4},
			{Type: Open, Index: 5, Kind: Refusal},
			{Type: Delta, Index: 5, Text: `"No."`},
			{Type: Stopped, Stop: StopRefusal},
		}, `event: message_start
data: {"type":"message_start","message":{"id":"msg_gateway","type":"message","role":"assistant","model":"pro","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"jarvis-unsigned"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"xyz"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"signature_delta","signature":"sig"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"text_delta","text":"No."}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"refusal","stop_sequence":null},"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}

event: message_stop
data: {"type":"message_stop"}

`},
		{"citations and a stop sequence", []Event{
			{Type: Start, ID: "chatcmpl-1", Name: "gpt-5.2"},
			{Type: Open, Index: 0, Kind: Text},
			{Type: Delta, Index: 0, Text: `"It is."`},
			{Type: Cited, Index: 0, Cite: Citation{URL: "https://a.example", Title: "A", Cited: "is", Raw: `{"type":"url_citation"}`}},
			{Type: Cited, Index: 0, Cite: Citation{Raw: `{"type":"file_citation"}`}},
			{Type: Cited, Index: 0, Cite: Citation{Raw: `{"type":"page_location","start_page_number":2}`}},
			{Type: Shut, Index: 0},
			{Type: Stopped, Stop: StopSequence, Sequence: "\n\n"},
		}, `event: message_start
data: {"type":"message_start","message":{"id":"msg_gateway","type":"message","role":"assistant","model":"pro","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"It is."}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"type":"web_search_result_location","cited_text":"is","url":"https://a.example","title":"A","encrypted_index":""}}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"type":"page_location","start_page_number":2}}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"\n\n"},"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}

event: message_stop
data: {"type":"message_stop"}

`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newMessagesWriter(&Translation{ID: "msg_gateway", Named: "pro"})
			var out []byte
			for i := range test.events {
				out = w.Event(out, &test.events[i])
			}
			out = w.End(out)
			if string(out) != test.want {
				t.Errorf("wrote\n%s\nexpected\n%s", out, test.want)
			}
			eventsIn(t, out)
		})
	}
}

func TestMessagesWriterWhole(t *testing.T) {
	for _, test := range []struct {
		answer Answer
		want   string
	}{
		{Answer{ID: "chatcmpl-1", Model: "gpt", Stop: StopTools, Tier: "default", Usage: wire.Usage{Prompt: 9, CachedPrompt: 4, Completion: 2}, Blocks: []Block{
			{Kind: Thinking, Text: "Hm"}, {Kind: Text}, {Kind: Text, Text: "Look:"},
			{Kind: ToolUse, ID: "call_1", Name: "look", Input: ` {"a": 1}`}, {Kind: ToolUse, Name: "find", Input: ""}, {Kind: ToolUse, ID: "3", Name: "f", Input: `{"a":`},
			{Kind: Other, Raw: `{}`},
		}}, `{"id":"msg_1","type":"message","role":"assistant","model":"gpt","content":[` +
			`{"type":"thinking","thinking":"Hm","signature":"jarvis-unsigned"},{"type":"text","text":"Look:"},` +
			`{"type":"tool_use","id":"call_1","name":"look","input": {"a": 1}},{"type":"tool_use","id":"msg_1_4","name":"find","input":{}},` +
			`{"type":"tool_use","id":"3","name":"f","input":{"invalid_json":"{\"a\":"}}],"stop_reason":"tool_use","stop_sequence":null,` +
			`"usage":{"input_tokens":5,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,"output_tokens":2,"service_tier":"standard"}}`},
		{Answer{ID: "c", Model: "gpt", Stop: StopRefusal, Blocks: []Block{{Kind: Refusal, Text: "No."}}, Refused: "policy"},
			`{"id":"msg_c","type":"message","role":"assistant","model":"gpt","content":[{"type":"text","text":"No."}],"stop_reason":"refusal","stop_sequence":null,` +
				`"stop_details":{"type":"refusal","category":null,"explanation":"policy"},` +
				`"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}`},
		{Answer{ID: "c", Model: "gpt", Stop: StopLength, Blocks: []Block{{Kind: Text, Text: "a", Citations: []Citation{{Raw: `{"type":"x"}`}, {URL: "u"}}}}},
			`{"id":"msg_c","type":"message","role":"assistant","model":"gpt","content":[{"type":"text","text":"a","citations":[` +
				`{"type":"web_search_result_location","cited_text":"","url":"u","title":"","encrypted_index":""}]}],"stop_reason":"max_tokens","stop_sequence":null,` +
				`"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}`},
	} {
		got := newMessagesWriter(&Translation{}).Whole(nil, &test.answer)
		if string(got) != test.want || !json.Valid(got) {
			t.Errorf("wrote\n%s\nexpected\n%s", got, test.want)
		}
	}
}

func TestMessageErrors(t *testing.T) {
	for status, kind := range map[int]string{400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
		413: "request_too_large", 422: "invalid_request_error", 429: "rate_limit_error", 500: "api_error", 502: "api_error", 503: "api_error",
		504: "timeout_error", 529: "overloaded_error"} {
		e := &wire.Error{Status: status, Message: "No \"way\""}
		want := `{"type":"error","error":{"type":"` + kind + `","message":"No \"way\""},"request_id":"req_1"}`
		if got := AppendMessageError(nil, e, "req_1"); string(got) != want {
			t.Errorf("%d: %s, expected %s", status, got, want)
		}
	}
	w := newMessagesWriter(&Translation{})
	got := w.Fail(nil, &wire.Error{Status: 529, Message: "x", Raw: []byte(`{"type":"overloaded_error","message":"Overloaded"}`)})
	want := "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"
	if !bytes.Equal(got, []byte(want)) {
		t.Errorf("%s, expected %s", got, want)
	}
}

// TestMessagesStreamAllocates nothing for a delta in the steady state.
func TestMessagesStreamAllocates(t *testing.T) {
	r, w := &messagesReader{}, newMessagesWriter(&Translation{})
	var events []Event
	var out []byte
	for _, e := range lines(begins + `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`) {
		events, _ = r.Event("", e.data, events[:0])
		for i := range events {
			out = w.Event(out[:0], &events[i])
		}
	}
	delta := []byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello \"there\""}}`)
	if n := testing.AllocsPerRun(100, func() {
		events, _ = r.Event("", delta, events[:0])
		for i := range events {
			out = w.Event(out[:0], &events[i])
		}
	}); n > 0 {
		t.Errorf("%v allocations for a delta", n)
	}
	if !bytes.Contains(out, []byte(`"text":"Hello \"there\""`)) {
		t.Errorf("wrote %s", out)
	}
}
