package state

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Of denials and security events only the first of each source is recorded at once. What it repeats within the minute is
// counted and becomes one entry at its end. Whoever comes when many sources have been seen is only counted, by what is still
// told of him: from many addresses, too, a flood writes so much a minute and no more. Neither strangers nor the keys of one
// tenant can take all the places, nor one key those of its tenant, so that nobody hides behind his own flood what others do.

const (
	floodLasts  = time.Minute
	mostSources = 128 // that have an entry of their own,
	mostOfOne   = 32  // of one tenant, or of strangers,
	mostOfActor = 8   // of one key, or of one stranger's address,
	mostTargets = 4   // of one key's one action: those it tried first
	mostCounts  = 32  // of those who came too late
)

// flood counts. Its zero value is ready.
type flood struct {
	mu     sync.Mutex
	began  time.Time
	seen   map[source]*Entry // what will be recorded when the minute ends, if it has repeats
	taken  map[source]int    // how many have an entry of their own: in all, and by the sources that they are part of
	counts int               // of those who came too late
}

// source is what makes entries the like of each other. With fields left out it stands for all that have the others.
type source struct {
	kind                                Kind
	actor, action, tenant, from, target string
}

// share is a part of the places: who has it, and how many it is.
type share struct {
	of   source
	most int
}

// shares are the parts of the places that a source needs one of each of.
func (of source) shares() [4]share {
	actor := source{kind: "of one actor", actor: of.actor, tenant: of.tenant}
	if of.tenant == "" {
		actor.from = of.from
	}
	return [...]share{{source{kind: "of all"}, mostSources}, {source{kind: "of one tenant", tenant: of.tenant}, mostOfOne}, {actor, mostOfActor}, {of.anywhere(), mostTargets}}
}

// anywhere is the source whatever its target.
func (of source) anywhere() source {
	of.target = ""
	return of
}

// admit tells whether an entry is to be recorded, and counts it if not.
func (f *flood) admit(e *Entry, now time.Time) bool {
	if e.Kind != Denial && e.Kind != Security {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) == 0 {
		f.seen, f.taken, f.counts, f.began = map[source]*Entry{}, map[source]int{}, 0, now
	}
	of := source{e.Kind, e.Actor, e.Action, e.Tenant, network(e.From), e.Target}
	like := f.seen[of]
	if like == nil && f.take(of) {
		f.seen[of] = of.entry()
		return true
	}
	if like == nil {
		like = f.others(of)
	}
	like.Repeats++
	like.At = e.At
	return false
}

// take takes a place, if there is one.
func (f *flood) take(of source) bool {
	shares := of.shares()
	for _, s := range shares {
		if f.taken[s.of] >= s.most {
			return false
		}
	}
	for _, s := range shares {
		f.taken[s.of]++
	}
	return true
}

// others is the count of sources that came too late: of one that has entries by its action, of the other keys by who they are, as
// long as there are few, and else by the action.
func (f *flood) others(of source) *Entry {
	if f.taken[of.anywhere()] > 0 {
		return f.count(of.anywhere())
	}
	if who := (source{kind: of.kind, actor: of.actor, tenant: of.tenant}); of.tenant != "" && (f.seen[who] != nil || f.counts < mostCounts/2) {
		return f.count(who)
	}
	if what := (source{kind: of.kind, action: of.action}); f.seen[what] != nil || f.counts < mostCounts {
		return f.count(what)
	}
	return f.count(source{kind: of.kind})
}

func (f *flood) count(of source) *Entry {
	if f.seen[of] == nil {
		f.seen[of] = of.entry()
		if f.taken[of] == 0 {
			f.counts++
		}
	}
	return f.seen[of]
}

func (of source) entry() *Entry {
	return &Entry{Kind: of.kind, Actor: of.actor, Action: of.action, Tenant: of.tenant, Target: of.target, From: of.from}
}

// end is what repeated, once the minute is over.
func (f *flood) end(now time.Time, all bool) (list []Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !all && now.Sub(f.began) < floodLasts {
		return nil
	}
	for _, e := range f.seen {
		if e.Repeats > 0 {
			list = append(list, *e)
		}
	}
	clear(f.seen)
	slices.SortFunc(list, func(a, b Entry) int { return a.At.Compare(b.At) })
	return list
}

// network is the address, or of IPv6 what one customer has.
func network(from string) string {
	addr, err := netip.ParseAddr(from)
	if err != nil || !addr.Is6() || addr.Is4In6() {
		return from
	}
	prefix, _ := addr.WithZone("").Prefix(64)
	return prefix.String()
}
