package provider

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/tokens"
	"jarvis-gateway/proxy/wire"
)

func simulation(t *testing.T) *Client {
	t.Helper()
	clients, err := New(map[string]Config{"sim": {Kind: "simulated"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(clients["sim"].Close)
	return clients["sim"]
}

// simulatedBodies ask in each dialect; what follows "model" is set by tests.
var simulatedBodies = map[wire.Kind]string{
	wire.Chat:       `{"model":%q,"messages":[{"role":"user","content":"How long may it be? 可以说多长呢"}],"stream":%t,"stream_options":{"include_usage":true}%s}`,
	wire.Completion: `{"model":%q,"prompt":"How long may it be? 可以说多长呢","stream":%t,"stream_options":{"include_usage":true}%s}`,
	wire.Message:    `{"model":%q,"messages":[{"role":"user","content":"How long may it be? 可以说多长呢"}],"stream":%t%s}`,
	wire.Response:   `{"model":%q,"input":"How long may it be? 可以说多长呢","stream":%t%s}`,
}

// bounds are the fields that bound an answer, and whole what an answer is made of.
var (
	boundsOf = map[wire.Kind][]string{
		wire.Chat:       {"max_tokens", "max_completion_tokens"},
		wire.Completion: {"max_tokens"},
		wire.Message:    {"max_tokens"},
		wire.Response:   {"max_output_tokens"},
	}
	wholeOf = map[wire.Kind][3]string{
		wire.Chat:       {"choices.0.message.content", "choices.0.finish_reason", "usage.completion_tokens"},
		wire.Completion: {"choices.0.text", "choices.0.finish_reason", "usage.completion_tokens"},
		wire.Message:    {"content.0.text", "stop_reason", "usage.output_tokens"},
		wire.Response:   {"output.0.content.0.text", "incomplete_details.reason", "usage.output_tokens"},
	}
)

// simulatedEnding is what the simulated provider answers, whole or as a stream.
func simulatedEnding(t *testing.T, c *Client, kind wire.Kind, body string) ending {
	t.Helper()
	_, reply := ask(t, c, kind, body, func(*Call) {})
	defer reply.Close()
	if reply.Stream != nil {
		out, err := io.ReadAll(reply.Stream)
		if err != nil {
			t.Fatal(err)
		}
		return endingOf(t, kind, string(out))
	}
	at := wholeOf[kind]
	reason := gjson.GetBytes(reply.Body, at[1]).Str
	return ending{gjson.GetBytes(reply.Body, at[0]).Str, gjson.GetBytes(reply.Body, at[2]).Int(), strings.HasPrefix(reason, "max_") || reason == "length"}
}

// The simulated provider says no more than it is allowed, as much as that, and bills what it says.
func TestSimulatedHeedsBounds(t *testing.T) {
	c := simulation(t)
	const prompt = "How long may it be? 可以说多长呢"
	for kind, body := range simulatedBodies {
		for _, model := range []string{"gpt-4o", "gpt-4", "claude-sonnet-4-5"} {
			unbound := ""
			if kind == wire.Message {
				unbound = `,"max_tokens":1000` // which it must have
			}
			all := simulatedEnding(t, c, kind, fmt.Sprintf(body, model, false, unbound))
			if about := tokens.For(model).Count(all.text); all.text != simulatedText(prompt) || all.cut || all.tokens < int64(about) || all.tokens > int64(about+about/4) {
				t.Errorf("%s: %+v, expected about %d tokens", model, all, about)
			}
			for _, field := range boundsOf[kind] {
				for _, most := range []int64{16, 17, 21, 30, all.tokens - 1, all.tokens, all.tokens + 1} {
					got := simulatedEnding(t, c, kind, fmt.Sprintf(body, model, false, fmt.Sprintf(`,"%s":%d`, field, most)))
					if cut := most < all.tokens; got.tokens > most || cut && got.tokens < most-4 || got.cut != cut || !cut && got != all || !strings.HasPrefix(all.text, got.text) {
						t.Errorf("%s, %s %d: %+v of %+v", model, field, most, got, all)
					}
					if model == "claude-sonnet-4-5" && (most == 16 || most == all.tokens) { // streams take their time
						stream := simulatedEnding(t, c, kind, fmt.Sprintf(body, model, true, fmt.Sprintf(`,"%s":%d`, field, most)))
						if stream != got {
							t.Errorf("%s, %s %d: %+v as a stream, %+v whole", model, field, most, stream, got)
						}
					}
				}
			}
		}
	}
}

// What a stream's client can count is what it is billed.
func TestSimulatedPieces(t *testing.T) {
	for _, text := range []string{"", "Hi", "one two  three\n\nfour", "a-b, c.", "中文 and English", strings.Repeat("x", 30), "café 😀!", "\xff\xfe "} {
		all := pieces(text)
		if strings.Join(all, "") != text {
			t.Errorf("%q has become %q", text, all)
		}
		for _, piece := range all {
			if len(piece) > 8 {
				t.Errorf("%q is long", piece)
			}
		}
	}
}

// Of several bounds the least counts, and one that is no bound is none.
func TestSimulatedBounds(t *testing.T) {
	c := simulation(t)
	for fields, most := range map[string]int64{
		`,"max_tokens":20,"max_completion_tokens":10`:   10,
		`,"max_tokens":10,"max_completion_tokens":20`:   10,
		`,"max_tokens":null,"max_completion_tokens":10`: 10,
		`,"max_tokens":1`:   1,
		`,"max_tokens":0`:   1000,
		`,"max_tokens":1e9`: 1000,
	} {
		got := simulatedEnding(t, c, wire.Chat, fmt.Sprintf(simulatedBodies[wire.Chat], "gpt-4o", false, fields))
		if got.tokens > most || got.cut != (most < 1000) || got.cut && got.tokens < most-1 {
			t.Errorf("%s: %+v", fields, got)
		}
	}
}

// Each of several answers is bounded, and all are billed.
func TestSimulatedGivesAsManyAsAreAsked(t *testing.T) {
	c := simulation(t)
	for _, row := range []struct {
		kind  wire.Kind
		body  string
		texts int
	}{
		{wire.Chat, `{"model":"gpt-4o","n":3,"max_tokens":9,"messages":[{"role":"user","content":"Hi"}],"stream":%t,"stream_options":{"include_usage":true}}`, 3},
		{wire.Completion, `{"model":"gpt-4o","n":3,"max_tokens":9,"prompt":"Hi","stream":%t,"stream_options":{"include_usage":true}}`, 3},
		{wire.Completion, `{"model":"gpt-4o","n":2,"max_tokens":9,"prompt":["Hi","you","there"],"stream":%t,"stream_options":{"include_usage":true}}`, 6},
	} {
		for _, stream := range []bool{false, true} {
			_, reply := ask(t, c, row.kind, fmt.Sprintf(row.body, stream), func(*Call) {})
			out := reply.Body
			if reply.Stream != nil {
				out, _ = io.ReadAll(reply.Stream)
			}
			texts, ended, billed := map[int64]string{}, 0, int64(0)
			for event := range strings.SplitSeq(string(out), "\n\n") {
				v := gjson.Parse(strings.TrimPrefix(event, "data: "))
				for _, choice := range v.Get("choices").Array() {
					texts[choice.Get("index").Int()] += choice.Get("message.content").Str + choice.Get("delta.content").Str + choice.Get("text").Str
					if choice.Get("finish_reason").Str == "length" {
						ended++
					}
				}
				billed += v.Get("usage.completion_tokens").Int()
			}
			reply.Close()
			if len(texts) != row.texts || ended != row.texts || billed != int64(9*row.texts) || texts[0] == "" || texts[int64(row.texts-1)] != texts[0] {
				t.Errorf("%s: %d ended, %d billed, %v", row.body, ended, billed, texts)
			}
		}
	}
}

// Who asks for more than fits in memory is refused.
func TestSimulatedRefusesTooMany(t *testing.T) {
	c := simulation(t)
	for _, body := range []string{
		`{"model":"m","n":17,"prompt":"Hi"}`,
		`{"model":"m","n":9223372036854775807,"prompt":["Hi","you"]}`,
		`{"model":"m","n":6,"prompt":["a","b","c"]}`,
	} {
		b, err := wire.Parse([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		call := &Call{Method: "POST", Path: "/completions", Kind: wire.Completion, Header: &fasthttp.RequestHeader{}, Body: &b, Model: "m", Abort: &Abort{}, Begun: time.Now()}
		call.Timeout.Connect, call.Timeout.FirstToken, call.Timeout.Idle, call.Timeout.Total = time.Minute, time.Minute, time.Minute, time.Minute
		if err := c.Do(call, &wire.Reply{}); err == nil || !strings.Contains(err.Error(), "16 answers") {
			t.Errorf("%s: %v", body, err)
		}
	}
}
