package tokens

import (
	"math/bits"
	"sync"
)

const (
	counted = 256 // bytes; up to here a text is counted rather than estimated, which costs as little
	windows = 16  // what is looked at of a long text
	window  = 64  // bytes of each
	near    = 24  // how far the edge of one may be moved
	looked  = windows * window
)

// Estimate is about how many tokens of o200k_base a text has. A short text is counted. Of a longer one at most some hundred
// words are looked at, in windows that are spread evenly but not foreseeably, and for each run of letters, digits, blanks
// and so on it takes what such runs cost on average. Chinese characters are looked up: whether each is a token, and whether
// two of them may be one.
func Estimate(text []byte) int {
	all := [1]span{{0, len(text)}}
	e := estimator(false)
	return rounded(e.texts(text, all[:], len(text)))
}

// span is a part of a text.
type span struct{ start, end int }

// sample looks at texts.
type sample struct {
	*vocabulary
	kinds   *[256]uint8 // of each byte
	escaped bool        // the texts are what is in strings of JSON
	rough   bool        // short ones need not be counted either
}

func estimator(escaped bool) sample {
	return sample{vocabulary: o200k(), kinds: kindsOfBytes(), escaped: escaped}
}

var kindsOfBytes = sync.OnceValue(func() *[256]uint8 {
	var kinds [256]uint8
	for c := range kinds {
		switch {
		case c >= 'a' && c <= 'z':
			kinds[c] = smallLetter
		case c >= 'A' && c <= 'Z':
			kinds[c] = capital
		case c >= '0' && c <= '9':
			kinds[c] = digit
		case c == ' ' || c == '\t':
			kinds[c] = blank
		case c == '\n' || c == '\r':
			kinds[c] = lineEnd
		case c < 0x80:
			kinds[c] = punctuation
		default:
			kinds[c] = wideLetter
		}
	}
	return &kinds
})

// rounded is how many tokens so many 256ths are.
func rounded(n int) int { return (n + 128) / 256 }

// texts estimates parts of raw, of so many bytes in all, in 256ths of a token as all that it is made of.
func (s *sample) texts(raw []byte, texts []span, size int) int {
	switch {
	case size <= counted && !s.rough:
		n := 0
		for _, t := range texts {
			n += s.exactly(raw[t.start:t.end]) * 256
		}
		return n
	case size <= looked:
		return s.tokens(s.all(raw, texts), size, size)
	}
	cost, seen := s.spread(raw, texts, size)
	return s.tokens(cost, seen, size)
}

// tokens is how many tokens a text has of which so much has been seen. It is at least what the longest token makes of it.
func (s *sample) tokens(cost, seen, size int) int {
	n := int(float64(cost) * float64(size) / float64(max(seen, 1)))
	return min(max(n, (size/s.longest+1)*256), size*256)
}

// all looks at all of the texts.
func (s *sample) all(raw []byte, texts []span) (cost int) {
	var scratch [looked]byte
	for _, t := range texts {
		cost += startWeight + s.cost(raw[t.start:t.end], blank, scratch[:0])
	}
	return cost
}

func (s *sample) exactly(text []byte) int {
	var buffer [counted]byte
	if s.escaped {
		text = unescape(buffer[:0], text)
	}
	return s.count(text)
}

// spread looks at one window in each of as many equal parts, where in it is told by what the windows before have shown: who
// wants to hide something between them has to try.
func (s *sample) spread(raw []byte, texts []span, size int) (cost, seen int) {
	var scratch [window + 2*near]byte
	part, random, before := size/windows, uint64(size), 0
	for w := range windows {
		offset, _ := bits.Mul64(mix(random, mixA), uint64(part-window+1))
		at := w*part + int(offset) - before
		for at >= texts[0].end-texts[0].start {
			n := texts[0].end - texts[0].start
			texts, at, before = texts[1:], at-n, before+n
		}
		missing := window
		for _, t := range texts {
			c, n := s.window(raw[t.start:t.end], at, missing, scratch[:0])
			cost, seen, missing, at = cost+c, seen+n, missing-n, 0
			if missing <= 0 {
				break
			}
		}
		random ^= uint64(cost)*mixB + uint64(seen)
	}
	return cost, seen
}

