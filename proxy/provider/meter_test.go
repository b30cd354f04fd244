package provider

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/proxy/wire"
)

var update = flag.Bool("update", false, "write the expected outputs anew")

// upTo allows so many tokens.
type upTo int64

func (n upTo) More(int64) int64 { return int64(n) }
func (upTo) Prompt() int64      { return 7 }

// ration allows some tokens at a time, and notes when it was asked.
type ration struct {
	step, most int64
	asked      []int64
}

func (*ration) Prompt() int64 { return 0 }

func (r *ration) More(given int64) int64 {
	r.asked = append(r.asked, given)
	return min(given+r.step, r.most)
}

// boundRelay is a relayed stream under a meter, for a client that asked with this body.
func boundRelay(from io.Reader, kind wire.Kind, body string, m Meter) *relay {
	b, err := wire.Parse([]byte(body))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	r := relayOf(from, "Connection: close", kind)
	r.call = &Call{Kind: kind, Body: &b, Meter: m, Stream: true, Prompt: 7, Model: "gpt-4o"}
	r.dropUsage = !b.IncludeUsage()
	r.bound(r.call)
	return r
}

// boundTranslated is a translated stream under a meter.
func boundTranslated(from io.Reader, provider string, client wire.Kind, m Meter) *translated {
	t := translatedOf(from, provider, client)
	t.call.Prompt = 7
	t.call.Model = "gpt-4o"
	t.gauge = newGauge(t.call, m, gauge{})
	return t
}

const (
	plainChat  = `{"model":"m","messages":[],"stream":true}`
	usageChat  = `{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}`
	threeChats = `{"model":"m","messages":[],"stream":true,"n":3}`
)

// chatChunk is a chunk as OpenAI sends it.
func chatChunk(choices string) string {
	return `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o","system_fingerprint":"fp_1","choices":[` + choices + "]}\n\n"
}

func says(index int, member string) string {
	return chatChunk(fmt.Sprintf(`{"index":%d,"delta":{%s},"finish_reason":null}`, index, member))
}

func text(index int, word string) string { return says(index, `"content":"`+word+`"`) }

func claude(event string) string {
	return "event: " + gjson.Get(event, "type").Str + "\ndata: " + event + "\n\n"
}

var (
	claudeText = claude(`{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"usage":{"input_tokens":3,"cache_read_input_tokens":2,"output_tokens":1}}}`) +
		claude(`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`) +
		claude(`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me think"}}`) +
		claude(`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}`) +
		claude(`{"type":"content_block_stop","index":0}`) +
		claude(`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`) +
		claude(`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"The \"weather\" in"}}`) +
		claude(`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":" Paris\n"}}`) +
		claude(`{"type":"content_block_stop","index":1}`) +
		claude(`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"weather","input":{}}}`) +
		claude(`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"city\": \"Par"}}`) +
		claude(`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"is\"}"}}`) +
		claude(`{"type":"content_block_stop","index":2}`) +
		claude(`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":30}}`) +
		claude(`{"type":"message_stop"}`)
	toolChat = says(0, `"role":"assistant","content":""`) + text(0, "Hi") + text(0, " there") +
		says(0, `"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"weather","arguments":""}}]`) +
		says(0, `"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":"}}]`) +
		says(0, `"tool_calls":[{"index":0,"function":{"arguments":" \"Paris\"}"}}]`) +
		chatChunk(`{"index":0,"delta":{},"finish_reason":"tool_calls"}`) +
		`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}` + "\n\n" + done
	threeChoices = says(0, `"role":"assistant"`) + says(1, `"role":"assistant"`) + text(0, "a") + text(1, "b") + text(0, "c") + chatChunk(`{"index":0,"delta":{},"finish_reason":"stop"}`) +
		text(1, "d") + text(1, "e") + text(2, "f") + text(1, "g") + done
	completion = `data: {"id":"cmpl-1","object":"text_completion","created":1700000000,"model":"instruct","choices":[{"index":0,"text":" one","logprobs":null,"finish_reason":null}]}` + "\n\n" +
		`data: {"id":"cmpl-1","object":"text_completion","created":1700000000,"model":"instruct","choices":[{"index":0,"text":" two","logprobs":null,"finish_reason":null}]}` + "\n\n" +
		`data: {"id":"cmpl-1","object":"text_completion","created":1700000000,"model":"instruct","choices":[{"index":0,"text":" three","logprobs":null,"finish_reason":"stop"}]}` + "\n\n" + done
	runningUsage = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"supercalifragilistic"},"finish_reason":null}],"usage":{"prompt_tokens":11,"completion_tokens":1}}` + "\n\n" +
		`data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":{"prompt_tokens":11,"completion_tokens":4}}` + "\n\n" +
		text(0, "b") + done
)

