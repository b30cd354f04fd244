package proxy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"jarvis-gateway/policy/guard"
	"jarvis-gateway/proxy/wire"
)

func digested(data string) string {
	sum := sha256.Sum256([]byte(data))
	return fmt.Sprintf("<%d bytes, sha256:%s>", len(data), hex.EncodeToString(sum[:]))
}

func TestWhatIsKeptOfARequest(t *testing.T) {
	k := newKeeper(newMasks(), wire.Chat, nil)
	small, large := "\x89PNG a picture", strings.Repeat("\x00\xff sound ", 1000)
	coded := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, row := range []struct{ in, want string }{
		{`{"messages":[{"role":"user","content":"Write to ann@example.com."}],"n":1}`, `{"messages":[{"role":"user","content":"Write to <EMAIL_1>."}],"n":1}`},
		{`{"messages": [{"content":"我的手机号是13812345678，请回电。"}] }`, `{"messages":[{"content":"我的手机号是<PHONE_1>，请回电。"}]}`},
		{`{"user":"ann@example.com","metadata":{"card":4111111111111111}}`, `{"user":"<EMAIL_1>","metadata":{"card":"<CARD_1>"}}`},
		{`{"u":"data:image/png;base64,` + coded(small) + `"}`, `{"u":"data:image/png;base64,` + digested(small) + `"}`},
		{`{"content":"see ![](data:image/png;base64,` + coded(small) + `) and ![](data:image/png;base64,AA==)"}`, `{"content":"see ![](data:image/png;base64,` + digested(small) + `) and ![](data:image/png;base64,AA==)"}`},
		{`{"input_audio":{"data":"` + coded(large) + `","format":"wav"}}`, `{"input_audio":{"data":"` + digested(large) + `","format":"wav"}}`},
		{`{"source":{"type":"base64","data":"` + strings.TrimRight(base64.URLEncoding.EncodeToString([]byte(large)), "=") + `"}}`, `{"source":{"type":"base64","data":"` + digested(large) + `"}}`},
		{`{"x":"` + strings.Repeat("x", 300) + `"}`, `{"x":"<225 bytes, `},
		{`{"data":"a short word"}`, `{"data":"a short word"}`},
		{`{"prompt":[1,2,3],"input":[[4,5],[6]],"n":[7]}`, `{"prompt":"<3 numbers>","input":["<2 numbers>","<1 numbers>"],"n":[7]}`},
		{`{"a":1.50,"b":null,"c":true,"d":{},"e":[],"f":""}`, `{"a":1.50,"b":null,"c":true,"d":{},"e":[],"f":""}`},
		{`{"prompt_embeds":"eHg="}`, `{"withheld":"what is personal in it cannot be told"}`},
		{"", ""},
	} {
		if got := k.request([]byte(row.in)); got != row.want && !(strings.HasSuffix(row.want, ", ") && strings.HasPrefix(got, row.want)) {
			t.Errorf("%.200s becomes\n%s, want\n%s", row.in, got, row.want)
		}
	}
	if got := k.request(make([]byte, maxWeighed+1)); got != withheld("it is too large") {
		t.Errorf("%.100s", got)
	}
}

// Digests look like much, but never like something personal.
func TestDigestsAreKept(t *testing.T) {
	k, r := newKeeper(newMasks(), wire.Chat, nil), rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var data [32]byte
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		want := `{"messages":[{"content":"data:image/png;base64,` + digested(string(data[:])) + `"}]}`
		if got := k.request([]byte(`{"messages":[{"content":"data:image/png;base64,` + base64.StdEncoding.EncodeToString(data[:]) + `"}]}`)); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
}

