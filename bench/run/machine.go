package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// machine is what a reader must know to compare figures. It names no host.
type machine struct {
	Cores  int    `json:"cores"`
	CPU    string `json:"cpu"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Memory string `json:"memory"`
}

func thisMachine() machine {
	return machine{
		Cores:  runtime.NumCPU(),
		CPU:    field("/proc/cpuinfo", "model name"),
		Kernel: kernel(),
		Go:     runtime.Version(),
		Memory: field("/proc/meminfo", "MemTotal"),
	}
}

func (m machine) String() string {
	return fmt.Sprintf("%d cores (%s), %s memory, Linux %s, %s", m.Cores, m.CPU, m.Memory, m.Kernel, m.Go)
}

// kernel is the version without what a distributor or host adds to it.
func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(b)), "-")
	return version
}

// field returns the first value of a name in one of /proc's "name: value" files.
func field(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		k, v, ok := strings.Cut(lines.Text(), ":")
		if ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// raiseFileLimit allows this process and its children as many open files as the system does: a proxy needs two for
// each of 5,000 streams. Setting the limit, even to what it is, makes children inherit it.
func raiseFileLimit() error {
	const need = 2*5000 + 500
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("open files: %w", err)
	}
	l.Cur = l.Max
	if l.Max < need {
		return fmt.Errorf("open files: the hard limit is %d, 5,000 streams need %d", l.Max, need)
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
}
