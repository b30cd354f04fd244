package cache

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// memory holds so many bytes of answers. The one that was not asked for the longest goes first.
type memory struct {
	mu      sync.Mutex
	lru     *simplelru.LRU[Key, *Entry]
	bytes   int64
	most    int64
	evicted int64
}

func (m *memory) init() {
	m.lru, _ = simplelru.NewLRU[Key, *Entry](math.MaxInt32, nil) // it is an error for no size alone
}

func (m *memory) get(key Key) *Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, _ := m.lru.Get(key)
	return e
}

func (m *memory) put(key Key, e *Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if before, ok := m.lru.Peek(key); ok {
		m.lru.Remove(key)
		m.bytes -= before.size()
	}
	if e.size() > m.most {
		return // all others would have to go, and then it too
	}
	m.lru.Add(key, e)
	m.bytes += e.size()
	m.shrink()
}

// remove takes an entry out, unless another has taken its place.
func (m *memory) remove(key Key, e *Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at, ok := m.lru.Peek(key); ok && at == e {
		m.lru.Remove(key)
		m.bytes -= e.size()
	}
}

func (m *memory) resize(most int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.most = most
	m.shrink()
}

// shrink is called under mu.
func (m *memory) shrink() {
	for m.bytes > m.most {
		_, e, ok := m.lru.RemoveOldest()
		if !ok {
			return
		}
		m.bytes -= e.size()
		m.evicted++
	}
}

func (m *memory) purge(s Scope) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range m.lru.Keys() {
		if e, ok := m.lru.Peek(key); ok && s.holds(key.Scope) {
			m.lru.Remove(key)
			m.bytes -= e.size()
			n++
		}
	}
	return n
}

func (m *memory) stats() (entries, bytes, evicted int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(m.lru.Len()), m.bytes, m.evicted
}
