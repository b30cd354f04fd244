package ragplug

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of a search, so that a long prompt takes no longer than a question.
const (
	longestQuery = 8 << 10 // bytes; of a longer one its beginning and its end, where questions stand
	mostTerms    = 32      // those that say most
	mostVisited  = 400_000 // entries of terms' lists; lists of terms that many passages have come last
)

// A passage is worth showing if it has enough of what the query is about. Each term of the query counts at most 1: the rarer it is the
// more, and one that no passage has counts 1 if it is a word; two characters may be no word but the end of one and the beginning of
// another. A passage must have a share of all that; of a long query it is enough to have as much as a short one would need. What these
// numbers do was measured: see TestQuality and TestNoise.
const (
	leastShare  = 0.4
	enough      = 4
	ofCommon    = 0.5 // what the most common term counts
	unknownPair = 0.3
	// leastScore is the share of the best passage's score that others must have.
	leastScore = 0.3
)

// cell is what a search knows of a passage.
type cell struct{ score, share float32 }

// scores is what a search works with.
type scores struct {
	reader
	cells   []cell   // by passage; all zero between searches
	touched []uint32 // those that are not
	terms   []sought
	best    []found
}

// sought is a term of a query.
type sought struct {
	list   []uint32 // nil: no passage has it
	weight float32
	share  float32
	id     uint32
}

// found is a passage with its score.
type found struct {
	passage uint32
	score   float32
}

// search calls use with the best passages, in order: by score, then as they stand in the corpus. What it gets is valid until it returns.
func (x *index) search(query string, most int, use func([]found)) {
	if x.passages == 0 {
		return
	}
	s := x.scratch.Get().(*scores)
	defer x.scratch.Put(s)
	need := s.seek(x, shorten(query))
	s.walk(x)
	s.rank(need, most)
	use(s.best)
}

// shorten is the beginning and the end of a long query.
func shorten(query string) string {
	if len(query) <= longestQuery {
		return query
	}
	head, tail := longestQuery/2, len(query)-longestQuery/2
	for !utf8.RuneStart(query[head]) {
		head--
	}
	for !utf8.RuneStart(query[tail]) {
		tail++
	}
	var both strings.Builder
	both.Grow(longestQuery + 1)
	both.WriteString(query[:head])
	both.WriteByte('\n')
	both.WriteString(query[tail:])
	return both.String()
}

// seek reads the terms of a query, and tells how much of them a passage must have.
func (s *scores) seek(x *index, query string) (need float32) {
	s.terms = s.terms[:0]
	var strange map[string]bool
	s.read(query, func(term []byte, of role) {
		if of == single {
			return
		}
		id, known := x.terms[string(term)]
		if !known {
			if strange == nil {
				strange = map[string]bool{}
			}
			if !strange[string(term)] && len(strange) < mostTerms {
				strange[string(term)] = true
				s.terms = append(s.terms, sought{weight: x.unknown, share: shareOfUnknown(term)})
			}
			return
		}
		s.terms = append(s.terms, sought{list: x.lists[x.starts[id]:x.starts[id+1]], weight: x.weights[id], share: ofCommon + (1-ofCommon)*x.weights[id]/x.unknown, id: id})
	})
	s.choose()
	for i := range s.terms {
		need += s.terms[i].share
	}
	return leastShare * min(need, enough)
}

func shareOfUnknown(term []byte) float32 {
	if first, _ := utf8.DecodeRune(term); classOf(first) == dense {
		return unknownPair
	}
	return 1
}

// choose keeps the terms that say most, each once.
func (s *scores) choose() {
	slices.SortFunc(s.terms, func(a, b sought) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(len(b.list), len(a.list)), cmp.Compare(a.id, b.id))
	})
	kept, known := s.terms[:0], 0
	var last sought
	for _, t := range s.terms {
		if t.list != nil && last.list != nil && t.id == last.id || known == mostTerms || t.list == nil && len(kept) >= mostTerms {
			continue
		}
		if kept = append(kept, t); t.list != nil {
			last = t
			known++
		}
	}
	s.terms = kept
}

// walk adds up what the terms' lists say.
func (s *scores) walk(x *index) {
	s.touched = s.touched[:0]
	visited := 0
	for _, t := range s.terms {
		if visited += len(t.list); visited > mostVisited && visited > len(t.list) {
			return
		}
		for _, e := range t.list {
			at, n := e>>countBits, float32(e&mostCount)
			c := &s.cells[at]
			if c.share == 0 {
				s.touched = append(s.touched, at)
			}
			c.score += t.weight * n * (saturation + 1) / (n + x.lengths[at])
			c.share += t.share
		}
	}
}

// rank finds the best of the passages that have enough, and makes all cells ready for the next search.
func (s *scores) rank(need float32, most int) {
	s.best = s.best[:0]
	for _, at := range s.touched {
		c := s.cells[at]
		s.cells[at] = cell{}
		f := found{at, c.score}
		if c.share < need || len(s.best) == most && !before(f, s.best[most-1]) {
			continue
		}
		if len(s.best) == most {
			s.best = s.best[:most-1]
		}
		i, _ := slices.BinarySearchFunc(s.best, f, func(a, b found) int {
			if before(a, b) {
				return -1
			}
			return 1
		})
		s.best = slices.Insert(s.best, i, f)
	}
	for i := range s.best {
		if s.best[i].score < leastScore*s.best[0].score {
			s.best = s.best[:i]
			return
		}
	}
}

func before(a, b found) bool { return a.score > b.score || a.score == b.score && a.passage < b.passage }
