package tokens

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

var both = map[string]func() *vocabulary{"o200k": o200k, "cl100k": cl100k}

// each calls f with every token, in the order of their ranks.
func (v *vocabulary) each(f func(token []byte)) {
	for at := 0; at < len(v.packed); {
		token := v.packed[at+1 : at+1+int(v.packed[at])]
		f(token)
		at += 1 + len(token)
	}
}

// The digests are those that OpenAI's own code expects of the files it downloads.
func TestVocabulariesAreThePublishedOnes(t *testing.T) {
	for name, digest := range map[string]string{
		"o200k":  "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
		"cl100k": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
	} {
		var file []byte
		rank := int64(0)
		both[name]().each(func(token []byte) {
			file = append(base64.StdEncoding.AppendEncode(file, token), ' ')
			file = append(strconv.AppendInt(file, rank, 10), '\n')
			rank++
		})
		sum := sha256.Sum256(file)
		if got := hex.EncodeToString(sum[:]); got != digest {
			t.Errorf("%s: %s, published is %s", name, got, digest)
		}
	}
}

// A part of a piece that is a token counts as one: that is right only if merging its bytes gives the same.
func TestEveryTokenIsFoundAndMergesToItself(t *testing.T) {
	for name, load := range both {
		v, rank := load(), uint32(0)
		var long merger
		v.each(func(token []byte) {
			if got := v.rank(token); got != rank {
				t.Errorf("%s: %q has rank %d, expected %d", name, token, got, rank)
			}
			if got := long.merge(v, token); got != 1 {
				t.Errorf("%s: %q merges to %d tokens", name, token, got)
			}
			rank++
		})
		for _, no := range []string{"zzzzq", "\xff\xfe", "龘龘龘", strings.Repeat("x", 200)} {
			if got := v.rank([]byte(no)); got != absent {
				t.Errorf("%s: %q is token %d", name, no, got)
			}
		}
	}
}

// simple is byte-pair merging as the paper has it.
func simple(v *vocabulary, s []byte) int {
	var parts [][]byte
	for i := range s {
		parts = append(parts, s[i:i+1])
	}
	for {
		least, at := absent, 0
		for i := range len(parts) - 1 {
			if r := v.pair(append(bytes.Clone(parts[i]), parts[i+1]...)); r < least {
				least, at = r, i
			}
		}
		if least == absent {
			return len(parts)
		}
		merged := append(bytes.Clone(parts[at]), parts[at+1]...)
		parts = append(append(parts[:at:at], merged), parts[at+2:]...)
	}
}

// sameByAnyWay checks that a piece has the same tokens merged simply, with a heap, and cut first.
func sameByAnyWay(t *testing.T, v *vocabulary, s []byte) {
	t.Helper()
	var long merger
	want, cut := simple(v, s), 0
	for rest := s; len(rest) > 0; {
		end := v.joins.cut(rest)
		cut += v.part(rest[:end], &long)
		rest = rest[end:]
	}
	heap := want
	if len(s) > 0 {
		heap = long.merge(v, s)
	}
	if cut != want || heap != want {
		t.Errorf("%q: %d tokens, cut first %d, with a heap %d", s, want, cut, heap)
	}
}

func TestMergingIsTheSameByAnyWay(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, load := range both {
		v := load()
		var some [][]byte
		rank := 0
		v.each(func(token []byte) {
			if rank++; rank%23 == 0 {
				some = append(some, token)
			}
		})
		for range 300 {
			var s []byte
			for range 1 + random.IntN(20) {
				switch random.IntN(4) {
				case 0:
					s = utf8.AppendRune(s, rune(0x4e00+random.IntN(0x5200)))
				case 1:
					s = utf8.AppendRune(s, rune(random.IntN(0x30000)))
				default:
					s = append(s, some[random.IntN(len(some))]...)
				}
			}
			sameByAnyWay(t, v, s[:min(len(s), 150)])
		}
	}
}

func FuzzCount(f *testing.F) {
	for _, s := range []string{"", "I'LL'ſ 1234 中文AB  \n\t x", "\xff\xe4\xb8", "नमस्ते <|endoftext|>", "    \n  a", "/\n/"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		if len(s) > 400 {
			return
		}
		for _, load := range both {
			v := load()
			sameByAnyWay(t, v, s)
			for i := 0; i < len(s); {
				end := v.next(s, i)
				if end <= i || end > len(s) {
					t.Fatalf("%q: the piece from %d ends at %d", s, i, end)
				}
				i = end
			}
			if n := v.count(s); n > len(s) || n*v.longest < len(s) {
				t.Errorf("%q: %d tokens", s, n)
			}
		}
	})
}

func TestClassesAreUnicodes(t *testing.T) {
	table := characters()
	for r := rune(0); r <= unicode.MaxRune; r++ {
		want := uint8(other)
		switch {
		case r == '\n' || r == '\r':
			want = newline
		case unicode.In(r, unicode.Lu, unicode.Lt):
			want = upper
		case unicode.Is(unicode.Ll, r):
			want = lower
		case unicode.IsLetter(r):
			want = letter
		case unicode.IsMark(r):
			want = mark
		case unicode.IsNumber(r):
			want = number
		case unicode.IsSpace(r):
			want = space
		}
		s := utf8.AppendRune(nil, r)
		if class, size := table.at(s, 0); size != len(s) || class != want && utf8.ValidRune(r) {
			t.Fatalf("%U: class %d of %d bytes, expected %d of %d", r, class, size, want, len(s))
		}
	}
	for _, bad := range []string{"\xe4", "\xe4\xb8", "\xe4\xb8x", "\xed\xa0\x80", "\xf8", "\x80"} {
		if class, size := table.at([]byte(bad), 0); class != other || size != 1 {
			t.Errorf("%q: class %d of %d bytes", bad, class, size)
		}
	}
}

func FuzzUnescape(f *testing.F) {
	for _, s := range []string{`a\n\"\\\/\b\f\r\t`, `\u4f60\u597d`, `\ud83d\ude00`, `\ud83dx`, `\ude00\ud83d`, `\u12`, `\`, `\x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := unescape(nil, []byte(s))
		if len(got) > len(s) {
			t.Fatalf("%q has become longer: %q", s, got)
		}
		var want string
		if utf8.ValidString(s) && json.Unmarshal([]byte(`"`+s+`"`), &want) == nil && string(got) != want {
			t.Errorf("%q: %q, expected %q", s, got, want)
		}
	})
}