// What a tenant's guards have taken out is not kept either, however it is written, and wherever it comes back.
func TestWhatGuardsHidIsNotKept(t *testing.T) {
	chain, err := guard.New([]guard.Config{{Kind: "deny", Action: "mask", Name: "plan", Patterns: []string{`Project "?Phoenix"?`, "凤凰计划", `\b77\d{8}\b`}}, {Kind: "pii"}})
	if err != nil {
		t.Fatal(err)
	}
	raw := []byte(`{"messages":[{"content":"Project Phoenix, Project \u0022Phoenix\u0022 and 凤凰计划 of ann@example.com"}],"metadata":{"id":7712345678}}`)
	_, vault, _, err := chain.Request(raw, wire.Chat)
	if err != nil {
		t.Fatal(err)
	}
	k := newKeeper(newMasks(), wire.Chat, vault)
	asked := k.request(raw)
	answered := k.answer([]byte(`{"choices":[{"message":{"content":"Project Phoenix! 凤凰计划!","tool_calls":[{"function":{"arguments":"{\"about\":\"Project \\\"Phoenix\\\"\",\"to\":\"ann@example.com\"}"}}]}}]}`))
	for _, text := range []string{asked, answered} {
		for _, word := range []string{"Phoenix", "凤凰", "ann@", "7712345678"} {
			if strings.Contains(text, word) || !gjson.Valid(text) || !strings.Contains(text, "<PLAN_1>") {
				t.Errorf("%q in %s", word, text)
			}
		}
	}
}

// However long it is and wherever it is cut, what is kept is valid JSON of a bounded size, without a half of what is personal.
func TestContentsAreBounded(t *testing.T) {
	k, r := newKeeper(newMasks(), wire.Chat, nil), rand.New(rand.NewPCG(3, 4))
	fillers := []string{"word ", "字", "\\u0001", "\\\"", "ann.of.example@example.com "}
	for i := range 40 {
		filler := fillers[i%len(fillers)]
		secret := "eve@example.com"
		var text string
		if i%2 == 0 { // in one text, or in many
			n := (maxContent + margin/2 - r.IntN(margin)) / len(filler)
			text = `{"messages":[{"content":"` + strings.Repeat(filler, n) + secret + strings.Repeat(" "+secret, 3000+r.IntN(3000)) + `"}]}`
		} else {
			text = `{"messages":[` + strings.Repeat(`{"role":"user","content":"`+filler+secret+`"},`, 9000+r.IntN(99)) + `{}]}`
		}
		got := k.request([]byte(text))
		if len(got) > maxContent+200 || len(got) < maxContent/3 || !gjson.Valid(got) || !utf8.ValidString(got) || strings.Count(got, cutMark) != 1 || strings.Contains(got, "eve") {
			at := strings.Index(got, "eve")
			t.Errorf("%d of %q: %d bytes, valid %t, %d marks, eve at %d, ...%q", i, filler, len(got), gjson.Valid(got), strings.Count(got, cutMark), at, got[max(0, len(got)-120):])
		}
	}
}

