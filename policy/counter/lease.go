package counter

import (
	"math"
	"time"
)

// lease is what this replica may use of a shared counter without asking. Whatever the replica uses it counts in spent, which
// only grows and is what it reports, so that a report that is lost or comes twice does no harm. Redis answers up to where
// spent and held may go: allow. Redis never lowers it; the replica does, before it reports that it wants less.
type lease struct {
	id      uint64
	keys    []string
	seq     int64 // of the last report
	spent   int64
	acked   int64 // of spent Redis knows so much
	allow   int64
	until   int64 // allow holds so long
	ttl     int64
	slot    *slot
	orphans []*orphan

	asked, least int64 // by who waits: in all, and the smallest need
	hungry       int64 // when a need was refused without asking, and which
	hunger       int64
	kept, keep   int64 // what was leased for who was refused, and until when it waits for them to come again
	promised     int64 // what was leased for who waits for it, and until when they should have woken up
	promise      int64
	slice        int64 // what there was beyond the held when Redis last answered
	taken        int64 // since the last report, or wanted in vain
	rate         float64
	reported     int64
	low, active  bool
	pending      bool // the last report is not answered
	ill          bool // Redis answers, but cannot count this counter
	held         bool // the counter is one that requests hold
	told         told
}

// told is what Redis last said of a counter.
type told struct {
	known       bool
	at, ask     int64 // when; when more may be free, until when what was told is good for refusals
	used, free  int64
	spent       int64 // of this replica, in used
	lease       int64 // of this replica from then on, less what it offered since
	others      int64 // leased to others
	wait, reset int64
	window      int64
	live        int64 // replicas
	hungry      bool  // some replica got less than it needed
	quiet       int64 // Redis lost what was used, and until then hears what the replicas know
}

const (
	horizon = int64(time.Second)            // a slice lasts about so long
	soon    = 0.05                          // seconds: who uses a slice in that time keeps nothing from others
	wakes   = int64(200 * time.Millisecond) // for who waited to have what was leased for them
	grace   = int64(10 * time.Millisecond)  // for a sync that finds out whether more is free
)

// room is what may be taken without asking. What a bucket leased beyond all that fits is for the one need that asked for it.
func (l *lease) room(k *Counter, now moment) int64 {
	if now.mono >= l.until {
		return 0
	}
	return max(0, min(l.allow, l.told.spent+k.cap)-l.spent-k.held)
}

// has tells whether n may be taken without asking.
func (l *lease) has(k *Counter, n int64, now moment) bool {
	if n > k.cap {
		return now.mono < l.until && n <= l.allow-l.spent-k.held
	}
	return n <= l.room(k, now)
}

// offer gives up what is not held, so that Redis may lease it to others.
func (l *lease) offer(k *Counter) {
	l.allow = min(l.allow, l.spent+k.held)
	l.told.lease = min(l.told.lease, l.allow-l.told.spent)
	l.told.ask, l.low = math.MinInt64/2, true
}

func (l *lease) spend(f *far, n int64) {
	l.mark(f, l.spent+n, l.acked)
	if l.slot != nil {
		l.slot.spend(l.spent)
	}
}

// mark sets what was spent and what Redis knows of it, and counts the leases where these differ.
func (l *lease) mark(f *far, spent, acked int64) {
	if l.spent != l.acked {
		f.unsent--
	}
	if l.spent, l.acked = spent, acked; spent != acked {
		f.unsent++
	}
}

// took notes that n were taken, and has the slice renewed when a third of it is gone.
func (l *lease) took(k *Counter, n int64, now moment) {
	l.taken += n
	l.keep, l.promised = 0, max(0, l.promised-n)
	if !l.active {
		k.c.far.activate(k)
	}
	if !l.low && 3*l.room(k, now) <= 2*l.slice && (l.told.free > 0 || now.mono >= l.told.ask) {
		l.low = true
		k.c.far.urge(k)
	}
}

// refuses tells whether n is known not to fit, so that asking is no use.
func (k *Counter) refuses(n int64, now moment) bool {
	l := k.lease
	if n > k.cap && !k.spec.bucket() {
		return true
	}
	if l.quiet(now) {
		return k.spent(n)
	}
	if n > k.cap && k.held == 0 && l.told.others == 0 && l.told.wait == 0 {
		return false // an empty bucket has it
	}
	until := l.told.ask
	if l.craving(now) && !k.c.far.hasty(now) {
		until += grace // the answer is on its way
	}
	return now.mono < until && n > l.room(k, now)+l.told.free
}

