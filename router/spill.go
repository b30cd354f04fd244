package router

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Places tells whether a provider has room for no more requests at once, as far as the gateway bounds them. It must be quick.
type Places func(provider string) (full bool)

// crowd is what a target has to do with its provider's pool. The nil crowd is that of a provider without one.
type crowd struct {
	pool     *Pool
	provider string
	places   Places // nil: as many as come
	spill    Spill

	// How the pool is, looked at now and then only: for many targets that costs less than the pool itself.
	lookedAt atomic.Int64 // unix nanoseconds
	beyond   atomic.Bool
	ready    atomic.Int64
}

const (
	glimpse = 20 * time.Millisecond
	// A pool that spilled must be so far below the threshold before it gets requests again.
	spillBack   = 0.8
	spillBackKV = 0.05
)

// crowded makes a target know its pool. The error is of the spill's settings.
func (s *Setup) crowded(t TargetConfig) (*crowd, error) {
	pool := s.Pools[t.Provider]
	switch {
	case pool != nil:
		return &crowd{pool: pool, provider: t.Provider, places: s.Places, spill: t.Spill}, nil
	case t.Spill != (Spill{}) && s.Pools != nil:
		return nil, fmt.Errorf("the provider %s is no pool (only those of kind vllm are)", t.Provider)
	}
	return nil, nil
}

// full tells that the target's pool has no room: its places are taken, or it has more to do than its spill allows.
func (t *Target) full(now time.Time) bool {
	c := t.crowd
	if c == nil {
		return false
	}
	if c.places != nil && c.places(c.provider) {
		return true
	}
	if c.spill == (Spill{}) {
		return false
	}
	c.look(now)
	return c.beyond.Load()
}

// load is how many calls are under way at a target, for each of its replicas that is fit.
func (t *Target) load(q *Query, now time.Time) float64 {
	calls := float64(t.Track(q.model()).inFlight.Load())
	if t.crowd == nil {
		return calls
	}
	t.crowd.look(now)
	return calls / float64(max(t.crowd.ready.Load(), 1))
}

// several tells a pool of which more than one replica is fit.
func (c *crowd) several(now time.Time) bool {
	if c == nil {
		return false
	}
	c.look(now)
	return c.ready.Load() > 1
}

// look looks at the pool, unless somebody has just done so.
func (c *crowd) look(now time.Time) {
	at := c.lookedAt.Load()
	if now.UnixNano()-at < int64(glimpse) || !c.lookedAt.CompareAndSwap(at, now.UnixNano()) {
		return
	}
	l := c.pool.Load(now)
	c.ready.Store(int64(l.Ready))
	c.beyond.Store(c.spill.beyond(l, c.beyond.Load()))
}

// beyond tells whether a pool has too much to do. Where no replica tells what waits, requests whose first content is awaited
// do in its place.
func (s Spill) beyond(l PoolLoad, before bool) bool {
	if l.Ready == 0 {
		return true
	}
	waiting, most, kv := float64(l.Waiting)/float64(max(l.Told, 1)), float64(s.Waiting), float64(s.KV)
	if l.Told == 0 {
		waiting = float64(l.Unanswered) / float64(l.Ready)
	}
	if before {
		most, kv = most*spillBack, kv-spillBackKV
	}
	return s.Waiting > 0 && waiting >= most || s.KV > 0 && l.Told > 0 && l.KV >= kv
}

// join has a track know the pool that its target's calls go to.
func (t *Track) join(target *Target) {
	if target.crowd != nil {
		t.pool.Store(target.crowd.pool)
	}
}

// ByPrefix tells a route whose requests go to the replica that knows most of the prompt.
func (r *Route) ByPrefix() bool { return r.needs&NeedsPrefix != 0 }
