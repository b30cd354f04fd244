package prompt_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router/prompt"
)

func parse(t testing.TB, body string) wire.Body {
	t.Helper()
	b, err := wire.Parse([]byte(body))
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return b
}

func apply(t testing.TB, l *prompt.Library, kind wire.Kind, body string, pin *prompt.Pin) string {
	t.Helper()
	b, _, err := l.Apply(parse(t, body), kind, pin, prompt.Who{})
	if err != nil {
		t.Errorf("%s: %v", body, err)
		return ""
	}
	return string(b.Raw())
}

const shots = `variables: {who: {default: you}}
model: chat
parameters: {temperature: 0.20, max_tokens: 50, stop: ["END"]}
messages:
  - {role: system, content: "Be kind to {{who}}."}
  - {role: developer, content: Be brief.}
  - {role: user, content: "Hi, I am {{who}}"}
  - {role: assistant, content: Hello!}
`

func TestApply(t *testing.T) {
	l := load(t, map[string]string{
		"shots/1.0.0.yml": shots,
		"lead/1.0.0.yml":  "variables: {x: {}}\nmessages: [{role: system, content: '{{x}}'}]\n",
		"turn/1.0.0.yml":  "parameters: {max_completion_tokens: 5}\nmessages: [{role: user, content: U}]\n",
		"out/1.0.0.yml":   "parameters: {max_output_tokens: 5, reasoning: {effort: low}}\nmessages: [{role: user, content: U}]\n",
	})
	const (
		system = `{"role":"system","content":"Be kind to you."},{"role":"developer","content":"Be brief."}`
		turns  = `{"role":"user","content":"Hi, I am you"},{"role":"assistant","content":"Hello!"}`
		client = `{"role":"user","content":"c <&> \u00e9 "}`
		params = `,"temperature":0.2,"max_tokens":50,"stop":["END"]`
	)
	const chat, response, messages = wire.Chat, wire.Response, wire.Message
	for _, c := range []struct {
		name       string
		kind       wire.Kind
		body, want string
	}{
		{"chat", chat, `{"model":"m", "prompt":{"id":"shots"},"messages":[ ` + client + ` ],"x":{"a": 1}}`,
			`{"model":"m","x":{"a": 1},"messages":[` + system + `,` + turns + `,` + client + `]` + params + `}`},
		{"variables", chat, `{"model":"m","prompt":{"id":"shots","version":"^1","variables":{"who":"小明"}}}`,
			`{"model":"m","messages":[` + strings.ReplaceAll(system+`,`+turns, "you", "小明") + `]` + params + `}`},
		{"the template's model", chat, `{"prompt":{"id":"shots"}}`, `{"model":"chat","messages":[` + system + `,` + turns + `]` + params + `}`},
		{"the client's parameters", chat, `{"model":"m","stop":null,"temperature":1,"max_completion_tokens":9,"prompt":{"id":"shots"},"messages":[]}`,
			`{"model":"m","stop":null,"temperature":1,"max_completion_tokens":9,"messages":[` + system + `,` + turns + `]}`},
		{"null messages", chat, `{"model":"m","messages":null,"prompt":{"id":"turn","variables":null}}`, `{"model":"m","messages":[{"role":"user","content":"U"}],"max_completion_tokens":5}`},
		{"a length of another name", chat, `{"model":"m","prompt":{"id":"out"}}`, `{"model":"m","messages":[{"role":"user","content":"U"}],"max_completion_tokens":5,"reasoning":{"effort":"low"}}`},
		{"empty text", chat, `{"model":"m","prompt":{"id":"lead"}}`, `{"model":"m","messages":[{"role":"system","content":""}]}`},

		{"responses, a text", response, `{"model":"m","prompt":{"id":"shots"},"input":"c \u00e9"}`,
			`{"model":"m","instructions":"Be kind to you.\n\nBe brief.","input":[` + turns + `,{"role":"user","content":"c \u00e9"}],"temperature":0.2,"max_output_tokens":50,"stop":["END"]}`},
		{"responses, items", response, `{"model":"m","max_output_tokens":7,"input":[` + client + `,{"type":"item_reference","id":"i"}],"instructions":null,"prompt":{"id":"shots"}}`,
			`{"model":"m","max_output_tokens":7,"instructions":"Be kind to you.\n\nBe brief.","input":[` + turns + `,` + client + `,{"type":"item_reference","id":"i"}],"temperature":0.2,"stop":["END"]}`},
		{"responses, instructions of its own", response, `{"model":"m","prompt":{"id":"shots"},"instructions":"Mine.","previous_response_id":"r"}`,
			`{"model":"m","previous_response_id":"r","instructions":"Mine.","input":[` + system + `,` + turns + `],"temperature":0.2,"max_output_tokens":50,"stop":["END"]}`},
		{"responses, instructions only", response, `{"model":"m","input":"c","prompt":{"id":"lead","variables":{"x":"X"}}}`, `{"model":"m","instructions":"X","input":"c"}`},
		{"responses, no input", response, `{"model":"m","instructions":"","prompt":{"id":"lead","variables":{"x":"X"}}}`, `{"model":"m","instructions":"X"}`},
		{"responses, nothing to say", response, `{"model":"m","input":[],"prompt":{"id":"lead"}}`, `{"model":"m","input":[]}`},
		{"responses, OpenAI's own", response, `{"model":"m","prompt":{"id":"pmpt_1","version":"2","cache":1}}`, `{"model":"m","prompt":{"id":"pmpt_1","version":"2","cache":1}}`},

		{"messages", messages, `{"model":"m","prompt":{"id":"shots"},"max_tokens":9,"messages":[` + client + `]}`,
			`{"model":"m","max_tokens":9,"system":"Be kind to you.\n\nBe brief.","messages":[` + turns + `,` + client + `],"temperature":0.2,"stop":["END"]}`},
		{"messages, a length", messages, `{"model":"m","prompt":{"id":"turn"},"system":"s","messages":[]}`, `{"model":"m","system":"s","messages":[{"role":"user","content":"U"}],"max_tokens":5}`},
		{"messages, a text of its own", messages, `{"model":"m","system":"Mine\n","prompt":{"id":"lead","variables":{"x":"X"}},"messages":[` + client + `]}`,
			`{"model":"m","system":[{"type":"text","text":"X"},{"type":"text","text":"Mine\n"}],"messages":[` + client + `]}`},
		{"messages, blocks of its own", messages, `{"model":"m","system":[{"type":"text","text":"Mine","cache_control":{"type":"ephemeral"}}],"prompt":{"id":"lead","variables":{"x":"X"}},"messages":[]}`,
			`{"model":"m","system":[{"type":"text","text":"X"},{"type":"text","text":"Mine","cache_control":{"type":"ephemeral"}}],"messages":[]}`},
		{"messages, no blocks", messages, `{"model":"m","system":[],"prompt":{"id":"lead","variables":{"x":"X"}}}`, `{"model":"m","system":[{"type":"text","text":"X"}]}`},
		{"messages, nothing to say", messages, `{"model":"m","prompt":{"id":"lead"},"messages":[` + client + `]}`, `{"model":"m","messages":[` + client + `]}`},

		{"none", chat, `{ "model":"m","messages":[] }`, `{ "model":"m","messages":[] }`},
		{"a text", chat, `{"model":"m","prompt":"Once"}`, `{"model":"m","prompt":"Once"}`},
		{"deeper", chat, `{"model":"m","metadata":{"prompt":{"id":"shots"}}}`, `{"model":"m","metadata":{"prompt":{"id":"shots"}}}`},
		{"completions", wire.Completion, `{"model":"m","prompt":"Once"}`, `{"model":"m","prompt":"Once"}`},
		{"others", wire.Plain, `{"model":"m","prompt":{"id":"shots"}}`, `{"model":"m","prompt":{"id":"shots"}}`},
	} {
		if got := apply(t, l, c.kind, c.body, nil); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		kind                 wire.Kind
		body, param, message string
	}{
		{chat, `{"model":"m","prompt":{}}`, "prompt.id", "prompt.id: must be set."},
		{chat, `{"model":"m","prompt":{"id":5}}`, "prompt.id", "expected a string, got a number"},
		{chat, `{"model":"m","prompt":{"id":"shots","version":1}}`, "prompt.version", "expected a string, got a number"},
		{chat, `{"model":"m","prompt":{"id":"shots","vars":{}}}`, "prompt", `unknown field "vars" (choices: id, version, variables)`},
		{chat, `{"model":"m","prompt":{"id":"shots","variables":[]}}`, "prompt.variables", "expected an object, got an array"},
		{chat, `{"model":"m","prompt":{"id":"shots","variables":{"whom":""}}}`, "prompt.variables.whom", "no variable"},
		{chat, `{"model":"m","messages":"x","prompt":{"id":"shots"}}`, "messages", "must be an array, not a string"},
		{response, `{"model":"m","input":{},"prompt":{"id":"shots"}}`, "input", "must be an array, not an object"},
		{messages, `{"model":"m","system":{},"prompt":{"id":"shots"}}`, "system", "must be a string or an array, not an object"},
	} {
		_, used, err := l.Apply(parse(t, c.body), c.kind, nil, prompt.Who{})
		e := (*wire.Error)(nil)
		if !errors.As(err, &e) || e.Status != 400 || e.Param != c.param || !strings.Contains(e.Message, c.message) || used != (prompt.Used{}) {
			t.Errorf("%s: %v, %v", c.body, used, err)
		}
	}
}

