package tokens

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// unescape is the text that a JSON string holds: the bytes themselves if nothing in it is escaped, else appended to dst. It is
// no longer than the string. What is no escape stays as it is.
func unescape(dst, text []byte) []byte {
	next := bytes.IndexByte(text, '\\')
	if next < 0 {
		return text
	}
	for next >= 0 {
		dst = append(dst, text[:next]...)
		text = text[next:]
		for len(text) > 0 && text[0] == '\\' { // one escape is often behind another
			if len(text) > 1 && escapes[text[1]] != 0 {
				dst = append(dst, escapes[text[1]])
				text = text[2:]
				continue
			}
			r, size := escape(text)
			dst = utf8.AppendRune(dst, r)
			text = text[size:]
		}
		next = bytes.IndexByte(text, '\\')
	}
	return append(dst, text...)
}

// escapes are the characters that one behind a backslash stands for.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape reads an escape that is not one of escapes.
func escape(text []byte) (r rune, size int) {
	if len(text) < 2 || text[1] != 'u' {
		return '\\', 1
	}
	if r = hex4(text[2:]); r < 0 {
		return '\\', 1
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(text) >= 12 && text[6] == '\\' && text[7] == 'u' {
		if pair := utf16.DecodeRune(r, hex4(text[8:])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return utf8.RuneError, 6
}

// hex4 reads four hexadecimal digits, -1 if that is not what text starts with.
func hex4(text []byte) (r rune) {
	if len(text) < 4 {
		return -1
	}
	for _, c := range text[:4] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20-'a' <= 5:
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}