// craving tells whether the need of who was refused will be asked for again.
func (l *lease) craving(now moment) bool { return l.hunger > 0 && now.mono-l.hungry < horizon }

// crave has the need asked for again as soon as more may be free, although nobody waits for it.
func (l *lease) crave(k *Counter, n int64, now moment) {
	if n > k.cap && !k.spec.bucket() {
		return
	}
	if l.hunger == 0 || now.mono-l.hungry > horizon || n < l.hunger {
		l.hunger = n
	}
	l.hungry, k.touched = now.mono, now.mono
	l.taken += n
	k.c.far.activate(k)
}

// retryFar is when n may fit: when Redis said so, when others have given back what they do not use, or when enough of what
// this replica used itself is gone.
func (k *Counter) retryFar(n int64, now moment) time.Duration {
	l := k.lease
	if n > k.cap && !k.spec.bucket() {
		return 0
	}
	d := l.told.at + l.told.wait - now.mono
	own := k.meter.used(now)
	over := max(n-l.room(k, now)-l.told.free, n-(k.cap-own-k.held-l.told.others))
	switch {
	case l.told.others > 0 && (d <= 0 || d > horizon):
		d = horizon
	case l.told.wait > 0:
	case n > k.cap && k.held == 0:
		d = int64(k.meter.gone(now, own))
	case over <= own:
		d = int64(k.meter.gone(now, over))
	default:
		return 0
	}
	return time.Duration(max(d, int64(time.Millisecond)))
}

func (l *lease) free(k *Counter, now moment) int64 {
	if !l.told.known || now.mono-l.told.at > l.told.reset && l.told.others == 0 && now.mono >= l.told.ask {
		return max(0, k.cap-(l.spent-l.told.spent)-k.held)
	}
	return l.told.free + l.room(k, now)
}

func (l *lease) state(k *Counter, s *State, now moment) {
	if !l.told.known {
		return
	}
	if m, ok := k.meter.(*calendar); ok && l.told.window < m.begin {
		s.Used = min(s.Used, l.spent-l.told.spent) // what was told is of a window that is over here
		return
	} else if ok {
		s.Window = time.Unix(0, l.told.window)
	}
	if s.Used = l.spent - l.told.spent; s.Used == 0 { // else it lasts as long as what this replica used
		s.Reset = 0
	}
	if rest := l.told.at + l.told.reset - now.mono; rest > 0 {
		s.Used += l.told.used
		s.Reset = max(s.Reset, time.Duration(rest))
	}
}

// refresh has Redis asked how a counter stands that nobody here uses, for who looks next: others may use it all the time.
func (k *Counter) refresh(now moment) {
	if l := k.lease; !l.low && now.mono-l.told.at > horizon {
		l.low = true
		k.c.far.activate(k)
		k.c.far.urge(k)
	}
}

// report is what this replica tells of a counter, and asks for.
type report struct {
	k       *Counter
	orphan  *orphan // whose report this is, if not the counter's own
	id      uint64
	seq     int64
	spent   int64
	acked   int64
	have    int64 // may be used and held without asking
	held    int64
	want    int64 // wants to have
	need    int64 // of that, somebody waits for so much
	least   int64
	soon    int64 // will probably be used before another report could bring more
	at      int64
	begin   int64 // of the calendar's window, in Redis's time
	end     int64
	window  int64 // that told.used is of
	used    int64
	own     int64 // by this replica
	ttl     int64
	limit   int64
	cap     int64
	fresh   int64 // Redis lost its data, and for so long others have to tell what they know
	answer  answer
	problem error
}

// answer is what Redis says to a report. Times are in nanoseconds.
type answer struct {
	lease, used, free, others, live, wait, reset, window, now, quiet int64
	hungry                                                           bool
}

