package load

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm wakes a goroutine at a given moment. The runtime's own timers wait in epoll with millisecond steps when nothing
// else is going on, which at 1,000 requests per second is a whole gap; a timerfd in the same epoll is good to microseconds.
type alarm struct {
	fd   int
	file *os.File
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	return &alarm{fd: fd, file: os.NewFile(uintptr(fd), "timerfd")}, nil
}

// wait returns at t, at once if t is past. If the timer fails it falls back to sleeping, which is late but not wrong.
func (a *alarm) wait(t time.Time) {
	d := time.Until(t)
	if d <= 0 {
		return
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}
	var ticks [8]byte
	if unix.TimerfdSettime(a.fd, 0, &spec, nil) == nil {
		if _, err := a.file.Read(ticks[:]); err == nil {
			return
		}
	}
	time.Sleep(time.Until(t))
}

func (a *alarm) close() error { return a.file.Close() }
