//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package spool

import "os"

// lock cannot keep anybody out here.
func lock(*os.File) error { return nil }
