package router

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// explain tells what the route's targets have to do with a request.
func (r *Route) explain(q *Query, fallback bool, now time.Time) ExplainedRoute {
	e := ExplainedRoute{Model: r.Name, Fallback: fallback, Pick: r.pick, Attempts: max(r.retry.Attempts, 1), Retries: r.repeats.saved.Load() / whole}
	if r.cached > 0 {
		e.Cache = r.cached.String()
	}
	if e.Attempts > 1 {
		e.Backoff = r.retry.Backoff.From.String() + ".." + r.retry.Backoff.To.String()
	}
	var fit uint64
	for i, t := range r.Targets {
		at := t.explain(q, now)
		if at.Why == "" {
			fit |= 1 << i
		}
		e.Targets = append(e.Targets, at)
	}
	first := r.rank(&e, q, fit, now)
	if first < 0 {
		if e.Refused = "no target is fit to be asked"; !slices.ContainsFunc(r.Targets, func(t *Target) bool { return t.meant(q) }) {
			e.Refused = "no target is there for such requests"
		}
		return e
	}
	if h := r.hedge; h != nil && (asks(e.Targets) > 1 || r.Targets[first].crowd.several(now)) {
		e.Hedges = h.extra.saved.Load() / whole
		if after := h.after(r.Targets[first].Track(q.model()), q, now); after > 0 {
			e.Hedge = after.Round(time.Millisecond).String()
		} else {
			e.Hedge = "not yet: too few times are known"
		}
	}
	return e
}

// asks counts the targets that may be asked.
func asks(targets []ExplainedTarget) (n int) {
	for i := range targets {
		n += count(targets[i].Order > 0)
	}
	return n
}

// rank puts the targets that are fit in the order in which they are asked, as far as it does not depend on chance, and says
// why. It returns the first one, -1 for none.
func (r *Route) rank(e *ExplainedRoute, q *Query, fit uint64, now time.Time) (first int) {
	var order []int
	for i := range r.Targets {
		if fit&(1<<i) != 0 {
			order = append(order, i)
		}
	}
	p := r.placing(q, order, now)
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(p.key(a)[0], p.key(b)[0]), cmp.Compare(p.key(a)[1], p.key(b)[1]))
	})
	for place, i := range order {
		at := &e.Targets[i]
		at.Order, at.Why = place+1, p.why(i)
		at.Chance = p.chance(order, place)
	}
	for i := range e.Targets { // they are asked when nobody else is left
		if at := &e.Targets[i]; at.Why == tooFull {
			order = append(order, i)
			at.Why, at.Order, at.Chance = r.Targets[i].fullness(now), len(order), float64(count(len(order) == 1))
		}
	}
	if len(order) == 0 {
		return -1
	}
	return order[0]
}

// placing is how a way to pick compares targets: the lowest key comes first.
type placing struct {
	key    func(i int) [2]float64
	why    func(i int) string
	chance func(order []int, place int) float64
}

// surely is the chance where the order says it all.
func surely(_ []int, place int) float64 { return float64(count(place == 0)) }

// placing is that of the route's way to pick, of the targets in order, which are fit.
func (r *Route) placing(q *Query, order []int, now time.Time) placing {
	switch r.pick {
	case "weighted":
		return r.placeByWeight(order)
	case "round_robin":
		return r.placeByTurn(order)
	case "least_loaded":
		return r.placeByLoad(q, now)
	case "fastest":
		return r.placeByWait(q, now)
	case "cheapest":
		return placing{one(func(i int) float64 { return priced(q, r.Targets[i]) }), func(i int) string { return costs(q.Price(r.Targets[i])) }, surely}
	case "best":
		return r.placeByQuality(q)
	}
	return placing{one(func(i int) float64 { return float64(i) }), func(i int) string {
		if i == order[0] {
			return "it is the first that is fit"
		}
		return "others come before it"
	}, surely}
}

// one is a key that has nothing to say among equals.
func one(key func(i int) float64) func(i int) [2]float64 {
	return func(i int) [2]float64 { return [2]float64{key(i), 0} }
}

func (r *Route) placeByWeight(order []int) placing {
	var sum uint64
	for _, i := range order {
		sum += r.Targets[i].weight
	}
	part := func(i int) float64 {
		if sum == 0 {
			return 1 / float64(len(order))
		}
		return float64(r.Targets[i].weight) / float64(sum)
	}
	return placing{one(func(i int) float64 { return -part(i) }), func(i int) string { return fmt.Sprintf("its weight is %d of %d", r.Targets[i].weight, sum) },
		func(order []int, place int) float64 { return part(order[place]) }}
}

func (r *Route) placeByTurn(order []int) placing {
	next := 0
	if n := len(order); n > 0 {
		next = order[int((r.turn.Load()+1)%uint32(n))] //nolint:gosec // at most 64
	}
	key := one(func(i int) float64 { return float64((i - next + len(r.Targets)) % len(r.Targets)) })
	return placing{key, func(i int) string {
		if i == next {
			return "its turn is next"
		}
		return "its turn comes later"
	}, surely}
}

func (r *Route) placeByLoad(q *Query, now time.Time) placing {
	key := one(func(i int) float64 { return r.Targets[i].load(q, now) / float64(max(r.Targets[i].weight, 1)) })
	return placing{key, func(i int) string {
		return fmt.Sprintf("%.3g calls under way for its weight of %d", r.Targets[i].load(q, now), r.Targets[i].weight)
	}, func(order []int, place int) float64 { return beginningAnywhere(len(r.Targets), order, place, key) }}
}