// window looks at about n bytes from at on, from the beginning of a run to the end of one where there are such near.
func (s *sample) window(text []byte, at, n int, scratch []byte) (cost, seen int) {
	prev := uint8(blank)
	if at == 0 {
		cost = startWeight
	} else if at = edge(text, at); at == len(text) {
		return 0, 0
	} else {
		prev = s.kinds[text[at-1]]
	}
	end := len(text)
	if at+n < end {
		end = edge(text, at+n)
	}
	return cost + s.cost(text[at:end], prev, scratch), end - at
}

// edge is the first place from i on where a blank, an escape or a character beyond ASCII begins. If there is none near, it is i.
func edge(text []byte, i int) int {
	for j := i; j < len(text) && j < i+near; j++ {
		if c := text[j]; c <= ' ' || c >= 0xc0 || c == '\\' && text[j-1] != '\\' {
			return j
		}
	}
	return i
}

// cost is what a text costs, in 256ths of a token, after a character of the kind prev.
func (s *sample) cost(text []byte, prev uint8, scratch []byte) (cost int) {
	if s.escaped {
		text = unescape(scratch, text)
	}
	kinds := s.kinds
	for i := 0; i < len(text); {
		kind, start := kinds[text[i]], i
		if kind < wideLetter {
			for i++; i < len(text) && kinds[text[i]] == kind; {
				i++
			}
			n := i - start
			cost += int(lengthWeight[kind][min(n, longRun)])
			if n > longRun {
				cost += beyond(text[start+longRun-1:i], kind)
			}
		} else {
			var c int
			kind, i, c = s.wideRun(text, i)
			cost += c
		}
		cost += int(pairWeight[prev][kind])
		prev = kind
	}
	return cost
}

// beyond is the cost of a long run after its first character.
func beyond(run []byte, kind uint8) (cost int) {
	for i := 1; i < len(run); i++ {
		if run[i] == run[i-1] {
			cost += int(sameWeight[kind])
		} else {
			cost += int(otherWeight[kind])
		}
	}
	return cost
}

// wideRun is the cost of a run of characters beyond ASCII, its kind and where it ends.
func (s *sample) wideRun(text []byte, i int) (kind uint8, end, cost int) {
	if isHan(text[i:]) {
		end, cost = s.hanRun(text, i)
		return han, end, cost
	}
	for end = i; end < len(text) && text[end] >= 0x80 && !isHan(text[end:]); {
		class, size := s.wide(text[end:])
		next := uint8(wideLetter)
		if class&(other|space|newline) != 0 {
			next = wideOther
		}
		if end > i && next != kind {
			break
		}
		kind = next
		if size == 1 { // no UTF-8
			cost += brokenWeight
		} else {
			cost += int(leadWeight[text[end]&0x3f])
		}
		end += size
	}
	return kind, end, cost
}

// isHan reports whether a text begins with one of the three bytes' characters that are nearly all Chinese.
func isHan(text []byte) bool { return len(text) >= 3 && text[0] >= 0xe4 && text[0] <= 0xe9 }

// hanRun is wideRun of Chinese characters. One that is joined with the one before is not with the next.
func (s *sample) hanRun(text []byte, i int) (end, cost int) {
	free := false // the one before is a token, and not joined
	for ; isHan(text[i:]); i += 3 {
		cost += int(leadWeight[text[i]&0x3f])
		switch {
		case !s.joins.alone.has(threeBytes(text[i:])):
			cost += rareWeight
			free = false
		case free && s.joins.side(text, i):
			cost += joinsWeight
			free = false
		default:
			free = true
		}
	}
	return i, cost
}
