package proxy

import (
	"strings"
	"unicode/utf8"

	"jarvis-gateway/proxy/provider"
)

// seam finds where the rest of an answer begins in what a model says that was asked to go on: models like to repeat the end of
// what was said. It holds text back as long as that may turn out to be such a repetition.
type seam struct {
	end   string // of what was said
	exact bool   // end is white space that the model was not shown
	least int    // end[:least+1] are the places where a repetition may begin: what is shorter is none
	held  []byte
	found bool
}

const (
	mostRepeated  = 2 << 10 // bytes
	leastRepeated = 16      // characters: fewer may well be meant
)

func newSeam(said []byte, exact bool) *seam {
	s := &seam{exact: exact}
	if exact {
		s.end = string(said[len(strings.TrimRight(string(said), provider.Blank)):])
		s.found = s.end == ""
		return s
	}
	s.end = string(said[max(0, len(said)-mostRepeated):])
	s.least = len(s.end)
	for range leastRepeated {
		_, size := utf8.DecodeLastRuneInString(s.end[:s.least])
		s.least -= size
		if size == 0 {
			s.found = true // too little was said
			break
		}
	}
	return s
}

// add takes what the model says next, and returns what is new of all it said.
func (s *seam) add(text string) (fresh string) {
	s.held = append(s.held, text...)
	if !s.found {
		var repeated int
		if repeated, s.found = s.repeated(false); s.found {
			s.held = s.held[repeated:]
		}
	}
	if !s.found {
		return ""
	}
	fresh = string(s.held)
	s.held = s.held[:0]
	return fresh
}

// rest is what is new of the text that is held, of which no more comes.
func (s *seam) rest() string {
	if s.found {
		return string(s.held)
	}
	n, _ := s.repeated(true)
	return string(s.held[n:])
}

// repeated is how much of the text was said before. It is not sure as long as more of the text could make it another.
func (s *seam) repeated(all bool) (n int, sure bool) {
	held := string(s.held)
	if s.exact {
		for n < min(len(held), len(s.end)) && held[n] == s.end[n] {
			n++
		}
		return n, n < len(held) || n == len(s.end)
	}
	for at := 0; at <= s.least; at++ {
		switch end := s.end[at:]; {
		case len(end) <= len(held) && strings.HasPrefix(held, end):
			return len(end), true
		case len(end) > len(held) && !all && strings.HasPrefix(end, held):
			return 0, false
		}
	}
	return 0, true
}
