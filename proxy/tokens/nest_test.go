package tokens

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func checkNesting(t *testing.T, raw []byte, open byte, in nesting) {
	t.Helper()
	blocks := raw[:len(raw)/block*block]
	got, gotAt := nest(raw, open, in)
	want, wantAt := nestEach(blocks, open, in)
	if got != want || gotAt.depth != wantAt.depth || gotAt.depth > 0 && gotAt != wantAt {
		t.Fatalf("%c from %+v: %d %+v, expected %d %+v, in %q", open, in, got, gotAt, want, wantAt, raw)
	}
	end, at := nestEach(raw, open, nesting{depth: 1})
	if at.depth > 0 {
		end = -1
	}
	if got := closing(raw, open); got != end {
		t.Fatalf("%c closes at %d, expected %d, in %q", open, got, end, raw)
	}
}

func TestNestingOfRandomText(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for _, alphabet := range []string{`[]`, `[[]]""\`, `{}[]",: a`, `\"[]`, `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx[]]"`, `{{{{}}}}}x`} {
		for range 5000 {
			raw := make([]byte, random.IntN(400))
			for i := range raw {
				raw[i] = alphabet[random.IntN(len(alphabet))]
			}
			in := nesting{1 + random.IntN(5), uint64(random.IntN(2)), -uint64(random.IntN(2))}
			checkNesting(t, raw, '[', in)
			checkNesting(t, raw, '{', in)
		}
	}
}

func TestClosingAtEachPlace(t *testing.T) {
	for at := range 200 {
		for _, unit := range []string{"x", "[]", `"]"`, `"\"]"`, "[[]", "\\"} {
			raw := []byte(strings.Repeat(unit, at) + "]" + strings.Repeat("]", at) + strings.Repeat("x", at%70))
			checkNesting(t, raw, '[', nesting{depth: 1})
		}
	}
}

func FuzzNesting(f *testing.F) {
	f.Add([]byte(`{"a":[1,"]\\\"",{}]}`), 1, true, false)
	f.Fuzz(func(t *testing.T, raw []byte, depth int, escaped, inside bool) {
		in := nesting{depth: 1 + max(depth%100, -depth%100)}
		if escaped {
			in.escaped = 1
		}
		if inside {
			in.inside = ^uint64(0)
		}
		checkNesting(t, raw, '[', in)
		checkNesting(t, append(raw, raw...), '{', in)
	})
}

func BenchmarkClosing10KB(b *testing.B) {
	for name, unit := range map[string]string{"letters": "abcd", "strings": `"abcd",`, "objects": `{"a":"b"},`, "escapes": `"a\n\"b\\",`, "arrays": `["a","b"],`} {
		raw := []byte(strings.Repeat(unit, 10_240/len(unit)) + "]")
		b.Run(fmt.Sprint(name), func(b *testing.B) {
			for b.Loop() {
				closing(raw, '[')
			}
		})
	}
}
