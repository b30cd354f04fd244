//go:build !amd64

package tokens

const block = 64

// nest looks at whole blocks of b, and stops behind them or where the depth becomes 0.
func nest(b []byte, open byte, in nesting) (n int, out nesting) {
	return nestEach(b[:len(b)/block*block], open, in)
}
