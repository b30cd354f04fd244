package load

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// cpuClock reads the CPU clock of a process: the sum over its threads, live and ended, that the scheduler itself keeps.
// The clock's id is the complement of the process id, shifted, with CPUCLOCK_SCHED below (clock_getcpuclockid(3)).
func cpuClock(pid int) (time.Duration, error) {
	const cpuClockSched = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuClockSched), &t); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(t.Nano()), nil
}
