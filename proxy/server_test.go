package proxy

import (
	"testing"
	"testing/synctest"
	"time"
)

// The end waits for requests that still have to settle, but not for ever.
func TestSettled(t *testing.T) {
	if n := inFlight.Load(); n != 0 {
		t.Fatalf("%d requests are under way", n)
	}
	for took, want := range map[time.Duration]time.Duration{0: 0, time.Second: time.Second, time.Minute: 2 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			inFlight.Add(1)
			began := time.Now()
			request := time.AfterFunc(took, func() { inFlight.Add(-1) })
			synctest.Wait()
			settled(2 * time.Second)
			if waited := time.Since(began); waited < want || waited > want+10*time.Millisecond {
				t.Errorf("a request of %s was waited for %s, want %s", took, waited, want)
			}
			if request.Stop() {
				inFlight.Add(-1)
			}
		})
	}
}
