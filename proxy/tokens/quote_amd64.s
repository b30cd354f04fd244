#include "textflag.h"

DATA marks<>+0(SB)/1, $0x22 // a quote
DATA marks<>+1(SB)/1, $0x5c // a backslash
GLOBL marks<>(SB), RODATA|NOPTR, $2

// func scan(b []byte, escaped uint64) (n int, next uint64)
//
// Of a block it makes two words, with a bit for each byte: AX tells the backslashes, BX the quotes. R8 is escaped.
TEXT ·scan(SB), NOSPLIT, $0-48
	MOVQ b_base+0(FP), SI
	MOVQ b_len+8(FP), CX
	MOVQ escaped+24(FP), R8
	VPBROADCASTB marks<>+0(SB), Y0
	VPBROADCASTB marks<>+1(SB), Y1
	MOVQ $0x5555555555555555, R9 // even places
	MOVQ SI, DI
	ANDQ $~63, CX
	ADDQ SI, CX

next:
	CMPQ DI, CX
	JAE done
	VMOVDQU 0(DI), Y2
	VMOVDQU 32(DI), Y3
	VPCMPEQB Y2, Y1, Y4
	VPCMPEQB Y3, Y1, Y5
	VPCMPEQB Y2, Y0, Y2
	VPCMPEQB Y3, Y0, Y3
	VPMOVMSKB Y4, AX
	VPMOVMSKB Y5, DX
	SHLQ $32, DX
	ORQ DX, AX
	VPMOVMSKB Y2, BX
	VPMOVMSKB Y3, DX
	SHLQ $32, DX
	ORQ DX, BX

	// Mostly no backslash is behind another or escaped, and each escapes what follows.
	LEAQ (R8)(AX*2), R10
	TESTQ AX, R10
	JNZ runs
	MOVQ AX, R8
	SHRQ $63, R8

quotes:
	// R10 tells what is escaped.
	NOTQ R10
	ANDQ R10, BX
	JNZ found
	ADDQ $64, DI
	JMP next

runs:
	// Of a run each second backslash escapes, from the first on. An addition carries through the runs that begin at even
	// places, and leaves the bits of the others, which tells where in each run those that escape are.
	MOVQ R8, R10
	NOTQ R10
	ANDQ R10, AX // without one that is escaped itself
	LEAQ (AX)(AX*1), R10
	NOTQ R10
	ANDQ AX, R10
	ANDQ R9, R10 // the beginnings of runs at even places
	ADDQ AX, R10
	XORQ R9, R10
	ANDQ R10, AX // those that escape
	LEAQ (R8)(AX*2), R10
	MOVQ AX, R8
	SHRQ $63, R8
	JMP quotes

found:
	BSFQ BX, BX
	ADDQ BX, DI

done:
	SUBQ SI, DI
	MOVQ DI, n+32(FP)
	MOVQ R8, next+40(FP)
	VZEROUPPER
	RET
