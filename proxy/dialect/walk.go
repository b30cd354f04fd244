package dialect

import (
	"iter"
	"strings"

	"github.com/tidwall/gjson"
)

// Walking over JSON that is known to be valid, without decoding its strings: gjson makes a copy of each that has an
// escape, and in answers nearly every line ends with one.

// members walks over an object: names as they are written, without quotes, and raw values. Of anything else it finds none.
func members(object string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		i := space(object, 0)
		if i >= len(object) || object[i] != '{' {
			return
		}
		for i = space(object, i+1); i < len(object) && object[i] == '"'; {
			end := valueEnd(object, i)
			from := space(object, end)
			from = space(object, from+1) // the colon
			to := valueEnd(object, from)
			if to > len(object) || !yield(object[i+1:end-1], object[from:to]) {
				return
			}
			if i = space(object, to); i >= len(object) || object[i] != ',' {
				return
			}
			i = space(object, i+1)
		}
	}
}

// elements walks over a list's raw values. Of anything else it finds none.
func elements(list string) iter.Seq[string] {
	return func(yield func(value string) bool) {
		i := space(list, 0)
		if i >= len(list) || list[i] != '[' {
			return
		}
		for i = space(list, i+1); i < len(list) && list[i] != ']'; {
			end := valueEnd(list, i)
			if end > len(list) || end == i || !yield(list[i:end]) {
				return
			}
			if i = space(list, end); i >= len(list) || list[i] != ',' {
				return
			}
			i = space(list, i+1)
		}
	}
}

// member is the raw value of an object's member, "" when there is none or it is null.
func member(object, name string) string {
	for n, value := range members(object) {
		if n == name && value != "null" {
			return value
		}
	}
	return ""
}

func space(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r') {
		i++
	}
	return i
}

// valueEnd is where the value that begins at i ends.
func valueEnd(s string, i int) int {
	if i >= len(s) {
		return i
	}
	switch s[i] {
	case '"':
		return literalEnd(s, i)
	case '{', '[':
	default:
		for i < len(s) && s[i] != ',' && s[i] != '}' && s[i] != ']' && s[i] > ' ' {
			i++
		}
		return i
	}
	depth := 0
	for i < len(s) {
		switch s[i] {
		case '"':
			i = literalEnd(s, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return i
}

// literalEnd is where the string whose quote is at i ends, its closing quote included.
func literalEnd(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return len(s)
}

// plain decodes a string literal; it is "" for any other value. It shares the literal's bytes where nothing is escaped.
func plain(literal string) string {
	if isLiteral(literal) && strings.IndexByte(literal, '\\') < 0 {
		return inner(literal)
	}
	return gjson.Parse(literal).Str
}

func isLiteral(raw string) bool { return len(raw) >= 2 && raw[0] == '"' }

// isText reports whether raw is a string literal that says something.
func isText(raw string) bool { return len(raw) > 2 && raw[0] == '"' }
