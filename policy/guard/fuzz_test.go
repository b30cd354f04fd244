package guard

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// Whatever the request: what the guards leave is JSON, and nothing in it has changed but strings, the names of members that
// hold something, and numbers that became placeholders.
func FuzzRequest(f *testing.F) {
	for _, text := range append(talk, hostile[:8]...) {
		f.Add([]byte(`{"messages":[{"role":"user","content":` + quoted(text) + `}]}`))
		f.Add([]byte(`{"input":[{"type":"function_call","arguments":` + quoted(quoted(text)) + `},{"content":[{"type":"text","text":` + quoted(text) + `},{"text":"000"}]}]}`))
	}
	f.Add([]byte(`{"messages":[{"content":[{"type":"tool_use","input":{"a":13800138000,"b":[{"c":"4111111111111111"}]}}]}],"x":1e5,"":null}`))
	f.Add([]byte(`{"metadata":{"a@b.com":"x"},"prompt":[[1,2]],"tools":[{"parameters":{"properties":{"n":{"enum":["a@b.com",13800138000]}},"required":["n"]}}]}`))
	f.Add([]byte(`{"input":[{"content":[{"type":"input_file","file_data":"data:text/plain;base64,YUBiLmNvbQ=="},{"type":"input_image","image_url":"data:,a%40b.com"},{"type":"d","source":{"data":"YUBiLmNvbQ==","type":"base64"}}]}]}`))
	c := chainOf(f, guards()...)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := wire.Parse(raw); err != nil {
			return
		}
		out, v, _, err := c.Request(raw, wire.Chat)
		if err != nil {
			refused(t, err) // a name would have to be masked, or there are numbers of tokens
			return
		}
		if _, err = wire.Parse(out); err != nil || !json.Valid(out) {
			t.Fatalf("%s became %s: %v", raw, out, err)
		}
		same(t, gjson.ParseBytes(raw), gjson.ParseBytes(out))
		if _, _, err = c.Answer(raw, wire.Chat, v); err != nil {
			t.Fatal(err)
		}
	})
}

func same(t *testing.T, a, b gjson.Result) {
	switch {
	case a.IsObject() || a.IsArray():
		x, y := children(a), children(b)
		if b.Type != gjson.JSON || len(x) != len(y) {
			t.Fatalf("%s became %s", a.Raw, b.Raw)
		}
		for i := range x {
			if x[i][0].Raw != y[i][0].Raw && !strings.Contains(y[i][0].Raw, "<") {
				t.Fatalf("key %s became %s", x[i][0].Raw, y[i][0].Raw)
			}
			same(t, x[i][1], y[i][1])
		}
	case b.Type == gjson.String && (a.Type == gjson.String || strings.HasPrefix(b.Str, "<")):
	case a.Raw != b.Raw:
		t.Fatalf("%s became %s", a.Raw, b.Raw)
	}
}

func children(a gjson.Result) (list [][2]gjson.Result) {
	a.ForEach(func(k, v gjson.Result) bool {
		list = append(list, [2]gjson.Result{k, v})
		return true
	})
	return list
}

// However a text is cut, its stream gives what the whole gives, in each dialect.
func FuzzSplit(f *testing.F) {
	for i, text := range append(slices.Clone(talk), talkJSON...) {
		f.Add(text, uint64(i), uint8(i))
	}
	c := chainOf(f, guards()...)
	v := vaultOf(f, c)
	f.Fuzz(func(t *testing.T, text string, seed uint64, which uint8) {
		if !utf8.ValidString(text) || len(text) > 4<<10 {
			return
		}
		d := &dialects[int(which)%len(dialects)]
		if d.name == "messages thinking" {
			return // puts back less
		}
		whole, err := masked(t, c, v, text, d.form)
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(seed, 1))
		var pieces []string
		for runes := []rune(text); len(runes) > 0; {
			n := min(len(runes), random.IntN(9))
			pieces = append(pieces, string(runes[:n]))
			runes = runes[n:]
		}
		if got, _, err := d.hear(c, v, d.events(pieces)); got != whole || err != nil {
			t.Fatalf("%s: %q: %v\n got %q\nwant %q", d.name, pieces, err, got, whole)
		}
	})
}

// The gateway's matcher finds what the library's does.
func FuzzPattern(f *testing.F) {
	for _, expr := range []string{`a+b?`, `(?i)x|xy`, `\bfoo\b`, `^a.*z$`, `(?m)^b+$`, `(a|ab)(c|bcd)`, `a*?b`, `[^x]{2,3}`, `中+`, `(?s).b`, `x{0,3}y`} {
		f.Add(expr, "xaab foo xyz\nbbb\nabcd 中中 XyY", uint8(3))
	}
	f.Fuzz(func(t *testing.T, expr, text string, step uint8) {
		checkPattern(t, expr, text, int(step))
	})
}

func TestChildren(t *testing.T) {
	if n := len(children(gjson.Parse(`{"a":1,"b":[2]}`))); n != 2 {
		t.Fatal(fmt.Sprint(n))
	}
}
