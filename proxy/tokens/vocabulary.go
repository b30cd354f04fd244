package tokens

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"math/bits"
	"sync"
)

// The vocabularies are OpenAI's (openai/tiktoken, MIT), packed by pack.go. They stay in the binary's read-only pages, which
// the system reads when they are first looked at.
var (
	//go:embed o200k_base.vocab
	o200kTokens []byte
	//go:embed cl100k_base.vocab
	cl100kTokens []byte
)

// They take some megabytes of memory and milliseconds, so each is made when first needed.
var (
	o200k  = sync.OnceValue(func() *vocabulary { return newVocabulary(o200kTokens, true) })
	cl100k = sync.OnceValue(func() *vocabulary { return newVocabulary(cl100kTokens, false) })
)

// An entry of the table is one word: 24 bits of the token's hash and a zero, where in packed its bytes begin, its rank.
const (
	rankBits = 18
	offBits  = 21
	tagShift = rankBits + offBits
	vacant   = ^uint64(0) // greater than every entry
	absent   = ^uint32(0) // greater than every rank
)

// vocabulary knows the rank of every token. Its hash table is open, with the entries of a run in order: a search ends at the
// first entry that is greater, so that a miss, which is what merging meets most, costs as little as a hit.
type vocabulary struct {
	*classTable
	cased   bool   // o200k's pattern, which cuts before capitals
	packed  []byte // each token: a byte for its length, its bytes
	table   []uint64
	shift   uint8           // of a hash, to its place in the table
	pairs   [1 << 16]uint32 // of tokens of two bytes, the rank plus one
	longest int
	joins   joins
}

func newVocabulary(packed []byte, cased bool) *vocabulary {
	v := &vocabulary{classTable: characters(), cased: cased, packed: packed}
	size := 0
	for at := 0; at < len(packed); at += 1 + int(packed[at]) {
		size++
		v.longest = max(v.longest, int(packed[at]))
	}
	width := bits.Len(uint(size + size/2))
	v.shift = uint8(64 - width)
	const slack = 256 // runs at the end do not wrap
	v.table = make([]uint64, 1<<width+slack)
	for i := range v.table {
		v.table[i] = vacant
	}
	for at, rank := 0, uint64(0); at < len(packed); rank++ {
		token := packed[at+1 : at+1+int(packed[at])]
		v.add(token, uint64(at+1), rank)
		v.joins.note(token)
		if len(token) == 2 {
			v.pairs[uint(token[0])<<8|uint(token[1])] = uint32(rank) + 1
		}
		at += 1 + len(token)
	}
	return v
}

func (v *vocabulary) add(token []byte, off, rank uint64) {
	h := hash(token)
	e := h>>tagShift<<tagShift | off<<rankBits | rank
	i := h >> v.shift
	for v.table[i] < e {
		i++
	}
	for ; e != vacant; i++ {
		v.table[i], e = e, v.table[i]
	}
}

// rank is a token's rank, absent if it is none.
func (v *vocabulary) rank(token []byte) uint32 {
	h := hash(token)
	tag := h >> tagShift
	for i := h >> v.shift; ; i++ {
		e := v.table[i]
		if e>>tagShift < tag {
			continue
		}
		if e>>tagShift > tag {
			return absent
		}
		off := int(e >> rankBits & (1<<offBits - 1))
		if int(v.packed[off-1]) == len(token) && equal(v.packed[off:off+len(token)], token) {
			return uint32(e & (1<<rankBits - 1))
		}
	}
}

// equal compares tokens of the same length, most of them short.
func equal(a, b []byte) bool {
	if n := len(b); n >= 4 && n <= 8 {
		return binary.LittleEndian.Uint32(a) == binary.LittleEndian.Uint32(b) &&
			binary.LittleEndian.Uint32(a[n-4:]) == binary.LittleEndian.Uint32(b[n-4:])
	}
	return bytes.Equal(a, b)
}

const (
	mixA = 0x9e3779b97f4a7c15
	mixB = 0xd6e8feb86659fd93
)

// hash leaves the lowest bit of the tag zero: vacant is no token's entry.
func hash(s []byte) uint64 {
	n := len(s)
	h := uint64(n) * mixA
	switch {
	case n > 8:
		for i := 0; i+8 < n; i += 8 {
			h = mix(h^binary.LittleEndian.Uint64(s[i:]), mixB)
		}
		h ^= binary.LittleEndian.Uint64(s[n-8:])
	case n >= 4:
		h ^= uint64(binary.LittleEndian.Uint32(s)) | uint64(binary.LittleEndian.Uint32(s[n-4:]))<<32
	case n > 0:
		h ^= uint64(s[0]) | uint64(s[n/2])<<8 | uint64(s[n-1])<<16
	}
	return mix(h, mixA) &^ (1 << tagShift)
}

func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}
