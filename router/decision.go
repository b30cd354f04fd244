package router

import (
	"cmp"
	"slices"
	"time"
)

// Decision is what somebody has decided by hand about a target: an entry of models, the provider, and the provider's name for the
// model, "" for all of them.
type Decision struct {
	Route, Provider, Model string
	Force                  Force
	Turn                   int64 // of all decisions that gateways share, in their order; 0: it is this gateway's alone as yet
}

// means tells a decision about the target.
func (d *Decision) means(t *Target) bool {
	return t.Route == d.Route && t.Provider == d.Provider && (t.Model == "" || d.Model == "" || t.Model == d.Model)
}

// Force puts a decision in force, but not where a later one holds. It returns how each target that is meant stood before and
// stands now; found is false where there is none.
func (r *Router) Force(d Decision) (changes [][2]Standing, found bool) {
	now := time.Now()
	seen := map[*Track]bool{}
	for _, t := range r.targets {
		if !d.means(t) {
			continue
		}
		found = true
		if t.tracks != nil {
			t.tracks.expect(t, d)
		}
		for track := range t.followed {
			if seen[track] || d.Model != "" && track.Model != d.Model {
				continue
			}
			seen[track] = true
			before := track.Standing(now)
			track.decide(d)
			changes = append(changes, [2]Standing{before, track.Standing(now)})
		}
		if t.tracks != nil {
			t.tracks.hold(d.Model)
		}
	}
	return changes, found
}

// Heed puts in force what was decided elsewhere, or before a restart, as far as that is not known yet. It returns what stands
// otherwise now. The order of the list does not matter.
func (r *Router) Heed(list []Decision) (changed [][2]Standing) {
	latest := slices.Clone(list)
	slices.SortFunc(latest, func(a, b Decision) int { return cmp.Compare(b.Turn, a.Turn) }) // so that nothing is put in force for a moment only
	for _, d := range latest {
		if !r.news(d) {
			continue
		}
		changes, _ := r.Force(d)
		for _, c := range changes {
			if c[0].Forced != c[1].Forced {
				changed = append(changed, c)
			}
		}
	}
	return changed
}

// news tells a decision that something of what it means does not know yet.
func (r *Router) news(d Decision) bool {
	for _, t := range r.targets {
		if !d.means(t) {
			continue
		}
		if t.tracks != nil && t.tracks.news(d) {
			return true
		}
		if t.track != nil && t.track.decided() < d.Turn {
			return true
		}
	}
	return false
}
