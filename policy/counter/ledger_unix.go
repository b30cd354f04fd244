//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package counter

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// chunk is a part of the ledger that is mapped into memory.
type chunk struct {
	slots []slot
	bytes []byte
}

func mapChunk(f *os.File, at int64) (*chunk, error) {
	b, err := unix.Mmap(int(f.Fd()), at, chunkSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &chunk{unsafe.Slice((*slot)(unsafe.Pointer(&b[0])), chunkSize/slotSize), b}, nil
}

func (c *chunk) flush(f *os.File, at int64) error {
	if stat, err := f.Stat(); err == nil && stat.Size() < at+chunkSize {
		return errCut
	}
	return unix.Msync(c.bytes, unix.MS_SYNC)
}

func (c *chunk) unmap() error { return unix.Munmap(c.bytes) }

// lock keeps other processes out until the file is closed.
func lock(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errLocked
	}
	return nil
}
