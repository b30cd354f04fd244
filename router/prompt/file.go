package prompt

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tidwall/gjson"
	"gopkg.in/yaml.v3"
)

// reader reads one file into a template, and notes every problem on its way instead of stopping at the first.
type reader struct {
	file     string
	template *Template
	messages []written
	problems []problem
}

// written is a message as it was read; its variables are looked up when all are known.
type written struct {
	at      spot
	role    string
	content string
}

// spot is where something stands in the file.
type spot struct {
	path string
	line int
}

func (s spot) key(name string, n *yaml.Node) spot {
	if s.path != "" {
		name = s.path + "." + name
	}
	return spot{name, n.Line}
}

func (s spot) item(i int, n *yaml.Node) spot { return spot{fmt.Sprintf("%s[%d]", s.path, i), n.Line} }

type problem struct {
	spot
	text string
}

func (r *reader) problem(at spot, format string, args ...any) {
	r.problems = append(r.problems, problem{at, fmt.Sprintf(format, args...)})
}

// err is all problems, in the order of the file.
func (r *reader) err() error {
	slices.SortStableFunc(r.problems, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	var errs []error
	for _, p := range r.problems {
		where := fmt.Sprintf("%s:%d: ", r.file, p.line)
		if p.path != "" {
			where += p.path + ": "
		}
		errs = append(errs, errors.New(where+p.text))
	}
	return errors.Join(errs...)
}

func (r *reader) read(text []byte) error {
	if root := r.parse(text); root != nil {
		t := r.template
		r.fields(spot{line: root.Line}, root, []field{
			{"description", r.text(&t.Description)},
			{"variables", r.variables},
			{"model", r.text(&t.Model)},
			{"parameters", r.parameters},
			{"messages", r.list(r.message)},
		})
		r.compile(spot{"messages", root.Line})
	}
	return r.err()
}

// parse returns the file's only document.
func (r *reader) parse(text []byte) *yaml.Node {
	if !utf8.Valid(text) {
		r.problem(spot{line: 1}, "not UTF-8 text")
		return nil
	}
	documents := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	if err := documents.Decode(&first); errors.Is(err, io.EOF) {
		r.problem(spot{line: 1}, "the file is empty (expected messages)")
		return nil
	} else if err != nil {
		r.syntax(err)
		return nil
	}
	if err := documents.Decode(&second); err == nil {
		r.problem(spot{line: second.Line}, "a second document (only one is read)")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
	}
	return first.Content[0]
}

// syntax notes what the YAML parser stopped at.
func (r *reader) syntax(err error) {
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if n, scanErr := fmt.Sscanf(text, "line %d: ", &line); n == 1 && scanErr == nil {
		_, text, _ = strings.Cut(text, ": ")
	}
	r.problem(spot{line: line}, "not valid YAML: %s", text)
}

// field is a key of a mapping, and how its value is read.
type field struct {
	name string
	read func(at spot, n *yaml.Node)
}

// fields reads a mapping whose keys are known.
func (r *reader) fields(at spot, n *yaml.Node, known []field) {
	r.pairs(at, n, func(at spot, name string, n *yaml.Node) {
		i := slices.IndexFunc(known, func(f field) bool { return f.name == name })
		if i < 0 {
			names := make([]string, len(known))
			for i, f := range known {
				names[i] = f.name
			}
			r.problem(at, "unknown key (choices: %s)", strings.Join(names, ", "))
			return
		}
		known[i].read(at, n)
	})
}

// pairs calls each for every well-formed pair of a mapping.
func (r *reader) pairs(at spot, n *yaml.Node, each func(at spot, name string, n *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.wrong(at, n, "a mapping")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := at.key(key.Value, key)
		switch line, twice := seen[key.Value]; {
		case key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0 || key.Tag == "!!merge" || key.Value == "":
			r.problem(at, "expected a name before the colon")
		case twice:
			r.problem(at, "stands twice, first at line %d", line)
		default:
			seen[key.Value] = key.Line
			each(at, key.Value, n.Content[i+1])
		}
	}
}

// list reads a list.
func (r *reader) list(each func(at spot, n *yaml.Node)) func(spot, *yaml.Node) {
	return func(at spot, n *yaml.Node) {
		if n.Kind != yaml.SequenceNode {
			r.wrong(at, n, "a list")
			return
		}
		for i, item := range n.Content {
			each(at.item(i, item), item)
		}
	}
}

// text reads a single value as text.
func (r *reader) text(into *string) func(spot, *yaml.Node) {
	return func(at spot, n *yaml.Node) {
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Style&yaml.TaggedStyle != 0 {
			r.wrong(at, n, "text")
			return
		}
		*into = n.Value
	}
}

// flag reads true or false.
func (r *reader) flag(into *bool) func(spot, *yaml.Node) {
	return func(at spot, n *yaml.Node) {
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Decode(into) != nil {
			r.wrong(at, n, "true or false")
		}
	}
}

func (r *reader) wrong(at spot, n *yaml.Node, wanted string) {
	got := "a single value"
	switch {
	case n.Kind == yaml.AliasNode:
		r.problem(at, "aliases (*%s) are not supported", n.Value)
		return
	case n.Style&yaml.TaggedStyle != 0:
		r.problem(at, "tag %s is not supported", n.Tag)
		return
	case n.Kind == yaml.MappingNode:
		got = "a mapping"
	case n.Kind == yaml.SequenceNode:
		got = "a list"
	case n.Tag == "!!null":
		r.problem(at, "no value (fill it or remove the line)")
		return
	}
	r.problem(at, "expected %s, got %s", wanted, got)
}

func (r *reader) variables(at spot, n *yaml.Node) {
	r.pairs(at, n, func(at spot, name string, n *yaml.Node) {
		if strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) && c != '_' && c != '-' }) || len(name) > 64 {
			r.problem(at, "the names of variables have only letters, digits, underscores and hyphens, and at most 64 bytes")
			return
		}
		r.variable(at, name, n)
	})
}

