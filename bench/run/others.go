package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"jarvis-gateway/bench/load"
)

// calm is the share of the cores that others may use before latencies mean little. Ratios of CPU bear far more.
const calm = 0.10

// usage is the CPU time spent so far: by everything on this machine, and by the rig and its processes.
type usage struct {
	all, own time.Duration
	at       time.Time
}

func (b *bench) usage() usage {
	u := usage{all: busy(), at: time.Now()}
	own := []load.Process{load.Process(os.Getpid())}
	for _, c := range b.children {
		own = append(own, load.Process(c.cmd.Process.Pid))
	}
	for _, p := range own {
		if d, err := p.CPU(); err == nil {
			u.own += d
		}
	}
	return u
}

// othersSince is the share of all cores that others used since then: builds, tests, other guests of the host.
func (u usage) othersSince(then usage) float64 {
	others := (u.all - then.all) - (u.own - then.own)
	room := u.at.Sub(then.at) * time.Duration(runtime.NumCPU())
	return max(0, float64(others)/float64(room))
}

// busy adds up the first line of /proc/stat: user, nice, system and stolen time, in hundredths of a second.
// Interrupts are left out: on the loopback they are the rig's own traffic, which nobody's account holds.
func busy() (sum time.Duration) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	const user, nice, system, steal = 1, 2, 3, 8
	for _, i := range []int{user, nice, system, steal} {
		if i < len(f) {
			ticks, _ := strconv.ParseInt(f[i], 10, 64)
			sum += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return sum
}
