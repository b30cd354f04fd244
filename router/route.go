package router

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"jarvis-gateway/proxy/wire"
)

// Asker asks targets on behalf of one request.
type Asker interface {
	// Query is what there is to know of the request; it is asked for where the route Needs something, once.
	Query(needs Needs) *Query
	// Send asks one target, and returns once the first content is in hand. An error is a *wire.Error or, where the client has
	// left, any other.
	Send(target *Target) (Took, error)
	// Race is Send for a target that may be slow: after a time, the one that spare chooses is asked too. spare may be called from
	// another goroutine, once, and returns nil where there is none; where it returns the first target again, that is asked at another
	// of its servers. When Race returns neither is being asked any more, but for the one whose answer counts.
	Race(target *Target, after time.Duration, spare func() *Target) Finish
	// Wait returns ErrLeft when the client left meanwhile, and at once ErrHurried where the client does not wait that long.
	Wait(d time.Duration) error
}

// Took tells of a target's first content, once it is in hand.
type Took struct {
	Begun time.Time // when the target was asked: that a request waited for its turn until then is not the target's fault; zero: at once
	Whole bool      // the answer came whole, which takes longer than a first content
}

// since is when the target was asked, which was not before the router said so.
func (t Took) since(asked time.Time) time.Time {
	if t.Begun.Before(asked) {
		return asked
	}
	return t.Begun
}

// ErrLeft is the error of a request whose client left while it waited to be tried again.
var ErrLeft = errors.New("the client left")

// ErrHurried tells that a client does not wait until it could be tried again.
var ErrHurried = errors.New("the client is in a hurry")

// maxTargets is how many targets a route may have: those that were asked are kept in the bits of one word.
const maxTargets = 64

// Do asks the route's targets, as it picks them, until one answers; then those of its fallbacks. It returns the one that
// answered, with its attempt, which must be ended (Attempt.End), or the one whose failure is the request's. Only failures that
// another target may mend go on to the next: a caller's mistake would only be made again. When none is left, a failure that
// time may mend is the request's: a later target's saying that it cannot serve such requests at all would keep the client
// from trying again.
func (r *Route) Do(a Asker) (*Target, Attempt, error) {
	o := outing{asker: a, now: time.Now()}
	defer o.abandon()
	err := o.route(r)
	for _, next := range r.fallback {
		if err == nil || mendable(err) == nil {
			break
		}
		err = o.route(next)
	}
	if err == nil {
		return o.last, o.attempt, nil
	}
	if failure := mendable(err); failure != nil && o.passing != nil && !passes(failure) {
		return o.where, Attempt{}, o.passing
	}
	return o.last, Attempt{}, err
}

// outing is one Do under way.
type outing struct {
	asker   Asker
	query   *Query
	now     time.Time
	last    *Target // asked
	passing error   // a failure that time may mend,
	where   *Target
	attempt Attempt // under way
	running bool    // it is
	useless uint64  // targets of the route that are not to be asked again
	fallen  uint64  // those that failed as another replica of theirs might not
	again   bool    // one of these was asked again
}

// abandon ends an attempt in which a bug was met.
func (o *outing) abandon() {
	if o.running {
		o.attempt.end(time.Now(), neutral)
	}
}

// route asks the targets of one route, round after round as far as they are to be tried again.
func (o *outing) route(r *Route) (err error) {
	if r.needs != 0 {
		o.query = o.asker.Query(r.needs)
	}
	o.useless, o.fallen = 0, 0
	for round := 0; ; round++ {
		asked, failure := o.round(r, round)
		if asked {
			err = failure
		} else if round == 0 {
			return o.unfit(r)
		}
		if err == nil || mendable(err) == nil || round+1 >= r.retry.Attempts {
			return err
		}
		d, again := o.pause(r, round)
		if !again {
			return err
		}
		switch waited := o.asker.Wait(d); {
		case errors.Is(waited, ErrHurried):
			return err // a fallback may still be in time
		case waited != nil:
			return waited
		}
		o.now = time.Now()
	}
}

// round asks each target once that is fit. asked is false where none was.
func (o *outing) round(r *Route, round int) (asked bool, err error) {
	seen := o.useless
	if round > 0 {
		seen |= o.resting(r)
	}
	for {
		i := r.choose(o.query, seen, o.now)
		if i < 0 && round == 0 {
			i = o.another(r)
		}
		if i < 0 {
			return asked, err
		}
		seen |= 1 << i
		target := r.Targets[i]
		attempt, fit := target.Track(o.query.model()).enter()
		if !fit {
			continue // another request was faster
		}
		if round > 0 && !r.repeats.take() {
			attempt.end(o.now, neutral)
			return asked, err
		}
		o.attempt, asked = attempt, true
		var also uint64
		if o.last, also, err = o.send(r, target, seen, round); err == nil {
			return true, nil
		}
		seen |= also
		failure := mendable(err)
		if failure == nil {
			return true, err
		}
		if lasting(failure) {
			o.useless |= 1 << i
		} else {
			o.fallen |= 1 << i
		}
		if o.passing == nil && passes(failure) {
			o.passing, o.where = err, o.last
		}
	}
}

