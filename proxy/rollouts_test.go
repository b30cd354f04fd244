package proxy

import (
	"errors"
	"testing"
	"time"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// What callers can bring about says nothing of a model: not what the gateway refuses itself, and not a request that nobody or
// somebody else serves.
func TestTelling(t *testing.T) {
	failover := func(status int, code string) *wire.Error {
		return &wire.Error{Status: status, Code: code, Failover: true}
	}
	for name, row := range map[string]struct {
		err   *wire.Error
		tries int32
		want  bool
	}{
		"the provider fails":               {failover(502, "upstream_error"), 1, true},
		"it refuses the key":               {failover(502, "upstream_auth"), 1, true},
		"it is too slow":                   {failover(504, "timeout"), 1, true},
		"it limits the gateway":            {failover(429, "upstream_rate_limited"), 1, true},
		"it does not know the model":       {&wire.Error{Status: 404, Code: "model_not_found"}, 1, true},
		"the model is not there":           {&wire.Error{Status: 404, Code: "model_not_found"}, 0, false},
		"the template is not there":        {&wire.Error{Status: 404, Code: "prompt_not_found"}, 0, false},
		"a file is not there":              {&wire.Error{Status: 404, Code: "not_found"}, 1, false},
		"the dialect cannot carry it":      {failover(400, "unsupported_parameter"), 1, false},
		"no target is for such requests":   {failover(400, "no_target_fits"), 0, false},
		"all targets are given up":         {failover(503, "upstream_unavailable"), 0, true},
		"the budget is too small":          {failover(429, "insufficient_quota"), 1, false},
		"the price is not known":           {failover(400, "price_unknown"), 1, false},
		"others go first":                  {failover(503, "overloaded"), 1, false},
		"it waits in vain":                 {failover(429, "rate_limit_exceeded"), 1, false},
		"a guard does not answer":          {wire.Server(503, "guard_unavailable", "", nil), 1, false},
		"the gateway has a bug":            {wire.Server(500, "internal_error", "", errors.New("a bug")), 1, false},
		"the client left":                  {fault(provider.ErrAborted), 1, false},
		"a limit cannot be counted before": {wire.Server(503, "limits_unavailable", "", nil), 0, false},
	} {
		s := newStadium(t, fakellm.Plan{}, fakellm.Plan{})
		if s.x.tries = row.tries; row.tries > 0 {
			s.x.target = s.one
		}
		s.x.failure = row.err
		if got := s.x.telling(); got != row.want {
			t.Errorf("%s: %t", name, got)
		}
		if row.tries == 0 || row.err.Status == statusGone {
			continue
		}
		_ = s.x.fell(s.one, row.err)
		if s.x.failure = nil; s.x.telling() != row.want { // a fallback answered
			t.Errorf("%s, and then a fallback answers: %t", name, !row.want)
		}
	}
}

// A client does not wait in vain until it could be tried again.
func TestWaitIsNoLongerThanTheClient(t *testing.T) {
	s := newStadium(t, fakellm.Plan{}, fakellm.Plan{})
	s.x.ctx.Request.Header.Set("X-Jarvis-Timeout", "50s")
	if err := s.x.Wait(time.Minute); !errors.Is(err, router.ErrHurried) {
		t.Errorf("%v", err)
	}
	if err := s.x.Wait(time.Millisecond); err != nil {
		t.Errorf("%v", err)
	}
	s.x.abort.Fire()
	if err := s.x.Wait(time.Second); !errors.Is(err, router.ErrLeft) {
		t.Errorf("%v", err)
	}
}
