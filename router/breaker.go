package router

import (
	"fmt"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// breaker decides whether a target may be asked. failsafe-go's has the states, the failures in a row, the rest and the probes;
// the shares of failures and of slow calls in a window, and which calls are probes, are kept here. Its Track's lock guards it.
type breaker struct {
	cfg     Breaker
	states  circuitbreaker.CircuitBreaker[any]
	epoch   uint32    // of the state: what began in another says nothing of this one
	probing int       // probes that have no content yet
	cause   string    // why it is not closed
	since   time.Time // when the state began; zero: at the start
	until   time.Time // when an open state ends that goes on under other settings; zero: none does
	window  window
}

func newBreaker(cfg Breaker, changed func(circuitbreaker.StateChangedEvent)) *breaker {
	b := &breaker{cfg: cfg, window: window{span: cfg.Window}}
	b.states = circuitbreaker.NewBuilder[any]().
		WithFailureThreshold(uint(cfg.Consecutive)). //nolint:gosec // it is at least 1
		WithSuccessThreshold(uint(cfg.Probes)).      //nolint:gosec // and so is this
		WithDelay(cfg.Open).WithJitterFactor(jitter).OnStateChanged(changed).Build()
	return b
}

// jitter keeps the breakers of many gateways from probing all at once.
const jitter = 0.1

// Why a breaker is not closed.
const (
	causeRow    = "consecutive" // failures in a row
	causeErrors = "error_rate"
	causeSlow   = "slow_rate"
	causeAuth   = "auth"
	causeProbe  = "probe" // one failed
	causeForced = "forced"
)

// check tells what is wrong with the settings.
func (b *Breaker) check(at string) (errs []error) {
	for _, f := range []struct {
		name string
		d    time.Duration
	}{{"slow_after", b.SlowAfter}, {"window", b.Window}, {"open", b.Open}} {
		if f.d < 0 || f.d > 0 && f.d < time.Millisecond {
			errs = append(errs, fmt.Errorf("%s.%s: must be at least 1ms", at, f.name))
		}
	}
	for _, f := range []struct {
		name string
		n    int
	}{{"min_calls", b.MinCalls}, {"consecutive", b.Consecutive}, {"probes", b.Probes}} {
		if f.n < 0 || f.n > mostCounted {
			errs = append(errs, fmt.Errorf("%s.%s: must be from 1 to %d, not %d", at, f.name, mostCounted, f.n))
		}
	}
	return errs
}

// mostCounted keeps what a breaker remembers small.
const mostCounted = 10_000

// check tells what is wrong with the settings.
func (r *Retry) check(at string) (errs []error) {
	if r.Attempts < 0 || r.Attempts > mostAttempts {
		errs = append(errs, fmt.Errorf("%s.attempts: must be from 1 to %d, not %d", at, mostAttempts, r.Attempts))
	}
	if r.Backoff.To > mostBackoff {
		errs = append(errs, fmt.Errorf("%s.backoff: must end at %s or before", at, mostBackoff))
	}
	return errs
}

const (
	mostAttempts = 10
	mostBackoff  = time.Hour
)

// admit tells whether a call may begin, and whether it is a probe.
func (b *breaker) admit() (probe, ok bool) {
	switch b.states.State() {
	case circuitbreaker.ClosedState:
		return false, true
	case circuitbreaker.OpenState:
		if b.rest() > 0 {
			return false, false
		}
		b.states.HalfOpen()
	case circuitbreaker.HalfOpenState:
	}
	if b.probing >= b.cfg.Probes {
		return false, false
	}
	b.probing++
	return true, true
}

// rest is how long an open breaker stays so.
func (b *breaker) rest() time.Duration {
	if !b.until.IsZero() {
		return max(0, time.Until(b.until))
	}
	return b.states.RemainingDelay()
}

// verdict is what a call says of its target.
type verdict uint8

const (
	neutral verdict = iota // nothing: the client left, or what was asked cannot be served
	good
	bad
	fatal // it will not do until someone mends it
)

// goesOn takes over how things stand under other settings. Calls under way still count.
func (b *breaker) goesOn(old *breaker) {
	b.epoch, b.probing, b.cause, b.since = old.epoch, old.probing, old.cause, old.since
	if old.window.span == b.window.span {
		b.window = old.window
	}
	if b.states.IsOpen() {
		rest := min(old.rest(), time.Duration((1+jitter)*float64(b.cfg.Open)))
		b.until = time.Now().Add(rest)
	}
}

// answered takes note of a call's first content. A slow probe fails at once: else a slow target would be given up and taken back
// for ever. Any other makes room for the next: its answer may take long, and until then nobody else would be served.
func (b *breaker) answered(now time.Time, a *Attempt, slow bool) {
	if a.epoch != b.epoch {
		return
	}
	b.leave(a)
	switch {
	case a.probe && slow:
		b.probed(bad, causeSlow)
	case !a.probe && b.states.IsClosed():
		b.window.add(now, calls{begun: 1, slow: count(slow)})
		b.check(now)
	}
}

// end takes note of how a call ended.
func (b *breaker) end(now time.Time, a *Attempt, v verdict) {
	if a.epoch != b.epoch {
		return // its probes were forgotten with the state
	}
	b.leave(a)
	switch {
	case v == fatal:
		b.open(causeAuth)
	case v == neutral:
	case a.probe:
		b.probed(v, causeProbe)
	case b.states.IsClosed(): // else it was asked though it is open, and says nothing
		b.window.add(now, calls{ended: 1, failed: count(v == bad)})
		b.record(v, causeRow)
		b.check(now)
	}
}

// leave gives a probe's place back.
func (b *breaker) leave(a *Attempt) {
	if a.holds {
		a.holds = false
		b.probing--
	}
}

// probed takes note of how a probe did.
func (b *breaker) probed(v verdict, cause string) {
	if b.states.TryAcquirePermit() {
		b.record(v, cause)
	}
}

func (b *breaker) record(v verdict, cause string) {
	if v == good {
		b.states.RecordSuccess()
		return
	}
	before := b.cause
	b.cause = cause
	if b.states.RecordFailure(); !b.states.IsOpen() {
		b.cause = before
	}
}

func (b *breaker) open(cause string) {
	b.cause = cause
	b.states.Open()
}

// check opens the breaker when too many calls of late failed or were slow.
func (b *breaker) check(now time.Time) {
	if !b.states.IsClosed() {
		return
	}
	switch sum := b.window.sum(now); {
	case sum.ended >= b.cfg.MinCalls && float64(sum.failed) > float64(b.cfg.ErrorRate)*float64(sum.ended):
		b.open(causeErrors)
	case sum.begun >= b.cfg.MinCalls && float64(sum.slow) > float64(b.cfg.SlowRate)*float64(sum.begun):
		b.open(causeSlow)
	}
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// ajar tells whether admit would let a call through.
func (b *breaker) ajar() bool {
	switch b.states.State() {
	case circuitbreaker.OpenState:
		return b.rest() <= 0
	case circuitbreaker.HalfOpenState:
		return b.probing < b.cfg.Probes
	case circuitbreaker.ClosedState:
	}
	return true
}

// calls are counted when they end, failed or not, and when they begin to answer, slowly or not: an answer may go on for longer
// than the window.
type calls struct{ ended, failed, begun, slow int }

func (c *calls) add(more calls) {
	c.ended, c.failed, c.begun, c.slow = c.ended+more.ended, c.failed+more.failed, c.begun+more.begun, c.slow+more.slow
}

// window counts calls of late.
type window struct {
	span   time.Duration
	slices [10]struct {
		at int64 // which slice of all time it is
		calls
	}
}

func (w *window) at(now time.Time) int64 {
	return now.UnixNano() / max(int64(w.span)/int64(len(w.slices)), 1)
}

func (w *window) add(now time.Time, more calls) {
	at := w.at(now)
	s := &w.slices[at%int64(len(w.slices))]
	if s.at != at {
		s.at, s.calls = at, calls{}
	}
	s.add(more)
}

func (w *window) sum(now time.Time) (sum calls) {
	oldest := w.at(now) - int64(len(w.slices))
	for i := range w.slices {
		if s := &w.slices[i]; s.at > oldest {
			sum.add(s.calls)
		}
	}
	return sum
}
