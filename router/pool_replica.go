package router

import (
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// Replica is one server of a pool: what it does for us, and what is known of its health.
type Replica struct {
	Address string

	pool *Pool

	inFlight   atomic.Int64
	unanswered atomic.Int64 // of those, whose first token is awaited
	pending    atomic.Int64 // blocks that those have it compute
	owed       atomic.Int64 // the same, had it none of them in its cache
	answered   atomic.Uint64
	failed     atomic.Uint64

	pace     atomicFloat // see pool_pace.go
	coldPace atomicFloat
	delay    atomicFloat
	paceAt   atomic.Int64 // when it was last heard of
	whole    atomicFloat  // the pace of whole answers
	wholeAt  atomic.Int64
	slowFrom atomic.Int64 // since when it is slow; 0: it is not
	progress atomic.Int64 // when it last answered, or began to owe us an answer

	recent   recentSum   // blocks it had to compute lately
	outcomes recentRatio // of its requests
	streak   atomic.Int64

	failedAt     atomic.Int64 // when a request last failed there
	ejectedUntil atomic.Int64
	ejections    atomic.Int64 // in a row, for how long the next one lasts
	warmFrom     atomic.Int64 // when its slow start began
	down         atomic.Bool
	drained      atomic.Bool
	gone         atomic.Bool

	scraped atomic.Pointer[scraped]
	models  atomic.Pointer[[]string]
	started atomic.Int64

	owner atomic.Uint32 // its number in the prefix index
	clock atomic.Uint64 // blocks that we had it compute
	room  atomic.Uint64 // blocks that its cache is taken to hold
	told  atomic.Uint64 // the same, if it told

	probes, probed uint64 // the last probes' successes, one a bit, and how many there were; under pool.mu
}

// Scrape is what a replica's metrics say.
type Scrape struct {
	Running, Waiting int       // requests, everybody's
	KV               float64   // share of its KV cache in use, 0 to 1
	Models           []string  // models and adapters that it serves; nil: not told
	CacheBlocks      int       // how many prefix blocks its KV cache holds; 0: not told
	Started          time.Time // of its process: another one has an empty cache; zero: not told
}

type scraped struct {
	Scrape
	at     int64
	others float64 // requests that are not ours
}

// Report takes in a scrape. What is more than our own requests is others': their number is kept, and ours is added as it is
// at any moment, so that no request counts twice and ours count without delay.
func (r *Replica) Report(now time.Time, s Scrape) {
	t := r.pool.clock(now)
	own := int(r.inFlight.Load())
	others := float64(max(s.Running+s.Waiting-own, 0))
	if last := r.fresh(t); last != nil {
		others = (others + last.others) / 2 // those of ours that have just begun or ended make it uneven
	}
	r.scraped.Store(&scraped{Scrape: s, at: t, others: others})
	if others >= 2 && others > float64(own)/10 {
		r.pool.shared.Store(t + int64(3*r.pool.cfg.Scrape))
	}
	if s.Models != nil {
		r.List(s.Models)
	}
	r.learn(s)
}

// List notes which models and adapters the replica serves.
func (r *Replica) List(models []string) {
	models = slices.Clone(models)
	r.models.Store(&models)
}

// Models are those that the replica listed; nil where it has not.
func (r *Replica) Models() []string {
	if models := r.models.Load(); models != nil {
		return *models
	}
	return nil
}

// learn notes how large the cache is, and that it is empty after a restart.
func (r *Replica) learn(s Scrape) {
	restarted := false
	if !s.Started.IsZero() {
		old := r.started.Swap(s.Started.Unix())
		restarted = old != 0 && old != s.Started.Unix()
	}
	resized := s.CacheBlocks > 0 && r.told.Swap(uint64(s.CacheBlocks)) != uint64(s.CacheBlocks)
	if !restarted && !resized {
		return
	}
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	r.room.Store(p.roomOf(r, len(p.Replicas())))
	if restarted {
		p.forget(r)
	}
}

// fresh is the last scrape, nil when it is too old to be believed.
func (r *Replica) fresh(t int64) *scraped {
	if s := r.scraped.Load(); s != nil && t-s.at < int64(3*r.pool.cfg.Scrape) {
		return s
	}
	return nil
}

// others is how many requests of others it has. When its memory is nearly full, newcomers wait until one of those is done.
func (r *Replica) others(t int64) float64 {
	s := r.fresh(t)
	if s == nil {
		return 0
	}
	if s.KV > 0.95 {
		return s.others + float64(s.Running+s.Waiting)
	}
	return s.others
}

// queue is how many requests it has.
func (r *Replica) queue(t int64) float64 { return float64(r.inFlight.Load()) + r.others(t) }

func (r *Replica) lists(model string) bool {
	models := r.models.Load()
	return models == nil || slices.Contains(*models, model)
}

// State is WhyFit, or why the replica gets no requests.
func (r *Replica) State(now time.Time) Why { return r.state(r.pool.clock(now)) }

func (r *Replica) state(t int64) Why {
	switch {
	case r.drained.Load() || r.gone.Load():
		return WhyDraining
	case r.down.Load():
		return WhyDown
	case t < r.ejectedUntil.Load():
		return WhyEjected
	}
	return WhyFit
}

// warmth is the share of its share that the replica gets.
func (r *Replica) warmth(t int64) float64 {
	from, whole := r.warmFrom.Load(), int64(r.pool.cfg.SlowStart)
	if from == 0 || t-from >= whole {
		return 1
	}
	return max(0.1, float64(t-from)/float64(whole))
}

// Ending is how a request at a replica ended.
type Ending uint8

const (
	EndedOK      Ending = iota
	EndedFailed         // by the replica's fault
	EndedRefused        // nobody listens there: the process is gone, and its cache
	EndedNeutral        // by the caller's fault or wish, which says nothing about the replica
)

// Turn is one request at a replica. Every Turn is ended once; what comes after that is ignored.
type Turn struct {
	replica      *Replica
	began        int64
	size, work   int64 // blocks of its prompt, and those of them to compute
	owed, behind int64 // the same with all that came before it
	answered     bool
	whole        bool
	guessed      bool // work is a good guess
}

// Replica is where the request is, nil after its end.
func (u *Turn) Replica() *Replica { return u.replica }

// Begin counts a request that is sent to the replica now. If the query has a prefix, the replica's cache is taken to hold it.
func (r *Replica) Begin(now time.Time, q *PoolQuery) Turn {
	p := r.pool
	t := p.clock(now)
	held, guessed := 0, false
	if q.ByPrefix && len(q.Prefix) > 0 {
		guessed = r.told.Load() > 0 || p.cfg.CacheBlocks > 0
		held = p.table().use(p.set.Load(), r, q.Prefix)
	}
	work := int64(q.blocks() - held)
	size := int64(q.blocks())
	r.inFlight.Add(1)
	r.recent.add(t, int(work)+workRequest)
	if q.Whole { // most of its time goes into its answer, in which it keeps others from little
		return Turn{replica: r, began: t, size: size, work: work, whole: true}
	}
	if r.unanswered.Add(1) == 1 {
		r.progress.Store(t)
	}
	return Turn{replica: r, began: t, size: size, work: work, guessed: guessed, owed: r.owed.Add(size), behind: r.pending.Add(work)}
}

// Answered notes the first token.
func (u *Turn) Answered(now time.Time) {
	if u.replica == nil || u.answered || u.whole {
		return
	}
	t := u.replica.pool.clock(now)
	u.first()
	u.replica.progress.Store(t)
	u.replica.observe(t, u)
	u.replica.pool.retype(t)
}

// first takes the request out of those whose first token is awaited.
func (u *Turn) first() {
	u.answered = true
	u.replica.pending.Add(-u.work)
	u.replica.owed.Add(-u.size)
	u.replica.unanswered.Add(-1)
}

// AnsweredWhole notes that the whole answer is there, of so many tokens.
func (u *Turn) AnsweredWhole(now time.Time, tokens int64) {
	if u.replica == nil || !u.whole {
		return
	}
	t := u.replica.pool.clock(now)
	u.replica.observeWhole(t, u, tokens)
	u.replica.pool.retype(t)
}

// End counts the request as done. One that never had an answer still tells that the replica took at least that long.
func (u *Turn) End(now time.Time, how Ending) {
	r := u.replica
	if r == nil {
		return
	}
	t := r.pool.clock(now)
	if !u.answered && !u.whole {
		u.first()
		if how != EndedOK {
			r.observeNone(t, u)
		}
	}
	u.replica = nil
	if r.inFlight.Add(-1) == 0 && r.gone.Load() {
		r.pool.leave()
	}
	r.judge(t, how)
}

// ReplicaView is a replica's state at one moment, for the admin API and metrics.
type ReplicaView struct {
	Address      string
	State        Why
	Warmth       float64 // share of its share that it gets, below 1 in slow start
	InFlight     int
	Unanswered   int
	Answered     uint64
	Failed       uint64
	Slowness     float64 // times slower than the others, 1 below 2
	EjectedUntil time.Time
	Scraped      *Scrape  // nil when not known or too old
	Models       []string // that it listed; nil: it has not
	Left         bool     // the pool, and still answers
	Prefixes     uint64   // blocks its cache is taken to hold at most
}

// View describes the replica.
func (r *Replica) View(now time.Time) ReplicaView {
	t := r.pool.clock(now)
	v := ReplicaView{
		Address: r.Address, State: r.state(t), Warmth: r.warmth(t),
		InFlight: int(r.inFlight.Load()), Unanswered: int(r.unanswered.Load()),
		Answered: r.answered.Load(), Failed: r.failed.Load(), Slowness: r.slowness(t),
		Prefixes: min(r.room.Load(), r.clock.Load()), Models: r.Models(), Left: r.gone.Load(),
	}
	if until := r.ejectedUntil.Load(); until > t {
		v.EjectedUntil = r.pool.start.Add(time.Duration(until))
	}
	if s := r.fresh(t); s != nil {
		v.Scraped = &s.Scrape
	}
	return v
}

// atomicFloat is a float64 that is read and written whole.
type atomicFloat struct{ bits atomic.Uint64 }

func (f *atomicFloat) Load() float64   { return math.Float64frombits(f.bits.Load()) }
func (f *atomicFloat) Store(x float64) { f.bits.Store(math.Float64bits(x)) }

// change replaces the value by a function of it.
func (f *atomicFloat) change(next func(x float64) float64) {
	for {
		old := f.bits.Load()
		if f.bits.CompareAndSwap(old, math.Float64bits(next(math.Float64frombits(old)))) {
			return
		}
	}
}
