package router

import (
	"container/heap"
	"fmt"
	"math"
	"testing"
	"time"

	"jarvis-gateway/proxy/wire"
)

// field is a model with n targets a0, a1, ...
func field(t testing.TB, n int, m Model) (*Router, *Route) {
	t.Helper()
	var providers []string
	for i := range n {
		providers = append(providers, fmt.Sprintf("p%02d", i))
		if len(m.Targets) < n {
			m.Targets = append(m.Targets, TargetConfig{Provider: providers[i]})
		} else {
			m.Targets[i].Provider = providers[i]
		}
	}
	r, err := New(Setup{Models: map[string]Model{"chat": m}, Providers: providers}, nil)
	if err != nil {
		t.Fatal(err)
	}
	route, _ := r.Find("chat")
	return r, route
}

func weights(list ...int) (targets []TargetConfig) {
	for _, w := range list {
		targets = append(targets, TargetConfig{Weight: &w})
	}
	return targets
}

// counts is how often each target is chosen.
func counts(r *Route, q *Query, times int) []int {
	chosen := make([]int, len(r.Targets))
	for range times {
		chosen[r.choose(q, 0, time.Now())]++
	}
	return chosen
}

// Five sigma: chance fails it once in a million runs.
func TestWeighted(t *testing.T) {
	_, route := field(t, 5, Model{Pick: "weighted", Targets: weights(1, 2, 3, 4, 0)})
	const n = 100_000
	for i, got := range counts(route, nil, n) {
		p := float64(route.Targets[i].weight) / 10
		if off, sigma := math.Abs(float64(got)-n*p), math.Sqrt(n*p*(1-p)); off > 5*sigma {
			t.Errorf("target %d: %d of %d, want %.0f give or take %.0f", i, got, n, n*p, sigma)
		}
	}
	for i := range 4 {
		route.Targets[i].track.Force(ForceOpen)
	}
	if got := counts(route, nil, 10); got[4] != 10 {
		t.Errorf("nothing else is left, and yet: %v", got)
	}
}

func TestRoundRobin(t *testing.T) {
	_, route := field(t, 5, Model{Pick: "round_robin"})
	last := -1
	for range 20 {
		next := route.choose(nil, 0, time.Now())
		if last >= 0 && next != (last+1)%5 {
			t.Fatalf("%d after %d", next, last)
		}
		last = next
	}
	route.Targets[2].track.Force(ForceOpen)
	if got := fmt.Sprint(counts(route, nil, 400)); got != "[100 100 0 100 100]" {
		t.Errorf("without one: %s", got)
	}
}

func TestLeastLoaded(t *testing.T) {
	_, route := field(t, 3, Model{Pick: "least_loaded", Targets: weights(1, 1, 2)})
	for range 400 {
		route.Targets[route.choose(nil, 0, time.Now())].track.enter()
	}
	for i, want := range []int64{100, 100, 200} {
		if got := route.Targets[i].track.inFlight.Load(); got < want-1 || got > want+1 {
			t.Errorf("%d calls under way at target %d, want %d", got, i, want)
		}
	}
}

// arrival is when a call's first content comes.
type arrival struct {
	at      time.Time
	attempt Attempt
	first   time.Duration
}

type arrivals []arrival

func (a arrivals) Len() int           { return len(a) }
func (a arrivals) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a arrivals) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *arrivals) Push(v any)        { *a = append(*a, v.(arrival)) }
func (a *arrivals) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// A target that becomes slow, and not dead, loses its requests within two seconds, and one that is itself again gets its share back.
func TestFastestLeavesTheSlow(t *testing.T) {
	_, route := field(t, 4, Model{Pick: "fastest"})
	now := time.Unix(1_800_000_000, 0)
	begun, took := now, [4]time.Duration{200 * time.Millisecond, 200 * time.Millisecond, 200 * time.Millisecond, 200 * time.Millisecond}
	var coming arrivals
	share := func(until time.Duration) float64 {
		slow, all := 0, 0
		for ; now.Sub(begun) < until; now = now.Add(5 * time.Millisecond) {
			for len(coming) > 0 && !coming[0].at.After(now) {
				a := heap.Pop(&coming).(arrival)
				a.attempt.answered(a.at, a.first, false)
				a.attempt.end(a.at, good)
			}
			i := route.choose(nil, 0, now)
			if all++; i == 0 {
				slow++
			}
			a, _ := route.Targets[i].track.enter()
			heap.Push(&coming, arrival{now.Add(took[i]), a, took[i]})
		}
		return float64(slow) / float64(all)
	}
	if s := share(10 * time.Second); s < 0.15 || s > 0.35 {
		t.Errorf("one of four equals gets %.0f %%", 100*s)
	}
	took[0] = 3 * time.Second
	share(12 * time.Second) // it may take two seconds to notice
	if s := share(22 * time.Second); s > 0.02 {
		t.Errorf("a slow one gets %.1f %%", 100*s)
	}
	took[0] = 200 * time.Millisecond
	share(100 * time.Second)
	if s := share(130 * time.Second); s < 0.1 {
		t.Errorf("one that is fast again gets %.0f %%", 100*s)
	}
}

