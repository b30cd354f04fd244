package counter

import (
	"context"
	"net"
	"time"
)

// Tuning is what only tests change: how long leases hold without a report, how long a Take waits, and
// Redis's clock and the way to it.
type Tuning struct {
	Lease, Hold, Patience time.Duration
	RedisNow              func() time.Time
	Dial                  func(ctx context.Context, network, addr string) (net.Conn, error)
}

// OpenWith is Open with a Tuning.
func OpenWith(o Options, t Tuning) (*Counters, error) {
	o.leaseFor, o.holdFor, o.patience, o.redisNow, o.dial = t.Lease, t.Hold, t.Patience, t.RedisNow, t.Dial
	return Open(o)
}

// Report has all counters reported now, and waits until it is done.
func (c *Counters) Report() {
	if c.far == nil {
		return
	}
	c.mu.Lock()
	for _, k := range c.far.active {
		k.lease.low = true
		c.far.urge(k)
	}
	if c.far.next == nil {
		c.far.next = &round{done: make(chan struct{})}
	}
	r := c.far.next
	busy := len(c.far.active) > 0
	if !busy {
		c.far.next = nil
	}
	c.mu.Unlock()
	if busy {
		<-r.done
	}
}

// Sweep looks at every counter.
func (c *Counters) Sweep() {
	for range 400 {
		c.sweep(true)
	}
}

// FlushLedger does what happens every second.
func (c *Counters) FlushLedger() { c.flush() }

// Leased is what is beyond the held, here, and what others have as far as is known.
func (k *Counter) Leased() (room, others int64) {
	now := k.c.time()
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.lease.room(k, k.c.forward(now)), k.lease.told.others
}

// Crash ends what Open began as kill -9 would: nothing is given back, nothing more is reported.
func (c *Counters) Crash() {
	c.mu.Lock()
	c.far.dead = true
	c.mu.Unlock()
	c.Close()
}
