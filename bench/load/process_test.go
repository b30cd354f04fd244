//go:build linux

package load

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The process clock must count what threads really did: work on two threads, one of which ends, against sleep.
func TestCPUCountsWorkNotTime(t *testing.T) {
	me := Process(os.Getpid())
	before := cpu(t, me)
	time.Sleep(50 * time.Millisecond)
	idle := cpu(t, me)
	if d := idle - before; d > 25*time.Millisecond {
		t.Errorf("sleeping 50 ms cost %v", d)
	}
	spin(60 * time.Millisecond)
	if d := cpu(t, me) - idle; d < 20*time.Millisecond || d > 500*time.Millisecond {
		t.Errorf("60 ms of work count as %v", d) // far less than 60 if the machine is shared, but never nothing
	}
}

// It agrees with the sum of the scheduler's figures of all threads, which is the same accounting read another way.
func TestCPUAgreesWithSchedstat(t *testing.T) {
	me := Process(os.Getpid())
	spin(50 * time.Millisecond)
	clock, threads := cpu(t, me), schedstat(t)
	// Threads that ended are missing from schedstat, and a running thread's last tick may be missing from either.
	if threads > clock+20*time.Millisecond || clock > threads+500*time.Millisecond {
		t.Errorf("process clock %v, threads' schedstat %v", clock, threads)
	}
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
	before, err := me.RSS()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 32<<20)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	after, err := me.RSS()
	if d := after - before; err != nil || d < 28<<20 || d > 256<<20 {
		t.Errorf("32 MiB more (several times that under the race detector) count as %d bytes, %v", d, err)
	}
	b[0] = 2 // keeps b until here
}

func cpu(t *testing.T, p Process) time.Duration {
	t.Helper()
	d, err := p.CPU()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func spin(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}

func schedstat(t *testing.T) (sum time.Duration) {
	files, err := filepath.Glob("/proc/self/task/*/schedstat")
	if err != nil || len(files) == 0 {
		t.Skip("no schedstat here")
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // the thread ended
		}
		var ran, waited time.Duration
		if _, err = fmt.Fscan(strings.NewReader(string(b)), &ran, &waited); err != nil {
			t.Fatal(err)
		}
		sum += ran
	}
	return sum
}
