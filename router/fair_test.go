package router

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/proxy/wire"
)

// This file has what must not make a target look worse, or better, than it is.

// What never came to the provider says nothing of it, whatever it asks clients to wait.
func TestOwnFailuresAreNoTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, row := range map[string]struct {
			failure *wire.Error
			failed  int
			rests   bool
		}{
			"displaced from the bulkhead's line": {&wire.Error{Status: 503, Code: "overloaded", Failover: true, Own: true, Retry: 30 * time.Second}, 0, false},
			"a budget that is empty":             {&wire.Error{Status: 429, Code: "insufficient_quota", Failover: true, Own: true, Final: true}, 0, false},
			"likewise, without the mark":         {&wire.Error{Status: 429, Code: "insufficient_quota", Failover: true, Final: true}, 0, false},
			"no connection is left":              {&wire.Error{Status: 503, Code: codeBusy, Failover: true, Own: true, Retry: time.Second}, 0, false},
			"none of its servers is there":       {&wire.Error{Status: 503, Code: codeBusy, Failover: true, Retry: time.Second}, 20, false},
			"the provider limits us":             {limiting, 20, false},
			"the provider is overloaded":         {restingFor(&wire.Error{Status: 503, Code: "upstream_overloaded", Failover: true}, time.Second), 20, true},
		} {
			track := newTestTrack(t, Breaker{Consecutive: 100, MinCalls: 100}, nil)
			for range 20 {
				a, _ := track.enter()
				a.failed(time.Now(), row.failure)
			}
			if _, failed := track.outcomes(time.Now()); failed != row.failed || track.rest(time.Now()) > 0 != row.rests {
				t.Errorf("%s: %d failed calls, rests for %s", name, failed, track.rest(time.Now()))
			}
		}
	})
}

// Only a key that is refused opens a breaker at once: 403 is also said of a single request.
func TestOnlyARefusedKeyIsFatal(t *testing.T) {
	for _, ofKey := range []bool{true, false} {
		track := newTestTrack(t, Breaker{}, nil)
		for calls := 1; calls <= 5; calls++ {
			a, _ := track.enter()
			a.failed(time.Now(), &wire.Error{Status: 502, Code: codeAuth, Failover: true, Key: ofKey})
			if s := track.Standing(time.Now()); (s.State == "open") != (ofKey || calls == 5) {
				t.Errorf("of the key: %v, after %d: %+v", ofKey, calls, s)
			}
			if ofKey {
				break
			}
		}
	}
}

// A model that only clients name is not degraded before anybody has asked for it.
func TestDegradeOfAPatternBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := map[string]Model{
			"gpt-*": {Targets: []TargetConfig{{Provider: "a"}, {Provider: "b"}}, Degrade: []Degrade{{To: "small", When: Strain{ErrorRate: 0.3}}}},
			"small": {Targets: []TargetConfig{{Provider: "c"}}},
		}
		r := newRoutes(t, models, nil, nil)
		route, _ := r.Find("gpt-5")
		ask := func(Needs) *Query { return &Query{Model: "gpt-5"} }
		for range 3 {
			if to, d := r.Resolve(route, ask); to != route {
				t.Errorf("goes to %s: %s", to.Name, d)
			}
			time.Sleep(time.Second)
		}
		for _, target := range route.Targets {
			play(target.Track("gpt-5"), "bbbbb")
		}
		if to, _ := r.Resolve(route, ask); to == route {
			t.Error("it is not degraded though all of its targets are given up")
		}
	})
}

// paced is an Asker whose requests wait for their turn before the target is asked.
type paced struct {
	scripted
	stream        bool
	queued, takes time.Duration
	after         time.Duration // of the race
}

func (p *paced) Query(Needs) *Query { return &Query{Model: "m", Stream: p.stream} }

func (p *paced) Send(*Target) (Took, error) {
	time.Sleep(p.queued)
	begun := time.Now()
	time.Sleep(p.takes)
	return Took{Begun: begun, Whole: !p.stream}, nil
}

