//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package spool

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock keeps other processes out until the file is closed.
func lock(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return ErrLocked
	}
	return nil
}
