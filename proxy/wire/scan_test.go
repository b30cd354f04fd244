package wire

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestPlain(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		raw := make([]byte, r.IntN(70))
		for i := range raw {
			raw[i] = byte(0x20 + r.IntN(0x60))
			if raw[i] == '"' || raw[i] == '\\' {
				raw[i] = 'x'
			}
		}
		want := len(raw)
		if want > 0 && r.IntN(4) > 0 {
			want = r.IntN(len(raw))
			raw[want] = []byte{'"', '\\', 0, 0x1f, '\n', 0x80, 0xff, 0xe4}[r.IntN(8)]
			for i := want + 1; i < len(raw); i++ {
				raw[i] = byte(r.IntN(256))
			}
		}
		if got := plain(raw, 0); got != want {
			t.Fatalf("plain(%q) is %d, not %d", raw, got, want)
		}
		end, upper := plainKey(raw, 0)
		if end != want || upper != bytes.ContainsFunc(raw[:want], func(r rune) bool { return 'A' <= r && r <= 'Z' }) {
			t.Fatalf("plainKey(%q) is %d %v", raw, end, upper)
		}
	}
}

func TestMultibyte(t *testing.T) {
	const rest = `and the rest"`
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		if 0xd800 <= r && r < 0xe000 {
			continue
		}
		raw := []byte(string(r) + rest)
		if got := multibyte(raw, 0); got != len(raw)-len(rest) {
			t.Fatalf("%U ends at %d", r, got)
		}
	}
	var raw [4 + len(rest)]byte
	for w := range uint32(1 << 24) { // all beginnings of three bytes
		if w&0x80 == 0 {
			continue
		}
		binary.LittleEndian.PutUint32(raw[:], w)
		copy(raw[3:], rest)
		_, n := utf8.DecodeRune(raw[:])
		if n == 1 {
			n = 0
		}
		if n == 0 && multibyte(raw[:], 0) != 0 || n > 0 && multibyte(raw[:], 0) < n {
			t.Fatalf("% x ends at %d", raw[:3], multibyte(raw[:], 0))
		}
	}
}

func TestFold(t *testing.T) {
	for r := range rune(unicode.MaxRune) {
		if !utf8.ValidRune(r) {
			continue
		}
		folded := string(fold(nil, []byte(string(r))))
		if !strings.EqualFold(folded, string(r)) {
			t.Fatalf("%U folds to %q", r, folded)
		}
		for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
			if string(fold(nil, []byte(string(o)))) != folded {
				t.Fatalf("%U and %U fold apart", r, o)
			}
		}
	}
}

// No body may cost more than its length: not many keys, nor unusual ones, nor deep nests of them.
func TestParseIsLinear(t *testing.T) {
	odd := strings.TrimSuffix(strings.Repeat(`{"é":1},`, 100_000), ",")
	full := strings.TrimSuffix(keys(30, "k%d"), "}")
	long := strings.Repeat("A", 100_000)
	for name, raw := range map[string]string{
		"keys":        keys(100_000, "k%d"),
		"capitals":    keys(100_000, "Kk%d"),
		"other keys":  keys(100_000, "ключ%d"),
		"odd objects": `{"messages":[` + odd + `]}`,
		"deep keys":   full + `,"input":` + full + `,"x":` + full + `,"x":[` + strings.TrimSuffix(strings.Repeat(`{"a":1,"b":2},`, 100_000), ",") + `]}}}`,
		"long keys":   keys(30, long+"%02d"),
		"spaces":      `{"a":` + strings.Repeat(" ", 1e6) + `1}`,
		"escapes":     `{"model":"` + strings.Repeat(`\ud83d\ude00`, 100_000) + `"}`,
	} {
		took := time.Hour
		for try := 0; try < 5 && took > 5*time.Second; try++ { // the machine may be busy
			start := time.Now()
			parse(t, raw)
			took = min(took, time.Since(start))
		}
		t.Logf("%-12s %9d bytes %v, %.1f ns per byte", name, len(raw), took, float64(took)/float64(len(raw)))
		if took > 5*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
}
