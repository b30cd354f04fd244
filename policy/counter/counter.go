// Package counter counts what limits bound: requests, tokens, money, places. Counters lives in this process alone or shares
// its counts with other replicas over Redis; what is above it cannot tell which.
package counter

import (
	"sync"
	"time"
)

// Algorithm is how a limit counts over time.
type Algorithm uint8

// The algorithms.
const (
	Sliding  Algorithm = iota // at most Limit in any Window
	Token                     // a bucket of Burst that Limit per Window flow into
	Leaky                     // Limit per Window leave evenly; Burst may wait in the bucket
	Calendar                  // at most Limit in a day or month of Location
	Level                     // at most Limit at once: places that are held and given back
)

// Period is a calendar's window.
type Period uint8

// The periods.
const (
	Day Period = iota
	Month
)

// Spec is one limit. On Redis amounts are exact up to 2^53, which is nine million dollars in nano-dollars.
type Spec struct {
	Name      string // the same on every replica and after a reload: tenant/acme/spend/month
	Algorithm Algorithm
	Limit     int64
	Burst     int64 // of buckets; 0: Limit for Token, 1 for Leaky
	Window    time.Duration
	Period    Period
	Location  *time.Location // nil: UTC
}

// Counters is all the counters of a process. One lock guards them: a request takes the gateway's own counter anyway, so
// finer locks would only add an order to keep. Under it there is arithmetic and nothing else.
type Counters struct {
	now     func() time.Time
	start   time.Time
	onEvent func(name, detail string)
	ledger  *ledger // nil: none
	far     *far    // nil: the counters are this process's own

	mu     sync.Mutex
	last   int64 // the latest moment that anyone saw
	names  map[string]*Counter
	list   []*Counter
	cursor int // where the sweep goes on
	direct int64
	waited int64
	births uint64
	closed bool

	stop chan struct{}
	wg   sync.WaitGroup
}

// Counter is one limit's.
type Counter struct {
	c       *Counters
	spec    Spec
	cap     int64 // what fits at once: Limit, or a bucket's Burst
	held    int64
	meter   meter  // what was used; where there is a lease, by this replica
	lease   *lease // nil: the counter is this process's own
	pins    int
	at      int // in Counters.list
	touched int64
	dead    bool     // swept: not in Counters any more
	next    *Counter // stands in for this one
}

// Need is what a request needs of a counter. N is not negative; of nothing there is always enough.
type Need struct {
	Counter *Counter
	N       int64
	Spend   bool // counted at once and for good, as a request is; else held until Settle
}

// End is what becomes of a need: Held of it is free again, and Used was really used, which may be more or less.
type End struct {
	Counter    *Counter
	Held, Used int64
	Look       bool  // State is wanted
	State      State // afterwards
}

// Short tells why a Take failed.
type Short struct {
	Index       int           // of the need that was not met
	Retry       time.Duration // until it may be met, as far as is known; 0: unknown
	Free        int64         // what there is
	Unavailable bool          // not the limit but the store of the counters is what fails, and on_error is closed
	Share       bool          // the store fails, and what this replica may use till then is used or held
}

// State is how a counter stands, as far as this replica knows.
type State struct {
	Limit, Used, Held int64         // Limit is the Burst of a bucket; Held is by this replica
	Reset             time.Duration // until Used is 0 if nothing is added
	Window            time.Time     // of a calendar: when the window began
}

// Named is a counter that counts nothing: it gives a name to what is counted elsewhere, where a Need is asked for.
func Named(name string) *Counter { return &Counter{spec: Spec{Name: name}} }

// Name is that of the Spec, by which the counter of a limit is known whatever becomes of it.
func (k *Counter) Name() string { return k.spec.Name }

// Get returns the counter of a limit, always the same for a name as long as it is in use. A changed Limit is in force at once.
// The counter is kept until Release, however idle it is.
func (c *Counters) Get(s Spec) *Counter {
	return c.find(s, 1)
}

// Lookup is Get for counters that come and go, as those of end users do: when nothing is held or counted any more the counter
// may be forgotten. One that was forgotten still works.
func (c *Counters) Lookup(s Spec) *Counter { return c.find(s, 0) }

// Release ends what one Get began.
func (c *Counters) Release(k *Counter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k = c.live(k); k.pins > 0 {
		k.pins--
	}
}

