package router

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// A target whose provider asks to be left alone is, for exactly as long.
func TestRest(t *testing.T) {
	const d = 7 * time.Second
	for name, row := range map[string]struct {
		failure error
		counts  bool
	}{"rate-limited": {restingFor(limiting, d), false}, "overloaded": {restingFor(failing, d), true}} {
		synctest.Test(t, func(t *testing.T) {
			track := newTestTrack(t, Breaker{}, nil)
			for range 5 {
				a, _ := track.enter()
				a.failed(time.Now(), row.failure)
			}
			a, _ := track.enter()
			a.failed(time.Now(), restingFor(limiting, time.Second)) // an answer that asks for less changes nothing
			if s := track.Standing(time.Now()); time.Until(s.Resting) != d || (s.State == "open") != row.counts {
				t.Errorf("%s: %+v", name, s)
			}
			if row.counts {
				track = newTestTrack(t, Breaker{}, nil)
				a, _ := track.enter()
				a.failed(time.Now(), row.failure)
			}
			if time.Sleep(d - 1); track.ready(time.Now()) {
				t.Errorf("%s: it is asked too early", name)
			}
			if time.Sleep(time.Nanosecond); !track.ready(time.Now()) || !track.Standing(time.Now()).Resting.IsZero() {
				t.Errorf("%s: it is not asked in time", name)
			}
		})
	}
}

// What is kept of models that only clients name outlives the requests that name them.
func TestTracksKeepNoRequest(t *testing.T) {
	r := newRoutes(t, nil, nil, nil)
	route, _ := r.Find("a/x")
	request := []byte("gpt-large")
	first := route.Targets[0].Track(unsafe.String(&request[0], len(request)))
	copy(request, "a secret ") // the memory's next use
	if again := route.Targets[0].Track("gpt-large"); again != first || again.Model != "gpt-large" {
		t.Errorf("it is kept as %q", first.Model)
	}
}

// A target that is the only one is asked whatever happened, and shows it all the same.
func TestLoneTarget(t *testing.T) {
	for name, row := range map[string]struct {
		m     Model
		heeds bool
	}{
		"alone":                     {Model{}, false},
		"alone, with a breaker":     {Model{Breaker: Breaker{Probes: 1}}, true},
		"alone, with a fallback":    {Model{Fallback: []string{"other"}}, true},
		"alone, the breaker is off": {Model{Fallback: []string{"other"}, Breaker: Breaker{Off: true}}, false},
	} {
		models := chat(row.m, "a")
		models["other"] = Model{Targets: []TargetConfig{{Provider: "b"}}}
		route, _ := newRoutes(t, models, nil, nil).Find("chat")
		track := route.Targets[0].track
		play(track, "bbbbbbb")
		a, _ := track.enter()
		a.failed(time.Now(), restingFor(limiting, time.Hour))
		s := track.Standing(time.Now())
		if track.ready(time.Now()) == row.heeds || s.State != "open" || s.Unheeded == row.heeds || s.Resting.IsZero() {
			t.Errorf("%s: ready is %v: %+v", name, track.ready(time.Now()), s)
		}
	}
}

// Off, the state is followed all the same: it closes once calls succeed again.
func TestOffIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events told
		track := newTestTrack(t, Breaker{Off: true}, events.event)
		play(track, "bbbbbgggg...........gg")
		if got := strings.Join(events, ", "); got != "closed>open consecutive, open>half-open consecutive, half-open>closed " {
			t.Error(got)
		}
	})
}

func TestForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events told
		track := newTestTrack(t, Breaker{}, events.event)
		under, _ := track.enter()
		if before := track.Force(ForceOpen); before != Automatic || play(track, "ggg") != 0 {
			t.Error("it is asked though nobody wants that")
		}
		under.failed(time.Now(), failing)
		track.Force(ForceClosed)
		if play(track, strings.Repeat("b", 30)+"a") != 31 || track.Standing(time.Now()).State != "closed" {
			t.Error("it is not asked though somebody wants that")
		}
		a, _ := track.enter()
		a.failed(time.Now(), restingFor(limiting, time.Second))
		if !track.ready(time.Now()) {
			t.Error("it rests though somebody wants it asked")
		}
		time.Sleep(time.Second)
		if before := track.Force(Automatic); before != ForceClosed || play(track, "bbbbb") != 5 || play(track, "g") != 0 {
			t.Error("the breaker does not decide again")
		}
		if track.Force(ForceClosed); play(track, "g") != 1 {
			t.Error("it is not asked though somebody wants that")
		}
		const want = "closed>open forced, open>closed forced, closed>open consecutive, open>closed forced"
		if got := strings.Join(events, ", "); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if s := track.Standing(time.Now()); s.InFlight != 0 || s.Forced != ForceClosed || s.Cause != causeForced {
			t.Errorf("%+v", s)
		}
	})
}

