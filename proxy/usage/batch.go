package usage

import "unsafe"

// Batch decodes many records into memory that it has from the time before.
type Batch struct {
	records  slab[Record]
	attempts slab[Attempt]
	tags     slab[string]
}

// Reset takes the memory back of all that was decoded.
func (b *Batch) Reset() {
	b.records.reset()
	b.attempts.reset()
	b.tags.reset()
}

// Decode is like the function of that name. What it returns holds until Reset, and as long as nobody changes data: its texts are
// parts of it.
func (b *Batch) Decode(data []byte) (*Record, *Feedback, error) {
	return decode(unsafe.String(unsafe.SliceData(data), len(data)), b)
}

// slab is memory for many values, in pieces that stay where they are.
type slab[T any] struct {
	pieces [][]T
	piece  int // that is being used
	used   int // of it
}

const slabPiece = 256

func (s *slab[T]) reset() { s.piece, s.used = 0, 0 }

// take is memory for some values, which are what they were before.
func (s *slab[T]) take(n int) []T {
	if n > slabPiece {
		return make([]T, n)
	}
	if s.used+n > slabPiece {
		s.piece++
		s.used = 0
	}
	if s.piece == len(s.pieces) {
		s.pieces = append(s.pieces, make([]T, slabPiece))
	}
	s.used += n
	return s.pieces[s.piece][s.used-n : s.used : s.used]
}
