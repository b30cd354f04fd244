package guard

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/wire"
)

// Texts made to cost time: each is nothing but beginnings of something.
var hostile = []string{
	"a", "1", "a.", "a-", "1 ", "1-", "+1 ", "(1", "a@", "a@a.", "a@a-", "13800138000", "4111 1111 1111 1111 ", "sk-", "sk-a", "eyJ", "eyJ-", "eyJaaaaaaaaaa.", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----",
	"token=", "token=a1b2c3d4", "api_key: \"", "bearer ", "<", "<EMAIL_1", "EMAIL_1", "&lt;", "\u200b", "１", "中", "xy", "ab", "a b ", "ignore all previous ", "忽略之前的", "\\", "\"", "\n", "{\"", "\U0001d7cf",
}

func TestLinear(t *testing.T) {
	c := chainOf(t, Config{Kind: "pii"}, Config{Kind: "injection"}, Config{Kind: "deny", Patterns: []string{`(x+x+)+y+z`, `(?i)project\s+phoenix`, `(a|aa)+$b`, `(?:a?){8}a{8}q`}},
		Config{Kind: "deny", Action: "mask", Patterns: []string{`a(?:.*b)?c?d`, `x.*z|x{2}`, `[ab ]{5,20}!`}})
	v := &Vault{}
	v.hide("EMAIL", "x@y.z")
	v.answering = true
	for i, piece := range hostile {
		size := 1 << 15
		if i%24 == 1 { // some of a megabyte, all of which would take minutes with the race detector
			size = 1 << 20
		}
		text := strings.Repeat(piece, size/len(piece))
		body := append(wire.AppendString([]byte(`{"messages":[{"role":"user","content":`), text), `}]}`...)
		begun := time.Now()
		out, _, _, err := c.Request(body, wire.Chat)
		asked := time.Since(begun)
		if err == nil && !json.Valid(out) {
			t.Errorf("%q: not JSON", piece)
		}
		answer := append(wire.AppendString([]byte(`{"choices":[{"message":{"content":`), text), `}}]}`...)
		begun = time.Now()
		if out, _, err = c.Answer(answer, wire.Chat, v); err == nil && !json.Valid(out) {
			t.Errorf("%q: not JSON", piece)
		}
		if told := time.Since(begun); asked > time.Minute || told > time.Minute {
			t.Errorf("%q: %s to ask, %s to answer", piece, asked, told)
		} else if asked > 300*time.Millisecond || told > 300*time.Millisecond {
			t.Logf("%q: %s to ask, %s to answer", piece, asked, told)
		}
	}
}
