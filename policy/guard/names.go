package guard

// use is what a string is for, where it stands.
type use uint8

const (
	speech  use = iota
	naming      // the name of a tool, a person, a property: something else goes by it, so it cannot be masked
	term        // an id, or a word of the API: looked at only when it is neither
	content     // an address, or bytes: looked at when they are a text
	sealed      // signed or encrypted by a provider, or known to the gateway
)

// text takes in the string between start and end.
func (w *walker) text(start, end int, p place) {
	switch {
	case p.use == speech:
		w.say(start, end, p)
	case w.answer || p.use == sealed:
	case p.use == naming:
		w.name(start, end, p)
	case p.use == term:
		w.term(start, end, p)
	default:
		w.content(start, end, p)
	}
}

// name takes in a name.
func (w *walker) name(start, end int, p place) {
	if plain := isName(w.raw[start:end]); w.names || !plain {
		w.said = append(w.said, said{start: start, end: end, role: p.role, fixed: true, plain: plain})
	}
}

// term takes in what should be an id or a word of the API. It is nobody's text when it is one.
func (w *walker) term(start, end int, p place) {
	if !isTerm(w.raw[start:end]) {
		p.role = other
		w.name(start, end, p)
	}
}

// key takes in the name of a member: where the caller makes them, they may say something. In data they are masked as what
// they name is; a schema's are names. Streams have data in pieces of JSON text, which holds its names.
func (w *walker) key(start, end int, p place) {
	switch {
	case start == end || w.tracks:
	case p.zone == data:
		if plain := isName(w.raw[start:end]); w.names || !plain || w.answer {
			w.said = append(w.said, said{start: start, end: end, role: p.role, plain: plain})
		}
	case w.answer:
	case p.zone == schemas:
		w.name(start, end, p)
	default:
		w.term(start, end, p)
	}
}

// isName tells names as programs have them from texts and numbers.
func isName(s []byte) bool {
	const most = 64
	if len(s) > most || is(s[0], digit) {
		return false
	}
	for _, c := range s {
		if !is(c, wordy) && c != '-' && c != '.' && c != '$' {
			return false
		}
	}
	return true
}

// isTerm tells ids, paths, types and base64 from texts.
func isTerm(s []byte) bool {
	for _, c := range s {
		if !is(c, wordy|worded) {
			return false
		}
	}
	return true
}

// sees tells whether the rule looks at a text. A name like any other says nothing personal, and is worth more than the
// word in it that would be masked: only patterns and servers that refuse or flag look at those.
func (r *rule) sees(s *said) bool {
	return s.role&r.roles != 0 && (!s.plain || r.names() && (r.action != mask || !s.fixed))
}

// names tells whether the rule looks at names that are like any other.
func (r *rule) names() bool { return r.kind == "deny" || r.remote != nil }
