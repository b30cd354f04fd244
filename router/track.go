package router

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"jarvis-gateway/proxy/wire"
)

// Track is what is known of a target's model: how it does, and whether it is fit to be asked. It survives a reload.
type Track struct {
	Route    string // the entry of models
	Provider string
	Model    string // the provider's name

	typed    bool // clients name the model
	onEvent  func(Event)
	pool     atomic.Pointer[Pool] // that the target's calls go to; nil: none
	inFlight atomic.Int64
	resting  atomic.Int64  // unix nanoseconds until which the provider asked to be left alone
	shut     atomic.Bool   // the breaker is not closed
	idle     atomic.Bool   // nobody heeds it (Breaker.Off)
	forced   atomic.Int32  // by hand, see Force
	times    times         // until the first content
	whole    times         // until answers that came whole
	cached   atomic.Uint64 // float64 bits: how much of prompts was in the provider's cache of late, from 0 to 1

	mu      sync.Mutex
	breaker *breaker
	hushed  bool   // changes are not told
	turn    int64  // of the last Decision of those that gateways share
	recent  window // calls that came to an end, and those that failed, whatever became of the breaker
}

// Event is a change that people may want to know of.
type Event struct {
	Track *Track
	From  string // the state before,
	State string // and now: closed, open, half-open
	Cause string // why it is not closed: consecutive, error_rate, slow_rate, auth, probe; forced: somebody wants it so, or no more
}

// Force is what someone has decided about a target by hand.
type Force int32

// The decisions.
const (
	Automatic   Force = iota
	ForceOpen         // it is not asked
	ForceClosed       // it is asked, whatever happens
)

// String is the word for it, "" for none.
func (f Force) String() string { return [...]string{"", stateOpen, stateClosed}[f] }

// ForceOf is the decision that a word stands for: Automatic where it is none.
func ForceOf(word string) Force {
	switch word {
	case stateOpen:
		return ForceOpen
	case stateClosed:
		return ForceClosed
	}
	return Automatic
}

const (
	stateOpen   = "open"
	stateClosed = "closed"
)

// Force takes a target out of service, or keeps it in, until it is told otherwise. It tells what was decided before.
func (t *Track) Force(f Force) (before Force) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.force(f)
}

func (t *Track) force(f Force) (before Force) {
	from := t.state()
	before = Force(t.forced.Swap(int32(f)))
	if f == ForceClosed {
		t.quiet(t.breaker.states.Close)
		t.resting.Store(0)
	}
	if to := t.state(); to != from {
		t.onEvent(Event{Track: t, From: from, State: to, Cause: causeForced})
	}
	return before
}

// decide puts a decision in force, unless a later one holds.
func (t *Track) decide(d Decision) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d.Turn > 0 {
		if d.Turn <= t.turn {
			return
		}
		t.turn = d.Turn
		if Force(t.forced.Load()) == d.Force {
			return
		}
	}
	t.force(d.Force)
}

// decided is the turn of the last decision.
func (t *Track) decided() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.turn
}

// state is what requests find.
func (t *Track) state() string {
	if forced := Force(t.forced.Load()); forced != Automatic {
		return forced.String()
	}
	return t.breaker.states.State().String()
}

// quiet makes a change that is told otherwise, or nobody's business.
func (t *Track) quiet(change func()) {
	t.hushed = true
	change()
	t.hushed = false
}

// ready tells whether a target may be asked, at a glance: where its breaker is not closed, enter decides.
func (t *Track) ready(now time.Time) bool {
	switch Force(t.forced.Load()) {
	case ForceOpen:
		return false
	case ForceClosed:
		return true
	case Automatic:
	}
	return t.idle.Load() || t.rest(now) == 0 && (!t.shut.Load() || t.probes())
}

// rest is how long the provider still asked to be left alone, 0 for no longer.
func (t *Track) rest(now time.Time) time.Duration {
	if until := t.resting.Load(); until != 0 {
		return time.Duration(max(0, until-now.UnixNano()))
	}
	return 0
}

