package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/proxy/wire"
)

// every holds a field of each kind that a configuration may use, now or later.
type every struct {
	Text    string            `yaml:"text"`
	Secret  wire.Secret       `yaml:"secret"`
	Yes     bool              `yaml:"yes"`
	Int     int8              `yaml:"int"`
	Uint    uint16            `yaml:"uint"`
	Float   float64           `yaml:"float"`
	Length  time.Duration     `yaml:"length"`
	Time    time.Time         `yaml:"time"`
	Pointer *inner            `yaml:"pointer"`
	Number  *int              `yaml:"number"`
	Rates   rates             `yaml:"rates"`
	Names   map[string]string `yaml:"names"`
	Lists   [][]int           `yaml:"lists"`
	Own     own               `yaml:"own"`
	Skipped string            `yaml:"-"`
}

type inner struct {
	A int `yaml:"a"`
}

// rates is a list that may be written as one text.
type rates []string

func (r *rates) UnmarshalText(text []byte) error {
	if !strings.Contains(string(text), "/") {
		return fmt.Errorf("%q is not a rate", text)
	}
	*r = rates{string(text)}
	return nil
}

// own reads its node itself.
type own struct{ keys, last string }

func (o *own) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("%q is no mapping", n.Value)
	}
	for i := 0; i < len(n.Content); i += 2 {
		o.keys += n.Content[i].Value
		o.last = n.Content[i+1].Value
	}
	return nil
}

func decodeEvery(text string) (every, string) {
	var e every
	d := decode("f.yml", []byte(text), &e, lookupIn(testVariables))
	return e, d.problems.Error()
}

func TestDecodeEveryKind(t *testing.T) {
	const text = `
text: 0123
secret: true
yes: true
int: -128
uint: ${NUMBER}
float: 1e3
length: 1m30s
time: 2027-01-01T00:00:00Z
pointer: {a: ${NUMBER}}
number: 7
rates: 200k/m
names: {a: ~x, "~": b, ${NUMBER}: ${URL}}
lists: [[1, 2], [], [-0]]
own: {a: 1, &k b: &v [c], *k : ${URL}}
`
	number := 7
	want := every{
		Text: "0123", Secret: "true", Yes: true, Int: -128, Uint: 12, Float: 1000, Length: 90 * time.Second,
		Time: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), Pointer: &inner{A: 12}, Number: &number,
		Rates: rates{"200k/m"}, Names: map[string]string{"a": "~x", "~": "b", "12": "https://example.com/v1"},
		Lists: [][]int{{1, 2}, {}, {0}}, Own: own{"abb", "https://example.com/v1"},
	}
	got, problems := decodeEvery(text)
	if problems != "" {
		t.Fatal(problems)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	got, _ = decodeEvery("rates: [200k/m, 20M/d]")
	if len(got.Rates) != 2 {
		t.Errorf("rates = %q", got.Rates)
	}
}

func TestDecodeProblems(t *testing.T) {
	for text, want := range map[string]string{
		"yes: yes":              `expected true or false, got "yes"`,
		"yes: 'true'":           `expected true or false, got the text "true"`,
		"int: 128":              `expected a whole number, got "128"`,
		"uint: -1":              `expected a whole number from 0, got "-1"`,
		"float: .nan":           `expected a number, got ".nan"`,
		"float: NaN":            `expected a number, got "NaN"`,
		"float: {}":             `expected a number, got a mapping`,
		"rates: ten":            `"ten" is not a rate`,
		"rates: ${SECRET}":      `"***" is not a rate`,
		"rates: {}":             `expected a list, got a mapping`,
		"own: ten":              `"ten" is no mapping`,
		"own: ${SECRET}":        `not valid`,
		"own: [${SECRET}]":      `not valid`,
		"own: {a: ${UNSET}}":    "the environment variable UNSET is not set (${UNSET:-...} gives it a default)",
		"time: [a]":             "expected text, got a list",
		"pointer: ~":            "no value (fill it or remove the line)",
		"text: |":               "",
		"text: '${EMPTY}'":      "",
		"Skipped: a":            "unknown key",
		"length: " + long("9"):  `expected a duration like 500ms, 30s or 1h30m, got "` + strings.Repeat("9", 60) + `..."`,
		"lists: [[1], 2]":       "expected a list, got a single value",
		"text: ${BIG}${BIG}":    "longer than 1024 KiB with its references replaced",
		"text: \ue000\ue019xyz": "", // looks like a placeholder, and is none
	} {
		testVariables["BIG"] = strings.Repeat("x", maxText/2+1)
		_, problems := decodeEvery(text)
		delete(testVariables, "BIG")
		if _, got, _ := strings.Cut(problems, ": "); problems != "" && !strings.Contains(got, ": "+want) || (problems == "") != (want == "") {
			t.Errorf("%s\ngot  %s\nwant %s", text, problems, want)
		}
	}
}

