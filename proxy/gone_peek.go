//go:build unix && !linux

package proxy

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// peek looks at the next byte without taking it: n is 0 and err nil when the client has closed.
func (c *conn) peek() (n int, err error) {
	err = unix.EAGAIN
	if sc, ok := c.Conn.(syscall.Conn); ok {
		if raw, rerr := sc.SyscallConn(); rerr == nil {
			_ = raw.Control(func(fd uintptr) {
				var one [1]byte
				n, _, err = unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			})
		}
	}
	return n, err
}

func (c *conn) hungUp() bool {
	n, err := c.peek()
	return n == 0 && err == nil || err != nil && err != unix.EAGAIN && err != unix.EINTR
}

func (c *conn) pending() bool {
	n, err := c.peek()
	return n > 0 && err == nil
}
