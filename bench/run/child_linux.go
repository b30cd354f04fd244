package main

import "syscall"

// dieWithParent keeps a child from outliving the runner, even one that was killed, and from getting the terminal's
// Ctrl-C before the runner does.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
