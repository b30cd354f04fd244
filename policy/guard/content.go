package guard

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"unicode/utf8"

	"jarvis-gateway/proxy/wire"
)

// packing is how bytes are written in a body.
type packing uint8

const (
	base64ed  packing = iota
	percented         // as in URLs
)

// packed is a text that is written as bytes are.
type packed struct {
	how   packing
	inner []byte // as a JSON string would have it
}

// content takes in an address or the bytes of a file. Bytes that are a text are looked at as what they say, and masked
// within. Addresses are signed and full of numbers: they are like names that are no words.
func (w *walker) content(start, end int, p place) {
	raw := w.raw[start:end]
	how, header := base64ed, 0
	switch {
	case len(raw) > 5 && bytes.EqualFold(raw[:5], []byte("data:")):
		header = bytes.IndexByte(raw, ',') + 1
		if !bytes.HasSuffix(bytes.ToLower(raw[:max(header-1, 0)]), []byte("base64")) {
			how = percented
		}
	case isAddress(raw):
		if w.names {
			w.said = append(w.said, said{start: start, end: end, role: p.role, fixed: true, plain: true})
		}
		return
	}
	text, ok := unpack(unquoted(raw[header:]), how)
	switch {
	case !ok:
		w.say(start, end, p) // neither an address nor bytes
	case len(text) > 0:
		quoted := wire.AppendString(nil, string(text))
		w.said = append(w.said, said{start: start + header, end: end, role: p.role, packed: &packed{how, quoted[1 : len(quoted)-1]}})
	}
}

// isAddress tells addresses, which have a scheme and no spaces, from texts.
func isAddress(raw []byte) bool {
	scheme := bytes.Index(raw, []byte("://"))
	if scheme < 1 || scheme > 16 {
		return false
	}
	for _, c := range raw {
		if c <= ' ' || c >= utf8.RuneSelf || c == '<' || c == '>' {
			return false
		}
	}
	return true
}

// unpack is the text that is packed so: none when the bytes are no text, false when there are no bytes.
func unpack(raw []byte, how packing) ([]byte, bool) {
	if how == percented {
		text, err := url.PathUnescape(string(raw))
		return []byte(text), err == nil
	}
	if bytes.IndexByte(raw, '\n') >= 0 {
		raw = bytes.Join(bytes.Fields(raw), nil)
	}
	code := base64.RawStdEncoding
	if raw = bytes.TrimRight(raw, "="); bytes.ContainsAny(raw, "-_") {
		code = base64.RawURLEncoding
	}
	const most = 1 << 10 // of a picture need not be read more
	begins := make([]byte, most)
	n, err := code.Decode(begins, raw[:min(len(raw), most)])
	if err != nil || !isText(begins[:n]) || len(raw) <= most {
		return textOf(begins[:n]), err == nil
	}
	text := make([]byte, code.DecodedLen(len(raw)))
	n, err = code.Decode(text, raw)
	return textOf(text[:n]), err == nil
}

// textOf is the bytes if they are a text, in whatever encoding that has ASCII in it.
func textOf(b []byte) []byte {
	if !isText(b) {
		return nil
	}
	return b
}

func isText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' && c != '\f' && c != '\v' && c != '\x1b' {
			return false
		}
	}
	return true
}

// text is what a string says, as a JSON string would have it.
func (q *asked) text(s *said) []byte {
	if s.packed != nil {
		return s.inner
	}
	return q.raw[s.start:s.end]
}

// put puts a text in the place of one: as a JSON string would have it, or packed as that one was.
func (q *asked) put(s *said, text []byte) {
	switch {
	case s.packed == nil:
	case s.how == base64ed:
		text = []byte(base64.StdEncoding.EncodeToString(unquoted(text)))
	default:
		text = []byte(url.PathEscape(string(unquoted(text))))
	}
	q.edits = append(q.edits, edit{s.start, s.end, text})
}
