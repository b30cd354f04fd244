package tokens

import "golang.org/x/sys/cpu"

// block is how many bytes scan looks at together.
const block = 64

// unescapedQuote is eachQuote, many times as fast where they are many.
func unescapedQuote(raw []byte, i int) int {
	if !cpu.X86.HasAVX2 {
		return eachQuote(raw, i)
	}
	whole := (len(raw) - i) / block * block
	n, escaped := scan(raw[i:], 0)
	if i += n; n < whole {
		return i
	}
	var last [block]byte
	copy(last[:], raw[i:])
	if n, _ = scan(last[:], escaped); n == block {
		return -1
	}
	return i + n
}

// scan looks at the whole blocks of b, whose first byte is escaped (1) or not (0), and returns where the first quote is that
// no backslash escapes. If there is none, it returns how many bytes that were, and whether the next is escaped.
//
//go:noescape
func scan(b []byte, escaped uint64) (n int, next uint64)
