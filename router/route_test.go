package router

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/proxy/wire"
)

// scripted is an Asker whose targets answer by a function, and whose waits take their time.
type scripted struct {
	answer  func(t *Target, nth int) error // nth: how often this target was asked, from 1
	asked   []*Target
	times   map[*Target]int
	waits   []time.Duration
	leaves  int // in this wait, from 1; 0: never
	hurries int // likewise
}

func (s *scripted) Query(Needs) *Query { return &Query{Model: "m"} }

func (s *scripted) Send(t *Target) (Took, error) {
	if s.times == nil {
		s.times = map[*Target]int{}
	}
	s.asked, s.times[t] = append(s.asked, t), s.times[t]+1
	return Took{}, s.answer(t, s.times[t])
}

func (s *scripted) Race(t *Target, _ time.Duration, _ func() *Target) Finish {
	_, err := s.Send(t)
	return Finish{FirstErr: err}
}

func (s *scripted) Wait(d time.Duration) error {
	s.waits = append(s.waits, d)
	switch len(s.waits) {
	case s.leaves:
		return ErrLeft
	case s.hurries:
		return ErrHurried
	}
	time.Sleep(d)
	return nil
}

func (s *scripted) names() string {
	var names []string
	for _, t := range s.asked {
		names = append(names, t.Provider)
	}
	return strings.Join(names, "")
}

// always has every target fail in the same way.
func always(err error) func(*Target, int) error { return func(*Target, int) error { return err } }

// byName has targets fail by their provider's name; the others answer.
func byName(failures map[string]error) func(*Target, int) error {
	return func(t *Target, _ int) error { return failures[t.Provider] }
}

var idle = Breaker{Off: true}

func TestRetries(t *testing.T) {
	backoff := Range{100 * time.Millisecond, 300 * time.Millisecond}
	for _, row := range []struct {
		name     string
		attempts int
		answer   func(*Target, int) error
		asked    string
		waits    []time.Duration // at most
		atLeast  bool            // and at most what a backoff ends at
		err      error
	}{
		{"no more than told", 1, always(failing), "ab", nil, false, failing},
		{"three rounds", 3, always(failing), "ababab", []time.Duration{100 * time.Millisecond, 200 * time.Millisecond}, false, failing},
		{"doubled up to the end", 5, always(failing), "ababababab", []time.Duration{1e8, 2e8, 3e8, 3e8}, false, failing},
		{"until one answers", 3, func(t *Target, nth int) error {
			if t.Provider == "b" && nth == 2 {
				return nil
			}
			return failing
		}, "abab", []time.Duration{1e8}, false, nil},
		{"a caller's mistake is final", 3, byName(map[string]error{"a": failing, "b": mistaken}), "ab", nil, false, mistaken},
		{"who cannot serve it is not asked again", 3, byName(map[string]error{"a": failing, "b": unable}), "abaa", []time.Duration{1e8, 2e8}, false, failing},
		{"nor who refuses our key", 3, byName(map[string]error{"a": refusing, "b": failing}), "abbb", []time.Duration{1e8, 2e8}, false, failing},
		{"nor who does not want to be", 3, always(&wire.Error{Status: 503, Failover: true, Final: true}), "ab", nil, false, nil},
		{"nobody can serve it", 3, always(unable), "ab", nil, false, unable},
		{"as long as they say", 2, always(restingFor(limiting, 250*time.Millisecond)), "abab", []time.Duration{250 * time.Millisecond}, true, nil},
		{"the first who may be asked", 2, byName(map[string]error{"a": restingFor(limiting, time.Hour), "b": restingFor(failing, 250*time.Millisecond)}), "abb", []time.Duration{250 * time.Millisecond}, true, nil},
		{"too long", 3, always(restingFor(limiting, 301*time.Millisecond)), "ab", nil, false, nil},
		{"one of them too long", 2, byName(map[string]error{"a": failing, "b": restingFor(limiting, time.Hour)}), "aba", []time.Duration{1e8}, false, failing},
	} {
		synctest.Test(t, func(t *testing.T) {
			models := chat(Model{Retry: Retry{Attempts: row.attempts, Backoff: backoff}, Breaker: idle}, "a", "b")
			r := newRoutes(t, models, nil, nil)
			route, _ := r.Find("chat")
			s := &scripted{answer: row.answer}
			_, a, err := route.Do(s)
			a.End(nil)
			if s.names() != row.asked || len(s.waits) != len(row.waits) || row.err != nil && err != row.err {
				t.Errorf("%s: asked %s, waited %v: %v", row.name, s.names(), s.waits, err)
				return
			}
			for i, most := range row.waits {
				if row.atLeast && (s.waits[i] < most || s.waits[i] > backoff.To) || !row.atLeast && s.waits[i] > most {
					t.Errorf("%s: waited %v, not %v", row.name, s.waits, row.waits)
				}
			}
			settled(t, row.name, r)
		})
	}
}

