package guard

import "strings"

// restore finds placeholders of the vault in what a model says. Models change their case, leave the brackets out, or
// escape them: with brackets any case will do, without them only capital letters, as EMAIL_1 is a name for code too.
type restore struct {
	vault *Vault
	exact bool // only as the gateway wrote them: in thoughts, which are signed as they are
}

func (r restore) drop(int) {}
func (r restore) restart() {}

const maxPlaceholder = 80

func (r restore) find(t []byte, from int, final bool) (match, int, error) {
	for i := from; i < len(t); i++ {
		if !r.begins(t, i) {
			continue
		}
		end, value, v := r.look(t[i:min(len(t), i+maxPlaceholder)], final || len(t) >= i+maxPlaceholder)
		switch v {
		case yes:
			return match{start: i, end: i + end, value: value}, 0, nil
		case more:
			return match{}, i, nil
		}
	}
	return match{}, len(t), nil
}

// begins tells whether a placeholder may begin at i.
func (r restore) begins(t []byte, i int) bool {
	c := t[i]
	return c == '<' || c == '&' || c == '%' || c >= 'A' && c <= 'Z' && (i == 0 || !is(t[i-1], wordy))
}

// look reads a placeholder at the beginning of t.
func (r restore) look(t []byte, final bool) (end int, value string, v verdict) {
	open, v := affix(t, "<", "&lt;", "%3C")
	if v == more && !final {
		return 0, "", more
	}
	if open == 0 && (r.exact || v == more || t[0] == '<' || t[0] == '&' || t[0] == '%') {
		return 0, "", no
	}
	name, n := r.name(t[open:], open > 0, final)
	if open+n == len(t) && !final {
		if r.mayBecome(name, open > 0) {
			return 0, "", more
		}
		return 0, "", no
	}
	value, known := r.vault.names[strings.ToUpper(name)]
	if !known {
		return 0, "", no
	}
	if open == 0 {
		if name != strings.ToUpper(name) {
			return 0, "", no
		}
		return n, value, yes
	}
	shut, v := affix(t[open+n:], ">", "&gt;", "%3E")
	switch {
	case v == more && !final:
		return 0, "", more
	case shut == 0 || r.exact && (shut != 1 || open != 1 || string(t[open:open+n]) != strings.ToUpper(name)):
		return 0, "", no // without its other bracket: the name alone may do, from its own place
	}
	return open + n + shut, value, yes
}

// affix is the length of the spelling of a bracket that t begins with; more: t may become one.
func affix(t []byte, spellings ...string) (int, verdict) {
	v := no
	for _, s := range spellings {
		if len(t) >= len(s) && strings.EqualFold(string(t[:len(s)]), s) {
			return len(s), yes
		}
		if len(t) < len(s) && strings.EqualFold(string(t), s[:len(t)]) {
			v = more
		}
	}
	return 0, v
}

// name reads letters, digits and underscores, an underscore escaped as in Markdown too, and within brackets a space or a
// hyphen in its place.
func (r restore) name(t []byte, bracketed, final bool) (name string, n int) {
	var space [maxPlaceholder]byte
	b := space[:0]
	for n < len(t) {
		switch c := t[n]; {
		case is(c, wordy):
			b = append(b, c)
		case c == '\\' && n+1 < len(t) && t[n+1] == '_', c == '\\' && n+1 == len(t) && !final:
		case bracketed && (c == ' ' || c == '-') && n > 0:
			b = append(b, '_')
		default:
			return string(b), n
		}
		n++
	}
	return string(b), n
}

// mayBecome tells whether the name that t ends with may become a placeholder's.
func (r restore) mayBecome(name string, bracketed bool) bool {
	for _, label := range r.vault.labels {
		label += "_"
		n := min(len(name), len(label))
		if name[:n] != label[:n] && (!bracketed || !strings.EqualFold(name[:n], label[:n])) {
			continue
		}
		if digits := name[n:]; len(digits) <= maxNumber && strings.Trim(digits, "0123456789") == "" {
			return true
		}
	}
	return false
}