// variable reads what a variable may be.
func (r *reader) variable(at spot, name string, n *yaml.Node) {
	v := variable{name: name, kind: "string"}
	var description string
	var enum, standard *yaml.Node
	before := len(r.problems)
	r.fields(at, n, []field{
		{"type", r.text(&v.kind)},
		{"description", r.text(&description)},
		{"required", r.flag(&v.required)},
		{"enum", func(_ spot, n *yaml.Node) { enum = n }},
		{"default", func(_ spot, n *yaml.Node) { standard = n }},
	})
	var names []string
	for _, t := range types {
		names = append(names, t.name)
	}
	if !slices.Contains(names, v.kind) {
		r.problem(at.key("type", n), "unknown type %q (choices: %s)", v.kind, strings.Join(names, ", "))
	}
	if len(r.problems) == before {
		if enum != nil {
			r.enum(at.key("enum", enum), &v, enum)
		}
		r.add(at, v, standard)
	}
}

// add adds a variable, with what stands for it by default.
func (r *reader) add(at spot, v variable, standard *yaml.Node) {
	value := []byte{}
	switch {
	case v.required && standard != nil:
		r.problem(at.key("default", standard), "a variable that is required has no use for it")
	case v.required:
		value = nil
	case standard != nil:
		value = r.checked(at.key("default", standard), &v, standard)
	}
	t := r.template
	t.index[v.name] = len(t.variables)
	t.variables, t.defaults = append(t.variables, v), append(t.defaults, value)
}

func (r *reader) enum(at spot, v *variable, n *yaml.Node) {
	if !slices.Contains([]string{"string", "integer", "number"}, v.kind) {
		r.problem(at, "only strings and numbers have one")
		return
	}
	var list []gjson.Result
	r.list(func(at spot, n *yaml.Node) {
		if r.checked(at, v, n) != nil {
			raw, _ := r.json(at, n, 0)
			list = append(list, gjson.ParseBytes(raw))
		}
	})(at, n)
	if len(n.Content) == 0 {
		r.problem(at, "expected a list of values")
	}
	v.enum = list
}

// checked is a value of a variable as it stands in messages; nil if it cannot be.
func (r *reader) checked(at spot, v *variable, n *yaml.Node) []byte {
	raw, ok := r.json(at, n, 0)
	if !ok {
		return nil
	}
	text, err := v.text(gjson.ParseBytes(raw))
	if err != nil {
		r.problem(at, "%v", err)
		return nil
	}
	return text
}

// message reads a message.
func (r *reader) message(at spot, n *yaml.Node) {
	m := written{at: at}
	before := len(r.problems)
	r.fields(at, n, []field{
		{"role", r.text(&m.role)},
		{"content", func(at spot, n *yaml.Node) { m.at.line = at.line; r.text(&m.content)(at, n) }},
	})
	if len(r.problems) > before {
		return
	}
	roles := []string{"system", "developer", "user", "assistant"}
	switch {
	case m.role == "":
		r.problem(at.key("role", n), "must be set")
	case !slices.Contains(roles, m.role):
		r.problem(at.key("role", n), "unknown role %q (choices: %s)", m.role, strings.Join(roles, ", "))
	case m.content == "":
		r.problem(at.key("content", n), "must be set")
	default:
		r.messages = append(r.messages, m)
	}
}

// compile puts the messages together.
func (r *reader) compile(at spot) {
	t := r.template
	if len(r.messages) == 0 && len(r.problems) == 0 {
		r.problem(at, "must be set")
	}
	for _, m := range r.messages {
		parts, err := t.split(m.content)
		if err != nil && !r.hollow() {
			r.problem(spot{m.at.path + ".content", m.at.line}, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
		first := m.role == "system" || m.role == "developer"
		switch done := (message{role: m.role, parts: parts}); {
		case !first:
			t.turns = append(t.turns, done)
		case len(t.turns) > 0:
			r.problem(spot{m.at.path + ".role", m.at.line}, "messages of the roles system and developer come first")
		default:
			t.system = append(t.system, done)
		}
	}
}

// hollow says whether variables may be missing because they have problems of their own.
func (r *reader) hollow() bool {
	return slices.ContainsFunc(r.problems, func(p problem) bool { return strings.HasPrefix(p.path, "variables") })
}
