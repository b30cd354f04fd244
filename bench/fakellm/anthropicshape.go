package fakellm

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// check looks at a value of a request and says what is wrong with it: a place, a colon, and why in pydantic's words. Nil is content
// with everything.
type check func(x *exchange, at string, v gjson.Result) string

func (c check) at(x *exchange, at string, v gjson.Result) string {
	if c == nil {
		return ""
	}
	return c(x, at, v)
}

func under(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

func ofType(t types) check {
	word := map[types]string{str: "string", num: "number", whole: "integer", flag: "boolean", arr: "array"}[t]
	why := ": Input should be a valid " + word
	if t == obj {
		why = ": Input should be an object"
	}
	return func(_ *exchange, at string, v gjson.Result) string {
		if typesOf(v)&t == 0 {
			return at + why
		}
		return ""
	}
}

// ranged is a number from low to high.
func ranged(t types, low, high float64) check {
	right := ofType(t)
	return func(x *exchange, at string, v gjson.Result) string {
		switch wrong := right(x, at, v); {
		case wrong != "":
			return wrong
		case v.Num < low:
			return fmt.Sprintf("%s: Input should be greater than or equal to %v", at, low)
		case v.Num > high:
			return fmt.Sprintf("%s: Input should be less than or equal to %v", at, high)
		}
		return ""
	}
}

func matching(pattern string) check {
	right, re := ofType(str), regexp.MustCompile(pattern)
	return func(x *exchange, at string, v gjson.Result) string {
		if wrong := right(x, at, v); wrong != "" {
			return wrong
		}
		if !re.MatchString(v.Str) {
			return at + ": String should match pattern '" + pattern + "'"
		}
		return ""
	}
}

// sized is a string of at least low and at most high characters.
func sized(low, high int) check {
	right := ofType(str)
	return func(x *exchange, at string, v gjson.Result) string {
		switch wrong := right(x, at, v); {
		case wrong != "":
			return wrong
		case len(v.Str) < low:
			return fmt.Sprintf("%s: String should have at least %d character", at, low)
		case len(v.Str) > high:
			return fmt.Sprintf("%s: String should have at most %d characters", at, high)
		}
		return ""
	}
}

func oneOf(values ...string) check {
	why := ": Input should be " + alternatives(values)
	return func(_ *exchange, at string, v gjson.Result) string {
		if v.Type != gjson.String || !slices.Contains(values, v.Str) {
			return at + why
		}
		return ""
	}
}

func alternatives(values []string) string {
	last := len(values) - 1
	if last == 0 {
		return "'" + values[0] + "'"
	}
	return "'" + strings.Join(values[:last], "', '") + "' or '" + values[last] + "'"
}

func orNull(c check) check {
	return func(x *exchange, at string, v gjson.Result) string {
		if v.Type == gjson.Null {
			return ""
		}
		return c.at(x, at, v)
	}
}

// either is anything of the types t, or what c likes.
func either(t types, c check) check {
	return func(x *exchange, at string, v gjson.Result) string {
		if typesOf(v)&t != 0 {
			return ""
		}
		return c(x, at, v)
	}
}

func listOf(c check) check {
	right := ofType(arr)
	return func(x *exchange, at string, v gjson.Result) string {
		wrong := right(x, at, v)
		i := 0
		v.ForEach(func(_, item gjson.Result) bool {
			if wrong == "" {
				wrong = c.at(x, under(at, strconv.Itoa(i)), item)
			}
			i++
			return wrong == ""
		})
		return wrong
	}
}

// fieldsOf is an object with these fields, of which those in need, separated by spaces, must be there.
func fieldsOf(need string, fields map[string]check) check {
	must := strings.Fields(need)
	right := ofType(obj)
	return func(x *exchange, at string, v gjson.Result) string {
		if wrong := right(x, at, v); wrong != "" {
			return wrong
		}
		var keys names
		wrong := ""
		v.ForEach(func(k, v gjson.Result) bool {
			if keys.repeats(k.Str) {
				x.violation("repeated key %q in %s", k.Str, at)
			}
			c, known := fields[k.Str]
			switch {
			case wrong != "":
			case known:
				wrong = c.at(x, under(at, k.Str), v)
			default:
				wrong = x.extra(at, k.Str)
			}
			return true
		})
		for _, key := range must {
			if !v.Get(key).Exists() {
				return under(at, key) + ": Field required"
			}
		}
		return wrong
	}
}

// extra says that a key is not known; a lenient server does not mind at the top.
func (x *exchange) extra(at, key string) string {
	if strings.HasPrefix(key, "jarvis") || strings.HasPrefix(key, "x_jarvis") {
		x.violation("internal field %s", under(at, key))
	}
	if at == "" && x.s.o.Lenient {
		return ""
	}
	return under(at, key) + ": Extra inputs are not permitted"
}

// tagged is an object whose type says which of the kinds it is.
func tagged(kinds map[string]check) check {
	names := make([]string, 0, len(kinds))
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	right := ofType(obj)
	return func(x *exchange, at string, v gjson.Result) string {
		if wrong := right(x, at, v); wrong != "" {
			return wrong
		}
		tag := v.Get("type")
		c, known := kinds[tag.Str]
		switch {
		case !tag.Exists():
			return under(at, "type") + ": Field required"
		case !known:
			return fmt.Sprintf("%s: Input tag '%s' found using 'type' does not match any of the expected tags: '%s'", at, tag.Str, strings.Join(names, "', '"))
		}
		return c.at(x, under(at, tag.Str), v)
	}
}
