package wire

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

func TestQuestion(t *testing.T) {
	for _, row := range []struct {
		kind      Kind
		raw, want string
	}{
		{Chat, `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c\nd"}]}`, "c\nd"},
		{Chat, `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"tool","content":"t"}]}`, "a"},
		{Chat, `{"messages":[{"role":"user","content":[{"type":"text","text":"年假"},{"type":"image_url"},{"type":"text","text":"b"}]}]}`, "年假\nb"},
		{Message, `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[]},{"role":"user","content":[{"type":"tool_result","content":"r"}]}]}`, "a"},
		{Message, `{"system":"s","messages":[{"role":"user","content":[{"type":"text","text":" "}]}]}`, ""},
		{Response, `{"input":"a \u5e74"}`, "a 年"},
		{Response, `{"input":[{"role":"user","content":[{"type":"input_text","text":"a"}]},{"type":"function_call_output","output":"o"}]}`, "a"},
		{Completion, `{"prompt":"a\nb"}`, "a\nb"},
		{Completion, `{"prompt":["a","b"]}`, ""},
		{Plain, `{"input":"a"}`, ""},
		{Chat, `{}`, ""},
		{Chat, `{"messages":[7,{"role":"user"},{"role":"user","content":null}]}`, ""},
	} {
		b := parse(t, row.raw)
		if got := b.Question(row.kind); got != row.want {
			t.Errorf("%s: %q, want %q", row.raw, got, row.want)
		}
	}
}

func TestInstruct(t *testing.T) {
	const user = `{"role":"user","content":"q"}`
	for _, row := range []struct {
		kind      Kind
		raw, want string // "": it has no place
	}{
		{Chat, `{"x": 1.0, "messages" : [ ` + user + `] , "y":[]}`, `{"x": 1.0, "messages" : [{"role":"system","content":"T\"\n"}, ` + user + `] , "y":[]}`},
		{Chat, `{"messages":[]}`, `{"messages":[{"role":"system","content":"T\"\n"}]}`},
		{Chat, `{"messages":[{"role":"system","content":"S\u00e9"},` + user + `]}`, `{"messages":[{"role":"system","content":"S\u00e9\n\nT\"\n"},` + user + `]}`},
		{Chat, `{"messages":[{"role":"system","content":"S"},{"content":"D","role":"developer"},` + user + `,{"role":"system","content":"later"}]}`,
			`{"messages":[{"role":"system","content":"S"},{"content":"D\n\nT\"\n","role":"developer"},` + user + `,{"role":"system","content":"later"}]}`},
		{Chat, `{"messages":[{"role":"system","content":[{"type":"text","text":"S"}]},` + user + `]}`,
			`{"messages":[{"role":"system","content":[{"type":"text","text":"S"},{"type":"text","text":"T\"\n"}]},` + user + `]}`},
		{Chat, `{"messages":[{"role":"system","content":[ ]},` + user + `]}`, `{"messages":[{"role":"system","content":[ {"type":"text","text":"T\"\n"}]},` + user + `]}`},
		{Chat, `{"messages":[{"role":"system","content":null},` + user + `]}`, `{"messages":[{"role":"system","content":null},{"role":"system","content":"T\"\n"},` + user + `]}`},
		{Chat, `{"messages":"x"}`, ""},
		{Response, `{"input":"q"}`, `{"input":"q","instructions":"T\"\n"}`},
		{Response, `{"instructions":null,"input":"q"}`, `{"instructions":"T\"\n","input":"q"}`},
		{Response, `{"instructions":"","input":"q"}`, `{"instructions":"T\"\n","input":"q"}`},
		{Response, `{"instructions":"I","input":"q"}`, `{"instructions":"I\n\nT\"\n","input":"q"}`},
		{Response, `{"instructions":["I"],"input":"q"}`, ""},
		{Message, `{"messages":[` + user + `]}`, `{"messages":[` + user + `],"system":"T\"\n"}`},
		{Message, `{"system":"S","messages":[` + user + `]}`, `{"system":"S\n\nT\"\n","messages":[` + user + `]}`},
		{Message, `{"system":[{"type":"text","text":"S","cache_control":{"type":"ephemeral"}}],"messages":[` + user + `]}`,
			`{"system":[{"type":"text","text":"S","cache_control":{"type":"ephemeral"}},{"type":"text","text":"T\"\n"}],"messages":[` + user + `]}`},
		{Message, `{"system":{},"messages":[]}`, ""},
		{Completion, `{"prompt":"p","suffix":null}`, `{"prompt":"T\"\n\n\np","suffix":null}`},
		{Completion, `{"prompt":"p","suffix":"s"}`, ""},
		{Completion, `{"prompt":["p"]}`, ""},
		{Plain, `{"input":"q"}`, ""},
	} {
		b := parse(t, row.raw)
		got, ok, err := b.Instruct(row.kind, "T\"\n")
		want := row.want
		if want == "" {
			want = row.raw
		}
		if err != nil || ok != (row.want != "") || string(got.Raw()) != want {
			t.Errorf("%s: %t, %v\n got %s\nwant %s", row.raw, ok, err, got.Raw(), want)
		}
	}
}

func FuzzInstruct(f *testing.F) {
	f.Add(`{"messages":[{"role":"system","content":[]},{"role":"user","content":"q"}]}`, uint8(Chat), "T")
	f.Add(`{"instructions":"\\","input":[]}`, uint8(Response), "\\\"\x00")
	f.Add(`{"system":[1],"messages":[]}`, uint8(Message), "年")
	f.Add(`{ "prompt" : "" }`, uint8(Completion), "")
	f.Fuzz(func(t *testing.T, raw string, kind uint8, text string) {
		b, err := Parse([]byte(raw))
		if err != nil {
			return
		}
		b.Question(Kind(kind))
		out, ok, err := b.Instruct(Kind(kind), text)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		added := len(out.Raw()) - b.Len()
		if !ok {
			if added != 0 {
				t.Fatalf("%s became %s", raw, out.Raw())
			}
			return
		}
		if !gjson.ValidBytes(out.Raw()) || out.Model() != b.Model() || out.Stream() != b.Stream() {
			t.Fatalf("%s became %s", raw, out.Raw())
		}
		quoted := string(AppendString(nil, text))
		if !strings.Contains(string(out.Raw()), quoted[1:len(quoted)-1]) {
			t.Fatalf("%s became %s without %s", raw, out.Raw(), quoted)
		}
	})
}
