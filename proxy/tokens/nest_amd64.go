package tokens

import "golang.org/x/sys/cpu"

// nest looks at whole blocks of b, and stops behind them or where the depth becomes 0.
func nest(b []byte, open byte, in nesting) (n int, out nesting) {
	if !cpu.X86.HasAVX2 || !cpu.X86.HasPCLMULQDQ || !cpu.X86.HasPOPCNT {
		return nestEach(b[:len(b)/block*block], open, in)
	}
	return nestBlocks(b, open, in)
}

// nestBlocks is nestEach of the whole blocks of b.
//
//go:noescape
func nestBlocks(b []byte, open byte, in nesting) (n int, out nesting)
