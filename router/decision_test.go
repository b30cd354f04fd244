package router

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Gateways that hear of decisions at other times, in another order, or only after a reload stand the same in the end: as the last
// decision has it that means a target.
func TestDecisionsAgree(t *testing.T) {
	models := map[string]Model{
		"chat":  {Targets: []TargetConfig{{Provider: "a", Model: "m"}, {Provider: "a", Model: "n"}, {Provider: "b", Model: "m"}}},
		"gpt-*": {Targets: []TargetConfig{{Provider: "a"}, {Provider: "b"}}},
	}
	names := map[string][]string{"chat": {"m", "n"}, "gpt-*": {"gpt-1", "gpt-2", "gpt-3"}}
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		here, there := newRoutes(t, models, nil, nil), newRoutes(t, models, nil, nil)
		var made, kept []Decision
		for turn := range int64(1 + random.IntN(12)) {
			d := Decision{Route: []string{"chat", "gpt-*"}[random.IntN(2)], Provider: []string{"a", "b"}[random.IntN(2)], Force: Force(random.IntN(3)), Turn: turn + 1}
			if list := names[d.Route]; random.IntN(3) > 0 {
				d.Model = list[random.IntN(len(list))]
			}
			made = append(made, d)
			kept = slices.DeleteFunc(kept, func(old Decision) bool {
				return old.Route == d.Route && old.Provider == d.Provider && (d.Model == "" || old.Model == d.Model)
			})
			kept = append(kept, d)
			own := d
			own.Turn = 0 // as at the gateway that is asked: at once, and again with its turn
			here.Force(own)
			here.Force(d)
			if random.IntN(3) == 0 {
				there.Heed(shuffled(random, kept))
			}
			switch random.IntN(6) {
			case 0:
				there = newRoutes(t, models, there, nil)
			case 1:
				there = newRoutes(t, models, nil, nil) // a restart
			case 2:
				for i := range maxTracks + 1 {
					route, _ := there.Find("gpt-1")
					route.Targets[0].Track(fmt.Sprint("gpt-invented-", i))
				}
			}
		}
		there.Heed(shuffled(random, kept))
		if again := there.Heed(shuffled(random, kept)); len(again) > 0 {
			t.Fatalf("what is known changes something: %+v", again)
		}
		for route, list := range names {
			for _, model := range list {
				for _, provider := range []string{"a", "b"} {
					want := wanted(made, route, provider, model)
					for name, r := range map[string]*Router{"here": here, "there": there} {
						if got, ok := forcedAt(r, route, provider, model); ok && got != want {
							t.Fatalf("%s: %s at %s/%s is %q, want %q after %+v", name, route, provider, model, got, want, made)
						}
					}
				}
			}
		}
	}
}

func shuffled(random *rand.Rand, list []Decision) []Decision {
	list = slices.Clone(list)
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// wanted is what the last decision says that means a target.
func wanted(made []Decision, route, provider, model string) (f Force) {
	for _, d := range made {
		if d.Route == route && d.Provider == provider && (d.Model == "" || d.Model == model) {
			f = d.Force
		}
	}
	return f
}

func forcedAt(r *Router, route, provider, model string) (f Force, ok bool) {
	for _, t := range r.targets {
		if t.Route == route && t.Provider == provider && (t.Model == "" || t.Model == model) {
			return t.Track(model).Standing(time.Now()).Forced, true
		}
	}
	return 0, false
}

// What is put in force all at once is not first put in force in part: nobody hears of what held for a moment only.
func TestDecisionsComeAtOnce(t *testing.T) {
	var events []string
	r := newRoutes(t, map[string]Model{"gpt-*": {Targets: []TargetConfig{{Provider: "a"}}}}, nil, func(e Event) { events = append(events, e.Track.Model+" "+e.State) })
	route, _ := r.Find("gpt-1")
	route.Targets[0].Track("gpt-1")
	route.Targets[0].Track("gpt-2")
	r.Heed([]Decision{{"gpt-*", "a", "", ForceOpen, 1}, {"gpt-*", "a", "gpt-1", Automatic, 2}, {"gone", "a", "", ForceOpen, 3}})
	if fmt.Sprint(events) != "[gpt-2 open]" {
		t.Error(events)
	}
	// What the store has not taken, and so has no turn, holds until the next decision that it has.
	r.Force(Decision{"gpt-*", "a", "gpt-2", Automatic, 0})
	if r.Heed([]Decision{{"gpt-*", "a", "", ForceOpen, 1}}); fmt.Sprint(events) != "[gpt-2 open gpt-2 closed]" {
		t.Error(events)
	}
	if r.Heed([]Decision{{"gpt-*", "a", "gpt-2", ForceOpen, 4}}); len(events) != 3 {
		t.Error(events)
	}
}

func BenchmarkHeedNothingNew(b *testing.B) {
	m := Model{}
	var list []Decision
	for i := range 50 {
		m.Targets = append(m.Targets, TargetConfig{Provider: "a", Model: fmt.Sprint("m", i)})
		list = append(list, Decision{"chat", "a", fmt.Sprint("m", i), ForceOpen, int64(i + 1)})
	}
	r, err := New(Setup{Models: map[string]Model{"chat": m}, Providers: []string{"a"}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Heed(list)
	for b.Loop() {
		r.Heed(list)
	}
}