func converse() string {
	var s []byte
	for _, e := range [][2]string{
		{"messageStart", `{"role":"assistant"}`},
		{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"Hello there my"}}`},
		{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":" dear friend"}}`},
		{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":" of mine"}}`},
		{"contentBlockStop", `{"contentBlockIndex":0}`},
		{"messageStop", `{"stopReason":"end_turn"}`},
		{"metadata", `{"usage":{"inputTokens":3,"outputTokens":7,"totalTokens":10}}`},
	} {
		s = appendFrame(s, e[1], stringHeader(":event-type", e[0]), stringHeader(":content-type", "application/json"), stringHeader(":message-type", "event"))
	}
	return string(s)
}

// cuts are streams that end at their bound. What clients get of them is in testdata/cut.golden.
var cuts = []struct {
	name   string
	of     func(from io.Reader) stream
	stream string
}{
	{"chat", func(f io.Reader) stream { return boundRelay(f, wire.Chat, plainChat, upTo(2)) }, toolChat},
	{"chat that asked for its usage", func(f io.Reader) stream { return boundRelay(f, wire.Chat, usageChat, upTo(1)) }, toolChat},
	{"chat in a tool call", func(f io.Reader) stream { return boundRelay(f, wire.Chat, plainChat, upTo(5)) }, toolChat},
	{"chat with its running usage", func(f io.Reader) stream { return boundRelay(f, wire.Chat, usageChat, upTo(4)) }, runningUsage},
	{"chat of three answers", func(f io.Reader) stream { return boundRelay(f, wire.Chat, threeChats, upTo(6)) }, threeChoices},
	{"chat under another name", func(f io.Reader) stream {
		r := boundRelay(f, wire.Chat, usageChat, upTo(1))
		r.asked = []byte(`my "model"`)
		return r
	}, toolChat},
	{"chat that just fits", func(f io.Reader) stream { return boundRelay(f, wire.Chat, usageChat, upTo(100)) }, toolChat},
	{"completion", func(f io.Reader) stream {
		return boundRelay(f, wire.Completion, `{"model":"m","prompt":"x","stream":true,"stream_options":{"include_usage":true}}`, upTo(2))
	}, completion},
	{"messages in a thought", func(f io.Reader) stream { return boundRelay(f, wire.Message, asked[wire.Message], upTo(3)) }, claudeText},
	{"messages in a text", func(f io.Reader) stream { return boundRelay(f, wire.Message, asked[wire.Message], upTo(5)) }, claudeText},
	{"messages in a tool call", func(f io.Reader) stream { return boundRelay(f, wire.Message, asked[wire.Message], upTo(13)) }, claudeText},
	{"messages for chat", func(f io.Reader) stream { return boundTranslated(f, "anthropic", wire.Chat, upTo(5)) }, claudeText},
	{"messages for chat in a tool call", func(f io.Reader) stream { return boundTranslated(f, "anthropic", wire.Chat, upTo(13)) }, claudeText},
	{"messages for responses", func(f io.Reader) stream { return boundTranslated(f, "anthropic", wire.Response, upTo(5)) }, claudeText},
	{"chat for messages", func(f io.Reader) stream { return boundTranslated(f, "openai", wire.Message, upTo(2)) }, toolChat},
	{"chat for messages in a tool call", func(f io.Reader) stream { return boundTranslated(f, "openai", wire.Message, upTo(5)) }, toolChat},
	{"chat for responses", func(f io.Reader) stream { return boundTranslated(f, "openai", wire.Response, upTo(2)) }, toolChat},
	{"chat with its running usage for messages", func(f io.Reader) stream { return boundTranslated(f, "vllm", wire.Message, upTo(8)) }, strings.ReplaceAll(runningUsage, `"completion_tokens":4`, `"completion_tokens":9`)},
	{"converse for chat", func(f io.Reader) stream { return boundTranslated(f, "bedrock", wire.Chat, upTo(4)) }, converse()},
	{"converse for messages", func(f io.Reader) stream { return boundTranslated(f, "bedrock", wire.Message, upTo(4)) }, converse()},
	{"converse for responses", func(f io.Reader) stream { return boundTranslated(f, "bedrock", wire.Response, upTo(4)) }, converse()},
}

