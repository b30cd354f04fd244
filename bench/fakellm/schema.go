package fakellm

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// example is the smallest JSON value a JSON schema allows, as far as types, properties, required, enum, const, items, anyOf and $ref
// go. Without a schema it is an empty object.
func example(schema gjson.Result) []byte {
	return exampleOf(nil, schema, schema, 0)
}

func exampleOf(b []byte, root, s gjson.Result, depth int) []byte {
	if ref := s.Get("$ref").Str; ref != "" {
		s = root.Get(strings.ReplaceAll(strings.TrimPrefix(ref, "#/"), "/", "."))
	}
	for _, of := range []string{"anyOf.0", "oneOf.0", "allOf.0"} {
		if sub := s.Get(of); sub.Exists() && depth < 16 {
			return exampleOf(b, root, sub, depth+1)
		}
	}
	if v := s.Get("const"); v.Exists() {
		return append(b, v.Raw...)
	}
	if v := s.Get("enum.0"); v.Exists() {
		return append(b, v.Raw...)
	}
	kind := s.Get("type")
	if kind.IsArray() {
		kind = kind.Get("0")
	}
	switch kind.Str {
	case "string":
		return exampleString(b, s)
	case "integer", "number":
		return append(b, strconv.FormatFloat(max(1, s.Get("minimum").Num), 'f', -1, 64)...)
	case "boolean":
		return append(b, "true"...)
	case "null":
		return append(b, "null"...)
	case "array":
		return exampleArray(b, root, s, depth)
	}
	return exampleObject(b, root, s, depth)
}

func exampleString(b []byte, s gjson.Result) []byte {
	switch s.Get("format").Str {
	case "date":
		return append(b, `"2026-01-31"`...)
	case "date-time":
		return append(b, `"2026-01-31T12:00:00Z"`...)
	case "email":
		return append(b, `"fake@example.org"`...)
	case "uri":
		return append(b, `"https://example.org/fake"`...)
	}
	text := "fake" + strings.Repeat("e", max(0, int(s.Get("minLength").Int())-4))
	if n := s.Get("maxLength"); n.Exists() && n.Int() < int64(len(text)) {
		text = text[:max(0, n.Int())]
	}
	return quote(b, text)
}

func exampleArray(b []byte, root, s gjson.Result, depth int) []byte {
	b = append(b, '[')
	for i := range int(max(1, s.Get("minItems").Int())) {
		if depth >= 16 || !s.Get("items").Exists() {
			break
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = exampleOf(b, root, s.Get("items"), depth+1)
	}
	return append(b, ']')
}

// exampleObject holds the required properties, all of them when none is required.
func exampleObject(b []byte, root, s gjson.Result, depth int) []byte {
	b = append(b, '{')
	first := true
	required := s.Get("required").Array()
	s.Get("properties").ForEach(func(k, v gjson.Result) bool {
		wanted := len(required) == 0
		for _, r := range required {
			wanted = wanted || r.Str == k.Str
		}
		if !wanted || depth >= 16 {
			return true
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(quote(b, k.Str), ':')
		b = exampleOf(b, root, v, depth+1)
		return true
	})
	return append(b, '}')
}
