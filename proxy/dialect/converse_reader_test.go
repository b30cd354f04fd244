package dialect

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// usageIn is what the provider itself says an answer cost, added up by hand.
func usageIn(raw []byte) string {
	u := gjson.GetBytes(raw, "usage")
	read, written := u.Get("cacheReadInputTokens").Int(), u.Get("cacheWriteInputTokens").Int()
	return fmt.Sprint(u.Get("inputTokens").Int()+read+written, u.Get("outputTokens").Int(), read, written)
}

func TestConverseRecordings(t *testing.T) {
	for _, rec := range recordings(t, "amazon-bedrock") {
		t.Run(rec.name, func(t *testing.T) {
			want := "0 0 0 0"
			var a *Answer
			var text strings.Builder
			var tools []string
			if rec.whole != nil {
				var err error
				if a, err = (&converseReader{}).Whole(rec.whole); err != nil {
					t.Fatal(err)
				}
				want = usageIn(rec.whole)
				for _, b := range gjson.GetBytes(rec.whole, "output.message.content").Array() {
					text.WriteString(b.Get("text").Str + b.Get("reasoningContent.reasoningText.text").Str)
					if use := b.Get("toolUse"); use.Exists() {
						tools = append(tools, use.Get("toolUseId").Str+" "+use.Get("name").Str+" "+compacted(t, use.Get("input").Raw))
					}
				}
			} else {
				events, err := play(t, &converseReader{}, rec.events)
				if err != nil {
					t.Fatal(err)
				}
				a = gather(t, events)
				inputs := map[int64]int{}
				for _, ev := range rec.events {
					root := gjson.ParseBytes(ev.data)
					index := root.Get("contentBlockIndex").Int()
					if ev.name == "metadata" {
						want = usageIn(ev.data)
					}
					text.WriteString(root.Get("delta.text").Str + root.Get("delta.reasoningContent.text").Str)
					if use := root.Get("start.toolUse"); use.Exists() {
						inputs[index] = len(tools)
						tools = append(tools, use.Get("toolUseId").Str+" "+use.Get("name").Str+" ")
					}
					if in := root.Get("delta.toolUse.input"); in.Exists() {
						tools[inputs[index]] += in.Str
					}
				}
				for i := range tools {
					if strings.HasSuffix(tools[i], " ") {
						tools[i] += "{}" // a call without arguments
					}
				}
			}
			checkConverse(t, a, text.String(), tools, want)
		})
	}
}

func checkConverse(t *testing.T, a *Answer, text string, tools []string, usage string) {
	t.Helper()
	var gotText strings.Builder
	var gotTools []string
	for _, b := range a.Blocks {
		gotText.WriteString(b.Text)
		if b.Kind == ToolUse {
			gotTools = append(gotTools, b.ID+" "+b.Name+" "+compacted(t, b.Input))
		}
	}
	if gotText.String() != text {
		t.Errorf("text %q, expected %q", gotText.String(), text)
	}
	if !slices.Equal(gotTools, tools) {
		t.Errorf("calls %q, expected %q", gotTools, tools)
	}
	if wantStop := len(tools) > 0; (a.Stop == StopTools) != wantStop && len(a.Blocks) > 0 {
		t.Errorf("stop %d with %d calls", a.Stop, len(tools))
	}
	u := a.Usage
	if got := fmt.Sprint(u.Prompt, u.Completion, u.CachedPrompt, u.CacheWrite); got != usage {
		t.Errorf("usage %s, expected %s", got, usage)
	}
}

func compacted(t *testing.T, raw string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(raw), &v); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	out, _ := json.Marshal(v)
	return string(out)
}

func TestConverseReasoningRecording(t *testing.T) {
	for _, rec := range recordings(t, "amazon-bedrock") {
		if rec.name != "amazon-bedrock-reasoning" && rec.name != "amazon-bedrock-reasoning.json" {
			continue
		}
		var a *Answer
		if rec.whole != nil {
			a, _ = (&converseReader{}).Whole(rec.whole)
		} else {
			events, _ := play(t, &converseReader{}, rec.events)
			a = gather(t, events)
		}
		if a.Blocks[0].Kind != Thinking || len(a.Blocks[0].Signature) < 100 || a.Blocks[1].Kind != Text || a.Stop != StopEnd {
			t.Errorf("%s: %+v", rec.name, a)
		}
	}
}

// converseStream reads events written as "name data" a line.
func converseStream(t testing.TB, stream string) ([]Event, error) {
	t.Helper()
	var events []recorded
	for line := range strings.Lines(stream) {
		name, data, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != "" {
			events = append(events, recorded{name: name, data: []byte(data)})
		}
	}
	return play(t, &converseReader{}, events)
}

