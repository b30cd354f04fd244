package proxy

import (
	"errors"
	"testing"
	"time"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// The router is told when the call began, and that its answer is no first content. A rollout counts the time of both.
func TestSendTellsWhatItTook(t *testing.T) {
	s := newStadium(t, fakellm.Plan{Text: "all of it"}, fakellm.Plan{})
	defer func() { s.x.reply.Close() }()
	before := time.Now()
	sent, err := s.x.Send(s.one)
	if err != nil || !sent.Whole || sent.Begun.Before(before) || sent.Begun.After(time.Now()) || s.x.awaited() <= 0 {
		t.Errorf("%+v, %v, awaited %s", sent, err, s.x.awaited())
	}
	if took(s.x.call, &wire.Reply{Stream: flowing{}}).Whole {
		t.Error("a stream is taken for a whole answer")
	}
}

// flowing is some stream.
type flowing struct{ wire.Stream }

// Who leaves, or does not want to wait any longer, says nothing of the target; a good end does, and so does what broke off.
func TestWhatBrokeAnAnswerOff(t *testing.T) {
	s := newStadium(t, fakellm.Plan{}, fakellm.Plan{})
	cut := &wire.Error{Status: 502, Code: "upstream_error", Failover: true}
	for _, row := range []struct {
		failure *wire.Error
		want    error
	}{{nil, nil}, {&wire.Error{Status: statusGone}, router.ErrLeft}, {cut, cut}} {
		if s.x.failure = row.failure; !errors.Is(s.x.broken(), row.want) || (s.x.broken() == nil) != (row.want == nil) {
			t.Errorf("%v: %v", row.failure, s.x.broken())
		}
	}
	s.x.ctx.Request.Header.Set("X-Jarvis-Timeout", "1ms")
	s.x.start = time.Now().Add(-time.Second)
	if s.x.failure = cut; !errors.Is(s.x.broken(), router.ErrLeft) {
		t.Errorf("in haste: %v", s.x.broken())
	}
}
