package wire

import (
	"errors"
	"strings"
	"testing"
)

func parsed(t testing.TB, raw string) Body {
	t.Helper()
	b, err := Parse([]byte(raw))
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return b
}

func TestCap(t *testing.T) {
	for _, c := range []struct {
		kind   Kind
		body   string
		tokens int64
		n      int64
	}{
		{Chat, `{}`, 0, 1},
		{Chat, `{"max_tokens":5}`, 5, 1},
		{Chat, `{"max_completion_tokens":7,"n":3}`, 7, 3},
		{Chat, `{"max_tokens":5,"max_completion_tokens":7}`, 7, 1},
		{Chat, `{"max_tokens":9,"max_completion_tokens":7}`, 9, 1},
		{Chat, `{"max_tokens":null,"n":null}`, 0, 1},
		{Chat, `{"max_tokens":0,"n":0}`, 1, 1},
		{Chat, `{"max_output_tokens":5,"best_of":4}`, 0, 4},
		{Chat, `{"metadata":{"max_tokens":5},"messages":[{"max_tokens":5}]}`, 0, 1},
		{Chat, `{"n":999999999999999}`, 0, 1 << 20},
		{Completion, `{"max_tokens":16,"n":2,"best_of":5}`, 16, 5},
		{Completion, `{"max_tokens":16,"max_completion_tokens":99,"prompt":["a","b"],"n":3}`, 16, 6},
		{Completion, `{"prompt":"a"}`, 0, 1},
		{Completion, `{"prompt":[1,2,3]}`, 0, 1},
		{Completion, `{"prompt":[[1,2],[3],"x"]}`, 0, 3},
		{Completion, `{"prompt":[]}`, 0, 1},
		{Response, `{"max_output_tokens":40,"max_tokens":5,"n":7}`, 40, 1},
		{Message, `{"max_tokens":1024,"n":7,"max_completion_tokens":4}`, 1024, 1},
		{Plain, `{"max_tokens":5,"n":4}`, 0, 4},
	} {
		b := parsed(t, c.body)
		if tokens, n, err := b.Cap(c.kind); err != nil || tokens != c.tokens || n != c.n {
			t.Errorf("%d %s: %d, %d, %v, want %d, %d", c.kind, c.body, tokens, n, err, c.tokens, c.n)
		}
	}
	for body, param := range map[string]string{
		`{"max_tokens":"5"}`: "max_tokens", `{"max_tokens":5.0}`: "max_tokens", `{"max_tokens":1e3}`: "max_tokens", `{"max_tokens":-1}`: "max_tokens", `{"max_tokens":true}`: "max_tokens",
		`{"max_completion_tokens":{}}`: "max_completion_tokens", `{"n":"3"}`: "n", `{"best_of":[2]}`: "best_of", `{"n":1000000000000000}`: "n",
	} {
		b := parsed(t, body)
		_, n, err := b.Cap(Chat)
		var e *Error
		if !errors.As(err, &e) || e.Status != 400 || e.Param != param || n != 1 {
			t.Errorf("%s: %d, %v", body, n, err)
		}
	}
}

