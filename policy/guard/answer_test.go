package guard

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// Whole answers of every dialect: what was taken out is put back, what is new is masked, no other byte changes.
func TestAnswers(t *testing.T) {
	c := chainOf(t, Config{Kind: "pii"})
	_, v, _, err := c.Request([]byte(`{"messages":[{"role":"user","content":"me@home.org 13800138000"}]}`), wire.Chat)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, body, want string }{
		{"chat", `{"id":"x@y.com","choices":[{"index":0,"message":{"role":"assistant","content":"<EMAIL_1> and x@y.com","refusal":null,"reasoning_content":"<PHONE_1>","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\"to\":\"<EMAIL_1>\",\"cc\":\"x@y.com\",\"n\":13900139000,\"p\":\"<PHONE_1>\"}"}}]},"logprobs":{"content":[{"token":"x@y.com"}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}`,
			`{"id":"x@y.com","choices":[{"index":0,"message":{"role":"assistant","content":"me@home.org and <EMAIL>","refusal":null,"reasoning_content":"13800138000","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\"to\":\"me@home.org\",\"cc\":\"<EMAIL>\",\"n\":\"<PHONE>\",\"p\":\"13800138000\"}"}}]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}`},
		{"structured", `{"choices":[{"message":{"content":"{\"phone\": 13900139000, \"mail\": \"<EMAIL_1>\"}"}}]}`, `{"choices":[{"message":{"content":"{\"phone\": \"<PHONE>\", \"mail\": \"me@home.org\"}"}}]}`},
		{"what the client said", `{"choices":[{"message":{"content":"me@home.org"}}]}`, `{"choices":[{"message":{"content":"me@home.org"}}]}`},
		{"completion", `{"choices":[{"text":"to EMAIL_1\n","index":0,"logprobs":null}]}`, `{"choices":[{"text":"to me@home.org\n","index":0,"logprobs":null}]}`},
		{"messages", `{"type":"message","content":[{"type":"thinking","thinking":"<EMAIL_1> email_1 <email_1> EMAIL_1","signature":"13900139000"},{"type":"text","text":"<email_1>"},{"type":"tool_use","id":"t","name":"f","input":{"to":"<EMAIL_1>","deep":["x@y.com"]}}],"stop_reason":"end_turn"}`,
			`{"type":"message","content":[{"type":"thinking","thinking":"me@home.org email_1 <email_1> EMAIL_1","signature":"13900139000"},{"type":"text","text":"me@home.org"},{"type":"tool_use","id":"t","name":"f","input":{"to":"me@home.org","deep":["<EMAIL>"]}}],"stop_reason":"end_turn"}`},
		{"responses", `{"id":"r","object":"response","instructions":"<EMAIL_1>","output":[{"type":"reasoning","summary":[{"type":"summary_text","text":"x@y.com"}]},{"type":"message","content":[{"type":"output_text","text":"\u003cEMAIL_1\u003e","logprobs":[{"token":"a"}]}]},{"type":"function_call","arguments":"{\"a\":\"<PHONE_1>\"}"}]}`,
			`{"id":"r","object":"response","instructions":"me@home.org","output":[{"type":"reasoning","summary":[{"type":"summary_text","text":"<EMAIL>"}]},{"type":"message","content":[{"type":"output_text","text":"me@home.org","logprobs":[]}]},{"type":"function_call","arguments":"{\"a\":\"13800138000\"}"}]}`},
		{"embeddings", `{"data":[{"embedding":"QUJDREVG","index":0},{"embedding":[0.1]}],"model":"m"}`, `{"data":[{"embedding":"QUJDREVG","index":0},{"embedding":[0.1]}],"model":"m"}`},
		{"images", `{"data":[{"b64_json":"13900139000","revised_prompt":"<EMAIL_1>"}]}`, `{"data":[{"b64_json":"13900139000","revised_prompt":"me@home.org"}]}`},
		{"a transcript that is text", "call 13900139000\nor <EMAIL_1> \"now\"\n", "call <PHONE>\nor me@home.org \"now\"\n"},
		{"bytes", "\xff\xfb13900139000\x00", "\xff\xfb13900139000\x00"},
	} {
		out, flags, err := c.Answer([]byte(tc.body), wire.Chat, v)
		if string(out) != tc.want || err != nil || len(flags) > 0 {
			t.Errorf("%s: %v %v\n got %s\nwant %s", tc.name, flags, err, out, tc.want)
		}
	}
	_, _, err = chainOf(t, Config{Kind: "deny", Patterns: []string{"x"}}).Answer([]byte(`{"choices":[{"message":{"content":"x"}}]}`), wire.Chat, nil)
	refused(t, err)
	_, flags, err := chainOf(t, Config{Kind: "deny", Action: "flag", Patterns: []string{"x"}}).Answer([]byte(`{"choices":[{"message":{"content":"x"},"logprobs":{}}]}`), wire.Chat, nil)
	if len(flags) != 1 || err != nil {
		t.Error(flags, err)
	}
}

