package guard

import "slices"

// The types of personal data, as config and placeholders call them.
const (
	email uint8 = 1 << iota
	phone
	resident
	card
	secret
)

var personalTypes = []struct {
	name, label string
	bit         uint8
}{
	{"email", "EMAIL", email},
	{"phone", "PHONE", phone},
	{"cn_id", "CN_ID", resident},
	{"card", "CARD", card},
	{"secret", "SECRET", secret},
}

// finder looks for matches in a text that may still grow.
type finder interface {
	// find returns the first match that begins at from or later, or none when none is certain: then what may take part in
	// one yet begins at keep, which is the text's length when final is set. Each call goes on where the one before it ended.
	find(text []byte, from int, final bool) (m match, keep int, err error)
	// drop tells that the first n bytes of the text are gone.
	drop(n int)
	// restart makes it ready for another text.
	restart()
}

// match is text[start:end]; end 0 is none.
type match struct {
	start, end int
	label      string // of its placeholder
	value      string // put in its place, where there is no placeholder to make
}

// verdict is what a look at one place came to.
type verdict uint8

const (
	no   verdict = iota
	yes          // a match
	more         // what follows decides, and is not there yet
)

// personal finds personal data of the given types. It goes from left to right and looks at each place where something may
// begin; a look that comes to the end of a text that may grow says more, so that a text gives the same matches however it
// is cut into pieces. What a look learned the later ones use: a text that is all beginnings costs little more than
// another.
type personal struct {
	types   uint8
	mail    stretch // characters of an address's name
	label   stretch // and of a name that may end with a label
	dull    dull    // and of a key that is none
	noMail  int     // of the last @: no address has it
	noLabel int     // of the last label's end: no secret stands behind it
}

// stretch is how far characters of one class go on from a place looked at before.
type stretch struct{ end int }

// reach is how far they go on from i, at most so many.
func (s *stretch) reach(t []byte, i, most int, class uint8) int {
	s.end = max(s.end, i)
	for s.end < len(t) && s.end-i < most && is(t[s.end], class) {
		s.end++
	}
	return min(s.end, i+most)
}

func (p *personal) drop(n int) {
	p.mail.end -= n
	p.label.end -= n
	p.dull.end -= n
	p.noMail -= n
	p.noLabel -= n
}

func (p *personal) restart() { *p = personal{types: p.types} }

// char classes
const (
	letter     uint8 = 1 << iota // A-Z a-z
	digit                        // 0-9
	underscore                   // _
	local                        // of an email's name, beside letters, digits and _
	valued                       // of a token, beside letters, digits and _
	opener                       // something may begin here: + ( -
	hyphen                       // -
	worded                       // of ids and the API's words, beside letters, digits and _
	wordy      = letter | digit | underscore
)

var class = func() (c [256]uint8) {
	for b := 'a'; b <= 'z'; b++ {
		c[b], c[b-'a'+'A'] = letter, letter
	}
	for b := '0'; b <= '9'; b++ {
		c[b] = digit
	}
	c['_'] = underscore
	for _, b := range []byte(".%+-") {
		c[b] |= local
	}
	for _, b := range []byte("-.+/=~") {
		c[b] |= valued
	}
	for _, b := range []byte("+(-") {
		c[b] |= opener
	}
	for _, b := range []byte("-.:/+=~#,*$") {
		c[b] |= worded
	}
	c['-'] |= hyphen
	return c
}()

func is(c, what uint8) bool { return class[c]&what != 0 }

func (p *personal) find(t []byte, from int, final bool) (match, int, error) {
	for i := from; i < len(t); {
		k := class[t[i]] & (wordy | opener)
		if k == 0 {
			i++
			continue
		}
		m, v := p.look(t, i, k, final)
		switch v {
		case yes:
			return m, 0, nil
		case more:
			return match{}, i, nil
		}
		i = pass(t, i, k)
	}
	return match{}, len(t), nil
}

