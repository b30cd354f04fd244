package prompt_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jarvis-gateway/router/prompt"
)

// Every problem of a file is told at once, with its line.
func TestBadFiles(t *testing.T) {
	for _, c := range []struct{ name, file, text, want string }{
		{"empty", "p/1.0.0.yml", "", "p/1.0.0.yml:1: the file is empty (expected messages)"},
		{"only a comment", "p/1.0.0.yml", "# nothing\n", "p/1.0.0.yml:1: the file is empty (expected messages)"},
		{"null", "p/1.0.0.yml", "~", "p/1.0.0.yml:1: no value (fill it or remove the line)"},
		{"no mapping", "p/1.0.0.yml", "[1]", "p/1.0.0.yml:1: expected a mapping, got a list"},
		{"no messages", "p/1.0.0.yml", "description: x", "p/1.0.0.yml:1: messages: must be set"},
		{"an empty list", "p/1.0.0.yml", "messages: []", "p/1.0.0.yml:1: messages: must be set"},
		{"messages are no list", "p/1.0.0.yml", "messages: hello", "p/1.0.0.yml:1: messages: expected a list, got a single value"},
		{"YAML", "p/1.0.0.yml", "messages:\n  - {role: [\n", "p/1.0.0.yml:2: not valid YAML: "},
		{"not UTF-8", "p/1.0.0.yml", "description: \xff\n" + hello, "p/1.0.0.yml:1: not UTF-8 text"},
		{"two documents", "p/1.0.0.yml", hello + "---\n" + hello, "p/1.0.0.yml:2: a second document (only one is read)"},
		{"unknown key", "p/1.0.0.yml", hello + "models: x", "p/1.0.0.yml:2: models: unknown key (choices: description, variables, model, parameters, messages)"},
		{"twice", "p/1.0.0.yml", "model: a\nmodel: b\n" + hello, "p/1.0.0.yml:2: model: stands twice, first at line 1"},
		{"merge key", "p/1.0.0.yml", "<<: {model: a}\n" + hello, "p/1.0.0.yml:1: <<: expected a name before the colon"},
		{"tag", "p/1.0.0.yml", "model: !!str a\n" + hello, "p/1.0.0.yml:1: model: tag !!str is not supported"},
		{"alias", "p/1.0.0.yml", "model: &m a\ndescription: *m\n" + hello, "p/1.0.0.yml:2: description: aliases (*m) are not supported"},
		{"null model", "p/1.0.0.yml", "model:\n" + hello, "p/1.0.0.yml:1: model: no value (fill it or remove the line)"},
		{"no role", "p/1.0.0.yml", "messages: [{content: x}]", "p/1.0.0.yml:1: messages[0].role: must be set"},
		{"unknown role", "p/1.0.0.yml", "messages:\n- {role: user, content: x}\n- {role: tool, content: x}", `p/1.0.0.yml:3: messages[1].role: unknown role "tool" (choices: system, developer, user, assistant)`},
		{"no content", "p/1.0.0.yml", "messages: [{role: user}]", "p/1.0.0.yml:1: messages[0].content: must be set"},
		{"parts", "p/1.0.0.yml", "messages: [{role: user, content: [{type: text}]}]", "p/1.0.0.yml:1: messages[0].content: expected text, got a list"},
		{"unknown in a message", "p/1.0.0.yml", "messages: [{role: user, content: x, name: y}]", "p/1.0.0.yml:1: messages[0].name: unknown key (choices: role, content)"},
		{"system behind", "p/1.0.0.yml", "messages:\n- {role: user, content: x}\n- {role: system, content: y}", "p/1.0.0.yml:3: messages[1].role: messages of the roles system and developer come first"},
		{"unknown variable", "p/1.0.0.yml", "variables: {a: {}}\nmessages:\n- {role: user, content: '{{a}} {{b}} {{ c }}'}", `p/1.0.0.yml:3: messages[0].content: unknown variable "b" (have: a; write {{{{ for a plain {{); unknown variable " c " (have: a; write {{{{ for a plain {{)`},
		{"open", "p/1.0.0.yml", "messages: [{role: user, content: 'say {{ now'}]", "p/1.0.0.yml:1: messages[0].content: a {{ without its }} (write {{{{ for a plain {{)"},
		{"three braces", "p/1.0.0.yml", "variables: {a: {}}\nmessages: [{role: user, content: '{{{a}}}'}]", `p/1.0.0.yml:2: messages[0].content: unknown variable "{a" (have: a`},
		{"unknown type", "p/1.0.0.yml", "variables: {a: {type: text}}\nmessages: [{role: user, content: '{{a}}'}]", `p/1.0.0.yml:1: variables.a.type: unknown type "text" (choices: string, integer, number, boolean, array, object)`},
		{"a variable's name", "p/1.0.0.yml", "variables: {'a b': {}}\n" + hello, "p/1.0.0.yml:1: variables.a b: the names of variables have only letters"},
		{"a variable's key", "p/1.0.0.yml", "variables: {a: {must: true}}\n" + hello, "p/1.0.0.yml:1: variables.a.must: unknown key (choices: type, description, required, enum, default)"},
		{"required", "p/1.0.0.yml", "variables: {a: {required: 'yes'}}\n" + hello, "p/1.0.0.yml:1: variables.a.required: expected true or false, got a single value"},
		{"required with a default", "p/1.0.0.yml", "variables: {a: {required: true, default: x}}\n" + hello, "p/1.0.0.yml:1: variables.a.default: a variable that is required has no use for it"},
		{"default of another type", "p/1.0.0.yml", "variables:\n  a:\n    type: integer\n    default: x\n" + hello, "p/1.0.0.yml:4: variables.a.default: expected a whole number, got a string"},
		{"default not in enum", "p/1.0.0.yml", "variables:\n  tone:\n    enum: [formal, friendly]\n    default: rude\n" + hello, "p/1.0.0.yml:4: variables.tone.default: expected one of formal, friendly"},
		{"enum of another type", "p/1.0.0.yml", "variables: {a: {type: integer, enum: [1, x, 2.5]}}\n" + hello, "p/1.0.0.yml:1: variables.a.enum[1]: expected a whole number, got a string\n" +
			"p/1.0.0.yml:1: variables.a.enum[2]: expected a whole number, got a number with a point or an exponent"},
		{"enum of flags", "p/1.0.0.yml", "variables: {a: {type: boolean, enum: [true]}}\n" + hello, "p/1.0.0.yml:1: variables.a.enum: only strings and numbers have one"},
		{"no enum", "p/1.0.0.yml", "variables: {a: {enum: []}}\n" + hello, "p/1.0.0.yml:1: variables.a.enum: expected a list of values"},
		{"a reserved parameter", "p/1.0.0.yml", "parameters:\n  temperature: 1\n  stream: true\n" + hello, "p/1.0.0.yml:3: parameters.stream: cannot be given by a template's parameters"},
		{"a parameter's name", "p/1.0.0.yml", "parameters: {Top-P: 1}\n" + hello, "p/1.0.0.yml:1: parameters.Top-P: expected a name of small letters, digits and underscores"},
		{"two lengths", "p/1.0.0.yml", "parameters: {max_tokens: 1, max_output_tokens: 2}\n" + hello, "p/1.0.0.yml:1: parameters.max_output_tokens: says the same as max_tokens"},
		{"not a number", "p/1.0.0.yml", "parameters: {temperature: .nan}\n" + hello, "p/1.0.0.yml:1: parameters.temperature: expected a number"},
		{"too large", "p/1.0.0.yml", "parameters: {seed: 18446744073709551615}\n" + hello, "p/1.0.0.yml:1: parameters.seed: the number is too large"},
		{"an alias in a parameter", "p/1.0.0.yml", "parameters: {a: &a [1], b: [*a]}\n" + hello, "p/1.0.0.yml:1: parameters.b[0]: aliases (*a) are not supported"},
		{"deep", "p/1.0.0.yml", "parameters: {a: " + strings.Repeat("[", 80) + strings.Repeat("]", 80) + "}\n" + hello, "nests deeper than 64 levels"},
		{"in no folder", "1.0.0.yml", hello, "1.0.0.yml: the file is in no template's folder: expected NAME/VERSION.yml, such as support/1.2.0.yml"},
		{"no version", "p/new.yml", hello, `p/new.yml: "new" is no version: expected three numbers such as 1.2.0, or 1.2.0-rc.1`},
		{"two numbers", "p/1.2.yml", hello, `p/1.2.yml: "1.2" is no version`},
		{"a v", "p/v1.2.0.yml", hello, `p/v1.2.0.yml: "v1.2.0" is no version`},
		{"zeros", "p/1.02.0.yml", hello, `p/1.02.0.yml: "1.02.0" is no version`},
		{"build metadata", "p/1.2.0+mine.yml", hello, "p/1.2.0+mine.yml: versions have no build metadata (+mine) here"},
		{"a strange name", "客服/1.2.0.yml", hello, "客服/1.2.0.yml: the names of templates have only letters"},
		{"OpenAI's name", "pmpt_1/1.2.0.yml", hello, "pmpt_1/1.2.0.yml: names that begin with pmpt_ are those of prompts stored at OpenAI"},
		{"large", "p/1.0.0.yml", hello + "#" + strings.Repeat("x", 1<<20), "p/1.0.0.yml: larger than 1 MiB"},
		{"deep folders", "a/a/a/a/a/a/a/a/a/1.0.0.yml", hello, "a/a/a/a/a/a/a/a/a: more than 8 folders in each other"},
		{"several", "p/1.0.0.yml", "variables:\n  tone: {type: x}\nparameters: {stream: true}\nmodels: x\nmessages: [{role: user, content: '{{tone}}'}, {role: boss, content: x}]",
			"p/1.0.0.yml:2: variables.tone.type: unknown type \"x\" (choices: string, integer, number, boolean, array, object)\n" +
				"p/1.0.0.yml:3: parameters.stream: cannot be given by a template's parameters\n" +
				"p/1.0.0.yml:4: models: unknown key (choices: description, variables, model, parameters, messages)\n" +
				"p/1.0.0.yml:5: messages[1].role: unknown role \"boss\" (choices: system, developer, user, assistant)"},
	} {
		dir := folder(t, map[string]string{c.file: c.text, "good/1.0.0.yml": hello})
		l, err := prompt.Load(prompt.Config{Dir: dir})
		if l != nil || err == nil {
			t.Errorf("%s: loaded", c.name)
			continue
		}
		got := strings.ReplaceAll(err.Error(), filepath.ToSlash(dir)+"/", "")
		if !strings.Contains(got, c.want) || strings.Count(got, "\n") != strings.Count(c.want, "\n") || c.name != "deep" && !strings.HasPrefix(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

func TestBadFolders(t *testing.T) {
	dir := folder(t, map[string]string{"p/1.0.0.yml": hello, "p/1.0.0.yaml": hello, "q/1.0.0.yml": "x", "r/x.yml": hello})
	_, err := prompt.Load(prompt.Config{Dir: dir})
	for _, want := range []string{"p/1.0.0.yml: the same version as ", "q/1.0.0.yml:1: expected a mapping", `r/x.yml: "x" is no version`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is missing in %v", want, err)
		}
	}
	if _, err := prompt.Load(prompt.Config{Dir: filepath.Join(dir, "none")}); err == nil || !strings.HasPrefix(err.Error(), "prompts.dir: open ") {
		t.Error(err)
	}
	if _, err := prompt.Load(prompt.Config{Dir: filepath.Join(dir, "p", "1.0.0.yml")}); err == nil || !strings.HasPrefix(err.Error(), "prompts.dir: ") {
		t.Error(err)
	}
	if list := prompt.Files(filepath.Join(dir, "none")); list != nil {
		t.Error(list)
	}
	if os.Getuid() != 0 { // who may read everything
		if err := os.Chmod(filepath.Join(dir, "p", "1.0.0.yml"), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := prompt.Load(prompt.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "p/1.0.0.yml: permission denied") {
			t.Error(err)
		}
	}
}

// What a file says is either refused or can be rendered.
func FuzzFile(f *testing.F) {
	f.Add(hello)
	f.Add("variables: {a: {type: integer, default: 5, enum: [5, 6]}}\nparameters: {x: {y: [1, ~, true, 2024-01-01]}}\nmessages: [{role: user, content: '{{a}} {{{{ }}'}]")
	f.Add("messages: &x [*x]")
	f.Add("? [a]\n: b")
	f.Add("variables: {a: {default: \"\\x00\"}}\nmessages: [{role: user, content: \"\\u2028{{a}}\"}]")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := prompt.Load(prompt.Config{Dir: folder(t, map[string]string{"p/1.0.0.yml": text})})
		if err != nil {
			if l != nil || strings.Contains(err.Error(), "BUG") {
				t.Fatal(err)
			}
			return
		}
		p, err := l.Find("p", "1.0.0")
		if err != nil {
			t.Fatal(err)
		}
		raw, err := p.Render(nil)
		if err != nil {
			if !strings.Contains(err.Error(), "must be set") {
				t.Fatal(err)
			}
			return
		}
		if len(rolesOf(t, raw)) == 0 {
			t.Errorf("%s", raw)
		}
	})
}
