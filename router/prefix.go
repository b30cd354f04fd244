package router

import (
	"math"
	"math/bits"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// PrefixBlock is how many bytes of a prompt make one block of its prefix: about 128 tokens.
const PrefixBlock = 512

// AppendPrefix appends a hash for every whole block of raw: hash i covers all bytes up to the end of block i and the seed,
// so that two prompts share hash i only when they are equal up to there. What has to do with the cache and is not in raw
// (the model, the adapter, a tenant's salt) belongs into the seed. A prompt in pieces chains: the last hash is the next seed.
func AppendPrefix(dst []uint64, seed uint64, raw []byte, block int) []uint64 {
	var digest xxhash.Digest
	for block > 0 && len(raw) >= block {
		digest.ResetWithSeed(seed)
		_, _ = digest.Write(raw[:block]) // never fails
		seed = digest.Sum64()
		dst = append(dst, seed)
		raw = raw[block:]
	}
	return dst
}

// An entry of the index is one word: which prefix (a part of its hash), whose cache, and when it was last used there.
//
//	bits 0..31  tag: the hash's low half; the high bits are the bucket, so both together tell prefixes apart
//	bits 32..43 owner: a replica's life, a new number after each restart; 0 is nobody
//	bits 44..63 stamp: the owner's clock in units of 1<<shift blocks
const (
	prefixWays   = 8 // entries of a bucket: one cache line
	prefixOwners = 1 << 12
	prefixStamps = 1 << 20
	// prefixGaps is how many blocks in a row are looked up in vain before the rest is taken to be unknown, too: full buckets
	// forget some blocks.
	prefixGaps = 4
)

// prefixIndex guesses which prefixes each replica's cache holds. It is a table of fixed size that never grows, without
// locks: two requests that write to a bucket at once may lose an entry, which costs a guess and nothing else.
type prefixIndex struct {
	words   []uint64
	buckets uint64
	shift   uint
}

// newPrefixIndex makes a table of at most that many entries, eight bytes each.
func newPrefixIndex(entries int) *prefixIndex {
	buckets := max(entries/prefixWays, 1)
	return &prefixIndex{
		words:   make([]uint64, buckets*prefixWays),
		buckets: uint64(buckets),
		shift:   uint(max(bits.Len(uint(entries))-17, 0)), // stamps wrap after 8 tables full; no bucket is spared for so long
	}
}

func (x *prefixIndex) bucket(hash uint64) *[prefixWays]uint64 {
	at, _ := bits.Mul64(hash, x.buckets)
	return (*[prefixWays]uint64)(x.words[at*prefixWays:])
}

func prefixOwner(word uint64) uint64 { return word >> 32 % prefixOwners }

// age is how long ago the owner used the block, in blocks that it has computed since.
func (x *prefixIndex) age(word uint64, r *Replica) uint64 {
	return (r.clock.Load()>>x.shift - word>>44) % prefixStamps << x.shift
}

// depths tells how many of the first blocks each replica is likely to hold, by its place in the set. A cache that holds a block
// holds all before it: so every so many blocks are looked up first, and then those behind the last one found. For replicas that
// hold less than the best one, the depth is that of the coarse look.
func (x *prefixIndex) depths(set *poolSet, prefix []uint64, depth *[poolPlaces]uint16) {
	prefix = prefix[:min(len(prefix), 1<<16-1)]
	step := 1
	for step*step < len(prefix) {
		step++
	}
	for n := step; n <= len(prefix); n += step {
		atomic.LoadUint64(&x.bucket(prefix[n-1])[0]) // the table is larger than the CPU's caches: it fetches all at once
	}
	found, gaps := 0, 0
	for n := step; n <= len(prefix) && gaps < prefixGaps; n += step {
		if gaps++; x.lookUp(set, prefix, n, depth) {
			found, gaps = n, 0
		}
	}
	for n := found + 1; n < found+step && n <= len(prefix); n++ {
		x.lookUp(set, prefix, n, depth)
	}
}

// lookUp raises the depth of all who hold the nth block to n, and tells whether there are any.
func (x *prefixIndex) lookUp(set *poolSet, prefix []uint64, n int, depth *[poolPlaces]uint16) (known bool) {
	hash := prefix[n-1]
	bucket := x.bucket(hash)
	for j := range bucket {
		word := atomic.LoadUint64(&bucket[j])
		if uint32(word) != uint32(hash) {
			continue
		}
		place := set.places[prefixOwner(word)]
		if place == 0 {
			continue
		}
		if r := set.replicas[place-1]; x.age(word, r) <= r.room.Load() {
			depth[place-1] = uint16(n)
			known = true
		}
	}
	return known
}

// use notes that the replica computes these blocks now, and tells how many of the first it is likely to hold already. A block that
// it does not hold brings all others nearer to their end. One that it holds passes those that were used since, on average as many
// as it is old; but what is used again is mostly what will be, so half of that is right for those that matter.
func (x *prefixIndex) use(set *poolSet, r *Replica, prefix []uint64) (held int) {
	fresh, passed, room := uint64(0), uint64(0), r.room.Load()
	word := uint64(r.owner.Load())<<32 | r.clock.Load()>>x.shift<<44
	for i, hash := range prefix {
		if age := x.touch(set, r, hash, word|uint64(uint32(hash))); age <= room {
			held = i + 1
			passed += age
		} else {
			fresh++
		}
	}
	r.clock.Add(fresh + (passed+room)/(2*room+1))
	return held
}

// touch renews the block's entry, or writes it over the one of its bucket that is nearest to its end, and tells how old it was.
func (x *prefixIndex) touch(set *poolSet, r *Replica, hash, entry uint64) (age uint64) {
	bucket := x.bucket(hash)
	victim, oldest := 0, -1.0
	for j := range bucket {
		word := atomic.LoadUint64(&bucket[j])
		if uint32(word) == uint32(hash) && prefixOwner(word) == prefixOwner(entry) {
			if word != entry {
				atomic.StoreUint64(&bucket[j], entry)
			}
			return x.age(word, r)
		}
		if left := x.spent(set, word); left > oldest {
			victim, oldest = j, left
		}
	}
	atomic.StoreUint64(&bucket[victim], entry)
	return math.MaxUint64
}

// spent is the share of its life in the owner's cache that an entry has behind it: 1 and more when it is of no use.
func (x *prefixIndex) spent(set *poolSet, word uint64) float64 {
	place := set.places[prefixOwner(word)]
	if place == 0 {
		return prefixStamps
	}
	r := set.replicas[place-1]
	return float64(x.age(word, r)) / float64(r.room.Load()+1)
}

// clear removes what dead owners left, so that their numbers can be given out again.
func (x *prefixIndex) clear(set *poolSet) {
	for i := range x.words {
		if word := atomic.LoadUint64(&x.words[i]); word != 0 && set.places[prefixOwner(word)] == 0 {
			atomic.CompareAndSwapUint64(&x.words[i], word, 0)
		}
	}
}

// live counts the entries that still say something. It walks the whole table: for metrics.
func (x *prefixIndex) live(set *poolSet) (entries int) {
	for i := range x.words {
		word := atomic.LoadUint64(&x.words[i])
		place := set.places[prefixOwner(word)]
		if place == 0 {
			continue
		}
		if r := set.replicas[place-1]; x.age(word, r) <= r.room.Load() {
			entries++
		}
	}
	return entries
}