var told = map[string]struct {
	kind   wire.Kind
	events []string
	want   string
}{
	"chat": {wire.Chat, []string{
		`{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]}`,
		`{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"Write to ann"},"logprobs":{"content":[{"token":"ann"}]}}]}`,
		`{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":1,"delta":{"role":"assistant","content":"你好"}}]}`,
		`{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"@example.com."}}]}`,
		`{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"f","arguments":""}}]}}]}`,
		`{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"to\":\"bob@exam"}}]}}]}`,
		`{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"ple.com\"}"}}]}}]}`,
		`{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"audio":{"id":"a","data":"AAEC"}}}]}`,
		`{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"audio":{"data":"Aw=="}}}]}`,
		`{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"total_tokens":3}}`,
		`[DONE]`,
	}, `{"id":"c1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Write to <EMAIL>.","refusal":null,"tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"f","arguments":"{\"to\":\"<EMAIL>\"}"}}],"audio":{"id":"a","data":"` +
		digested("\x00\x01\x02\x03") + `"}},"finish_reason":"stop"},{"index":1,"message":{"role":"assistant","content":"你好"}}],"usage":{"total_tokens":3}}`},
	"completions": {wire.Completion, []string{
		`{"id":"c1","object":"text_completion","choices":[{"index":0,"text":"I am ann@exam","logprobs":null,"finish_reason":null}]}`,
		`{"id":"c1","object":"text_completion","choices":[{"index":0,"text":"ple.com","logprobs":null,"finish_reason":"stop"}]}`, `[DONE]`,
	}, `{"id":"c1","object":"text_completion","choices":[{"index":0,"text":"I am <EMAIL>","finish_reason":"stop"}]}`},
	"messages": {wire.Message, []string{
		`{"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","content":[],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":1}}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Who is ann@"}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"example.com?"}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}`,
		`{"type":"content_block_stop","index":0}`, `{"type":"ping"}`,
		`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"我的邮箱是ann@"}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"example.com。"}}`,
		`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}`,
		`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}`,
		`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"to\":\"bob@"}}`,
		`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"example.com\"}"}}`,
		`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":9}}`, `{"type":"message_stop"}`,
	}, `{"id":"m1","type":"message","role":"assistant","content":[{"type":"thinking","thinking":"Who is <EMAIL>?","signature":"c2ln"},{"type":"text","text":"我的邮箱是<EMAIL>。"},{"type":"tool_use","id":"t1","name":"f","input":{"to":"<EMAIL>"}}],"stop_reason":"tool_use","usage":{"input_tokens":3,"output_tokens":9},"stop_sequence":null}`},
	"responses, cut off": {wire.Response, []string{
		`{"type":"response.created","response":{"id":"r1","object":"response","status":"in_progress","output":[]}}`,
		`{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"i0","summary":[]}}`,
		`{"type":"response.reasoning_summary_part.added","item_id":"i0","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":""}}`,
		`{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":0,"delta":"I think"}`,
		`{"type":"response.output_item.added","output_index":1,"item":{"type":"message","id":"i1","role":"assistant","content":[]}}`,
		`{"type":"response.content_part.added","output_index":1,"content_index":0,"part":{"type":"output_text","text":""}}`,
		`{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"To ann@"}`,
		`{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"example.com"}`,
		`{"type":"response.output_item.added","output_index":2,"item":{"type":"function_call","id":"i2","name":"f","arguments":""}}`,
		`{"type":"response.function_call_arguments.delta","output_index":2,"delta":"{\"a\":"}`,
	}, `{"id":"r1","object":"response","status":"in_progress","output":[{"type":"reasoning","id":"i0","summary":[{"type":"summary_text","text":"I think"}]},{"type":"message","id":"i1","role":"assistant","content":[{"type":"output_text","text":"To <EMAIL>"}]},{"type":"function_call","id":"i2","name":"f","arguments":"{\"a\":"}]}`},
	"responses": {wire.Response, []string{
		`{"type":"response.created","response":{"id":"r1","object":"response","status":"in_progress","output":[]}}`,
		`{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"i1","content":[]}}`,
		`{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"To ann@example.com"}`,
		`{"type":"response.completed","response":{"id":"r1","object":"response","status":"completed","output":[{"type":"message","id":"i1","content":[{"type":"output_text","text":"To ann@example.com"}]}],"usage":{"input_tokens":1}}}`,
	}, `{"id":"r1","object":"response","status":"completed","output":[{"type":"message","id":"i1","content":[{"type":"output_text","text":"To <EMAIL>"}]}],"usage":{"input_tokens":1}}`},
	"transcripts": {wire.Plain, []string{
		`{"type":"transcript.text.delta","delta":"I am ann@"}`, `{"type":"transcript.text.delta","delta":"example.com"}`,
	}, `{"text":"I am <EMAIL>"}`},
	"pictures": {wire.Plain, []string{
		`{"type":"image_generation.partial_image","b64_json":"AAAA"}`, `{"type":"image_generation.completed","b64_json":"` + base64.StdEncoding.EncodeToString([]byte("a small picture")) + `"}`,
	}, `{"type":"image_generation.completed","b64_json":"` + digested("a small picture") + `"}`},
	"nothing": {wire.Chat, []string{`[DONE]`, `not JSON`}, ""},
}

