package wire

import (
	"slices"
	"testing"

	"github.com/tidwall/gjson"
)

func TestMembers(t *testing.T) {
	for raw, want := range map[string][]string{
		`{}`:            nil,
		" { \n } ":      nil,
		`{"model":"m"}`: {`"model":"m"`},
		` { "a" : [1, {"b":"]}"}] ,"c":-1.5e3 , "d":null } `: {`"a" : [1, {"b":"]}"}]`, `"c":-1.5e3`, `"d":null`},
		`{"user":"李雷","内容":"你好，\"世界\"","x":true}`:            {`"user":"李雷"`, `"内容":"你好，\"世界\""`, `"x":true`},
	} {
		b, err := Parse([]byte(raw))
		if err != nil {
			t.Fatal(raw, err)
		}
		var got []string
		for _, member := range b.Members() {
			got = append(got, string(member))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", raw, got, want)
		}
		for range b.Members() {
			break
		}
	}
}

// What the members are is the same to another reader of JSON.
func FuzzMembers(f *testing.F) {
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":"你好"}],"user":"u"}`))
	f.Add([]byte("{\"a\" : 1 ,\n\t\"b\":{}}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := Parse(raw)
		if err != nil {
			return
		}
		var names, want []string
		for name, member := range b.Members() {
			names = append(names, string(name))
			if !gjson.Valid("{" + string(member) + "}") {
				t.Fatalf("%q is no member", member)
			}
		}
		gjson.ParseBytes(raw).ForEach(func(k, _ gjson.Result) bool {
			want = append(want, k.Raw[1:len(k.Raw)-1])
			return true
		})
		if !slices.Equal(names, want) {
			t.Fatalf("%q has %q, want %q", raw, names, want)
		}
	})
}
