package tokens

import "bytes"

const (
	hopFrom  = 3    // elements of an array are always looked at
	hopEach  = 2    // and so many between hops: a question and its answer
	hopMost  = 2048 // bytes of a hop, to where the element that is there ends: an eighth of the body, within bounds
	hopLeast = 256
	hopReach = 512 // bytes behind these in which an element must end
	hopSmall = 512 // bytes that elements have where hops are made, on average
)

// hops are what is known of an array of many small elements. To look at each would take longer than the rest of a request: most
// are passed, and taken to be like those between, byte for byte. Texts of these are estimated apart from others.
type hops struct {
	from      element
	n         int // small elements that were looked at
	seen      int // their bytes
	tokens    int // what they have beside texts
	estimated int // tokens of their texts, in 256ths
	passed    int // bytes
	begun     bool
}

// element is what is known where one begins.
type element struct{ at, tokens, texts, flushed int }

func (p *prompt) element() element { return element{p.at, p.tokens, p.waiting.n, p.flushed} }

// looked takes in an element that was looked at. Of one that no hop passes nothing is to be learnt of those that hops do.
func (h *hops) looked(p *prompt, e element) {
	switch size := p.at - e.at; {
	case size < hopMost && p.flushed == e.flushed:
		h.n++
		h.seen += size
		h.tokens += p.tokens - e.tokens
		if h.begun {
			h.take(p, e.texts)
		}
	case !h.begun:
		*h = hops{from: p.element()}
	}
}

// take has the texts that wait, but for so many, estimated with those of other elements.
func (h *hops) take(p *prompt, but int) {
	for _, t := range p.waiting.texts[but:p.waiting.n] {
		if p.alike.full() {
			h.estimated += p.alike.estimate(p.raw, true)
		}
		p.alike.add(t)
		p.waiting.size -= t.end - t.start
	}
	p.waiting.n = but
}

// end adds what the elements have that hops are among, those that were passed too.
func (h *hops) end(p *prompt) {
	if !h.begun {
		return
	}
	h.estimated += p.alike.estimate(p.raw, true)
	share := float64(h.passed) / float64(h.seen)
	p.tokens += int(float64(h.tokens)*share + 0.5)
	p.estimated += h.estimated + int(float64(h.estimated)*share)
	p.hopping = false
}

// hop passes elements that begin as the first did, if they are small. It ends behind one of them, or at the end of the array.
func (h *hops) hop(p *prompt, first byte) {
	rest := p.raw[p.at:]
	far := min(len(p.raw)/8, hopMost, len(rest)) / block * block
	if far < hopLeast || p.exact != nil || p.hopping != h.begun || h.n < hopFrom || h.seen > h.n*hopSmall {
		return
	}
	i, at := nest(rest[:far], '[', nesting{depth: 1})
	if at.depth > 0 {
		i = between(rest[:min(far+hopReach, len(rest))], i, first, at)
	}
	if i == 0 {
		return
	}
	if !h.begun {
		h.begun, p.hopping = true, true
		h.take(p, h.from.texts)
	}
	h.passed += i
	p.at += i
}

// between is where the next element of an array of objects, arrays or strings ends, from i on; or the array. 0: neither is found.
func between(b []byte, i int, first byte, at nesting) int {
	last := first
	switch first {
	case '{', '[':
		last += 2
	case '"':
	default:
		return 0
	}
	before := byte(0)
	if at.inside != 0 {
		if i = stringEnd(b, i+int(at.escaped)) + 1; i == 0 { //nolint:gosec // 0 or 1
			return 0
		}
		before = '"'
	}
	for ; i < len(b); i++ {
		switch c := b[i]; c {
		case '"':
			if i = stringEnd(b, i+1); i < 0 {
				return 0
			}
		case '[':
			at.depth++
		case ']':
			if at.depth--; at.depth == 0 {
				return i
			}
		case ',':
			if at.depth == 1 && before == last && begins(b[i+1:], first) {
				return i
			}
		case ' ', '\t', '\n', '\r':
			continue
		}
		before = b[i]
	}
	return 0
}

// begins tells whether the next value in b begins so.
func begins(b []byte, first byte) bool {
	b = bytes.TrimLeft(b, " \t\n\r")
	return len(b) > 0 && b[0] == first
}

// numbers passes an array of numbers, each of which is a token.
func (p *prompt) numbers() bool {
	const nested = 4 // arrays of numbers lie no deeper; each may be gone through that often
	b := p.raw[p.at+1:]
	if p.depth > nested || len(b) == 0 || !numeric(b[0]) {
		return false
	}
	n := bytes.IndexByte(b, ']')
	if n < 0 {
		return false
	}
	b = b[:n]
	for _, c := range []byte(`"[{`) {
		if bytes.IndexByte(b, c) >= 0 {
			return false
		}
	}
	p.tokens += bytes.Count(b, []byte{','}) + 1
	p.at += n + 2
	return true
}

func numeric(c byte) bool { return c == '-' || c-'0' <= 9 }