// leave lets the target be for as long as its provider asked, also where another answer asked for less.
func (t *Track) leave(now time.Time, d time.Duration) {
	until := now.Add(d).UnixNano()
	for {
		old := t.resting.Load()
		if until <= old || t.resting.CompareAndSwap(old, until) {
			return
		}
	}
}

// probes tells whether the breaker, which is not closed, would let a call through.
func (t *Track) probes() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.breaker.ajar()
}

// unready is how long a target that is not ready will not be, at least; limited where that is the provider's wish.
func (t *Track) unready(now time.Time) (d time.Duration, limited bool) {
	if d = t.rest(now); d > 0 {
		return d, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.breaker.states.IsOpen() {
		return t.breaker.rest(), false
	}
	return 0, false
}

// Attempt is one call of a target's, from enter to its end.
type Attempt struct {
	track *Track
	epoch uint32
	probe bool
	holds bool // a probe's place
}

// enter begins a call; it is false where the breaker lets none through.
func (t *Track) enter() (a Attempt, ok bool) {
	a.track = t
	t.mu.Lock()
	defer t.mu.Unlock()
	switch Force(t.forced.Load()) {
	case ForceOpen:
		return a, false
	case ForceClosed:
		ok = true
	case Automatic:
		a.probe, ok = t.breaker.admit()
		ok = ok || t.breaker.cfg.Off
	}
	if a.epoch, a.holds = t.breaker.epoch, a.probe; ok {
		t.inFlight.Add(1)
	}
	return a, ok
}

// answered notes that a call's first content came, or its whole answer, after so long. The call goes on until End.
func (a *Attempt) answered(now time.Time, after time.Duration, whole bool) {
	t := a.track
	t.took(now, after, whole)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent.add(now, calls{ended: 1})
	limit := t.breaker.cfg.SlowAfter
	t.breaker.answered(now, a, limit > 0 && after > limit && Force(t.forced.Load()) != ForceClosed)
}

// took keeps a time: those of whole answers apart, as they are as long as the answers.
func (t *Track) took(now time.Time, d time.Duration, whole bool) {
	if whole {
		t.whole.add(now, d)
		return
	}
	t.times.add(now, d)
}

// paces are the times of such requests, and those of others. A request of which nothing is known is one for a stream.
func (t *Track) paces(q *Query) (own, others *times) {
	if q != nil && !q.Stream {
		return &t.whole, &t.times
	}
	return &t.times, &t.whole
}

// expected is how long such a request will take until its first content or its answer, about; by those of others as long as there
// was none. 0: nothing is known.
func (t *Track) expected(q *Query, now time.Time) time.Duration {
	own, others := t.paces(q)
	if d := own.expected(now); d > 0 {
		return d
	}
	return others.expected(now)
}

// failed ends a call that came to nothing.
func (a *Attempt) failed(now time.Time, err error) {
	v := neutral
	if failure, ok := errors.AsType[*wire.Error](err); ok {
		v = a.track.judge(now, failure)
		if v >= bad || limits(failure) {
			a.track.lost(now, 1)
		}
	}
	a.end(now, v)
}

// limits tells a failure that is none of the target's health, but serves no client either: it has no room for more.
func limits(failure *wire.Error) bool {
	return failure.Failover && !failure.Own && (failure.Code == codeLimited || failure.Code == codeBusy)
}

// lost counts a call that failed.
func (t *Track) lost(now time.Time, ended int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent.add(now, calls{ended: ended, failed: 1})
}

// outcomes is how many calls there were of late, and how many of them failed.
func (t *Track) outcomes(now time.Time) (ended, failed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := t.recent.sum(now)
	return sum.ended, sum.failed
}

// judge reads what a failure says of the target, which rests for as long as it asked.
func (t *Track) judge(now time.Time, failure *wire.Error) verdict {
	switch {
	case !failure.Failover, failure.Status < 500 && failure.Code != codeLimited:
		return neutral // the caller's mistake, or what this target alone cannot do
	case failure.Own, failure.Code == codeConfig, failure.Code == codeBusy:
		return neutral // the gateway's own affair
	case failure.Key:
		return fatal
	}
	if failure.Retry > 0 {
		t.leave(now, failure.Retry)
	}
	if failure.Code == codeLimited {
		return neutral // it may be no more than that this one request is too large
	}
	return bad
}

// Codes of failures that say more of a target than that it failed.
const (
	codeAuth    = "upstream_auth"
	codeConfig  = "upstream_config"
	codeLimited = "upstream_rate_limited"
	codeBusy    = "upstream_unavailable" // none of its servers is there to be asked
)

// End ends a call that was answered, once. err is what broke its answer off, nil for a good end. What is no *wire.Error, such as
// that the client left, says nothing: the target may have been about to fail.
func (a *Attempt) End(err error) {
	if a.track == nil {
		return
	}
	now, v := time.Now(), good
	if err != nil {
		v = broke(err)
	}
	if v == bad {
		a.track.lost(now, 0) // it was counted when it was answered
	}
	a.end(now, v)
	a.track = nil
}

// broke reads what ended an answer too early.
func broke(err error) verdict {
	failure, ok := errors.AsType[*wire.Error](err)
	switch {
	case ok && !failure.Failover && failure.Status < 500:
		return good // the gateway refused the answer, not the target the request
	case !ok, failure.Own, failure.Code == codeBug || failure.Code == codeEnding:
		return neutral
	}
	return bad
}

// Failures of the gateway's, of which no provider knows.
const (
	codeBug    = "internal_error"
	codeEnding = "shutting_down"
)

// Cached is how much of the prompts of late was in the provider's cache, from 0 to 1.
func (t *Track) Cached() float64 { return math.Float64frombits(t.cached.Load()) }

// Used notes what a call used. Of two at once one may be lost.
func (a *Attempt) Used(prompt, cached int64) {
	if a.track == nil || prompt <= 0 {
		return
	}
	share := a.track.Cached()
	share += (min(float64(cached)/float64(prompt), 1) - share) / 16
	a.track.cached.Store(math.Float64bits(share))
}

func (a *Attempt) end(now time.Time, v verdict) {
	t := a.track
	t.inFlight.Add(-1)
	if v == bad && t.pool.Load().secluded(now) {
		v = neutral
	}
	if Force(t.forced.Load()) == ForceClosed {
		v = min(v, good)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.breaker.end(now, a, v)
}

// changed is told of each change of the breaker's state, under the lock.
func (t *Track) changed(e circuitbreaker.StateChangedEvent) {
	b := t.breaker
	t.shut.Store(e.NewState != circuitbreaker.ClosedState)
	b.epoch++
	b.probing, b.until, b.since = 0, time.Time{}, time.Now()
	if e.NewState != circuitbreaker.HalfOpenState {
		b.window = window{span: b.cfg.Window}
	}
	if e.NewState == circuitbreaker.ClosedState {
		b.cause = ""
	}
	if !t.hushed && t.forced.Load() == int32(Automatic) {
		t.onEvent(Event{Track: t, From: e.OldState.String(), State: e.NewState.String(), Cause: b.cause})
	}
}

// configure puts other settings in force. What is open stays so, for no longer than it would be now.
func (t *Track) configure(cfg Breaker) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.breaker
	if old.cfg == cfg {
		return
	}
	t.idle.Store(cfg.Off)
	if t.recent.span != cfg.Window {
		t.recent = window{span: cfg.Window}
	}
	t.breaker = newBreaker(cfg, t.changed)
	t.quiet(func() {
		switch old.states.State() {
		case circuitbreaker.OpenState:
			t.breaker.states.Open()
		case circuitbreaker.HalfOpenState:
			t.breaker.states.HalfOpen()
		case circuitbreaker.ClosedState:
		}
	})
	t.breaker.goesOn(old)
}
