package wire

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

func TestAppendString(t *testing.T) {
	for in, want := range map[string]string{
		"":                   `""`,
		"plain 你好 é 😀":       `"plain 你好 é 😀"`,
		"a\"b\\c":            `"a\"b\\c"`,
		"\n\r\t\b\f\x00\x1f": `"\n\r\t\u0008\u000c\u0000\u001f"`,
		"</script>&":         `"</script>&"`,
		"a\xffb\xc3":         "\"a\uFFFDb\uFFFD\"",
		"\uFFFD":             "\"\uFFFD\"",
		"\xed\xa0\x80":       "\"\uFFFD\uFFFD\uFFFD\"", // a surrogate in UTF-8 is not UTF-8
	} {
		if got := string(AppendString(nil, in)); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	if got := string(AppendString([]byte("x:"), "y")); got != `x:"y"` {
		t.Error(got)
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add("a\"b\\\n\x00\xff\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		quoted := AppendString(nil, s)
		var got string
		if err := json.Unmarshal(quoted, &got); err != nil || !utf8.Valid(quoted) {
			t.Fatalf("%q: %s: %v", s, quoted, err)
		}
		var want string
		theirs, _ := json.Marshal(s)
		if err := json.Unmarshal(theirs, &want); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("%q: %q, want %q", s, got, want)
		}
	})
}
