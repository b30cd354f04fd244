package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// chatRecordings are what OpenAI, Azure and DeepSeek answered to Chat Completions requests.
func chatRecordings(t testing.TB) (list []recording) {
	t.Helper()
	for _, rec := range append(recordings(t, "openai/chat"), recordings(t, "azure")...) {
		chat := bytes.Contains(rec.whole, []byte(`"choices"`))
		for _, ev := range rec.events {
			chat = chat || bytes.Contains(ev.data, []byte(`"choices"`))
		}
		if chat {
			list = append(list, rec)
		}
	}
	files, err := filepath.Glob(filepath.Join(shared(t, "openai-sse"), "*.bin"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d streams: %v", len(files), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, recording{name: filepath.Base(file)[:8], events: chatStream(string(raw))})
	}
	return list
}

// chatStream takes a stream of server-sent events apart.
func chatStream(raw string) (events []recorded) {
	for line := range strings.Lines(raw) {
		if data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: "); ok && data != "[DONE]" {
			events = append(events, recorded{data: []byte(data)})
		}
	}
	return events
}

// simple is what a plain reading of a recording finds, to compare with.
type simple struct {
	Content, Thoughts, Refusal string
	Calls                      []string
	Prompt, Completion         int64
}

type simpleMessage struct {
	Content, Refusal string
	Thoughts         string `json:"reasoning_content"`
	Calls            []struct {
		Index    int
		Function struct{ Name, Arguments string }
	} `json:"tool_calls"`
}

// readSimply reads with encoding/json; several is true where there is more than one choice.
func readSimply(t *testing.T, rec recording) (s simple, several bool) {
	t.Helper()
	datas := [][]byte{rec.whole}
	if rec.whole == nil {
		datas = nil
		for _, ev := range rec.events {
			datas = append(datas, ev.data)
		}
	}
	for _, data := range datas {
		var c struct {
			Choices []struct {
				Index          int
				Delta, Message simpleMessage
			}
			Usage *struct {
				Prompt     int64 `json:"prompt_tokens"`
				Completion int64 `json:"completion_tokens"`
			}
		}
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatal(err)
		}
		if c.Usage != nil {
			s.Prompt, s.Completion = c.Usage.Prompt, c.Usage.Completion
		}
		for _, choice := range c.Choices {
			several = several || choice.Index > 0
			s.add(choice.Delta, false)
			s.add(choice.Message, true)
		}
	}
	return s, several
}

func (s *simple) add(m simpleMessage, whole bool) {
	s.Content, s.Thoughts, s.Refusal = s.Content+m.Content, s.Thoughts+m.Thoughts, s.Refusal+m.Refusal
	for i, c := range m.Calls {
		if whole {
			c.Index = i
		}
		for len(s.Calls) <= c.Index {
			s.Calls = append(s.Calls, "")
		}
		s.Calls[c.Index] += c.Function.Name + c.Function.Arguments
	}
}

// simplyOf is the same of what the reader found.
func simplyOf(a *Answer) (s simple) {
	s.Content, s.Thoughts, s.Refusal = joined(a.Blocks, Text), joined(a.Blocks, Thinking), joined(a.Blocks, Refusal)
	for _, b := range a.Blocks {
		if b.Kind == ToolUse {
			s.Calls = append(s.Calls, b.Name+b.Input)
		}
	}
	s.Prompt, s.Completion = a.Usage.Prompt, a.Usage.Completion
	return s
}

