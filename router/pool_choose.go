package router

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// Why tells how a choice came about, or why a replica was not fit.
type Why uint8

const (
	WhyFit      Why = iota // a replica may be chosen
	WhyLoad                // the least loaded
	WhyPrefix              // the one that holds the longest part of the prompt and is not too busy for it
	WhyEmpty               // none: the pool has no replicas
	WhyTried               // not fit: this request has been there
	WhyModel               // not fit: it does not list the model
	WhyEjected             // not fit: failing more than the others; chosen only if nobody else is left
	WhyDown                // not fit: its probes fail
	WhyDraining            // not fit: drained by hand, or it has left the pool
)

// String names the reason, for headers, metrics and explanations.
func (w Why) String() string {
	return [...]string{"fit", "least_loaded", "prefix", "no_replicas", "tried", "no_model", "ejected", "down", "draining"}[w]
}

// PoolQuery is what a choice depends on.
type PoolQuery struct {
	Model    string     // the replica must list it, if it lists models; "": any
	ByPrefix bool       // by shared prompt prefix and load, else by load only
	Whole    bool       // the answer comes whole: when its first token was there is not seen
	Prefix   []uint64   // of the prompt, from AppendPrefix
	Blocks   int        // the prompt's length in blocks; 0: as many as Prefix has
	Tried    []*Replica // of this request, not to be tried again
}

func (q *PoolQuery) blocks() int { return max(q.Blocks, len(q.Prefix)) }

// The choice by prefix. All is counted in prefix blocks. What a replica holds weighs most, and by its share of the prompt: a
// conversation that moves is computed anew now, and takes room from others in a second cache until its end, while the instructions
// that many prompts begin with are soon wherever the load brings them. What keeps the balance otherwise are the bounds; within them
// the rest of the costs decides where new conversations begin.
const (
	worthHeld   = 200.0 // a block that it holds, if it holds all
	costWait    = 1.0   // a block to compute until the first token, others' before it included
	costRequest = 6.0   // a request that it has
	costRecent  = 0.5   // a block that it had to compute lately: whoever did most, begins the fewest new conversations
	workRequest = 4     // blocks that a request is worth besides its prompt

	// A replica whose line is longer than that of the shortest, so many times and so many blocks more, or that has so many
	// times and so many more requests than the mean, or that is so many times slower than typical, does not get a request for
	// the sake of its cache.
	boundWait      = 8.0
	boundWaitMore  = 256
	boundQueue     = 1.25
	boundQueueMore = 8
	boundSlow      = 4

	costBeyond = 1e12 // of those beyond a bound
)

// Up to so many replicas all are looked at, unless other gateways send to them as well: then all would run to the one that the
// last scrape found idle, and the better one of two at random is chosen.
const poolFew = 64

// choice is the best replica so far. All of those in slow start may be out: then cold is the best of them.
type choice struct {
	p          *Pool
	set        *poolSet
	t          int64
	q          PoolQuery // a copy: the caller's own need not leave its stack
	best, cold *Replica
	cost       float64
	coldCost   float64
	warm       bool // one was not in slow start

	longest, most float64 // bounds of the line and of the requests
}

// Choose returns the replica that should have the request, nil and the reason when none is fit. It changes nothing: Begin does.
func (p *Pool) Choose(now time.Time, q *PoolQuery) (*Replica, Why) {
	for {
		set := p.set.Load()
		if r, why := p.chooseOf(set, now, q); r != nil || p.set.Load() == set {
			return r, why
		} // those that it looked at have left meanwhile
	}
}

func (p *Pool) chooseOf(set *poolSet, now time.Time, q *PoolQuery) (*Replica, Why) {
	c := choice{p: p, set: set, t: p.clock(now), q: *q}
	if q.ByPrefix && len(q.Prefix) > 0 {
		return c.byPrefix()
	}
	if c.wide() {
		c.two()
	} else {
		c.all(nil)
	}
	return c.end(WhyLoad)
}

// wide says that the pool is not looked at replica by replica.
func (c *choice) wide() bool { return len(c.set.replicas) > poolFew || c.t < c.p.shared.Load() }

// byPrefix weighs what each replica would have to compute against what it has to do already.
func (c *choice) byPrefix() (*Replica, Why) {
	var depth [poolPlaces]uint16
	if x := c.p.index.Load(); x != nil {
		x.depths(c.set, c.q.Prefix, &depth)
	}
	c.bound(&depth)
	if !c.wide() {
		c.all(&depth)
	} else {
		for i, r := range c.set.replicas[:min(len(c.set.replicas), poolPlaces)] {
			if depth[i] > 0 && c.fit(r) == WhyFit {
				c.consider(r, c.prefixCost(r, int(depth[i])))
			}
		}
		c.two()
	}
	best, why := c.end(WhyLoad)
	if why == WhyLoad && depth[c.place(best)] > 0 {
		why = WhyPrefix
	}
	return best, why
}

