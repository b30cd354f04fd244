package flows

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"gopkg.in/yaml.v3"
)

// What this version does not serve is refused by name.
var (
	laterInFlow = strings.Fields("agents durable inputs journal queue schedule tools trigger")
	laterInStep = strings.Fields("agent approve http flow retrieve retry timeout tool tools wait")
	laterInAsk  = strings.Fields("agent audio function_call functions modalities n retrieve stream stream_options tool_choice tools")
)

// reader reads one file into a flow.
type reader struct {
	flow     *Flow
	models   Models
	problems []problem
}

// parse reads a flow's file. shown is its name.
func parse(shown string, text []byte, models Models) (*Flow, error) {
	r := &reader{flow: &Flow{file: shown, Timeout: defaultTimeout}, models: models}
	if root := r.document(text); root != nil {
		r.read(root)
	}
	return r.flow, r.err()
}

func (r *reader) read(root *yaml.Node) {
	f := r.flow
	top := spot{line: root.Line}
	var steps, output *yaml.Node
	r.fields(top, root, []field{
		{"name", r.matching(&f.Name, isName, "expected letters (a-z, A-Z), digits, dots, underscores and hyphens, at most 64, such as triage")},
		{"version", r.matching(&f.Version, isVersion, "expected a version such as 1.0.0 (https://semver.org)")},
		{"description", r.text(&f.Description)},
		{"timeout", r.duration(&f.Timeout)},
		{"steps", r.node(&steps)},
		{"output", r.node(&output)},
	}, laterInFlow)
	if root.Kind != yaml.MappingNode {
		return
	}
	for _, need := range []struct {
		name  string
		there bool
	}{{"name", has(root, "name")}, {"version", has(root, "version")}, {"steps", steps != nil || has(root, "steps")}, {"output", output != nil || has(root, "output")}} {
		if !need.there {
			r.problem(top.key(need.name, root), "must be set")
		}
	}
	f.title = f.Name + "@" + f.Version
	s := &scope{}
	if steps != nil {
		r.steps(spot{"steps", steps.Line}, steps, s)
	}
	if output != nil {
		f.output = r.template(spot{"output", output.Line}, output, s)
	}
	f.looks = s.looks
}

func has(n *yaml.Node, key string) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return true
		}
	}
	return false
}

