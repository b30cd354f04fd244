package state

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Of denials and security events only the first of each source is recorded at once. What it repeats within the minute is
// counted and becomes one entry at its end. Whoever comes when many sources have been seen is only counted, by action: from
// many addresses, too, a flood writes so much a minute and no more. Neither strangers nor the keys of one tenant can take all
// the places, so that nobody hides behind his own flood what others do.

const (
	floodLasts  = time.Minute
	mostSources = 64 // that have an entry of their own,
	mostOfOne   = 16 // of one tenant, or of strangers
	mostCounts  = 32 // of those who came too late, by action
)

// flood counts. Its zero value is ready.
type flood struct {
	mu    sync.Mutex
	began time.Time
	seen  map[source]*Entry // what will be recorded when the minute ends, if it has repeats
	own   int               // sources that have an entry of their own,
	each  map[string]int    // of a tenant
}

// source is what makes entries the like of each other.
type source struct {
	kind                        Kind
	actor, action, tenant, from string
}

// admit tells whether an entry is to be recorded, and counts it if not.
func (f *flood) admit(e *Entry, now time.Time) bool {
	if e.Kind != Denial && e.Kind != Security {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) == 0 {
		f.seen, f.own, f.each, f.began = map[source]*Entry{}, 0, map[string]int{}, now
	}
	of := source{e.Kind, e.Actor, e.Action, e.Tenant, network(e.From)}
	like, again := f.seen[of]
	if !again && f.own < mostSources && f.each[of.tenant] < mostOfOne {
		f.seen[of] = of.entry()
		f.own++
		f.each[of.tenant]++
		return true
	}
	if !again {
		like = f.others(of)
	}
	like.Repeats++
	like.At = e.At
	return false
}

// others is the count of sources that came too late.
func (f *flood) others(of source) *Entry {
	of = source{kind: of.kind, action: of.action}
	if f.seen[of] == nil && len(f.seen)-f.own >= mostCounts {
		of.action = ""
	}
	if f.seen[of] == nil {
		f.seen[of] = of.entry()
	}
	return f.seen[of]
}

func (of source) entry() *Entry {
	return &Entry{Kind: of.kind, Actor: of.actor, Action: of.action, Tenant: of.tenant, From: of.from}
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
