package main

import (
	"testing"
	"time"

	"jarvis-gateway/router"
)

// A refusal is told once, as long as it goes on, and again when it is long past: the target that would have told its end may be gone.
func TestRefusalsAreToldAgain(t *testing.T) {
	b := &breakers{refused: map[string]time.Time{}}
	at := time.Unix(1_800_000_000, 0)
	for i, row := range []struct {
		provider string
		after    time.Duration
		known    bool
	}{
		{"one", 0, false}, {"one", time.Second, true}, {"two", 0, false}, {"one", sameRefusal - 1, true}, {"one", sameRefusal - 1, true}, {"one", sameRefusal, false}, {"one", time.Second, true},
	} {
		at = at.Add(row.after)
		e := opening{router.Event{Track: &router.Track{Provider: row.provider}, State: "open", Cause: "auth"}, at}
		if known := b.known(e); known != row.known {
			t.Errorf("%d: known is %v", i, known)
		}
	}
}
