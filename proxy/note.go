package proxy

import (
	"strings"

	"github.com/tidwall/gjson"
)

// note is what a client says of its request in X-Jarvis-Metadata, a JSON object.
type note struct {
	read, said  bool
	user, scene string
	tags        []string
}

// note is read once: access lines, records and routes ask for it.
func (x *exchange) note() *note {
	n := &x.remarks
	if n.read {
		return n
	}
	n.read = true
	v := x.ctx.Request.Header.PeekCanonical(headerMetadata)
	if len(v) == 0 || len(v) > 4<<10 {
		return n
	}
	if text := string(v); !n.plain(text) { // a copy, for limits and metrics keep parts of it
		n.any(text)
	}
	return n
}

// plain reads a note that has nothing but strings without escapes, and lists of them as tags, as nearly all are: for these it takes a
// sixth of the time. It is false for any other.
func (n *note) plain(text string) bool {
	rest, ok := cut(text, '{')
	for ok {
		var name, value string
		if name, rest, ok = cutString(rest); !ok {
			return false
		}
		if rest, ok = cut(rest, ':'); !ok {
			return false
		}
		if name == "tags" {
			rest, ok = n.plainTags(rest)
		} else {
			value, rest, ok = cutString(rest)
		}
		if !ok {
			return false
		}
		switch name {
		case "user":
			n.user = value
		case "scene":
			n.scene = value
		}
		if rest, ok = cut(rest, ','); !ok {
			rest, ok = cut(rest, '}')
			n.said = ok && strings.Trim(rest, blanks) == ""
			return n.said
		}
	}
	return false
}

func (n *note) plainTags(text string) (rest string, ok bool) {
	rest, ok = cut(text, '[')
	for ok {
		var tag string
		if tag, rest, ok = cutString(rest); !ok {
			return rest, false
		}
		n.tags = append(n.tags, tag)
		if rest, ok = cut(rest, ','); !ok {
			return cut(rest, ']')
		}
	}
	return rest, false
}

// cut takes away a sign and the space before it.
func cut(text string, sign byte) (rest string, ok bool) {
	for i := range len(text) {
		switch text[i] {
		case sign:
			return text[i+1:], true
		case ' ', '\t', '\r', '\n':
		default:
			return text, false
		}
	}
	return text, false
}

// cutString takes away a string that has no escapes, and is valid.
func cutString(text string) (value, rest string, ok bool) {
	if text, ok = cut(text, '"'); !ok {
		return "", text, false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"':
			return text[:i], text[i+1:], true
		case c == '\\' || c < ' ':
			return "", text, false
		}
	}
	return "", text, false
}

// any reads any note.
func (n *note) any(text string) {
	*n = note{read: true, tags: n.tags[:0]} // of what plain has found
	if !gjson.Valid(text) {
		return
	}
	object := gjson.Parse(text)
	if n.said = object.IsObject(); !n.said {
		return
	}
	object.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "user":
			n.user = value.String()
		case "scene":
			n.scene = value.String()
		case "tags":
			value.ForEach(func(_, tag gjson.Result) bool {
				n.tags = append(n.tags, tag.String())
				return true
			})
		}
		return true
	})
}
