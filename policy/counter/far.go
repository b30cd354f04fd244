package counter

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// far is the counters' other side: what they need to share their counts with other replicas. One goroutine reports for all
// counters that have something to tell, many at once, and hands the answers out.
type far struct {
	c        *Counters
	redis    *store
	onError  string
	patience int64 // of a Take
	leaseT   int64 // how long a lease holds without a report
	holdT    int64 // and one of which requests hold parts
	secret   uint64

	// All below is guarded by Counters.mu.
	active  []*Counter // those with anything to report or to give back
	urgent  []*Counter
	next    *round // the next sync, if someone waits for it
	started int64  // when the sync under way began; 0: none
	cursor  int    // in active: where the scan goes on
	left    int    // of active, until the scan has seen all
	soon    int64  // when the next of those is due that this scan has seen
	scanned int64  // when this scan began
	round   int64  // how long the last one took
	scanAt  int64
	unsent  int   // counters with use that Redis does not know of
	ahead   int64 // Redis's clock before ours
	took    int64 // by the last sync
	bad     int   // syncs in a row that failed or were slow
	good    int
	mute    int64 // when the first of the syncs began that failed since Redis last answered; 0: it answers
	peers   int64 // replicas, as last known; this process may not have heard of any yet
	most    int64 // replicas that Redis has told of since met
	met     int64
	looked  int64 // when Redis was last asked anything
	knows   bool  // the use of some calendar, which Redis would have to be told if it lost its data
	fresh   int64 // Redis lost its data, and until then others have to tell what they know
	dead    bool  // tests: nothing is given back
	open    bool  // the breaker: Redis is away or slow
	shares  int64 // until then shares count on, because Redis came back without its data
	gone    bool  // Close is done

	kick   chan struct{}
	syncs  atomic.Int64
	errors atomic.Int64
}

// round is one sync, for those who wait for it.
type round struct {
	done   chan struct{}
	failed bool
}

const (
	slow    = 50 * time.Millisecond  // a sync that takes longer is as bad as one that fails
	tick    = 50 * time.Millisecond  // between looks at what is due
	probe   = 200 * time.Millisecond // between syncs while the breaker is open
	batch   = 512                    // reports in one sync
	pressed = batch * 3 / 4          // of them for those who wait; the others' leases end if they never have a turn
	looks   = 2048                   // at counters, under one lock
	timeout = 2 * time.Second
	glance  = 500 * time.Millisecond // between looks whether Redis still has its data
	hearsay = 2 * time.Second        // when it has not: for so long it hears what the replicas know
	breaks  = 3                      // bad syncs open the breaker
	mends   = 2                      // good ones close it
)

func (f *far) lease(k *Counter, birth uint64) *lease {
	return &lease{id: f.secret + birth, keys: f.redis.keys(&k.spec), ttl: f.leaseT}
}

// activate has the sync look at a counter until nothing of it is left to report.
func (f *far) activate(k *Counter) {
	l := k.lease
	if l.active {
		return
	}
	l.active = true
	f.active = append(f.active, k)
	if l.slot = f.c.ledger.lease(digest(&k.spec, true), l.id); l.slot != nil {
		l.slot.ack(l.acked)
		l.slot.spend(l.spent)
	}
}

// rest is the opposite.
func (f *far) rest(k *Counter) {
	k.lease.active = false
	if k.lease.slot != nil {
		f.c.ledger.release(k.lease.slot)
		k.lease.slot = nil
	}
}

// urge has a counter reported at once.
func (f *far) urge(k *Counter) {
	f.urgent = append(f.urgent, k)
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// run reports what is due until Close, and then the last.
func (f *far) run() {
	timer := time.NewTimer(tick)
	defer timer.Stop()
	f.look(f.c.time()) // connects, so that the first who ask need not wait for that
	for kick := f.kick; ; {
		select {
		case <-f.c.stop:
			f.finish()
			return
		case <-kick:
		case <-timer.C:
		}
		again, open := f.turn()
		timer.Reset(again)
		if kick = f.kick; open {
			kick = nil
		}
	}
}

// turn is one sync, if anything is due. It returns the time until the next look.
func (f *far) turn() (again time.Duration, open bool) {
	c := f.c
	now := c.time()
	c.mu.Lock()
	now = c.forward(now)
	reports := f.collect(now)
	if now.mono >= f.scanAt {
		reports = f.scan(reports, now)
	}
	open = f.open
	c.mu.Unlock()
	switch {
	case len(reports) > 0:
		f.sync(reports, now)
	case open, f.knows && now.mono-f.looked > int64(glance):
		f.look(now)
	}
	now = c.time()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case f.mute != 0 && f.open: // one that is merely slow is worth asking as often as ever
		return probe, true
	case len(f.urgent) > 0:
		return 0, false
	}
	return time.Duration(max(int64(time.Millisecond), f.scanAt-now.mono)), false
}

func (f *far) compose(reports []report, k *Counter, now moment) []report {
	l := k.lease
	for _, o := range l.orphans {
		r := report{k: k, orphan: o, id: o.id, seq: 1<<53 - 1, spent: o.spent, acked: o.acked, ttl: f.lasts(l), at: now.mono,
			limit: k.spec.Limit, cap: k.cap, window: l.told.window, used: l.told.used}
		if m, ok := k.meter.(*calendar); ok {
			r.begin, r.end = m.around(now.wall + f.ahead)
		}
		reports = append(reports, r)
	}
	return append(reports, l.report(k, now, 2*horizon+3*f.took))
}

