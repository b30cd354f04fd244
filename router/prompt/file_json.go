package prompt

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/proxy/wire"
)

// deepestValue is how deep a value of a file may nest: less than a request may.
const deepestValue = 64

// lengths are the names that the bound on an answer has: of the dialects Chat, old and new, Responses and Messages.
var lengths = []string{"max_tokens", "max_completion_tokens", "max_output_tokens"}

// parameters reads the members that bodies get.
func (r *reader) parameters(at spot, n *yaml.Node) {
	// What these say is the template's or the client's alone.
	kept := []string{"model", "messages", "input", "instructions", "system", "prompt", "stream", "stream_options", "previous_response_id", "conversation"}
	length := ""
	r.pairs(at, n, func(at spot, name string, n *yaml.Node) {
		switch {
		case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "":
			r.problem(at, "expected a name of small letters, digits and underscores")
			return
		case slices.Contains(kept, name):
			r.problem(at, "cannot be given by a template's parameters")
			return
		case slices.Contains(lengths, name) && length != "":
			r.problem(at, "says the same as %s (each endpoint gets it by its own name)", length)
			return
		case slices.Contains(lengths, name):
			length = name
		}
		if raw, ok := r.json(at, n, 0); ok {
			r.template.parameters = append(r.template.parameters, member{name, raw})
		}
	})
}

// json is a value of the file as JSON.
func (r *reader) json(at spot, n *yaml.Node, depth int) (raw []byte, ok bool) {
	if depth > deepestValue {
		r.problem(at, "nests deeper than %d levels", deepestValue)
		return nil, false
	}
	before := len(r.problems)
	switch n.Kind {
	case yaml.MappingNode:
		raw = r.jsonObject(at, n, depth)
	case yaml.SequenceNode:
		raw = append(raw, '[')
		for i, item := range n.Content {
			value, _ := r.json(at.item(i, item), item, depth+1)
			raw = append(append(raw, value...), ',')
		}
		raw = closed(raw, ']')
	case yaml.ScalarNode:
		raw = r.jsonScalar(at, n)
	default:
		r.wrong(at, n, "a value")
	}
	return raw, len(r.problems) == before
}

func (r *reader) jsonObject(at spot, n *yaml.Node, depth int) []byte {
	raw := []byte{'{'}
	r.pairs(at, n, func(at spot, name string, n *yaml.Node) {
		value, _ := r.json(at, n, depth+1)
		raw = append(wire.AppendString(raw, name), ':')
		raw = append(append(raw, value...), ',')
	})
	return closed(raw, '}')
}

// closed ends an object or an array, behind whose last value a comma stands.
func closed(raw []byte, with byte) []byte {
	if last := len(raw) - 1; raw[last] == ',' {
		raw = raw[:last]
	}
	return append(raw, with)
}

func (r *reader) jsonScalar(at spot, n *yaml.Node) []byte {
	if n.Style&yaml.TaggedStyle != 0 {
		r.wrong(at, n, "a value")
		return nil
	}
	switch n.Tag {
	case "!!null":
		return []byte("null")
	case "!!bool":
		return []byte(strings.ToLower(n.Value))
	case "!!int":
		var whole int64
		if n.Decode(&whole) == nil {
			return strconv.AppendInt(nil, whole, 10)
		}
		r.problem(at, "the number is too large")
		return nil
	case "!!float":
		var f float64
		if n.Decode(&f) != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			r.problem(at, "expected a number")
			return nil
		}
		raw, _ := encode(f)
		return raw
	}
	return wire.AppendString(nil, n.Value) // dates too: JSON has none
}
