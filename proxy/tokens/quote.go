package tokens

import "bytes"

// stringEnd is where the closing quote is of a string of JSON whose content begins at i, -1 if it does not end.
func stringEnd(raw []byte, i int) int {
	n := bytes.IndexByte(raw[i:], '"')
	switch {
	case n < 0:
		return -1
	case raw[i+n-1] != '\\':
		return i + n
	}
	return unescapedQuote(raw, i) // code and JSON within strings have many that are escaped
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