// another is a target that failed and has more than one server, where nobody else is left: the next one may do better, and need not
// be waited for. It is asked once, as far as repetitions may be made; -1 for none.
func (o *outing) another(r *Route) int {
	for i, t := range r.Targets {
		if o.again || o.fallen&(1<<i) == 0 || !t.crowd.several(o.now) || !t.meant(o.query) || !t.Track(o.query.model()).ready(o.now) {
			continue
		}
		if !r.repeats.take() {
			return -1
		}
		o.again = true
		return i
	}
	return -1
}

// send asks one target, or two if the first is slow.
func (o *outing) send(r *Route, target *Target, asked uint64, round int) (winner *Target, also uint64, err error) {
	if round == 0 {
		r.repeats.earn()
	}
	if r.hedge != nil && round == 0 {
		r.hedge.extra.earn()
		if after := r.hedge.after(o.attempt.track, o.query, o.now); after > 0 {
			o.running = true
			winner, also, err = o.race(r, target, asked, after)
			o.running = false
			return winner, also, err
		}
	}
	at := time.Now()
	o.running = true
	took, err := o.asker.Send(target)
	o.running, o.now = false, time.Now()
	return target, 0, o.note(&o.attempt, at, took, err)
}

// pause is how long to wait before the next round: until the first of the targets may be asked again, and a random part of a time
// that doubles, so that those who were told the same time do not come back together. It is false where there is no sense in waiting.
func (o *outing) pause(r *Route, round int) (d time.Duration, again bool) {
	if !r.repeats.enough() {
		return 0, false
	}
	soonest := r.retry.Backoff.To + 1
	for i, t := range r.Targets {
		if o.useless&(1<<i) == 0 && t.meant(o.query) {
			soonest = min(soonest, t.Track(o.query.model()).rest(o.now))
		}
	}
	if soonest > r.retry.Backoff.To {
		return 0, false
	}
	most := min(r.retry.Backoff.From<<round, r.retry.Backoff.To-soonest)
	return soonest + time.Duration(rand.Int64N(int64(most)+1)), true
}

// resting are the targets whose providers asked to be left alone: these are not tried again, whatever else is said of them.
func (o *outing) resting(r *Route) (set uint64) {
	for i, t := range r.Targets {
		if t.Track(o.query.model()).rest(o.now) > 0 {
			set |= 1 << i
		}
	}
	return set
}

// unfit is why a route has no target that may be asked now. A failure that was met before says more.
func (o *outing) unfit(r *Route) error {
	if o.passing != nil {
		o.last = o.where
		return o.passing
	}
	if !slices.ContainsFunc(r.Targets, func(t *Target) bool { return t.meant(o.query) }) {
		return &wire.Error{Status: 400, Type: wire.TypeInvalid, Code: "no_target_fits", Message: "No provider of this model is there for such requests.", Failover: true}
	}
	soonest, limited := time.Duration(math.MaxInt64), true
	for _, t := range r.Targets {
		track := t.Track(o.query.model())
		if !t.meant(o.query) || Force(track.forced.Load()) == ForceOpen {
			continue
		}
		d, asked := track.unready(o.now)
		soonest, limited = min(soonest, d), limited && asked
	}
	if soonest == math.MaxInt64 {
		soonest, limited = someTime, false
	}
	e := wire.Server(503, "upstream_unavailable", "No provider of this model is fit to be asked at the moment. Please try again later.", nil)
	if limited {
		e = &wire.Error{Status: 429, Type: wire.TypeRateLimit, Code: codeLimited, Message: "The model's providers are limiting the rate of requests. Please try again later."}
	}
	e.Failover, e.Retry = true, max(soonest, time.Second/10)
	return e
}

// meant tells whether the target is for such requests.
func (t *Target) meant(q *Query) bool { return t.when == nil || t.when.fits(q) }

// enough tells whether there is one to take.
func (a *allowance) enough() bool { return a.saved.Load() >= whole }

// someTime is what a client is told to wait where nobody knows for how long.
const someTime = 10 * time.Second

// passes tells a failure that time may mend.
func passes(failure *wire.Error) bool { return failure.Status == 429 || failure.Status >= 500 }

// lasting tells a failure that the same target would only repeat.
func lasting(failure *wire.Error) bool {
	return failure.Final || !passes(failure) || failure.Code == codeAuth || failure.Code == codeConfig
}

// mendable is the failure that another target may mend, nil for any other error.
func mendable(err error) *wire.Error {
	if failure, ok := errors.AsType[*wire.Error](err); ok && failure.Failover {
		return failure
	}
	return nil
}
