package flows

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// This file walks through YAML and notes every problem on its way instead of stopping at the first.

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

func (s spot) item(i int, n *yaml.Node) spot {
	return spot{s.path + "[" + strconv.Itoa(i) + "]", n.Line}
}

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
		where := fmt.Sprintf("%s:%d: ", r.flow.file, p.line)
		if p.path != "" {
			where += p.path + ": "
		}
		errs = append(errs, errors.New(where+p.text))
	}
	return errors.Join(errs...)
}

// document returns the file's only document.
func (r *reader) document(text []byte) *yaml.Node {
	if !utf8.Valid(text) {
		r.problem(spot{line: 1}, "not UTF-8 text")
		return nil
	}
	documents := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	if err := documents.Decode(&first); errors.Is(err, io.EOF) {
		r.problem(spot{line: 1}, "the file is empty (expected name, version, steps and output)")
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

// fields reads a mapping whose keys are known. Those of later are of a later version.
func (r *reader) fields(at spot, n *yaml.Node, known []field, later []string) {
	r.pairs(at, n, func(at spot, name string, n *yaml.Node) {
		i := slices.IndexFunc(known, func(f field) bool { return f.name == name })
		switch {
		case i >= 0:
			known[i].read(at, n)
		case slices.Contains(later, name):
			r.problem(at, "not supported yet")
		default:
			choices := make([]string, len(known))
			for i, f := range known {
				choices[i] = f.name
			}
			r.problem(at, "unknown key (choices: %s)", strings.Join(choices, ", "))
		}
	})
}

// pairs calls each for every well-formed pair of a mapping.
func (r *reader) pairs(at spot, n *yaml.Node, each func(at spot, name string, n *yaml.Node)) {
	if n.Kind != yaml.MappingNode || n.Style&yaml.TaggedStyle != 0 {
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

// node keeps a value for later, when all that it needs is known.
func (r *reader) node(into **yaml.Node) func(spot, *yaml.Node) {
	return func(at spot, n *yaml.Node) {
		if n.Kind == yaml.AliasNode {
			r.wrong(at, n, "a value")
			return
		}
		*into = n
	}
}

// count reads a whole number from 1 to most.
func (r *reader) count(into *int, most int) func(spot, *yaml.Node) {
	return func(at spot, n *yaml.Node) {
		v := 0
		if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || n.Decode(&v) != nil || v < 1 || v > most {
			r.problem(at, "expected a whole number from 1 to %d", most)
			return
		}
		*into = v
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
