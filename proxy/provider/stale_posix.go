//go:build unix && !linux

package provider

import "golang.org/x/sys/unix"

func (c *upstreamConn) peek(fd uintptr) {
	var one [1]byte
	_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	c.dead = err != unix.EAGAIN && err != unix.EINTR
}