func (p *paced) Race(t *Target, after time.Duration, _ func() *Target) (f Finish) {
	p.after = after
	f.FirstTook, f.FirstErr = p.Send(t)
	return f
}

// A target is not slow because requests for it waited in the gateway. Whole answers count for thresholds, which somebody set who
// knows his requests, and not for the times until first contents.
func TestTimesAreTheTargets(t *testing.T) {
	for name, row := range map[string]struct {
		paced
		state string
		p95   time.Duration // of first contents
		all   time.Duration // of whole answers too
	}{
		"quick":             {paced{stream: true, takes: 100 * time.Millisecond}, "closed", 100 * time.Millisecond, 100 * time.Millisecond},
		"slow":              {paced{stream: true, takes: 3 * time.Second}, "open", 3 * time.Second, 3 * time.Second},
		"quick, but queued": {paced{stream: true, queued: 3 * time.Second, takes: 100 * time.Millisecond}, "closed", 100 * time.Millisecond, 100 * time.Millisecond},
		"whole":             {paced{takes: 3 * time.Second}, "open", 0, 3 * time.Second},
	} {
		for _, hedge := range []Hedge{{}, {After: After{Time: time.Hour}}} {
			synctest.Test(t, func(t *testing.T) {
				m := chat(Model{Hedge: hedge, Breaker: Breaker{SlowAfter: time.Second, Window: time.Hour, MinCalls: 30}}, "a")
				route, _ := newRoutes(t, m, nil, nil).Find("chat")
				for range 30 {
					_, a, err := route.Do(&row.paced)
					if err != nil {
						t.Fatal(name, err)
					}
					a.End(nil)
					time.Sleep(time.Millisecond)
				}
				now := time.Now()
				s := route.Targets[0].track.Standing(now)
				if got := s.P95; s.State != row.state || got < row.p95*9/10 || got > row.p95*11/10 {
					t.Errorf("%s: p95 %s, %+v", name, got, s)
				}
				if got := route.p95(now); got < 0.9*row.all.Seconds() || got > 1.1*row.all.Seconds() {
					t.Errorf("%s: degrades by %v s", name, got)
				}
			})
		}
	}
}

// A percentile is of requests alike: after most first contents have come, most whole answers have not.
func TestHedgesOfWholeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		route, _ := newRoutes(t, chat(Model{Hedge: Hedge{After: After{Percentile: 0.95}}, Breaker: idle}, "a", "b"), nil, nil).Find("chat")
		stream := paced{stream: true, takes: 100 * time.Millisecond}
		whole := paced{takes: 2 * time.Second}
		for range 22 {
			for _, p := range []*paced{&stream, &whole} {
				_, a, _ := route.Do(p)
				a.End(nil)
			}
		}
		near := func(d, want time.Duration) bool { return d > want*9/10 && d < want*11/10 }
		if !near(stream.after, stream.takes) || !near(whole.after, whole.takes) {
			t.Errorf("a second is asked after %s, of whole answers after %s", stream.after, whole.after)
		}
	})
}

// Probes that answer for long make room for others, but what they are worth is told at their end.
func TestLongProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		track := newTestTrack(t, Breaker{Probes: 2}, nil)
		play(track, "bbbbb...........")
		var long [3]Attempt
		for i := range long {
			var ok bool
			if long[i], ok = track.enter(); !ok || !track.ready(time.Now()) && i == 0 {
				t.Fatalf("the probe %d is not let through", i)
			}
			long[i].answered(time.Now(), time.Second, i == 1)
		}
		if s := track.Standing(time.Now()); s.State != "half-open" || !track.ready(time.Now()) {
			t.Errorf("before any has ended: %+v", s)
		}
		long[0].End(failing)
		if s := track.Standing(time.Now()); s.State != "open" {
			t.Errorf("one broke off: %+v", s)
		}
		long[1].End(nil)
		long[2].End(nil)
		play(track, "...........gg")
		if s := track.Standing(time.Now()); s.State != "closed" || s.InFlight != 0 || track.breaker.probing != 0 {
			t.Errorf("two good ones later: %+v, %d probes", s, track.breaker.probing)
		}
	})
}

