//go:build !linux

package spool

import "os"

// allocate takes the file's room on the disk.
func allocate(f *os.File, size int64) error { return writeZeros(f, size) }