func TestSetCap(t *testing.T) {
	for _, c := range []struct {
		kind   Kind
		tokens int64
		body   string
		want   string
	}{
		{Chat, 9, `{"model":"m"}`, `{"model":"m","max_completion_tokens":9}`},
		{Chat, 9, `{ "max_tokens" : 100 , "x":1}`, `{ "max_tokens" : 9 , "x":1}`},
		{Chat, 9, `{"max_completion_tokens":100}`, `{"max_completion_tokens":9}`},
		{Chat, 9, `{"max_completion_tokens":100,"max_tokens":"50"}`, `{"max_completion_tokens":9,"max_tokens":9}`},
		{Chat, 9, `{"max_tokens":null}`, `{"max_tokens":null,"max_completion_tokens":9}`}, // a model of OpenAI's may refuse the older name
		{Chat, 9, `{"max_tokens":100,"max_completion_tokens":null}`, `{"max_tokens":9,"max_completion_tokens":null}`},
		{Chat, 9, `{"max_tokens":100,"min_tokens":50}`, `{"max_tokens":9,"min_tokens":9}`},
		{Chat, 9, `{"max_tokens":100,"min_tokens":5}`, `{"max_tokens":9,"min_tokens":5}`},
		{Completion, 9, `{"min_tokens":50}`, `{"min_tokens":9,"max_tokens":9}`},
		{Completion, 9, `{}`, `{"max_tokens":9}`},
		{Response, 20, `{"max_tokens":5}`, `{"max_tokens":5,"max_output_tokens":20}`},
		{Message, 2000, `{"max_tokens":4000}`, `{"max_tokens":2000}`},
		{Message, 2000, `{"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":4000}}`, `{"max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":1999}}`},
		{Message, 2000, `{"thinking":{"budget_tokens":2000,"type":"enabled"},"max_tokens":9000}`, `{"thinking":{"budget_tokens":1999,"type":"enabled"},"max_tokens":2000}`},
		{Message, 2000, `{"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":1500}}`, `{"max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":1500}}`},
		{Message, 1025, `{"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":4000}}`, `{"max_tokens":1025,"thinking":{"type":"enabled","budget_tokens":1024}}`},
		{Message, 1024, `{"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":4000}}`, `{"max_tokens":1024,"thinking":{"type":"disabled"}}`},
		{Message, 100, `{"max_tokens":9000,"thinking":{"type":"adaptive"}}`, `{"max_tokens":100,"thinking":{"type":"adaptive"}}`},
	} {
		b := parsed(t, c.body)
		absent := map[Kind]string{Chat: "max_completion_tokens", Completion: "max_tokens", Response: "max_output_tokens", Message: "max_tokens"}[c.kind]
		set, err := b.SetCap(c.kind, c.tokens, absent)
		if err != nil || string(set.Raw()) != c.want {
			t.Errorf("%s: %s, %v, want %s", c.body, set.Raw(), err, c.want)
		}
		if tokens, _, err := set.Cap(c.kind); err != nil || tokens != c.tokens {
			t.Errorf("%s: reads back as %d, %v", c.body, tokens, err)
		}
		addsTheSame(t, &b, c.kind, c.tokens, absent, string(set.Raw()))
	}
	b := parsed(t, `{}`)
	if set, _ := b.SetCap(Chat, 3, "max_tokens"); string(set.Raw()) != `{"max_tokens":3}` {
		t.Errorf("%s", set.Raw())
	}
	if set, _ := b.SetCap(Response, 3, "max_output_tokens"); string(set.Raw()) != `{"max_output_tokens":16}` { // OpenAI takes no less
		t.Errorf("%s", set.Raw())
	}
}

// addsTheSame checks that an edit, where it may add the bound, makes of a body what SetCap makes of it.
func addsTheSame(t *testing.T, b *Body, kind Kind, tokens int64, absent, want string) {
	t.Helper()
	bound := b.AddsCap(kind, tokens, absent)
	if got := string(b.AppendEdited(nil, Edit{Cap: bound})); bound.Name != "" && got != want || bound.Name == "" && got != string(b.Raw()) {
		t.Errorf("%s: %s, want %s", b.Raw(), got, want)
	}
}

