package router

import "time"

// Continues tells whether an answer that breaks off is to be gone on with by another target.
func (r *Route) Continues() bool { return r.onward }

// GoOn is Do for an answer that has begun and broke off: it asks each target that is not spent at most once, those of the route
// first, with another server of one that is spent, and then those of its fallbacks. The target is nil where none answered, the error too where none was asked. No target is
// asked beside another one.
func (r *Route) GoOn(a Asker, spent func(t *Target) bool) (*Target, Attempt, error) {
	o := outing{asker: alone{a}, now: time.Now()}
	defer o.abandon()
	asked, err := o.onward(r, spent)
	for _, next := range r.fallback {
		if asked && (err == nil || mendable(err) == nil) {
			break
		}
		if also, failure := o.onward(next, spent); also {
			asked, err = true, failure
		}
	}
	if !asked || err != nil {
		return nil, Attempt{}, err
	}
	return o.last, o.attempt, nil
}

// onward asks the targets of one route.
func (o *outing) onward(r *Route, spent func(t *Target) bool) (asked bool, err error) {
	if r.needs != 0 {
		o.query = o.asker.Query(r.needs)
	}
	o.useless, o.fallen = 0, 0
	for i, t := range r.Targets {
		if spent(t) {
			o.useless |= 1 << i
			o.fallen |= 1 << i
		}
	}
	return o.round(r, 0)
}

// alone asks one target at a time.
type alone struct{ Asker }

// Race is Send.
func (a alone) Race(target *Target, _ time.Duration, _ func() *Target) Finish {
	took, err := a.Send(target)
	return Finish{FirstTook: took, FirstErr: err}
}
