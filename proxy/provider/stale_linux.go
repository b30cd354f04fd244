package provider

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// peek is on the way of every request. The call cannot block, so that the scheduler need not know of it, and the
// sender's address, which unix.Recvfrom would allocate, is not asked for.
func (c *upstreamConn) peek(fd uintptr) {
	var one byte
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&one)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	c.dead = errno != unix.EAGAIN && errno != unix.EINTR
}