func TestAddsCap(t *testing.T) {
	for body, want := range map[string]string{
		`{"model":"m"}`:                           `{"model":"n","stream_options":{"include_usage":true},"max_tokens":9}`,
		` { "stream" : true }` + "\n ":            ` { "stream" : true,"model":"n","stream_options":{"include_usage":true},"max_tokens":9 }` + "\n ",
		`{ }`:                                     `{"model":"n","stream_options":{"include_usage":true},"max_tokens":9 }`,
		`{"stream_options":{},"model":"m"}`:       `{"stream_options":{"include_usage":true},"model":"n","max_tokens":9}`,
		`{"model":"m","max_tokens":null}`:         "",
		`{"model":"m","max_tokens":12}`:           "",
		`{"model":"m","min_tokens":1}`:            "",
		`{"max_completion_tokens":4,"model":"m"}`: "",
	} {
		b := parsed(t, body)
		bound := b.AddsCap(Chat, 9, "max_tokens")
		if got := string(b.AppendEdited(nil, Edit{Model: "n", Usage: true, Cap: bound})); (bound.Name == "") != (want == "") || want != "" && got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

func TestUser(t *testing.T) {
	for _, c := range []struct {
		kind       Kind
		body, want string
	}{
		{Chat, `{"user":"u"}`, "u"},
		{Chat, `{"user":"u","safety_identifier":"s"}`, "s"},
		{Response, `{"safety_identifier":"s"}`, "s"},
		{Plain, `{"user":"a\u00e9"}`, "aé"},
		{Chat, `{"user":5,"metadata":{"user_id":"x"}}`, ""},
		{Chat, `{"user":null}`, ""},
		{Message, `{"metadata":{"user_id":"x","a":{"user_id":"y"}},"user":"u"}`, "x"},
		{Message, `{"metadata":{}}`, ""},
		{Message, `{"metadata":[]}`, ""},
		{Message, `{"metadata":{"user_id":7}}`, ""},
		{Message, `{"user":"u"}`, ""},
	} {
		b := parsed(t, c.body)
		if got := b.User(c.kind); got != c.want {
			t.Errorf("%s: %q, want %q", c.body, got, c.want)
		}
	}
	b := parsed(t, `{"service_tier":"flex"}`)
	if got := b.Tier(); got != "flex" {
		t.Errorf("%q", got)
	}
}

// What a body says of bounds is read without an allocation, and without reading the body again.
func TestCapAllocatesNothing(t *testing.T) {
	b := parsed(t, `{"model":"m","messages":[{"role":"user","content":"`+strings.Repeat("x", 10<<10)+`"}],"max_tokens":5,"n":2,"user":"u","metadata":{"user_id":"v"}}`)
	if n := testing.AllocsPerRun(100, func() {
		if tokens, n, err := b.Cap(Chat); tokens != 5 || n != 2 || err != nil {
			t.Fatal(tokens, n, err)
		}
		_, _, _ = b.User(Chat), b.User(Message), b.Tier()
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCap(b *testing.B) {
	body := parsed(b, `{"model":"m","messages":[{"role":"user","content":"`+strings.Repeat("x", 10<<10)+`"}],"max_tokens":5,"n":2,"user":"u"}`)
	for b.Loop() {
		if _, _, err := body.Cap(Chat); err != nil {
			b.Fatal(err)
		}
	}
}

// Whatever is accepted has a bound that can be set, changes nothing else, and is read as set by everyone.
func FuzzSetCap(f *testing.F) {
	f.Add(`{"model":"m","max_tokens":5,"n":2}`, int64(7), byte(1))
	f.Add(`{"max_completion_tokens":"x","max_tokens":null}`, int64(1), byte(1))
	f.Add(`{"thinking":{"type":"enabled","budget_tokens":1e9},"max_tokens":5}`, int64(2000), byte(4))
	f.Fuzz(func(t *testing.T, raw string, tokens int64, kind byte) {
		b, err := Parse([]byte(raw))
		k := Kind(kind%4) + 1
		if err != nil || tokens < 1 || tokens > 1e12 {
			return
		}
		_, _, _ = b.Cap(k)
		set, err := b.SetCap(k, tokens, []string{"", "max_tokens", "max_tokens", "max_output_tokens", "max_tokens"}[k])
		if err != nil {
			return // a path through what is no object
		}
		if got, _, err := set.Cap(k); err == nil && got != max(tokens, k.leastCap()) || got > max(tokens, k.leastCap()) {
			t.Errorf("%s: %s reads back as %d, %v", raw, set.Raw(), got, err)
		}
		addsTheSame(t, &b, k, tokens, []string{"", "max_tokens", "max_tokens", "max_output_tokens", "max_tokens"}[k], string(set.Raw()))
		if set.Model() != b.Model() || set.Stream() != b.Stream() || set.User(k) != b.User(k) {
			t.Errorf("%s: %s", raw, set.Raw())
		}
	})
}