// Events become the answer that they tell of, in whatever pieces they come.
func TestStreamsBecomeAnswers(t *testing.T) {
	for name, row := range told {
		stream := "data: " + strings.Join(row.events, "\n\ndata: ") + "\n\n"
		for _, size := range []int{1, 7, 4096} {
			h := newHearing(row.kind, true)
			for rest := []byte(stream); len(rest) > 0; {
				n := min(size, len(rest))
				h.take(rest[:n])
				rest = rest[n:]
			}
			if got := newKeeper(newMasks(), row.kind, nil).answer(h.json(nil)); got != row.want {
				t.Errorf("%s in pieces of %d:\n%s\nwant\n%s", name, size, got, row.want)
			}
		}
	}
}

// A stream of any length takes so much memory and no more, and an event that is too large is left out.
func TestHearingIsBounded(t *testing.T) {
	h := newHearing(wire.Chat, true)
	piece := []byte(`data: {"choices":[{"index":0,"delta":{"content":"我是 ann@example.com, "}},{"index":1,"delta":{"content":"x"}}]}` + "\n\n")
	for range 3 * maxContent / 20 {
		h.take(piece)
	}
	h.take([]byte(`data: {"choices":[{"index":0,"delta":{"content":"`))
	for range maxContent {
		h.take([]byte("yyyyyyyy"))
	}
	h.take([]byte("\"}}]}\n\n"))
	h.take([]byte(`data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"))
	raw := h.json(nil)
	if cap(h.event) > 4*maxContent || h.room < 0 || len(raw) > maxContent+2*margin || !gjson.ValidBytes(raw) {
		t.Errorf("%d bytes of an event, room for %d, %d bytes of JSON", cap(h.event), h.room, len(raw))
	}
	got := newKeeper(newMasks(), wire.Chat, nil).answer(raw)
	if !gjson.Valid(got) || strings.Contains(got, "ann") || strings.Contains(got, "yyyy") || gjson.Get(got, "choices.0.finish_reason").Str != "" && !strings.Contains(got, cutMark) {
		t.Errorf("...%s", got[max(0, len(got)-300):])
	}
	if many := newHearing(wire.Response, true); true {
		for i := range 20_000 {
			many.take(fmt.Appendf(nil, `data: {"type":"response.output_text.delta","output_index":%d,"content_index":0,"delta":"a"}`+"\n\n", i))
		}
		if raw := many.json(nil); many.room < 0 || len(raw) > maxContent+margin || !gjson.ValidBytes(raw) || !strings.Contains(string(raw), cutMark) {
			t.Errorf("room for %d, %d bytes", many.room, len(raw))
		}
	}
}

// Nothing that a provider sends can harm who hears it: what comes of it is JSON, or nothing.
func FuzzHearing(f *testing.F) {
	for _, row := range told {
		f.Add(byte(row.kind), []byte("data: "+strings.Join(row.events, "\n\ndata: ")+"\n\n"))
	}
	f.Fuzz(func(t *testing.T, kind byte, stream []byte) {
		h := newHearing(wire.Kind(kind%5), true)
		h.take(stream)
		raw := h.json(nil)
		if len(raw) > 0 && !gjson.ValidBytes(raw) {
			t.Fatalf("%q becomes %q", stream, raw)
		}
		if got := newKeeper(newMasks(), h.kind, nil).answer(raw); got != "" && !gjson.Valid(got) {
			t.Fatalf("%q is kept as %q", raw, got)
		}
		if used := maxContent + margin - h.room; used < 0 {
			t.Fatalf("%d bytes in use", used)
		}
	})
}

func BenchmarkContent(b *testing.B) {
	k := newKeeper(newMasks(), wire.Chat, nil)
	for name, text := range map[string]string{"10KiB": strings.Repeat("The quick brown fox wrote to ann@example.com. ", 10<<10/46), "cut": strings.Repeat("今天天气很好 and so on. ", 100_000)} {
		raw := []byte(`{"messages":[{"role":"user","content":"` + text + `"}]}`)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				k.request(raw)
			}
		})
	}
}
