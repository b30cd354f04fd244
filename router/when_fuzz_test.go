package router

import (
	"fmt"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// Whatever is written as an expression is refused or answers, soon.
func FuzzExpression(f *testing.F) {
	for _, text := range []string{
		`tenant == "acme" && tokens > 8000`, `any(tags, # startsWith "be")`, `count(tags, # != "vip") == 1`, `user matches "^(a|b)*$"`,
		`header(header(header("X-Env"))) == ""`, `during("mon-fri 09:00-18:00 Asia/Shanghai")`, `min(tokens, 5, max_tokens) ** 9 > 1`,
		`[1, 2, [3, 4]][2][1] == 4`, `tags[1:][0] contains "e"`, `spent > 0.5 ? stream : !json`, `tenant?.x ?? true`, `all(tags[0], # == "a")`,
		`not (date in ["2026-01-01"]) and weekday != "sun"`, `1 / 0 > 2`, `tokens % 0 == 1`, `int(user) > 1`, `len(lower(trim(model))) > 2`, `true | any(#)`,
	} {
		f.Add(text)
	}
	q := asked()
	for range 1000 { // as many as a header may hold
		q.Tags = append(q.Tags, "t")
	}
	f.Fuzz(func(t *testing.T, text string) {
		begun := time.Now()
		c, err := When{Text: text}.compile()
		if (c == nil) == (err == nil) && text != "" {
			t.Fatalf("%q: %v, %v", text, c, err)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Fatalf("%q: read in %s", text, took)
		}
		if c == nil {
			return
		}
		begun = time.Now()
		fits := c.fits(q)
		if took := time.Since(begun); took > 10*time.Second {
			t.Fatalf("%q: %s", text, took)
		}
		if c.fits(q) != fits {
			t.Errorf("%q: once it fits, once not", text)
		}
		c.fits(&Query{})
	})
}

// Whatever stands in a mapping is refused, or is a condition that is written as one that means the same.
func FuzzWhen(f *testing.F) {
	for _, text := range []string{
		"{tenant: acme, tokens: '>8000'}", "{tokens: 1k..8k, spent: '<=50%'}", "{modality: [image, json]}", "{time: mon-fri 22:00-06:00 Asia/Shanghai}",
		"{header: {X-Env: [a, b*]}, stream: false}", "{user: '*', tag: [x]}", "{time: sat}", "{spent: 1e-3%..2%}", "[]", "{time: Local}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var w When
		if yaml.Unmarshal([]byte(text), (*plainWhen)(&w)) != nil {
			return
		}
		c, err := w.compile()
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if (c == nil) != w.IsZero() {
			t.Fatalf("%q: %v", text, c)
		}
		if c == nil {
			return
		}
		out, err := yaml.Marshal(w)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		var again When
		if err := yaml.Unmarshal(out, (*plainWhen)(&again)); err != nil {
			t.Fatalf("%q is written as %q: %v", text, out, err)
		}
		other, _ := again.compile()
		if other == nil || other.needs != c.needs || other.fits(asked()) != c.fits(asked()) {
			t.Errorf("%q is written as %s", text, fmt.Sprintf("%q", out))
		}
	})
}
