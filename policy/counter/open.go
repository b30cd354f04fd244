package counter

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Options is how counters are kept.
type Options struct {
	URL     string // memory (the default), redis://, rediss://, redis-cluster:// or rediss-cluster://
	OnError string // what counts while Redis is away: open, closed or local_share (the default)
	Ledger  string // a local file that keeps what a crash must not lose; "": none
	Replica string // what this process is called in Redis, for people; default the host's name
	Prefix  string // of keys in Redis; default jarvis:counter:
	Now     func() time.Time
	OnEvent func(name, detail string)

	leaseFor, holdFor time.Duration    // without a report; 0: 10 and 30 seconds
	patience          time.Duration    // of a Take; 0: 250 ms
	redisNow          func() time.Time // in place of Redis's own clock
	dial              dialer
}

// Stats is how the counters do.
type Stats struct {
	Counters int   // there are
	Direct   int64 // Takes that were met without waiting
	Waited   int64 // Takes that were met after a trip to Redis
	Syncs    int64 // with Redis
	Errors   int64 // syncs that failed
	Degraded bool  // Redis is away, and on_error decides
	Unsent   int   // counters with use that Redis does not know of yet
}

// Open returns counters that work at once: a Redis that does not answer is an event, not an error.
func Open(o Options) (*Counters, error) {
	if o.OnError == "" {
		o.OnError = "local_share"
	}
	if !slices.Contains([]string{"open", "closed", "local_share"}, o.OnError) {
		return nil, fmt.Errorf("on_error: %q: expected open, closed or local_share", o.OnError)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnEvent == nil {
		o.OnEvent = func(string, string) {}
	}
	c := &Counters{now: o.Now, start: o.Now(), onEvent: o.OnEvent, names: map[string]*Counter{}, stop: make(chan struct{})}
	if o.URL != "" && o.URL != "memory" {
		if err := c.share(o); err != nil {
			return nil, err
		}
	}
	c.ledger = openLedger(o.Ledger, c.start, o.OnEvent)
	c.wg.Go(c.keep)
	if c.far != nil {
		c.far.peers = c.ledger.peers()
		c.wg.Go(c.far.run)
	}
	return c, nil
}

// share has the counters count together with those of other replicas.
func (c *Counters) share(o Options) error {
	label := strings.Map(plainRune, o.Replica)
	if label == "" {
		host, _ := os.Hostname()
		label = strings.Map(plainRune, host)
	}
	redis, err := dial(o.URL, o.Prefix, label, o.dial)
	if err != nil {
		return err
	}
	redis.now = o.redisNow
	c.far = &far{c: c, redis: redis, onError: o.OnError, leaseT: int64(10 * time.Second), holdT: int64(30 * time.Second),
		patience: int64(patient), secret: random(), kick: make(chan struct{}, 1)}
	if o.patience > 0 {
		c.far.patience = int64(o.patience)
	}
	if o.leaseFor > 0 {
		c.far.leaseT, c.far.holdT = int64(o.leaseFor), int64(max(o.leaseFor, o.holdFor))
	}
	return nil
}

// random begins the ids of this process's leases, no two of which may ever be the same.
func random() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// plainRune leaves what reads well in Redis.
func plainRune(r rune) rune {
	if r > ' ' && r < 0x7f {
		return r
	}
	return -1
}

// keep forgets idle counters and has the disk keep the ledger, about every second until Close.
func (c *Counters) keep() {
	timer := time.NewTicker(time.Second)
	defer timer.Stop()
	for n := 0; ; n++ {
		select {
		case <-c.stop:
			return
		case <-timer.C:
		}
		c.sweep(n%60 == 0)
		c.flush()
	}
}

// flush has the disk keep the ledger, and does without one that was cut.
func (c *Counters) flush() {
	if !c.ledger.flush() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.detach().close()
}

const (
	swept    = 256 // counters under one lock
	someIdle = time.Minute
)

// sweep looks at some of the counters, so that all were looked at after about half a minute.
func (c *Counters) sweep(ledger bool) {
	t := c.now()
	c.mu.Lock()
	n := len(c.list)/30 + 1
	trouble := ""
	if c.ledger != nil {
		trouble, c.ledger.trouble = c.ledger.trouble, ""
		if ledger {
			c.ledger.expire(t)
		}
	}
	c.mu.Unlock()
	if trouble != "" {
		c.onEvent("counters_ledger_full", trouble)
	}
	for ; n > 0; n -= swept {
		now := c.time()
		c.mu.Lock()
		now = c.forward(now)
		for range min(n, swept) {
			c.sweepOne(now)
		}
		c.mu.Unlock()
	}
}

// sweepOne forgets the next counter if nothing would be lost. On Redis nothing ever is, once all is reported.
func (c *Counters) sweepOne(now moment) {
	if c.cursor--; c.cursor < 0 || c.cursor >= len(c.list) {
		c.cursor = len(c.list) - 1
	}
	if c.cursor < 0 {
		return
	}
	k := c.list[c.cursor]
	idle := k.held == 0 && k.pins == 0
	if k.lease != nil {
		idle = idle && !k.lease.active && now.mono-k.touched > int64(someIdle) && !k.remembers(now)
	} else {
		idle = idle && k.meter.used(now) == 0
	}
	if idle {
		c.remove(k)
		k.forget()
	}
}

// Stats tells how the counters do.
func (c *Counters) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{Counters: len(c.list), Direct: c.direct, Waited: c.waited}
	if f := c.far; f != nil {
		s.Syncs, s.Errors, s.Degraded, s.Unsent = f.syncs.Load(), f.errors.Load(), f.open, f.unsent
	}
	return s
}

// count notes a Take that was met.
func (c *Counters) count(waited bool) {
	if waited {
		c.waited++
	} else {
		c.direct++
	}
}

// Close gives leases back and ends what Open began. Counters still count afterwards, but nobody hears of it.
func (c *Counters) Close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed {
		return nil
	}
	close(c.stop)
	c.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.detach().close()
}

// detach has nothing kept any more.
func (c *Counters) detach() *ledger {
	l := c.ledger
	c.ledger = nil
	for _, k := range c.list {
		if m, ok := k.meter.(*calendar); ok {
			m.slot = nil
		}
	}
	if c.far != nil {
		for _, k := range c.far.active {
			k.lease.slot, k.lease.orphans = nil, nil
		}
	}
	return l
}