func TestConverseStream(t *testing.T) {
	for name, c := range map[string]struct{ stream, want string }{
		"deltas in other spellings": {`
			contentBlockDelta {"delta":{ "text": "a" },"contentBlockIndex":0}
			contentBlockDelta {"delta":{"text":"b","x":"c"},"contentBlockIndex":0}
			contentBlockDelta {"delta":{"reasoningContent":{ "text":"d"}},"contentBlockIndex":0}
			contentBlockDelta {"delta":{"reasoningContent":{"text":"e","x":{}}},"contentBlockIndex":0}
			contentBlockStart {"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"i","name":"n"}}}
			contentBlockDelta {"delta":{"toolUse":{"y":1,"input":"{}"}},"contentBlockIndex":1}
			messageStop {"stopReason":"tool_use"}`,
			`start; open 0 text; delta 0 "a"; delta 0 "b"; shut 0; open 1 thinking; delta 1 "d"; delta 1 "e"; shut 1; ` +
				`open 2 tool i n; delta 2 "{}"; shut 2; stop tools`},
		"index gaps, empty blocks and unknown events": {`
			messageStart {"role":"assistant","p":"abcd"}
			contentBlockDelta {"contentBlockIndex":2,"delta":{"text":""}}
			contentBlockStop {"contentBlockIndex":2}
			contentBlockDelta {"contentBlockIndex":5,"delta":{"text":"a"},"p":"ab"}
			somethingNew {"x":1}
			contentBlockDelta {"contentBlockIndex":5,"delta":{"text":"\u00e4"}}
			contentBlockStop {"contentBlockIndex":4}
			contentBlockStop {"contentBlockIndex":5}
			contentBlockStop {"contentBlockIndex":5}
			messageStop {"stopReason":"max_tokens"}`,
			`start; open 0 text; delta 0 "a"; delta 0 "\u00e4"; shut 0; stop length`},
		"thoughts: signed, signed only, hidden": {`
			messageStart {"role":"assistant"}
			contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}
			contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"c2ln"}}}
			contentBlockStop {"contentBlockIndex":0}
			contentBlockDelta {"contentBlockIndex":1,"delta":{"reasoningContent":{"signature":"b25seQ=="}}}
			contentBlockStop {"contentBlockIndex":1}
			contentBlockDelta {"contentBlockIndex":2,"delta":{"reasoningContent":{"redactedContent":"aGlkZGVu"}}}
			contentBlockStop {"contentBlockIndex":2}
			contentBlockDelta {"contentBlockIndex":3,"delta":{"text":"b"}}
			messageStop {"stopReason":"end_turn"}`,
			`start; open 0 thinking; delta 0 "hm"; signed 0 "c2ln"; shut 0; open 1 thinking; signed 1 "b25seQ=="; shut 1; ` +
				`open 2 thinking hidden aGlkZGVu; shut 2; open 3 text; delta 3 "b"; shut 3; stop end`},
		"a stop sequence and the cache": {`
			messageStart {"role":"assistant"}
			contentBlockDelta {"contentBlockIndex":0,"delta":{"text":"a"}}
			messageStop {"stopReason":"stop_sequence","additionalModelResponseFields":{"delta":{"stop_sequence":"END"}}}
			metadata {"usage":{"inputTokens":3,"outputTokens":4,"cacheReadInputTokens":10,"cacheWriteInputTokens":20,"totalTokens":37},"metrics":{"latencyMs":1}}`,
			`start; open 0 text; delta 0 "a"; shut 0; stop sequence END; billed 33 10 20 4`},
		"a citation": {`
			contentBlockDelta {"contentBlockIndex":0,"delta":{"text":"a"}}
			contentBlockDelta {"contentBlockIndex":0,"delta":{"citation":{"title":"T","sourceContent":[{"text":"x"},{"text":"y"}],"location":{"web":{"url":"https://a.example/"}}}}}
			messageStop {"stopReason":"end_turn"}`,
			`start; open 0 text; delta 0 "a"; cited 0 T https://a.example/ xy; shut 0; stop end`},
		"a server's tool and an image have no common form": {`
			contentBlockStart {"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"s","name":"nova_grounding","type":"server_tool_use"}}}
			contentBlockDelta {"contentBlockIndex":0,"delta":{"toolUse":{"input":"{}"}}}
			contentBlockStop {"contentBlockIndex":0}
			contentBlockStart {"contentBlockIndex":1,"start":{"image":{"format":"png"}}}
			contentBlockDelta {"contentBlockIndex":1,"delta":{"image":{"source":{"bytes":"aaaa"}}}}
			contentBlockStop {"contentBlockIndex":1}
			messageStop {"stopReason":"guardrail_intervened"}`,
			`start; open 0 other {"toolUse":{"toolUseId":"s","name":"nova_grounding","type":"server_tool_use"}}; shut 0; ` +
				`open 1 other {"image":{"format":"png"}}; shut 1; stop refusal`},
		"nothing": {`
			messageStart {"role":"assistant"}
			messageStop {"stopReason":"content_filtered"}
			messageStop {"stopReason":"end_turn"}`,
			`start; stop refusal`},
	} {
		t.Run(name, func(t *testing.T) {
			events, err := converseStream(t, c.stream)
			if got := storied(events); err != nil || got != c.want {
				t.Errorf("%v\n%s\nexpected\n%s", err, got, c.want)
			}
		})
	}
}

