package policy

import (
	"container/list"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

// line is where requests wait for limits. There is one in a process, and it survives a reload.
//
// A request waits at the desk of the limit that it was last short of; there the next one in order tries, and no other. Its
// outcome tells what is next: the one after it, if it got in; nothing until something is given back or the limit says that
// time has come, if this limit is short; and if another is, it goes there, with all who need the same, and makes way.
// While anyone waits at a desk with something to try for, someone is trying: no wakeup can be lost, because a try that
// was overtaken by news is made again.
type line struct {
	waiting atomic.Int64 // read without the lock: mostly nobody waits, and then nobody pays for the line

	mu    sync.Mutex
	seed  maphash.Seed
	last  int64            // waiter's number
	desks map[string]*desk // by the names of counters: a reload may have one of them count in another way, and makes it anew
	lanes map[laneKey]*lane
	rooms map[string]*room // who waits because of a limit, whatever they wait for now
	all   *room
	most  int // places in all

	onWait OnWait
}

// OnWait is told how long a request waited for a limit or for a place at a provider, and what became of that: served, refused,
// or left where its client did.
type OnWait func(d time.Duration, result string)

// waited tells of it.
func (l *line) waited(w *waiter, err error) {
	if l.onWait == nil {
		return
	}
	result := "refused"
	if err == nil {
		result = "served"
	} else if errors.Is(err, errLeft) {
		result = "left"
	}
	l.onWait(time.Since(w.began), result)
}

// everyone is how many may wait in a process, for any limits: each holds a connection and its request in memory.
const everyone = 10_000

func newLine(most int) *line {
	return &line{
		seed: maphash.MakeSeed(), desks: map[string]*desk{}, lanes: map[laneKey]*lane{}, rooms: map[string]*room{},
		all: newRoom(), most: most,
	}
}

// Waiting is how many requests wait for limits.
func (g *Gate) Waiting() int64 { return g.line.waiting.Load() }

// waiter is a request that waits.
type waiter struct {
	tenant   string
	priority int            // 1 to 10, which goes first
	needs    []counter.Need // of what it needs, only whose counters these are matters here
	at       int            // the need that it waits for at first
	places   int            // how many may wait because of that one
	limit    time.Duration  // how long it may wait
	name     func(need int) string
	// try takes what the request needs. An error ends the waiting.
	try func() (why counter.Short, ok bool, err error)
	// hold puts a closer at stake that is closed when the client leaves, and is false when it has left. letGo ends that.
	hold  func(io.Closer) bool
	letGo func()

	began  time.Time
	number int64         // in the order of arrival
	wake   chan struct{} // told to look what is new
	lane   *lane         // nil: it waits no more
	in     *list.Element // of the lane
	desk   *desk         // of which it has the turn, else nil
	why    error         // it waits no more
	placed [2]place      // in the rooms
}

// errLeft ends the waiting of a request whose client has left.
var errLeft = errors.New("the client left the line")

// wait returns once the request has what it needs, or cannot have it: it has waited too long, there is no place, others go
// first, the client left (errLeft). Who has left may still get nil, if that came first.
func (l *line) wait(w *waiter) (err error) {
	w.began, w.wake = time.Now(), make(chan struct{}, 1)
	if err := l.join(w); err != nil {
		return err
	}
	defer func() { l.waited(w, err) }()
	defer l.leave(w)
	if w.hold != nil && !w.hold(leaving{l, w}) {
		return errLeft
	}
	limit := time.NewTimer(w.limit)
	defer limit.Stop()
	for {
		select {
		case <-w.wake:
		case <-limit.C:
			l.timeUp(w)
		}
		mine, err := l.turn(w)
		if err != nil {
			return err
		}
		if !mine {
			continue
		}
		why, ok, err := w.try()
		if l.report(w, why, ok, err); ok || err != nil {
			return err
		}
	}
}

// leaving is a waiter as what is closed when its client leaves.
type leaving struct {
	l *line
	w *waiter
}

// Close takes the waiter out of the line at once.
func (c leaving) Close() error {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.expel(c.w, errLeft)
	return nil
}

// behind is the first of the needs that others wait for already, -1 if there is none. Whoever comes then joins them: it
// must not take what they wait for.
func (l *line) behind(needs []counter.Need) int {
	if l.waiting.Load() == 0 {
		return -1
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range needs {
		if d := l.desks[needs[i].Counter.Name()]; d != nil && d.waiting() {
			return i
		}
	}
	return -1
}

// freed tells that a request has given back what it held. What is counted for good is never given back.
func (l *line) freed(needs []counter.Need) {
	if l.waiting.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range needs {
		if d := l.desks[needs[i].Counter.Name()]; d != nil && !needs[i].Spend {
			d.hope()
		}
	}
}

// join gives a waiter its place, someone else's if need be.
func (l *line) join(w *waiter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	victim, err := l.makeRoom(w)
	if err != nil {
		return err
	}
	l.last++
	w.number = l.last
	w.placed = [2]place{l.room(w).enter(w), l.all.enter(w)}
	l.waiting.Add(1)
	l.laneOf(w).push(w)
	if victim != nil {
		l.expel(victim, l.overloaded(victim))
	}
	return nil
}

// turn tells a waiter whether it may try, and once it waits no more, why.
func (l *line) turn(w *waiter) (mine bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return w.desk != nil, w.why
}

// report ends a waiter's turn.
func (l *line) report(w *waiter, why counter.Short, ok bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := w.desk
	w.desk, d.trying = nil, nil
	switch {
	case ok:
		d.served(w)
		l.remove(w)
		d.hope() // there may be more
	case err != nil || w.lane == nil:
		l.remove(w)
		d.hope() // this told nothing of the one after it
	case w.needed(why.Index) == d.limit:
		d.short(w, why.Retry)
	default:
		l.move(w.lane, w.needed(why.Index))
		d.hope()
	}
}

// timeUp ends the waiting of one who has waited for as long as it may.
func (l *line) timeUp(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.lane != nil {
		l.expel(w, l.tooLate(w))
	}
}

// expel takes a waiter out and tells it why.
func (l *line) expel(w *waiter, why error) {
	if w.lane == nil {
		return
	}
	w.why = why
	l.remove(w)
	w.signal()
}

// leave ends the waiting, however it came to that: by a panic too, which must not leave its turn with the waiter.
func (l *line) leave(w *waiter) {
	l.mu.Lock()
	l.remove(w)
	if d := w.desk; d != nil {
		w.desk, d.trying = nil, nil
		d.hope()
	}
	l.mu.Unlock()
	if w.letGo != nil {
		w.letGo() // without the lock: who fires it holds its own and then wants this one
	}
}

// remove takes a waiter out of its lane and its places.
func (l *line) remove(w *waiter) {
	n := w.lane
	if n == nil {
		return
	}
	w.lane = nil
	for _, p := range w.placed {
		p.leave()
	}
	if limit := w.needed(w.at); l.rooms[limit].n == 0 {
		delete(l.rooms, limit)
	}
	l.waiting.Add(-1)
	n.pull(w)
}

func (w *waiter) signal() {
	select {
	case w.wake <- struct{}{}:
	default: // it has been told, and will see this too
	}
}

// tooLate is what a request is told that has waited for as long as it may.
func (l *line) tooLate(w *waiter) error {
	d := w.lane.desk
	return &wire.Error{Status: 429, Type: wire.TypeRateLimit, Code: "rate_limit_exceeded", Retry: d.estimate(w),
		Message: fmt.Sprintf("Limit reached: %s. The request waited %s in vain. Please try again.", w.name(w.index(d.limit)), since(time.Since(w.began)))}
}

// noPlace is what a request is told that may not even wait.
func (l *line) noPlace(w *waiter, waiting int) error {
	return &wire.Error{Status: 429, Type: wire.TypeRateLimit, Code: "rate_limit_exceeded", Retry: l.drained(w),
		Message: fmt.Sprintf("Limit reached: %s. %d requests wait for it already, as many as may. Please try again.", w.name(w.at), waiting)}
}

// overloaded is what a request is told that makes way for others.
func (l *line) overloaded(w *waiter) error {
	return &wire.Error{Status: 503, Type: wire.TypeServer, Code: "overloaded", Retry: l.drained(w),
		Message: "The gateway is overloaded, and requests of others go first. Please try again."}
}

// drained is about how long it takes until one who came now would have its turn.
func (l *line) drained(w *waiter) time.Duration {
	limit := w.needed(w.at)
	if w.lane != nil {
		limit = w.lane.desk.limit
	}
	if d := l.desks[limit]; d != nil {
		return d.estimate(w)
	}
	return time.Second
}

// needed names the counter of one of a waiter's needs.
func (w *waiter) needed(need int) string { return w.needs[need].Counter.Name() }

// index finds a limit among a waiter's needs.
func (w *waiter) index(limit string) int {
	for i := range w.needs {
		if w.needed(i) == limit {
			return i
		}
	}
	return w.at
}
