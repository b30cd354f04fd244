package router

import (
	"strings"
	"testing"
	"time"
)

func TestSpillThresholds(t *testing.T) {
	load := func(told, ready, waiting int, kv float64) PoolLoad {
		return PoolLoad{Ready: ready, Told: told, Waiting: waiting, KV: kv, Unanswered: 40}
	}
	for _, c := range []struct {
		spill  Spill
		load   PoolLoad
		before bool
		want   bool
	}{
		{Spill{Waiting: 10}, load(2, 2, 19, 0), false, false},
		{Spill{Waiting: 10}, load(2, 2, 20, 0), false, true},
		{Spill{Waiting: 10}, load(2, 2, 16, 0), true, true},
		{Spill{Waiting: 10}, load(2, 2, 15, 0), true, false},
		{Spill{Waiting: 10}, load(0, 2, 0, 0), false, true},  // nobody tells: 40 are awaited
		{Spill{Waiting: 21}, load(0, 2, 0, 0), false, false}, // on average of one
		{Spill{KV: 0.9}, load(2, 2, 99, 0.89), false, false},
		{Spill{KV: 0.9}, load(2, 2, 0, 0.9), false, true},
		{Spill{KV: 0.9}, load(2, 2, 0, 0.86), true, true},
		{Spill{KV: 0.9}, load(2, 2, 0, 0.84), true, false},
		{Spill{Waiting: 1000, KV: 1}, load(0, 0, 0, 0), false, true}, // nobody is fit
	} {
		if got := c.spill.beyond(c.load, c.before); got != c.want {
			t.Errorf("%+v %+v %v: %v", c.spill, c.load, c.before, got)
		}
	}
}

