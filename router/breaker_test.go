package router

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/proxy/wire"
)

// What targets answer in these tests.
var (
	failing  = &wire.Error{Status: 502, Code: "upstream_error", Failover: true}
	limiting = &wire.Error{Status: 429, Code: codeLimited, Failover: true}
	refusing = &wire.Error{Status: 502, Code: codeAuth, Failover: true, Key: true}
	mistaken = &wire.Error{Status: 400, Type: wire.TypeInvalid}
	unable   = &wire.Error{Status: 400, Code: "unsupported_parameter", Failover: true}
	errGone  = errors.New("the client left")
)

// restingFor is a failure after which the target asks to be left alone.
func restingFor(e *wire.Error, d time.Duration) *wire.Error {
	own := *e
	own.Retry = d
	return &own
}

// told collects what a router tells of.
type told []string

func (l *told) event(e Event) { *l = append(*l, e.From+">"+e.State+" "+e.Cause) }

// newRoutes makes a router of models with the providers a to e.
func newRoutes(t testing.TB, models map[string]Model, prev *Router, on func(Event)) *Router {
	t.Helper()
	r, err := New(Setup{Models: models, Providers: []string{"a", "b", "c", "d", "e"}, OnEvent: on}, prev)
	if err != nil {
		t.Fatal(err)
	}
	r.Start()
	return r
}

// chat is a model with targets at these providers.
func chat(m Model, providers ...string) map[string]Model {
	for _, p := range providers {
		m.Targets = append(m.Targets, TargetConfig{Provider: p, Model: "m"})
	}
	return map[string]Model{"chat": m}
}

// newTestTrack is the track of one target that heeds its breaker.
func newTestTrack(t testing.TB, b Breaker, on func(Event)) *Track {
	r := newRoutes(t, chat(Model{Breaker: b}, "a", "b"), nil, on)
	route, _ := r.Find("chat")
	return route.Targets[0].track
}

// play makes calls one after the other: g is good, b fails, s is good but slow (2 s), a has our key refused, l is rate-limited
// without a time, c is the caller's mistake, u cannot be served there, n is left by its client, x is a stream that breaks off; a
// dot is a second. It returns how many were let through.
func play(track *Track, calls string) (through int) {
	for _, c := range calls {
		if c == '.' {
			time.Sleep(time.Second)
			continue
		}
		a, ok := track.enter()
		if !ok || !track.ready(time.Now()) && !a.probe {
			if ok {
				a.end(time.Now(), neutral)
			}
			continue
		}
		through++
		finish(&a, c)
	}
	return through
}

func finish(a *Attempt, c rune) {
	took := time.Millisecond
	if c == 's' {
		took = 2 * time.Second
		time.Sleep(took)
	}
	switch failure, fails := map[rune]error{'b': failing, 'a': refusing, 'l': limiting, 'c': mistaken, 'u': unable, 'n': errGone}[c]; {
	case fails:
		a.failed(time.Now(), failure)
	default:
		a.answered(time.Now(), took, false)
		if c == 'x' {
			a.End(failing)
		} else {
			a.End(nil)
		}
	}
}

