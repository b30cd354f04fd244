//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly) || unmapped

package spool

import (
	"io"
	"os"
	"unsafe"
)

// mapFile reads the file, where it cannot be mapped. Each change is written to it at once (touched), so that a kill loses no
// more than elsewhere; but all that is spooled is in memory, up to Options.Max. The build tag "unmapped" has it tested.
func mapFile(f *os.File, size int64) ([]byte, error) {
	if size == 0 {
		return []byte{}, nil
	}
	words := make([]uint64, size/8)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), size)
	_, err := f.ReadAt(b, 0)
	if err == io.EOF {
		err = nil
	}
	return b, err
}

func unmapFile([]byte) {}

// touched writes b to its place. What cannot be written is read as torn after a crash.
func touched(f *os.File, b []byte, at int64) { _, _ = f.WriteAt(b, at) }

func syncFile(f *os.File, _ []byte, _, _ int64) error { return f.Sync() }

func rest([]byte) {}
