package proxy

import (
	"testing"

	"jarvis-gateway/router"
)

// A model without a cache pays for none.
func TestUncachedAllocates(t *testing.T) {
	x := &exchange{route: &router.Route{}, recording: &recording{}, g: &Gateway{}}
	if n := testing.AllocsPerRun(1000, func() {
		if hit, err := x.cached(); hit || err != nil || x.look != nil {
			t.Fatal("a model without a cache has one")
		}
		x.overhear()
		x.landed()
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
