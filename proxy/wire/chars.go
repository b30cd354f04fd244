package wire

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks the bytes of a word that end a plain run: quote, backslash, control characters and bytes of 0x80 and
// above have their high bit set. Only the lowest mark is certain, a borrow may have made the ones above it. Quote and
// control characters share a test: xor 0x02 maps the quote to 0x20 and keeps the control characters below that.
func special(w uint64) uint64 {
	quotes := (w ^ 0x02*ones) - 0x21*ones
	slashes := (w ^ '\\'*ones) - ones
	return (quotes | slashes | w) & highs
}

// plain returns the offset of the first byte from i on that is not ordinary ASCII text in a string, or len(raw).
func plain(raw []byte, i int) int {
	for ; i+32 <= len(raw); i += 32 {
		b := raw[i : i+32]
		if m := special(binary.LittleEndian.Uint64(b)); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		if m := special(binary.LittleEndian.Uint64(b[8:])); m != 0 {
			return i + 8 + bits.TrailingZeros64(m)>>3
		}
		if m := special(binary.LittleEndian.Uint64(b[16:])); m != 0 {
			return i + 16 + bits.TrailingZeros64(m)>>3
		}
		if m := special(binary.LittleEndian.Uint64(b[24:])); m != 0 {
			return i + 24 + bits.TrailingZeros64(m)>>3
		}
	}
	for i < len(raw) && special(uint64(raw[i])|' '*(ones-1)) == 0 {
		i++
	}
	return i
}

// multibyte returns the offset behind the well-formed UTF-8 sequences beyond ASCII that start at i. It returns i when
// the first one is malformed. Two and three bytes, most of the world's scripts, are tested without decoding.
func multibyte(raw []byte, i int) int {
	for i+8 <= len(raw) {
		switch w := binary.LittleEndian.Uint64(raw[i:]); {
		case threeBytes(w):
			i += 3
			if threeBytes(w >> 24) {
				i += 3
			}
			continue
		case w&0xc0e0 == 0x80c0 && w&0x1e != 0: // C2..DF and a continuation
			i += 2
			continue
		}
		_, n := utf8.DecodeRune(raw[i:])
		if n == 1 { // ASCII, or malformed
			return i
		}
		i += n
	}
	for i < len(raw) && raw[i] >= utf8.RuneSelf {
		_, n := utf8.DecodeRune(raw[i:])
		if n == 1 {
			break
		}
		i += n
	}
	return i
}

// threeBytes reports whether w starts with a three-byte sequence that is not overlong and not a surrogate.
func threeBytes(w uint64) bool {
	edge := w & 0x200f // tells E0 80..9F (overlong) and ED A0..BF (surrogates)
	return w&0xc0c0f0 == 0x8080e0 && edge != 0 && edge != 0x200d
}

// escape returns the offset behind the escape at i, negative when it is none.
func escape(raw []byte, i int) int {
	if i+1 >= len(raw) {
		return -1
	}
	switch raw[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		if _, ok := hex4(raw, i+2); ok {
			return i + 6
		}
	}
	return -1
}

// hex4 reads four hexadecimal digits.
func hex4(raw []byte, i int) (r rune, ok bool) {
	if i+4 > len(raw) {
		return 0, false
	}
	for _, c := range raw[i : i+4] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20-'a' <= 5:
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// loneSurrogate reports whether a valid quoted string holds half of a surrogate pair, which is no character: readers
// replace it, keep it or refuse it.
func loneSurrogate(quoted []byte) bool {
	for i := bytes.IndexByte(quoted, '\\'); i >= 0 && i < len(quoted); {
		if quoted[i] != '\\' {
			i++
			continue
		}
		if quoted[i+1] != 'u' {
			i += 2
			continue
		}
		r, _ := hex4(quoted, i+2)
		i += 6
		switch {
		case 0xdc00 <= r && r < 0xe000:
			return true
		case 0xd800 <= r && r < 0xdc00:
			low, ok := hex4(quoted, i+2)
			if !ok || quoted[i] != '\\' || quoted[i+1] != 'u' || low < 0xdc00 || low >= 0xe000 {
				return true
			}
			i += 6
		}
	}
	return false
}