func (c *Counters) find(s Spec, pin int) *Counter {
	now := c.time()
	c.mu.Lock()
	defer c.mu.Unlock()
	now = c.forward(now)
	k := c.names[s.Name]
	switch {
	case k == nil:
		k = c.add(s, now)
	case !k.spec.alike(s):
		k = c.replace(k, s, now)
	case k.spec.Limit != s.Limit || k.spec.Burst != s.Burst:
		k.resize(s, now)
	}
	k.pins += pin
	return k
}

// alike tells whether two specs count in the same way.
func (s *Spec) alike(o Spec) bool {
	return s.Algorithm == o.Algorithm && s.Window == o.Window && s.Period == o.Period && s.zone().String() == o.zone().String()
}

func (s *Spec) zone() *time.Location {
	if s.Location == nil {
		return time.UTC
	}
	return s.Location
}

// bucket tells whether one need may be larger than all that fits: it then waits for an empty bucket and leaves a debt.
func (s *Spec) bucket() bool { return s.Algorithm == Token || s.Algorithm == Leaky }

func (s *Spec) cap() int64 {
	switch {
	case !s.bucket():
		return s.Limit
	case s.Burst > 0:
		return s.Burst
	case s.Algorithm == Leaky:
		return 1
	}
	return s.Limit
}

func (c *Counters) add(s Spec, now moment) *Counter {
	k := &Counter{c: c, spec: s, cap: s.cap(), meter: newMeter(s, now), touched: now.mono}
	if c.far != nil {
		c.births++
		k.lease = c.far.lease(k, c.births)
		if k.lease.orphans = c.ledger.orphans(digest(&s, true)); len(k.lease.orphans) > 0 {
			c.far.activate(k)
		}
	}
	k.keep()
	c.insert(k)
	return k
}

// keep gives a calendar of this process's own its line in the ledger.
func (k *Counter) keep() {
	if m, ok := k.meter.(*calendar); ok && k.lease == nil && k.c.ledger != nil {
		m.slot = k.c.ledger.window(digest(&k.spec, false), m)
	}
}

func (c *Counters) insert(k *Counter) {
	k.dead, k.at = false, len(c.list)
	c.list = append(c.list, k)
	c.names[k.spec.Name] = k
}

// remove forgets a counter. Who still has it finds the way back (live).
func (c *Counters) remove(k *Counter) {
	end := len(c.list) - 1
	c.list[k.at] = c.list[end]
	c.list[k.at].at = k.at
	c.list[end] = nil
	c.list = c.list[:end]
	k.dead = true
	if c.names[k.spec.Name] == k {
		delete(c.names, k.spec.Name)
	}
}

// replace begins a counter that counts in another way. What was used counts on as used now, what is held stays held.
func (c *Counters) replace(k *Counter, s Spec, now moment) *Counter {
	used := k.meter.used(now)
	c.remove(k)
	n := c.add(s, now)
	n.held, n.pins = k.held, k.pins
	if n.lease == nil {
		n.meter.add(now, used)
	} else {
		c.far.seed(n, k, used, now)
	}
	k.next, k.held, k.pins = n, 0, 0
	k.forget()
	return n
}

// forget leaves nothing of a counter that will not count again.
func (k *Counter) forget() {
	if m, ok := k.meter.(*calendar); ok && m.slot != nil {
		k.c.ledger.release(m.slot)
		m.slot = nil
	}
}

// resize puts a changed limit in force.
func (k *Counter) resize(s Spec, now moment) {
	_ = k.meter.used(now) // what leaves a bucket left at the old rate until now
	k.spec.Limit, k.spec.Burst, k.cap = s.Limit, s.Burst, s.cap()
	k.meter.resize(s.Limit)
	if k.lease != nil {
		k.lease.offer(k)
		k.c.far.activate(k)
	}
}

// live is the counter that stands for k now. It brings back one that was swept.
func (c *Counters) live(k *Counter) *Counter {
	for k.next != nil {
		k = k.next
	}
	if !k.dead {
		return k
	}
	if other := c.names[k.spec.Name]; other != nil {
		k.next = other
		return other
	}
	c.insert(k)
	k.keep()
	return k
}

// Take meets all needs at once, or none.
func (c *Counters) Take(needs []Need) (Short, bool) {
	now := c.time()
	c.mu.Lock()
	now = c.forward(now)
	i := c.takeAll(needs, now, false)
	if i == len(needs) {
		c.direct++
		c.mu.Unlock()
		return Short{}, true
	}
	if c.far != nil {
		return c.takeFar(needs, i, now) // which unlocks
	}
	k, n := c.live(needs[i].Counter), needs[i].N
	s := Short{Index: i, Retry: k.retry(n, k.cap, now), Free: k.free(now)}
	c.mu.Unlock()
	return s, false
}

