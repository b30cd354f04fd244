package router

import (
	"testing"
	"time"

	"jarvis-gateway/proxy/wire"
)

// racer is an Asker whose first target is slow.
type racer struct {
	script
	declines bool // the second attempt is not made after all
	won      bool
	errs     [2]error
	after    time.Duration
	spared   *Target
	running  [2]int64 // in flight while both were
}

func (r *racer) Race(t *Target, after time.Duration, spare func() *Target) (f Finish) {
	r.asked = append(r.asked, t)
	if len(r.asked) > 1 {
		return Finish{FirstErr: r.answers[t.Index]}
	}
	r.after = after
	if r.spared = spare(); r.spared == nil || r.declines {
		return Finish{FirstErr: r.errs[0]}
	}
	r.running = [2]int64{t.Track("").inFlight.Load(), r.spared.Track("").inFlight.Load()}
	return Finish{Second: r.spared, Won: r.won, FirstErr: r.errs[0], OtherErr: r.errs[1]}
}

func hedged(t *testing.T, h Hedge) (*Router, *Route) {
	t.Helper()
	r, err := New(Setup{Models: map[string]Model{"chat": {Hedge: h, Targets: []TargetConfig{{Provider: "a", Model: "m"}, {Provider: "b", Model: "m"}, {Provider: "c", Model: "m"}}}},
		Providers: []string{"a", "b", "c"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	route, _ := r.Find("chat")
	return r, route
}

func TestHedge(t *testing.T) {
	overloaded := &wire.Error{Status: 503, Failover: true}
	limited := &wire.Error{Status: 429, Failover: true}
	mistake := &wire.Error{Status: 400}
	for name, row := range map[string]struct {
		racer
		third    error // of the target that is asked when both have failed
		provider string
		err      error
		spared   string
		left     [2]int // failures that the tracks of a and b have seen
	}{
		"the first answers":              {racer: racer{errs: [2]error{nil, ErrLost}}, provider: "a", spared: "b"},
		"the second answers":             {racer: racer{won: true, errs: [2]error{ErrLost, nil}}, provider: "b", spared: "b"},
		"after the first failed":         {racer: racer{won: true, errs: [2]error{overloaded, nil}}, provider: "b", spared: "b", left: [2]int{1, 0}},
		"the second fails":               {racer: racer{errs: [2]error{nil, overloaded}}, provider: "a", spared: "b", left: [2]int{0, 1}},
		"both fail, the third answers":   {racer: racer{errs: [2]error{overloaded, overloaded}}, provider: "c", spared: "b", left: [2]int{1, 1}},
		"all fail":                       {racer: racer{errs: [2]error{overloaded, overloaded}}, third: limited, provider: "c", err: limited, spared: "b", left: [2]int{1, 1}},
		"the caller's mistake counts":    {racer: racer{errs: [2]error{mistake, overloaded}}, provider: "a", err: mistake, spared: "b", left: [2]int{0, 1}},
		"also where the second tells it": {racer: racer{errs: [2]error{overloaded, mistake}}, provider: "b", err: mistake, spared: "b", left: [2]int{1, 0}},
		"the second is not made":         {racer: racer{declines: true}, provider: "a", spared: "b"},
		"nor after the first has failed": {racer: racer{declines: true, errs: [2]error{overloaded, nil}}, provider: "b", spared: "b", left: [2]int{1, 0}},
		"the client leaves":              {racer: racer{errs: [2]error{ErrLeft, ErrLeft}}, provider: "a", err: ErrLeft, spared: "b"},
	} {
		t.Run(name, func(t *testing.T) {
			_, route := hedged(t, Hedge{After: After{Time: 30 * time.Millisecond}})
			s := &row.racer
			s.answers = []error{nil, nil, row.third}
			before := route.hedge.extra.saved.Load()
			target, attempt, err := route.Do(s)
			if target.Provider != row.provider || err != row.err || s.spared == nil || s.spared.Provider != row.spared || s.after != 30*time.Millisecond {
				t.Errorf("%s, error %v, spared %v, after %s", target.Provider, err, s.spared, s.after)
			}
			if want := [2]int64{1, 1}; !s.declines && s.running != want {
				t.Errorf("in flight: %v", s.running)
			}
			if used := before - route.hedge.extra.saved.Load(); s.declines != (used == 0) {
				t.Errorf("of the allowance %d were used", used)
			}
			attempt.End(nil)
			for i, target := range route.Targets {
				if n := target.Track("").inFlight.Load(); n != 0 {
					t.Errorf("%s has %d in flight", target.Provider, n)
				}
				if _, failed := target.Track("").outcomes(time.Now()); i < 2 && failed != row.left[i] {
					t.Errorf("%s: %d failures", target.Provider, failed)
				}
			}
		})
	}
}

// A bug in the second attempt ends both.
func TestHedgeBug(t *testing.T) {
	_, route := hedged(t, Hedge{After: After{Time: time.Millisecond}})
	func() {
		defer func() { _ = recover() }()
		_, _, _ = route.Do(&broken{})
	}()
	for _, target := range route.Targets {
		if n := target.Track("").inFlight.Load(); n != 0 {
			t.Errorf("%s has %d in flight", target.Provider, n)
		}
	}
}

type broken struct{ script }

func (b *broken) Race(_ *Target, _ time.Duration, spare func() *Target) Finish {
	spare()
	panic("BUG")
}

// Extra calls are so many of all, and no more.
func TestHedgeAllowance(t *testing.T) {
	_, route := hedged(t, Hedge{After: After{Time: time.Millisecond}, MaxExtra: 0.1})
	const all = 5000
	extra := 0
	for range all {
		s := &racer{errs: [2]error{nil, ErrLost}}
		_, attempt, err := route.Do(s)
		if err != nil {
			t.Fatal(err)
		}
		if attempt.End(nil); s.spared != nil {
			extra++
		}
	}
	if extra < all/10 || extra > all/10+saving/whole {
		t.Errorf("%d of %d", extra, all)
	}
}

// The percentile is of the target's own times, among which one that was called off counts for as long as it took.
func TestHedgeAfter(t *testing.T) {
	_, route := hedged(t, Hedge{After: After{Percentile: 0.95}})
	track, now := route.Targets[0].Track(""), time.Now()
	s := &racer{errs: [2]error{ErrLost, nil}, won: true}
	s.answers, s.query.Stream = []error{nil, nil, nil}, true
	if _, attempt, err := route.Do(s); err != nil || s.after != 0 {
		t.Errorf("there are no times yet: after %s, %v", s.after, err)
	} else {
		attempt.End(nil)
	}
	for i := range 100 {
		d := 100 * time.Millisecond
		if i >= 96 {
			d = 3 * time.Second
		}
		track.times.add(now, d)
	}
	track.times.last.Store(nil)
	s.asked = nil
	_, attempt, err := route.Do(s)
	if err != nil || s.after < 90*time.Millisecond || s.after > 110*time.Millisecond {
		t.Errorf("after %s, %v", s.after, err)
	}
	attempt.End(nil)
	var sum [buckets]int64
	if n := track.times.gather(now.UnixNano(), &sum); n != 102 {
		t.Errorf("%d times: the one that lost must count", n)
	}
	if n := route.Targets[1].Track("").times.halves[0].n.Load() + route.Targets[1].Track("").times.halves[1].n.Load(); n != 1 {
		t.Errorf("%d times of the second", n)
	}
}

// A pool that is the only target is asked again elsewhere, as long as more than one of its replicas is fit.
func TestHedgeWithinAPool(t *testing.T) {
	pool := NewPool(PoolConfig{}, time.Now())
	if err := pool.Set(time.Now(), []string{"http://a", "http://b"}); err != nil {
		t.Fatal(err)
	}
	r, err := New(Setup{Models: map[string]Model{"chat": {Hedge: Hedge{After: After{Time: time.Millisecond}, MaxExtra: 0.5}, Targets: []TargetConfig{{Provider: "gpu", Model: "m"}}}},
		Providers: []string{"gpu"}, Pools: map[string]*Pool{"gpu": pool}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	route, _ := r.Find("chat")
	only := route.Targets[0]
	overloaded := &wire.Error{Status: 503, Failover: true}

	s := &racer{won: true, errs: [2]error{ErrLost, nil}}
	target, attempt, err := route.Do(s)
	if target != only || err != nil || s.spared != only || s.running != [2]int64{2, 2} {
		t.Errorf("%v, spared %v, %v in flight", err, s.spared, s.running)
	}
	attempt.End(nil)

	s = &racer{errs: [2]error{overloaded, overloaded}}
	if _, _, err = route.Do(s); err != error(overloaded) || len(s.asked) != 1 {
		t.Errorf("%v, asked %d times after both failed", err, len(s.asked))
	}

	pool.Replicas()[0].Drain(time.Now(), true)
	only.crowd.lookedAt.Store(0)
	s = &racer{}
	if _, attempt, err = route.Do(s); err != nil || s.spared != nil {
		t.Errorf("%v, spared %v, with one replica left", err, s.spared)
	}
	attempt.End(nil)
	if n := only.Track("").inFlight.Load(); n != 0 {
		t.Errorf("%d in flight", n)
	}

	pool.Replicas()[0].Drain(time.Now(), false)
	only.crowd.lookedAt.Store(0)
	extra := 0
	for range 1000 {
		s = &racer{errs: [2]error{nil, ErrLost}}
		if _, attempt, err = route.Do(s); err != nil {
			t.Fatal(err)
		}
		attempt.End(nil)
		extra += count(s.spared != nil)
	}
	if extra < 490 || extra > 500+saving/whole {
		t.Errorf("%d of 1000 hedged, of 50%% that may be", extra)
	}
}
