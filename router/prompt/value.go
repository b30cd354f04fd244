package prompt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// types are the types of variables, and how messages name them.
var types = [...]struct{ name, called string }{
	{"string", "a string"}, {"integer", "a whole number"}, {"number", "a number"},
	{"boolean", "true or false"}, {"array", "an array"}, {"object", "an object"},
}

// variable is what may stand in a template's messages.
type variable struct {
	name     string
	kind     string // of types
	required bool
	enum     []gjson.Result
}

// text is a JSON value as it goes into a JSON string. Texts keep the spelling that they have; what is no text is
// inserted as JSON. So nothing of it can end the string. The error says nothing of the value: it may be a secret.
func (v *variable) text(value gjson.Result) ([]byte, error) {
	if v.kind == "string" && value.IsObject() && value.Get("type").Str == "input_text" {
		value = value.Get("text") // as OpenAI's clients may send a text
	}
	if !v.is(value) {
		return nil, fmt.Errorf("expected %s, got %s", v.called(), nameOf(value))
	}
	if v.enum != nil && !slices.ContainsFunc(v.enum, func(one gjson.Result) bool { return one.Num == value.Num && one.Str == value.Str }) {
		return nil, errors.New("expected one of " + strings.Join(v.choices(), ", "))
	}
	switch value.Type {
	case gjson.String:
		return []byte(value.Raw[1 : len(value.Raw)-1]), nil
	case gjson.JSON:
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(value.Raw)); err != nil {
			return nil, errors.New("not valid JSON")
		}
		return escape(compact.String()), nil
	}
	return []byte(value.Raw), nil
}

// is tells whether a value is of the variable's type.
func (v *variable) is(value gjson.Result) bool {
	switch v.kind {
	case "string":
		return value.Type == gjson.String
	case "integer":
		return value.Type == gjson.Number && !strings.ContainsAny(value.Raw, ".eE")
	case "number":
		return value.Type == gjson.Number
	case "boolean":
		return value.IsBool()
	case "array":
		return value.IsArray()
	}
	return value.IsObject()
}

func (v *variable) called() string {
	for _, t := range types {
		if t.name == v.kind {
			return t.called
		}
	}
	panic("BUG: no type " + v.kind)
}

func (v *variable) choices() []string {
	list := make([]string, len(v.enum))
	for i, one := range v.enum {
		list[i] = one.String()
	}
	return list
}

func nameOf(value gjson.Result) string {
	switch {
	case value.IsArray():
		return "an array"
	case value.IsObject():
		return "an object"
	}
	switch value.Type {
	case gjson.String:
		return "a string"
	case gjson.Number:
		if strings.ContainsAny(value.Raw, ".eE") {
			return "a number with a point or an exponent"
		}
		return "a number"
	case gjson.Null:
		return "null"
	}
	return "a boolean"
}

// escape is a text as it stands between the quotes of a JSON string.
func escape(text string) []byte {
	quoted := wire.AppendString(nil, text)
	return quoted[1 : len(quoted)-1]
}

// encode is json.Marshal, but leaves <, > and & as they are: the model reads them.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, errors.New("cannot be written as JSON")
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
