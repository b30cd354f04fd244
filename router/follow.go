package router

import (
	"strings"
	"sync"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
)

// tracks are all that a config's targets have.
type tracks struct {
	onEvent func(Event)
	fixed   map[trackKey]*Track
	named   map[trackKey]*named
	changes []func() // of tracks that go on, once the config is in force
}

type trackKey struct{ route, provider, model string }

// named are the tracks of a target that is asked for many models, which only clients name.
type named struct {
	*lru.Cache[string, *Track]
	forced atomic.Int32 // what holds for those to come

	mu      sync.Mutex
	turn    int64             // of the last decision about all
	decided map[string]*Track // those that something else was decided about: clients cannot make the gateway forget these
}

// expect makes ready for a decision: what it means is followed, and what it says of all holds for those to come.
func (n *named) expect(t *Target, d Decision) {
	if d.Model != "" {
		t.Track(d.Model) // also before it is first asked for
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if d.Turn == 0 || d.Turn > n.turn {
		n.forced.Store(int32(d.Force))
		n.turn = max(n.turn, d.Turn)
	}
}

// hold keeps the tracks of a model, "" for all, that something else was decided about than what holds for all, or later. The
// others may be forgotten again.
func (n *named) hold(model string) {
	for _, track := range n.all() {
		if model == "" || track.Model == model {
			n.keep(track, track.decided(), Force(track.forced.Load()))
		}
	}
}

func (n *named) keep(track *Track, turn int64, f Force) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if turn <= n.turn && f == Force(n.forced.Load()) {
		delete(n.decided, track.Model)
		return
	}
	n.decided[track.Model] = track
}

// news tells a decision that is not known yet.
func (n *named) news(d Decision) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d.Model == "" {
		return d.Turn > n.turn
	}
	track := n.decided[d.Model]
	if track == nil {
		track, _ = n.Peek(d.Model)
	}
	if track == nil {
		return d.Turn > n.turn
	}
	return d.Turn > track.decided()
}

// add has the track be followed, unless there is one.
func (n *named) add(track *Track) *Track {
	n.mu.Lock()
	defer n.mu.Unlock()
	if old := n.decided[track.Model]; old != nil {
		track = old
	} else {
		track.forced.Store(n.forced.Load())
		track.turn = n.turn
	}
	if old, ok, _ := n.PeekOrAdd(track.Model, track); ok {
		return old
	}
	return track
}

// all are the tracks that are followed, each once.
func (n *named) all() []*Track {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.Values()
	for model, track := range n.decided {
		if !n.Contains(model) {
			list = append(list, track)
		}
	}
	return list
}

// maxTracks is how many models of one target are followed that only clients name.
const maxTracks = 1024

func newTracks(onEvent func(Event)) *tracks {
	return &tracks{onEvent: onEvent, fixed: map[trackKey]*Track{}, named: map[trackKey]*named{}}
}

// follow gives a target its track: that of a target of the same name before, if there was one.
func (all *tracks) follow(t *Target, prev *tracks) {
	key := trackKey{t.Route, t.Provider, t.Model}
	if t.Model == "" {
		all.followNamed(t, key, prev)
		return
	}
	if track := all.fixed[key]; track != nil { // the target stands twice
		t.track = track
		return
	}
	track := prev.fixed[key]
	if track == nil {
		track = newTrack(t, t.Model)
	} else {
		all.changes = append(all.changes, func() { track.configure(t.breaker); track.join(t) })
	}
	t.track, all.fixed[key] = track, track
}

func (all *tracks) followNamed(t *Target, key trackKey, prev *tracks) {
	if known := all.named[key]; known != nil {
		t.tracks = known
		return
	}
	known := prev.named[key]
	if known == nil {
		cache, _ := lru.New[string, *Track](maxTracks) // an error would be of the size
		known = &named{Cache: cache, decided: map[string]*Track{}}
	}
	t.tracks, all.named[key] = known, known
	all.changes = append(all.changes, func() {
		for _, track := range known.all() {
			track.configure(t.breaker)
			track.join(t)
		}
	})
}

func newTrack(t *Target, model string) *Track {
	track := &Track{Route: t.Route, Provider: t.Provider, Model: model, typed: t.Model == "", onEvent: t.onEvent}
	track.breaker = newBreaker(t.breaker, track.changed)
	track.recent.span = t.breaker.Window
	track.idle.Store(t.breaker.Off)
	track.join(t)
	return track
}

// Track is what is known of the target and the model that it is asked for.
func (t *Target) Track(model string) *Track {
	if t.track != nil {
		return t.track
	}
	if track, ok := t.tracks.Get(model); ok {
		return track
	}
	model = strings.Clone(model) // it is part of a request, whose memory the next one gets
	return t.tracks.add(newTrack(t, model))
}
