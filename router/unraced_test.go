//go:build !race

package router

import "testing"

// Under the race detector pools forget what they have, so that allocations say nothing there.

// Conditions cost next to nothing and keep nothing, request after request.
func TestExpressionsDoNotAllocate(t *testing.T) {
	q := asked()
	for _, text := range []string{`tenant == "acme" && tokens > 100 && spent < 0.9`, `weekday == "tue" && "vip" == scene`, "{tenant: [x, acme], tokens: '>100', time: mon-fri}"} {
		c := conditionOf(t, text)
		if n := testing.AllocsPerRun(1000, func() { c.fits(q) }); n > 0.1 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}