// storied writes events as a text.
func storied(events []Event) string {
	var list []string
	for _, e := range events {
		s := ""
		switch e.Type {
		case Start:
			s = "start"
		case Open:
			kind := map[Kind]string{Text: "text", Thinking: "thinking", ToolUse: "tool " + e.ID + " " + e.Name, Other: "other " + e.Raw}[e.Kind]
			s = fmt.Sprintf("open %d %s", e.Index, kind)
			if e.Redacted != "" {
				s += " hidden " + e.Redacted
			}
		case Delta:
			s = fmt.Sprintf("delta %d %s", e.Index, e.Text)
		case Signed:
			s = fmt.Sprintf("signed %d %s", e.Index, e.Text)
		case Cited:
			s = fmt.Sprintf("cited %d %s", e.Index, e.Cite.Raw)
			if c := converseCitation(gjson.Parse(e.Cite.Raw)); c.URL != "" {
				s = fmt.Sprintf("cited %d %s %s %s", e.Index, c.Title, c.URL, c.Cited)
			}
		case Shut:
			s = fmt.Sprintf("shut %d", e.Index)
		case Stopped:
			s = "stop " + [...]string{"end", "length", "sequence", "tools", "refusal", "pause"}[e.Stop]
			if e.Sequence != "" {
				s += " " + e.Sequence
			}
		case Billed:
			s = fmt.Sprint("billed ", e.Usage.Prompt, e.Usage.CachedPrompt, e.Usage.CacheWrite, e.Usage.Completion)
		case Ping:
			s = "ping"
		}
		list = append(list, s)
	}
	return strings.Join(list, "; ")
}

func TestConverseFailures(t *testing.T) {
	for _, c := range []struct {
		event, data string
		status      int
		message     string
	}{
		{"throttlingException", `{"message":"Too many tokens"}`, 429, "throttlingException: Too many tokens"},
		{"modelStreamErrorException", `{"message":"a","originalStatusCode":500,"originalMessage":"b"}`, 424, "modelStreamErrorException: a b"},
		{"validationException", `{"Message":"bad"}`, 400, "validationException: bad"},
		{"internalServerException", `{`, 500, "internalServerException:"},
		{"serviceUnavailableException", `{}`, 503, "serviceUnavailableException:"},
		{"ModelTimeoutException", `{"message":"slow"}`, 408, "ModelTimeoutException: slow"},
		{"newException", `{"message":"new"}`, 500, "newException: new"},
		{"throttling", `{"message":"slow"}`, 429, "throttling: slow"},
		{"exception:throttlingException", `{"message":"slow"}`, 429, "throttlingException: slow"},
		{"exception:modelStreamError", `{"message":"a","originalMessage":"b"}`, 424, "modelStreamError: a b"},
		{"exception:VALIDATION", `{"message":"bad"}`, 400, "VALIDATION: bad"},
		{"exception:messageStop", `{"message":"odd"}`, 500, "messageStop: odd"},
		{"exception:", ``, 500, ":"},
		{"messageStop", `{"stopReason":"malformed_tool_use"}`, 424, "malformed_tool_use: The model wrote a tool call that Bedrock could not read. Try again."},
	} {
		_, err := (&converseReader{}).Event(c.event, []byte(c.data), nil)
		var f *Failure
		if !errors.As(err, &f) || f.Status != c.status || f.Error() != c.message {
			t.Errorf("%s: %+v", c.event, err)
		}
	}
}

func TestConverseNonsense(t *testing.T) {
	for _, stream := range []string{
		`messageStart {"role"`,
		`contentBlockDelta {"contentBlockIndex":0,"delta":{"toolUse":{"input":"{"}}}`,
		"messageStop {}\ncontentBlockDelta {\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\"}}",
	} {
		if _, err := converseStream(t, stream); err == nil {
			t.Errorf("%s: no error", stream)
		}
	}
	for _, body := range []string{``, `{`, `{"message":"no"}`, `{"output":{"message":{"content":"a"}}}`, `{"output":{"message":{"content":[]}},"stopReason":"malformed_model_output"}`} {
		if a, err := (&converseReader{}).Whole([]byte(body)); err == nil {
			t.Errorf("%s: %+v", body, a)
		}
	}
}