func (r *Route) placeByWait(q *Query, now time.Time) placing {
	key := one(func(i int) float64 { return r.Targets[i].wait(q, now) })
	return placing{key, func(i int) string {
		track := r.Targets[i].Track(q.model())
		expected := track.expected(q, now)
		if expected == 0 {
			return "nobody knows yet how fast it is"
		}
		return fmt.Sprintf("%s until the first content, with %d calls under way", expected.Round(time.Millisecond), track.inFlight.Load())
	}, func(order []int, place int) float64 { return betterOfTwo(order, place, key) }}
}

func (r *Route) placeByQuality(q *Query) placing {
	return placing{func(i int) [2]float64 { return [2]float64{-r.Targets[i].quality, priced(q, r.Targets[i])} }, func(i int) string {
		return fmt.Sprintf("its quality is %g, and %s", r.Targets[i].quality, costs(q.Price(r.Targets[i])))
	}, surely}
}

// beginningAnywhere is the chance of a target where the first of the best is taken, from any of n places on.
func beginningAnywhere(n int, order []int, place int, key func(i int) [2]float64) float64 {
	wins := 0
	for start := range n {
		nearest, found := n, -1
		for _, i := range order {
			if away := (i - start + n) % n; key(i) == key(order[0]) && away < nearest {
				nearest, found = away, i
			}
		}
		wins += count(found == order[place])
	}
	return float64(wins) / float64(n)
}

// betterOfTwo is the chance of a target where two are drawn and the better one is taken; equals share.
func betterOfTwo(order []int, place int, key func(i int) [2]float64) float64 {
	n := len(order)
	if n == 1 {
		return 1
	}
	wins := 0.0
	for other := range order {
		switch a, b := key(order[place])[0], key(order[other])[0]; {
		case other == place:
		case a < b:
			wins++
		case a == b:
			wins += 0.5
		}
	}
	return wins / (float64(n) * float64(n-1) / 2)
}

func costs(nano int64) string {
	if nano < 0 {
		return "nobody knows what it costs"
	}
	return fmt.Sprintf("it costs $%.6g", float64(nano)/1e9)
}

// explain tells how a target stands to a request. Why is empty where it is fit, and tooFull where its pool is.
func (t *Target) explain(q *Query, now time.Time) ExplainedTarget {
	track := t.Track(q.model())
	s := track.Standing(now)
	e := ExplainedTarget{Provider: t.Provider, Served: track.Model, State: s.State, InFlight: s.InFlight, Weight: t.weight, Quality: t.quality, Cached: track.Cached(),
		Price: q.Price(t), Expected: float64(track.expected(q, now).Microseconds()) / 1000}
	if t.when != nil {
		e.When = t.when.text
	}
	switch why := t.unfit(q, now); why {
	case notMeant:
		e.Why = "its condition does not fit: " + t.when.text
	case notReady:
		e.Why = s.unready(now)
	default:
		e.Why = why
	}
	if t.crowd != nil {
		e.Replicas = t.crowd.pool.explain(now, &PoolQuery{Model: track.Model, ByPrefix: t.route.ByPrefix(), Whole: !q.Stream, Prefix: q.Prefix})
	}
	return e
}

// unready says why a target is left alone.
func (s *Standing) unready(now time.Time) string {
	in := func(at time.Time) string { return at.Sub(now).Round(time.Second / 10).String() }
	switch {
	case s.Forced == ForceOpen:
		return "it was taken out of service by hand"
	case !s.Resting.IsZero():
		return "it rests for " + in(s.Resting) + ", as its provider asked"
	case !s.Until.IsZero():
		return "its breaker is open (" + s.Cause + ") for " + in(s.Until)
	}
	return "its breaker is " + s.State + " (" + s.Cause + "), and as many probes as may be are under way"
}

// fullness says how a target's pool is full.
func (t *Target) fullness(now time.Time) string {
	c := t.crowd
	why := tooFull + ", so it is asked when nobody else is left"
	if c.places != nil && c.places(c.provider) {
		return why + ": all places are taken"
	}
	l := c.pool.Load(now)
	if l.Ready == 0 {
		return why + ": no replica is fit"
	}
	return fmt.Sprintf("%s: %d requests wait at %d replicas, %.0f%% of their KV caches are in use", why, l.Waiting, l.Ready, l.KV*100)
}

// explain tells how each replica stands to a request, as Choose sees it.
func (p *Pool) explain(now time.Time, q *PoolQuery) (list []ExplainedReplica) {
	c := choice{p: p, set: p.set.Load(), t: p.clock(now), q: *q}
	var depth [poolPlaces]uint16
	if x := p.index.Load(); x != nil && q.ByPrefix {
		x.depths(c.set, q.Prefix, &depth)
	}
	chosen, _ := p.Choose(now, q)
	for i, r := range c.set.replicas {
		at := ExplainedReplica{Replica: r.Address, State: c.fit(r).String(), Queue: r.queue(c.t), Chosen: r == chosen}
		if i < len(depth) {
			at.Held = int(depth[i])
		}
		list = append(list, at)
	}
	return list
}
