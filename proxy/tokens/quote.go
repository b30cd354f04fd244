package tokens

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// stringEnd is where the closing quote is of a string of JSON whose content begins at i, -1 if it does not end.
func stringEnd(raw []byte, i int) int {
	start := i
	for ; i-start < short && i+8 <= len(raw); i += 8 { // most strings are short, and a call takes longer than they
		word := binary.LittleEndian.Uint64(raw[i:])
		quotes, slashes := marked(word, '"'), marked(word, '\\')
		if slashes&(quotes-1)&^quotes != 0 {
			return unescapedQuote(raw, start)
		}
		if quotes != 0 {
			return i + bits.TrailingZeros64(quotes)/8
		}
	}
	n := bytes.IndexByte(raw[i:], '"')
	switch {
	case n < 0:
		return -1
	case raw[i+n-1] != '\\':
		return i + n
	}
	return unescapedQuote(raw, start) // code and JSON within strings have many that are escaped
}

const short = 32 // bytes

// marked tells the bytes of a word that are c, by their highest bit. Only the first mark is surely right.
func marked(word uint64, c byte) uint64 {
	const each = 0x0101010101010101
	word ^= each * uint64(c)
	return (word - each) &^ word & (each << 7)
}

// eachQuote finds the first quote from i on that no backslash escapes: one behind an even number of them.
func eachQuote(raw []byte, i int) int {
	for start := i; ; i++ {
		n := bytes.IndexByte(raw[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		slashes := i
		for slashes > start && raw[slashes-1] == '\\' {
			slashes--
		}
		if (i-slashes)%2 == 0 {
			return i
		}
	}
}
