package router

import (
	"cmp"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/proxy/wire"
)

// town is a router of models a to e, each with one target of its own name.
func town(t testing.TB, s Setup, models map[string]Model, prev *Router) *Router {
	t.Helper()
	s.Models, s.Providers = map[string]Model{}, []string{"p"}
	for _, name := range strings.Fields("a b c d e") {
		m := models[name]
		m.Targets = []TargetConfig{{Provider: "p"}}
		s.Models[name] = m
	}
	r, err := New(s, prev)
	if err != nil {
		t.Fatal(err)
	}
	r.Start()
	return r
}

func (r *Router) goes(q *Query) (path string) {
	route, d := r.Resolve(r.exact["a"], func(Needs) *Query { return q })
	if len(d) == 0 {
		return route.Name
	}
	return route.Name + " by " + d.String()
}

func TestRules(t *testing.T) {
	acme, long := When{Tenant: Names{"acme"}}, When{Text: "tokens > 1000"}
	r := town(t, Setup{}, map[string]Model{
		"a": {Rules: []Rule{{acme, "b"}, {long, "c"}}},
		"b": {Rules: []Rule{{long, "d"}}}, // which do not count for what a rule sent there
	}, nil)
	for want, q := range map[string]*Query{
		"a":           {Tenant: "other"},
		"b by rule:b": {Tenant: "acme", Tokens: 5000},
		"c by rule:c": {Tokens: 5000},
	} {
		if got := r.goes(q); got != want {
			t.Errorf("goes %s, want %s", got, want)
		}
	}
	if r.exact["c"].Diverts() || !r.exact["a"].Diverts() {
		t.Error("a model without rules is looked at")
	}
	if asked := r.exact["a"].turns.needs; asked != NeedsModel|NeedsWho|NeedsBody {
		t.Errorf("needs %b", asked)
	}
}

func TestDetoursAreChecked(t *testing.T) {
	one := []TargetConfig{{Provider: "p"}}
	_, err := New(Setup{Models: map[string]Model{
		"b": {Targets: one},
		"a": {Targets: one,
			Rules:   []Rule{{When{Tenant: Names{"x"}}, "c"}, {When{}, "b"}, {When{Text: "tenat"}, "b"}, {When{Text: "true"}, "a"}},
			Degrade: []Degrade{{To: "zoo", When: Strain{CPU: 0.9}}, {To: "b"}, {To: "b", When: Strain{CPU: 0.9}}}},
	}, Providers: []string{"p"}}, nil)
	for _, want := range []string{
		`models.a.rules[0].model: "c" is no other model (have: b)`, "models.a.rules[1].when: a condition is needed",
		"models.a.rules[2].when: the expression is wrong at its character 1: unknown name tenat (names: audio, ", `models.a.rules[3].model: "a" is no other model`,
		`models.a.degrade[0].to: "zoo" is no other model (have: b)`, "models.a.degrade[1].when: a threshold is needed", `models.a.degrade[2].to: "b" stands twice`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("not told: %s\n%v", want, err)
		}
	}
	_, err = New(Setup{Models: map[string]Model{"a": {Targets: []TargetConfig{{Provider: "p", When: When{Text: "1"}}}}}, Providers: []string{"p"}}, nil)
	if err == nil || !strings.Contains(err.Error(), "models.a.targets[0].when: the expression is wrong") {
		t.Error(err)
	}
}

// call is one call to a's target, that failed or took so long.
func (r *Router) call(failed bool, first time.Duration) {
	a, _ := r.exact["a"].Targets[0].track.enter()
	if failed {
		a.failed(time.Now(), &wire.Error{Status: 502, Failover: true})
		return
	}
	a.answered(time.Now(), first, false)
	a.End(nil)
}

func TestDegradeOnErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []Degraded
		config := map[string]Model{"a": {Breaker: Breaker{Off: true}, Degrade: []Degrade{{To: "b", When: Strain{ErrorRate: 0.3}, Hold: 20 * time.Second}}}}
		r := town(t, Setup{OnDegrade: func(d Degraded) { told = append(told, d) }}, config, nil)
		expect := func(when, want string) {
			t.Helper()
			if got := r.goes(nil); got != want {
				t.Errorf("%s: goes %s, want %s", when, got, want)
			}
		}
		calls := func(seconds, failOf10 int) {
			for range seconds {
				time.Sleep(time.Second)
				for i := range 10 {
					r.call(i < failOf10, time.Millisecond)
				}
				r.goes(nil)
			}
		}
		calls(10, 2)
		expect("two of ten fail", "a")
		calls(10, 4)
		expect("four of ten fail", "b by degrade:b")
		calls(10, 3)
		calls(30, 3)
		expect("not enough fewer fail", "b by degrade:b")
		calls(15, 2)
		expect("few fail, not for long", "b by degrade:b")
		calls(3, 5)
		calls(22, 2)
		expect("few fail, not for long without a break", "b by degrade:b")
		calls(15, 2)
		expect("few fail", "a")
		if want := []Degraded{{Model: "a", To: "b", Cause: "error_rate"}, {Model: "a", To: "b"}}; len(told) != 2 || told[0].Cause != want[0].Cause || told[1].Cause != "" {
			t.Errorf("told %v", told)
		}
		r.exact["a"].Targets[0].track.Force(ForceOpen)
		time.Sleep(time.Second)
		r.exact["a"].Targets[0].track.idle.Store(false)
		expect("none is fit to be asked", "b by degrade:b")
	})
}

func TestDegradeOnTimesAndQueueAndCPU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waiting := int64(0)
		r := town(t, Setup{Waiting: func() int64 { return waiting }}, map[string]Model{
			"a": {Degrade: []Degrade{{To: "b", When: Strain{P95: 2 * time.Second, Queue: 50, CPU: 0.9}, Hold: time.Second}}},
		}, nil)
		expect := func(when, want string) {
			t.Helper()
			time.Sleep(time.Second)
			r.goes(nil)
			time.Sleep(2 * time.Second)
			if got := r.goes(nil); got != want {
				t.Errorf("%s: goes %s, want %s", when, got, want)
			}
		}
		cause := func() string { return r.Degraded(time.Now())[0].Cause }
		for range 100 {
			r.call(false, time.Second)
		}
		expect("fast", "a")
		for range 10 {
			r.call(false, 5*time.Second)
		}
		expect("one in ten is slow", "b by degrade:b")
		if cause() != "p95" {
			t.Errorf("because of %q", cause())
		}
		time.Sleep(2 * time.Minute)
		expect("it was long ago", "a")
		waiting = 51
		expect("many wait", "b by degrade:b")
		waiting = 45
		expect("nearly as many wait", "b by degrade:b")
		waiting = 40
		expect("fewer wait", "a")
		r.cpu.busy.Store(0x3FEE666666666666) // 0.95
		r.cpu.next.Store(1 << 62)
		expect("the gateway is busy", "b by degrade:b")
		if cause() != "cpu" {
			t.Errorf("because of %q", cause())
		}
	})
}

// A budget that runs out concerns the one whose it is.
func TestDegradeOnBudgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := town(t, Setup{}, map[string]Model{"a": {Degrade: []Degrade{{To: "b", When: Strain{Spent: 0.9}, Hold: 10 * time.Second}}}}, nil)
		for i, row := range []struct {
			tenant string
			spent  float64
			after  time.Duration
			want   string
		}{
			{"acme", 0.89, 0, "a"}, {"acme", 0.91, 0, "b by degrade:b"}, {"other", 0.5, 0, "a"}, {"acme", 0.8, time.Minute, "b by degrade:b"},
			{"acme", 0.7, 0, "b by degrade:b"}, {"acme", 0.7, 9 * time.Second, "b by degrade:b"}, {"acme", 0.7, time.Second, "a"}, {"acme", 0.8, 0, "a"},
		} {
			time.Sleep(row.after)
			if got := r.goes(&Query{Tenant: row.tenant, Spent: row.spent}); got != row.want {
				t.Errorf("%d: %s at %v goes %s, want %s", i, row.tenant, row.spent, got, row.want)
			}
		}
		for i := range 2 * maxStrained {
			r.goes(&Query{Key: string(rune(i)), Spent: 1})
		}
		if d := r.Degraded(time.Now())[0]; d.Callers != maxStrained || d.Cause != "" {
			t.Errorf("%d callers are remembered", d.Callers)
		}
	})
}

