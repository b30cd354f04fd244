package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Scope is whose answers are meant, and of which model. What is left open stands for all.
type Scope struct{ Tenant, Model string }

// holds tells that the answers of another scope, which leaves nothing open, are among these.
func (s Scope) holds(one Scope) bool {
	return (s.Tenant == "" || s.Tenant == one.Tenant) && (s.Model == "" || s.Model == one.Model)
}

// Key is what an answer is kept under: a digest of all that decides it, and whose it is, which is in the digest too.
type Key struct {
	Scope
	sum [sha256.Size]byte
}

// Question is a Key being made. What is added is told apart from what is added next.
type Question struct {
	scope Scope
	hash  hash.Hash
	small []byte // on its way to the hash
}

const manySmall = 256

// layout is part of every key: entries that are kept in another form are not read.
const layout = 1

// Ask begins the key of a tenant's request to a model, as of the last purge of either.
func (c *Cache) Ask(s Scope) Question {
	if c.far != nil {
		c.far.start()
	}
	q := Question{scope: s, hash: sha256.New(), small: make([]byte, 0, 2*manySmall)}
	q.Number(layout)
	q.Text(s.Tenant)
	q.Text(s.Model)
	for _, at := range c.epochs.of(s) {
		q.Number(at)
	}
	return q
}

// Number adds a number.
func (q *Question) Number(n int64) {
	q.flush(8)
	q.small = binary.LittleEndian.AppendUint64(q.small, uint64(n)) //nolint:gosec // its bits
}

// Text adds a text.
func (q *Question) Text(s string) {
	q.Number(int64(len(s)))
	if q.flush(len(s)) {
		q.small = append(q.small, s...)
		return
	}
	_, _ = q.hash.Write([]byte(s)) // it cannot fail
}

// Bytes adds bytes.
func (q *Question) Bytes(b []byte) {
	q.Number(int64(len(b)))
	if q.flush(len(b)) {
		q.small = append(q.small, b...)
		return
	}
	_, _ = q.hash.Write(b) // it cannot fail
}

// flush makes room for so many bytes more. It is false where these are many, which go to the hash themselves.
func (q *Question) flush(n int) bool {
	if few := n <= manySmall; few && len(q.small)+n <= cap(q.small) {
		return true
	}
	_, _ = q.hash.Write(q.small) // it cannot fail
	q.small = q.small[:0]
	return n <= manySmall
}

// Key is the key.
func (q *Question) Key() Key {
	k := Key{Scope: q.scope}
	q.flush(cap(q.small) + 1)
	q.hash.Sum(k.sum[:0])
	return k
}

// epochs are the times of purges, by scope. They are part of keys: what was kept before is not found any more.
type epochs struct {
	mu  sync.Mutex
	all atomic.Pointer[map[Scope]int64] // a copy for each change: readers take no lock
}

// of are the epochs that a request's answers depend on.
func (e *epochs) of(s Scope) (at [4]int64) {
	if all := e.all.Load(); all != nil {
		at = [4]int64{(*all)[Scope{}], (*all)[Scope{Tenant: s.Tenant}], (*all)[Scope{Model: s.Model}], (*all)[s]}
	}
	return at
}

// begin begins the next epoch of a scope.
func (e *epochs) begin(s Scope, now time.Time) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := max(now.UnixMicro(), e.known()[s]+1)
	e.set(map[Scope]int64{s: at})
	return at
}

// merge takes over the epochs that are later elsewhere, and returns these, and those that are later here.
func (e *epochs) merge(there map[Scope]int64) (later, ours map[Scope]int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	later, ours = map[Scope]int64{}, map[Scope]int64{}
	known := e.known()
	for s, at := range there {
		if at > known[s] {
			later[s] = at
		}
	}
	for s, at := range known {
		if at > there[s] {
			ours[s] = at
		}
	}
	if len(later) > 0 {
		e.set(later)
	}
	return later, ours
}

func (e *epochs) known() map[Scope]int64 {
	if all := e.all.Load(); all != nil {
		return *all
	}
	return nil
}

func (e *epochs) set(some map[Scope]int64) {
	all := maps.Clone(e.known())
	if all == nil {
		all = map[Scope]int64{}
	}
	maps.Copy(all, some)
	e.all.Store(&all)
}
