package fakellm

import (
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
)

// inspect reads the header once: what the exchange needs of it, and what no gateway may send.
func (x *exchange) inspect() {
	raw := string(x.ctx.Request.Header.RawHeaders())
	for raw != "" {
		var line string
		line, raw, _ = strings.Cut(raw, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		if x.rec != nil {
			x.rec.Header = append(x.rec.Header, Field{name, value})
		}
		x.field(name, value)
	}
	if strings.Contains(x.query, "jv-") {
		x.violation("client key in the query: %s", x.query)
	}
}

func (x *exchange) field(name, value string) {
	if strings.HasPrefix(value, "jv-") || strings.Contains(value, " jv-") {
		x.violation("client key in header %s", name)
	}
	if name == "" {
		return
	}
	switch name[0] | 0x20 {
	case 'a':
		x.keyField(name, value)
	case 'c':
		x.cField(name, value)
	case 'k', 'p', 't', 'u':
		x.hopByHop(name, value)
	case 'x':
		if strings.EqualFold(name, "x-api-key") {
			x.apiKey = value
		}
		if len(name) >= 8 && strings.EqualFold(name[:8], "x-jarvis") {
			x.violation("internal header %s: %s", name, value)
		}
	}
}

func (x *exchange) keyField(name, value string) {
	switch {
	case strings.EqualFold(name, "authorization"):
		if x.authorization != "" {
			x.violation("repeated header %s", name)
		}
		x.authorization = value
	case strings.EqualFold(name, "api-key"):
		x.apiKey = value
	case strings.EqualFold(name, "anthropic-version"):
		x.version = value
	case strings.EqualFold(name, "anthropic-beta"):
		x.beta = value
	}
}

func (x *exchange) cField(name, value string) {
	switch {
	case strings.EqualFold(name, "content-type"):
		x.ctype = value
	case strings.EqualFold(name, "cookie"):
		x.violation("cookie of a client: %s", value)
	case strings.EqualFold(name, "connection") && !strings.EqualFold(value, "keep-alive") && !strings.EqualFold(value, "close"):
		x.violation("hop-by-hop header %s: %s", name, value)
	}
}

// hopByHop flags the other fields that end at each hop. A chunked body is this hop's own framing and is fine.
func (x *exchange) hopByHop(name, value string) {
	switch strings.ToLower(name) {
	case "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade":
		x.violation("hop-by-hop header %s: %s", name, value)
	case "transfer-encoding":
		if !strings.EqualFold(value, "chunked") {
			x.violation("hop-by-hop header %s: %s", name, value)
		}
	}
}

func (x *exchange) violation(format string, args ...any) {
	x.violated = true
	x.s.counters.violations.Add(1)
	if x.rec != nil {
		x.rec.Violations = append(x.rec.Violations, fmt.Sprintf(format, args...))
	}
}

// types is a set of JSON types.
type types uint8

const (
	str types = 1 << iota
	num
	whole // a number without a fraction
	flag
	arr
	obj
	null
)

// rule is what a request field may hold; min and max bound numbers when they differ.
type rule struct {
	types    types
	min, max float64
}

func is(t types) rule { return rule{types: t} }

func between(t types, low, high float64) rule { return rule{types: t, min: low, max: high} }

func typesOf(v gjson.Result) types {
	switch v.Type {
	case gjson.String:
		return str
	case gjson.Number:
		if v.Num == float64(int64(v.Num)) {
			return num | whole
		}
		return num
	case gjson.True, gjson.False:
		return flag
	case gjson.Null:
		return null
	}
	if v.IsArray() {
		return arr
	}
	return obj
}

func (t types) String() string {
	names := []string{"a string", "a decimal", "an integer", "a boolean", "an array", "an object", "null"}
	var have []string
	for i, name := range names {
		if t&(1<<i) != 0 {
			have = append(have, name)
		}
	}
	if t&(num|whole) == num|whole {
		return "an integer"
	}
	return strings.Join(have, " or ")
}

func (r rule) check(key string, v gjson.Result) *apiError {
	have := typesOf(v)
	if have&r.types == 0 {
		want := r.types &^ null
		if want == 0 {
			want = r.types
		}
		form := "Invalid type for '%s': expected %s, but got %s instead."
		if strings.Contains(want.String(), " or ") {
			form = "Invalid type for '%s': expected one of %s, but got %s instead."
		}
		return invalid(key, "invalid_type", form, key, want, have)
	}
	if r.min == r.max || have&num == 0 {
		return nil
	}
	kind := "decimal"
	if r.types&whole != 0 {
		kind = "integer"
	}
	if v.Num < r.min {
		return invalid(key, kind+"_below_min_value", "Invalid '%s': %s below minimum value. Expected a value >= %v, but got %s instead.", key, kind, r.min, v.Raw)
	}
	if v.Num > r.max {
		return invalid(key, kind+"_above_max_value", "Invalid '%s': %s above maximum value. Expected a value <= %v, but got %s instead.", key, kind, r.max, v.Raw)
	}
	return nil
}

// object checks that the body is one JSON object with known fields of the right types, and calls each for every field.
func (x *exchange) object(rules map[string]rule, each func(key string, v gjson.Result)) *apiError {
	if mt, _, _ := strings.Cut(x.ctype, ";"); !strings.EqualFold(strings.TrimSpace(mt), jsonType) {
		return invalid("", "unsupported_content_type", "Invalid Content-Type header (%s), expected application/json. (HINT: If you're using curl, you can pass -H 'Content-Type: application/json')", x.ctype)
	}
	root := gjson.ParseBytes(x.body)
	if !gjson.ValidBytes(x.body) || !root.IsObject() {
		return x.s.dialect.stock(x, 400)
	}
	var keys names
	var wrong *apiError
	root.ForEach(func(k, v gjson.Result) bool {
		key := k.Str
		if keys.repeats(key) {
			x.violation("repeated key %q in the JSON", key)
		}
		x.top(key, v)
		if e := x.known(rules, key, v); e != nil && wrong == nil {
			wrong = e
		}
		each(key, v)
		return true
	})
	return wrong
}

// top reads the two fields that every endpoint shares.
func (x *exchange) top(key string, v gjson.Result) {
	switch key {
	case "model":
		x.model = v.Str
	case "stream":
		x.stream = v.Type == gjson.True
	}
}

func (x *exchange) known(rules map[string]rule, key string, v gjson.Result) *apiError {
	r, ok := rules[key]
	if ok {
		return r.check(key, v)
	}
	if strings.HasPrefix(key, "jarvis") || strings.HasPrefix(key, "x_jarvis") {
		x.violation("internal field %s", key)
	}
	if x.s.o.Lenient || x.s.o.Kind == VLLM {
		return nil
	}
	return invalid("", "", "Unrecognized request argument supplied: %s", key)
}

// names are the keys met so far in one object.
type names struct {
	few [12]string
	n   int
	all map[string]bool
}

func (s *names) repeats(key string) bool {
	for _, k := range s.few[:min(s.n, len(s.few))] {
		if strings.EqualFold(k, key) {
			return true
		}
	}
	if s.n >= len(s.few) {
		if s.all == nil {
			s.all = map[string]bool{}
		}
		low := strings.ToLower(key)
		if s.all[low] {
			return true
		}
		s.all[low] = true
	} else {
		s.few[s.n] = key
	}
	s.n++
	return false
}

// wantModel checks that a model was named and is served.
func (x *exchange) wantModel() *apiError {
	switch {
	case x.params.deployment != "":
		if !strings.Contains(x.model, "?") {
			x.model = x.params.deployment
		}
	case x.model == "":
		return invalid("", "", "you must provide a model parameter")
	}
	if !x.s.serves(x.model) {
		return noSuchModel(x)
	}
	return nil
}
