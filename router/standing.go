package router

import "time"

// Standing is how a target's model stands.
type Standing struct {
	Route, Provider, Model string // Model: the provider's name

	Label string // the model as metrics may have it: * for one that only clients name

	State    string    // closed, half-open or open, as requests find it
	Cause    string    // why it is not closed
	Since    time.Time // when the breaker's state began; zero: at the start
	Until    time.Time // when an open breaker tries again; zero: it is not open
	Resting  time.Time // until when the provider asked to be left alone; zero: it did not
	Forced   Force
	Unheeded bool // the breaker changes nothing (Breaker.Off)

	InFlight      int64
	Calls, Failed int           // of late, as long as the breaker's window is
	P50, P95      time.Duration // until the first content; 0: too few calls
}

// Label is the model's name as metrics may have it: * for one that only clients name, as there may be any number of them.
func (t *Track) Label() string {
	if t.typed {
		return "*"
	}
	return t.Model
}

// Standing tells how it stands now.
func (t *Track) Standing(now time.Time) Standing {
	s := Standing{Route: t.Route, Provider: t.Provider, Model: t.Model, Label: t.Label(), InFlight: t.inFlight.Load(), Unheeded: t.idle.Load()}
	s.P50, s.P95 = t.times.count(now.UnixNano(), 0.5), t.times.count(now.UnixNano(), 0.95)
	if d := t.rest(now); d > 0 {
		s.Resting = now.Add(d)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := t.recent.sum(now)
	s.Calls, s.Failed = sum.ended, sum.failed
	s.State, s.Cause, s.Since, s.Forced = t.state(), t.breaker.cause, t.breaker.since, Force(t.forced.Load())
	switch {
	case s.Forced != Automatic:
		s.Cause = causeForced
	case t.breaker.states.IsOpen():
		s.Until = now.Add(t.breaker.rest())
	}
	return s
}

// Standings tells how every target of the entries of `models` stands, and every one that was asked for directly. Where clients
// name the models, these are those that they asked for of late.
func (r *Router) Standings(now time.Time) (list []Standing) {
	for track := range r.followed {
		list = append(list, track.Standing(now))
	}
	return list
}

// followed is every track, each once.
func (r *Router) followed(yield func(*Track) bool) {
	seen := map[*Track]bool{}
	for _, t := range r.targets {
		for track := range t.followed {
			if seen[track] {
				continue
			}
			seen[track] = true
			if !yield(track) {
				return
			}
		}
	}
}
