package spool

import (
	"os"

	"golang.org/x/sys/windows"
)

// lock keeps other processes out until the file is closed.
func lock(f *os.File) error {
	if err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{}); err != nil {
		return ErrLocked
	}
	return nil
}
