package acceptance

import (
	"reflect"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

// check compares what a call must have led to upstream with what it led to.
func (e expectation) check(t *testing.T, seen []fakellm.Seen) {
	if len(seen) != e.Requests {
		t.Errorf("script %s: the provider saw %d requests, want %d", e.ID, len(seen), e.Requests)
		return
	}
	if e.Gap > 0 {
		if gap := seen[1].Time.Sub(seen[0].Time); gap < time.Duration(e.Gap)*time.Millisecond {
			t.Errorf("script %s: the client came again after %v, want %d ms at least", e.ID, gap, e.Gap)
		}
	}
	if e.Left > 0 {
		e.checkLeft(t, seen[0])
	}
	if len(seen) > 0 {
		e.checkSent(t, seen[len(seen)-1])
	}
}

// checkSent compares what a request must have held with what it held.
func (e expectation) checkSent(t *testing.T, seen fakellm.Seen) {
	for name, want := range e.Header {
		if got := seen.Get(name); got != want {
			t.Errorf("script %s: the provider got %s: %q, want %q", e.ID, name, got, want)
		}
	}
	for path, want := range e.Body {
		if got := gjson.GetBytes(seen.Body, path).Value(); !reflect.DeepEqual(got, want) {
			t.Errorf("script %s: the provider got %s: %v, want %v\nin %.3000s", e.ID, path, got, want, seen.Body)
		}
	}
}

// checkLeft wants the provider left soon after the client left the gateway.
func (e expectation) checkLeft(t *testing.T, seen fakellm.Seen) {
	if seen.ClosedByPeer.IsZero() {
		t.Errorf("script %s: the client left, but the provider went on to the end: %d events", e.ID, seen.Events)
		return
	}
	if late := seen.ClosedByPeer.Sub(time.UnixMilli(e.Left)); late > soon {
		t.Errorf("script %s: the provider was left %v after the client left", e.ID, late)
	}
}
