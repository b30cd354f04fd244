package router

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/proxy/wire"
)

func explaining(t *testing.T, models map[string]Model) *Router {
	t.Helper()
	r, err := New(Setup{Providers: []string{"a", "b", "c"}, Models: models}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Start()
	return r
}

func explanation(t *testing.T, r *Router, model string, q Query) Explanation {
	t.Helper()
	route, name := r.Find(model)
	q.Now, q.Model = time.Now(), name
	if q.Price == nil {
		q.Price = func(t *Target) int64 { return map[string]int64{"a": 300, "b": 100, "c": -1}[t.Provider] }
	}
	e, err := r.Explain(route, func(Needs) *Query { return &q }, func(to *Route, _ Detour) (*Route, error) { return to, nil })
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var abc = []TargetConfig{{Provider: "a", Model: "m", Quality: 1}, {Provider: "b", Model: "m", Quality: 1}, {Provider: "c", Model: "m", Quality: 5}}

// For every way to pick the explanation's first target is the one that is chosen, as often as it says.
func TestExplanationsAreTrue(t *testing.T) {
	weighted := append([]TargetConfig(nil), abc...)
	for i, w := range []int{1, 3, 0} {
		weighted[i].Weight = &w
	}
	for _, pick := range picks {
		targets := abc
		if pick == "weighted" {
			targets = weighted
		}
		r := explaining(t, map[string]Model{"m": {Targets: targets, Pick: pick}})
		route, _ := r.Find("m")
		for i, ms := range []int{30, 20, 10} {
			track := route.Targets[i].Track("")
			track.times.add(time.Now(), time.Duration(ms)*time.Millisecond)
			track.inFlight.Store(int64(i % 2))
		}
		e := explanation(t, r, "m", Query{})
		q := Query{Now: time.Now(), Price: func(t *Target) int64 { return map[string]int64{"a": 300, "b": 100, "c": -1}[t.Provider] }}
		turn := route.turn.Load()
		if first := route.choose(&q, 0, time.Now()); pick == "round_robin" && e.Routes[0].Targets[first].Order != 1 {
			t.Errorf("round_robin: %s is chosen, not the one that the explanation says: %+v", route.Targets[first].Provider, e.Routes[0].Targets)
		}
		if pick == "round_robin" && route.turn.Load() != turn+1 {
			t.Error("the explanation took a turn")
		}
		const times = 6000
		chosen := [3]float64{}
		for range times {
			chosen[route.choose(&q, 0, time.Now())]++
		}
		sum, order := 0.0, 0
		for i, at := range e.Routes[0].Targets {
			sum, order = sum+at.Chance, order+at.Order
			if got := chosen[i] / times; pick != "round_robin" && math.Abs(got-at.Chance) > 0.03 {
				t.Errorf("%s: %s is chosen first in %.3f of all cases, explained as %.3f (%s)", pick, at.Provider, got, at.Chance, at.Why)
			}
		}
		if math.Abs(sum-1) > 1e-9 || order != 1+2+3 {
			t.Errorf("%s: the chances sum up to %g: %+v", pick, sum, e.Routes[0].Targets)
		}
	}
}

// Each reason why a target is passed over is told.
func TestExplainsWhyNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := explaining(t, map[string]Model{
			"m":    {Targets: append([]TargetConfig{{Provider: "a", Model: "other", When: When{Tenant: Names{"acme"}}}}, abc...), Fallback: []string{"last"}},
			"last": {Targets: []TargetConfig{{Provider: "a", Model: "last", When: When{Text: `tokens > 5`}}}},
		})
		route, _ := r.Find("m")
		fail := func(i int, e *wire.Error) {
			for range 5 {
				a, _ := route.Targets[i].Track("").enter()
				a.failed(time.Now(), e)
			}
		}
		fail(1, &wire.Error{Status: 502, Failover: true})
		fail(2, &wire.Error{Status: 429, Code: codeLimited, Failover: true, Retry: 30 * time.Second})
		r.Force(Decision{"m", "c", "m", ForceOpen, 0})
		e := explanation(t, r, "m", Query{Tenant: "other"})
		for i, want := range []string{"its condition does not fit: {tenant: acme}", "its breaker is open (consecutive) for ", "it rests for 30s, as its provider asked", "it was taken out of service by hand"} {
			if at := e.Routes[0].Targets[i]; !strings.HasPrefix(at.Why, want) || at.Order != 0 || at.Chance != 0 {
				t.Errorf("target %d: %+v, want %q", i, at, want)
			}
		}
		if e.Routes[0].Refused != "no target is fit to be asked" || !e.Routes[1].Fallback || e.Routes[1].Refused != "no target is there for such requests" {
			t.Errorf("%+v", e.Routes)
		}
		time.Sleep(12 * time.Second)
		if at := explanation(t, r, "m", Query{Tenant: "acme", Tokens: 9}).Routes; at[0].Targets[0].Order != 1 || at[0].Targets[1].Order != 2 || at[1].Targets[0].When != "tokens > 5" || at[1].Targets[0].Order != 1 {
			t.Errorf("%+v", at)
		}
	})
}

// What may lead elsewhere is told in the order in which it is looked at, and Resolve agrees.
func TestExplainsDetours(t *testing.T) {
	r := explaining(t, map[string]Model{
		"m": {Targets: abc, Rules: []Rule{{When: When{Tenant: Names{"gold"}}, Model: "large"}, {When: When{Text: "stream"}, Model: "small"}},
			Rollout: Rollout{To: "fresh", Percent: percent(30), Users: []string{"u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8"}}},
		"fresh": {Targets: abc, Degrade: []Degrade{{To: "small", When: Strain{Spent: 0.9, CPU: 0.99}}}},
		"large": {Targets: abc}, "small": {Targets: abc},
	})
	route, _ := r.Find("m")
	seen := map[string]bool{}
	for i := range 80 {
		q := Query{User: fmt.Sprint("u", i%10), Tenant: map[bool]string{true: "gold"}[i%40 == 0], Stream: i%7 == 0, Spent: float64(i/10%2) * 0.95}
		e := explanation(t, r, "m", q)
		q.Now = time.Now()
		to, detour := r.Resolve(route, func(Needs) *Query { return &q })
		taken := Detour{}
		for _, b := range e.Branches {
			if b.Taken {
				taken = append(taken, Hop{Kind: b.Kind, From: b.From, To: b.To})
			}
		}
		if e.Routes[0].Model != to.Name || taken.String() != detour.String() {
			t.Errorf("%+v: explained as %s, is %s: %+v", q, taken, detour, e.Branches)
		}
		seen[detour.String()] = true
	}
	for _, way := range []string{"", "rule:large", "rule:small", "rollout:fresh", "rollout:fresh, degrade:small"} {
		if !seen[way] {
			t.Errorf("no request went %q: %v", way, seen)
		}
	}
}
