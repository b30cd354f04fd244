//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package counter

import (
	"os"
	"sync/atomic"
	"unsafe"
)

// chunk is a part of the ledger that is written every second: a crash loses what was counted since.
type chunk struct {
	slots []slot
	bytes []byte
}

func mapChunk(f *os.File, at int64) (*chunk, error) {
	c := &chunk{slots: make([]slot, chunkSize/slotSize), bytes: make([]byte, chunkSize)}
	_, err := f.ReadAt(unsafe.Slice((*byte)(unsafe.Pointer(&c.slots[0])), chunkSize), at)
	return c, err
}

// flush copies word by word, because counting goes on meanwhile.
func (c *chunk) flush(f *os.File, at int64) error {
	words := unsafe.Slice((*uint64)(unsafe.Pointer(&c.bytes[0])), chunkSize/8)
	for i := range c.slots {
		for j := range c.slots[i] {
			words[i*len(slot{})+j] = atomic.LoadUint64(&c.slots[i][j])
		}
	}
	if _, err := f.WriteAt(c.bytes, at); err != nil {
		return err
	}
	return f.Sync()
}

func (c *chunk) unmap() error { return nil }
