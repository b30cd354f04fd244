package guard

import (
	"bytes"
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"jarvis-gateway/proxy/wire"
)

// form is how a string of a body is to be read.
type form uint8

const (
	prose  form = iota // text
	nested             // text that is JSON: the arguments of a call. Its strings have escapes of their own
	either             // an answer's text, which is JSON when it begins like it
	number             // not a string: a number that could be a phone's
)

// window is a text as guards see it: escapes decoded and, as look tells, look-alikes made plain. The text may come in
// pieces; the window keeps what is not decided yet, and a little before that to look back at. It knows where in the
// client's own bytes each character stands, so that nothing else need change.
type window struct {
	look look
	form form

	text  []byte // as guards see it
	raw   []byte // as it was written: what stands between the quotes
	spans []span // where text and raw begin to run side by side, in order; none: they are the same from the start
	read  int    // of raw, already in text

	began   byte // either: the first character, once seen
	decided bool // either: whether the text is JSON is known
	inside  bool // nested: within a string of the inner JSON
	changed bool // look made a difference

	space []byte // for the text of the next load
}

// span tells that text from here on is raw from there on, byte by byte.
type span struct {
	text, raw int
	end       int  // of raw, where the character before ends: between the two stands what nobody sees
	bare      bool // nested, and not within a string of the inner JSON
}

// load makes the window hold one whole text, without a copy when it needs no reading.
func (w *window) load(raw []byte, f form) {
	w.reset(f)
	if (f == prose || f == number) && w.simple(raw) {
		w.text, w.raw, w.read = raw, raw, len(raw)
		return
	}
	w.raw = raw
	w.text = slices.Grow(w.space[:0], len(raw))
	w.fold(true)
	w.space = w.text
}

func (w *window) reset(f form) {
	*w = window{look: w.look, form: f, spans: w.spans[:0], space: w.space}
	if f == nested || f == number {
		w.spans = append(w.spans, span{bare: true})
	}
}

// simple tells whether raw reads as it is written.
func (w *window) simple(raw []byte) bool {
	return bytes.IndexByte(raw, '\\') < 0 && (w.look == asIs || !w.look.differs(raw))
}

// add reads more of the text.
func (w *window) add(raw []byte, final bool) {
	w.raw = append(w.raw, raw...)
	w.fold(final)
}

// fold reads raw as far as it is whole: an escape, or a character, may be cut by the end of a piece.
func (w *window) fold(final bool) {
	for w.read < len(w.raw) {
		if w.form != either || w.decided {
			if end := plainEnd(w.raw, w.read); end > w.read {
				w.text = append(w.text, w.raw[w.read:end]...)
				w.read = end
				continue
			}
		}
		r, n := w.next(w.read)
		switch {
		case n == 0 && !final:
			return
		case n == 0:
			r, n = utf8.RuneError, len(w.raw)-w.read // half of a pair that has no other
		case r == '"' && w.isNested():
			w.quote(n)
			continue
		case r == '\\' && w.isNested():
			inner, m := w.inner(w.read + n)
			if m == 0 && !final {
				return
			}
			if m > 0 {
				r, n = inner, n+m
			}
		}
		w.decide(r)
		w.put(r, n)
	}
}

// plainEnd is the end of what reads as it is written from i on, in every form: ASCII without backslashes, and the bulk of
// Chinese (U+4000 to U+9FFF).
func plainEnd(raw []byte, i int) int {
	for i < len(raw) {
		switch c := raw[i]; {
		case c < utf8.RuneSelf && c != '\\':
			i++
		case c >= 0xe4 && c <= 0xe9 && i+2 < len(raw) && raw[i+1]&0xc0 == 0x80 && raw[i+2]&0xc0 == 0x80:
			i += 3
		default:
			return i
		}
	}
	return i
}

// put appends a character that n bytes of raw are.
func (w *window) put(r rune, n int) {
	plain := r
	if w.look != asIs && r >= utf8.RuneSelf {
		if plain = w.look.rune(r); plain != r {
			w.changed = true
		}
	}
	end := w.read
	if plain != gone {
		w.text = utf8.AppendRune(w.text, plain)
		end += n
	}
	w.read += n
	w.mark(!w.inside && w.isNested(), end)
}

// quote begins or ends a string of the inner JSON.
func (w *window) quote(n int) {
	w.text = append(w.text, '"')
	w.inside = !w.inside
	w.read += n
	w.mark(!w.inside, w.read)
}

// mark notes that text and raw go on side by side from here, when that is not known already; end is where the character
// before ends.
func (w *window) mark(bare bool, end int) {
	at := span{text: len(w.text), raw: w.read, end: end, bare: bare}
	last := span{}
	if n := len(w.spans); n > 0 {
		last = w.spans[n-1]
		if last.text == at.text {
			at.end = last.end
			w.spans[n-1] = at
			return
		}
	}
	if at.raw-last.raw != at.text-last.text || at.bare != last.bare || at.end != at.raw {
		w.spans = append(w.spans, at)
	}
}

func (w *window) isNested() bool { return w.form == nested }

