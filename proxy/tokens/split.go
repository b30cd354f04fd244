package tokens

import "unicode/utf8"

// The patterns by which OpenAI's tokenizers cut a text before they merge bytes, written out by hand. A regular expression
// with look-ahead is an engine that goes back and forth; these go forward, and over no byte more than a few times.
//
//	o200k:  [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//	        | [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//	        | \p{N}{1,3} | ?[^\s\p{L}\p{N}]+[\r\n/]* | \s*[\r\n]+ | \s+(?!\S) | \s+
//	cl100k: (?i:'s|'t|'re|'ve|'m|'ll|'d) | [^\r\n\p{L}\p{N}]?\p{L}+
//	        | \p{N}{1,3} | ?[^\s\p{L}\p{N}]+[\r\n]* | \s*[\r\n]+ | \s+(?!\S) | \s+

// next200k is where the piece that starts at i ends, by the pattern of o200k.
func (t *classTable) next200k(s []byte, i int) int {
	class, size := t.at(s, i)
	after := i + size
	switch {
	case class&letters != 0:
		end, _ := t.word(s, i)
		return contraction(s, end)
	case class == number:
		return t.numbers(s, after)
	case class != newline && after < len(s):
		end, capitals := t.word(s, after)
		if end > after && (class != mark || !capitals) {
			return contraction(s, end)
		}
	}
	if class == mark { // a word of its own, where it does not begin one
		return contraction(s, after)
	}
	return t.rest(s, i, after, class, '/')
}

// word is where the word that starts at i ends, i if there is none there: capitals, then small letters; letters without case
// and marks go with both. A word of capitals alone ends before capitals that follow its last such letter: the pattern
// wants small letters first, and takes the letter for one. It tells whether there are capitals only.
func (t *classTable) word(s []byte, i int) (end int, capitals bool) {
	j := t.run(s, i, upper)
	either := -1
	var class uint8
	var size int
	for ; j < len(s); j += size {
		if class, size = t.at(s, j); class&(upper|letter|mark) == 0 {
			break
		}
		if class != upper {
			either = j + size
		}
	}
	if j < len(s) && class == lower {
		return t.run(s, j+size, lower|letter|mark), false
	}
	if either >= 0 {
		return either, false
	}
	return j, j > i
}

// next100k is where the piece that starts at i ends, by the pattern of cl100k.
func (t *classTable) next100k(s []byte, i int) int {
	if end := contraction(s, i); end > i {
		return end
	}
	class, size := t.at(s, i)
	after := i + size
	switch {
	case class&letters != 0:
		return t.run(s, after, letters)
	case class == number:
		return t.numbers(s, after)
	case class != newline:
		if end := t.run(s, after, letters); end > after {
			return end
		}
	}
	return t.rest(s, i, after, class, '\n')
}

// run is where the characters of some classes end that start at i.
func (t *classTable) run(s []byte, i int, of uint8) int {
	for i < len(s) {
		if c := s[i]; c < utf8.RuneSelf { // not t.at, which is not inlined: most of the time goes here
			if t.ascii[c]&of == 0 {
				break
			}
			i++
			continue
		}
		class, size := t.wide(s[i:])
		if class&of == 0 {
			break
		}
		i += size
	}
	return i
}

// numbers is where a number ends whose second digit would be at i: after three at most.
func (t *classTable) numbers(s []byte, i int) int {
	for range 2 {
		if i == len(s) {
			break
		}
		class, size := t.at(s, i)
		if class != number {
			break
		}
		i += size
	}
	return i
}

// rest is what is neither word nor number: punctuation with the ends of lines behind it (and in o200k slashes), or white
// space. Of white space the last character goes with what follows, but for ends of lines.
func (t *classTable) rest(s []byte, i, after int, class, also uint8) int {
	if class&(other|mark) != 0 {
		return t.punctuation(s, after, also)
	}
	if s[i] == ' ' && after < len(s) {
		if end := t.run(s, after, other|mark); end > after {
			return t.punctuation(s, end, also)
		}
	}
	j, last, lines := i, i, -1
	for j < len(s) {
		class, size := t.at(s, j)
		if class&(space|newline) == 0 {
			break
		}
		last = j
		j += size
		if class == newline {
			lines = j
		}
	}
	if lines >= 0 {
		return lines
	}
	if j < len(s) && last > i {
		return last
	}
	return j
}

// punctuation is where punctuation that goes on at i ends, with what follows it.
func (t *classTable) punctuation(s []byte, i int, also uint8) int {
	i = t.run(s, i, other|mark)
	for i < len(s) && (s[i] == '\n' || s[i] == '\r' || s[i] == also) {
		i++
	}
	return i
}

// contraction is where 's, 't, 're, 've, 'm, 'll or 'd ends that starts at i, in either case; i if there is none there.
func contraction(s []byte, i int) int {
	if i+1 < len(s) && s[i] == '\'' {
		return contracted(s, i)
	}
	return i
}

// contracted is contraction behind the apostrophe. The long s is the one letter beyond ASCII that folds to any of these.
func contracted(s []byte, i int) int {
	second := uint8(0)
	if i+2 < len(s) {
		second = s[i+2] | 0x20
	}
	switch s[i+1] | 0x20 {
	case 's', 't', 'm', 'd':
		return i + 2
	case 'r', 'v':
		if second == 'e' {
			return i + 3
		}
	case 'l':
		if second == 'l' {
			return i + 3
		}
	case 0xc5 | 0x20: // the first byte of U+017F
		if s[i+1] == 0xc5 && i+2 < len(s) && s[i+2] == 0xbf {
			return i + 3
		}
	}
	return i
}
