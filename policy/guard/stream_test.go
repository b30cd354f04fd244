package guard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// spoken is how a dialect says one text in pieces, and how a client puts it together again.
type spoken struct {
	name  string
	kind  wire.Kind
	begin []string
	piece func(quoted string, n int) string
	end   []string
	heard string // the path of a piece in an event's data
	form  form
}

// dialects say a text each in its own way. Numbers of events count on, where the dialect has them.
var dialects = []spoken{
	{name: "chat", kind: wire.Chat,
		begin: []string{`{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}`},
		piece: func(q string, _ int) string {
			return `{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":` + q + `},"logprobs":{"content":[{"token":` + q + `,"logprob":0}]},"finish_reason":null}],"usage":null}`
		},
		end: []string{`{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}`,
			`{"id":"c","object":"chat.completion.chunk","model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}`, `[DONE]`},
		heard: "choices.0.delta.content"},
	{name: "chat without a reason", kind: wire.Chat,
		piece: func(q string, _ int) string {
			return `{"id":"c","choices":[{"delta":{"reasoning_content":` + q + `}}]}`
		},
		end: []string{`[DONE]`}, heard: "choices.0.delta.reasoning_content"},
	{name: "chat arguments", kind: wire.Chat, form: nested,
		begin: []string{`{"id":"c","choices":[{"index":1,"delta":{"tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":""}}]}}]}`},
		piece: func(q string, _ int) string {
			return `{"id":"c","choices":[{"index":1,"delta":{"tool_calls":[{"index":2,"function":{"arguments":` + q + `}}]},"finish_reason":null}]}`
		},
		end: []string{`{"id":"c","choices":[{"index":1,"delta":{},"finish_reason":"tool_calls"}]}`}, heard: "choices.0.delta.tool_calls.0.function.arguments"},
	{name: "completion", kind: wire.Completion,
		piece: func(q string, _ int) string {
			return `{"id":"c","choices":[{"text":` + q + `,"index":0,"logprobs":null,"finish_reason":null}]}`
		},
		end: []string{`{"id":"c","choices":[{"text":"","index":0,"finish_reason":"length"}]}`, `[DONE]`}, heard: "choices.0.text"},
	{name: "messages", kind: wire.Message,
		begin: []string{`{"type":"message_start","message":{"id":"m","content":[],"usage":{"input_tokens":1}}}`, `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, `{"type":"ping"}`},
		piece: func(q string, _ int) string {
			return `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":` + q + `}}`
		},
		end: []string{`{"type":"content_block_stop","index":0}`, `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}`, `{"type":"message_stop"}`}, heard: "delta.text"},
	{name: "messages input", kind: wire.Message, form: nested,
		begin: []string{`{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}`},
		piece: func(q string, _ int) string {
			return `{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":` + q + `}}`
		},
		end: []string{`{"type":"content_block_stop","index":3}`}, heard: "delta.partial_json"},
	{name: "messages thinking", kind: wire.Message,
		begin: []string{`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`},
		piece: func(q string, _ int) string {
			return `{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":` + q + `}}`
		},
		end: []string{`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"13800138000"}}`, `{"type":"content_block_stop","index":0}`}, heard: "delta.thinking"},
	{name: "responses", kind: wire.Response,
		begin: []string{`{"type":"response.created","response":{"id":"r","output":[]},"sequence_number":0}`},
		piece: func(q string, n int) string {
			return fmt.Sprintf(`{"type":"response.output_text.delta","item_id":"i","output_index":0,"content_index":0,"delta":%s,"logprobs":[],"sequence_number":%d,"obfuscation":"x"}`, q, n)
		},
		end: []string{`{"type":"response.output_text.done","item_id":"i","output_index":0,"content_index":0,"text":TEXT,"sequence_number":N}`,
			`{"type":"response.output_item.done","output_index":0,"item":{"type":"message","content":[{"type":"output_text","text":TEXT}]},"sequence_number":N}`,
			`{"type":"response.completed","response":{"id":"r","output":[{"type":"message","content":[{"type":"output_text","text":TEXT}]}],"usage":{"input_tokens":1}},"sequence_number":N}`}, heard: "delta"},
	{name: "responses arguments", kind: wire.Response, form: nested,
		piece: func(q string, n int) string {
			return fmt.Sprintf(`{"type":"response.function_call_arguments.delta","item_id":"i","output_index":1,"delta":%s,"sequence_number":%d}`, q, n)
		},
		end: []string{`{"type":"response.function_call_arguments.done","item_id":"i","output_index":1,"arguments":TEXT,"sequence_number":N}`}, heard: "delta"},
	{name: "transcript", kind: wire.Plain,
		piece: func(q string, _ int) string { return `{"type":"transcript.text.delta","delta":` + q + `}` },
		end:   []string{`{"type":"transcript.text.done","text":TEXT}`}, heard: "delta"},
}