func TestBreakerOpens(t *testing.T) {
	slow := Breaker{SlowAfter: time.Second, Window: time.Minute}
	for _, row := range []struct {
		name, calls string
		cfg         Breaker
		events      string
	}{
		{"nothing", "gggg", Breaker{}, ""},
		{"four failures in a row", "bbbb", Breaker{}, ""},
		{"five failures in a row", "bbbbb", Breaker{}, "closed>open consecutive"},
		{"one good call between", "bbbbgbbbb", Breaker{}, ""},
		{"what says nothing between", "bbcnubb", Breaker{}, ""},
		{"what says nothing between, and the fifth", "bbcnubbb", Breaker{}, "closed>open consecutive"},
		{"two are enough", "bb", Breaker{Consecutive: 2}, "closed>open consecutive"},
		{"half of ten", "bgbgbgbgbg", Breaker{}, ""},
		{"more than half of eleven", "bgbgbgbgbgb", Breaker{}, "closed>open error_rate"},
		{"more than half of nine", "bgbgbgbgb", Breaker{}, ""},
		{"more than half of five, which suffice", "bgbgb", Breaker{MinCalls: 5}, "closed>open error_rate"},
		{"a third is too much", "bggbggbggb", Breaker{ErrorRate: 0.33}, "closed>open error_rate"},
		{"failures of eleven seconds ago", "bgbgbgb...........gbgbg", Breaker{}, ""},
		{"failures of five seconds ago", "bgbgbgb.....gbgb", Breaker{}, "closed>open error_rate"},
		{"the window is shorter", "bgbgbgb.....gbgb", Breaker{Window: 4 * time.Second}, ""},
		{"the caller's mistakes", strings.Repeat("c", 100), Breaker{}, ""},
		{"what cannot be served", strings.Repeat("u", 100), Breaker{}, ""},
		{"clients that leave", strings.Repeat("n", 100), Breaker{}, ""},
		{"our key is refused", "gga", Breaker{}, "closed>open auth"},
		{"limited without a time: one request may be too large", strings.Repeat("l", 20), Breaker{}, ""},
		{"streams that break off", "xxxxx", Breaker{}, "closed>open consecutive"},
		{"slow, but that is no matter", strings.Repeat("s", 20), Breaker{Window: time.Minute}, ""},
		{"eight of ten are slow", "ssssssssgg", slow, ""},
		{"nine of ten are slow", "sssssgssss", slow, "closed>open slow_rate"},
		{"nine slow calls", "sssssssss", slow, ""},
		{"off", "bbbbbbbbbb", Breaker{Off: true}, "closed>open consecutive"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var events told
			play(newTestTrack(t, row.cfg, events.event), row.calls)
			if got := strings.Join(events, ", "); got != row.events {
				t.Errorf("%s: %q, want %q", row.name, got, row.events)
			}
		})
	}
}

// An open breaker lets nothing through until its time is over, and then so many probes, all of which must succeed.
func TestBreakerProbes(t *testing.T) {
	const open = "bbbbb"
	for _, row := range []struct {
		name, calls string
		cfg         Breaker
		through     int
		events      string
	}{
		{"nothing while it is open", open + "ggg........ggg", Breaker{}, 5, ""},
		{"two good probes close it", open + "...........gg", Breaker{}, 7, "open>half-open consecutive, half-open>closed "},
		{"then four failures are as few as before", open + "...........ggbbbb", Breaker{}, 11, "open>half-open consecutive, half-open>closed "},
		{"a bad one opens it", open + "...........gb", Breaker{}, 7, "open>half-open consecutive, half-open>open probe"},
		{"for as long again", open + "...........b........g", Breaker{}, 6, "open>half-open consecutive, half-open>open probe"},
		{"and no longer", open + "...........b...........gg", Breaker{}, 8, "open>half-open consecutive, half-open>open probe, open>half-open probe, half-open>closed "},
		{"one that says nothing is made good", open + "...........ncugg", Breaker{}, 10, "open>half-open consecutive, half-open>closed "},
		{"a key that is refused still", "a...........a", Breaker{}, 2, "open>half-open auth, half-open>open auth"},
		{"a slow one", open + "...........s", Breaker{SlowAfter: time.Second}, 6, "open>half-open consecutive, half-open>open slow_rate"},
		{"one probe", open + "...........g", Breaker{Probes: 1}, 6, "open>half-open consecutive, half-open>closed "},
		{"a shorter time", open + "..gg", Breaker{Open: time.Second}, 7, "open>half-open consecutive, half-open>closed "},
	} {
		synctest.Test(t, func(t *testing.T) {
			var events told
			through := play(newTestTrack(t, row.cfg, events.event), row.calls)
			if got := strings.Join(events[1:], ", "); got != row.events || through != row.through {
				t.Errorf("%s: %d calls and %q, want %d and %q", row.name, through, got, row.through, row.events)
			}
		})
	}
}