// takeAll meets all needs and returns their number, or none and returns which was not met. They are applied one by one and
// taken back if need be, which nobody sees, so that two needs of one counter count as such.
func (c *Counters) takeAll(needs []Need, now moment, beyond bool) int {
	for i := range needs {
		if c.live(needs[i].Counter).take(&needs[i], now, beyond) {
			continue
		}
		for j := range i {
			c.live(needs[j].Counter).untake(&needs[j], now)
		}
		return i
	}
	return len(needs)
}

// take meets one need. beyond allows what on_error allows while Redis is away.
func (k *Counter) take(n *Need, now moment, beyond bool) bool {
	switch {
	case n.N == 0:
		return true
	case k.lease == nil:
		if !k.fits(n.N, k.cap, now) {
			return false
		}
	case !k.lease.has(k, n.N, now) && !(beyond && k.beyond(n.N, now)):
		return false
	}
	if n.Spend && k.spec.Algorithm != Level {
		k.spend(n.N, now)
	} else {
		k.held += n.N
	}
	k.touched = now.mono
	if k.lease != nil {
		k.lease.took(k, n.N, now)
	}
	return true
}

func (k *Counter) untake(n *Need, now moment) {
	switch {
	case n.N == 0:
		return
	case n.Spend && k.spec.Algorithm != Level:
		k.spend(-n.N, now)
	default:
		k.held -= n.N
	}
	if k.lease != nil {
		k.lease.taken -= n.N
	}
}

func (k *Counter) fits(n, limit int64, now moment) bool {
	used := k.meter.used(now)
	if n <= limit-used-k.held {
		return true
	}
	return n > limit && used == 0 && k.held == 0 && k.spec.bucket()
}

// spend counts n as used now.
func (k *Counter) spend(n int64, now moment) {
	k.meter.add(now, n)
	if k.lease != nil {
		k.lease.spend(k.c.far, n)
	}
}

// retry is how long it takes until n fits, if nothing else happens; 0 where that is not enough or not known.
func (k *Counter) retry(n, limit int64, now moment) time.Duration {
	used := k.meter.used(now)
	over := n - (limit - used - k.held)
	if n > limit && k.spec.bucket() && k.held == 0 {
		over = used
	}
	if over > used || over <= 0 {
		return 0
	}
	return k.meter.gone(now, over)
}

func (k *Counter) free(now moment) int64 {
	if k.lease != nil {
		return k.lease.free(k, now)
	}
	return max(0, k.cap-k.meter.used(now)-k.held)
}

// Settle is Take's other side: it ends holds and counts what was used, of all counters at once, and tells how they stand then.
// Of an end with nothing held and nothing used it only tells that.
func (c *Counters) Settle(ends []End) {
	now := c.time()
	c.mu.Lock()
	defer c.mu.Unlock()
	now = c.forward(now)
	for i := range ends {
		e := &ends[i]
		k := c.live(e.Counter)
		if e.Held != 0 || e.Used != 0 {
			k.settle(e.Held, e.Used, now)
		}
		if e.Look {
			k.state(&e.State, now)
		}
	}
}

// Settle is that of Counters for this one alone.
func (k *Counter) Settle(held, used int64) {
	ends := [...]End{{Counter: k, Held: held, Used: used}}
	k.c.Settle(ends[:])
}

func (k *Counter) settle(held, used int64, now moment) {
	k.held = max(0, k.held-held)
	if used > 0 && k.spec.Algorithm != Level {
		k.spend(used, now)
	}
	if k.lease != nil {
		k.c.far.activate(k)
	}
}

// Free is what could be held now.
func (k *Counter) Free() int64 {
	now := k.c.time()
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.c.live(k).free(k.c.forward(now))
}

// State tells how the counter stands.
func (k *Counter) State() State {
	ends := [...]End{{Counter: k, Look: true}}
	k.c.Settle(ends[:])
	return ends[0].State
}

func (k *Counter) state(s *State, now moment) {
	s.Limit, s.Used, s.Held = k.cap, k.meter.used(now), k.held
	s.Reset = k.meter.gone(now, s.Used)
	if m, ok := k.meter.(*calendar); ok {
		s.Window = time.Unix(0, m.begin)
	}
	if k.lease != nil {
		k.lease.state(k, s, now)
		k.refresh(now)
	}
}
