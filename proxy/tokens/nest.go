package tokens

// nesting is what is known of a place in JSON.
type nesting struct {
	depth   int    // of brackets of one kind
	escaped uint64 // 1: the byte there is, by a backslash before it
	inside  uint64 // all bits are set: it is in a string
}

// closing is how far behind b[0] the bracket is that closes the one before it, which is open; -1 if none does. Brackets of the
// other kind do not matter: within what these enclose, they are in pairs.
func closing(b []byte, open byte) int {
	n, at := nest(b, open, nesting{depth: 1})
	if at.depth == 0 {
		return n
	}
	var last [block]byte
	copy(last[:], b[n:])
	m, at := nest(last[:], open, at)
	if at.depth == 0 {
		return n + m
	}
	return -1
}

// nestEach goes through b until the depth is 0, byte by byte. A backslash escapes quotes and backslashes only: outside of strings
// there is none in JSON.
func nestEach(b []byte, open byte, at nesting) (n int, out nesting) {
	for i, c := range b {
		escaped := at.escaped == 1
		at.escaped = 0
		switch {
		case c == '\\' && !escaped:
			at.escaped = 1
		case c == '"' && !escaped:
			at.inside = ^at.inside
		case at.inside != 0:
		case c == open:
			at.depth++
		case c == open+2:
			if at.depth--; at.depth == 0 {
				return i, at
			}
		}
	}
	return len(b), at
}