// settled fails when something is still counted as under way.
func settled(t testing.TB, name string, r *Router) {
	t.Helper()
	for track := range r.followed {
		if n := track.inFlight.Load(); n != 0 || track.breaker.probing != 0 {
			t.Errorf("%s: %d calls and %d probes under way at %s", name, n, track.breaker.probing, track.Provider)
		}
	}
}

// A wait is anything from nothing to all, so that what failed together does not come back together.
func TestJitterIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoutes(t, chat(Model{Retry: Retry{Attempts: 2, Backoff: Range{time.Second, time.Second}, Budget: 1}, Breaker: idle}, "a"), nil, nil)
		route, _ := r.Find("chat")
		var quarters [4]int
		for range 2000 {
			s := &scripted{answer: always(failing)}
			if _, _, err := route.Do(s); err == nil || len(s.waits) != 1 || s.waits[0] > time.Second {
				t.Fatal(err, s.waits)
			}
			quarters[min(3, int(4*s.waits[0]/time.Second))]++
		}
		for _, n := range quarters {
			if n < 400 || n > 600 {
				t.Errorf("not even: %v", quarters)
			}
		}
	})
}

// However many requests fail, repetitions stay a share of all calls, and nobody waits who will not be tried again.
func TestRetryBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoutes(t, chat(Model{Retry: Retry{Attempts: 4, Budget: 0.2}, Breaker: idle}, "a"), nil, nil)
		route, _ := r.Find("chat")
		calls, waits := 0, 0
		const storm = 5000
		for range storm {
			s := &scripted{answer: always(failing)}
			route.Do(s)
			calls, waits = calls+len(s.asked), waits+len(s.waits)
		}
		extra := calls - storm
		if most := storm/5 + saving/whole + 1; extra > most || extra < storm/5-1 || waits != extra {
			t.Errorf("%d extra calls, %d waits; at most %d", extra, waits, most)
		}
	})
}

// Who leaves while he waits ends it: nobody else is asked for him.
func TestLeavingEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := chat(Model{Retry: Retry{Attempts: 3}, Breaker: idle, Fallback: []string{"small"}}, "a", "b")
		models["small"] = Model{Targets: []TargetConfig{{Provider: "c"}}}
		r := newRoutes(t, models, nil, nil)
		route, _ := r.Find("chat")
		s := &scripted{answer: always(failing), leaves: 2}
		target, _, err := route.Do(s)
		if !errors.Is(err, ErrLeft) || s.names() != "abab" || target.Provider != "b" {
			t.Errorf("%s: %v", s.names(), err)
		}
		settled(t, "left", r)
	})
}

