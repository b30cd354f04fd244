package router

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// MaxReplicas bounds a pool.
const MaxReplicas = 1000

// poolPlaces also has room for replicas that have left and still answer. Those beyond are not found by prefix.
const poolPlaces = 1 << 10

// PoolConfig is how a pool treats its replicas. What is zero gets the default.
type PoolConfig struct {
	SlowStart     time.Duration // how long a new or returning replica takes to get its full share; 30s, negative: none
	Scrape        time.Duration // how often replicas' metrics are read, 1s; after three times that they are not believed
	Consecutive   int           // failures in a row that eject a replica; 5
	FailureRate   float64       // share of failures that ejects, if it is also three times that of the others; 0.5
	MinRequests   int           // below that many requests in 10 s to 20 s the share of failures says nothing; 10
	Eject         time.Duration // how long the first ejection lasts, the next ones twice as long each; 5s
	EjectMax      time.Duration // the longest ejection; a replica that was well for so long begins anew; 2m
	MaxEjected    float64       // ejections stop when that share of the pool is out, for whatever reason; 0.5
	ProbeDown     int           // failed probes of the last ProbeOf that take a replica down; 3
	ProbeOf       int           // 5, at most 64
	ProbeUp       int           // successful probes in a row that bring it back; 2
	PrefixEntries int           // entries of the prefix index, 8 bytes each, reserved with the first prefix; 1<<20
	CacheBlocks   int           // prefix blocks that a replica's cache holds, if it does not tell; its share of the index
	Seed          uint64        // of the random choices; 0: a random one
}

var poolDefaults = PoolConfig{
	SlowStart: 30 * time.Second, Scrape: time.Second,
	Consecutive: 5, FailureRate: 0.5, MinRequests: 10, Eject: 5 * time.Second, EjectMax: 2 * time.Minute, MaxEjected: 0.5,
	ProbeDown: 3, ProbeOf: 5, ProbeUp: 2, PrefixEntries: 1 << 20,
}

// Pool is the equal servers of one provider: who of them is fit, how loaded each is, and what its cache may hold. It is safe
// for concurrent use and outlives reloads of the config. Choosing and counting take no lock; changes of who is fit do.
type Pool struct {
	cfg    PoolConfig
	start  time.Time
	dice   atomic.Uint64
	set    atomic.Pointer[poolSet]
	index  atomic.Pointer[prefixIndex]
	shared atomic.Int64 // until when others are known to use the pool too

	typical atomicFloat // pace of a replica that is not slow
	usual   atomicFloat // the same, of whole answers

	promptly  atomicFloat // delay of a replica that is not slow
	typicalAt atomic.Int64
	desperate atomic.Uint64 // requests that Resort had an answer for

	mu        sync.Mutex // who is in the pool and who is fit
	lastOwner uint32
	unused    []uint32 // numbers of owners to give out when lastOwner is the last
}

// poolSet is who is in the pool. It never changes.
type poolSet struct {
	replicas []*Replica
	places   [prefixOwners]uint16 // owner in the prefix index -> place in replicas, from 1
}

// NewPool makes a pool without replicas. now is where its clock starts.
func NewPool(cfg PoolConfig, now time.Time) *Pool {
	p := &Pool{cfg: cfg.orDefault(), start: now}
	p.dice.Store(cmp.Or(cfg.Seed, rand.Uint64()))
	p.set.Store(&poolSet{})
	return p
}

func (c PoolConfig) orDefault() PoolConfig {
	d := poolDefaults
	c.SlowStart = max(cmp.Or(c.SlowStart, d.SlowStart), 0)
	c.Scrape = cmp.Or(c.Scrape, d.Scrape)
	c.Consecutive = cmp.Or(c.Consecutive, d.Consecutive)
	c.FailureRate = cmp.Or(c.FailureRate, d.FailureRate)
	c.MinRequests = cmp.Or(c.MinRequests, d.MinRequests)
	c.Eject = cmp.Or(c.Eject, d.Eject)
	c.EjectMax = max(cmp.Or(c.EjectMax, d.EjectMax), c.Eject)
	c.MaxEjected = cmp.Or(c.MaxEjected, d.MaxEjected)
	c.ProbeDown = cmp.Or(c.ProbeDown, d.ProbeDown)
	c.ProbeOf = min(max(cmp.Or(c.ProbeOf, d.ProbeOf), c.ProbeDown), 64)
	c.ProbeUp = min(cmp.Or(c.ProbeUp, d.ProbeUp), 64)
	c.PrefixEntries = max(cmp.Or(c.PrefixEntries, d.PrefixEntries), prefixWays)
	return c
}

// rebegin makes the pool as new at a time of a simulated clock. Nobody else may use it.
func (p *Pool) rebegin(now time.Time, seed uint64) {
	var addresses []string
	for _, r := range p.Replicas() {
		addresses = append(addresses, r.Address)
	}
	p.start, p.lastOwner, p.unused = now, 0, nil
	p.dice.Store(seed)
	p.set.Store(&poolSet{})
	_ = p.Set(now, addresses) // they were in it before
}

// clock is the time since the pool was made, never 0.
func (p *Pool) clock(now time.Time) int64 { return int64(now.Sub(p.start)) + 1 }

