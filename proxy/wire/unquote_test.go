package wire

import (
	"encoding/json"
	"testing"
)

func TestAppendUnquoted(t *testing.T) {
	for inner, want := range map[string]string{
		`hello`:            `hello`,
		``:                 ``,
		`a\nb\tc\"d\\e\/f`: "a\nb\tc\"d\\e/f",
		`\b\f\r`:           "\b\f\r",
		`\u00e9\u4f60`:     "é你",
		`\ud83d\ude00!`:    "😀!",
		`\ud83d`:           "�",
		`\ud83dx`:          "�x",
		`\ud83d\u0041`:     "�A",
		`\uZZZZx`:          "�x",
		`\u12`:             "�12",
		`tail\`:            `tail\`,
		`{\"a\":\"b\\n\"}`: `{"a":"b\n"}`,
	} {
		if got := string(AppendUnquoted([]byte("> "), inner)); got != "> "+want {
			t.Errorf("%q: %q, want %q", inner, got, want)
		}
	}
}

func FuzzAppendUnquoted(f *testing.F) {
	f.Add(`a\n\u00e9\ud83d\ude00`)
	f.Fuzz(func(t *testing.T, inner string) {
		got := string(AppendUnquoted(nil, inner))
		var want string
		if json.Unmarshal([]byte(`"`+inner+`"`), &want) == nil && string([]rune(got)) != want {
			t.Errorf("%q: %q, want %q", inner, got, want)
		}
	})
}