func TestCut(t *testing.T) {
	var got []byte
	for _, c := range cuts {
		run := func(from io.Reader, size int) passed {
			s := c.of(from)
			return drain(s, responseOf(s), size)
		}
		whole := run(strings.NewReader(c.stream), 4096)
		for size, p := range map[int]passed{1: run(iotest.OneByteReader(strings.NewReader(c.stream)), 1), 97: run(iotest.HalfReader(strings.NewReader(c.stream)), 97)} {
			if p != whole {
				t.Errorf("%s, %d bytes a read: %s\nwant %s", c.name, size, p, whole)
			}
		}
		if fits := strings.HasSuffix(c.name, "fits"); whole.told || whole.code != "" || whole.reuse != fits {
			t.Errorf("%s: %s", c.name, whole)
		}
		got = fmt.Appendf(got, "-- %s: %d and %d tokens, estimated %t --\n%s\n", c.name, whole.usage.Prompt, whole.usage.Completion, whole.usage.Estimated, strings.TrimSuffix(whole.out, "\n"))
	}
	file := filepath.Join("testdata", "cut.golden")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s (go test -update):\n%s", file, got)
	}
}

func responseOf(s stream) *response {
	if r, ok := s.(*relay); ok {
		return r.res
	}
	return s.(*translated).res
}

// The meter is asked before the stream, and then only when what it allowed was given.
func TestMeterIsAsked(t *testing.T) {
	said := says(0, `"role":"assistant"`) + strings.Repeat(text(0, " word"), 20) + chatChunk(`{"index":0,"delta":{},"finish_reason":"stop"}`) + done
	for name, of := range map[string]func(m Meter) stream{
		"as it is":   func(m Meter) stream { return boundRelay(strings.NewReader(said), wire.Chat, plainChat, m) },
		"translated": func(m Meter) stream { return boundTranslated(strings.NewReader(said), "openai", wire.Message, m) },
	} {
		m := &ration{step: 6, most: 14}
		s := of(m)
		got := drain(s, responseOf(s), 4096)
		if want := []int64{0, 6, 12, 14}; !slices.Equal(m.asked, want) || got.usage.Completion != 14 {
			t.Errorf("%s: asked at %v, want %v; %s", name, m.asked, want, got)
		}
		m = &ration{step: math.MaxInt64 - 20, most: math.MaxInt64 - 1}
		s = of(m)
		if got := drain(s, responseOf(s), 4096); len(m.asked) != 1 || got.usage.Completion != 20 || strings.Contains(got.out, `"length"`) { // each is counted
			t.Errorf("%s, with plenty: asked at %v; %s", name, m.asked, got)
		}
		s = of(upTo(math.MaxInt64))
		if got := drain(s, responseOf(s), 4096); got.usage.Completion != 20*5/lettersPerToken {
			t.Errorf("%s, without bounds: %s", name, got)
		}
	}
}

// An event under a meter that passes costs no allocation.
func TestMeterAllocatesNothing(t *testing.T) {
	tool := says(0, `"tool_calls":[{"index":0,"function":{"arguments":"{\"city\": \"K\u00f6ln\"}"}}]`)
	for name, of := range map[string]func() io.Reader{
		"chat": func() io.Reader {
			return boundRelay(&endless{pieces: []string{text(0, " word"), tool}}, wire.Chat, plainChat, upTo(1<<40))
		},
		"completion": func() io.Reader {
			return boundRelay(&endless{pieces: []string{completion[:strings.Index(completion, "\n\n")+2]}}, wire.Completion, `{"model":"m"}`, upTo(1<<40))
		},
		"messages": func() io.Reader {
			return boundRelay(&endless{pieces: []string{claude(`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":" the \"weather\" in\n"}}`)}}, wire.Message, asked[wire.Message], upTo(1<<40))
		},
	} {
		r := of()
		if err := r.(*relay).open(); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 4096)
		for range 10 {
			if _, err := r.Read(p); err != nil {
				t.Fatal(err)
			}
		}
		if n := testing.AllocsPerRun(2000, func() {
			if _, err := r.Read(p); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations a read", name, n)
		}
	}
}

