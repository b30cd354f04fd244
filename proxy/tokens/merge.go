package tokens

import "encoding/binary"

const (
	shortPiece = 64      // bytes; up to here the least of all pairs is found by looking at each
	longPiece  = 1 << 18 // bytes of one unbroken run that are merged at once, in some 12 MiB
)

// count is how many tokens a text has.
func (v *vocabulary) count(s []byte) (n int) {
	var long merger
	for i := 0; i < len(s); {
		end := v.next(s, i)
		n += v.piece(s[i:end], &long)
		i = end
	}
	return n
}

// next is where the piece that starts at i ends.
func (v *vocabulary) next(s []byte, i int) int {
	if v.cased {
		return v.next200k(s, i)
	}
	return v.next100k(s, i)
}

// piece is how many tokens a piece has that the pattern has cut.
func (v *vocabulary) piece(s []byte, long *merger) (n int) {
	if len(s) <= v.longest && v.rank(s) != absent {
		return 1
	}
	for len(s) > 0 {
		end := v.joins.cut(s)
		n += v.part(s[:end], long)
		s = s[end:]
	}
	return n
}

// part is how many tokens a part of a piece has that merges by itself. A run of letters of more than longPiece without any place to
// cut is no text; what counting it by parts is off, a token or two a part, is the price for bounded memory.
func (v *vocabulary) part(s []byte, long *merger) int {
	switch {
	case len(s) <= v.longest && v.rank(s) != absent:
		return 1 // every token is what its bytes merge to
	case len(s) <= shortPiece:
		return v.merge(s)
	}
	n := 0
	for ; len(s) > longPiece; s = s[longPiece:] {
		n += long.merge(v, s[:longPiece])
	}
	return n + long.merge(v, s)
}

// merge merges the pair of neighbours of the lowest rank, the first of equals, until no pair is a token.
func (v *vocabulary) merge(s []byte) int {
	var start [shortPiece + 1]uint8
	var ranks [shortPiece + 1]uint32 // of the pair that starts here
	n := len(s)
	for i := range n {
		start[i], ranks[i] = uint8(i), absent
		if i+1 < n {
			ranks[i] = v.pairs[uint(s[i])<<8|uint(s[i+1])] - 1 // absent if zero
		}
	}
	start[n] = uint8(n)
	for n > 1 {
		least, at := absent, 0
		for i, r := range ranks[:n-1] {
			if r < least {
				least, at = r, i
			}
		}
		if least == absent {
			break
		}
		copy(start[at+1:n], start[at+2:n+1])
		copy(ranks[at+1:n-1], ranks[at+2:n])
		n--
		ranks[n-1] = absent
		if at+1 < n {
			ranks[at] = v.pair(s[start[at]:start[at+2]])
		}
		if at > 0 {
			ranks[at-1] = v.pair(s[start[at-1]:start[at+1]])
		}
	}
	return n
}

// pair is the rank of two neighbours, which may be longer than any token.
func (v *vocabulary) pair(s []byte) uint32 {
	if len(s) > v.longest {
		return absent
	}
	return v.rank(s)
}

// merger merges long pieces. Pairs wait in a heap, so that time grows as n log n.
type merger struct {
	next, before []int32  // of the part that starts here: its end, 0 once it is merged into the one before; where that starts
	heap         []uint64 // rank and start of pairs, some of them outdated
}

func (m *merger) merge(v *vocabulary, s []byte) int {
	m.start(v, s)
	n := len(s)
	for len(m.heap) > 0 {
		rank, at := m.pop()
		if m.next[at] == 0 || m.rank(v, s, at) != rank {
			continue // one of the two has been merged with another
		}
		second := m.next[at]
		m.next[at], m.next[second] = m.next[second], 0
		n--
		if end := m.next[at]; int(end) < len(s) {
			m.before[end] = at
		}
		m.push(v, s, at)
		if at > 0 {
			m.push(v, s, m.before[at])
		}
	}
	return n
}