// decide tells from how an answer's text begins whether it is JSON.
func (w *window) decide(r rune) {
	if w.form != either || w.decided || r == ' ' || r == '\n' || r == '\t' || r == '\r' {
		return
	}
	switch {
	case w.began == 0 && (r == '{' || r == '['):
		w.began = byte(r)
		return
	case w.began == '{' && (r == '"' || r == '}'), w.began == '[' && (r == '"' || r == '{' || r == '['):
		w.form = nested
		w.inside = r == '"'
		w.mark(true, w.read)
	}
	w.decided = true
}

// next decodes the character of raw at i; n is 0 when more must come.
func (w *window) next(i int) (r rune, n int) {
	raw := w.raw[i:]
	if len(raw) == 0 {
		return 0, 0
	}
	if raw[0] != '\\' {
		if !utf8.FullRune(raw) {
			return 0, 0
		}
		return utf8.DecodeRune(raw)
	}
	if len(raw) < 2 {
		return 0, 0
	}
	if raw[1] != 'u' {
		return rune(wire.Unescape(raw[1])), 2
	}
	if len(raw) < 6 {
		return 0, 0
	}
	r = wire.HexRune(raw[2:6])
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if r >= 0xdc00 {
		return utf8.RuneError, 6
	}
	switch {
	case len(raw) == 6, len(raw) < 12 && raw[6] == '\\' && (len(raw) == 7 || raw[7] == 'u'):
		return utf8.RuneError, 0 // its other half may follow
	case len(raw) >= 12 && raw[6] == '\\' && raw[7] == 'u':
		if r = utf16.DecodeRune(r, wire.HexRune(raw[8:12])); r != utf8.RuneError {
			return r, 12
		}
	}
	return utf8.RuneError, 6
}

// inner decodes what follows a backslash of the inner JSON; n is 0 when more must come.
func (w *window) inner(i int) (r rune, n int) {
	c, n := w.next(i)
	if n == 0 || c >= utf8.RuneSelf {
		return c, n
	}
	if c != 'u' {
		return rune(wire.Unescape(byte(c))), n
	}
	unit, m := w.unit(i + n)
	if n += m; m == 0 {
		return 0, 0
	}
	if !utf16.IsSurrogate(unit) || unit >= 0xdc00 {
		return unit, n
	}
	slash, a := w.next(i + n)
	if a == 0 {
		return 0, 0
	}
	u, b := w.next(i + n + a)
	switch {
	case slash != '\\':
		return utf8.RuneError, n
	case b == 0:
		return 0, 0
	case u != 'u':
		return utf8.RuneError, n
	}
	low, m := w.unit(i + n + a + b)
	if m == 0 {
		return 0, 0
	}
	if pair := utf16.DecodeRune(unit, low); pair != utf8.RuneError {
		return pair, n + a + b + m
	}
	return utf8.RuneError, n
}

// unit reads four hexadecimal digits, each of which may be escaped itself.
func (w *window) unit(i int) (r rune, n int) {
	var digits [4]byte
	for k := range digits {
		c, m := w.next(i + n)
		if m == 0 {
			return 0, 0
		}
		digits[k] = byte(min(c, utf8.RuneSelf))
		n += m
	}
	return wire.HexRune(digits[:]), n
}

// at is where in raw the character at p of text stands, and whether a replacement there must bring its own quotes.
func (w *window) at(p int) (raw int, bare bool) {
	s := w.span(p)
	return s.raw + p - s.text, s.bare
}

// endAt is where in raw the character before p ends.
func (w *window) endAt(p int) int {
	s := w.span(p)
	if s.text == p {
		return s.end
	}
	return s.raw + p - s.text
}

func (w *window) span(p int) span {
	i, found := slices.BinarySearchFunc(w.spans, p, func(s span, p int) int { return s.text - p })
	if !found {
		i--
	}
	if i < 0 {
		return span{}
	}
	return w.spans[i]
}

// value is the text between two places as a person would write it, look-alikes left as they are.
func (w *window) value(start, end int) string {
	from, bare := w.at(start)
	to := w.endAt(end)
	v := window{form: prose}
	if w.isNested() && !bare {
		v.form = nested
		v.inside = true
	}
	v.raw = w.raw[from:to]
	v.fold(true)
	return string(v.text)
}

// drop forgets the first n bytes of text, which have been dealt with. It returns how much of raw that is.
func (w *window) drop(n int) int {
	from, bare := w.at(n)
	keep := w.spans[:0]
	if bare {
		keep = append(keep, span{bare: true}) // over one that lies before n
	}
	for _, s := range w.spans {
		if s.text > n {
			keep = append(keep, span{s.text - n, s.raw - from, s.end - from, s.bare})
		}
	}
	w.spans = keep
	w.text = append(w.text[:0], w.text[n:]...)
	w.raw = append(w.raw[:0], w.raw[from:]...)
	w.read -= from
	return from
}

// appendText appends a value as it is written in a text of this form.
func appendText(dst []byte, value string, f form) []byte {
	quoted := wire.AppendString(nil, value)
	if f == nested {
		quoted = wire.AppendString(nil, string(quoted[1:len(quoted)-1]))
	}
	return append(dst, quoted[1:len(quoted)-1]...)
}