// Whatever the stream is, a bound gives the same bytes however they were split, well-formed, and no more than it says.
func FuzzCut(f *testing.F) {
	f.Add([]byte(toolChat), int64(3), byte(0))
	f.Add([]byte(threeChoices), int64(5), byte(1))
	f.Add([]byte(completion), int64(2), byte(2))
	f.Add([]byte(claudeText), int64(9), byte(3))
	f.Add([]byte(runningUsage), int64(4), byte(0))
	f.Fuzz(func(t *testing.T, bytes_ []byte, most int64, which byte) {
		if len(bytes_) > 64<<10 {
			return
		}
		kind := []wire.Kind{wire.Chat, wire.Chat, wire.Completion, wire.Message}[which%4]
		body := []string{usageChat, threeChats, `{"model":"m"}`, asked[wire.Message]}[which%4]
		whole := boundRelay(bytes.NewReader(bytes_), kind, body, upTo(most)).drain(4096)
		r := boundRelay(iotest.OneByteReader(bytes.NewReader(bytes_)), kind, body, upTo(most))
		if bytewise := r.drain(61); bytewise.opened == whole.opened && bytewise.usage != whole.usage || r.cut && bytewise.out != whole.out {
			t.Errorf("whole %s\nbytewise %s", whole, bytewise)
		}
		if r.cut && most > 0 && r.tokens < most {
			t.Errorf("cut at %d of %d", r.tokens, most)
		}
		if r.cut && !strings.HasSuffix(whole.out, done) && !strings.HasSuffix(whole.out, "{\"type\":\"message_stop\"}\n\n") {
			t.Errorf("no end: %s", whole)
		}
	})
}

