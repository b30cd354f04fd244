package router

import (
	"errors"
	"testing"

	"jarvis-gateway/proxy/wire"
)

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
		route := &Route{}
		for i := range row.answers {
			route.Targets = append(route.Targets, &Target{Index: i, Provider: string(rune('a' + i))})
		}
		target, attempts, err := route.Do(func(target *Target) error { return row.answers[target.Index] })
		if target.Provider != row.target || attempts != row.attempts || err != row.err {
			t.Errorf("%s: %s after %d attempts: %v", name, target.Provider, attempts, err)
		}
	}
}