// Who does not wait that long is told of the failure, unless a fallback answers at once.
func TestHurryEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := chat(Model{Retry: Retry{Attempts: 3}, Breaker: idle}, "a")
		models["small"] = Model{Targets: []TargetConfig{{Provider: "c"}}}
		models["helped"] = chat(Model{Retry: Retry{Attempts: 3}, Breaker: idle, Fallback: []string{"small"}}, "a")["chat"]
		r := newRoutes(t, models, nil, nil)
		for name, want := range map[string]string{"chat": "a", "helped": "ac"} {
			route, _ := r.Find(name)
			s := &scripted{hurries: 1, answer: func(t *Target, _ int) error {
				if t.Provider == "a" {
					return failing
				}
				return nil
			}}
			_, attempt, err := route.Do(s)
			attempt.End(nil)
			if s.names() != want || name == "chat" && err != error(failing) || name == "helped" && err != nil {
				t.Errorf("%s: %s, %v", name, s.names(), err)
			}
		}
	})
}

func TestFallbackInTurn(t *testing.T) {
	for _, row := range []struct {
		name     string
		failures map[string]error
		asked    string
		target   string
		err      error
	}{
		{"none needed", nil, "a", "a", nil},
		{"the next target", map[string]error{"a": failing}, "ab", "b", nil},
		{"the next model", map[string]error{"a": failing, "b": limiting}, "abab" + "c", "c", nil},
		{"the one after it", map[string]error{"a": failing, "b": limiting, "c": failing}, "ababcd", "d", nil},
		{"a model that can serve it", map[string]error{"a": unable, "b": unable}, "abc", "c", nil},
		{"not of a caller's mistake", map[string]error{"a": failing, "b": mistaken}, "ab", "b", mistaken},
		{"none is left: the last", map[string]error{"a": failing, "b": limiting, "c": failing, "d": limiting, "e": failing}, "ababcdede", "e", failing},
		{"the last that time may mend", map[string]error{"a": failing, "b": limiting, "c": unable, "d": unable, "e": unable}, "ababcde", "a", failing},
	} {
		synctest.Test(t, func(t *testing.T) {
			models := chat(Model{Retry: Retry{Attempts: 2}, Breaker: idle, Fallback: []string{"small", "local"}}, "a", "b")
			models["small"] = Model{Targets: []TargetConfig{{Provider: "c"}}, Fallback: []string{"chat"}} // whose own fallback does not count
			models["local"] = Model{Targets: []TargetConfig{{Provider: "d"}, {Provider: "e"}}, Retry: Retry{Attempts: 2}}
			r := newRoutes(t, models, nil, nil)
			route, _ := r.Find("chat")
			s := &scripted{answer: byName(row.failures)}
			target, a, err := route.Do(s)
			a.End(nil)
			if s.names() != row.asked || target.Provider != row.target || err != row.err {
				t.Errorf("%s: asked %s, then %s: %v", row.name, s.names(), target.Provider, err)
			}
			settled(t, row.name, r)
		})
	}
}

// What nobody may be asked for is told with the time after which somebody may.
func TestNobodyIsFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		models := chat(Model{Fallback: []string{"small"}}, "a", "b")
		models["small"] = Model{Targets: []TargetConfig{{Provider: "c"}}, Breaker: Breaker{Open: time.Minute}}
		r := newRoutes(t, models, nil, nil)
		chat, _ := r.Find("chat")
		small, _ := r.Find("small")
		ask := func(route *Route, answer error) (*Target, *wire.Error, string) {
			s := &scripted{answer: always(answer)}
			target, a, err := route.Do(s)
			a.End(nil)
			failure, _ := errors.AsType[*wire.Error](err)
			return target, failure, s.names()
		}
		rest := func(route *Route, i int, d time.Duration) {
			a, _ := route.Targets[i].track.enter()
			a.failed(time.Now(), restingFor(limiting, d))
		}
		rest(chat, 0, 20*time.Second)
		rest(chat, 1, 10*time.Second)
		rest(small, 0, 5*time.Second)
		if target, e, asked := ask(chat, nil); target != nil || e.Status != 429 || e.Code != codeLimited || asked != "" {
			t.Errorf("all rest: %v, %s", e, asked)
		}
		if _, e, _ := ask(small, nil); e.Retry != 5*time.Second {
			t.Errorf("it rests for %s", e.Retry)
		}
		time.Sleep(10 * time.Second)
		play(small.Targets[0].track, "bbbbb")
		target, e, asked := ask(chat, failing)
		if target.Provider != "b" || e != failing || asked != "b" {
			t.Errorf("one fails and the others are not fit: %v, %s", e, asked)
		}
		if target, e, _ := ask(small, nil); target != nil || e.Status != 503 || e.Retry < 53*time.Second || e.Retry > 67*time.Second {
			t.Errorf("its breaker is open: %v after %s", e, e.Retry)
		}
		r.Force(Decision{"small", "c", "", ForceOpen, 0})
		if _, e, _ := ask(small, nil); e.Status != 503 || e.Retry != someTime {
			t.Errorf("by hand: %v after %s", e, e.Retry)
		}
		settled(t, "nobody", r)
	})
}

