package ragplug

import "bytes"

// stem takes the ending of an English word off, so that a question about "carrying days over" finds "a day is carried over". It need not
// find a word's root: it is enough that most forms of one word come out alike, and that few words come out as another.
func stem(w []byte) []byte {
	if len(w) < 4 || !plain(w) {
		return w
	}
	w = singular(w)
	for _, ending := range [...]string{"ing", "ed"} {
		root, ok := bytes.CutSuffix(w, []byte(ending))
		if ok && len(root) >= 3 && bytes.ContainsAny(root, vowels) {
			w = undouble(root)
			break
		}
	}
	switch n := len(w) - 1; {
	case n >= 3 && w[n] == 'e': // make, making
		w = w[:n]
	case n >= 3 && w[n] == 'y' && !isVowel(w[n-1]): // carry, carried
		w[n] = 'i'
	}
	return w
}

const vowels = "aeiouy"

func isVowel(c byte) bool { return bytes.IndexByte([]byte(vowels), c) >= 0 }

// plain tells a word of nothing but small letters, which may be English.
func plain(w []byte) bool {
	for _, c := range w {
		if c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}

// singular is that of a plural.
func singular(w []byte) []byte {
	n := len(w)
	switch {
	case bytes.HasSuffix(w, []byte("sses")), bytes.HasSuffix(w, []byte("xes")), bytes.HasSuffix(w, []byte("ches")), bytes.HasSuffix(w, []byte("shes")):
		return w[:n-2]
	case n > 4 && bytes.HasSuffix(w, []byte("ies")):
		return append(w[:n-3], 'y')
	case w[n-1] == 's' && w[n-2] != 's' && w[n-2] != 'u' && w[n-2] != 'i':
		return w[:n-1]
	}
	return w
}

// undouble makes stop of stopp.
func undouble(w []byte) []byte {
	n := len(w)
	if n >= 3 && w[n-1] == w[n-2] && !isVowel(w[n-1]) && bytes.IndexByte([]byte("lsz"), w[n-1]) < 0 {
		return w[:n-1]
	}
	return w
}