// Of models that are all degraded the last that is left serves, and no request goes in circles.
func TestDegradeGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := func(to string) Model { return Model{Degrade: []Degrade{{To: to, When: Strain{Queue: 1}}}} }
		for want, models := range map[string]map[string]Model{
			"c by degrade:b, degrade:c":            {"a": busy("b"), "b": busy("c")},
			"b by degrade:b":                       {"a": busy("b"), "b": busy("a")},
			"d by degrade:b, degrade:c, degrade:d": {"a": busy("b"), "b": busy("c"), "c": busy("d"), "d": busy("e")},
			"c by rule:b, degrade:c":               {"a": {Rules: []Rule{{When{Text: "true"}, "b"}}}, "b": busy("c")},
		} {
			r := town(t, Setup{Waiting: func() int64 { return 9 }}, models, nil)
			if got := r.goes(&Query{}); got != want {
				t.Errorf("goes %s, want %s", got, want)
			}
		}
	})
}

func TestDegradeSurvivesAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waiting := int64(99)
		setup := Setup{Waiting: func() int64 { return waiting }}
		models := map[string]Model{"a": {Degrade: []Degrade{{To: "b", When: Strain{Queue: 50}}}}}
		first := town(t, setup, models, nil)
		first.goes(nil)
		waiting = 0
		again := town(t, setup, models, first)
		if got := again.goes(nil); got != "b by degrade:b" {
			t.Errorf("after a reload it goes %s", got)
		}
		again.goes(nil)
		time.Sleep(time.Minute)
		again.goes(nil)
		time.Sleep(time.Minute)
		if got := again.goes(nil); got != "a" {
			t.Errorf("two minutes later it goes %s", got)
		}
	})
}

func TestCPUMeter(t *testing.T) {
	p, now := &cpuMeter{}, time.Now()
	p.share(now)
	for x := 0; time.Since(now) < 100*time.Millisecond; x++ { // a busy tenth of a second
	}
	got := p.share(now.Add(1100 * time.Millisecond)) // passes for a second and a tenth
	if got <= 0 || got > 1 {
		t.Errorf("busy for %v", got)
	}
	if again := p.share(now.Add(1200 * time.Millisecond)); again != got {
		t.Errorf("measured again at once: %v, %v", got, again)
	}
}

func BenchmarkResolve(b *testing.B) {
	one := []Rule{{When{Tenant: Names{"x"}}, "b"}, {When{Text: "tokens > 100000"}, "b"}}
	r := town(b, Setup{}, map[string]Model{"a": {Rules: one, Degrade: []Degrade{{To: "c", When: Strain{ErrorRate: 0.3, P95: time.Second, Spent: 0.9}}}}}, nil)
	q := asked()
	ask := func(Needs) *Query { return q }
	for _, name := range []string{"a", "b"} {
		b.Run(map[string]string{"a": "rules and degrade", "b": "none"}[name], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Resolve(r.exact[name], ask)
			}
		})
	}
}

// Requests that wait at a pool count once, however many targets it serves.
func TestDegradeCountsWhatWaitsAtPools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := NewPool(PoolConfig{}, time.Now())
		if err := pool.Set(time.Now(), []string{"http://one", "http://two"}); err != nil {
			t.Fatal(err)
		}
		r := town(t, Setup{Pools: map[string]*Pool{"p": pool}, Waiting: func() int64 { return 4 }}, map[string]Model{
			"a": {Degrade: []Degrade{{To: "b", When: Strain{Queue: 9}}}},
		}, nil)
		for waiting, want := range []string{"a", "a", "a", "b by degrade:b"} { // at each replica
			time.Sleep(time.Second)
			for _, replica := range pool.Replicas() {
				replica.Report(time.Now(), Scrape{Waiting: waiting})
			}
			if got := r.goes(nil); got != want {
				t.Errorf("%d wait at each replica: goes %s, want %s", waiting, got, want)
			}
		}
	})
}

// Requests of many callers look and are counted at once.
func TestResolveAtOnce(t *testing.T) {
	r := town(t, Setup{}, map[string]Model{"a": {
		Rules:   []Rule{{When{Text: `tenant == "t1"`}, "b"}},
		Degrade: []Degrade{{To: "c", When: Strain{ErrorRate: 0.5, P95: time.Second, CPU: 0.99999, Spent: 0.9}}},
	}}, nil)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			q := &Query{Tenant: fmt.Sprintf("t%d", i), Spent: float64(i) / 7}
			want := map[int]string{1: "b by rule:b", 7: "c by degrade:c"}[i]
			for n := range 500 {
				if got := r.goes(q); got != cmp.Or(want, "a") && got != "c by degrade:c" {
					t.Errorf("%s goes %s", q.Tenant, got)
				}
				r.call(n%10 == 0, time.Millisecond)
				r.Degraded(time.Now())
			}
		})
	}
	all.Wait()
}
