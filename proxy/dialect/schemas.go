package dialect

import (
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// notInSchema are the keywords that Anthropic's structured outputs refuse.
// https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
var notInSchema = []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
	"maxItems", "uniqueItems", "contains", "minContains", "maxContains", "prefixItems", "minProperties", "maxProperties",
	"patternProperties", "propertyNames", "unevaluatedProperties", "dependentRequired", "dependentSchemas", "not", "if", "then", "else", "oneOf"}

// claudeFormats are the formats of strings that they know.
var claudeFormats = []string{"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}

// claudeSchema reports whether a JSON schema is one that Claude's answers and strict tools can be bound to.
func claudeSchema(schema string) bool {
	root := gjson.Parse(schema)
	return newSchemaCheck(root).fine(root, 0)
}

// strictSchema reports whether a JSON schema is one that OpenAI's strict mode takes: that of an object, all of whose
// members are required, with well-known keywords only.
// https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
func strictSchema(schema string) bool {
	root := gjson.Parse(schema)
	c := newSchemaCheck(root)
	c.strict = true
	return root.Get("type").Str == "object" && c.fine(root, 0)
}

// inStrict are the keywords that any strict mode knows, beside those with schemas in them.
var inStrict = []string{"type", "required", "additionalProperties", "enum", "const", "title", "description"}

func newSchemaCheck(root gjson.Result) *schemaCheck {
	c := &schemaCheck{defs: map[string]gjson.Result{}, visited: map[string]bool{}}
	for _, name := range []string{"$defs", "definitions"} {
		if defs := root.Get(name); defs.IsObject() {
			defs.ForEach(func(k, v gjson.Result) bool {
				c.defs["#/"+name+"/"+k.Str] = v
				return true
			})
		}
	}
	return c
}

// schemaCheck is a schema that is being checked: what is defined in it, by the references to that, and which of these are
// fine; those that are still open are false.
type schemaCheck struct {
	defs    map[string]gjson.Result
	visited map[string]bool
	strict  bool // as OpenAI means it
}

func (c *schemaCheck) fine(v gjson.Result, depth int) bool {
	if !v.IsObject() || depth > 32 || c.strict && depth > 9 {
		return false
	}
	if isObjectSchema(v) && (v.Get("additionalProperties").Raw != "false" || c.strict && !closed(v)) {
		return false
	}
	fine := true
	each := func(_, v gjson.Result) bool {
		fine = c.fine(v, depth+1)
		return fine
	}
	v.ForEach(func(k, value gjson.Result) bool {
		switch k.Str {
		case "properties", "$defs", "definitions", "anyOf":
			value.ForEach(each)
		case "allOf":
			fine = !c.strict && !strings.Contains(value.Raw, `"$ref"`) && !v.Get("$ref").Exists() // Anthropic refuses the two together
			if fine {
				value.ForEach(each)
			}
		case "items":
			fine = c.fine(value, depth+1)
		case "$ref":
			fine = c.follow(value.Str, depth)
		case "minItems":
			fine = value.Num <= 1 && !c.strict
		case "pattern":
			fine = claudePattern(value.Str) && !c.strict
		case "format":
			fine = slices.Contains(claudeFormats, value.Str) && !c.strict
		case "enum":
			fine = !slices.ContainsFunc(value.Array(), nested)
		case "const":
			fine = !nested(value)
		default:
			fine = !slices.Contains(notInSchema, k.Str) && (!c.strict || slices.Contains(inStrict, k.Str))
		}
		return fine
	})
	return fine
}

// nested reports whether a value is not one that Anthropic lists or fixes: a list or an object.
func nested(v gjson.Result) bool { return v.Type == gjson.JSON }

// claudePattern reports whether a regular expression has nothing of what Anthropic leaves out: looking around, the bounds
// of words, and what a group has found before.
func claudePattern(pattern string) bool {
	for i := 0; i+1 < len(pattern); i++ {
		switch next := pattern[i+1]; {
		case pattern[i] == '\\':
			if next == 'b' || next == 'B' || next >= '1' && next <= '9' {
				return false
			}
			i++ // what is escaped begins nothing
		case pattern[i] == '(' && next == '?' && i+2 < len(pattern) && strings.IndexByte("=!<", pattern[i+2]) >= 0:
			return false
		}
	}
	return true
}

// follow checks what a reference means. One that leads out of the schema, or back to itself, is not fine.
func (c *schemaCheck) follow(ref string, depth int) bool {
	if done, seen := c.visited[ref]; seen {
		return done
	}
	def, ok := c.defs[ref]
	if !ok {
		return false
	}
	c.visited[ref] = false
	c.visited[ref] = c.fine(def, depth+1)
	return c.visited[ref]
}

// isObjectSchema reports whether a schema allows objects by its type.
func isObjectSchema(v gjson.Result) bool {
	kind := v.Get("type")
	return kind.Str == "object" || kind.IsArray() && slices.ContainsFunc(kind.Array(), func(one gjson.Result) bool { return one.Str == "object" })
}

// requiredIn are the members that an object's schema requires.
func requiredIn(v gjson.Result) map[string]bool {
	required := map[string]bool{}
	for _, name := range v.Get("required").Array() {
		required[name.Str] = true
	}
	return required
}

// closed reports whether an object's schema requires all of the members that it names.
func closed(v gjson.Result) bool {
	required := requiredIn(v)
	all := true
	v.Get("properties").ForEach(func(name, _ gjson.Result) bool {
		all = required[name.Str]
		return all
	})
	return all
}
