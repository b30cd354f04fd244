package guard

import (
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

var english = strings.Repeat("The quick brown fox, aged 12, wrote to nobody in particular about the weather in 2024.\nIt said: \\\"fine\\\". ", 100)[:10<<10]

var chinese = strings.Repeat("今天天气很好，我们去公园散步吧。价格是１２８元，编号2024-001！", 130)

func chat(text string) []byte {
	return []byte(`{"model":"m","messages":[{"role":"system","content":"You are kind."},{"role":"user","content":"` + strings.TrimRight(text, "\\") + `"}]}`)
}

func BenchmarkRequest(b *testing.B) {
	words := []string{`(?i)project\s+phoenix`, `\bconfidential\b`, `(?i)internal[ -]only`, `内部资料|绝密`, `(?i)\bcode\s*name\s*\w+`}
	for _, bc := range []struct {
		name string
		cfgs []Config
	}{
		{"pii", []Config{{Kind: "pii"}}}, {"deny5", []Config{{Kind: "deny", Patterns: words}}},
		{"pii+deny5", []Config{{Kind: "pii"}, {Kind: "deny", Patterns: words}}}, {"injection", []Config{{Kind: "injection"}}},
	} {
		for lang, text := range map[string]string{"english": english, "chinese": chinese[:10<<10-1]} {
			raw := chat(strings.ToValidUTF8(text, ""))
			c := chainOf(b, bc.cfgs...)
			b.Run(bc.name+"/"+lang, func(b *testing.B) {
				b.SetBytes(int64(len(raw)))
				b.ReportAllocs()
				for b.Loop() {
					if out, _, _, err := c.Request(raw, wire.Chat); err != nil || &out[0] != &raw[0] {
						b.Fatal(err, string(out[:200]))
					}
				}
			})
		}
	}
}

func BenchmarkStream(b *testing.B) {
	c := chainOf(b, Config{Kind: "pii"}, Config{Kind: "deny", Patterns: []string{`(?i)project\s+phoenix`, `\bconfidential\b`}})
	ev := []byte("data: " + dialects[0].piece(`" weather"`, 0) + "\n\n")
	s := c.Stream(wire.Chat, &Vault{answering: true})
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = s.Event(dst[:0], ev); err != nil {
			b.Fatal(err)
		}
	}
}