func (c *choice) place(r *Replica) int {
	return max(int(c.set.places[r.owner.Load()%prefixOwners]), 1) - 1
}

// all considers every fit replica, beginning anywhere, so that equal ones take turns.
func (c *choice) all(depth *[poolPlaces]uint16) {
	n := len(c.set.replicas)
	if n == 0 {
		return
	}
	at := int(c.p.roll() % uint64(n))
	for range n {
		if r := c.set.replicas[at]; c.fit(r) == WhyFit {
			held := 0
			if depth != nil && at < len(depth) {
				held = int(depth[at])
			}
			c.consider(r, c.costOf(r, held))
		}
		if at++; at == n {
			at = 0
		}
	}
}

// two considers two fit replicas at random, or all when they are hard to find.
func (c *choice) two() {
	n := uint64(len(c.set.replicas))
	found := 0
	for range 16 {
		if n == 0 || found == 2 {
			return
		}
		if r := c.set.replicas[c.p.roll()%n]; c.fit(r) == WhyFit {
			found++
			c.consider(r, c.costOf(r, 0))
		}
	}
	if found == 0 {
		c.all(nil)
	}
}

func (c *choice) costOf(r *Replica, held int) float64 {
	if c.q.ByPrefix && len(c.q.Prefix) > 0 {
		return c.prefixCost(r, held)
	}
	return c.loadCost(r)
}

func (c *choice) loadCost(r *Replica) float64 {
	return (r.queue(c.t) + 1) * r.slowness(c.t)
}

func (c *choice) prefixCost(r *Replica, held int) float64 {
	queue, slow := r.queue(c.t), r.slowness(c.t)
	wait := (float64(r.pending.Load()) + float64(c.q.blocks()-held) + 1) * slow
	if wait > c.longest || queue > c.most || slow > boundSlow {
		return costBeyond + wait + float64(held)*slow + queue*costRequest // as if it held nothing: others may be beyond for that only
	}
	share := float64(held) / max(float64(c.q.blocks()), 1)
	return wait*costWait + queue*costRequest + r.recent.sum(c.t)*costRecent - float64(held)*share*worthHeld
}

// bound works out how far a prefix may bend the balance.
func (c *choice) bound(depth *[poolPlaces]uint16) {
	shortest, sum, n := math.Inf(1), 0.0, 0.0
	for i, r := range c.set.replicas[:min(len(c.set.replicas), poolPlaces)] {
		if c.fit(r) != WhyFit {
			continue
		}
		missed := float64(c.q.blocks() - int(depth[i]))
		shortest = min(shortest, (float64(r.pending.Load())+missed+1)*r.slowness(c.t))
		sum, n = sum+r.queue(c.t), n+1
	}
	c.longest = shortest*boundWait + boundWaitMore
	c.most = sum/max(n, 1)*boundQueue + boundQueueMore
}

// fit tells whether the replica may have the request.
func (c *choice) fit(r *Replica) Why {
	if why := r.state(c.t); why != WhyFit {
		return why
	}
	return c.suits(r)
}

// suits tells whether the replica could serve this request if it was well.
func (c *choice) suits(r *Replica) Why {
	if c.q.Model != "" && !r.lists(c.q.Model) {
		return WhyModel
	}
	if len(c.q.Tried) > 0 && slices.Contains(c.q.Tried, r) {
		return WhyTried
	}
	return WhyFit
}

// consider keeps the cheaper one. A replica in slow start takes part in some choices only: in as many as lead to twice its
// share when it is done. The higher cost of those that are busier would not hold it back, as it is idle.
func (c *choice) consider(r *Replica, cost float64) {
	if c.cold == nil || cost < c.coldCost {
		c.cold, c.coldCost = r, cost
	}
	if w := r.warmth(c.t); w >= 1 {
		c.warm = true
	} else if float64(c.p.roll()>>11)/(1<<53) > w*2/float64(len(c.set.replicas)) {
		return
	}
	if c.best == nil || cost < c.cost {
		c.best, c.cost = r, cost
	}
}

// end returns the best one, or an ejected one when there is no other: it may answer, and no replica cannot.
func (c *choice) end(why Why) (*Replica, Why) {
	if !c.warm {
		c.best = c.cold
	}
	if c.best != nil {
		return c.best, why
	}
	reasons := uint(0)
	for _, r := range c.set.replicas {
		reason := c.fit(r)
		if reason == WhyEjected {
			if reason = c.suits(r); reason == WhyFit {
				c.consider(r, c.loadCost(r))
			}
		}
		reasons |= 1 << reason
	}
	if c.cold != nil {
		return c.cold, WhyEjected
	}
	if reasons == 0 {
		return nil, WhyEmpty
	}
	return nil, Why(bits.TrailingZeros(reasons))
}