func TestModel(t *testing.T) {
	l := load(t, map[string]string{"shots/1.0.0.yml": shots, "p/1.0.0.yml": hello})
	for body, want := range map[string]string{
		`{"prompt":{"id":"shots"}}`:                "chat",
		`{"prompt":{"id":"p"}}`:                    "",
		`{"prompt":{"variables":{}}}`:              "",
		`{"prompt":{"id":"pmpt_1"}}`:               "",
		`{"messages":[]}`:                          "",
		`{"prompt":{"id":"q"}}`:                    "!prompt.id",
		`{"prompt":{"id":"shots","version":"^2"}}`: "!prompt.version",
		`{"prompt":{"id":["shots"]}}`:              "!prompt.id",
	} {
		b := parse(t, body)
		got, err := l.Model(&b, wire.Chat, prompt.Who{})
		if e := (*wire.Error)(nil); errors.As(err, &e) {
			got = "!" + e.Param
		}
		if got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

// A request that refers to no template costs nothing.
func TestNothingToApply(t *testing.T) {
	l := one(t, hello)
	b := parse(t, `{"model":"m","messages":[{"role":"user","content":"`+strings.Repeat("prompt ", 1000)+`"}]}`)
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := l.Apply(b, wire.Chat, nil, prompt.Who{}); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// All that a client sends is still there, and whatever is in it, the template's messages are the first.
func FuzzApply(f *testing.F) {
	l := load(f, map[string]string{"shots/1.0.0.yml": shots})
	f.Add(uint8(0), `"a":1`, `[{"role":"user","content":"x"}]`, "who")
	f.Add(uint8(1), `"instructions":"i","input":"x"`, `null`, "\"")
	f.Add(uint8(2), `"system":[{"type":"text","text":"x"}],"max_tokens":5`, `[]`, "你")
	f.Fuzz(func(t *testing.T, n uint8, members, turns, who string) {
		kind := []wire.Kind{wire.Chat, wire.Response, wire.Message}[n%3]
		name := []string{"messages", "input", "messages"}[n%3]
		value, err := json.Marshal(who)
		if err != nil {
			t.Fatal(err)
		}
		if members != "" {
			members += ","
		}
		body, err := wire.Parse([]byte(`{` + members + `"` + name + `":` + turns + `,"prompt":{"id":"shots","variables":{"who":` + string(value) + `}}}`))
		if err != nil {
			return
		}
		changed, used, err := l.Apply(body, kind, nil, prompt.Who{})
		if err != nil {
			if e := (*wire.Error)(nil); !errors.As(err, &e) || e.Status >= 500 {
				t.Fatal(err)
			}
			return
		}
		if used.Version != "1.0.0" {
			t.Fatal(used)
		}
		before, after := decoded(t, body.Raw()), decoded(t, changed.Raw())
		for key, v := range before {
			if key == "prompt" || key == name || key == "system" || key == "instructions" {
				continue
			}
			if !reflect.DeepEqual(after[key], v) {
				t.Errorf("%s: %v became %v", key, v, after[key])
			}
		}
		first := after[name].([]any)
		var list []any
		switch v := before[name].(type) {
		case []any:
			list = v
		case string:
			list = []any{map[string]any{"role": "user", "content": v}}
		}
		if len(first) < len(list)+2 || !reflect.DeepEqual(append([]any{}, first[len(first)-len(list):]...), append([]any{}, list...)) {
			t.Errorf("%s\nbecame\n%s", body.Raw(), changed.Raw())
		}
	})
}

func decoded(t *testing.T, raw []byte) (v map[string]any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return v
}

func BenchmarkApply(b *testing.B) {
	l := load(b, map[string]string{"shots/1.0.0.yml": shots})
	body := parse(b, `{"model":"m","prompt":{"id":"shots","version":"^1","variables":{"who":"Ann"}},"messages":[{"role":"user","content":"`+strings.Repeat("x", 1000)+`"}]}`)
	without := parse(b, `{"model":"m","messages":[{"role":"user","content":"`+strings.Repeat("x", 1000)+`"}]}`)
	for name, body := range map[string]wire.Body{"a template": body, "none": without} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := l.Apply(body, wire.Chat, nil, prompt.Who{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