func TestConverseWhole(t *testing.T) {
	a, err := (&converseReader{}).Whole([]byte(`{"output":{"message":{"role":"assistant","content":[
		{"reasoningContent":{"redactedContent":"aGk="}},
		{"citationsContent":{"content":[{"text":"a"},{"text":"b"}],"citations":[{"title":"T","source":"https://s.example/"}]}},
		{"toolUse":{"toolUseId":"1","name":"f"}},
		{"image":{"format":"png","source":{"bytes":"aaaa"}}}]}},
		"stopReason":"stop_sequence","additionalModelResponseFields":{"stop_sequence":"X"},"serviceTier":{"type":"flex"},
		"usage":{"inputTokens":-1,"outputTokens":2,"totalTokens":1}}`))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%s %s %v %s %s %s | %s %v %s %+v", a.Blocks[0].Redacted, a.Blocks[1].Text, a.Blocks[1].Citations[0].URL,
		a.Blocks[2].Input, a.Blocks[2].Name, a.Blocks[3].Raw, a.Sequence, a.Stop, a.Tier, a.Usage)
	want := `aGk= ab https://s.example/ {} f {"image":{"format":"png","source":{"bytes":"aaaa"}}} | X 2 flex ` +
		`{Prompt:0 Completion:2 CachedPrompt:0 CacheWrite:0 Reasoning:0 Audio:0 Estimated:false Tier:0 CacheWrite1h:0 ImageIn:0 AudioOut:0 Images:0 Millis:0 Characters:0}`
	if got != want {
		t.Errorf("%s\nexpected\n%s", got, want)
	}
}

func TestConverseReaderDoesNotAllocate(t *testing.T) {
	r, to := &converseReader{}, make([]Event, 0, 8)
	for _, delta := range []string{`{"text":"Hello \"there\"\n"}`, `{"reasoningContent":{"text":"\u00e4"}}`, `{"toolUse":{"input":"{\"a\":"}}`} {
		start := `{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"a","name":"b"}}}`
		if _, err := r.Event("contentBlockStart", []byte(start), to[:0]); err != nil {
			t.Fatal(err)
		}
		data := []byte(`{"contentBlockIndex":0,"delta":` + delta + `,"p":"abcdefgh"}`)
		if n := testing.AllocsPerRun(100, func() {
			var err error
			if to, err = r.Event("contentBlockDelta", data, to[:0]); err != nil || len(to) == 0 || to[len(to)-1].Type != Delta {
				t.Fatal(to, err)
			}
		}); n > 0 {
			t.Errorf("%s: %g allocations", delta, n)
		}
	}
}

func FuzzConverseReader(f *testing.F) {
	f.Add("messageStart {}\ncontentBlockStart {\"contentBlockIndex\":0,\"start\":{\"toolUse\":{\"toolUseId\":\"a\",\"name\":\"b\"}}}\n" +
		"contentBlockDelta {\"contentBlockIndex\":0,\"delta\":{\"toolUse\":{\"input\":\"{\"}}}\nmessageStop {\"stopReason\":\"tool_use\"}")
	f.Add("contentBlockDelta {\"contentBlockIndex\":1,\"delta\":{\"reasoningContent\":{\"redactedContent\":\"a\",\"text\":\"b\"}}}\nmessageStop {}")
	f.Add(`{"output":{"message":{"content":[{"text":"a"},{"toolUse":{}},{"citationsContent":{"citations":[{}]}}]}}}`)
	f.Fuzz(func(t *testing.T, stream string) {
		if a, err := (&converseReader{}).Whole([]byte(stream)); (a == nil) == (err == nil) {
			t.Fatal(a, err)
		}
		stream += "\nmessageStop {}"
		if _, err := converseStream(t, stream); err != nil && err.Error() == "" {
			t.Fatal("an error without a word")
		}
	})
}

// What is written to the cache for an hour has a price of its own.
func TestConverseCacheWrites(t *testing.T) {
	u := converseUsage(gjson.Parse(`{"inputTokens":3,"outputTokens":4,"cacheWriteInputTokens":20,"cacheDetails":[{"ttl":"5m","inputTokens":12},{"ttl":"1h","inputTokens":8}]}`))
	if u.Prompt != 23 || u.CacheWrite != 20 || u.CacheWrite1h != 8 {
		t.Errorf("%+v", u)
	}
}
