package fakellm

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// shapes are the requests of AWS's service description.
type shapes struct {
	operations map[string]*shapeOf // what an operation is called with
}

// shapeOf is a type of AWS's service description.
type shapeOf struct {
	Type     string
	Required []string
	Union    bool
	Document bool
	Enum     []string
	Min, Max *float64
	Pattern  string
	Members  map[string]*member
	Member   *member // of a list
	Key      *member // of a map
	Value    *member
	matching *regexp.Regexp
	linked   bool
}

type member struct {
	Shape    string
	Location string // uri, header; empty: the body
	of       *shapeOf
}

// loadShapes reads the service description at path, nothing when that is empty.
func loadShapes(path string) (*shapes, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Operations map[string]struct{ Input member }
		Shapes     map[string]*shapeOf
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s := &shapes{operations: map[string]*shapeOf{}}
	for _, name := range []string{"Converse", "ConverseStream", "CountTokens"} {
		input := doc.Operations[name].Input
		if err := input.link(doc.Shapes); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, name, err)
		}
		s.operations[name] = input.of
	}
	return s, nil
}

// link finds the shape that the member names, and those below it.
func (m *member) link(all map[string]*shapeOf) error {
	s := all[m.Shape]
	if s == nil {
		return fmt.Errorf("no shape %q", m.Shape)
	}
	m.of = s
	if s.linked {
		return nil
	}
	s.linked = true
	if s.Pattern != "" {
		// AWS writes some sets as [a-z-:], which Go wants as [a-z\-:].
		pattern := regexp.MustCompile(`(\w-\w)-([:.])`).ReplaceAllString(s.Pattern, `$1\-$2`)
		var err error
		if s.matching, err = regexp.Compile("^(?:" + pattern + ")$"); err != nil {
			return fmt.Errorf("%s: %w", m.Shape, err)
		}
	}
	below := []*member{s.Member, s.Key, s.Value}
	for _, m := range s.Members {
		below = append(below, m)
	}
	for _, m := range below {
		if m != nil {
			if err := m.link(all); err != nil {
				return err
			}
		}
	}
	return nil
}

// broken is what AWS says of a value that is not as its shape wants it.
type broken struct{ kind, message string }

func breaks(at, value, why string) *broken {
	return &broken{"ValidationException", fmt.Sprintf("1 validation error detected: Value %s at '%s' failed to satisfy constraint: Member must %s", value, at, why)}
}

func (b *broken) err() *apiError {
	if b == nil {
		return nil
	}
	return &apiError{status: 400, kind: b.kind, message: b.message}
}

// check looks at v, which stands at that place.
func (s *shapeOf) check(at string, v gjson.Result) *broken {
	if s.Document {
		return nil
	}
	if want, ok := wantedTypes[s.Type]; ok && typesOf(v)&want == 0 {
		return &broken{"SerializationException", fmt.Sprintf("%s at '%s' can not be converted to %s", strings.ToUpper(typeWords[typesOf(v)&^whole])+"_VALUE", at, s.Type)}
	}
	switch s.Type {
	case "structure":
		return s.structure(at, v)
	case "list":
		return s.list(at, v)
	case "map":
		return s.mapping(at, v)
	case "string":
		return s.text(at, v)
	case "blob":
		return s.blob(at, v)
	case "integer", "long", "float", "double":
		return s.bounds(at, v.Raw, "value", v.Num)
	}
	return nil
}

var (
	wantedTypes = map[string]types{"structure": obj, "map": obj, "list": arr, "string": str, "blob": str, "boolean": flag,
		"integer": whole, "long": whole, "float": num, "double": num}
	typeWords = map[types]string{str: "string", num: "number", flag: "boolean", arr: "array", obj: "object", null: "null"}
)

func (s *shapeOf) bounds(at, shown, what string, n float64) *broken {
	switch {
	case s.Min != nil && n < *s.Min:
		return breaks(at, "'"+shown+"'", fmt.Sprintf("have %s greater than or equal to %v", what, *s.Min))
	case s.Max != nil && n > *s.Max:
		return breaks(at, "'"+shown+"'", fmt.Sprintf("have %s less than or equal to %v", what, *s.Max))
	}
	return nil
}

func (s *shapeOf) text(at string, v gjson.Result) *broken {
	value := "'" + v.Str + "'"
	if b := s.bounds(at, v.Str, "length", float64(utf8.RuneCountInString(v.Str))); b != nil {
		return b
	}
	switch {
	case s.Enum != nil && !slices.Contains(s.Enum, v.Str):
		return breaks(at, value, "satisfy enum value set: ["+strings.Join(s.Enum, ", ")+"]")
	case s.matching != nil && !s.matching.MatchString(v.Str):
		return breaks(at, value, "satisfy regular expression pattern: "+s.Pattern)
	}
	return nil
}

func (s *shapeOf) blob(at string, v gjson.Result) *broken {
	raw, err := base64.StdEncoding.DecodeString(v.Str)
	if err != nil {
		return &broken{"SerializationException", "Invalid base64 at '" + at + "'"}
	}
	return s.bounds(at, "java.nio.HeapByteBuffer", "length", float64(len(raw)))
}

func (s *shapeOf) list(at string, v gjson.Result) *broken {
	items := v.Array()
	if b := s.bounds(at, "[]", "length", float64(len(items))); b != nil {
		return b
	}
	for i, item := range items {
		if b := s.Member.of.check(at+"."+strconv.Itoa(i+1)+".member", item); b != nil {
			return b
		}
	}
	return nil
}

func (s *shapeOf) mapping(at string, v gjson.Result) *broken {
	var found *broken
	n := 0
	v.ForEach(func(k, item gjson.Result) bool {
		n++
		if found = s.Key.of.check(at+".key", k); found == nil {
			found = s.Value.of.check(at+"."+k.Str+".member", item)
		}
		return found == nil
	})
	if found != nil {
		return found
	}
	return s.bounds(at, "{}", "length", float64(n))
}

// structure leaves out members that are null, as AWS does.
func (s *shapeOf) structure(at string, v gjson.Result) *broken {
	var found *broken
	set := map[string]bool{}
	v.ForEach(func(k, item gjson.Result) bool {
		m := s.Members[k.Str]
		switch {
		case m == nil || m.Location != "":
			found = &broken{"ValidationException", fmt.Sprintf("Malformed input request: #/%s: extraneous key [%s] is not permitted, please reformat your input and try again.", strings.ReplaceAll(at, ".", "/"), k.Str)}
		case item.Type != gjson.Null:
			set[k.Str] = true
			found = m.of.check(under(at, k.Str), item)
		}
		return found == nil
	})
	if found != nil {
		return found
	}
	for _, key := range s.Required {
		if !set[key] && s.Members[key].Location == "" {
			return breaks(under(at, key), "null", "not be null")
		}
	}
	if s.Union && len(set) != 1 {
		return &broken{"ValidationException", fmt.Sprintf("The union at '%s' must have exactly one member set, it has %d.", at, len(set))}
	}
	return nil
}
