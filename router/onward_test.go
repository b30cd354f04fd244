package router

import (
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/wire"
)

// rest is an Asker that notes who is asked for the rest of an answer.
type rest struct {
	asked []string
	fails map[string]error
}

func (r *rest) Query(Needs) *Query { return &Query{} }

func (r *rest) Send(t *Target) (Took, error) {
	r.asked = append(r.asked, t.Provider)
	return Took{}, r.fails[t.Provider]
}

func (r *rest) Race(*Target, time.Duration, func() *Target) Finish {
	panic("nobody is to be asked beside another")
}

func (r *rest) Wait(time.Duration) error { panic("nobody is to be waited for") }

func TestGoOn(t *testing.T) {
	targets := func(names ...string) (list []TargetConfig) {
		for _, n := range names {
			list = append(list, TargetConfig{Provider: n, Model: "m"})
		}
		return list
	}
	r, err := New(Setup{Providers: []string{"a", "b", "c", "d"}, Models: map[string]Model{
		"big":   {Continue: true, Targets: targets("a", "b", "c"), Fallback: []string{"small"}, Retry: Retry{Attempts: 3}, Hedge: Hedge{After: After{Time: time.Millisecond}}},
		"small": {Targets: targets("a", "d")},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	route, _ := r.Find("big")
	if small, _ := r.Find("small"); !route.Continues() || small.Continues() {
		t.Error("not the model that says so is gone on with")
	}
	down := &wire.Error{Status: 502, Code: "upstream_error", Failover: true}
	mistake := &wire.Error{Status: 400}
	for _, row := range []struct {
		name  string
		spent string
		fails map[string]error
		want  string
		by    string // who answered; "": nobody
		err   error
	}{
		{"the next", "a", nil, "b", "b", nil},
		{"all but those that are spent, once each", "b", map[string]error{"a": down, "c": down}, "acad", "d", nil},
		{"a fallback", "abc", nil, "d", "d", nil},
		{"everybody fails", "a", map[string]error{"b": down, "c": down, "d": down}, "bcd", "", down},
		{"a mistake ends it", "a", map[string]error{"b": mistake}, "b", "", mistake},
		{"nobody", "abcd", nil, "", "", nil},
	} {
		ask, by := &rest{fails: row.fails}, ""
		target, attempt, err := route.GoOn(ask, func(t *Target) bool { return strings.Contains(row.spent, t.Provider) })
		if target != nil {
			by = target.Provider
			attempt.End(nil)
		}
		if got := strings.Join(ask.asked, ""); got != row.want || by != row.by || err != row.err {
			t.Errorf("%s: %q were asked, %q answered, %v", row.name, got, by, err)
		}
	}
	for _, s := range r.Standings(time.Now()) {
		if s.InFlight != 0 {
			t.Errorf("%s has %d calls under way", s.Provider, s.InFlight)
		}
	}
}
