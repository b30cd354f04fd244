package proxy

import (
	"testing"
	"unsafe"
)

// A connection is held for every open stream. Beyond 3,072 bytes it would take the allocator's next size, 3,200.
func TestConnIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(conn{}); size > 3072 {
		t.Errorf("a connection takes %d bytes", size)
	}
}
