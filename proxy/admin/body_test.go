package admin

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestMerge(t *testing.T) {
	for _, test := range []struct{ was, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`}, // these from RFC 7396, appendix A
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"n":1}`, `{"n":12345678901234567890.5}`, `{"n":12345678901234567890.5}`}, // and to the digit
		{`{"s":"secret"}`, `{"s":"***"}`, `{"s":"secret"}`},                         // as shown: it stays
		{`{}`, `{"s":"***"}`, `{"s":"***"}`},                                        // which is refused later
	} {
		was, err := parseObject([]byte(test.was))
		if err != nil {
			t.Fatal(err)
		}
		patch, err := parseObject([]byte(test.patch))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(was.merge(patch).encode()); got != test.want {
			t.Errorf("%s and %s: %s, want %s", test.was, test.patch, got, test.want)
		}
		if got := string(was.encode()); got != test.was {
			t.Errorf("%s was changed in place: %s", test.was, got)
		}
	}
}

// What is accepted reads the same to encoding/json, and again after it was written.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1}`, `{"a":{"b":[null,true,1e400,"x"]}}`, `{"a":1,"a":2}`, `{"a":"${X}"}`, `[]`, `{"a":"\ud83d\ude00"}`, ` {"<<":1} `, `{"a":1}x`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := parseObject(raw)
		if err != nil {
			return
		}
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		var other map[string]any
		if err := d.Decode(&other); err != nil {
			t.Fatalf("%q is no JSON: %v", raw, err)
		}
		written := o.encode()
		if !bytes.Equal(mustEncode(other), written) {
			t.Fatalf("%q: %s, another reader %s", raw, written, mustEncode(other))
		}
		again, err := parseObject(written)
		if err != nil || !bytes.Equal(again.encode(), written) {
			t.Fatalf("%q, written as %s: %v", raw, written, err)
		}
		if once := o.merge(o).encode(); !bytes.Equal(o.merge(o).merge(o).encode(), once) {
			t.Fatalf("%q: merged twice it is not what it is merged once", raw)
		}
	})
}
