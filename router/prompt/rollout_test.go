package prompt_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router/prompt"
)

// two is a template whose second version has other variables.
func two(t testing.TB) *prompt.Library {
	return load(t, map[string]string{
		"p/1.0.0.yml": "variables: {product: {required: true}, tone: {enum: [formal, friendly]}}\nmessages: [{role: system, content: 'one {{product}} {{tone}}'}]",
		"p/2.0.0.yml": "variables: {product: {required: true}, n: {type: integer, required: true}}\nmessages: [{role: system, content: 'two {{product}} {{n}}'}]",
		"q/1.0.0.yml": hello,
	})
}

func pin(t testing.TB, l *prompt.Library, text string) *prompt.Pin {
	t.Helper()
	var u prompt.Use
	if err := yaml.Unmarshal([]byte(text), &u); err != nil {
		t.Fatal(err)
	}
	p, err := l.Pin("models.m.prompt", u)
	if err != nil || p == nil {
		t.Fatal(p, err)
	}
	return p
}

func TestPin(t *testing.T) {
	l := two(t)
	p := pin(t, l, "{name: p, version: ^1, variables: {product: Jarvis <1>}}")
	for body, want := range map[string]string{
		`{"model":"m"}`: `{"model":"m","messages":[{"role":"system","content":"one Jarvis <1> "}]}`,
		`{"model":"m","prompt":{"variables":{"tone":"formal"}}}`:                                       `{"model":"m","messages":[{"role":"system","content":"one Jarvis <1> formal"}]}`,
		`{"model":"m","prompt":{"id":"p","variables":{"product":"X"}}}`:                                `{"model":"m","messages":[{"role":"system","content":"one X "}]}`,
		`{"model":"m","prompt":"a text of a server's own","messages":[{"role":"user","content":"u"}]}`: `{"model":"m","prompt":"a text of a server's own","messages":[{"role":"system","content":"one Jarvis <1> "},{"role":"user","content":"u"}]}`,
	} {
		if got := apply(t, l, wire.Chat, body, p); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", body, got, want)
		}
	}
	if got, body := apply(t, l, wire.Plain, `{"model":"m","input":"x"}`, p), `{"model":"m","input":"x"}`; got != body {
		t.Error(got)
	}
	for _, c := range []struct {
		kind        wire.Kind
		body, param string
	}{
		{wire.Chat, `{"model":"m","prompt":{"id":"q"}}`, "prompt.id"},
		{wire.Response, `{"model":"m","prompt":{"id":"pmpt_1"}}`, "prompt.id"},
		{wire.Chat, `{"model":"m","prompt":{"id":"p","version":"2"}}`, "prompt.version"},
		{wire.Chat, `{"model":"m","prompt":{"variables":{"tone":"rude"}}}`, "prompt.variables.tone"},
		{wire.Completion, `{"model":"m","prompt":"Once"}`, "model"},
	} {
		_, _, err := l.Apply(parse(t, c.body), c.kind, p, prompt.Who{})
		if e := (*wire.Error)(nil); !errors.As(err, &e) || e.Status != 400 || e.Param != c.param {
			t.Errorf("%s: %v", c.body, err)
		}
	}
}

