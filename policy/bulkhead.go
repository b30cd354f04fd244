package policy

import (
	"fmt"
	"sync/atomic"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

// Room is how many requests may be at a provider at once, of one gateway process.
type Room struct {
	Most  int
	Queue Queue // of those that wait for a place
}

// Bulkhead keeps a provider from more requests than it has room for. Those that find it full wait in line, as for a limit: by
// priority, in turn among tenants. It survives a reload with those that are inside.
type Bulkhead struct {
	line  *line
	needs []counter.Need // its name in the line
	most  atomic.Int64
	queue atomic.Pointer[Queue]

	taken atomic.Int64 // places
	crowd atomic.Int64 // those in line included
}

// makeBulkheads makes those of a config. The ones before go on, with those that are inside.
func (g *Gate) makeBulkheads(prev *Gate) {
	g.bulkheads = make(map[string]*Bulkhead, len(g.setup.Rooms))
	for provider, room := range g.setup.Rooms {
		var b *Bulkhead
		if prev != nil {
			b = prev.bulkheads[provider]
		}
		if b == nil {
			b = &Bulkhead{line: g.line, needs: []counter.Need{{Counter: counter.Named("provider/" + provider + "/in_flight"), N: 1}}}
		}
		if room.Queue.Max == 0 {
			room.Queue.Max = defaultPlaces
		}
		if room.Queue.Wait == 0 {
			room.Queue.Wait = defaultWait
		}
		b.most.Store(int64(room.Most))
		b.queue.Store(&room.Queue)
		g.bulkheads[provider] = b
	}
}

// Bulkhead is the provider's, nil where it takes as many requests as come.
func (g *Gate) Bulkhead(provider string) *Bulkhead { return g.bulkheads[provider] }

// Full tells that a request would have to wait. The nil Bulkhead never is.
func (b *Bulkhead) Full() bool { return b != nil && b.crowd.Load() >= b.most.Load() }

// Enter takes a place for a caller's request, which may wait for it, but not longer than most; 0 for as long as anybody. Whoever got in must Leave. leaving tells that the client
// has left meanwhile; what Enter returns then is of no interest, but for nil, after which it is inside all the same.
func (b *Bulkhead) Enter(c *Caller, leaving Leaving, most time.Duration) error {
	b.crowd.Add(1)
	if b.line.behind(b.needs) < 0 && b.take() {
		return nil
	}
	err := b.wait(c, leaving, most)
	if err != nil {
		b.crowd.Add(-1)
	}
	return err
}

// Leave gives a place back.
func (b *Bulkhead) Leave() {
	b.taken.Add(-1)
	b.crowd.Add(-1)
	b.line.freed(b.needs)
}

func (b *Bulkhead) take() bool {
	for {
		n := b.taken.Load()
		if n >= b.most.Load() {
			return false
		}
		if b.taken.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// wait waits in line. A provider that is full is nobody's fault: another target may still serve the request.
func (b *Bulkhead) wait(c *Caller, leaving Leaving, most time.Duration) error {
	queue := b.queue.Load()
	w := &waiter{tenant: c.Tenant, priority: c.tenant.priority, needs: b.needs, places: queue.Max, limit: queue.Wait}
	if most > 0 {
		w.limit = min(w.limit, most)
	}
	w.name = func(int) string {
		return fmt.Sprintf("the model's servers, which take %d requests at once", b.most.Load())
	}
	w.try = func() (counter.Short, bool, error) { return counter.Short{}, b.take(), nil }
	if leaving != nil {
		w.hold, w.letGo = leaving.Hold, func() { leaving.LetGo() }
	}
	err := b.line.wait(w)
	if e, ok := err.(*wire.Error); ok {
		e.Failover, e.Own, e.Retry = true, true, max(e.Retry, time.Second)
	}
	return err
}
