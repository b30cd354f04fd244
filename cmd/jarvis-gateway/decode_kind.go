package main

import (
	"encoding"
	"reflect"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/proxy/wire"
)

// wrong notes that v cannot hold what the file gives.
func (d *decoder) wrong(at spot, v reflect.Value, got string) {
	d.problem(at, "expected %s, got %s", wanted(v), got)
}

// least holds a number to the minimum in its field's tag. Packages cannot: to them an explicit 0 looks like none.
func (d *decoder) least(at spot, f reflect.StructField, v reflect.Value) {
	_, rest, bounded := strings.Cut(f.Tag.Get("jsonschema"), "minimum=")
	number, _, _ := strings.Cut(rest, ",")
	least, err := strconv.ParseInt(number, 10, 64)
	if bounded && err == nil && v.CanInt() && v.Int() < least {
		d.problem(at, "expected at least %d", least)
	}
}

// wanted says in words what v holds.
func wanted(v reflect.Value) string {
	switch t := v.Type(); {
	case t == reflect.TypeFor[time.Duration]():
		return "a duration like 500ms, 30s or 1h30m"
	case v.Kind() == reflect.Slice:
		return "a list"
	case onlyText(t), v.Kind() == reflect.String:
		return "text"
	case hasMethod[encoding.TextUnmarshaler](v):
		return "text or a mapping"
	case v.Kind() == reflect.Struct:
		return "a mapping"
	case v.Kind() == reflect.Map:
		return "a mapping of names"
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.CanUint():
		return "a whole number from 0"
	case v.CanInt():
		return "a whole number"
	case v.CanFloat():
		return "a number"
	}
	panic("BUG: a configuration cannot hold a " + v.Type().String())
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func isSecret(t reflect.Type) bool { return t == reflect.TypeFor[wire.Secret]() }

func isScalar(k reflect.Kind) bool {
	return k == reflect.Bool || reflect.Int <= k && k <= reflect.Uint64 || k == reflect.Float32 || k == reflect.Float64
}

func hasMethod[T any](v reflect.Value) bool {
	return reflect.PointerTo(v.Type()).Implements(reflect.TypeFor[T]())
}

// onlyText tells a type that is written as text, and not as a mapping too.
func onlyText(t reflect.Type) bool {
	if !reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return false
	}
	if t.Kind() == reflect.Struct {
		for f := range t.Fields() {
			if f.Tag.Get("yaml") != "" {
				return false
			}
		}
	}
	return true
}

// oneOrMany tells a list whose only item may be written without brackets: of a type that reads nodes itself.
func oneOrMany(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && reflect.PointerTo(t.Elem()).Implements(reflect.TypeFor[yaml.Unmarshaler]())
}

// fieldsOf are the fields of a struct that a file may set.
func fieldsOf(t reflect.Type) []reflect.StructField {
	var fields []reflect.StructField
	for f := range t.Fields() {
		if f.IsExported() && nameOf(f) != "-" {
			fields = append(fields, f)
		}
	}
	return fields
}

// nameOf is a field's key in the file.
func nameOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if name == "" {
		panic("BUG: no yaml tag on " + f.Name)
	}
	return name
}

func indexOf(fields []reflect.StructField, name string) int {
	for i, f := range fields {
		if nameOf(f) == name {
			return i
		}
	}
	return -1
}

// nearest is the choice that name was probably meant to be, or "".
func nearest(name string, choices []string) string {
	best, least := "", 3 // two slips at most
	for _, choice := range choices {
		if n := distance(plainName(name), plainName(choice)); n < least && 2*n < len(choice) {
			best, least = choice, n
		}
	}
	return best
}

// plainName drops what people spell differently: maxBody, max-body, max_body.
func plainName(s string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(clip(s)))
}

// distance counts the letters to add, drop or change to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