func TestBadPins(t *testing.T) {
	l := two(t)
	for text, want := range map[string]string{
		"{version: ^1}":                                         "models.m.prompt.name: must be set",
		"{name: x}":                                             `models.m.prompt.name: there is no template "x" (have: p, q)`,
		"{name: p, version: '3'}":                               `models.m.prompt.version: p has no version that fits "3" (have: 2.0.0, 1.0.0)`,
		"{name: p, version: one}":                               `models.m.prompt.version: "one" is no version`,
		"{name: p, version: '1', variables: {n: 5}}":            "models.m.prompt.variables.n: p has no such variable (have: product, tone)",
		"{name: p, version: '1', variables: {tone: rude}}":      "models.m.prompt.variables.tone: expected one of formal, friendly",
		"{name: p, version: '1', variables: {product: [1]}}":    "models.m.prompt.variables.product: expected a string, got an array",
		"{name: p, version: '1', variables: {product: {1: 2}}}": "models.m.prompt.variables.product: cannot be written as JSON",
		"{name: p, version: '1', rollout: {to: '2', percent: 5}, variables: {n: x}}":        "models.m.prompt.variables.n: expected a whole number, got a string",
		"{name: p, version: '4', rollout: {to: '5', percent: -1}, variables: {tone: rude}}": "models.m.prompt.version: p has no version that fits \"4\" (have: 2.0.0, 1.0.0)\nmodels.m.prompt.rollout.percent: expected a number from 0 to 100\nmodels.m.prompt.rollout.to: p has no version",
	} {
		var u prompt.Use
		if err := yaml.Unmarshal([]byte(text), &u); err != nil {
			t.Fatal(err)
		}
		if p, err := l.Pin("models.m.prompt", u); p != nil || err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// versionFor is which version somebody gets.
func versionFor(t *testing.T, l *prompt.Library, p *prompt.Pin, w prompt.Who) string {
	t.Helper()
	_, used, err := l.Apply(parse(t, `{"model":"m","prompt":{"variables":{"tone":"formal","n":1}}}`), wire.Chat, p, w)
	if err != nil {
		t.Fatal(err)
	}
	return used.Version
}

// A share is kept as it grows, is as large as it says, and each user stays with a version.
func TestRollout(t *testing.T) {
	l := two(t)
	const users = 4000
	had := map[string]bool{}
	for _, percent := range []float64{0, 0.5, 10, 30, 50, 100} {
		p := pin(t, l, fmt.Sprintf("{name: p, version: ^1, variables: {product: x}, rollout: {to: 2.x, percent: %g}}", percent))
		n := 0
		for i := range users {
			w := prompt.Who{Tenant: "acme", User: fmt.Sprint("user", i), Request: fmt.Sprint(i)}
			version := versionFor(t, l, p, w)
			w.Request += "again"
			if versionFor(t, l, p, w) != version {
				t.Fatalf("%s changes", w.User)
			}
			if version == "2.0.0" {
				n++
				had[w.User] = true
			} else if had[w.User] {
				t.Fatalf("at %g%% %s goes back", percent, w.User)
			}
		}
		if got := float64(n) / users * 100; got < percent*0.85-0.3 || got > percent*1.15+0.3 {
			t.Errorf("%g%% are %g%%", percent, got)
		}
	}
}

func TestRolloutFor(t *testing.T) {
	l := two(t)
	for _, c := range []struct {
		rollout string
		who     prompt.Who
		want    string
	}{
		{"{to: 2.x, percent: 100, tenants: [acme, b]}", prompt.Who{Tenant: "acme"}, "2.0.0"},
		{"{to: 2.x, percent: 100, tenants: [acme, b]}", prompt.Who{Tenant: "c"}, "1.0.0"},
		{"{to: 2.x, percent: 100, scenes: [batch]}", prompt.Who{Scene: "batch"}, "2.0.0"},
		{"{to: 2.x, percent: 100, scenes: [batch]}", prompt.Who{}, "1.0.0"},
		{"{to: 2.x, percent: 100, scenes: [batch], tenants: [a]}", prompt.Who{Scene: "batch"}, "1.0.0"},
		{"{to: 2.x}", prompt.Who{User: "u"}, "1.0.0"},
		{"{to: 2.x, percent: 0}", prompt.Who{User: "u"}, "1.0.0"},
	} {
		p := pin(t, l, "{name: p, version: ^1, variables: {product: x}, rollout: "+c.rollout+"}")
		if got := versionFor(t, l, p, c.who); got != c.want {
			t.Errorf("%s for %v: %s", c.rollout, c.who, got)
		}
	}
}

// Who is together in a half: what sticky says.
func TestSticky(t *testing.T) {
	l := two(t)
	for sticky, together := range map[string]struct{ user, tenant, request bool }{
		"user":    {user: true},
		"tenant":  {user: true, tenant: true},
		"request": {request: true},
	} {
		p := pin(t, l, "{name: p, version: ^1, variables: {product: x}, rollout: {to: 2.x, percent: 50, sticky: "+sticky+"}}")
		same := func(who func(i int) prompt.Who) bool {
			first := versionFor(t, l, p, who(0))
			for i := range 40 {
				if versionFor(t, l, p, who(i)) != first {
					return false
				}
			}
			return true
		}
		user := same(func(i int) prompt.Who { return prompt.Who{Tenant: "t", User: "u", Request: fmt.Sprint(i)} })
		tenant := same(func(i int) prompt.Who { return prompt.Who{Tenant: "t", User: fmt.Sprint(i), Request: fmt.Sprint(i)} })
		request := same(func(i int) prompt.Who { return prompt.Who{Tenant: fmt.Sprint(i), User: fmt.Sprint(i), Request: "r"} })
		if user != together.user || tenant != together.tenant || request != together.request {
			t.Errorf("%s: %v, %v, %v", sticky, user, tenant, request)
		}
		if anonymous := same(func(i int) prompt.Who { return prompt.Who{Tenant: "t", Request: fmt.Sprint(i)} }); anonymous != together.tenant {
			t.Errorf("%s, no user: %v", sticky, anonymous)
		}
	}
}

// The values of Use are written as they are read.
func TestValues(t *testing.T) {
	const text = "name: p\nvariables:\n    a:\n        - 1\n        - x\n    b:\n        c: true\nrollout:\n    to: 2.x\n"
	var u prompt.Use
	if err := yaml.Unmarshal([]byte(text), &u); err != nil {
		t.Fatal(err)
	}
	if out, err := yaml.Marshal(u); err != nil || string(out) != text {
		t.Errorf("%v:\n%s", err, out)
	}
	if u.IsZero() || !(prompt.Use{}).IsZero() {
		t.Error("IsZero")
	}
}
