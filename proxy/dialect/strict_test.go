package dialect

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// strictAsk asks with tools of which each has the schema that is given, and with a format if there is one.
func strictAsk(n int, schema, format string) string {
	var tools []string
	for i := range n {
		tools = append(tools, fmt.Sprintf(`{"type":"function","function":{"name":"f%d","strict":true,"parameters":%s}}`, i, schema))
	}
	body := `{"model":"m","messages":[{"role":"user","content":"hi"}]`
	if n > 0 {
		body += `,"tools":[` + strings.Join(tools, ",") + `]`
	}
	if format != "" {
		body += `,"response_format":{"type":"json_schema","json_schema":{"name":"out","schema":` + format + `}}`
	}
	return body + `}`
}

// schemaOf is an object's schema with properties of one kind.
func schemaOf(n int, property string, required bool) string {
	var properties, names []string
	for i := range n {
		properties = append(properties, fmt.Sprintf(`"p%d":%s`, i, property))
		if required {
			names = append(names, fmt.Sprintf(`"p%d"`, i))
		}
	}
	return `{"type":"object","properties":{` + strings.Join(properties, ",") + `},"required":[` + strings.Join(names, ",") + `],"additionalProperties":false}`
}

// TestStrictLimits keeps Anthropic's limits over all strict schemas of a request: the tools that go beyond are not strict.
func TestStrictLimits(t *testing.T) {
	const text, union, listed = `{"type":"string"}`, `{"anyOf":[{"type":"string"},{"type":"null"}]}`, `{"type":["string","null"]}`
	nested := schemaOf(1, schemaOf(5, union, true), true)
	shared := `{"type":"object","properties":{},"$defs":{"d":` + schemaOf(8, listed, true) + `},"additionalProperties":false}`
	for _, c := range []struct {
		name, body   string
		strict, lost int
		native       bool
	}{
		{"as many tools as may be", strictAsk(20, schemaOf(1, text, true), ""), 20, 0, false},
		{"more tools", strictAsk(25, schemaOf(1, text, true), ""), 20, 5, false},
		{"as many optional ones as may be", strictAsk(3, schemaOf(8, text, false), ""), 3, 0, false},
		{"more optional ones", strictAsk(5, schemaOf(7, text, false), ""), 3, 2, false},
		{"unions", strictAsk(5, schemaOf(4, union, true), ""), 4, 1, false},
		{"lists of types", strictAsk(5, schemaOf(5, listed, true), ""), 3, 2, false},
		{"objects in objects", strictAsk(4, nested, ""), 3, 1, false},
		{"definitions", strictAsk(3, shared, ""), 2, 1, false},
		{"a format counts first", strictAsk(3, schemaOf(8, text, false), schemaOf(9, text, false)), 1, 2, true},
		{"a format beyond alone", strictAsk(3, schemaOf(8, text, false), schemaOf(25, text, false)), 3, 0, false},
	} {
		for _, p := range providers[2:] {
			r, err := Read(wire.Chat, []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			tr := &Translation{Request: r, To: p.to, Provider: p.kind, Model: p.model}
			out, err := tr.AppendRequest(nil)
			if err != nil {
				t.Fatal(err)
			}
			native := strings.Contains(string(out), `"output_config":`) || strings.Contains(string(out), `"outputConfig":`)
			if n := strings.Count(string(out), `"strict":true`); n != c.strict || native != c.native {
				t.Errorf("%s for %s: %d strict, native %t", c.name, p.kind, n, native)
			}
			var lost []string
			for i := range c.lost {
				lost = append(lost, fmt.Sprintf("tools[%d].strict", c.strict+i))
			}
			if !slices.Equal(tr.Dropped(), lost) {
				t.Errorf("%s for %s: dropped %v, expected %v", c.name, p.kind, tr.Dropped(), lost)
			}
		}
	}
	other := &Translation{To: Converse, Provider: "bedrock", Model: "openai.gpt-oss-120b-1:0"}
	if out, err := translate(other, wire.Chat, []byte(strictAsk(25, schemaOf(1, text, true), ""))); err != nil || strings.Count(string(out), `"strict":true`) != 25 {
		t.Errorf("limits of Claude's for another model: %v %s", err, out)
	}
}

func TestClaudeSchemaValues(t *testing.T) {
	for property, want := range map[string]bool{
		`{"type":"string","pattern":"^[a-z]+(?:-[0-9]+)?$"}`: true,
		`{"type":"string","pattern":"\\d+\\.\\d+"}`:          true,
		`{"type":"string","pattern":"\\\\b"}`:                true,
		`{"type":"string","pattern":"\\(?=x"}`:               true,
		`{"type":"string","pattern":"^(?=.*[0-9]).+$"}`:      false,
		`{"type":"string","pattern":"^(?!x)"}`:               false,
		`{"type":"string","pattern":"(?<=a)b"}`:              false,
		`{"type":"string","pattern":"\\bword\\b"}`:           false,
		`{"type":"string","pattern":"(a)\\1"}`:               false,
		`{"type":"string","format":"date-time"}`:             true,
		`{"type":"string","format":"uuid"}`:                  true,
		`{"type":"string","format":"binary"}`:                false,
		`{"type":"integer","format":"int32"}`:                false,
		`{"enum":["a",1,null,true]}`:                         true,
		`{"enum":["a",{"b":1}]}`:                             false,
		`{"enum":[["a"]]}`:                                   false,
		`{"const":"a"}`:                                      true,
		`{"const":{"a":1}}`:                                  false,
	} {
		schema := `{"type":"object","properties":{"pattern":` + property + `},"additionalProperties":false}`
		if claudeSchema(schema) != want {
			t.Errorf("%s: not %t", property, want)
		}
	}
}
