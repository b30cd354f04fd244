package dialect

import "github.com/tidwall/gjson"

// The limits that Anthropic has over all strict tools of a request and the schema of its answer together.
// https://platform.claude.com/docs/en/build-with-claude/structured-outputs#schema-complexity-limits
const (
	mostStrict   = 20 // tools
	mostOptional = 24 // properties that are not required
	mostUnions   = 16 // properties of several types
)

// strictness is what a request's strict schemas take of these limits.
type strictness struct{ tools, optional, unions int }

// admits reports whether another tool may be strict. Once one may not, none after it may.
func (s *strictness) admits(schema string) bool {
	s.tools++
	s.add(gjson.Parse(schema), 0)
	return s.within()
}

func (s *strictness) within() bool {
	return s.tools <= mostStrict && s.optional <= mostOptional && s.unions <= mostUnions
}

// strictnessOf is what a schema takes by itself.
func strictnessOf(schema string) *strictness {
	s := &strictness{}
	s.add(gjson.Parse(schema), 0)
	return s
}

// add counts the properties of a schema, and of those that are written in it.
func (s *strictness) add(v gjson.Result, depth int) {
	if !v.IsObject() || depth > 32 {
		return
	}
	required := requiredIn(v)
	inner := func(_, value gjson.Result) bool {
		s.add(value, depth+1)
		return true
	}
	v.ForEach(func(k, value gjson.Result) bool {
		switch k.Str {
		case "properties":
			value.ForEach(func(name, property gjson.Result) bool {
				if !required[name.Str] {
					s.optional++
				}
				if property.Get("anyOf").Exists() || property.Get("type").IsArray() {
					s.unions++
				}
				return inner(name, property)
			})
		case "$defs", "definitions", "anyOf", "allOf":
			value.ForEach(inner)
		case "items":
			s.add(value, depth+1)
		}
		return true
	})
}
