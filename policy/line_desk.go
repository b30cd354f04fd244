package policy

import (
	"container/heap"
	"container/list"
	"hash/maphash"
	"time"
)

// desk is where those wait who were short of one limit. Its turns go to the highest class that waits, and in a class to
// one tenant after another, however many requests each has there; a tenant's own go in the order in which they came.
//
// One turn in ten goes round all tenants, whatever their class: to the one that had none for longest. So a class that
// never rests keeps nine turns in ten of what it wants, and of n tenants that wait each still has one in 10n. Shares by
// weight would do neither: many tenants of a low class would outweigh one of a high class, or get nothing.
//
// One who is short is short for all behind it, though some of them may need less: those who need much would wait for ever.
type desk struct {
	line    *line
	limit   string // its counter's name
	parties map[partyKey]*party
	classes [11]list.List // of *party, by priority: whose turn it is first
	rounds  list.List     // of *party: whose last turn was longest ago first
	count   [11]int       // requests, by priority
	turns   int           // that got someone in

	trying  *waiter // whose turn it is
	news    bool    // the limit may be short no more
	blocker *waiter // who found it short last
	retry   *time.Timer
	until   time.Time // as the limit said, when it is short no more; zero: it did not say

	drained int // requests that got in since
	since   time.Time
}

// paceOf is how many requests the pace at a desk is known by, at least.
const paceOf = 64

// round is how many turns there are to one that goes round all tenants.
const round = 10

// The times between tries that nothing asked for: where counters are shared, what another replica gives back is not told
// here, nor is a limit that was raised, or a counter that was made anew.
const (
	recheck = time.Second
	unknown = 250 * time.Millisecond // where the limit did not say when
	soonest = time.Millisecond
)

// party is the requests of a tenant and a priority at a desk.
type party struct {
	partyKey
	lanes        lanes
	class, round *list.Element
}

type partyKey struct {
	tenant   string
	priority int
}

// lane is requests of a tenant that need the very same limits: who is short of one is so for all behind it, and none else.
type lane struct {
	key     laneKey
	line    *line
	desk    *desk
	party   *party
	waiters list.List // of *waiter
	number  int64     // the first one's
	at      int       // among the party's lanes
}

type laneKey struct {
	partyKey
	needs uint64
}

// lanes is a heap: the one whose first came first is first.
type lanes []*lane

func (s lanes) Len() int           { return len(s) }
func (s lanes) Less(i, j int) bool { return s[i].number < s[j].number }
func (s lanes) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].at, s[j].at = i, j
}

// Push is heap's.
func (s *lanes) Push(x any) {
	n := x.(*lane)
	n.at = len(*s)
	*s = append(*s, n)
}

// Pop is heap's.
func (s *lanes) Pop() any {
	last := len(*s) - 1
	n := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	return n
}

func (n *lane) first() *waiter { return n.waiters.Front().Value.(*waiter) }

// laneOf finds the lane of those who need the same, or opens one at the desk of what the waiter is short of.
func (l *line) laneOf(w *waiter) *lane {
	var h maphash.Hash
	h.SetSeed(l.seed)
	for i := range w.needs {
		maphash.WriteComparable(&h, w.needed(i))
	}
	key := laneKey{partyKey{w.tenant, w.priority}, h.Sum64()}
	n := l.lanes[key]
	if n == nil {
		n = &lane{key: key, line: l, desk: l.desk(w.needed(w.at))}
		l.lanes[key] = n
	}
	return n
}

// push puts a waiter at the lane's end.
func (n *lane) push(w *waiter) {
	w.lane, w.in = n, n.waiters.PushBack(w)
	n.desk.count[w.priority]++
	if n.waiters.Len() == 1 {
		n.number = w.number
		n.attach()
	}
}

// pull takes a waiter out, wherever in the lane it is.
func (n *lane) pull(w *waiter) {
	d := n.desk
	d.count[w.priority]--
	n.waiters.Remove(w.in)
	if n.waiters.Len() == 0 {
		n.detach()
		delete(n.line.lanes, n.key)
	} else if n.number == w.number {
		n.number = n.first().number
		heap.Fix(&n.party.lanes, n.at)
	}
	if d.blocker == w {
		d.hope() // the next one may need less
	}
	d.closeIfIdle()
}

