//go:build !unix

package provider

// stale cannot look at the socket here; the retry on a fresh connection covers it.
func (c *upstreamConn) stale() bool { return false }