// A target is forced by its names, and one of a pattern for all models that clients name, also for those to come.
func TestForceByName(t *testing.T) {
	models := map[string]Model{
		"chat":  {Targets: []TargetConfig{{Provider: "a", Model: "m"}, {Provider: "a", Model: "m"}, {Provider: "a", Model: "n"}, {Provider: "b"}}},
		"gpt-*": {Targets: []TargetConfig{{Provider: "a"}, {Provider: "b"}}},
	}
	r := newRoutes(t, models, nil, nil)
	for _, row := range []struct {
		route, provider, model string
		changed                int
		found                  bool
	}{
		{"chat", "a", "m", 1, true}, {"chat", "a", "n", 1, true}, {"chat", "a", "", 2, true}, {"chat", "b", "chat", 1, true},
		{"chat", "c", "", 0, false}, {"chat", "a", "o", 0, false}, {"none", "a", "", 0, false},
		{"gpt-*", "a", "", 0, true}, {"gpt-*", "b", "gpt-5", 1, true},
	} {
		changes, found := r.Force(Decision{Route: row.route, Provider: row.provider, Model: row.model, Force: ForceOpen})
		if len(changes) != row.changed || found != row.found {
			t.Errorf("%+v: %v, %v", row, changes, found)
		}
		for _, c := range changes {
			if c[0].Forced == c[1].Forced && row.model != "" || c[1].State != "open" {
				t.Errorf("%+v: %+v", row, c)
			}
		}
	}
	route, _ := r.Find("gpt-6")
	for i, ready := range []bool{false, true} {
		if track := route.Targets[i].Track("gpt-6"); track.ready(time.Now()) != ready || track.Label() != "*" {
			t.Errorf("%s: ready is not %v", track.Provider, ready)
		}
	}
	if list := r.Standings(time.Now()); len(list) != 3+3 {
		t.Errorf("%+v", list)
	}
}

// What was decided about one model holds however many others clients come up with, also over a reload, until it is taken back.
func TestForceOutlivesInventedNames(t *testing.T) {
	models := map[string]Model{"gpt-*": {Targets: []TargetConfig{{Provider: "a"}, {Provider: "b"}}}}
	r := newRoutes(t, models, nil, nil)
	target := func(i int) *Target {
		route, _ := r.Find("gpt-5")
		return route.Targets[i]
	}
	flood := func() {
		for i := range maxTracks + 1 {
			target(0).Track(fmt.Sprint("gpt-", i, "-invented"))
			target(1).Track(fmt.Sprint("gpt-", i, "-invented"))
		}
	}
	stands := func() (forces [2]Force) {
		for i := range forces {
			forces[i] = target(i).Track("gpt-5").Standing(time.Now()).Forced
		}
		return forces
	}
	r.Force(Decision{"gpt-*", "a", "gpt-5", ForceOpen, 0})
	r.Force(Decision{"gpt-*", "b", "", ForceOpen, 0})
	r.Force(Decision{"gpt-*", "b", "gpt-5", Automatic, 0})
	flood()
	listed := 0
	for _, s := range r.Standings(time.Now()) {
		if s.Model == "gpt-5" {
			listed++
		}
	}
	if listed != 2 {
		t.Errorf("decided about twice, listed %d times", listed)
	}
	if got := stands(); got != [2]Force{ForceOpen, Automatic} {
		t.Errorf("undone by names that were made up: %v", got)
	}
	flood()
	r = newRoutes(t, models, r, nil)
	if got := stands(); got != [2]Force{ForceOpen, Automatic} {
		t.Errorf("undone by a reload: %v", got)
	}
	r.Force(Decision{"gpt-*", "a", "gpt-5", Automatic, 0})
	r.Force(Decision{"gpt-*", "b", "", ForceClosed, 0})
	if got := stands(); got != [2]Force{Automatic, ForceClosed} {
		t.Errorf("not taken back: %v", got)
	}
	for i := range 2 {
		if n := len(target(i).tracks.decided); n != 0 {
			t.Errorf("%d decisions are kept that say what holds anyway", n)
		}
	}
}