var (
	isName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	isID      = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,31}$`)
	isVersion = regexp.MustCompile(`^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(-[0-9A-Za-z-]{1,32}(\.[0-9A-Za-z-]{1,32}){0,3})?$`)
)

// matching reads a text that must have a form.
func (r *reader) matching(into *string, form *regexp.Regexp, wanted string) func(spot, *yaml.Node) {
	return func(at spot, n *yaml.Node) {
		before := len(r.problems)
		if r.text(into)(at, n); len(r.problems) == before && !form.MatchString(*into) {
			r.problem(at, "%s, got %q", wanted, shorten(*into))
		}
	}
}

func (r *reader) duration(into *time.Duration) func(spot, *yaml.Node) {
	return func(at spot, n *yaml.Node) {
		d, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || d < time.Millisecond || d > mostTimeout {
			r.problem(at, "expected a duration like 500ms or 2m, at most %s", mostTimeout)
			return
		}
		*into = d
	}
}

// steps reads all steps in order: each may look at those before it.
func (r *reader) steps(at spot, n *yaml.Node, s *scope) {
	if n.Kind != yaml.SequenceNode {
		r.wrong(at, n, "a list")
		return
	}
	if len(n.Content) == 0 || len(n.Content) > mostSteps {
		r.problem(at, "expected 1 to %d steps, got %d", mostSteps, len(n.Content))
		return
	}
	for _, item := range n.Content {
		s.later = append(s.later, idOf(item))
	}
	for i, item := range n.Content {
		s.later = s.later[1:]
		read := r.step(at.item(i, item), item, s, idOf(item))
		if read.ID != "" && slices.Contains(s.before, read.ID) {
			r.problem(at.item(i, item), "id %s is that of an earlier step (every step has its own)", read.ID)
			continue
		}
		r.flow.Steps = append(r.flow.Steps, read)
		if isID.MatchString(read.ID) {
			s.before = append(s.before, read.ID)
		}
	}
}

// idOf looks a step's id up before it is read.
func idOf(step *yaml.Node) string {
	if step.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(step.Content); i += 2 {
			if step.Content[i].Value == "id" {
				return step.Content[i+1].Value
			}
		}
	}
	return ""
}

func (r *reader) step(at spot, n *yaml.Node, s *scope, id string) *Step {
	step := &Step{}
	if s.later = append(s.later, id); id != "" { // it cannot look at itself either
		defer func() { s.later = s.later[:len(s.later)-1] }()
	} else {
		s.later = s.later[:len(s.later)-1]
	}
	var kinds []string
	kind := func(k Kind, read func(spot, *yaml.Node)) field {
		return field{string(k), func(at spot, n *yaml.Node) {
			step.Kind, kinds = k, append(kinds, string(k))
			read(at, n)
		}}
	}
	onError := ""
	before := len(r.problems)
	r.fields(at, n, []field{
		{"id", r.matching(&step.ID, isID, "expected a letter, then letters (a-z, A-Z), digits and underscores, at most 32")},
		{"if", func(at spot, n *yaml.Node) { step.when = r.expression(at, n, s, expr.AsBool()) }},
		kind(KindAsk, func(at spot, n *yaml.Node) { step.ask = r.ask(at, n, s) }),
		kind(KindEach, func(at spot, n *yaml.Node) { step.each = r.each(at, n, s) }),
		kind(KindSet, func(at spot, n *yaml.Node) { step.set = r.expression(at, n, s) }),
		{"on_error", r.text(&onError)},
	}, laterInStep)
	switch {
	case n.Kind != yaml.MappingNode:
	case !has(n, "id"):
		r.problem(at.key("id", n), "must be set")
	case len(kinds) > 1:
		r.problem(at, "%s stand together (a step has one of ask, each, set)", strings.Join(kinds, " and "))
	case len(kinds) == 0 && len(r.problems) == before:
		r.problem(at, "does nothing (it needs one of ask, each, set)")
	}
	if onError != "" && onError != "continue" {
		r.problem(at.key("on_error", n), "unknown choice %q (choices: continue)", shorten(onError))
	}
	step.goesOn = onError == "continue"
	return step
}

// expression reads an expression. A number or true is one, too.
func (r *reader) expression(at spot, n *yaml.Node, s *scope, options ...expr.Option) *expression {
	text := ""
	before := len(r.problems)
	if r.text(&text)(at, n); len(r.problems) > before {
		return nil
	}
	e, err := s.compile(text, options...)
	if err != nil {
		r.problem(at, "%s", err)
	}
	return e
}

// template reads a text with expressions in it.
func (r *reader) template(at spot, n *yaml.Node, s *scope) *template {
	text := ""
	before := len(r.problems)
	if r.text(&text)(at, n); len(r.problems) > before {
		return nil
	}
	t, err := s.split(text)
	if err != nil {
		r.problem(at, "%s", err)
	}
	return t
}

// reserved are words that cannot name an item.
var reserved = strings.Fields("input messages vars tenant scene steps let if else in not and or nil true false contains matches startsWith endsWith")

func (r *reader) each(at spot, n *yaml.Node, s *scope) *each {
	e := &each{as: "item", atMost: defaultItems, parallel: 1}
	var asked *yaml.Node
	r.fields(at, n, []field{
		{"of", func(at spot, n *yaml.Node) { e.of = r.expression(at, n, s) }},
		{"as", r.matching(&e.as, isID, "expected a letter, then letters (a-z, A-Z), digits and underscores, at most 32")},
		{"at_most", r.count(&e.atMost, mostItems)},
		{"parallel", r.count(&e.parallel, mostParallel)},
		{"ask", r.node(&asked)},
	}, laterInStep)
	if n.Kind != yaml.MappingNode {
		return e
	}
	if slices.Contains(reserved, e.as) || slices.Contains(functions, e.as) {
		r.problem(at.key("as", n), "%s means something already", e.as)
	}
	if !has(n, "of") {
		r.problem(at.key("of", n), "must be set")
	}
	if asked == nil {
		r.problem(at.key("ask", n), "must be set")
		return e
	}
	s.item = e.as
	e.ask = r.ask(at.key("ask", asked), asked, s)
	s.item = ""
	return e
}
