//go:build unix && !race

package proxy

import (
	"testing"
	"time"
)

// Under the race detector pools forget what they have, so that allocations say nothing there.

// Writing down a request allocates nothing, or, for one that its client says something of, the copy of what he says.
func TestRecordingAllocates(t *testing.T) {
	for note, most := range map[string]float64{"": 0, noted: 1} {
		x, now := recordedExchange(t, note), time.Now()
		x.writtenDown(now) // makes what later ones use again
		if n := testing.AllocsPerRun(2000, func() { x.writtenDown(now) }); n > most {
			t.Errorf("%v allocations with %q, not %v", n, note, most)
		}
	}
}
