package guard

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/wire"
)

// fastest is how long a check takes when nothing else is in its way.
func fastest(c *Chain, body []byte) time.Duration {
	best := time.Hour
	for range 3 {
		begun := time.Now()
		_, _, _, _ = c.Request(body, wire.Chat)
		best = min(best, time.Since(begun))
	}
	return best
}

// linear tells whether sixteen times as much costs about sixteen times the time, and not its square. A machine that is
// busy with something else gets more tries.
func linear(c *Chain, body func(n int) []byte) (small, large time.Duration, ok bool) {
	for range 5 {
		if small, large = fastest(c, body(1000)), fastest(c, body(16000)); large < 64*small {
			return small, large, true
		}
	}
	return small, large, false
}

// The walk goes through a body once, whatever is repeated in it and wherever that stands.
func TestWalkIsLinear(t *testing.T) {
	c := chainOf(t, Config{Kind: "pii"}, Config{Kind: "injection"}, Config{Kind: "modality", Deny: []string{"video"}})
	deep := func(open, shut, inside string) string {
		return strings.Repeat(open, 60) + inside + strings.Repeat(shut, 60)
	}
	for _, place := range []string{
		`{"foo":{%s}}`, `{"foo":[{"a":{%s}}]}`, `{"response_format":{%s}}`, `{"prediction":{%s}}`, `{"metadata":{%s}}`, `{"tools":[{"type":"x","x":{%s}}]}`,
		`{"tools":[{"function":{"parameters":{"properties":{%s}}}}]}`, `{"tools":[{"input_schema":{%s}}]}`, `{"text":{"format":{"schema":{"enum":[{%s}]}}}}`,
		`{"messages":[{%s}]}`, `{"messages":[{"role":"user","content":[{%s}]}]}`, `{"messages":[{"role":"user","content":[{"type":"x","source":{%s}}]}]}`, `{"input":[{"output":{%s}}]}`, `{"system":[{%s}]}`,
		`{"messages":[{"content":` + deep(`[{"content":`, `}]`, `[{%s}]`) + `}]}`, `{"foo":` + deep(`{"data":"x","a":`, `}`, `{%s}`) + `}`,
	} {
		for _, member := range []string{`"data":"x",`, `"type":"x",`, `"role":"user",`, `"a":{"data":"x"},`, `"text":"x",`, `"content":[{"type":"text","text":"x"}],`, `"a b":"x",`, `"\u0061":"\u0062",`} {
			body := func(n int) []byte {
				return []byte(strings.Replace(place, "%s", strings.Repeat(member, n)+`"z":1`, 1))
			}
			if small, large, ok := linear(c, body); !ok {
				t.Errorf("%.60s %s: %s, sixteen times as much %s", place, member, small, large)
			}
		}
	}
}

// Texts that are all beginnings cost little more than others: no finder reads the same characters again and again.
func TestFindersAreLinear(t *testing.T) {
	c := chainOf(t, Config{Kind: "pii"})
	body := func(piece string) []byte {
		const size = 1 << 18
		return append(wire.AppendString([]byte(`{"messages":[{"role":"user","content":`), strings.Repeat(piece, size/len(piece))), `}]}`...)
	}
	prose := fastest(c, body("a b c "))
	worst, which := time.Duration(0), ""
	for _, piece := range append(hostile[:34:34], "sk-a-", "jv-sk-", "xai-", "AKIA-", "AIza-", "SG.", "-SG.a", "ya29.-", "glpat-", "eyJ.", "eyJaaaaaaaaaa.-", strings.Repeat("eyJ-", 250)+"."+strings.Repeat("a-", 6000),
		"token=token=token=", "token=1", "token=11111111", "apikey=1", "bearer 1 ", "secret:'1", "a-a@a-", "a@1.1.", strings.Repeat("a-", 30)+"@"+strings.Repeat("1.", 120), "a@a.a", "x-git@a.bc:", "logo@2x.png",
		"86-", "86 138", "123-", "1-415-", "+1 (1) ", "(123)", "4111-1111-", "3782 822463 ", "440308 19990101 ", "0571 8765", "13800138000+", "-----BEGIN RSA PRIVATE KEY") {
		took := fastest(c, body(piece))
		if took > worst {
			worst, which = took, piece
		}
		for n := 0; n < 5 && took > 20*prose; n++ {
			took = fastest(c, body(piece))
		}
		if took > 20*prose { // it is a few times; with its square, hundreds
			t.Errorf("%.40q: %s, prose %s", piece, took, prose)
		}
	}
	t.Logf("prose %s, the worst %.40q %s a megabyte", 4*prose, which, 4*worst)
}

// What across many parts of a message is looked for costs no more than in one.
func TestPartsAreLinear(t *testing.T) {
	for _, action := range []string{"flag", "mask"} {
		c := chainOf(t, Config{Kind: "pii", Action: action})
		body := func(n int) []byte {
			return fmt.Appendf(nil, `{"messages":[{"role":"user","content":[%s{"type":"text","text":"x"}]}]}`, strings.Repeat(`{"type":"text","text":"a@b.com 1"},`, n))
		}
		if small, large, ok := linear(c, body); !ok {
			t.Errorf("%s: %s, sixteen times as much %s", action, small, large)
		}
	}
}
