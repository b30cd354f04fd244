package router

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func two(t *testing.T, cfg Rollout, told *[]Rolled, prev *Router) *Router {
	t.Helper()
	r, err := New(Setup{Providers: []string{"p"}, Models: map[string]Model{
		"chat":  {Targets: []TargetConfig{{Provider: "p", Model: "old"}}, Rollout: cfg},
		"fresh": {Targets: []TargetConfig{{Provider: "p", Model: "new"}}},
	}, OnRollout: func(r Rolled) {
		if told != nil {
			*told = append(*told, r)
		}
	}}, prev)
	if err != nil {
		t.Fatal(err)
	}
	r.Start()
	return r
}

func percent(p float64) *float64 { return &p }

// send sends a request of a user's, tells the rollout how it went, and returns which model it went to.
func send(r *Router, q Query, answered bool, first time.Duration) string {
	q.Now = time.Now()
	chat, _ := r.Find("chat")
	to, _ := r.Resolve(chat, func(Needs) *Query { return &q })
	q.Trial.End(time.Now(), answered, first, 5, 7)
	return to.Name
}

func TestRolloutGivesItsShareAndSticks(t *testing.T) {
	r := two(t, Rollout{To: "fresh", Percent: percent(10)}, nil, nil)
	before := map[string]bool{}
	for i := range 10_000 {
		user := fmt.Sprint("user ", i)
		to := send(r, Query{Tenant: "acme", User: user, Request: fmt.Sprint(i)}, true, time.Millisecond)
		before[user] = to == "fresh"
		if again := send(r, Query{Tenant: "acme", User: user, Request: "another"}, true, time.Millisecond); again != to {
			t.Fatalf("%s went to %s, then to %s", user, to, again)
		}
	}
	share := 0
	for _, fresh := range before {
		if fresh {
			share++
		}
	}
	if share < 900 || share > 1100 { // 3 standard deviations are 90
		t.Errorf("%d of 10,000 users instead of about 1,000", share)
	}
	wider := two(t, Rollout{To: "fresh", Percent: percent(30)}, nil, r)
	for user, fresh := range before {
		if fresh && send(wider, Query{Tenant: "acme", User: user}, true, time.Millisecond) != "fresh" {
			t.Fatalf("%s lost the new model as the share grew", user)
		}
	}
}

func TestRolloutIsForWhomItSays(t *testing.T) {
	r := two(t, Rollout{To: "fresh", Tenants: []string{"acme"}, Scenes: []string{"batch"}}, nil, nil)
	for _, row := range []struct{ tenant, scene, to string }{
		{"acme", "batch", "fresh"}, {"acme", "chat", "chat"}, {"acme", "", "chat"}, {"other", "batch", "chat"},
	} {
		if to := send(r, Query{Tenant: row.tenant, Scene: row.scene}, true, 0); to != row.to {
			t.Errorf("%s, %s: %s, want %s", row.tenant, row.scene, to, row.to)
		}
	}
}

func TestRolloutGoesThroughItsSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []Rolled
		r := two(t, Rollout{To: "fresh", Steps: []float64{10, 50, 100}, Every: time.Hour, Sticky: "request"}, &told, nil)
		for hour, want := range []float64{10, 50, 100, 100} {
			got := 0.0
			for i := range 4000 {
				if send(r, Query{Request: fmt.Sprint(hour, i)}, true, 10*time.Millisecond) == "fresh" {
					got++
				}
			}
			if got /= 40; math.Abs(got-want) > 3 {
				t.Errorf("hour %d: %g%%, want %g%%", hour, got, want)
			}
			time.Sleep(time.Hour)
		}
		if len(told) != 2 || told[0].Percent != 50 || told[1].Percent != 100 {
			t.Errorf("told: %+v", told)
		}
		same := two(t, Rollout{To: "fresh", Steps: []float64{10, 50, 100}, Every: time.Hour, Sticky: "request"}, &told, r)
		if v := same.Rollouts(time.Now()); v[0].Percent != 100 {
			t.Errorf("after a reload it begins again with %g%%", v[0].Percent)
		}
	})
}

func TestRolloutIsCalledOff(t *testing.T) {
	for name, worse := range map[string]func(i int) (bool, time.Duration){
		"errors": func(i int) (bool, time.Duration) { return i%5 != 0, 100 * time.Millisecond },
		"slow":   func(int) (bool, time.Duration) { return true, 400 * time.Millisecond },
		"fine":   func(i int) (bool, time.Duration) { return i%40 != 0, 120 * time.Millisecond },
	} {
		synctest.Test(t, func(t *testing.T) {
			var told []Rolled
			r := two(t, Rollout{To: "fresh", Percent: percent(30), Sticky: "request"}, &told, nil)
			chat, _ := r.Find("chat")
			for i := range 2000 {
				time.Sleep(20 * time.Millisecond)
				q := Query{Request: fmt.Sprint(i), Now: time.Now()}
				ok, first := i%100 != 0, 100*time.Millisecond
				if to, _ := r.Resolve(chat, func(Needs) *Query { return &q }); to.Name == "fresh" {
					ok, first = worse(i)
				}
				q.Trial.End(time.Now(), ok, first, 1, 1)
			}
			v := r.Rollouts(time.Now())[0]
			if off := v.Halted != ""; off == (name == "fine") || off != (len(told) == 1) {
				t.Errorf("%s: called off: %q, told %v", name, v.Halted, told)
			}
			if name != "fine" && v.Percent != 0 {
				t.Errorf("%s: it goes on with %g%%", name, v.Percent)
			}
			if !decide(t, r, 5) || r.Rollouts(time.Now())[0].Percent != 5 {
				t.Error("it cannot be taken up again")
			}
			q := Query{Request: "one more", Trial: Trial{rollout: r.rollout("chat"), arm: 1}}
			q.Trial.End(time.Now(), false, 0, 1, 1)
			if v := r.Rollouts(time.Now())[0]; v.Halted != "" || !v.ByHand {
				t.Errorf("what was before calls it off again: %+v", v)
			}
		})
	}
}

