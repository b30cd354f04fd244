package router

import (
	"errors"
	"testing"
	"time"

	"jarvis-gateway/proxy/wire"
)

// script is an Asker whose targets answer as written, by their index.
type script struct {
	answers []error
	asked   []*Target
	waited  []time.Duration
	leaves  bool // in the first wait
	query   Query
}

func (s *script) Query(Needs) *Query { return &s.query }

func (s *script) Send(t *Target) (Took, error) {
	s.asked = append(s.asked, t)
	return Took{}, s.answers[t.Index]
}

func (s *script) Race(t *Target, _ time.Duration, _ func() *Target) Finish {
	_, err := s.Send(t)
	return Finish{FirstErr: err}
}

func (s *script) Wait(d time.Duration) error {
	s.waited = append(s.waited, d)
	if s.leaves {
		return ErrLeft
	}
	return nil
}

func TestDo(t *testing.T) {
	bug := errors.New("a bug")
	overloaded := &wire.Error{Status: 503, Failover: true}
	limited := &wire.Error{Status: 429, Failover: true}
	unable := &wire.Error{Status: 400, Code: "unsupported_parameter", Failover: true}
	mistake := &wire.Error{Status: 400}
	for name, row := range map[string]struct {
		answers  []error
		attempts int
		target   string
		err      error
	}{
		"the first answers":                        {[]error{nil, bug}, 1, "a", nil},
		"the second answers":                       {[]error{overloaded, nil}, 2, "b", nil},
		"a mistake is not tried again":             {[]error{mistake, nil}, 1, "a", mistake},
		"a bug is not tried again":                 {[]error{bug, nil}, 1, "a", bug},
		"all fail: the last":                       {[]error{overloaded, limited}, 2, "b", limited},
		"none can serve it: the last":              {[]error{unable, unable}, 2, "b", unable},
		"overloaded, and the next cannot serve it": {[]error{overloaded, unable}, 2, "a", overloaded},
		"limited, and two cannot serve it":         {[]error{unable, limited, unable}, 3, "b", limited},
		"overloaded, then the caller's mistake":    {[]error{overloaded, mistake}, 2, "b", mistake},
	} {
		m := Model{}
		for i := range row.answers {
			m.Targets = append(m.Targets, TargetConfig{Provider: string(rune('a' + i))})
		}
		r, err := New(Setup{Models: map[string]Model{"chat": m}, Providers: []string{"a", "b", "c"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		route, _ := r.Find("chat")
		s := &script{answers: row.answers}
		target, _, err := route.Do(s)
		if target.Provider != row.target || len(s.asked) != row.attempts || err != row.err {
			t.Errorf("%s: %s after %d attempts: %v", name, target.Provider, len(s.asked), err)
		}
	}
}
