//go:build unix

package provider

// stale tells whether this connection, which rested in the pool, must not be used again. A peek at a live one would
// block; end of file and errors mean that the server has left, and bytes that it said something nobody asked for: an
// error before it closes, or an answer too many.
func (c *upstreamConn) stale() bool {
	if c.raw == nil {
		return false
	}
	if c.look == nil {
		c.look = c.peek
	}
	// Control, not Read: Read would honour the last request's deadline, which may have passed.
	err := c.raw.Control(c.look)
	return c.dead || err != nil
}
