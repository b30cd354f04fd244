#include "textflag.h"

DATA signs<>+0(SB)/1, $0x22 // a quote
DATA signs<>+1(SB)/1, $0x5c // a backslash
GLOBL signs<>(SB), RODATA|NOPTR, $2

// func nestBlocks(b []byte, open byte, in nesting) (n int, out nesting)
//
// Of a block it makes words with a bit for each byte, as scan does: AX tells the backslashes, BX the quotes. R8 is escaped,
// R11 has all bits set within a string, R12 is the depth.
TEXT ·nestBlocks(SB), NOSPLIT, $0-88
	MOVQ b_base+0(FP), SI
	MOVQ b_len+8(FP), CX
	MOVQ in_depth+32(FP), R12
	MOVQ in_escaped+40(FP), R8
	MOVQ in_inside+48(FP), R11
	VPBROADCASTB signs<>+0(SB), Y0
	VPBROADCASTB signs<>+1(SB), Y1
	VPBROADCASTB open+24(FP), Y5
	MOVBQZX open+24(FP), AX
	ADDQ $2, AX // what closes has the second next code
	VMOVQ AX, X6
	VPBROADCASTB X6, Y6
	VPCMPEQB Y7, Y7, Y7
	MOVQ $0x5555555555555555, R9 // even places
	MOVQ SI, DI
	ANDQ $~63, CX
	ADDQ SI, CX

next:
	CMPQ DI, CX
	JAE done
	VMOVDQU 0(DI), Y2
	VMOVDQU 32(DI), Y3
	VPCMPEQB Y2, Y1, Y8
	VPCMPEQB Y3, Y1, Y9
	VPMOVMSKB Y8, AX
	VPMOVMSKB Y9, DX
	SHLQ $32, DX
	ORQ DX, AX
	VPCMPEQB Y2, Y0, Y8
	VPCMPEQB Y3, Y0, Y9
	VPMOVMSKB Y8, BX
	VPMOVMSKB Y9, DX
	SHLQ $32, DX
	ORQ DX, BX

	// Mostly no backslash is behind another or escaped, and each escapes what follows.
	LEAQ (R8)(AX*2), R10
	TESTQ AX, R10
	JNZ runs
	MOVQ AX, R8
	SHRQ $63, R8

quotes:
	// R10 tells what is escaped. A bit of R13 is whether the quotes up to there are odd: then it is in a string.
	NOTQ R10
	ANDQ R10, BX
	VMOVQ BX, X10
	VPCLMULQDQ $0, X7, X10, X10
	VMOVQ X10, R13
	XORQ R11, R13
	MOVQ R13, R11
	SARQ $63, R11
	NOTQ R13
	VPCMPEQB Y2, Y5, Y8
	VPCMPEQB Y3, Y5, Y9
	VPMOVMSKB Y8, AX
	VPMOVMSKB Y9, DX
	SHLQ $32, DX
	ORQ DX, AX
	ANDQ R13, AX // what opens
	VPCMPEQB Y2, Y6, Y8
	VPCMPEQB Y3, Y6, Y9
	VPMOVMSKB Y8, BX
	VPMOVMSKB Y9, DX
	SHLQ $32, DX
	ORQ DX, BX
	ANDQ R13, BX // what closes
	POPCNTQ BX, DX
	CMPQ DX, R12
	JGE near

pass:
	POPCNTQ AX, AX
	ADDQ AX, R12
	SUBQ DX, R12
	ADDQ $64, DI
	JMP next

near:
	// So many close that one may end it: which has as many before it as open, and the depth.
	MOVQ BX, R10
	MOVQ R12, BX

each:
	LEAQ -1(R10), R13
	ANDQ R10, R13 // without the first that is left
	MOVQ R10, DX
	XORQ R13, DX
	DECQ DX
	ANDQ AX, DX
	POPCNTQ DX, DX
	DECQ BX
	ADDQ BX, DX
	JZ found
	MOVQ R13, R10
	TESTQ R10, R10
	JNZ each
	POPCNTQ AX, AX
	ADDQ BX, AX
	MOVQ AX, R12
	ADDQ $64, DI
	JMP next

found:
	BSFQ R10, R10
	ADDQ R10, DI
	XORQ R12, R12
	JMP done

runs:
	// See scan.
	MOVQ R8, R10
	NOTQ R10
	ANDQ R10, AX
	LEAQ (AX)(AX*1), R10
	NOTQ R10
	ANDQ AX, R10
	ANDQ R9, R10
	ADDQ AX, R10
	XORQ R9, R10
	ANDQ R10, AX
	LEAQ (R8)(AX*2), R10
	MOVQ AX, R8
	SHRQ $63, R8
	JMP quotes

done:
	SUBQ SI, DI
	MOVQ DI, n+56(FP)
	MOVQ R12, out_depth+64(FP)
	MOVQ R8, out_escaped+72(FP)
	MOVQ R11, out_inside+80(FP)
	VZEROUPPER
	RET
