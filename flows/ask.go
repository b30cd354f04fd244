package flows

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/proxy/wire"
)

// deepestValue is how deep a value of a file may nest: less than a request may.
const deepestValue = 32

var isField = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// ask reads what a model is asked: model, system and user, or messages, and any further field of chat completions.
func (r *reader) ask(at spot, n *yaml.Node, s *scope) *ask {
	a := &ask{}
	w := &writer{reader: r, scope: s}
	var system, user, messages *yaml.Node
	w.write(`{"model":`)
	r.pairs(at, n, func(at spot, name string, n *yaml.Node) {
		switch {
		case name == "model":
			r.model(at, n, a)
		case name == "system":
			system = n
		case name == "user":
			user = n
		case name == "messages":
			messages = n
		case slices.Contains(laterInAsk, name):
			r.problem(at, "not supported yet")
		case !isField.MatchString(name):
			r.problem(at, "expected a name of small letters, digits and underscores")
		default:
			w.rest = append(w.rest, member{at, name, n})
		}
	})
	if n.Kind != yaml.MappingNode {
		return a
	}
	w.write(string(wire.AppendString(nil, a.model)) + `,"messages":`)
	switch {
	case messages != nil && (system != nil || user != nil):
		r.problem(at.key("messages", messages), "stands beside system or user (messages says all, or these do)")
	case messages != nil:
		w.value(at.key("messages", messages), messages, 0)
	case user != nil:
		w.said(at, system, user)
	default:
		r.problem(at.key("user", n), "must be set (or messages)")
	}
	for _, m := range w.rest {
		w.write("," + string(wire.AppendString(nil, m.name)) + ":")
		w.value(m.at, m.node, 0)
	}
	w.write("}")
	if !has(n, "model") {
		r.problem(at.key("model", n), "must be set%s", r.choices())
	}
	a.pieces = w.pieces
	return a
}

// model reads whom to ask, which must be known before anybody asks.
func (r *reader) model(at spot, n *yaml.Node, a *ask) {
	before := len(r.problems)
	if r.text(&a.model)(at, n); len(r.problems) > before {
		return
	}
	switch {
	case strings.HasPrefix(a.model, Prefix):
		r.problem(at, "a flow cannot ask a flow (%s)", shorten(a.model))
	case strings.Contains(a.model, "{{"):
		r.problem(at, "a model's name is plain text")
	case r.models.Known != nil && !r.models.Known(a.model):
		r.problem(at, "unknown model %q%s", shorten(a.model), r.choices())
	}
}

func (r *reader) choices() string {
	if len(r.models.Names) == 0 {
		return ""
	}
	return " (have: " + strings.Join(r.models.Names, ", ") + "; or provider/model)"
}

// member is a further field.
type member struct {
	at   spot
	name string
	node *yaml.Node
}

// writer writes a request in pieces.
type writer struct {
	*reader
	scope  *scope
	rest   []member
	pieces []piece
}

func (w *writer) write(raw string) {
	if n := len(w.pieces); n > 0 && w.pieces[n-1].raw != nil {
		w.pieces[n-1].raw = append(w.pieces[n-1].raw, raw...)
		return
	}
	w.pieces = append(w.pieces, piece{raw: []byte(raw)})
}

// said writes messages of a system and a user text.
func (w *writer) said(at spot, system, user *yaml.Node) {
	w.write("[")
	if system != nil {
		w.write(`{"role":"system","content":`)
		w.words(at.key("system", system), system)
		w.write("},")
	}
	w.write(`{"role":"user","content":`)
	w.words(at.key("user", user), user)
	w.write("}]")
}

// words writes a text with expressions in it, as a string.
func (w *writer) words(at spot, n *yaml.Node) {
	if t := w.template(at, n, w.scope); t != nil {
		w.string(t)
	}
}

func (w *writer) string(t *template) {
	plain := ""
	for _, p := range t.parts {
		if p.value != nil {
			w.pieces = append(w.pieces, piece{text: t})
			return
		}
		plain += p.plain
	}
	w.write(string(wire.AppendString(nil, plain)))
}

// value writes any value. A text that is one expression and nothing else is what that makes, of any type.
func (w *writer) value(at spot, n *yaml.Node, depth int) {
	switch {
	case depth > deepestValue:
		w.problem(at, "nests deeper than %d levels", deepestValue)
	case n.Kind == yaml.MappingNode:
		comma := "{"
		w.pairs(at, n, func(at spot, name string, n *yaml.Node) {
			w.write(comma + string(wire.AppendString(nil, name)) + ":")
			w.value(at, n, depth+1)
			comma = ","
		})
		if comma == "{" {
			w.write(comma)
		}
		w.write("}")
	case n.Kind == yaml.SequenceNode:
		w.write("[")
		for i, item := range n.Content {
			if i > 0 {
				w.write(",")
			}
			w.value(at.item(i, item), item, depth+1)
		}
		w.write("]")
	case n.Kind != yaml.ScalarNode || n.Style&yaml.TaggedStyle != 0:
		w.wrong(at, n, "a value")
	default:
		w.scalar(at, n)
	}
}

func (w *writer) scalar(at spot, n *yaml.Node) {
	switch n.Tag {
	case "!!null":
		w.write("null")
	case "!!bool":
		w.write(strings.ToLower(n.Value))
	case "!!int":
		var whole int64
		if n.Decode(&whole) != nil {
			w.problem(at, "the number is too large")
		}
		w.write(strconv.FormatInt(whole, 10))
	case "!!float":
		var f float64
		if n.Decode(&f) != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			w.problem(at, "expected a number")
			return
		}
		raw, _ := jsonOf(f) // a number that is finite
		w.write(string(raw))
	default:
		t := w.template(at, n, w.scope)
		switch {
		case t == nil:
		case t.alone() != nil:
			w.pieces = append(w.pieces, piece{value: t.alone()})
		default:
			w.string(t)
		}
	}
}