// pass goes to the next place where something may begin: numbers may begin within a word, words only at its beginning.
func pass(t []byte, i int, k uint8) int {
	switch {
	case k&digit != 0:
		for i < len(t) && is(t[i], digit) {
			i++
		}
	case k&wordy != 0:
		for i < len(t) && is(t[i], letter|underscore) {
			i++
		}
	default:
		i++
	}
	return i
}

// look tries everything that may begin at i, whose class is k.
func (p *personal) look(t []byte, i int, k uint8, final bool) (match, verdict) {
	begins := i == 0 || !is(t[i-1], wordy)
	if k&wordy != 0 && begins {
		if p.types&secret != 0 && k&digit == 0 {
			if start, end, v := p.findSecret(t, i, final); v != no {
				return match{start: start, end: end, label: "SECRET"}, v
			}
		}
		switch end, v := p.findEmail(t, i, final); {
		case v == yes && p.types&email == 0:
			return match{}, no // the digits of an address are no phone's
		case v != no:
			return match{start: i, end: end, label: "EMAIL"}, v
		}
	}
	if k&(digit|opener) != 0 && p.types&(phone|resident|card) != 0 && t[i] != '-' {
		if m, v := p.findNumber(t, i, final); v != no {
			return m, v
		}
	}
	if t[i] == '-' && p.types&secret != 0 {
		end, v := findPEM(t, i, final)
		return match{start: i, end: end, label: "SECRET"}, v
	}
	return match{}, no
}

// findEmail looks for an address whose name begins at i.
func (p *personal) findEmail(t []byte, i int, final bool) (int, verdict) {
	const maxName = 64
	j := p.mail.reach(t, i, maxName+1, wordy|local)
	switch {
	case j == len(t) && !final && j-i <= maxName:
		return 0, more
	case j == len(t) || t[j] != '@' || j == p.noMail || t[j-1] == '.':
		return 0, no
	}
	end, v := domain(t, j+1, final)
	if v == no || v == yes && isFile(t[j+1:end]) {
		p.noMail = j
		return 0, no
	}
	if v == yes && string(t[i:j]) == "git" && end < len(t) && t[end] == ':' {
		return 0, no
	}
	return end, v
}

// domain reads the host of an address: at least two labels, of which the last is letters.
func domain(t []byte, from int, final bool) (end int, v verdict) {
	const maxHost = 255
	for i, labels := from, 0; ; i++ {
		start := i
		for i < len(t) && i-start <= 63 && (is(t[i], letter|digit) || t[i] == '-') {
			i++
		}
		if i == len(t) && !final && i-from <= maxHost && i-start <= 63 {
			return 0, more
		}
		if i == start || i-start > 63 || i-from > maxHost {
			break
		}
		if labels++; labels > 1 && isTop(t[start:i]) {
			end = start + topLength(t[start:i])
		}
		if i == len(t) || t[i] != '.' {
			break
		}
	}
	if end == 0 {
		return 0, no
	}
	return end, yes
}

// isTop tells whether a label can be a host's last: letters, or international.
func isTop(label []byte) bool {
	n := topLength(label)
	return n >= 2 && n <= 24 && (n == len(label) || label[n] == '-') || len(label) > 4 && string(label[:4]) == "xn--"
}

// topLength is how much of a label is the name of a top-level domain: a hyphen behind it belongs to the sentence.
func topLength(label []byte) int {
	if len(label) > 4 && string(label[:4]) == "xn--" {
		return len(label)
	}
	n := 0
	for n < len(label) && is(label[n], letter) {
		n++
	}
	return n
}

// isFile tells names of pictures such as logo@2x.png from hosts.
func isFile(host []byte) bool {
	for i := len(host) - 1; i >= 0; i-- {
		if host[i] == '.' {
			return slices.Contains([]string{"png", "jpg", "jpeg", "gif", "webp", "svg", "css", "js"}, string(host[i+1:]))
		}
	}
	return false
}
