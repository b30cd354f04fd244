package ragplug

import (
	"hash/fnv"
	"math"
	"sync"
)

// index finds passages by their terms: for each term it lists the passages that have it. It never changes once it is built.
type index struct {
	terms    map[string]uint32 // by the term: its place in starts
	starts   []uint32          // where a term's list begins in lists; one more than there are terms
	lists    []uint32          // passage<<countBits | how often, by term, then by passage
	weights  []float32         // by term: how much it says that a passage has it
	lengths  []float32         // by passage: what its length makes of how often a term is in it
	unknown  float32           // weight of a term that no passage has
	letters  int               // of all terms
	passages int
	scratch  sync.Pool // of *scores
}

const (
	countBits = 6
	mostCount = 1<<countBits - 1
	// maxPassages is how many fit beside the count. The bounds of a corpus keep far below: 64 MiB have some 200,000 at 50 tokens each.
	maxPassages = 1<<(32-countBits) - 1
)

// The constants of BM25, as usual: how soon it matters little that a term stands in a passage once more, and how much long passages
// are held back.
const (
	saturation = 1.2
	flattening = 0.75
)

// builder builds an index.
type builder struct {
	index
	reader
	entries []entry // in the order of passages
	places  []int   // of the passage's terms in entries, by term; below from: none yet
	sizes   []uint32
}

// entry is a term in a passage.
type entry struct{ term, at uint32 }

func newBuilder() *builder { return &builder{index: index{terms: map[string]uint32{}}} }

// add adds a passage: its title and its text. alike is a digest of its words.
func (b *builder) add(title, text string) (alike uint64, words int) {
	from, number := len(b.entries), uint32(len(b.sizes))
	digest := fnv.New64a()
	take := func(term []byte, of role) {
		at, known := b.terms[string(term)]
		if !known {
			at = uint32(len(b.terms))
			b.terms[string(term)] = at
			b.places = append(b.places, -1)
			b.letters += len(term)
		}
		if of != single {
			words++
			digest.Write(term)
			digest.Write([]byte{0})
		}
		if i := b.places[at]; i >= from {
			if e := &b.entries[i]; e.at&mostCount < mostCount {
				e.at++
			}
			return
		}
		b.places[at] = len(b.entries)
		b.entries = append(b.entries, entry{at, number<<countBits | 1})
	}
	b.read(title, take)
	b.read(text, take)
	b.sizes = append(b.sizes, uint32(words))
	return digest.Sum64(), words
}

// build makes the index of what was added.
func (b *builder) build() *index {
	x := &index{terms: b.terms, letters: b.letters, passages: len(b.sizes)}
	x.starts = make([]uint32, len(b.terms)+1)
	for _, e := range b.entries {
		x.starts[e.term+1]++
	}
	for i := 1; i < len(x.starts); i++ {
		x.starts[i] += x.starts[i-1]
	}
	x.lists = make([]uint32, len(b.entries))
	next := append([]uint32(nil), x.starts...)
	for _, e := range b.entries {
		x.lists[next[e.term]] = e.at
		next[e.term]++
	}
	x.weigh()
	x.measure(b.sizes)
	x.scratch.New = func() any { return &scores{cells: make([]cell, x.passages)} }
	return x
}

// weigh gives terms their weight: the fewer passages have one, the more it says.
func (x *index) weigh() {
	x.weights = make([]float32, len(x.starts)-1)
	for i := range x.weights {
		x.weights[i] = x.rarity(float64(x.starts[i+1] - x.starts[i]))
	}
	x.unknown = x.rarity(0)
}

// rarity is what BM25 makes of how many passages have a term. A few passages say little of how rare it is, so it goes as if there were
// more of them, without it.
func (x *index) rarity(having float64) float32 {
	const more = 100
	return float32(math.Log1p((more + float64(x.passages) - having + 0.5) / (having + 0.5)))
}

// measure sets passages' lengths off against the average.
func (x *index) measure(sizes []uint32) {
	var all float64
	for _, n := range sizes {
		all += float64(n)
	}
	average := max(all/float64(max(len(sizes), 1)), 1)
	x.lengths = make([]float32, len(sizes))
	for i, n := range sizes {
		x.lengths[i] = float32(saturation * (1 - flattening + flattening*float64(n)/average))
	}
}

// bytes is about how much memory the index takes, without the texts.
func (x *index) bytes() int {
	const ofTerm = 16 + 4 + 8 // its string, its place, and its share of the map's groups
	return 4*(len(x.starts)+len(x.lists)+len(x.weights)+len(x.lengths)) + len(x.terms)*ofTerm + x.letters
}