// A spill is for pools alone, and a pool that is full is asked when nothing else is left.
func TestSpillOfTargets(t *testing.T) {
	now := time.Now()
	pool := NewPool(PoolConfig{SlowStart: -1}, now)
	if err := pool.Set(now, []string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	full := false
	setup := Setup{Models: map[string]Model{"chat": {Targets: []TargetConfig{{Provider: "gpu", Model: "m", Spill: Spill{Waiting: 5}}, {Provider: "cloud", Model: "m"}}}},
		Providers: []string{"cloud", "gpu"}, Pools: map[string]*Pool{"gpu": pool}, Places: func(provider string) bool { return provider == "gpu" && full }}
	r, err := New(setup, nil)
	if err != nil {
		t.Fatal(err)
	}
	route, _ := r.Find("chat")
	report := func(waiting int) time.Time {
		now = now.Add(time.Second)
		for _, replica := range pool.Replicas() {
			replica.Report(now, Scrape{Running: 8, Waiting: waiting})
		}
		return now
	}
	for _, step := range []struct{ waiting, want int }{{0, 0}, {5, 1}, {4, 1}, {3, 0}} {
		if got := route.choose(nil, 0, report(step.waiting)); got != step.want {
			t.Errorf("with %d waiting at each: target %d", step.waiting, got)
		}
	}
	if got := route.choose(nil, 1<<1, report(50)); got != 0 {
		t.Errorf("the cloud was asked in vain, then: %d", got)
	}
	if full = true; route.choose(nil, 0, report(0)) != 1 {
		t.Error("no place at the pool, and it is asked")
	}
	setup.Models["chat"].Targets[1].Spill.KV = 0.5
	if _, err := New(setup, nil); err == nil || !strings.Contains(err.Error(), "models.chat.targets[1].spill: the provider cloud is no pool") {
		t.Error(err)
	}
}

// When nobody is fit, the one is asked whose requests failed longest ago, and of those who have the model, if somebody has it.
func TestResort(t *testing.T) {
	now := time.Now()
	pool := NewPool(PoolConfig{SlowStart: -1}, now)
	if err := pool.Set(now, []string{"a", "b", "c"}); err != nil {
		t.Fatal(err)
	}
	all := pool.Replicas()
	for i, r := range all {
		for range 3 {
			r.Probe(now, false)
		}
		turn := r.Begin(now, &PoolQuery{})
		turn.End(now.Add(time.Duration(3-i)*time.Second), EndedFailed)
	}
	now = now.Add(10 * time.Second)
	q := PoolQuery{Model: "m"}
	if r, why := pool.Choose(now, &q); r != nil || why != WhyDown || !pool.InDespair(now) {
		t.Fatalf("%v %v", r, why)
	}
	for i := range all {
		r, why := pool.Resort(now, &q)
		if want := all[2-i]; r != want || why != WhyDown {
			t.Errorf("%v %v, want %s", r, why, want.Address)
		}
		q.Tried = append(q.Tried, r)
	}
	if r, why := pool.Resort(now, &q); r != nil || why != WhyTried || pool.Desperate() != 3 {
		t.Errorf("%v %v %d", r, why, pool.Desperate())
	}
	all[0].List([]string{"m"})
	all[1].List([]string{"other"})
	all[2].Drain(now, true)
	q.Tried = nil
	if r, _ := pool.Resort(now, &q); r != all[0] {
		t.Errorf("%v has the model", r)
	}
	q.Model = "unheard of"
	if r, _ := pool.Resort(now, &q); r != all[1] {
		t.Errorf("%v", r)
	}
}

// A replica is slow by its whole answers too, whatever their length, and is forgiven.
func TestSlowWholeAnswers(t *testing.T) {
	now := time.Now()
	pool := NewPool(PoolConfig{SlowStart: -1}, now)
	if err := pool.Set(now, []string{"a", "b", "c"}); err != nil {
		t.Fatal(err)
	}
	all := pool.Replicas()
	q := PoolQuery{Whole: true}
	for round := range 12 {
		for i, r := range all {
			tokens := int64(50 + 400*(round%3))
			took := time.Duration(tokens) * 30 * time.Millisecond
			if i == 0 {
				took *= 6
			}
			turn := r.Begin(now, &q)
			turn.AnsweredWhole(now.Add(took), tokens)
			turn.End(now.Add(took), EndedOK)
		}
		now = now.Add(time.Second)
	}
	now = now.Add(2000 * time.Second / 10)
	slow := func(r *Replica) float64 { return r.View(now).Slowness }
	if slow(all[1]) > 1 || slow(all[2]) > 1 {
		t.Errorf("%v %v", slow(all[1]), slow(all[2]))
	}
	if v := all[0].View(now); v.Unanswered != 0 || v.InFlight != 0 {
		t.Errorf("%+v", v)
	}
	turn := all[0].Begin(now, &q)
	now = now.Add(9 * time.Second)
	turn.AnsweredWhole(now, 50)
	turn.End(now, EndedOK)
	if slow(all[0]) < 2 {
		t.Errorf("slow: %v", slow(all[0]))
	}
	now = now.Add(time.Minute)
	if slow(all[0]) > 1 {
		t.Errorf("a minute later: %v", slow(all[0]))
	}
}

// Failures of one replica are the pool's affair, those of several are the target's.
func TestSecluded(t *testing.T) {
	now := time.Now()
	pool := NewPool(PoolConfig{SlowStart: -1, Consecutive: 100, MinRequests: 100}, now)
	if err := pool.Set(now, []string{"a", "b", "c"}); err != nil {
		t.Fatal(err)
	}
	fail := func(i int, how Ending) {
		turn := pool.Replicas()[i].Begin(now, &PoolQuery{})
		turn.End(now, how)
	}
	want := func(when string, secluded bool) {
		t.Helper()
		if got := pool.secluded(now); got != secluded {
			t.Errorf("%s: %v", when, got)
		}
	}
	want("without failures", true)
	for range 5 {
		fail(0, EndedFailed)
	}
	want("one fails", true)
	fail(1, EndedFailed)
	want("one fails nearly always", true)
	fail(2, EndedFailed)
	fail(1, EndedFailed)
	want("several fail", false)
	fail(0, EndedRefused)
	want("one is out, two fail", false)
	if (*Pool)(nil).secluded(now) {
		t.Error("no pool")
	}
	single := NewPool(PoolConfig{SlowStart: -1}, now)
	if err := single.Set(now, []string{"a"}); err != nil {
		t.Fatal(err)
	}
	turn := single.Replicas()[0].Begin(now, &PoolQuery{})
	turn.End(now, EndedFailed)
	if single.secluded(now) {
		t.Error("there is no other")
	}
}