func quoted(s string) string { return string(wire.AppendString(nil, s)) }

// events are a text said in pieces.
func (d *spoken) events(pieces []string) (list []string) {
	list = append(list, d.begin...)
	for _, p := range pieces {
		list = append(list, d.piece(quoted(p), len(list)))
	}
	for _, e := range d.end {
		e = strings.ReplaceAll(e, "TEXT", quoted(strings.Join(pieces, "")))
		list = append(list, strings.ReplaceAll(e, ":N}", fmt.Sprintf(":%d}", len(list))))
	}
	return list
}

// hear passes events through a stream, and returns the text that its pieces make, and the data of all its events.
func (d *spoken) hear(c *Chain, v *Vault, list []string) (text string, seen []string, err error) {
	s := c.Stream(d.kind, v)
	var out []byte
	for _, e := range list {
		name := ""
		if t := gjson.Get(e, "type").Str; t != "" {
			name = "event: " + t + "\n"
		}
		if out, err = s.Event(out, []byte(name+"data: "+e+"\n\n")); err != nil {
			break
		}
	}
	if err == nil {
		out, err = s.End(out)
	}
	for len(out) > 0 {
		n, _ := wire.EventEnd(out, 0)
		data := wire.EventData(out[:n])
		seen = append(seen, string(data))
		if got := gjson.GetBytes(data, d.heard); gjson.GetBytes(data, "delta.type").Str != "signature_delta" {
			text += got.Str
		}
		if name, ok := bytes.CutPrefix(out, []byte("event: ")); ok && !bytes.HasPrefix(name, []byte(gjson.GetBytes(data, "type").Str+"\n")) {
			return text, seen, errors.New("event and type differ")
		}
		out = out[n:]
	}
	return text, seen, err
}

// masked is the text as a whole, as the chain leaves it.
func masked(t *testing.T, c *Chain, v *Vault, text string, f form) (string, error) {
	t.Helper()
	a := answer{chain: c, vault: v}
	if f == prose {
		f = either
	}
	q := quoted(text)
	out, err := a.pipe(f, false).run([]byte(q[1:len(q)-1]), true)
	return gjson.Parse(`"` + string(out) + `"`).Str, err
}

// talk is what a model might say: personal data of all types, placeholders, and things like them, in two languages.
var talk = []string{
	"Mail zhang.san+news@mail.example.co.uk or call +86 138-0013-8000, (415) 555-2671; id 11010519491231002X.",
	"我是<EMAIL_1>，电话１３８００１３８０００，身份证440308199901101512，卡6222021234567890128，不是13800138000000",
	"<email_1> EMAIL_1 email_1 &lt;EMAIL_1&gt; <EMAIL_2> EMAIL_12 <PHONE_1 PHONE_1. <EMAIL\\_1> [EMAIL_1] XEMAIL_1",
	"key=sk-proj-abc123DEF456ghi789jkl0, " + pem + " and Bearer " + jwt + ". api_key: \"a8Fk29dLq0Zx7Vb3Nm5P\"",
	"4111 1111 1111 1111, 4111 1111 1111 1112, 2024-01-15 10:30, 1 2 3 4 5 6 7 8 9, a@b, zha\u200bng@exa\u00admple.com",
	"Project Phoenix is secret-1234 and secret-12x; project\tphoenix, PROJECT  PHOENIX ｐｒｏｊｅｃｔ ｐｈｏｅｎｉｘ pro",
	` {"phone": 13900139000, "m":"a\u0040b.com", "t":"<EMAIL_1>, <PHONE_1> \"x\""}`, "[1] call 13900139000 \\ \"me\"", `[{"a":13900139000}] {`, "{ 13900139000",
	"",
}