// The price is that of this request: at a target whose provider has much of such prompts in its cache, they cost less.
func TestCheapest(t *testing.T) {
	_, route := field(t, 3, Model{Pick: "cheapest"})
	price := []int64{-1, 500, 400}
	q := &Query{Price: func(t *Target) int64 {
		if price[t.Index] < 0 {
			return -1
		}
		return price[t.Index] - int64(t.Track("").Cached()*300)
	}}
	expect := func(why string, want int) {
		t.Helper()
		if got := route.choose(q, 0, time.Now()); got != want {
			t.Errorf("%s: target %d, want %d", why, got, want)
		}
	}
	expect("the lower price", 2)
	a := Attempt{track: route.Targets[1].track}
	for range 30 {
		a.Used(1000, 900)
	}
	expect("most of the prompt is in the cache", 1)
	for range 60 {
		a.Used(1000, 0)
	}
	expect("it is not any more", 2)
	route.Targets[2].track.Force(ForceOpen)
	expect("the cheapest rests", 1)
	route.Targets[1].track.Force(ForceOpen)
	expect("the price is not known", 0)
}

func TestBest(t *testing.T) {
	_, route := field(t, 4, Model{Pick: "best", Quality: 5, Targets: []TargetConfig{{}, {Quality: 8}, {Quality: 8}, {Quality: 2}}})
	price := []int64{1, 300, 200, 1}
	q := &Query{Price: func(t *Target) int64 { return price[t.Index] }}
	for _, want := range []int{2, 1, 0, 3} { // the cheaper of the best, then the model's own quality
		if got := route.choose(q, 0, time.Now()); got != want {
			t.Errorf("target %d, want %d", got, want)
		}
		route.Targets[want].track.Force(ForceOpen)
	}
}

func TestConditionsOfTargets(t *testing.T) {
	_, route := field(t, 3, Model{Targets: []TargetConfig{{When: When{Tenant: Names{"acme"}}}, {When: When{Text: "tokens > 1000"}}, {}}})
	if route.needs != NeedsModel|NeedsWho|NeedsBody {
		t.Errorf("needs %b", route.needs)
	}
	for want, q := range []*Query{{Tenant: "acme", Tokens: 5000}, {Tokens: 5000}, {Tokens: 5}} {
		if got := route.choose(q, 0, time.Now()); got != want {
			t.Errorf("target %d, want %d", got, want)
		}
	}
	why := ""
	route.choose(&Query{Trace: func(t *Target, reason string) { why += t.Provider + ": " + reason + "; " }}, 0, time.Now())
	if want := "p00: its condition does not fit; p01: its condition does not fit; "; why != want {
		t.Errorf("told %q, want %q", why, want)
	}
}

// What a breaker decides on one request's failure, the next request goes by.
func TestBreakerIsVisibleAtOnce(t *testing.T) {
	for pick := range pickers {
		_, route := field(t, 2, Model{Pick: pick, Breaker: Breaker{Consecutive: 1}})
		q := &Query{Price: func(*Target) int64 { return 1 }}
		first := route.choose(q, 0, time.Now())
		a, _ := route.Targets[first].track.enter()
		a.failed(time.Now(), &wire.Error{Status: 502, Failover: true})
		for range 50 {
			if next := route.choose(q, 0, time.Now()); next == first {
				t.Fatalf("%s: the target that failed is chosen again", pick)
			}
		}
	}
}

func BenchmarkChoose50(b *testing.B) {
	for pick := range pickers {
		for name, when := range map[string]When{"": {}, "+expression": {Text: `tenant == "acme" && tokens > 100`}, "+keys": {Tenant: Names{"acme"}}} {
			m := Model{Pick: pick, Targets: make([]TargetConfig, 50)}
			for i := range m.Targets {
				m.Targets[i] = TargetConfig{When: when, Quality: float64(i % 5)}
			}
			_, route := field(b, 50, m)
			now, q := time.Now(), asked()
			q.Price = func(t *Target) int64 { return int64(t.Index) }
			for i, target := range route.Targets {
				target.track.times.add(now, time.Duration(i+1)*time.Millisecond)
				if route.picker == nil && i < 49 {
					target.track.Force(ForceOpen) // the last is what costs most to come to
				}
			}
			b.Run(pick+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					route.choose(q, 0, now)
				}
			})
		}
	}
}
