//go:build (linux || darwin || freebsd || netbsd || openbsd || dragonfly) && !unmapped

package spool

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapFile has the file's bytes as memory: what is written there outlives the process.
func mapFile(f *os.File, size int64) ([]byte, error) {
	if size == 0 {
		return []byte{}, nil
	}
	return unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func unmapFile(b []byte) {
	if len(b) > 0 {
		_ = unix.Munmap(b)
	}
}

// touched says that b, which is at that place of the file, was changed: the kernel knows.
func touched(*os.File, []byte, int64) {}

// syncFile waits until bytes from one offset to another are on disk.
func syncFile(_ *os.File, b []byte, from, to int64) error {
	from &^= int64(os.Getpagesize() - 1)
	if from >= to {
		return nil
	}
	return unix.Msync(b[from:to], unix.MS_SYNC)
}

// rest says that the memory will hardly be used again: it no longer counts as the process's.
func rest(b []byte) {
	if len(b) > 0 {
		_ = unix.Madvise(b, unix.MADV_DONTNEED)
	}
}