// What a model repeats of its request comes back to the client as it was, however odd.
func TestRoundTrip(t *testing.T) {
	c := chainOf(t, Config{Kind: "pii", On: []string{"request"}}, Config{Kind: "deny", On: []string{"request"}, Action: "mask", Name: "quote", Patterns: []string{`«(?s:.*?)»`}})
	for _, text := range []string{
		"zhang＠example．com and zha\u200bng@example.com, １３８00138000", "«say \"hi\"\\\n\t\u2028😀»", "key sk-proj-abc123DEF456ghi789jkl0 " + pem, "a@b.com a@b.com b@b.com <EMAIL_1>",
	} {
		body := `{"messages":[{"role":"user","content":` + quoted(text) + `},{"role":"assistant","tool_calls":[{"function":{"arguments":` + quoted(`{"x":`+quoted(text)+`}`) + `}}]}]}`
		out, v, _, err := c.Request([]byte(body), wire.Chat)
		if err != nil || strings.Contains(string(out), "example") || !json.Valid(out) || !gjson.Valid(gjson.GetBytes(out, "messages.1.tool_calls.0.function.arguments").Str) {
			t.Fatalf("%v: %s", err, out)
		}
		for name := range v.names {
			if len(v.names) > 4 {
				t.Errorf("%q: %s is one of too many", text, name)
			}
		}
		answer := `{"choices":[{"message":{"content":` + gjson.GetBytes(out, "messages.0.content").Raw + `,"tool_calls":[` + gjson.GetBytes(out, "messages.1.tool_calls.0").Raw + `]}}]}`
		back, _, err := c.Answer([]byte(answer), wire.Chat, v)
		if err != nil {
			t.Fatal(err)
		}
		if got := gjson.GetBytes(back, "choices.0.message.content").Str; got != text {
			t.Errorf("%q came back as %q", text, got)
		}
		if got := gjson.Get(gjson.GetBytes(back, "choices.0.message.tool_calls.0.function.arguments").Str, "x").Str; got != text {
			t.Errorf("%q came back in arguments as %q", text, got)
		}
	}
}

// The next turn of a conversation gets the same placeholders, so that providers' prompt caches hold.
func TestStablePlaceholders(t *testing.T) {
	c := chainOf(t, Config{Kind: "pii"})
	first := `{"messages":[{"role":"user","content":"a@b.com c@d.com"}`
	one, _, _, _ := c.Request([]byte(first+`]}`), wire.Chat)
	two, _, _, _ := c.Request([]byte(first+`,{"role":"assistant","content":"c@d.com"},{"role":"user","content":"e@f.com"}]}`), wire.Chat)
	if p := strings.TrimSuffix(string(one), "]}"); !strings.HasPrefix(string(two), p) || !strings.Contains(string(two), `"<EMAIL_2>"},{"role":"user","content":"<EMAIL_3>"`) {
		t.Errorf("%s\n%s", one, two)
	}
}

// A provider that keeps the conversation keeps placeholders of requests that are gone: they come back as they are.
func TestGoingOnFromAnAnswer(t *testing.T) {
	c := chainOf(t, Config{Kind: "pii"})
	seen := map[string]bool{}
	for _, id := range []string{`"resp_1"`, `"resp_2"`, `{"id":"conv"}`} {
		out, v, _, err := c.Request([]byte(`{"previous_response_id":`+id+`,"input":"a@b.com"}`), wire.Response)
		name := gjson.GetBytes(out, "input").Str
		if err != nil || len(name) < len("<EMAIL_1001>") || seen[name] {
			t.Fatalf("%s %v", out, err)
		}
		seen[name] = true
		back, _, _ := c.Answer([]byte(`{"output":[{"content":[{"text":"<EMAIL_1> `+name+`"}]}]}`), wire.Response, v)
		if got := gjson.GetBytes(back, "output.0.content.0.text").Str; got != "<EMAIL_1> a@b.com" {
			t.Error(got)
		}
	}
}

func TestVaultIsNotPrinted(t *testing.T) {
	_, v, _, _ := chainOf(t, Config{Kind: "pii"}).Request([]byte(`{"input":"canary@b.com"}`), wire.Response)
	if s := fmt.Sprintf("%v %+v %#v %s", v, v, v, v); strings.Contains(s, "canary") || v.empty() {
		t.Error(s)
	}
}
