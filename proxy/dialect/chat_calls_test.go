package dialect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// called makes chunks of a stream, each with one list of tool calls, and the one that ends it.
func called(lists ...string) (chunks []string) {
	for _, list := range lists {
		chunks = append(chunks, `{"id":"c","model":"m","choices":[{"index":0,"delta":{"tool_calls":[`+list+`]}}]}`)
	}
	return append(chunks, `{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`)
}

// TestChatCalls has the ways in which servers tell one tool call from the next.
func TestChatCalls(t *testing.T) {
	const text = `{"choices":[{"delta":{"content":"hm"}}]}`
	long := strings.Repeat("n", mostNamed+1)
	for _, c := range []struct {
		name   string
		chunks []string
		want   string
	}{
		{"no id, no index, names differ", called(`{"function":{"name":"a","arguments":"{\"x\":1}"}}`, `{"function":{"name":"b","arguments":"{\"y\":2}"}}`),
			`open 0 tool call_* a|{"x":1}|shut 0|open 1 tool call_* b|{"y":2}|shut 1`},
		{"no id, one index, names differ", called(`{"index":0,"id":"","function":{"name":"a","arguments":"{\"x\":1}"}}`, `{"index":0,"id":"","function":{"name":"b","arguments":"{\"y\":2}"}}`),
			`open 0 tool call_* a|{"x":1}|shut 0|open 1 tool call_* b|{"y":2}|shut 1`},
		{"no id, the same name", called(`{"function":{"name":"a","arguments":"{\"x\":\"}\"}"}}`, `{"function":{"name":"a","arguments":"{\"y\":2}"}}`),
			`open 0 tool call_* a|{"x":"}"}|shut 0|open 1 tool call_* a|{"y":2}|shut 1`},
		{"no id, the same name, in one chunk", called(`{"function":{"name":"a","arguments":"{}"}},{"function":{"name":"a","arguments":"{}"}}`),
			`open 0 tool call_* a|{}|shut 0|open 1 tool call_* a|{}|shut 1`},
		{"the name in every piece", called(`{"index":0,"function":{"name":"a","arguments":""}}`, `{"index":0,"function":{"name":"a","arguments":"{\"x\":"}}`, `{"index":0,"function":{"name":"a","arguments":"[1]}"}}`, `{"index":0,"function":{"name":"a","arguments":""}}`),
			`open 0 tool call_* a|{"x":|[1]}|shut 0`},
		{"the same name, arguments later", called(`{"index":0,"function":{"name":"a","arguments":""}}`, `{"index":0,"function":{"arguments":"{}"}}`, `{"index":0,"function":{"name":"a","arguments":""}}`, `{"index":0,"function":{"arguments":"{"}}`, `{"index":0,"function":{"arguments":"}"}}`),
			`open 0 tool call_* a|{}|shut 0|open 1 tool call_* a|{|}|shut 1`},
		{"another name before the arguments", called(`{"function":{"name":"a"}}`, `{"function":{"name":"b"}}`),
			`open 0 tool call_* a|open 1 tool call_* b|shut 0|shut 1`},
		{"text between", append(append(called(`{"index":0,"function":{"name":"a","arguments":"{}"}}`)[:1], text), called(`{"index":0,"function":{"name":"a","arguments":"{}"}}`)...),
			`open 0 tool call_* a|{}|shut 0|open 1 text|hm|shut 1|open 2 tool call_* a|{}|shut 2`},
		{"in turns, opened at once", called(`{"index":0,"id":"i","function":{"name":"a","arguments":""}},{"index":1,"id":"j","function":{"name":"b","arguments":""}}`,
			`{"index":0,"function":{"arguments":"{\"x\""}}`, `{"index":1,"function":{"arguments":"{\"y\":"}}`, `{"index":0,"function":{"arguments":":1}"}},{"index":1,"function":{"arguments":"2}"}}`),
			`open 0 tool i a|open 1 tool j b|{"x"|{"y":|:1}|2}|shut 0|shut 1`},
		{"in turns, opened one by one", called(`{"index":0,"id":"i","function":{"name":"a","arguments":"{"}}`, `{"index":1,"id":"j","function":{"name":"b","arguments":"{"}}`,
			`{"index":0,"function":{"arguments":"}"}}`, `{"index":2,"id":"k","function":{"name":"c","arguments":"{}"}}`, `{"index":1,"function":{"arguments":"}"}}`),
			`open 0 tool i a|{|open 1 tool j b|{|}|shut 0|open 2 tool k c|{}|}|shut 1|shut 2`},
		{"another kind ends all", append(called(`{"index":0,"id":"i","function":{"name":"a"}},{"index":1,"id":"j","function":{"name":"b"}}`)[:1], text, called(`{"index":0,"function":{"arguments":"{}"}}`)[0]),
			`open 0 tool i a|open 1 tool j b|shut 0|shut 1|open 2 text|hm|error: the answer goes on with tool call 0, which was complete`},
		{"braces escaped and in strings", called(`{"index":0,"function":{"name":"a","arguments":"\u007b\"x\":\"\\\\\\\"}\\"}}`, `{"index":0,"function":{"name":"a","arguments":"\"{\u0022"}}`, `{"index":0,"function":{"name":"a","arguments":"\u007d"}}`, `{"index":0,"function":{"name":"a","arguments":"{}"}}`),
			`open 0 tool call_* a|{"x":"\\\"}\|"{"|}|shut 0|open 1 tool call_* a|{}|shut 1`},
		{"an endless name", called(`{"index":0,"function":{"name":"` + long + `"}}`)[:1], `error: tool call 0 has an id or a name of more than 65536 bytes`},
	} {
		if got := toldChat(c.chunks); strings.TrimSuffix(got, "|stop tools") != "start c m|"+c.want {
			t.Errorf("%s:\n%s\nexpected:\n%s", c.name, got, c.want)
		}
	}
}

