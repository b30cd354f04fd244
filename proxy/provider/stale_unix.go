//go:build unix

package provider

import "golang.org/x/sys/unix"

// stale tells whether this connection, which rested in the pool, must not be used again. A peek at a live one would
// block; end of file and errors mean that the server has left, and bytes that it said something nobody asked for: an
// error before it closes, or an answer too many.
func (c *upstreamConn) stale() bool {
	if c.raw == nil {
		return false
	}
	// Control, not Read: Read would honour the last request's deadline, which may have passed.
	err := c.raw.Control(c.peek)
	return c.dead || err != nil
}

func (c *upstreamConn) peek(fd uintptr) {
	var one [1]byte
	_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	c.dead = err != unix.EAGAIN && err != unix.EINTR
}