// move takes a lane to the desk of another limit.
func (l *line) move(n *lane, limit string) {
	n.detach()
	n.desk.count[n.key.priority] -= n.waiters.Len()
	n.desk = l.desk(limit)
	n.desk.count[n.key.priority] += n.waiters.Len()
	n.attach()
}

// attach lets a lane take part in its desk's order. When it comes first there, what others found tells nothing of it.
func (n *lane) attach() {
	d := n.desk
	p := d.parties[n.key.partyKey]
	if p == nil {
		p = &party{partyKey: n.key.partyKey}
		p.class, p.round = d.classes[p.priority].PushBack(p), d.rounds.PushBack(p)
		d.parties[p.partyKey] = p
	}
	n.party = p
	heap.Push(&p.lanes, n)
	if d.next() == n.first() {
		d.hope()
	}
}

func (n *lane) detach() {
	p, d := n.party, n.desk
	heap.Remove(&p.lanes, n.at)
	n.party = nil
	if len(p.lanes) == 0 {
		d.classes[p.priority].Remove(p.class)
		d.rounds.Remove(p.round)
		delete(d.parties, p.partyKey)
	}
}

func (l *line) desk(limit string) *desk {
	d := l.desks[limit]
	if d == nil {
		d = &desk{line: l, limit: limit, parties: map[partyKey]*party{}, since: time.Now()}
		l.desks[limit] = d
	}
	return d
}

// waiting tells whether anyone does.
func (d *desk) waiting() bool { return len(d.parties) > 0 }

// next is whose turn it is, nil if nobody waits.
func (d *desk) next() *waiter {
	if !d.waiting() {
		return nil
	}
	if d.turns%round == round-1 {
		return d.rounds.Front().Value.(*party).first()
	}
	top := len(d.classes) - 1
	for d.classes[top].Len() == 0 {
		top--
	}
	return d.classes[top].Front().Value.(*party).first()
}

func (p *party) first() *waiter { return p.lanes[0].first() }

// hope gives the next one the turn, or, if someone has it, sees to it that it is not the last.
func (d *desk) hope() {
	d.news = true
	if d.trying != nil || !d.waiting() {
		d.closeIfIdle()
		return
	}
	if d.retry != nil {
		d.retry.Stop()
	}
	w := d.next()
	d.news, d.blocker = false, nil
	d.trying, w.desk = w, d
	w.signal()
}

// short notes that the limit is short for the one whose turn it was. What came meanwhile may have changed that.
func (d *desk) short(w *waiter, retry time.Duration) {
	if d.news {
		d.hope()
		return
	}
	d.blocker = w
	d.until = time.Time{}
	after := unknown
	if retry > 0 {
		d.until = time.Now().Add(retry)
		after = min(max(retry, soonest), recheck)
	}
	if d.retry == nil {
		d.retry = time.AfterFunc(after, d.due)
	} else {
		d.retry.Reset(after)
	}
}

// due is when it is time to try again.
func (d *desk) due() {
	d.line.mu.Lock()
	defer d.line.mu.Unlock()
	if d.line.desks[d.limit] == d {
		d.hope()
	}
}

// served notes that a waiter got in, so that its tenant is last now.
func (d *desk) served(w *waiter) {
	d.turns++
	if d.drained++; d.drained == 2*paceOf { // what was long ago tells little
		now := time.Now()
		d.drained, d.since = paceOf, now.Add(-now.Sub(d.since)/2)
	}
	if p := d.parties[partyKey{w.tenant, w.priority}]; p != nil {
		d.classes[p.priority].MoveToBack(p.class)
		d.rounds.MoveToBack(p.round)
	}
}

// closeIfIdle forgets a desk at which nobody waits or tries.
func (d *desk) closeIfIdle() {
	if d.waiting() || d.trying != nil || d.line.desks[d.limit] != d {
		return
	}
	if d.retry != nil {
		d.retry.Stop()
	}
	delete(d.line.desks, d.limit)
}

// estimate is about how long a waiter would wait if it came now: as long as the limit said, and until all who go before it
// are in, at the pace seen so far.
func (d *desk) estimate(w *waiter) time.Duration {
	now, before := time.Now(), 0
	for _, n := range d.count[w.priority:] {
		before += n
	}
	if w.lane == nil || w.lane.desk != d { // it is not among them
		before++
	}
	after := max(d.until.Sub(now), time.Second)
	if d.drained > 0 {
		after = max(after, now.Sub(d.since)/time.Duration(d.drained)*time.Duration(before))
	}
	return after
}