func long(s string) string { return strings.Repeat(s, 1000) }

// Whatever a reference stands for, it becomes exactly that text.
func TestExpansion(t *testing.T) {
	odd := "}: [x, #y] 'z' \"q\" *a &b !c | > % @ ` \\ ${SECRET} $$ \t\n- k: v\n# \ue000\ue010\ue001"
	variables := map[string]string{"ODD": odd, "A": "a", "EMPTY": ""}
	for source, want := range map[string]string{
		"${ODD}":              odd,
		"'${ODD}'":            odd,
		`"${ODD}"`:            odd,
		"${A}${ODD}":          "a" + odd,
		"${A}${A}":            "aa",
		"x${A}y":              "xay",
		"${B:-}":              "",
		"${B:-b}":             "b",
		"${EMPTY:-b}":         "b",
		"'${EMPTY}'":          "",
		"${B:-a:b}":           "a:b",
		"${B:-'x'}":           "'x'",
		"${B:-$A}":            "$A",
		"$A":                  "$A",
		"$$":                  "$$",
		"$${A}":               "$a",
		"${A} # ${B}":         "a",
		"${A}#${A}":           "a#a",
		"{$A}":                "", // a mapping, not a text
		`"\x24{A}"`:           "${A}",
		"[ ${A}, ${ODD} ]":    "", // a list
		"{ a: ${ODD} }":       "",
		">-\n    ${A}\n    b": "a b",
	} {
		for _, form := range []string{"value: %s\n", "{value: %s\n}"} {
			var got struct {
				Value string `yaml:"value"`
			}
			if strings.Contains(source, "\n") && form[0] == '{' {
				continue // no block text inside {}
			}
			d := decode("f.yml", fmt.Appendf(nil, form, source), &got, lookupIn(variables))
			if want == "" && !strings.Contains(source, "${B:-}") && !strings.Contains(source, "EMPTY") {
				if len(d.problems) != 1 {
					t.Errorf("%s: want a problem, got %q", source, got.Value)
				}
				continue
			}
			if got.Value != want || len(d.problems) > 0 {
				t.Errorf("%s = %q, want %q; %v", source, got.Value, want, d.problems)
			}
		}
	}
}

// A few anchors can stand for billions of values.
func TestAliasesAreBounded(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("own:\n  l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&bomb, "  l%d: &l%d [%s*l%d]\n", i, i, strings.Repeat(fmt.Sprintf("*l%d, ", i-1), 9), i-1)
	}
	_, problems := decodeEvery(bomb.String())
	if !strings.Contains(problems, "aliases repeat more than 100000 values") {
		t.Error(problems)
	}
}

func TestNearest(t *testing.T) {
	choices := []string{"listen", "admin", "admin_key", "max_body", "ca", "kind"}
	for name, want := range map[string]string{
		"lisen": "listen", "LISTEN": "listen", "maxBody": "max_body", "adminkey": "admin_key", "kinds": "kind",
		"a": "", "cb": "", "x": "", "port": "", "": "",
	} {
		if got := nearest(name, choices); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

// Whatever a file holds, decoding ends, does not panic, and shows nothing that came from the environment.
func FuzzDecode(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yml", "testdata/part/*.yml", "../../configs/*.yml", "../../configs/policies/*.yml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Add([]byte("own: {a: &a [*a], b: *a}\nlists: [&l [1], *l]\npointer: {a: ${NUMBER}}\nrates: ${SECRET}\n"))
	variables := map[string]string{"SECRET": canary, "ACME_KEY": canary, "NUMBER": "12", "VENDOR": "openai", "EMPTY": ""}
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(string(text), canary) {
			t.Skip("shows the canary itself")
		}
		var e every
		var p part
		for _, into := range []any{&Config{}, &e, &p} {
			d := decode("f.yml", text, into, lookupIn(variables))
			if shown := d.problems.sorted().Error(); strings.Contains(shown, canary) {
				t.Errorf("a secret is shown: %s", shown)
			}
			for path, at := range d.places {
				if at.line < 1 || path == "" || strings.Contains(at.shown, canary) {
					t.Errorf("%q is placed at %+v", path, at)
				}
			}
		}
	})
}