// sync reports, and hands out the answers.
func (f *far) sync(reports []report, now moment) {
	c := f.c
	c.mu.Lock()
	r := f.next
	f.next, f.started = nil, now.mono
	c.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	before := f.redis.epoch
	err := f.redis.sync(ctx, reports)
	cancel()
	f.syncs.Add(1)
	lost := before != "" && f.redis.epoch != before

	began, now := now, c.time()
	c.mu.Lock()
	now = c.forward(now)
	f.started, f.took, f.looked = 0, now.mono-began.mono, now.mono
	ill := ""
	for i := range reports {
		if fell, name := f.suffer(&reports[i]); fell {
			ill = fmt.Sprintf("%s: %v", name, reports[i].problem)
		}
		if lost {
			reports[i].answer.quiet = int64(hearsay)
		}
		f.hear(&reports[i], now)
		if lost && reports[i].k.spec.Algorithm == Calendar {
			reports[i].k.lease.offer(reports[i].k) // it was leased by a Redis that knew nothing
		}
	}
	f.outlast(lost, now)
	if r != nil {
		r.failed = err != nil
		close(r.done)
	}
	event, detail := f.judge(err, len(reports), began.mono)
	c.mu.Unlock()
	if event != "" {
		c.onEvent(event, detail)
	}
	if ill != "" {
		c.onEvent("counters_broken", ill)
	}
	if lost {
		f.retell()
	}
}

func (f *far) hear(r *report, now moment) {
	switch {
	case r.problem != nil:
	case r.orphan != nil:
		f.c.ledger.release(r.orphan.slot)
		l := r.k.lease
		for i, o := range l.orphans {
			if o == r.orphan {
				l.orphans = append(l.orphans[:i], l.orphans[i+1:]...)
				break
			}
		}
	default:
		f.ahead = r.answer.now - (now.wall - (now.mono-r.at)/2)
		r.k.lease.hear(r.k, r, now)
		f.meet(r.answer.live, now)
		f.knows = f.knows || r.answer.used > 0 && r.answer.window > 0
	}
}

// look asks Redis for nothing, while the breaker is open and there is nothing to report.
func (f *far) look(began moment) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	before := f.redis.epoch
	err := f.redis.look(ctx)
	cancel()
	lost := before != "" && f.redis.epoch != before
	now := f.c.time()
	f.c.mu.Lock()
	f.took, f.looked = now.mono-began.mono, now.mono
	f.outlast(lost, now)
	event, detail := f.judge(err, 0, began.mono)
	f.c.mu.Unlock()
	if event != "" {
		f.c.onEvent(event, detail)
	}
	if lost {
		f.retell()
	}
}

// judge opens and closes the breaker.
func (f *far) judge(err error, reports int, began int64) (event, detail string) {
	failed := err != nil
	if err != nil {
		f.errors.Add(1)
		if f.mute == 0 {
			f.mute = began
		}
	} else if f.took > int64(slow)+int64(reports)*int64(100*time.Microsecond) {
		err = fmt.Errorf("Redis took %v", time.Duration(f.took).Round(time.Millisecond))
	}
	if !failed {
		f.mute = 0
	}
	if err == nil {
		f.bad = 0
		if f.good++; f.open && f.good >= mends {
			f.open = false
			return "counters_recovered", "Redis answers again"
		}
		return "", ""
	}
	f.good = 0
	if f.bad++; !f.open && f.bad >= breaks {
		f.open = true
		return "counters_degraded", fmt.Sprintf("on_error: %s: %v", f.onError, err)
	}
	return "", ""
}

// finish gives all leases back and reports the last of what was used. What cannot be reported stays in the ledger.
func (f *far) finish() {
	defer func() { _ = f.redis.close() }()
	if f.dead {
		return
	}
	c := f.c
	for began, i := c.time().mono, 0; ; {
		from := i
		now := c.time()
		c.mu.Lock()
		now = c.forward(now)
		var reports []report
		for ; i < len(f.active) && len(reports) < batch; i++ {
			reports = f.last(reports, f.active[i], now)
		}
		c.mu.Unlock()
		if len(reports) == 0 {
			break
		}
		if f.sync(reports, now); f.mute == 0 {
			continue
		}
		if i = from; f.open || c.time().mono-began > 3*int64(timeout) {
			break
		}
	}
	c.mu.Lock()
	for _, k := range f.active {
		if l := k.lease; l.spent == l.acked && len(l.orphans) == 0 {
			f.rest(k)
		}
	}
	f.open, f.gone = true, true // who still takes need not wait
	c.mu.Unlock()
}

// last is the report that gives back all there is.
func (f *far) last(reports []report, k *Counter, now moment) []report {
	l := k.lease
	k.touched, l.asked, l.hunger = math.MinInt64/2, 0, 0
	if l.spent != l.acked || l.pending || l.room(k, now) > 0 || k.held > 0 || len(l.orphans) > 0 {
		k.held = 0
		reports = f.compose(reports, k, now)
	}
	return reports
}