// A client that leaves in the middle of an answer says nothing, also as a probe.
func TestLeavingIsNoSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		track := newTestTrack(t, Breaker{Probes: 1}, nil)
		play(track, "bbbb")
		leave := func() {
			a, _ := track.enter()
			a.answered(time.Now(), time.Millisecond, false)
			a.End(ErrLeft)
		}
		leave()
		if play(track, "b"); track.Standing(time.Now()).State != "open" {
			t.Error("who leaves interrupts a row of failures")
		}
		play(track, "...........")
		leave()
		if s := track.Standing(time.Now()); s.State != "half-open" || track.breaker.probing != 0 {
			t.Errorf("who leaves closes the breaker: %+v", s)
		}
		if play(track, "g"); track.Standing(time.Now()).State != "closed" {
			t.Error("a good probe does not close it")
		}
	})
}

// A share of nothing is not taken for one that is left open.
func TestZeroPercent(t *testing.T) {
	var p Percent
	for _, text := range []string{"0%", "0.0 %", " 0%"} {
		if err := p.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "0% is not to be had") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := p.UnmarshalText([]byte("0.1%")); err != nil || p != 0.001 {
		t.Error(p, err)
	}
	var s Share
	if err := s.UnmarshalText([]byte(">0%")); err != nil {
		t.Error("a bound may be 0%:", err)
	}
}

// Those who were told the same time to wait do not come back together.
func TestWaitsAfterARestVary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rest, to = 500 * time.Millisecond, 2 * time.Second
		r := newRoutes(t, chat(Model{Retry: Retry{Attempts: 2, Backoff: Range{time.Second, to}, Budget: 1}, Breaker: idle}, "a"), nil, nil)
		route, _ := r.Find("chat")
		shortest, longest := time.Hour, time.Duration(0)
		for range 200 {
			s := &scripted{answer: always(restingFor(limiting, rest))}
			if _, _, err := route.Do(s); err == nil || len(s.waits) != 1 {
				t.Fatal(err, s.waits)
			}
			shortest, longest = min(shortest, s.waits[0]), max(longest, s.waits[0])
			time.Sleep(time.Minute)
		}
		if shortest < rest || longest > rest+time.Second || longest-shortest < 900*time.Millisecond {
			t.Errorf("from %s to %s", shortest, longest)
		}
	})
}

// A reload fills no allowance, and a config that is only checked uses none up.
func TestReloadKeepsAllowances(t *testing.T) {
	models := chat(Model{Retry: Retry{Attempts: 3}, Hedge: Hedge{After: After{Time: time.Hour}}}, "a", "b")
	before := newRoutes(t, models, nil, nil)
	route, _ := before.Find("chat")
	direct, _ := before.Find("a/m")
	for _, a := range []*allowance{route.repeats, route.hedge.extra, direct.repeats} {
		for a.take() {
		}
	}
	after := newRoutes(t, models, before, nil)
	route, _ = after.Find("chat")
	direct, _ = after.Find("a/m")
	for i, a := range []*allowance{route.repeats, route.hedge.extra, direct.repeats} {
		if a.enough() {
			t.Errorf("the allowance %d is filled by a reload", i)
		}
	}
}

// The time of one who left is neither good nor bad: End takes any error.
func TestEndOfOtherErrors(t *testing.T) {
	for err, want := range map[error]verdict{ErrLeft: neutral, errors.New("x"): neutral, failing: bad, mistaken: good, &wire.Error{Status: 503, Failover: true, Own: true}: neutral} {
		if got := broke(err); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}