// A bug met while a target is asked leaves nothing behind, least of all the permit of a probe.
func TestBugsLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoutes(t, chat(Model{Breaker: Breaker{Probes: 1}}, "a", "b"), nil, nil)
		route, _ := r.Find("chat")
		play(route.Targets[0].track, "bbbbb...........")
		for range 3 {
			func() {
				defer func() { _ = recover() }()
				route.Do(&scripted{answer: func(*Target, int) error { panic("BUG: a test's") }})
			}()
		}
		settled(t, "bugs", r)
		s := &scripted{answer: always(nil)}
		_, a, _ := route.Do(s)
		if a.End(nil); s.names() != "a" || route.Targets[0].track.Standing(time.Now()).State != "closed" {
			t.Errorf("%s: %+v", s.names(), route.Targets[0].track.Standing(time.Now()))
		}
	})
}

// outcomesOf are the failures that random targets choose from.
var outcomesOf = []error{nil, nil, nil, nil, failing, failing, limiting, restingFor(limiting, 50*time.Millisecond), restingFor(failing, time.Second), refusing, mistaken, unable, errGone}

// FuzzDo plays requests with random answers, in a random config: whatever happens, nothing stays counted, no target is asked more
// often than it may be, breakers that are open let nothing through, and what is returned is what happened.
func FuzzDo(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) { playRandomly(t, rand.New(rand.NewPCG(seed, 1))) })
	})
}

func playRandomly(t *testing.T, random *rand.Rand) {
	m := Model{Retry: Retry{Attempts: 1 + random.IntN(4), Budget: Percent(random.Float64())}, Pick: picks[random.IntN(4)],
		Breaker: Breaker{Consecutive: 1 + random.IntN(6), MinCalls: 1 + random.IntN(20), Probes: 1 + random.IntN(3), Open: time.Duration(1+random.IntN(3000)) * time.Millisecond,
			SlowAfter: time.Duration(random.IntN(2)) * 20 * time.Millisecond}}
	models := chat(m, []string{"a", "b", "c"}[:1+random.IntN(3)]...)
	if random.IntN(2) == 0 {
		m = models["chat"]
		m.Fallback = []string{"small"}
		models["chat"] = m
		models["small"] = Model{Targets: []TargetConfig{{Provider: "d"}}, Retry: Retry{Attempts: 1 + random.IntN(2)}}
	}
	r := newRoutes(t, models, nil, nil)
	route, _ := r.Find("chat")
	var open []Attempt
	for range 200 {
		s := &scripted{answer: func(target *Target, nth int) error {
			if track := target.track; nth > target.route.retry.Attempts || !track.idle.Load() && track.shut.Load() && track.breaker.probing > track.breaker.cfg.Probes {
				t.Fatalf("%s is asked %d times; %+v", target.Provider, nth, track.Standing(time.Now()))
			}
			time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond)
			return outcomesOf[random.IntN(len(outcomesOf))]
		}, leaves: random.IntN(20)}
		target, a, err := route.Do(s)
		if n := len(s.asked); err == nil && target != s.asked[n-1] || n > 0 && target == nil || n > 0 && !slices.Contains(s.asked, target) {
			t.Fatalf("%v of %s: %v", target, s.names(), err)
		}
		if err == nil {
			open = append(open, a)
		}
		if len(open) > 0 && random.IntN(3) > 0 {
			i := random.IntN(len(open))
			open[i].End([]error{nil, nil, failing, mistaken}[random.IntN(4)])
			open = slices.Delete(open, i, i+1)
		}
		if random.IntN(20) == 0 {
			r.Force(Decision{Route: "chat", Provider: "a", Force: Force(random.IntN(3))})
		}
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
	}
	under := int64(0)
	for track := range r.followed {
		under += track.inFlight.Load()
	}
	if under != int64(len(open)) {
		t.Errorf("%d calls are counted as under way, of %d", under, len(open))
	}
	for i := range open {
		open[i].End(nil)
	}
	settled(t, fmt.Sprint(models), r)
}

