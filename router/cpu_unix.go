//go:build unix

package router

import (
	"syscall"
	"time"
)

// processTime is how long the process has kept processors busy.
func processTime() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}
