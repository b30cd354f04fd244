//go:build !unix

package spool

import (
	"errors"
	"syscall"
)

// noSpace tells whether the disk is full. Windows has two numbers for that, 39 and 112.
func noSpace(err error) bool {
	return errors.Is(err, syscall.Errno(39)) || errors.Is(err, syscall.Errno(112))
}
