package counter

import (
	"math"
	"time"
)

// suffer notes a counter that Redis cannot count, as when its key is not one of ours. It tells whether that is new, and of
// which counter: the names of those that come and go are people's.
func (f *far) suffer(r *report) (fell bool, name string) {
	if r.problem == nil || !own(r.problem) {
		return false, ""
	}
	l := r.k.lease
	fell, l.ill, l.low = !l.ill, true, false
	if r.k.pins == 0 {
		return fell, "a user's counter"
	}
	return fell, r.k.spec.Name
}

// retell has all budgets reported of which this replica knows any use: Redis lost its data.
func (f *far) retell() {
	c := f.c
	for i := math.MaxInt; i > 0; { // backwards: sweeps move only what was seen
		now := c.time()
		c.mu.Lock()
		now = c.forward(now)
		f.fresh = now.mono + int64(hearsay)
		i = min(i, len(c.list))
		for range min(i, looks) {
			i--
			if k := c.list[i]; k.remembers(now) {
				k.lease.low = true
				f.activate(k)
				f.urge(k)
			}
		}
		c.mu.Unlock()
	}
	c.onEvent("counters_lost", "Redis lost its data: budgets are restored from what the replicas know")
}

// remembers tells whether this replica knows of a budget's use what a Redis that lost its data would have to be told.
func (k *Counter) remembers(now moment) bool {
	m, ok := k.meter.(*calendar)
	return ok && k.lease.told.used > 0 && now.wall < m.end && k.lease.told.window >= m.begin
}

// spent tells whether n does not fit a budget by what was known of it before Redis lost that. It may be more by now.
func (k *Counter) spent(n int64) bool {
	l, m := k.lease, k.meter.(*calendar)
	return l.told.known && l.told.window == m.begin && n > k.cap-l.told.used-(l.spent-l.told.spent)-k.held
}

// outlast has shares count on after an outage until a Redis that lost its data has heard from all replicas.
func (f *far) outlast(lost bool, now moment) {
	if lost && f.away(now) {
		f.shares = now.mono + 2*int64(hearsay)
	}
}

// seed has n go on with what was used of k, which counted in another way, under another key. All replicas do so: of a calendar
// each tells the whole, and the most is what counts; else each tells what it used itself, which adds up.
func (f *far) seed(n, k *Counter, own int64, now moment) {
	if n.held > 0 {
		f.activate(n)
	}
	if n.spec.Algorithm == Level {
		return
	}
	m, ok := n.meter.(*calendar)
	if !ok {
		n.spend(own, now)
		f.activate(n)
		return
	}
	all := State{Used: own}
	k.lease.state(k, &all, now)
	m.add(now, own)
	l := n.lease
	l.told.window, _ = m.around(now.wall + f.ahead)
	l.told.used, l.low = max(own, all.Used), true
	f.activate(n)
	f.urge(n)
}

// meet keeps in mind how many replicas there are, for a start while Redis is away. A counter tells only of those that use it,
// so that the most of a minute is what counts.
func (f *far) meet(live int64, now moment) {
	if f.most = max(f.most, live); f.most > f.peers || now.mono-f.met > int64(time.Minute) {
		f.peers, f.most, f.met = f.most, 0, now.mono
		f.c.ledger.notePeers(f.peers)
	}
}
