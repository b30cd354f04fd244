//go:build !linux

package main

import (
	"errors"
	"syscall"
)

func dieWithParent() *syscall.SysProcAttr { return nil }

func renice(n int) error {
	if n == 0 {
		return nil
	}
	return errors.New("-nice works on Linux only")
}