func TestChatReadsRecordings(t *testing.T) {
	streams, wholes := 0, 0
	for _, rec := range chatRecordings(t) {
		want, several := readSimply(t, rec)
		a, err := readRecording(t, &chatReader{}, rec)
		if several {
			if err == nil || !strings.Contains(err.Error(), "where one") {
				t.Errorf("%s: %v, expected an error for several choices", rec.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", rec.name, err)
			continue
		}
		if rec.whole != nil {
			wholes++
		} else {
			streams++
		}
		if got := simplyOf(a); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got\n%+v\nexpected\n%+v", rec.name, got, want)
		}
		if a.ID == "" || a.Model == "" || a.Usage.Prompt == 0 || len(a.Blocks) == 0 {
			t.Errorf("%s: id %q, model %q, usage %+v, %d blocks", rec.name, a.ID, a.Model, a.Usage, len(a.Blocks))
		}
		if called := len(want.Calls) > 0; called != (a.Stop == StopTools) {
			t.Errorf("%s: stopped for %d, %d calls", rec.name, a.Stop, len(want.Calls))
		}
	}
	if streams < 12 || wholes < 2 {
		t.Errorf("%d streams and %d whole answers", streams, wholes)
	}
}

func readRecording(t testing.TB, r Reader, rec recording) (*Answer, error) {
	t.Helper()
	if rec.whole != nil {
		return r.Whole(rec.whole)
	}
	events, err := play(t, r, rec.events)
	if err != nil {
		return nil, err
	}
	return gather(t, events), nil
}

// TestChatRoundTrip writes every recorded answer for a client of Chat Completions and reads that again: nothing that the
// protocol has a place for may change.
func TestChatRoundTrip(t *testing.T) {
	for _, from := range []struct {
		folder string
		to     Protocol
	}{{"anthropic", Messages}, {"amazon-bedrock", Converse}, {"", Chat}} {
		list := chatRecordings(t)
		if from.folder != "" {
			list = recordings(t, from.folder)
		}
		compared := 0
		for _, rec := range list {
			tr := &Translation{To: from.to, Request: &Request{From: wire.Chat, StreamUsage: true}}
			want, err := readRecording(t, tr.Reader(), rec)
			if err != nil {
				continue // those are the readers' own tests
			}
			got, err := throughChat(t, tr, rec)
			if err != nil {
				t.Errorf("%s: %v", rec.name, err)
				continue
			}
			compared++
			sameAnswer(t, rec.name, got, want)
		}
		if compared < 10 {
			t.Errorf("%s: only %d answers", from.folder, compared)
		}
	}
}

// throughChat writes a recording in the client's dialect and reads it.
func throughChat(t *testing.T, tr *Translation, rec recording) (*Answer, error) {
	t.Helper()
	r, w := tr.Reader(), tr.Writer()
	if rec.whole != nil {
		a, err := r.Whole(rec.whole)
		if err != nil {
			t.Fatal(err)
		}
		return (&chatReader{}).Whole(w.Whole(nil, a))
	}
	var sse []byte
	for _, ev := range rec.events {
		data := slices.Clone(ev.data)
		events, err := r.Event(ev.name, data, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range events {
			sse = w.Event(sse, &events[i])
		}
		clear(data)
	}
	sse = w.End(sse)
	if !bytes.HasSuffix(sse, []byte("\n\ndata: [DONE]\n\n")) {
		t.Errorf("%s: the stream ends with %q", rec.name, sse[max(0, len(sse)-40):])
	}
	for event := range strings.SplitSeq(strings.TrimSuffix(string(sse), "\n\n"), "\n\n") {
		if strings.Contains(event, "\n") {
			t.Errorf("%s: an event has several lines: %q", rec.name, event)
		}
	}
	events, err := play(t, &chatReader{}, chatStream(string(sse)))
	return gather(t, events), err
}

// sameAnswer compares what Chat Completions can carry.
func sameAnswer(t *testing.T, name string, got, want *Answer) {
	t.Helper()
	said := simplyOf(want)
	if said.Refusal == "" {
		said.Refusal = want.Refused
	}
	if fmt.Sprint(simplyOf(got)) != fmt.Sprint(said) {
		t.Errorf("%s: got\n%+v\nexpected\n%+v", name, simplyOf(got), said)
	}
	if len(got.ID) == 0 || !strings.HasSuffix(got.ID, strings.TrimPrefix(want.ID, "chatcmpl-")) {
		t.Errorf("%s: id %q became %q", name, want.ID, got.ID)
	}
	usage := want.Usage
	usage.Audio, usage.Estimated = 0, false
	if got.Usage != usage || got.Model != want.Model || got.Tier != want.Tier {
		t.Errorf("%s: usage %+v, model %s, tier %q; expected %+v, %s, %q", name, got.Usage, got.Model, got.Tier, usage, want.Model, want.Tier)
	}
	if stopAfterChat(want) != got.Stop {
		t.Errorf("%s: stopped for %d %q, expected %d %q", name, got.Stop, got.Sequence, want.Stop, want.Sequence)
	}
	if signed(got) != signed(want) {
		t.Errorf("%s: signed thoughts\n%s\nexpected\n%s", name, signed(got), signed(want))
	}
}

// stopAfterChat is what is left of the reason to stop.
func stopAfterChat(a *Answer) Stop {
	switch {
	case a.Stop == StopPause:
		return StopLength
	case a.Stop == StopEnd && slices.ContainsFunc(a.Blocks, func(b Block) bool { return b.Kind == ToolUse }):
		return StopTools
	case a.Stop == StopSequence && a.Sequence == "":
		return StopEnd
	}
	return a.Stop
}

func signed(a *Answer) string {
	var list []string
	for _, b := range a.Blocks {
		if b.Signature != "" || b.Redacted != "" {
			list = append(list, fmt.Sprintf("%q %q %q", b.Text, b.Signature, b.Redacted))
		}
	}
	return strings.Join(list, "\n")
}

// TestChatReaderForms has the many ways in which servers write the same.
func TestChatReaderForms(t *testing.T) {
	chunk := func(delta string) string {
		return `{"id":"c","model":"m","choices":[{"index":0,"delta":` + delta + `}]}`
	}
	const stop, calls = `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`, `{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}`
	for _, c := range []struct {
		name   string
		chunks []string
		want   string
	}{
		{"call whole in one chunk, no index", []string{chunk(`{"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","function":{"name":"g","arguments":"{\"x\":1}"}}]}`), calls},
			`start c m|open 0 tool a f|{}|shut 0|open 1 tool b g|{"x":1}|shut 1|stop tools`},
		{"every call counted as the first", []string{chunk(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}`), chunk(`{"tool_calls":[{"index":0,"id":"b","function":{"name":"f","arguments":"{}"}}]}`), stop},
			`start c m|open 0 tool a f|{}|shut 0|open 1 tool b f|{}|shut 1|stop tools`},
		{"id and name repeated", []string{chunk(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}`), chunk(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}`), calls},
			`start c m|open 0 tool a f|{}|shut 0|stop tools`},
		{"id null and name empty later", []string{chunk(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f"}}]}`), chunk(`{"tool_calls":[{"index":0,"id":null,"function":{"name":"","arguments":"{}"}}]}`), calls},
			`start c m|open 0 tool a f|{}|shut 0|stop tools`},
		{"text, then a call, empty texts between", []string{chunk(`{"role":"assistant","content":""}`), chunk(`{"content":"Hi"}`), chunk(`{"content":"","tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}`), chunk(`{"content":"","tool_calls":[{"index":0,"function":{"arguments":"}"}}]}`), calls},
			`start c m|open 0 text|Hi|shut 0|open 1 tool a f|{|}|shut 1|stop tools`},
		{"two calls", []string{chunk(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}`), chunk(`{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":""}}]}`), chunk(`{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}`), calls},
			`start c m|open 0 tool a f|{}|shut 0|open 1 tool b g|{}|shut 1|stop tools`},
		{"a shut call goes on", []string{chunk(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}`), chunk(`{"tool_calls":[{"index":1,"id":"b","function":{"name":"g"}}]}`), chunk(`{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}`)},
			`start c m|open 0 tool a f|{}|shut 0|open 1 tool b g|error: the answer goes on with tool call 0, which was complete`},
		{"arguments without a name", []string{chunk(`{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}`)}, `start c m|error: the answer has arguments of tool call 0 before its name`},
		{"vLLM thoughts", []string{chunk(`{"reasoning":"a"}`), chunk(`{"reasoning":"b","reasoning_content":"b"}`), chunk(`{"content":"c"}`), `{"choices":[{"index":0,"delta":{"content":"d"},"finish_reason":"stop","stop_reason":"END"}]}`},
			`start c m|open 0 thought|a|b|shut 0|open 1 text|c|d|shut 1|stop sequence END`},
		{"vLLM stop token", []string{chunk(`{"content":"c"}`), `{"choices":[{"index":0,"delta":{},"finish_reason":"stop","stop_reason":128009}]}`}, `start c m|open 0 text|c|shut 0|stop end`},
		{"OpenRouter thoughts", []string{chunk(`{"reasoning":"a","reasoning_details":[{"type":"reasoning.text","text":"a","format":"anthropic-claude-v1","index":0}]}`), chunk(`{"reasoning_details":[{"type":"reasoning.text","signature":"sig","format":"anthropic-claude-v1","index":0}]}`), chunk(`{"reasoning":"b"}`), stop},
			`start c m|open 0 thought|a|signed sig|shut 0|open 1 thought|b|shut 1|stop end`},
		{"thoughts in the list alone", []string{chunk(`{"reasoning_details":[{"type":"reasoning.summary","summary":"a"},{"type":"reasoning.encrypted","data":"x","format":"openai-responses-v1"},{"type":"reasoning.encrypted","data":"y"}]}`), stop},
			`start c m|open 0 thought|a|shut 0|open 1 thought y|shut 1|stop end`},
		{"Mistral thoughts", []string{chunk(`{"content":[{"type":"thinking","thinking":[{"type":"text","text":"a"}]}]}`), chunk(`{"content":[{"type":"text","text":"b"}]}`), stop},
			`start c m|open 0 thought|a|shut 0|open 1 text|b|shut 1|stop end`},
		{"refusal", []string{chunk(`{"content":"","refusal":null}`), chunk(`{"refusal":"No."}`), stop}, `start c m|open 0 refusal|No.|shut 0|stop refusal`},
		{"content filter", []string{chunk(`{"content":"A"}`), `{"choices":[{"index":0,"delta":{},"finish_reason":"content_filter"}]}`}, `start c m|open 0 text|A|shut 0|stop refusal`},
		{"length", []string{chunk(`{"content":"A"}`), `{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}`}, `start c m|open 0 text|A|shut 0|stop length`},
		{"old function call", []string{chunk(`{"function_call":{"name":"f","arguments":""}}`), chunk(`{"function_call":{"arguments":"{}"}}`), `{"choices":[{"index":0,"delta":{},"finish_reason":"function_call"}]}`}, `start c m|open 0 tool call_* f|{}|shut 0|stop tools`},
		{"citation", []string{chunk(`{"content":"A"}`), chunk(`{"annotations":[{"type":"url_citation","url_citation":{"url":"https://a.b","title":"T","start_index":0,"end_index":1}}]}`), stop}, `start c m|open 0 text|A|cited https://a.b T 0 1|shut 0|stop end`},
		{"Azure begins without an answer", []string{`{"choices":[],"id":"","model":"","prompt_filter_results":[]}`, chunk(`{"content":"A"}`), stop, `{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}`}, `start c m|open 0 text|A|shut 0|stop end|billed 1 2`},
		{"usage on every chunk", []string{`{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"A"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}`}, `start c m|open 0 text|A|billed 1 1|shut 0|stop end|billed 1 2`},
		{"finish twice", []string{chunk(`{"content":"A"}`), stop, stop}, `start c m|open 0 text|A|shut 0|stop end`},
		{"text after the end", []string{chunk(`{"content":"A"}`), stop, chunk(`{"content":"B"}`)}, `start c m|open 0 text|A|shut 0|stop end|error: the answer goes on after its finish_reason`},
		{"second choice", []string{`{"id":"c","choices":[{"index":1,"delta":{"content":"A"}}]}`}, `start c |error: the answer has a choice 1, where one was asked for`},
		{"error", []string{chunk(`{"content":"A"}`), `{"error":{"message":"Slow down","type":"rate_limit_error","code":"x"}}`}, `start c m|open 0 text|A|failure 429 rate_limit_error: Slow down`},
		{"error of vLLM", []string{`{"error":{"message":"Boom","type":"InternalServerError","code":500}}`}, `failure 500 InternalServerError: Boom`},
		{"error of older vLLM", []string{`{"object":"error","message":"Too long","type":"BadRequestError","code":400}`}, `failure 400 BadRequestError: Too long`},
		{"error in words", []string{`{"error":"broken"}`}, `failure 0 : broken`},
		{"failed behind OpenRouter", []string{chunk(`{"content":"A"}`), `{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}`}, `start c m|open 0 text|A|failure 0 server_error: the provider ended the answer with an error`},
		{"no JSON", []string{`{"id":`}, `error: an event of the provider is not JSON`},
		{"no object", []string{`[]`}, `error: an event of the provider is not an object`},
		{"empty", []string{`{}`}, ``},
	} {
		if got := toldChat(c.chunks); got != c.want {
			t.Errorf("%s:\n%s\nexpected:\n%s", c.name, got, c.want)
		}
	}
}

var stopWords = []string{"end", "length", "sequence", "tools", "refusal", "pause"}

// toldChat tells the events of a stream in short words.
func toldChat(chunks []string) string {
	var told []string
	r := &chatReader{}
	for _, c := range chunks {
		events, err := r.Event("", []byte(c), nil)
		for i := range events {
			told = append(told, strings.TrimRight(toldEvent(&events[i]), "\x00"))
		}
		var f *Failure
		switch {
		case errors.As(err, &f):
			told = append(told, fmt.Sprintf("failure %d %s: %s", f.Status, f.Type, f.Message))
		case err != nil:
			told = append(told, "error: "+err.Error())
		}
	}
	return strings.Join(told, "|")
}

func toldEvent(e *Event) string {
	kind := map[Kind]string{Text: "text", Thinking: "thought", ToolUse: "tool", Refusal: "refusal"}[e.Kind]
	id := e.ID
	if len(id) == len("call_")+26 {
		id = "call_*"
	}
	switch e.Type {
	case Start:
		return "start " + e.ID + " " + e.Name
	case Open:
		return strings.Join(strings.Fields(fmt.Sprintf("open %d %s %s %s %s", e.Index, kind, id, e.Name, e.Redacted)), " ")
	case Delta:
		return plain(e.Text)
	case Signed:
		return "signed " + plain(e.Text)
	case Cited:
		return fmt.Sprintf("cited %s %s %d %d", e.Cite.URL, e.Cite.Title, e.Cite.Start, e.Cite.End)
	case Shut:
		return fmt.Sprintf("shut %d", e.Index)
	case Stopped:
		return strings.TrimSpace("stop " + stopWords[e.Stop] + " " + e.Sequence)
	case Billed:
		return fmt.Sprintf("billed %d %d", e.Usage.Prompt, e.Usage.Completion)
	case Ping:
		return "ping"
	}
	return "?"
}

func TestChatReaderWhole(t *testing.T) {
	body := func(message, rest string) string {
		return `{"id":"c","model":"m","service_tier":"flex","choices":[{"index":0,"message":` + message + `,` + rest + `}],"usage":{"prompt_tokens":3,"completion_tokens":4}}`
	}
	for _, c := range []struct{ name, body, want string }{
		{"text", body(`{"role":"assistant","content":"Hi\n"}`, `"finish_reason":"stop"`), `{text "Hi\n"} end`},
		{"call", body(`{"content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":""}},{"id":"b","function":{"name":"g","arguments":"{\"x\":1}"}}]}`, `"finish_reason":"stop"`), `{tool a f {}} {tool b g {"x":1}} tools`},
		{"old call", body(`{"content":"x","function_call":{"name":"f","arguments":"{}"}}`, `"finish_reason":"function_call"`), `{text "x"} {tool call_* f {}} tools`},
		{"thoughts", body(`{"content":"x","reasoning_content":"t"}`, `"finish_reason":"length"`), `{thought "t" "" ""} {text "x"} length`},
		{"thoughts proven", body(`{"content":"x","reasoning":"t","reasoning_details":[{"type":"reasoning.text","text":"t","signature":"s"},{"type":"reasoning.encrypted","data":"d"}]}`, `"finish_reason":"stop"`), `{thought "t" "s" ""} {thought "" "" "d"} {text "x"} end`},
		{"refusal", body(`{"content":null,"refusal":"No."}`, `"finish_reason":"stop"`), `{refusal "No."} refusal`},
		{"sequence", body(`{"content":"x"}`, `"finish_reason":"stop","stop_reason":"END"`), `{text "x"} sequence END`},
		{"citation", body(`{"content":"x","annotations":[{"type":"url_citation","url_citation":{"url":"u","title":"t","start_index":0,"end_index":1}}]}`, `"finish_reason":"stop"`), `{text "x" cited u t 0 1} end`},
		{"no choice", `{"id":"c","choices":[]}`, `error: the provider's answer has 0 choices, where one with a message was asked for`},
		{"two choices", `{"choices":[{"message":{}},{"message":{}}]}`, `error: the provider's answer has 2 choices, where one with a message was asked for`},
		{"error", `{"error":{"message":"m","type":"server_error"}}`, `error: server_error: m`},
		{"junk", `<html>`, `error: the provider's answer is not JSON`},
	} {
		a, err := (&chatReader{}).Whole([]byte(c.body))
		got := fmt.Sprintf("error: %v", err)
		if err == nil {
			got = toldAnswer(a)
			if a.ID != "c" || a.Model != "m" || a.Tier != "flex" || a.Usage.Prompt != 3 {
				t.Errorf("%s: %+v", c.name, a)
			}
		}
		if got != c.want {
			t.Errorf("%s: %s\nexpected %s", c.name, got, c.want)
		}
	}
}

func toldAnswer(a *Answer) string {
	var told []string
	for _, b := range a.Blocks {
		switch b.Kind {
		case Text:
			s := fmt.Sprintf("{text %q", b.Text)
			for _, c := range b.Citations {
				s += " " + toldEvent(&Event{Type: Cited, Cite: c})
			}
			told = append(told, s+"}")
		case Thinking:
			told = append(told, fmt.Sprintf("{thought %q %q %q}", b.Text, b.Signature, b.Redacted))
		case ToolUse:
			id := b.ID
			if len(id) > 20 {
				id = "call_*"
			}
			told = append(told, "{tool "+id+" "+b.Name+" "+b.Input+"}")
		default:
			told = append(told, fmt.Sprintf("{refusal %q}", b.Text))
		}
	}
	told = append(told, stopWords[a.Stop])
	if a.Sequence != "" {
		told = append(told, a.Sequence)
	}
	return strings.Join(told, " ")
}
