//go:build linux

package load

import (
	"fmt"
	"os"
	"runtime/debug"
	"syscall"
	"testing"
	"time"
)

// The clock counts work, not time, and as much of it as the process's own view of itself does.
func TestCPUCountsWork(t *testing.T) {
	unlessBusy(t, func() error { // the runtime may have something to do, or a pause come between two looks
		me := Process(os.Getpid())
		cpu0, own0 := cpu(t, me), rusage(t)
		time.Sleep(50 * time.Millisecond)
		if d := cpu(t, me) - cpu0; d > 25*time.Millisecond {
			return fmt.Errorf("sleeping 50 ms cost %v", d)
		}
		for rusage(t)-own0 < 60*time.Millisecond { // not by the wall clock: this machine may be busy
		}
		if d, own := cpu(t, me)-cpu0, rusage(t)-own0; d < own-20*time.Millisecond || d > own+20*time.Millisecond {
			return fmt.Errorf("getrusage says %v, the clock %v", own, d)
		}
		return nil
	})
}

func TestProcessGone(t *testing.T) {
	const never = Process(1 << 28) // above the kernel's limit on process ids
	if _, err := never.CPU(); err == nil {
		t.Error("CPU of a process that is not there")
	}
	if _, err := never.RSS(); err == nil {
		t.Error("RSS of a process that is not there")
	}
}

func TestRSSGrowsWithMemory(t *testing.T) {
	me := Process(os.Getpid())
	debug.FreeOSMemory() // what the runtime gave back meanwhile would be missing from the difference
	before, err := me.RSS()
	if err != nil {
		t.Fatal(err)
	}
	b, err := syscall.Mmap(-1, 0, 32<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(b)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	after, err := me.RSS()
	if d := after - before; err != nil || d < 28<<20 || d > 48<<20 {
		t.Errorf("32 MiB more count as %d bytes, %v", d, err)
	}
}

func cpu(t *testing.T, p Process) time.Duration {
	t.Helper()
	d, err := p.CPU()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func rusage(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