// Many requests at once, while targets are forced and the config changes.
func TestDoAtOnce(t *testing.T) {
	model := func(i int) map[string]Model {
		return chat(Model{Retry: Retry{Attempts: 2, Backoff: Range{time.Microsecond, time.Millisecond}}, Pick: picks[i%5],
			Breaker: Breaker{Consecutive: 2 + i%3, Open: time.Millisecond, Probes: 1 + i%2}}, "a", "b", "c")
	}
	var events atomic.Int64
	on := func(Event) { events.Add(1) }
	var current atomic.Pointer[Router]
	first := newRoutes(t, model(0), nil, on)
	current.Store(first)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 400 {
				route, _ := current.Load().Find("chat")
				_, a, err := route.Do(&scripted{answer: func(*Target, int) error { return outcomesOf[rand.IntN(len(outcomesOf))] }})
				if err == nil {
					a.Used(100, 50)
					a.End([]error{nil, nil, failing}[rand.IntN(3)])
				}
			}
		})
	}
	all.Go(func() {
		for i := range 50 {
			r := current.Load()
			r.Force(Decision{Route: "chat", Provider: "a", Force: Force(i % 3)})
			current.Store(newRoutes(t, model(i), r, on))
			for _, s := range r.Standings(time.Now()) {
				if s.InFlight < 0 {
					t.Errorf("%+v", s)
				}
			}
		}
	})
	all.Wait()
	settled(t, "at once", current.Load())
	if events.Load() == 0 {
		t.Error("no breaker has changed")
	}
}

// answering is an Asker whose targets all answer.
type answering struct{ query Query }

func (a *answering) Query(Needs) *Query                                     { return &a.query }
func (a *answering) Send(*Target) (took Took, err error)                    { return took, err }
func (a *answering) Race(*Target, time.Duration, func() *Target) (f Finish) { return f }
func (a *answering) Wait(time.Duration) error                               { return nil }

// A request that is answered at once allocates nothing, whatever is kept of targets.
func TestDoAllocatesNothing(t *testing.T) {
	for name, m := range map[string]Model{"alone": {}, "heeded": {Breaker: Breaker{SlowAfter: time.Second}}, "tried again": {Retry: Retry{Attempts: 3}, Pick: "least_loaded"}} {
		route, _ := newRoutes(t, chat(m, "a", "b", "c"), nil, nil).Find("chat")
		s := &answering{}
		if n := testing.AllocsPerRun(1000, func() {
			_, a, _ := route.Do(s)
			a.Used(100, 10)
			a.End(nil)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkDo(b *testing.B) {
	route, _ := newRoutes(b, chat(Model{}, "a", "b", "c"), nil, nil).Find("chat")
	s := &answering{}
	for b.Loop() {
		_, a, _ := route.Do(s)
		a.End(nil)
	}
}