// TestChatCallsBounded: a server that never completes a call does not fill the memory.
func TestChatCallsBounded(t *testing.T) {
	r := &chatReader{}
	var events []recorded
	for i := range 3 * mostOpen {
		events = append(events, recorded{data: []byte(called(fmt.Sprintf(`{"index":%d,"id":"%d","function":{"name":"f","arguments":"{"}}`, i, i))[0])})
	}
	all, err := play(t, r, append(events, recorded{data: []byte(called()[0])}))
	if err != nil || len(r.calls) > mostOpen {
		t.Errorf("%v, %d calls are kept", err, len(r.calls))
	}
	if n := len(gather(t, all).Blocks); n != 3*mostOpen {
		t.Errorf("%d calls", n)
	}
}

// TestCallsInTurns writes two calls whose arguments come in turns for every client.
func TestCallsInTurns(t *testing.T) {
	var stream []recorded
	for _, c := range called(`{"index":0,"id":"i","function":{"name":"a","arguments":""}},{"index":1,"id":"j","function":{"name":"b","arguments":""}}`,
		`{"index":0,"function":{"arguments":"{\"x\":"}}`, `{"index":1,"function":{"arguments":"{\"y\":"}}`, `{"index":0,"function":{"arguments":"1}"}}`,
		`{"index":2,"id":"k","function":{"name":"c","arguments":""}}`, `{"index":1,"function":{"arguments":"2}"}}`) {
		stream = append(stream, recorded{data: []byte(c)})
	}
	events, err := play(t, &chatReader{}, stream)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{tool i a {"x":1}} {tool j b {"y":2}} {tool k c {}} tools`

	checkResponses(t, written(responsesTo(t, responsesAll), events), events)

	chat, err := play(t, &chatReader{}, chatStream(string(written(chatTranslation(Chat).Writer(), events))))
	if got := toldAnswer(gather(t, chat)); err != nil || got != want {
		t.Errorf("chat: %v, %s", err, got)
	}

	out := written((&Translation{Request: &Request{From: wire.Message}}).Writer(), events)
	if got := toldAnswer(assembled(t, eventsIn(t, out))); got != want {
		t.Errorf("messages: %s", got)
	}
	checkBlocks(t, out)
}

// checkBlocks checks that a block of a message begins once, in order, and that nothing is said of it before or after.
func checkBlocks(t *testing.T, stream []byte) {
	t.Helper()
	var begun int64
	var open []int64
	for _, ev := range eventsIn(t, stream) {
		index, kind := gjson.GetBytes(ev.data, "index").Int(), gjson.GetBytes(ev.data, "type").Str
		switch isOpen := slices.Contains(open, index); kind {
		case "content_block_start":
			if index != begun {
				t.Errorf("block %d begins as %d", begun, index)
			}
			begun++
			open = append(open, index)
		case "content_block_delta", "content_block_stop":
			if !isOpen {
				t.Errorf("not open: %s", ev.data)
			}
			if kind == "content_block_stop" {
				open = slices.DeleteFunc(open, func(i int64) bool { return i == index })
			}
		case "message_delta":
			if len(open) > 0 {
				t.Errorf("open at the end: %v", open)
			}
		}
	}
	if !bytes.Contains(stream, []byte("message_stop")) {
		t.Errorf("not a message: %s", stream)
	}
}

// FuzzNesting: an object is complete however it is escaped and cut, and never before its end.
func FuzzNesting(f *testing.F) {
	f.Add(`{"a":"}\\\""}`, 3)
	f.Add(` {"a":[{}]} `, 7)
	f.Fuzz(func(t *testing.T, text string, cut int) {
		if !utf8.ValidString(text) || !json.Valid([]byte(text)) {
			return
		}
		text = strings.TrimSpace(text)
		cut = min(max(cut, 0), len(text))
		var n nesting
		for i, piece := range []string{text[:cut], text[cut:]} {
			if i == 1 && n.complete() && cut < len(text) {
				t.Errorf("%q is complete", text[:cut])
			}
			if i == 0 {
				n.add(string(wire.AppendString(nil, piece)))
				continue
			}
			var literal strings.Builder
			for _, unit := range utf16.Encode([]rune(piece)) {
				fmt.Fprintf(&literal, `\u%04X`, unit)
			}
			n.add(`"` + literal.String() + `"`)
		}
		if n.complete() != (text[0] == '{') {
			t.Errorf("%q: complete: %t", text, n.complete())
		}
	})
}
