//go:build unix

package provider

import "golang.org/x/sys/unix"

// stale tells whether the server has closed this idle connection: a peek then gives end of file or an error, where a
// live socket would block. TLS records that wait unread (session tickets) are no sign of death.
func (c *upstreamConn) stale() bool {
	if c.raw == nil {
		return false
	}
	dead := false
	// Control, not Read: Read would honour the last request's deadline, which may have passed.
	err := c.raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		dead = n == 0 && err == nil || err != nil && err != unix.EAGAIN && err != unix.EINTR
	})
	return dead || err != nil
}
