package tokens

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// naiveEnd is where a string ends, found byte by byte.
func naiveEnd(raw []byte, i int) int {
	for ; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

func checkEnds(t *testing.T, raw []byte) {
	t.Helper()
	for name, end := range map[string]func([]byte, int) int{"string": stringEnd, "unescaped": unescapedQuote, "each": eachQuote} {
		if got, want := end(raw, 1), naiveEnd(raw, 1); got != want {
			t.Fatalf("%s: %d, expected %d, in %q", name, got, want, raw)
		}
	}
}

// Runs of backslashes of all lengths, at all places of a block and across its end, in front of a quote or of another byte.
func TestStringEndBehindBackslashes(t *testing.T) {
	for at := range 140 {
		for run := range 140 {
			for _, rest := range []string{`"`, `a"`, `"",`, `\"`, ``, `a`} {
				checkEnds(t, []byte(`"`+strings.Repeat("x", at)+strings.Repeat(`\`, run)+rest))
				checkEnds(t, []byte(`"\"`+strings.Repeat("x", at)+strings.Repeat(`\`, run)+rest+strings.Repeat(`\"`, 50)))
			}
		}
	}
}

func TestStringEndOfRandomStrings(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for _, alphabet := range []string{`\"`, `\"x`, `\\\\\\\\\\\\"`, `\xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"`, "\\\\\xdc\xa2\""} {
		for range 5000 {
			raw := make([]byte, 1+random.IntN(400))
			for i := range raw {
				raw[i] = alphabet[random.IntN(len(alphabet))]
			}
			raw[0] = '"'
			checkEnds(t, raw)
			checkEnds(t, []byte(`"`+strings.ReplaceAll(string(raw), `"`, `\"`)+`" "`)) // ends late, if at all
		}
	}
}

func FuzzStringEnd(f *testing.F) {
	f.Add([]byte(`"a\"b\\"`))
	f.Add([]byte(`"` + strings.Repeat(`\"\\`, 40) + `"`))
	f.Fuzz(func(t *testing.T, raw []byte) { checkEnds(t, append([]byte(`"`), raw...)) })
}

func BenchmarkStringEnd10KB(b *testing.B) {
	for name, unit := range map[string]string{"quotes": `\"`, "backslashes": `\\`, "escapes": `ab\n \"`, "letters": `abcd`} {
		raw := []byte(`"` + strings.Repeat(unit, 10_240/len(unit)) + `"`)
		for name, end := range map[string]func([]byte, int) int{name: unescapedQuote, fmt.Sprintf("%s, one by one", name): eachQuote} {
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					end(raw, 1)
				}
			})
		}
	}
}
