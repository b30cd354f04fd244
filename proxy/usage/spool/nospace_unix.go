//go:build unix

package spool

import (
	"errors"
	"syscall"
)

// noSpace tells whether the disk, or what we may use of it, is full.
func noSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