// roll is a random number, the same ones in the same order for the same seed.
func (p *Pool) roll() uint64 {
	x := p.dice.Add(0x9e3779b97f4a7c15)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Replicas lists the pool's replicas, in the order given, then those that have left and still answer. It is not to be changed.
func (p *Pool) Replicas() []*Replica { return p.set.Load().replicas }

// Set says who is in the pool. Known replicas keep their state, new ones start slowly unless the pool was empty, and those
// that are gone get no new requests and are forgotten when they have answered.
func (p *Pool) Set(now time.Time, addresses []string) error {
	var err error
	if len(addresses) > MaxReplicas {
		err = fmt.Errorf("a pool has at most %d replicas, the other %d are not used", MaxReplicas, len(addresses)-MaxReplicas)
		addresses = addresses[:MaxReplicas]
	}
	t := p.clock(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.Replicas()
	warm := !slices.ContainsFunc(old, func(r *Replica) bool { return !r.gone.Load() })
	var list []*Replica
	for _, address := range addresses {
		if slices.ContainsFunc(list, func(r *Replica) bool { return r.Address == address }) {
			continue
		}
		list = append(list, p.join(t, old, address, warm))
	}
	stay := len(list)
	for _, r := range old {
		if !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	p.publish(list) // or for a moment there might be nobody to choose
	for _, r := range list[stay:] {
		r.gone.Store(true)
	}
	p.publish(list)
	p.pardon(t)
	return err
}

// join returns the replica of that address: the known one, or a new one that is not behind the others in what it has done,
// or everything would go to it.
func (p *Pool) join(t int64, old []*Replica, address string, warm bool) *Replica {
	if at := slices.IndexFunc(old, func(r *Replica) bool { return r.Address == address }); at >= 0 {
		old[at].gone.Store(false)
		return old[at]
	}
	r := &Replica{Address: address, pool: p}
	r.owner.Store(p.nextOwner())
	if !warm {
		r.warmFrom.Store(t)
	}
	work, n := 0.0, 0
	for _, o := range old {
		work, n = work+o.recent.sum(t), n+1
	}
	r.recent.add(t, int(work/float64(max(n, 1))))
	return r
}

// publish makes the list the pool's, without those that are gone and idle. p.mu is held.
func (p *Pool) publish(list []*Replica) {
	set := &poolSet{}
	for _, r := range list {
		if r.gone.Load() && r.inFlight.Load() <= 0 {
			continue
		}
		set.replicas = append(set.replicas, r)
		if len(set.replicas) < poolPlaces {
			set.places[r.owner.Load()] = uint16(len(set.replicas))
		}
	}
	for _, r := range set.replicas {
		r.room.Store(p.roomOf(r, len(set.replicas)))
	}
	p.set.Store(set)
}

// roomOf is how many blocks a replica's cache is taken to hold: what it says, what the config says, or its share of the
// index, which cannot remember more.
func (p *Pool) roomOf(r *Replica, n int) uint64 {
	share := p.cfg.PrefixEntries / max(n, 1)
	return uint64(cmp.Or(int(r.told.Load()), p.cfg.CacheBlocks, share))
}

// leave forgets a replica that has left and has just become idle.
func (p *Pool) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.publish(p.Replicas())
}

// forget makes the index forget what a replica's cache held: it was restarted, and is a new owner. p.mu is held.
func (p *Pool) forget(r *Replica) {
	if p.index.Load() == nil || r.clock.Load() == 0 {
		return
	}
	r.owner.Store(p.nextOwner())
	p.publish(p.Replicas())
}

// nextOwner gives out each number once. When they are used up, the index is cleared of the dead, and theirs begin anew.
func (p *Pool) nextOwner() uint32 {
	if p.lastOwner < prefixOwners-1 {
		p.lastOwner++
		return p.lastOwner
	}
	if len(p.unused) == 0 {
		p.reclaim()
	}
	owner := p.unused[0]
	p.unused = p.unused[1:]
	return owner
}

func (p *Pool) reclaim() {
	set := p.set.Load()
	if x := p.index.Load(); x != nil {
		x.clear(set)
	}
	for owner := uint32(1); owner < prefixOwners; owner++ {
		if set.places[owner] == 0 {
			p.unused = append(p.unused, owner)
		}
	}
}

// table is the prefix index. Pools that never choose by prefix have none.
func (p *Pool) table() *prefixIndex {
	if x := p.index.Load(); x != nil {
		return x
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.index.Load() == nil {
		p.index.Store(newPrefixIndex(p.cfg.PrefixEntries))
	}
	return p.index.Load()
}

// PrefixEntries counts the blocks that the prefix index knows to be in some replica's cache. It walks the whole index, which
// takes milliseconds: for metrics that are asked for now and then.
func (p *Pool) PrefixEntries() int {
	if x := p.index.Load(); x != nil {
		return x.live(p.set.Load())
	}
	return 0
}

// PoolLoad is how busy a pool is: for metrics, and to decide whether requests go to the next target instead.
type PoolLoad struct {
	Replicas   int     // without those that have left
	Ready      int     // fit for requests
	InFlight   int     // our own requests
	Unanswered int     // our own requests whose first token is awaited: the only sign of a line where nothing is scraped
	Running    int     // at ready replicas, everybody's, as last scraped
	Waiting    int     // the same
	KV         float64 // share of the KV cache in use, the mean of the ready replicas
	Told       int     // ready replicas that Running, Waiting and KV are of
}

// Load sums up the pool. KV is the mean: the highest would turn requests away while other replicas have room, and the lowest
// would do so only when the last one is full and others have already begun to throw out what they had computed.
func (p *Pool) Load(now time.Time) PoolLoad {
	t := p.clock(now)
	var l PoolLoad
	var kv float64
	for _, r := range p.Replicas() {
		l.InFlight += int(r.inFlight.Load())
		l.Unanswered += int(r.unanswered.Load())
		if r.gone.Load() {
			continue
		}
		l.Replicas++
		if r.state(t) != WhyFit {
			continue
		}
		l.Ready++
		if s := r.fresh(t); s != nil {
			l.Running += s.Running
			l.Waiting += s.Waiting
			kv, l.Told = kv+s.KV, l.Told+1
		}
	}
	l.KV = kv / float64(max(l.Told, 1))
	return l
}
