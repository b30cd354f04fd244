package router

import (
	"math"
	"slices"
	"time"
)

// Resort is whom to ask when Choose found nobody: a replica whose probes fail may answer, and one that does not list a model
// may have it, while nobody's answer is surely none. Of those that are down it is the one whose requests failed longest ago.
// Replicas that are drained, or have been asked, are left alone. It is nil, with the reason, when no other is there.
func (p *Pool) Resort(now time.Time, q *PoolQuery) (*Replica, Why) {
	t := p.clock(now)
	listed := slices.ContainsFunc(p.Replicas(), func(r *Replica) bool {
		return !r.gone.Load() && slices.Contains(r.Models(), q.Model)
	})
	var best *Replica
	why, oldest := WhyEmpty, int64(math.MaxInt64)
	for _, r := range p.Replicas() {
		state := r.state(t)
		switch {
		case slices.Contains(q.Tried, r):
			why = WhyTried
		case state == WhyDraining:
			why = max(why, state)
		case listed && !r.lists(q.Model):
			why = max(why, WhyModel)
		case r.failedAt.Load() < oldest:
			best, oldest = r, r.failedAt.Load()
		}
	}
	if best == nil {
		return nil, why
	}
	if why = best.state(t); why == WhyDown {
		p.desperate.Add(1)
	}
	return best, why
}

// Desperate counts the requests that were sent to a replica whose probes fail, as those of all others did.
func (p *Pool) Desperate() uint64 { return p.desperate.Load() }

// InDespair tells that no replica is fit, as the probes of all that are not drained fail: most likely the probe is wrong.
func (p *Pool) InDespair(now time.Time) bool {
	t := p.clock(now)
	down := 0
	for _, r := range p.Replicas() {
		switch r.state(t) {
		case WhyDown:
			down++
		case WhyDraining:
		default:
			return false
		}
	}
	return down > 0
}
