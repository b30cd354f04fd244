package router

import (
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// reading decodes a condition as the configuration does: an expression, or a mapping.
func reading(text string) (w When, err error) {
	if strings.HasPrefix(text, "{") && strings.HasSuffix(text, "}") || strings.Contains(text, ":\n") {
		err = yaml.Unmarshal([]byte(text), (*plainWhen)(&w))
		return w, err
	}
	err = w.UnmarshalText([]byte(text))
	return w, err
}

func conditionOf(t testing.TB, text string) *condition {
	t.Helper()
	w, err := reading(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	c, err := w.compile()
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c
}

// asked is a request whose every part says something. It came on a Tuesday.
func asked() *Query {
	return &Query{
		Now: time.Date(2026, 3, 10, 9, 30, 0, 0, time.UTC), Model: "gpt-4o", Tenant: "acme", Team: "nlp", Key: "backend", Role: "developer",
		User: "ann", Scene: "support", Tags: []string{"vip", "beta"}, Stream: true, Tokens: 8000, MaxTokens: 500, Images: true, Tools: true, Spent: 0.85,
		Header: func(name string) string {
			return map[string]string{"X-Env": "prod", "X-Long": strings.Repeat("x", mostHeader+1)}[name]
		},
	}
}

func TestWhen(t *testing.T) {
	for text, fits := range map[string]bool{
		"{tenant: acme}":                        true,
		"{tenant: [beta, acme]}":                true,
		"{tenant: beta}":                        false,
		"{tenant: ac*}":                         true,
		"{tenant: acme, team: other}":           false,
		"{tenant: acme, team: nlp, key: back*}": true,
		"{role: developer, user: ann}":          true,
		"{scene: support}":                      true,
		"{scene: batch}":                        false,
		"{tag: vip}":                            true,
		"{tag: [gold, beta]}":                   true,
		"{tag: gold}":                           false,
		"{model: gpt-*}":                        true,
		"{model: gpt-4}":                        false,
		"{tokens: '>7999'}":                     true,
		"{tokens: '>8000'}":                     false,
		"{tokens: '>=8k'}":                      true,
		"{tokens: '<8k'}":                       false,
		"{tokens: 1k..8k}":                      true,
		"{tokens: 1k..7.9k}":                    false,
		"{modality: image}":                     true,
		"{modality: [audio, tools]}":            true,
		"{modality: [audio, file, json]}":       false,
		"{modality: text}":                      false,
		"{stream: true}":                        true,
		"{stream: false}":                       false,
		"{spent: '>80%'}":                       true,
		"{spent: '>85%'}":                       false,
		"{spent: 80%..90%}":                     true,
		"{header: {X-Env: prod}}":               true,
		"{header: {X-Env: [test, pro*]}}":       true,
		"{header: {X-Env: prod, X-Other: '*'}}": true, // one that is missing is empty
		"{header: {X-Env: test}}":               false,
		"{header: {X-Long: x*}}":                false,
		"{time: 09:00-18:00}":                   true,
		"{time: 09:31-18:00}":                   false,
		"{time: mon-fri 09:00-18:00}":           true,
		"{time: sat,sun}":                       false,
		"{time: tue}":                           true,
		"{time: fri-tue}":                       true,
		"{time: 17:00-18:00 Asia/Shanghai}":     true,
		"{time: 09:00-10:00 Asia/Shanghai}":     false,
		"{time: 22:00-09:31}":                   true, // a night
		"{time: mon 22:00-09:31}":               true, // which began on Monday
		"{time: tue 22:00-09:31}":               false,
		"{time: 00:00-24:00}":                   true,
		"{tenant: acme, modality: image, spent: '<90%', stream: true}": true,

		`tenant == "acme"`:                            true,
		`tenant != "acme"`:                            false,
		`tenant in ["beta", "acme"]`:                  true,
		`tenant == "acme" && tokens > 7999`:           true,
		`tenant == "beta" or images`:                  true,
		`not images`:                                  false,
		`"vip" in tags`:                               true,
		`any(tags, # startsWith "be")`:                true,
		`all(tags, len(#) > 3)`:                       false,
		`count(tags, # != "vip") == 1`:                true,
		`len(tags) == 2 and tags[1] == "beta"`:        true,
		`tags[7] == "x"`:                              false, // there is none: a mistake does not fit
		`header("X-Env") == "prod"`:                   true,
		`header("X-None") == ""`:                      true,
		`header("X-Long") == ""`:                      true,
		`user matches "^a.n$"`:                        true,
		`tokens + max_tokens > 8400 && stream`:        true,
		`spent > 0.8 ? tools : json`:                  true,
		`hour == 9 && minute >= 30`:                   true,
		`weekday in ["sat", "sun"]`:                   false,
		`date >= "2026-03-10" && date < "2026-04-01"`: true,
		`during("mon-fri 17:00-18:00 Asia/Shanghai")`: true,
		`during("sat,sun")`:                           false,
		`!text && !audio && !files && !json`:          true,
		`lower(scene) contains "UP" || team == "nlp"`: true,
		`role == "developer" && key == "backend" && model startsWith "gpt"`: true,
	} {
		if c := conditionOf(t, text); c == nil {
			t.Errorf("%s: none", text)
		} else if c.fits(asked()) != fits {
			t.Errorf("%s: fits %t", text, !fits)
		}
	}
}

// A condition that went wrong on one request is right about the next one.
func TestExpressionErrorsAreCounted(t *testing.T) {
	c, before := conditionOf(t, `tags[1] == "beta"`), ExpressionErrors()
	one := asked()
	one.Tags = one.Tags[:1]
	if c.fits(one) || !c.fits(asked()) || ExpressionErrors() != before+1 {
		t.Errorf("%d errors are counted", ExpressionErrors()-before)
	}
}

func TestWhenNeeds(t *testing.T) {
	for text, needs := range map[string]Needs{
		"{model: x}":                     NeedsModel,
		"{tenant: x}":                    NeedsModel | NeedsWho,
		"{tokens: '>1'}":                 NeedsModel | NeedsBody,
		"{spent: '>1%', modality: text}": NeedsModel | NeedsSpent | NeedsBody,
		"{time: mon}":                    NeedsModel,
		"{header: {X-A: b}}":             NeedsModel | NeedsWho,
		`hour > 5`:                       NeedsModel,
		`header("X-A") == "b"`:           NeedsModel | NeedsWho,
		`tokens > 1 || spent > 0.5`:      NeedsModel | NeedsBody | NeedsSpent,
		`any(tags, # == tenant) && json`: NeedsModel | NeedsWho | NeedsBody,
	} {
		if c := conditionOf(t, text); c.needs != needs {
			t.Errorf("%s: needs %b, want %b", text, c.needs, needs)
		}
	}
	if c, err := (When{}).compile(); c != nil || err != nil {
		t.Errorf("no condition: %v, %v", c, err)
	}
}

func TestWhenRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`tenat == "acme"`:                       "the expression is wrong at its character 1: unknown name tenat (names: audio, date, during(text), ",
		`tenant`:                                "expected bool, but got string",
		`tokens > "5"`:                          "invalid operation: > (mismatched types int and string)",
		`tenant == `:                            "unexpected token EOF",
		`1..1000000 == tags`:                    "a range is not supported",
		`1..9 == 1..9`:                          "a range is not supported",
		`tenant + team == "ab"`:                 "to add what are no numbers is not supported",
		`let a = 1; a == 1`:                     "a is not supported",
		`repeat("a", 5) == ""`:                  "unknown name repeat",
		`map(tags, #) == tags`:                  "unknown name map",
		`any(tags, any(tags, # == "a"))`:        "a loop inside a loop is not supported",
		`$env["tenant"] == "acme"`:              "$env is not supported",
		`tenant matches team`:                   "a pattern that is no plain text",
		`tenant matches "("`:                    "missing closing )",
		`during("noon")`:                        "during: expected days, a time of day and a time zone",
		`during(tenant)`:                        "during with anything but a plain text",
		`during()`:                              "not enough arguments",
		`header(5) == "a"`:                      "cannot use int as argument",
		`{"a": 1} == nil`:                       "is not supported",
		`now() != nil`:                          "unknown name now",
		`tags[0].Foo`:                           "",
		`model.Foo()`:                           "",
		strings.Repeat("json||", 1100) + "true": "compilation failed: expression exceeds maximum allowed nodes",
		strings.Repeat(" ", mostExpression) + "true ||" + strings.Repeat("true||", 2000) + "true": "longer than 8 KiB",
		"   ":                           "expected an expression",
		"{tokens: many}":                "expected a number of tokens such as",
		"{tokens: '8k..1k'}":            "expected a number of tokens such as",
		"{tokens: '>'}":                 "expected a number of tokens such as",
		"{tokens: '>-1'}":               "expected a number of tokens such as",
		"{spent: '>120%'}":              "expected a share such as",
		"{spent: '>0.5'}":               "expected a share such as",
		"{modality: video}":             `unknown modality "video" (choices: text, image, audio, file, tools, json)`,
		"{tenant: a*b*}":                "has more than one *",
		"{tenant: []}":                  "expected at least one name",
		"{tenant: {a: b}}":              "expected a name, or a list of names",
		"{time: noon}":                  "expected days, a time of day and a time zone",
		"{time: 25:00-26:00}":           "expected days",
		"{time: 09:00-09:00}":           "expected days",
		"{time: mon-day}":               "expected days",
		"{time: 09:00-18:00 mon}":       "expected days",
		"{time: 09:00-18:00 Mars/Base}": "expected days",
	} {
		w, err := reading(text)
		if err == nil {
			_, err = w.compile()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "\n |") {
			t.Errorf("%.60s: the error is on several lines: %v", text, err)
		}
	}
}

// What is read is written the same way.
func TestWhenIsWrittenAsItIsRead(t *testing.T) {
	for _, text := range []string{
		"tokens > 8000 && tenant == \"acme\"\n",
		"tenant: acme\ntag:\n    - vip\n    - beta\ntokens: '>8000'\nmodality: image\nstream: false\ntime: mon-fri 09:00-18:00\nheader:\n    X-Env: prod\nspent: 50%..90%\n",
	} {
		w, err := reading(text)
		if err != nil {
			t.Fatal(err)
		}
		out, err := yaml.Marshal(w)
		if err != nil || strings.Trim(string(out), "'") == "" || strings.ReplaceAll(string(out), "'", "") != strings.ReplaceAll(text, "'", "") {
			t.Errorf("%s%v\nbecomes\n%s", text, err, out)
		}
	}
}

func BenchmarkExpression(b *testing.B) {
	for name, text := range map[string]string{"tenant": `tenant == "acme"`, "three": `tenant == "acme" && tokens > 100 && spent < 0.9`, "tags": `"beta" in tags`, "map": "{tenant: acme, tokens: '>100'}"} {
		c, q := conditionOf(b, text), asked()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.fits(q)
			}
		})
	}
}