// decide sets the share by hand; NaN calls the rollout off.
func decide(t *testing.T, r *Router, share float64) (changed bool) {
	t.Helper()
	s, err := r.Decided("chat", share, "")
	if err != nil {
		t.Fatal(err)
	}
	return r.Follow(s)
}

// Gateways that hear of each other's decisions agree, in whatever order they hear of them.
func TestRolloutsAgree(t *testing.T) {
	cfg := Rollout{To: "fresh", Steps: []float64{10, 50, 100}}
	at := time.Now()
	said := func(turn int64, step int, share float64, halted string) RolloutState {
		return RolloutState{Model: "chat", Spec: newRollout(&Route{Name: "chat"}, &Route{Name: "fresh"}, cfg, nil).spec, Turn: turn, Step: step, Percent: share, Since: at, Halted: halted}
	}
	for name, row := range map[string]struct {
		told []RolloutState
		want RolloutState
	}{
		"the later step":              {[]RolloutState{said(0, 1, 50, ""), said(0, 2, 100, "")}, said(0, 2, 100, "")},
		"called off, whatever step":   {[]RolloutState{said(0, 2, 100, ""), said(0, 0, 10, "worse")}, said(0, 0, 10, "worse")},
		"by hand again":               {[]RolloutState{said(0, 0, 10, "worse"), said(1, 3, 25, ""), said(0, 2, 100, "")}, said(1, 3, 25, "")},
		"called off after that":       {[]RolloutState{said(1, 3, 25, ""), said(1, 3, 25, "worse"), said(0, 2, 100, "")}, said(1, 3, 25, "worse")},
		"the last decision":           {[]RolloutState{said(1, 3, 25, ""), said(2, 3, 5, ""), said(1, 3, 25, "worse")}, said(2, 3, 5, "")},
		"of another rollout, nothing": {[]RolloutState{{Model: "chat", Spec: "another", Turn: 9, Halted: "worse"}, said(0, 1, 50, "")}, said(0, 1, 50, "")},
	} {
		for _, backwards := range []bool{false, true} {
			r := two(t, cfg, nil, nil)
			for i := range row.told {
				if backwards {
					i = len(row.told) - 1 - i
				}
				r.Follow(row.told[i])
				if r.Follow(row.told[i]) {
					t.Errorf("%s: the same is news", name)
				}
			}
			o := r.rollout("chat")
			if got := o.state(); got != row.want {
				t.Errorf("%s, backwards %t: %+v", name, backwards, got)
			}
		}
	}
	if _, err := two(t, cfg, nil, nil).Decided("fresh", 5, ""); !errors.Is(err, ErrNoRollout) {
		t.Errorf("a model without one: %v", err)
	}
}

func TestShadowLeavesRequestsAlone(t *testing.T) {
	r := two(t, Rollout{To: "fresh", Percent: percent(100), Shadow: true}, nil, nil)
	chat, _ := r.Find("chat")
	q := Query{Request: "1", Now: time.Now()}
	ask := func(Needs) *Query { return &q }
	if to, detour := r.Resolve(chat, ask); to != chat || len(detour) > 0 {
		t.Errorf("the request went to %s", to.Name)
	}
	to, trial := chat.Shadow(ask)
	if to == nil || to.Name != "fresh" {
		t.Fatalf("the copy went to %v", to)
	}
	trial.End(time.Now(), true, time.Millisecond, 3, 4)
	q.Trial.End(time.Now(), true, time.Millisecond, 5, 6)
	q.Trial.End(time.Now(), true, time.Millisecond, 5, 6) // a second end counts nothing
	if v := r.Rollouts(time.Now())[0]; v.Arms[0].Calls != 1 || v.Arms[0].Cost != 5 || v.Arms[1].Calls != 1 || v.Arms[1].Cost != 3 {
		t.Errorf("counted: %+v", v.Arms)
	}
}

func TestRolloutMistakes(t *testing.T) {
	for want, cfg := range map[string]Rollout{
		"rollout.to: another name":         {Percent: percent(10)},
		"rollout.percent: a share":         {To: "fresh"},
		"rollout.percent: must be from":    {To: "fresh", Percent: percent(101)},
		"rollout.steps[1]: steps grow":     {To: "fresh", Steps: []float64{10, 10}},
		"rollout.steps: percent and steps": {To: "fresh", Percent: percent(1), Steps: []float64{10}},
		"rollout.sticky: unknown choice":   {To: "fresh", Percent: percent(1), Sticky: "luck"},
		`rollout.to: "none" is no other`:   {To: "none", Percent: percent(1)},
		"rollout.every: must be more than": {To: "fresh", Percent: percent(1), Every: -1},
	} {
		_, err := New(Setup{Providers: []string{"p"}, Models: map[string]Model{
			"chat":  {Targets: []TargetConfig{{Provider: "p"}}, Rollout: cfg},
			"fresh": {Targets: []TargetConfig{{Provider: "p"}}},
		}}, nil)
		if err == nil || !strings.Contains(err.Error(), "models.chat."+want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