// report asks for what is held, what is waited for, and what the next second will probably use. When somebody waits for more
// than there is, all that is not held is offered: two replicas that kept half a need each would wait for ever.
func (l *lease) report(k *Counter, now moment, reach int64) report {
	l.pace(now)
	slice := int64(math.Ceil(l.rate * float64(reach) / float64(time.Second)))
	if l.told.hungry {
		slice /= 8
	}
	if now.mono-k.touched > horizon+4*k.c.far.took { // with a slow Redis less often than that is in use too
		slice = 0
	}
	if now.mono < l.keep {
		slice = max(slice, l.kept)
	}
	need, least := l.asked, l.least
	if need == 0 && l.craving(now) && now.mono >= l.told.ask {
		need, least = l.hunger, l.hunger
	}
	room, kept := l.room(k, now), int64(0)
	if now.mono < l.promise {
		kept = min(room, l.promised)
	}
	have := k.held + kept
	if need == 0 {
		have = k.held + room
	}
	slice = max(slice, kept)
	want := k.held + need + slice
	l.allow = l.spent + min(have, want)
	l.told.lease = min(l.told.lease, l.allow-l.told.spent)
	l.seq++
	l.asked, l.least, l.low, l.pending = 0, 0, false, true
	r := report{k: k, id: l.id, seq: l.seq, spent: l.spent, acked: l.acked, have: have, held: k.held, want: want, need: need,
		least: least, soon: int64(l.rate * soon), at: now.mono, ttl: k.c.far.lasts(l), limit: k.spec.Limit, cap: k.cap, window: l.told.window, used: l.told.used}
	if m, ok := k.meter.(*calendar); ok {
		r.begin, r.end = m.around(now.wall + k.c.far.ahead)
		r.fresh = max(0, k.c.far.fresh-now.mono)
		if r.own = m.used(now); m.begin != r.window {
			r.own = 0
		}
	}
	return r
}

// pace learns how fast the counter is used, over about a second.
func (l *lease) pace(now moment) {
	const memory = float64(time.Second)
	elapsed := float64(max(1, now.mono-l.reported))
	fade := math.Exp(-elapsed / memory)
	l.rate = l.rate*fade + float64(l.taken)*float64(time.Second)/elapsed*(1-fade)
	l.taken, l.reported = 0, now.mono
}

// hear takes Redis's answer to the last report. While the report was under way, only what allow said then was used; Redis
// leases no less than that, so that allow does not go down here.
func (l *lease) hear(k *Counter, r *report, now moment) {
	a := &r.answer
	l.mark(k.c.far, l.spent, r.spent)
	l.pending, l.ill = false, false
	if r.need > 0 {
		if l.hunger <= k.cap {
			l.kept, l.keep = l.hunger, now.mono+2*horizon
		}
		l.hunger = 0
	}
	if l.slot != nil {
		l.slot.ack(l.acked)
	}
	l.allow = r.spent + a.lease
	l.until = r.at + k.c.far.leaseT*7/10 // earlier than Redis lets it end, even where clocks run at different speeds
	l.slice = l.room(k, now)
	l.promised, l.promise = min(r.need, l.slice), now.mono+wakes
	t := &l.told
	if t.quiet = now.mono + a.quiet; a.quiet > 0 && k.spec.Algorithm == Calendar {
		return // it knows less than it said before
	}
	*t = told{known: true, at: now.mono, used: a.used, free: a.free, spent: r.spent, lease: a.lease, others: a.others, live: a.live, wait: a.wait,
		reset: a.reset, window: a.window, hungry: a.hungry}
	t.ask = t.at + horizon
	if a.others > 0 || a.wait == 0 && a.used > 0 && k.spec.Algorithm != Calendar {
		t.ask = t.at + int64(100*time.Millisecond)
	}
	if a.wait > 0 {
		t.ask = min(t.ask, t.at+max(a.wait, int64(5*time.Millisecond)))
	}
}

// due tells whether a counter has something to report, and if not now, when (0: nothing at all).
func (l *lease) due(k *Counter, now moment) (bool, int64) {
	at := int64(math.MaxInt64)
	room := l.room(k, now)
	if l.ill {
		return l.reported+horizon <= now.mono, l.reported + horizon
	}
	if l.asked > 0 || l.low {
		return true, 0
	}
	if l.spent != l.acked || l.pending || len(l.orphans) > 0 {
		at = l.reported + int64(100*time.Millisecond)
	}
	if l.craving(now) {
		at = min(at, l.told.ask)
	}
	if room > 0 {
		at = min(at, l.reported+int64(300*time.Millisecond))
	}
	if k.held > 0 {
		at = min(at, l.reported+k.c.far.leaseT/10)
	}
	return at <= now.mono, at
}
