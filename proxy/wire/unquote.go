package wire

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// AppendUnquoted appends the text that a JSON string stands for, given without its quotes. What is no valid escape is kept
// as it is: the text is to be counted, not to be trusted.
func AppendUnquoted(dst []byte, inner string) []byte {
	for {
		i := strings.IndexByte(inner, '\\')
		if i < 0 || i+1 == len(inner) {
			return append(dst, inner...)
		}
		dst = append(dst, inner[:i]...)
		if inner[i+1] == 'u' {
			r, n := escapedRune(inner[i:])
			dst, inner = utf8.AppendRune(dst, r), inner[i+n:]
			continue
		}
		dst, inner = append(dst, Unescape(inner[i+1])), inner[i+2:]
	}
}

// Unescape is what a letter after a backslash stands for: n is a new line. What is no valid escape stands for itself.
func Unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 't':
		return '\t'
	case 'r':
		return '\r'
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	}
	return c
}

// escapedRune reads \u00e9, or the two of a surrogate pair, and how long that is.
func escapedRune(b string) (r rune, n int) {
	if len(b) < 6 {
		return utf8.RuneError, 2
	}
	r = HexRune(b[2:6])
	if utf16.IsSurrogate(r) && len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		if pair := utf16.DecodeRune(r, HexRune(b[8:12])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return r, 6
}

// HexRune reads hexadecimal digits; what is none makes the character unreadable.
func HexRune[B string | []byte](digits B) (r rune) {
	for i := range len(digits) {
		c := digits[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return utf8.RuneError
		}
		r = r<<4 | rune(c)
	}
	return r
}
