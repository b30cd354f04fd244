package load

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Process is another process of this machine, seen through the kernel's accounting.
type Process int

// CPU is the time all threads of the process have run so far, those that ended included, in nanoseconds' resolution.
// (/proc/PID/stat counts in steps of 10 ms, and /proc/PID/task/*/schedstat forgets threads that ended.)
func (p Process) CPU() (time.Duration, error) { return cpuClock(int(p)) }

// RSS is the memory of the process that is resident, in bytes, with the parts of its files that the kernel has mapped: of a large
// program some 40 MB of code and constants, which gives way when others need it.
func (p Process) RSS() (int64, error) { return p.rollup("Rss:") }

// Anonymous is what of it the process has written, in bytes: nobody else can have it.
func (p Process) Anonymous() (int64, error) { return p.rollup("Anonymous:") }

func (p Process) rollup(name string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", int(p)))
	if err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		f := bytes.Fields(lines.Bytes())
		if len(f) == 3 && string(f[0]) == name {
			kib, err := strconv.ParseInt(string(f[1]), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d: no %s in smaps_rollup", int(p), name)
}
