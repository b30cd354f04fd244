//go:build !amd64

package tokens

// unescapedQuote is eachQuote.
func unescapedQuote(raw []byte, i int) int { return eachQuote(raw, i) }
