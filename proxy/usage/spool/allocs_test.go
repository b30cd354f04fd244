//go:build !race

package spool_test

import (
	"testing"
	"time"

	"jarvis-gateway/proxy/usage/spool"
)

// Appending allocates nothing. The race detector does, so that it says nothing there.
func TestAppendAllocates(t *testing.T) {
	l := open(t, spool.Options{Dir: t.TempDir(), Sync: -1, BatchWait: time.Hour})
	defer abandon(l)
	if n := testing.AllocsPerRun(1000, func() { request(t, l) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
