package router

import (
	"errors"
	"slices"
	"time"
)

// Finish is how a race of two attempts ended (Asker.Race).
type Finish struct {
	Second   *Target // nil: only the first was asked
	Won      bool    // the second one answered, and the first was called off
	FirstErr error   // why the first gave no answer; ErrLost where it was called off; nil: its answer counts
	OtherErr error   // of the second, likewise

	FirstTook, OtherTook Took
}

// ErrLost is the error of an attempt that was called off because the other one answered.
var ErrLost = errors.New("another attempt answered first")

// hedge says when a second target is asked.
type hedge struct {
	cfg   Hedge
	extra *allowance
}

func newHedge(cfg Hedge) *hedge {
	if cfg.After.IsZero() {
		return nil
	}
	if cfg.MaxExtra == 0 {
		cfg.MaxExtra = defaultExtra
	}
	return &hedge{cfg: cfg, extra: newAllowance(cfg.MaxExtra)}
}

const defaultExtra = 0.05

// after is how long the first attempt may take alone; 0 where it stays alone.
func (h *hedge) after(t *Track, q *Query, now time.Time) time.Duration {
	switch {
	case h == nil:
		return 0
	case h.cfg.After.Percentile > 0:
		own, _ := t.paces(q)
		return own.percentile(now, h.cfg.After.Percentile)
	}
	return h.cfg.After.Time
}

// race asks a target, and another one beside it if it is slow, or, where there is none, the same at another of its servers. It returns the target whose answer or failure counts, with its
// attempt in o; also is the other one's bit.
func (o *outing) race(r *Route, first *Target, asked uint64, after time.Duration) (winner *Target, also uint64, err error) {
	d := duel{query: o.query, r: r, first: first, asked: asked}
	defer d.abandon()
	begun := time.Now()
	f := o.asker.Race(first, after, d.spare)
	o.now = time.Now()
	if f.Second == nil {
		return first, 0, o.note(&o.attempt, begun, f.FirstTook, f.FirstErr)
	}
	o.again = o.again || f.Second == first // at another of its servers
	if errors.Is(f.FirstErr, ErrLost) {
		o.attempt.track.took(o.now, o.now.Sub(f.FirstTook.since(begun)), f.OtherTook.Whole) // it would have taken longer still
	}
	errs := [2]error{o.note(&o.attempt, begun, f.FirstTook, f.FirstErr), o.note(&d.attempt, d.begun, f.OtherTook, f.OtherErr)}
	d.noted = true
	switch {
	case f.Won:
		o.attempt = d.attempt
		return f.Second, d.bit, nil
	case errs[0] != nil && mendable(errs[0]) != nil && mendable(errs[1]) == nil:
		return f.Second, d.bit, errs[1] // the caller's mistake, which the second target told
	}
	return first, d.bit, errs[0]
}

// duel is a race under way.
type duel struct {
	query   *Query
	r       *Route
	first   *Target
	asked   uint64
	bit     uint64  // of the second target
	attempt Attempt // the second one,
	begun   time.Time
	entered bool // which is under way,
	noted   bool // or has ended
}

// spare chooses the second target, as long as not too many are asked. It is the first one itself where that has other servers and
// nobody else is left: the Asker knows where the first attempt is, and makes the second elsewhere.
func (d *duel) spare() *Target {
	now := time.Now()
	t, i := d.first, slices.Index(d.r.Targets, d.first)
	if other := d.r.choose(d.query, d.asked, now); other >= 0 {
		t, i = d.r.Targets[other], other
	} else if !t.crowd.several(now) || t.unfit(d.query, now) != "" {
		return nil
	}
	if !d.r.hedge.extra.take() {
		return nil
	}
	if d.attempt, d.entered = t.Track(d.query.model()).enter(); !d.entered {
		d.r.hedge.extra.giveBack()
		return nil
	}
	d.bit, d.begun = 1<<i, now
	return t
}

// abandon ends a second attempt that was not made after all, or in which a bug was met.
func (d *duel) abandon() {
	if d.entered && !d.noted {
		d.attempt.end(time.Now(), neutral)
		d.r.hedge.extra.giveBack()
	}
}

// note tells a target's track how an attempt went. One that lost says nothing of its target.
func (o *outing) note(a *Attempt, asked time.Time, took Took, err error) error {
	switch {
	case err == nil:
		a.answered(o.now, o.now.Sub(took.since(asked)), took.Whole)
	case errors.Is(err, ErrLost):
		a.end(o.now, neutral)
	default:
		a.failed(o.now, err)
	}
	return err
}

// giveBack undoes a take.
func (a *allowance) giveBack() { a.saved.Add(whole) }