// Their JSON, for arguments: the strings in it have escapes of their own.
var talkJSON = []string{
	`{"to":"a\u0040b.com","phone":13800138000,"n":[4111111111111111,"4111 1111 1111 1111"],"t":"<EMAIL_1> \"<PHONE_1>\"\n"}`,
	`{"a":"\u0031\u0033800138000","b":"\ud835\udfcf\ud835\udfd1800138000","c":"\\u0031","d":"x\\","e":13800138000}`,
	`{"project phoenix":"secret-1234"}`,
}

func guards() []Config {
	return []Config{{Kind: "pii"}, {Kind: "deny", Name: "code", Action: "mask", Patterns: []string{`(?i)project\s+phoenix\b`, `secret-\d+`, `"[a-z]{3,} is"`}}}
}

// vaultOf is a vault that holds an email and a phone whose values need escapes.
func vaultOf(t testing.TB, c *Chain) *Vault {
	t.Helper()
	_, v, _, err := c.Request([]byte(`{"messages":[{"role":"user","content":"me@home.org"},{"role":"user","content":"+1 212 555 0100"}]}`), wire.Chat)
	if err != nil {
		t.Fatal(err)
	}
	v.names["PHONE_1"] = "\"+1\n212\\" // as a deny pattern might have taken out
	return v
}

// Whatever way a text is cut into pieces, the client gets what it would get of the whole.
func TestEverySplit(t *testing.T) {
	c := chainOf(t, guards()...)
	v := vaultOf(t, c)
	for i := range dialects {
		d := &dialects[i]
		texts := talk
		if d.form == nested {
			texts = talkJSON
		}
		for _, text := range texts {
			if d.name == "messages thinking" && strings.Contains(text, "EMAIL") {
				continue // another test's
			}
			whole, err := masked(t, c, v, text, d.form)
			if err != nil {
				t.Fatal(err)
			}
			runes := []rune(text)
			var cuts [][]string
			for n := 0; n <= len(runes); n++ {
				cuts = append(cuts, []string{string(runes[:n]), string(runes[n:])})
			}
			cuts = append(cuts, strings.Split(text, ""))
			random := rand.New(rand.NewPCG(1, 2))
			for range 20 {
				var pieces []string
				for at := 0; at < len(runes); {
					n := min(len(runes)-at, 1+random.IntN(6))
					pieces = append(pieces, string(runes[at:at+n]))
					at += n
				}
				cuts = append(cuts, pieces)
			}
			for _, pieces := range cuts {
				list := d.events(pieces)
				got, seen, err := d.hear(c, v, list)
				if err != nil || got != whole {
					t.Fatalf("%s: %q: %v\n got %q\nwant %q\n%s", d.name, pieces, err, got, whole, strings.Join(seen, "\n"))
				}
				d.check(t, list, seen, text, whole)
			}
		}
	}
}