// State goes on over a reload, whatever the settings are then, and a config that is refused, or only checked, changes nothing.
func TestReloadKeepsState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events told
		first := newRoutes(t, chat(Model{Breaker: Breaker{Open: 10 * time.Second}}, "a", "b", "c", "d"), nil, events.event)
		track := func(r *Router, i int) *Track {
			route, _ := r.Find("chat")
			return route.Targets[i].track
		}
		play(track(first, 0), "bbbbb")
		until := track(first, 0).Standing(time.Now()).Until
		play(track(first, 1), "gbgbgbg")
		track(first, 2).Force(ForceOpen)
		limited, _ := track(first, 3).enter()
		limited.failed(time.Now(), restingFor(limiting, time.Minute))
		under, _ := track(first, 1).enter()
		shown := first.Standings(time.Now())

		strict := chat(Model{Breaker: Breaker{Open: 3 * time.Second, Consecutive: 2, ErrorRate: 0.1}}, "a", "b", "c", "d")
		if _, err := New(Setup{Models: strict, Providers: []string{"a"}}, first); err == nil {
			t.Error("a config without the providers is taken")
		}
		if _, err := New(Setup{Models: strict, Providers: []string{"a", "b", "c", "d"}}, first); err != nil {
			t.Error(err)
		}
		if same := first.Standings(time.Now()); len(same) != len(shown) || track(first, 0).breaker.cfg.Consecutive != 5 {
			t.Errorf("a config that is not in force is heeded: %+v", same)
		}

		lenient := newRoutes(t, chat(Model{Breaker: Breaker{Open: time.Hour, Consecutive: 8}}, "a", "b", "c", "d"), first, events.event)
		if s := track(lenient, 0).Standing(time.Now()); s.State != "open" || !s.Until.Equal(until) || s.Cause != causeRow {
			t.Errorf("%+v, until %s", s, until)
		}
		if track(lenient, 2).ready(time.Now()) || track(lenient, 3).ready(time.Now()) || !track(lenient, 1).ready(time.Now()) {
			t.Error("what was decided, or asked for, is forgotten")
		}
		under.failed(time.Now(), failing) // of before
		if play(track(lenient, 1), "bgb"); track(lenient, 1).Standing(time.Now()).Cause != causeErrors {
			t.Errorf("calls before the reload are forgotten: %+v", track(lenient, 1).Standing(time.Now()))
		}

		second := newRoutes(t, strict, lenient, events.event)
		if s := track(second, 0).Standing(time.Now()); s.State != "open" || time.Until(s.Until) > 4*time.Second {
			t.Errorf("it would rest for longer than it may now: %+v", s)
		}
		time.Sleep(4 * time.Second)
		probe, ok := track(second, 0).enter()
		third := newRoutes(t, chat(Model{Breaker: Breaker{Probes: 1}}, "a", "b", "c", "d"), second, events.event)
		if _, more := track(third, 0).enter(); !ok || more {
			t.Error("the probe under way is forgotten")
		}
		finish(&probe, 'g')
		if s := track(third, 0).Standing(time.Now()); s.State != "closed" || s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
		want := "closed>open consecutive, closed>open forced, closed>open error_rate, open>half-open consecutive, half-open>closed "
		if got := strings.Join(events, ", "); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	})
}

// A target that has gone and comes back begins anew.
func TestReloadForgets(t *testing.T) {
	first := newRoutes(t, chat(Model{}, "a", "b"), nil, nil)
	route, _ := first.Find("chat")
	play(route.Targets[0].track, "bbbbb")
	second := newRoutes(t, chat(Model{}, "b", "c"), first, nil)
	third := newRoutes(t, chat(Model{}, "a", "b"), second, nil)
	route, _ = third.Find("chat")
	if !route.Targets[0].track.ready(time.Now()) {
		t.Error("it is remembered")
	}
}

func TestSettingsAreChecked(t *testing.T) {
	bad := Model{Retry: Retry{Attempts: 11, Backoff: Range{time.Second, 2 * time.Hour}},
		Breaker: Breaker{Window: -time.Second, Open: time.Nanosecond, SlowAfter: -1, MinCalls: -1, Consecutive: 10_001, Probes: -5}}
	_, err := New(Setup{Models: chat(bad, "a"), Providers: []string{"a"}}, nil)
	for _, want := range []string{
		"models.chat.retry.attempts: must be from 1 to 10, not 11", "models.chat.retry.backoff: must end at 1h0m0s or before",
		"models.chat.breaker.window: must be at least 1ms", "models.chat.breaker.open: must be at least 1ms", "models.chat.breaker.slow_after: must be at least 1ms",
		"models.chat.breaker.min_calls: must be from 1 to 10000, not -1", "models.chat.breaker.consecutive: must be from 1 to 10000, not 10001", "models.chat.breaker.probes: must be from 1 to 10000, not -5",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}
