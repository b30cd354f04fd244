package counter

import (
	"os"

	"golang.org/x/sys/windows"
)

// lock keeps other processes out until the file is closed. It locks a byte beyond the file's end: locked bytes cannot be read.
func lock(f *os.File) error {
	beyond := &windows.Overlapped{OffsetHigh: 1}
	if err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, beyond); err != nil {
		return errLocked
	}
	return nil
}
