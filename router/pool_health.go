package router

import (
	"math/bits"
	"time"
)

const ejectJitter = 0.2

// judge counts how a request ended. A refused connection ejects at once, for the process is gone.
func (r *Replica) judge(t int64, how Ending) {
	switch how {
	case EndedOK:
		r.answered.Add(1)
		r.streak.Store(0)
		r.outcomes.add(t, false)
	case EndedFailed, EndedRefused:
		r.failed.Add(1)
		r.failedAt.Store(t)
		r.outcomes.add(t, true)
		streak := r.streak.Add(1)
		if how == EndedRefused || streak >= int64(r.pool.cfg.Consecutive) || r.onProbation(t) || r.pool.outlier(t, r) {
			r.pool.eject(t, r, how == EndedRefused)
		}
	}
}

// onProbation says that the replica has come back from an ejection and starts slowly: its next failure ejects it again.
func (r *Replica) onProbation(t int64) bool { return r.ejections.Load() > 0 && r.warmth(t) < 1 }

// outlier says that the replica fails much more often than the others. When all fail, it is not the replica's fault.
func (p *Pool) outlier(t int64, r *Replica) bool {
	all, bad := r.outcomes.get(t)
	if all < float64(p.cfg.MinRequests) || bad/all < p.cfg.FailureRate {
		return false
	}
	othersAll, othersBad := 0.0, 0.0
	for _, o := range p.Replicas() {
		if o != r {
			n, f := o.outcomes.get(t)
			othersAll, othersBad = othersAll+n, othersBad+f
		}
	}
	return bad/all >= 3*othersBad/max(othersAll, 1)
}

// eject keeps requests from a replica for a while, unless too much of the pool is out already: those left would fail next.
func (p *Pool) eject(t int64, r *Replica, forget bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if forget {
		p.forget(r)
	}
	until := r.ejectedUntil.Load()
	out, all := p.out(t)
	if t < until || r.gone.Load() || float64(out+1) > p.cfg.MaxEjected*float64(all) {
		return
	}
	if t-until > int64(p.cfg.EjectMax) {
		r.ejections.Store(0)
	}
	long := float64(min(p.cfg.Eject<<min(r.ejections.Add(1)-1, 20), p.cfg.EjectMax))
	long *= 1 + ejectJitter*(float64(p.roll()>>11)/(1<<52)-1)
	r.ejectedUntil.Store(t + int64(long))
	r.warmFrom.Store(t + int64(long))
	r.streak.Store(0)
	r.outcomes.words.reset()
}

// out counts the replicas that get no requests, of all that belong to the pool.
func (p *Pool) out(t int64) (out, all int) {
	for _, r := range p.Replicas() {
		if r.gone.Load() {
			continue
		}
		all++
		if r.state(t) != WhyFit {
			out++
		}
	}
	return out, all
}

// pardon takes ejected replicas back when others have gone out since and too few are left. p.mu is held.
func (p *Pool) pardon(t int64) {
	out, all := p.out(t)
	for _, r := range p.Replicas() {
		if float64(out) <= p.cfg.MaxEjected*float64(all) {
			return
		}
		if r.state(t) == WhyEjected {
			r.ejectedUntil.Store(t)
			r.warmFrom.Store(t)
			out--
		}
	}
}

// secluded tells that the failures of late are one replica's, while there are others: it is the pool's affair to leave it alone,
// and no reason to leave the pool alone. The nil Pool has no replicas.
func (p *Pool) secluded(now time.Time) bool {
	if p == nil {
		return false
	}
	t := p.clock(now)
	ready, sum, most := 0, 0.0, 0.0
	for _, r := range p.Replicas() {
		if r.state(t) == WhyFit {
			ready++
		}
		_, bad := r.outcomes.get(t)
		sum, most = sum+bad, max(most, bad)
	}
	return ready > 1 && most >= mostOfAll*sum || ready == 1 && sum == 0
}

// mostOfAll is which share of a pool's failures makes them one replica's.
const mostOfAll = 0.8

// Probe takes in the outcome of a health probe. Some of the last ones must fail for the replica to be taken out, and some in a
// row succeed for it to return. A replica that was down was most likely restarted, and its cache is empty.
func (r *Replica) Probe(now time.Time, ok bool) {
	p := r.pool
	t := p.clock(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	r.probes <<= 1
	if ok {
		r.probes |= 1
	}
	r.probed = min(r.probed+1, 64)
	recent := uint64(1)<<min(r.probed, uint64(p.cfg.ProbeOf)) - 1
	rise := uint64(1)<<p.cfg.ProbeUp - 1
	if r.down.Load() {
		if r.probes&rise == rise && r.probed >= uint64(p.cfg.ProbeUp) {
			r.down.Store(false)
			r.probed = 0
			r.ejectedUntil.Store(min(r.ejectedUntil.Load(), t)) // it was down for what it was ejected for
			r.warmFrom.Store(t)
			r.streak.Store(0)
		}
	} else if bits.OnesCount64(^r.probes&recent) >= p.cfg.ProbeDown {
		r.down.Store(true)
		r.probed = 0
		p.forget(r)
	}
	p.pardon(t)
}

// Drain takes the replica out by hand, or back in. What it has begun goes on.
func (r *Replica) Drain(now time.Time, on bool) {
	p := r.pool
	t := p.clock(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.drained.Swap(on) && !on {
		r.warmFrom.Store(max(t, r.ejectedUntil.Load()))
	}
	p.pardon(t)
}
