package fakellm

import (
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// Billing. A prompt costs 3 + ceil(bytes of text / 4) tokens a message, 85 more an image and 10 more an audio or file part, and
// ceil(bytes of JSON / 4) a tool; inputs that are no messages cost ceil(bytes / 4), or their length when they are tokens already.
// A completion costs one token per piece it is generated in, which is one stream event each.

func tokensOf(text string) int { return (len(text) + 3) / 4 }

// words is what generated answers are cut from: plain ASCII that needs no escapes.
const words = " the gateway sends each request to one of several models and returns what it said while counting tokens for the tenant" +
	" who asked so that nobody pays twice or waits for long and a stream keeps flowing until its last word is done; then it settles" +
	" the bill, writes a record and forgets about the body as if nothing had ever happened between those two sides of one wire."

// ring is words many times over, with the end of each piece.
type ring struct {
	text string
	ends []int
}

var generated = newRing(8192)

func newRing(pieces int) ring {
	var r ring
	n := len(strings.Fields(words))
	r.text = strings.Repeat(words, (pieces+n-1)/n)
	for i := 1; i <= len(r.text); i++ {
		if i == len(r.text) || r.text[i] == ' ' {
			r.ends = append(r.ends, i)
		}
	}
	return r
}

func (r *ring) piece(i int) string {
	i %= len(r.ends)
	if i == 0 {
		return r.text[:r.ends[0]]
	}
	return r.text[r.ends[i-1]:r.ends[i]]
}

// pieces is a text in the parts it is generated in.
type pieces struct {
	n     int
	from  int    // in the ring
	size  int    // bytes in all, when the text is cut by size
	text  string // the whole, when not from the ring word by word
	ends  []int  // of pieces in text, when cut by runes
	plain bool   // needs no escapes in JSON
	short bool   // cut off by a limit
}

// say is the text of choice i of an answer to what was asked: the plan's, for models that begin with fake-echo the question, or
// words that follow from it. limit bounds the number of pieces when it is not negative.
func (x *exchange) say(i int, asked string, limit int) pieces {
	p := &x.plan
	switch {
	case p.Text != "":
		return cutText(p.Text, limit)
	case strings.HasPrefix(x.model, "fake-echo") && asked != "":
		return cutText(asked, limit)
	}
	n := p.Tokens
	if n == 0 {
		n = 16
	}
	out := pieces{n: n, from: (digest(asked) + 7*i) % 64, plain: true, size: p.Size}
	if p.Size > 0 {
		out.n = min(n, p.Size)
		start := out.from * 5
		for text := generated.text; ; text += generated.text {
			if len(text) >= start+p.Size {
				out.text = text[start : start+p.Size]
				break
			}
		}
	}
	return out.limited(limit)
}

// digest is a number that follows from the end of s.
func digest(s string) int {
	h := uint32(2166136261)
	for i := max(0, len(s)-32); i < len(s); i++ {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return int(h >> 8)
}

func (p pieces) limited(limit int) pieces {
	if limit >= 0 && p.n > limit {
		p.short = true
		if p.size > 0 {
			p.size = p.size * limit / p.n
			p.text = p.text[:p.size]
		}
		p.n = limit
	}
	return p
}

// cutText cuts text into pieces of about 4 bytes, between runes.
func cutText(text string, limit int) pieces {
	p := pieces{text: text}
	for at := 0; at < len(text); {
		at = min(at+4, len(text))
		for at < len(text) && !utf8.RuneStart(text[at]) {
			at++
		}
		p.ends = append(p.ends, at)
	}
	p.n = len(p.ends)
	if limit >= 0 && limit < p.n {
		p.n, p.ends, p.short = limit, p.ends[:limit], true
		p.text = text[:0]
		if limit > 0 {
			p.text = text[:p.ends[limit-1]]
		}
	}
	return p
}

func (p *pieces) at(i int) string {
	switch {
	case p.ends != nil && i == 0:
		return p.text[:p.ends[0]]
	case p.ends != nil:
		return p.text[p.ends[i-1]:p.ends[i]]
	case p.size > 0:
		return p.text[i*p.size/p.n : (i+1)*p.size/p.n]
	}
	return generated.piece(p.from + i)
}

func (p *pieces) whole() string {
	if p.ends != nil || p.size > 0 || p.n == 0 {
		return p.text
	}
	if last := p.from + p.n; last <= len(generated.ends) {
		start := 0
		if p.from > 0 {
			start = generated.ends[p.from-1]
		}
		return generated.text[start:generated.ends[last-1]]
	}
	var b strings.Builder
	for i := range p.n {
		b.WriteString(p.at(i))
	}
	return b.String()
}

// quoted appends s, a part of p, as a JSON string.
func (p *pieces) quoted(dst []byte, s string) []byte {
	if !p.plain {
		return quote(dst, s)
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

func quote(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf || c == '<' || c == '>' || c == '&' {
			return gjson.AppendJSONString(dst, s)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

func quoteOrNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return quote(dst, s)
}

const idLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// id appends prefix and 24 letters that follow from the request and salt.
func (x *exchange) id(dst []byte, prefix string, salt int) []byte {
	dst = append(dst, prefix...)
	z := uint64(x.seed)<<16 ^ uint64(salt)*0x9e3779b97f4a7c15
	for range 4 {
		z += 0x9e3779b97f4a7c15
		m := (z ^ z>>30) * 0xbf58476d1ce4e5b9
		m = (m ^ m>>27) * 0x94d049bb133111eb
		for range 6 {
			dst = append(dst, idLetters[m%62])
			m /= 62
		}
	}
	return dst
}
