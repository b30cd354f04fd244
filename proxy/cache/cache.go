// Package cache keeps answers, so that a request that was answered before costs nothing and takes no time. It holds the latest in
// memory and, where there is a Redis, shares them with the other gateways over that.
package cache

import (
	"sync"
	"sync/atomic"
	"time"
)

// Options are what a Cache is made with.
type Options struct {
	Memory int64  // bytes that it may hold in this process
	Entry  int64  // bytes of the largest answer that it keeps
	URL    string // memory, redis://, rediss://, redis-cluster:// or rediss-cluster://

	prefix string           // of the keys in Redis
	now    func() time.Time // nil: the clock
	short  time.Duration    // that a request waits for Redis; 0: shortest
}

// Cache is safe for concurrent use. Close ends it.
type Cache struct {
	memory  memory
	entry   atomic.Int64
	far     *far // nil: it is not shared
	epochs  epochs
	now     func() time.Time
	mu      sync.Mutex // of flights
	flights map[Key]*Flight
	failed  [operations]atomic.Int64
}

// Open makes a cache. It connects to nothing before it is asked for something.
func Open(o Options) (*Cache, error) {
	c := &Cache{now: o.now, flights: map[Key]*Flight{}}
	if c.now == nil {
		c.now = time.Now
	}
	c.memory.init()
	c.Resize(o.Memory, o.Entry)
	if o.URL == "" || o.URL == "memory" {
		return c, nil
	}
	var err error
	c.far, err = openFar(c, &o)
	return c, err
}

// Close ends what shares the cache. What is on its way to Redis may be lost: it is only a cache.
func (c *Cache) Close() error {
	if c == nil || c.far == nil {
		return nil
	}
	return c.far.close()
}

// Resize sets how much it may hold from now on, and the largest answer.
func (c *Cache) Resize(memory, entry int64) {
	c.entry.Store(entry)
	c.memory.resize(memory)
}

// Most is how many bytes an answer may have to be kept.
func (c *Cache) Most() int64 { return c.entry.Load() }

// Get is the answer that is kept under a key and not older than ttl; nil for none. A Redis that does not answer at once has none.
func (c *Cache) Get(key Key, ttl time.Duration) *Entry {
	if e := c.Near(key, ttl); e != nil || c.far == nil {
		return e
	}
	e := c.far.get(&key)
	if e == nil || e.Scope != key.Scope || int64(len(e.Body)) > c.entry.Load() {
		return nil
	}
	now := c.now()
	if e.Stored.After(now) {
		e.Stored = now.Truncate(time.Millisecond) // another clock is ahead: it is not kept for longer because of that
	}
	if !e.fresh(now, ttl) {
		return nil
	}
	c.memory.put(key, e)
	return e
}

// Near is Get without Redis.
func (c *Cache) Near(key Key, ttl time.Duration) *Entry {
	e := c.memory.get(key)
	if e == nil || e.fresh(c.now(), ttl) {
		return e
	}
	if !c.now().Before(e.Stored.Add(e.TTL)) {
		c.memory.remove(key, e)
	}
	return nil
}

// Put keeps an answer, and the entry itself, which must not change any more. It is false where the answer is too large.
func (c *Cache) Put(key Key, e *Entry) bool {
	if int64(len(e.Body)) > c.entry.Load() {
		return false
	}
	e.Stored, e.Scope = c.now().Truncate(time.Millisecond), key.Scope
	c.memory.put(key, e)
	if c.far != nil {
		c.far.put(key, e)
	}
	return true
}

// Purge has all answers of a scope be forgotten, here at once and within a second wherever the cache is shared. It returns how many
// this process had. The error is that Redis does not know yet: it is told as soon as it answers.
func (c *Cache) Purge(s Scope) (n int, err error) {
	at := c.epochs.begin(s, c.now())
	n = c.memory.purge(s)
	if c.far != nil {
		err = c.far.purge(s, at)
	}
	return n, err
}

// Shared tells whether other gateways have the same cache.
func (c *Cache) Shared() bool { return c.far != nil }

// Stats are a cache's numbers.
type Stats struct {
	Entries, Bytes, Evictions int64
	Errors                    map[string]int64 // calls to Redis that failed, by what they were for: get, set, purge, sync
}

// Stats are those of now. The nil Cache has none.
func (c *Cache) Stats() (s Stats) {
	s.Errors = map[string]int64{}
	for op, name := range operationNames {
		s.Errors[name] = 0
		if c != nil {
			s.Errors[name] = c.failed[op].Load()
		}
	}
	if c != nil {
		s.Entries, s.Bytes, s.Evictions = c.memory.stats()
	}
	return s
}

// operation is what Redis is asked for.
type operation int

const (
	opGet operation = iota
	opSet
	opPurge
	opSync
	operations
)

var operationNames = [operations]string{"get", "set", "purge", "sync"}