func TestCuttable(t *testing.T) {
	clients, err := New(map[string]Config{"o": {Kind: "openai"}, "chat": {Kind: "openai", Responses: "chat"}, "a": {Kind: "anthropic"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]wire.Kind{"o": {wire.Chat, wire.Completion, wire.Message}, "chat": {wire.Chat, wire.Completion, wire.Message, wire.Response},
		"a": {wire.Chat, wire.Completion, wire.Message, wire.Response}} {
		for _, kind := range []wire.Kind{wire.Plain, wire.Chat, wire.Completion, wire.Response, wire.Message} {
			if got := clients[name].Cuttable(kind); got != slices.Contains(want, kind) {
				t.Errorf("%s, kind %d: %t", name, kind, got)
			}
		}
	}
}

// upstream is a simulated provider and its client.
func upstream(t *testing.T, kind fakellm.Kind) (*fakellm.Server, *Client) {
	t.Helper()
	s, err := fakellm.Start(fakellm.Options{Kind: kind, APIKey: "sk-up", LogBodies: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	cfg := Config{Kind: string(kind), BaseURL: s.URL(), APIKey: "sk-up"}
	switch kind {
	case fakellm.OpenAI:
		cfg.BaseURL += "/v1"
	case fakellm.Bedrock:
		cfg.Region = "us-east-1"
	}
	clients, err := New(map[string]Config{"p": cfg}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(clients["p"].Close)
	return s, clients["p"]
}

// ask asks for a stream, or not.
func ask(t *testing.T, c *Client, kind wire.Kind, body string, change func(*Call)) (*Call, *wire.Reply) {
	t.Helper()
	b, err := wire.Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	path := map[wire.Kind]string{wire.Chat: "/chat/completions", wire.Completion: "/completions", wire.Message: "/messages", wire.Response: "/responses"}[kind]
	call := &Call{Method: "POST", Path: path, Kind: kind, Header: &fasthttp.RequestHeader{}, Body: &b, Model: b.Model(), Stream: b.Stream(), Abort: &Abort{}, Begun: time.Now()}
	call.Timeout.Connect, call.Timeout.FirstToken, call.Timeout.Idle, call.Timeout.Total = time.Minute, time.Minute, time.Minute, time.Minute
	change(call)
	reply := &wire.Reply{}
	if err := c.Do(call, reply); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return call, reply
}

// tenWords are pieces of four bytes, as the simulation gives them, of one token each.
const tenWords = " the and for not but you all can one out"

var streamBodies = map[wire.Kind]string{
	wire.Chat:       `{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}],"stream":true,"stream_options":{"include_usage":true}}`,
	wire.Completion: `{"model":"gpt-4o","prompt":"Hi","stream":true,"stream_options":{"include_usage":true}}`,
	wire.Message:    `{"model":"gpt-4o","max_tokens":99,"messages":[{"role":"user","content":"Hi"}],"stream":true}`,
	wire.Response:   `{"model":"gpt-4o","input":"Hi","stream":true}`,
}

// For every bound a client gets exactly so many tokens, an end that says why, and the usage; and the provider, which has
// more to say, is stopped.
func TestEveryBound(t *testing.T) {
	for _, kind := range []fakellm.Kind{fakellm.OpenAI, fakellm.VLLM, fakellm.Azure, fakellm.Anthropic, fakellm.Bedrock} {
		s, c := upstream(t, kind)
		for client, body := range streamBodies {
			if !c.Cuttable(client) || client == wire.Completion && !c.Native(client) {
				continue
			}
			for most := int64(1); most <= 12; most++ {
				plan := fakellm.Plan{Text: tenWords}
				if most < 10 {
					plan.StallAfter = int(most)
				}
				s.SetPlan(func(*fakellm.Seen) fakellm.Plan { return plan })
				_, reply := ask(t, c, client, body, func(call *Call) { call.Meter = upTo(most) })
				out, err := io.ReadAll(reply.Stream)
				usage := reply.Stream.Usage()
				if err != nil {
					t.Fatalf("%s for %d, up to %d: %v", kind, client, most, err)
				}
				want := ending{text: tenWords[:4*min(most, 10)], tokens: min(most, 10), cut: most <= 10}
				if got := endingOf(t, client, string(out)); got != want || usage.Completion != want.tokens || usage.Estimated != want.cut || usage.Prompt == 0 {
					t.Errorf("%s for %d, up to %d: %+v, want %+v, usage %+v\n%s", kind, client, most, got, want, usage, out)
				}
				if most < 10 {
					select {
					case seen := <-s.Closed():
						if seen.Finished {
							t.Errorf("%s for %d, up to %d: the provider had said all", kind, client, most)
						}
					case <-time.After(time.Minute):
						t.Errorf("%s for %d, up to %d: the provider goes on", kind, client, most)
					}
				}
				reply.Close()
			}
		}
	}
}

// ending is what a client makes of a stream.
type ending struct {
	text   string
	tokens int64
	cut    bool
}

// endingOf reads a stream as the official clients do: strictly in its order.
func endingOf(t *testing.T, kind wire.Kind, out string) (e ending) {
	t.Helper()
	var reason, open, last string
	for event := range strings.SplitSeq(strings.TrimSuffix(out, "\n\n"), "\n\n") {
		_, data, _ := strings.Cut("\n"+event, "\ndata: ")
		if last == "[DONE]" || last == "message_stop" || last == "response.incomplete" || last == "response.completed" {
			t.Errorf("more after the end: %s", event)
		}
		if last = data; data == "[DONE]" {
			continue
		}
		if !gjson.Valid(data) {
			t.Errorf("no JSON: %s", event)
		}
		v := gjson.Parse(data)
		if kind == wire.Chat || kind == wire.Completion {
			if v.Get("prompt_filter_results").Exists() {
				continue // Azure's
			}
			if v.Get("id").Str == "" || v.Get("model").Str == "" || v.Get("created").Int() == 0 || v.Get("object").Str == "" {
				t.Errorf("no chunk: %s", event)
			}
			e.text += v.Get("choices.0.delta.content").Str + v.Get("choices.0.text").Str
			if r := v.Get("choices.0.finish_reason").Str; r != "" {
				reason = r
			}
			if u := v.Get("usage"); u.IsObject() && len(v.Get("choices").Array()) == 0 {
				e.tokens = u.Get("completion_tokens").Int()
			}
			continue
		}
		last = v.Get("type").Str
		switch last {
		case "content_block_start":
			if open != "" {
				t.Errorf("a block in a block: %s", event)
			}
			open = v.Get("index").Raw
		case "content_block_delta", "content_block_stop":
			if open != v.Get("index").Raw {
				t.Errorf("block %s is open: %s", open, event)
			}
			if e.text += v.Get("delta.text").Str; last == "content_block_stop" {
				open = ""
			}
		case "message_delta":
			reason, e.tokens = v.Get("delta.stop_reason").Str, v.Get("usage.output_tokens").Int()
		case "response.output_text.delta":
			e.text += v.Get("delta").Str
		case "response.completed", "response.incomplete":
			reason, e.tokens = v.Get("response.incomplete_details.reason").Str, v.Get("response.usage.output_tokens").Int()
			if whole := v.Get("response.output.0.content.0.text").Str; whole != e.text {
				t.Errorf("%q is repeated as %q", e.text, whole)
			}
		}
	}
	e.cut = reason == "length" || reason == "max_tokens" || reason == "max_output_tokens"
	if end := map[wire.Kind]string{wire.Chat: "[DONE]", wire.Completion: "[DONE]", wire.Message: "message_stop"}[kind]; end != "" && last != end || open != "" {
		t.Errorf("no end: %s", out)
	}
	return e
}