// check compares a stream's events with those that came in.
func (d *spoken) check(t *testing.T, list, seen []string, text, whole string) {
	t.Helper()
	more := len(seen) - len(list)
	for n, data := range seen {
		if data != "[DONE]" && !json.Valid([]byte(data)) {
			t.Fatalf("%s: not JSON: %s", d.name, data)
		}
		if s := gjson.Get(data, "sequence_number"); strings.HasPrefix(d.name, "responses") && s.Int() != int64(n) {
			t.Fatalf("%s: event %d has number %s", d.name, n, s)
		}
		if text != whole && strings.Contains(data, `"token"`) {
			t.Fatalf("%s: token by token: %s", d.name, data)
		}
	}
	if more < 0 || more > 1 {
		t.Fatalf("%s: %d events became %d", d.name, len(list), len(seen))
	}
	last := list[len(list)-len(d.end):]
	for n, data := range seen[len(seen)-len(last):] {
		want := strings.ReplaceAll(last[n], quoted(text), quoted(whole))
		if more == 1 && strings.HasPrefix(d.name, "responses") {
			k := gjson.Get(want, "sequence_number").Int()
			want = strings.Replace(want, fmt.Sprintf(`"sequence_number":%d`, k), fmt.Sprintf(`"sequence_number":%d`, k+1), 1)
		}
		if strings.Contains(last[n], quoted(text)) {
			if !gjson.Valid(data) || gjson.Get(data, "type").Str != gjson.Get(want, "type").Str || fmt.Sprint(gjson.Parse(data).Value()) != fmt.Sprint(gjson.Parse(want).Value()) {
				t.Fatalf("%s: the end became\n%s, want\n%s", d.name, data, want)
			}
		} else if data != want {
			t.Fatalf("%s: the end became\n%s, want\n%s", d.name, data, want)
		}
	}
}

// Several choices, and several texts of each, do not mix.
func TestInterleaved(t *testing.T) {
	c := chainOf(t, Config{Kind: "pii"})
	d := &spoken{kind: wire.Chat, heard: "x"}
	var list []string
	texts := map[string]string{"0content": "I am a@b.com.", "1content": "call 13800138000", "0reasoning": "c@d.com?", "1refusal": "no 4111 1111 1111 1111"}
	for n := range 30 {
		for _, key := range []string{"0content", "1content", "0reasoning", "1refusal"} {
			if n < len(texts[key]) {
				list = append(list, fmt.Sprintf(`{"choices":[{"index":%s,"delta":{"%s":%s},"finish_reason":null}]}`, key[:1], key[1:], quoted(texts[key][n:n+1])))
			}
		}
	}
	list = append(list, `{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}`, `{"choices":[{"index":0,"delta":{"content":"!"},"finish_reason":"stop"}]}`, "[DONE]")
	_, seen, err := d.hear(c, nil, list)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, data := range seen {
		for _, choice := range gjson.Get(data, "choices").Array() {
			choice.Get("delta").ForEach(func(k, v gjson.Result) bool {
				if got["end"+choice.Get("index").Raw] != "" {
					t.Errorf("choice %s goes on behind its end: %s", choice.Get("index").Raw, data)
				}
				got[choice.Get("index").Raw+k.Str] += v.Str
				return true
			})
			got["end"+choice.Get("index").Raw] += choice.Get("finish_reason").Str
		}
	}
	for key, want := range map[string]string{"0content": "I am <EMAIL>.!", "1content": "call <PHONE>", "0reasoning": "<EMAIL>?", "1refusal": "no <CARD>"} {
		if g := got[key]; g != want {
			t.Errorf("%s: %q, want %q", key, g, want)
		}
	}
}

// Text that cannot become a match leaves at once.
func TestNothingHeldWithoutNeed(t *testing.T) {
	c := chainOf(t, Config{Kind: "pii"}, Config{Kind: "deny", Patterns: []string{`(?i)project\s+phoenix\b`, `\bab+\b`}})
	d := &dialects[0]
	for text, want := range map[string]string{
		"Hello, world. ": "Hello, world. ", "你好，世界": "你好，世界", "good pro": "good ", "a ": "a ", "tel 138": "tel ", "(": "", "x, ": "x, ", "ab": "", "project pie ": "project pie ", "<b": "<",
	} {
		s := c.Stream(d.kind, nil)
		out, err := s.Event(nil, []byte("data: "+d.piece(quoted(text), 0)+"\n\n"))
		if got := gjson.GetBytes(wire.EventData(out), d.heard).Str; got != want || err != nil {
			t.Errorf("%q: %q leaves, want %q (%v)", text, got, want, err)
		}
	}
}

