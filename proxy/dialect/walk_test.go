package dialect

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

func TestWalk(t *testing.T) {
	for _, json := range []string{
		`{}`, `[]`, ` { "a" : 1 , "b":[1, {"c":"]}"} ,"x"] , "d\"e":"\\", "f" :"\\\"," } `, `[ "a\\\"b" , [ ], {} ,null,true , -1.5e3 ]`, `"s"`, `null`, `12`,
		`{"a":{"b":{"c":[[[]]]}},"":""}`, `["\\","\\\\\"","x"]`,
	} {
		checkWalk(t, json)
	}
}

func FuzzWalk(f *testing.F) {
	f.Add(`{"a":[1,"\\\"",{"b":null}]}`)
	f.Fuzz(func(t *testing.T, json string) {
		for _, v := range members(json) {
			_ = plain(v)
		}
		for v := range elements(json) {
			_ = plain(v)
		}
		if gjson.Valid(json) {
			checkWalk(t, json)
		}
	})
}

// checkWalk compares the walk over valid JSON with gjson's.
func checkWalk(t *testing.T, json string) {
	t.Helper()
	var got, want []string
	root := gjson.Parse(json)
	root.ForEach(func(k, v gjson.Result) bool {
		if root.IsObject() {
			want = append(want, inner(k.Raw))
		}
		want = append(want, v.Raw)
		return root.IsObject() || root.IsArray()
	})
	for k, v := range members(json) {
		got = append(got, k, v)
	}
	for v := range elements(json) {
		got = append(got, v)
	}
	if !root.IsObject() && !root.IsArray() {
		want = nil
	}
	if strings.Join(got, "\x00") != strings.Join(want, "\x00") {
		t.Errorf("%s: got %q, expected %q", json, got, want)
	}
}