// No more probes than there may be are under way at a time, and who never comes back blocks nobody but himself.
func TestProbesAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		track := newTestTrack(t, Breaker{Probes: 2}, nil)
		play(track, "bbbbb...........")
		first, ok1 := track.enter()
		second, ok2 := track.enter()
		if _, ok := track.enter(); ok || !ok1 || !ok2 || track.ready(time.Now()) {
			t.Errorf("probes: %v %v, and a third %v", ok1, ok2, ok)
		}
		finish(&first, 'n')
		if third, ok := track.enter(); !ok {
			t.Error("the first was given up, and there is no room for another")
		} else {
			finish(&third, 'g')
		}
		if s := track.Standing(time.Now()); s.State != "half-open" || s.InFlight != 1 {
			t.Errorf("%+v", s)
		}
		finish(&second, 'g')
		if s := track.Standing(time.Now()); s.State != "closed" || s.InFlight != 0 || s.Cause != "" {
			t.Errorf("%+v", s)
		}
	})
}

// What began before a change of the state says nothing of the new one.
func TestBreakerEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		track := newTestTrack(t, Breaker{}, nil)
		var early [12]Attempt
		for i := range early {
			early[i], _ = track.enter()
		}
		play(track, "bbbbb...........")
		probe, _ := track.enter()
		for i := range 6 {
			finish(&early[i], 'b')
		}
		if s := track.Standing(time.Now()); s.State != "half-open" || !track.ready(time.Now()) {
			t.Errorf("calls from before count: %+v", s)
		}
		finish(&probe, 'g')
		play(track, "g")
		for i := range 6 {
			finish(&early[6+i], 'b')
		}
		if s := track.Standing(time.Now()); s.State != "closed" || s.InFlight != 0 {
			t.Errorf("calls from before count: %+v", s)
		}
	})
}

// A stream counts when it ends, among the calls that end then.
func TestStreamsCountAtTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		track := newTestTrack(t, Breaker{}, nil)
		var streams [6]Attempt
		for i := range streams {
			streams[i], _ = track.enter()
			streams[i].answered(time.Now(), time.Millisecond, false)
		}
		time.Sleep(time.Minute)
		play(track, "ggggg")
		for i := range 4 {
			streams[i].End(failing)
		}
		if s := track.Standing(time.Now()); s.State != "closed" {
			t.Errorf("4 of 9: %+v", s)
		}
		play(track, "g") // so that no five fail in a row
		streams[4].End(failing)
		if s := track.Standing(time.Now()); s.State != "closed" {
			t.Errorf("5 of 11: %+v", s)
		}
		streams[5].End(mistaken) // a guard refused the answer
		play(track, "bb")
		if s := track.Standing(time.Now()); s.State != "closed" || s.InFlight != 0 {
			t.Errorf("7 of 14: %+v", s)
		}
		if play(track, "b"); track.Standing(time.Now()).Cause != causeErrors {
			t.Errorf("8 of 15: %+v", track.Standing(time.Now()))
		}
	})
}

// An answer that a bug of the gateway's ended, or its own end, says nothing of the target.
func TestOwnFailures(t *testing.T) {
	track := newTestTrack(t, Breaker{}, nil)
	for range 100 {
		for _, own := range []error{&wire.Error{Status: 500, Code: "internal_error"}, &wire.Error{Status: 503, Code: "shutting_down"}} {
			a, _ := track.enter()
			a.answered(time.Now(), time.Millisecond, false)
			a.End(own)
			a.End(failing) // the second end is none
		}
		for _, own := range []error{&wire.Error{Status: 503, Code: codeBusy, Failover: true, Retry: time.Second}, &wire.Error{Status: 429, Code: "insufficient_quota", Failover: true, Final: true},
			&wire.Error{Status: 502, Code: codeConfig, Failover: true}, &wire.Error{Status: 504, Code: "timeout"}} {
			a, _ := track.enter()
			a.failed(time.Now(), own)
		}
	}
	if s := track.Standing(time.Now()); s.State != "closed" || !s.Resting.IsZero() || s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
}

// The breakers of many gateways do not try again all at once.
func TestBreakerJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shortest, longest := time.Hour, time.Duration(0)
		for range 200 {
			track := newTestTrack(t, Breaker{Open: 10 * time.Second}, nil)
			play(track, "bbbbb")
			d := time.Until(track.Standing(time.Now()).Until)
			shortest, longest = min(shortest, d), max(longest, d)
		}
		if shortest < 9*time.Second || longest > 11*time.Second || longest-shortest < time.Second {
			t.Errorf("from %s to %s", shortest, longest)
		}
	})
}