func TestStreamRefused(t *testing.T) {
	c := chainOf(t, Config{Kind: "deny", Patterns: []string{`secret-\d{4}`}})
	for i := range dialects {
		d := &dialects[i]
		for n := range 11 {
			text, _, err := d.hear(c, nil, d.events([]string{"it is ", "secret-1234"[:n], "secret-1234"[n:], " you know"}))
			refused(t, err)
			if strings.Contains(text, "s") && strings.Contains(text, "sec") {
				t.Errorf("%s: %q has left", d.name, text)
			}
		}
	}
}

func TestAllowOnAnswers(t *testing.T) {
	c := chainOf(t, Config{Kind: "allow", On: []string{"answer"}, Patterns: []string{`order \d+`}})
	d := &dialects[0]
	if text, seen, err := d.hear(c, nil, d.events([]string{"Your or", "der", " 1", "2 is", " here"})); err != nil || text != "Your order 12 is here" || gjson.Get(seen[4], d.heard).Str != "Your order 12 is" {
		t.Error(text, seen, err)
	}
	text, _, err := d.hear(c, nil, d.events([]string{"Once upon", " a time"}))
	if refused(t, err); text != "" {
		t.Errorf("%q has left", text)
	}
	c = chainOf(t, Config{Kind: "allow", Action: "flag", On: []string{"answer"}, Patterns: []string{`order \d+`}})
	v := &Vault{answering: true}
	if text, _, err = d.hear(c, v, d.events([]string{"Once upon", " a time"})); err != nil || text != "Once upon a time" || len(v.Flags()) != 1 {
		t.Error(text, v.Flags(), err)
	}
}

func TestFlagsHoldNothing(t *testing.T) {
	c := chainOf(t, Config{Kind: "pii", Action: "flag"}, Config{Kind: "deny", Name: "x", Action: "flag", Patterns: []string{`secret-\d+`}})
	d := &dialects[0]
	v := &Vault{answering: true}
	list := d.events([]string{"my 1380", "0138000 sec", "ret", "-1 "})
	_, seen, err := d.hear(c, v, list)
	if err != nil || strings.Join(seen, "\n") != strings.Join(list, "\n") {
		t.Errorf("%v: %s", err, strings.Join(seen, "\n"))
	}
	if f := v.Flags(); len(f) != 2 || f[0] != "pii.phone" || f[1] != "x" {
		t.Error(f)
	}
}

// Memory stays bounded whatever a model says.
func TestBounded(t *testing.T) {
	c := chainOf(t, Config{Kind: "pii"}, Config{Kind: "deny", Action: "mask", Patterns: []string{`a.*b`}}, Config{Kind: "deny", Patterns: []string{`(?s)x.*zz`}})
	s := c.Stream(wire.Chat, nil)
	sent, got := 0, 0
	for _, piece := range []string{"axa", "0", "-----BEGIN PRIVATE KEY-----", "sk-", "eyJ", "1 ", "aaaaa@", "\\u0031"} {
		for range 6000 {
			q := `"` + piece + `"`
			out, err := s.Event(nil, []byte(`data: {"choices":[{"index":0,"delta":{"content":`+q+"}}]}\n\n"))
			if err != nil {
				t.Fatal(err)
			}
			sent += len(piece)
			got += len(gjson.GetBytes(wire.EventData(out), "choices.0.delta.content").Raw)
		}
		for _, st := range s.open[0].pipe.stages {
			if f := st.(*filter); len(f.w.raw) > 8*maxHeld || cap(f.w.spans) > 8*maxHeld {
				t.Fatalf("%q: %d bytes held, %d spans", piece, len(f.w.raw), cap(f.w.spans))
			}
		}
	}
	t.Logf("%d bytes sent, %d given", sent, got)
}