func (m *merger) start(v *vocabulary, s []byte) {
	if cap(m.next) < len(s) {
		m.next, m.before, m.heap = make([]int32, len(s)), make([]int32, len(s)), make([]uint64, 0, len(s))
	}
	m.next, m.before, m.heap = m.next[:len(s)], m.before[:len(s)], m.heap[:0]
	for i := range s {
		m.next[i], m.before[i] = int32(i+1), int32(i-1)
	}
	for i := range s {
		m.push(v, s, int32(i))
	}
}

// rank is that of the pair whose first part starts at i.
func (m *merger) rank(v *vocabulary, s []byte, i int32) uint32 {
	second := m.next[i]
	if int(second) == len(s) {
		return absent
	}
	return v.pair(s[i:m.next[second]])
}

func (m *merger) push(v *vocabulary, s []byte, at int32) {
	rank := m.rank(v, s, at)
	if rank == absent {
		return
	}
	e := uint64(rank)<<32 | uint64(at)
	m.heap = append(m.heap, e)
	i := len(m.heap) - 1
	for i > 0 && m.heap[(i-1)/2] > e {
		m.heap[i] = m.heap[(i-1)/2]
		i = (i - 1) / 2
	}
	m.heap[i] = e
}

func (m *merger) pop() (rank uint32, at int32) {
	h := m.heap
	top, e := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	i := 0
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1] < h[child] {
			child++
		}
		if h[child] >= e {
			break
		}
		h[i] = h[child]
		i = child
	}
	if len(h) > 0 {
		h[i] = e
	}
	m.heap = h
	return uint32(top >> 32), int32(uint32(top))
}

// joins tells where a long run of letters beyond ASCII may be cut before it is merged: between two characters that lie side
// by side in no token. Nothing ever merges across, so both sides may be merged by themselves. It is what keeps
// Chinese, whose text has few breaks, as cheap as languages with spaces.
//
// It knows the three bytes on each side of every place in a token where a character of three or four bytes begins. Where a
// token has fewer on a side, it knows the two bytes only.
type joins struct {
	near  bitSet16 // of two bytes
	wide  [1 << joinBits / 64]uint64
	alone bitSet16 // the characters of three bytes that are a token
}

const joinBits = 17 // twelve times the pairs that o200k has

// bitSet16 is a set of small numbers.
type bitSet16 [1 << 16 / 64]uint64

func (b *bitSet16) add(i uint16)      { b[i/64] |= 1 << (i % 64) }
func (b *bitSet16) has(i uint16) bool { return b[i/64]>>(i%64)&1 != 0 }

func (j *joins) note(token []byte) {
	if len(token) == 3 && token[0]&0xf0 == 0xe0 {
		j.alone.add(threeBytes(token))
	}
	for i := 1; i < len(token); i++ {
		switch {
		case !joinable(token[i-1], token[i]):
		case i >= 3 && i+3 <= len(token):
			h := joinHash(token[i-3 : i+3])
			j.wide[h/64] |= 1 << (h % 64)
		default:
			j.near.add(uint16(token[i-1])<<8 | uint16(token[i]))
		}
	}
}

// side reports whether the three bytes on each side of i may lie in one token. It says yes of a few that do not.
func (j *joins) side(s []byte, i int) bool {
	h := joinHash(s[i-3 : i+3])
	return j.wide[h/64]>>(h%64)&1 != 0
}

// threeBytes is the character that three bytes encode.
func threeBytes(s []byte) uint16 {
	return uint16(s[0]&0x0f)<<12 | uint16(s[1]&0x3f)<<6 | uint16(s[2]&0x3f)
}

func joinable(before, first byte) bool { return before >= 0x80 && first >= 0xe0 }

func joinHash(s []byte) uint {
	h := uint64(binary.LittleEndian.Uint32(s)) | uint64(binary.LittleEndian.Uint32(s[2:]))<<32
	return uint(h * mixA >> (64 - joinBits))
}

// cut is how much of s can be merged by itself.
func (j *joins) cut(s []byte) int {
	for i := 3; i+3 <= len(s); i++ {
		if joinable(s[i-1], s[i]) && !j.near.has(uint16(s[i-1])<<8|uint16(s[i])) && !j.side(s, i) {
			return i
		}
	}
	return len(s)
}
