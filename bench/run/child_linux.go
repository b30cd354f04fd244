package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// dieWithParent keeps a child from outliving the runner, even one that was killed, and from getting the terminal's
// Ctrl-C before the runner does.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// renice changes the priority of all threads of this process. Threads and children of theirs inherit it.
func renice(n int) error {
	if n == 0 {
		return nil
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, _ := strconv.Atoi(t.Name())
		if err = syscall.Setpriority(syscall.PRIO_PROCESS, id, n); err != nil && err != syscall.ESRCH {
			return fmt.Errorf("niceness %d: %w", n, err)
		}
	}
	return nil
}
