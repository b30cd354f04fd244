package wire

import "bytes"

// key is the name of a member as it stands in JSON, with its quotes. A text has it at its end at most, behind a backslash.
//
// bytes.Index compares at each byte once the first letter is a common one, as a quote is in JSON. So a key is looked for by the
// byte of it that answers have least of, which is some seven times as fast.
type key struct {
	name []byte
	rare int // where that byte stands in name
}

var (
	usageKey   = key{[]byte(`"usage"`), 4}         // g
	tierKey    = key{[]byte(`"service_tier"`), 8}  // _
	finishKey  = key{[]byte(`"finish_reason"`), 7} // _
	stopKey    = key{[]byte(`"stop_reason"`), 5}   // _
	choicesKey = key{[]byte(`"choices"`), 2}       // h

	minTokensKey = key{[]byte(`"min_tokens"`), 4} // _
)

// index is where the key stands first in the answer, from a place on; -1 for nowhere.
func (k key) index(answer []byte, from int) int {
	for at := from + k.rare; at < len(answer); at++ {
		n := bytes.IndexByte(answer[at:], k.name[k.rare])
		if n < 0 {
			return -1
		}
		at += n
		if begin := at - k.rare; bytes.HasPrefix(answer[begin:], k.name) && (begin == 0 || answer[begin-1] != '\\') {
			return begin
		}
	}
	return -1
}

// last is where the key stands last; -1 for nowhere. It looks near the end first, where what it is for mostly stands.
func (k key) last(answer []byte) int {
	for end, piece := len(answer), nearEnd; end > 0; piece *= 4 {
		begin := max(0, end-piece)
		if at := k.lastFrom(answer[:min(len(answer), end+len(k.name)-1)], begin); at >= 0 {
			return at
		}
		end = begin
	}
	return -1
}

func (k key) lastFrom(answer []byte, from int) int {
	at := -1
	for {
		next := k.index(answer, from)
		if next < 0 {
			return at
		}
		at, from = next, next+1
	}
}

// nearEnd is how much of an answer mostly has what it says at its end, in bytes.
const nearEnd = 512

// value is what follows the key that stands at a place.
func (k key) value(answer []byte, at int) []byte {
	return bytes.TrimLeft(answer[at+len(k.name):], " \t\r\n:")
}
