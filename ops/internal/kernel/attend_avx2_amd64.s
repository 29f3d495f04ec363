//go:build !purego

#include "textflag.h"

// A panel is done in two halves of four rows. Sixteen lanes are two registers:
// row r of the half keeps them in Y(4 + 2r) and Y(5 + 2r).

#define FMA2(ptr, c0, c1) \
	VBROADCASTSS ptr, Y2  \
	VFMADD231PS Y0, Y2, c0 \
	VFMADD231PS Y1, Y2, c1

#define ZERO8 \
	VXORPS Y4, Y4, Y4    \
	VXORPS Y5, Y5, Y5    \
	VXORPS Y6, Y6, Y6    \
	VXORPS Y7, Y7, Y7    \
	VXORPS Y8, Y8, Y8    \
	VXORPS Y9, Y9, Y9    \
	VXORPS Y10, Y10, Y10 \
	VXORPS Y11, Y11, Y11

// SCORE stores a row of scores, and steps to the next.
#define SCORE(c0, c1) \
	VMOVUPS c0, (DI)    \
	VMOVUPS c1, 32(DI)  \
	ADDQ R8, DI

// func attendScoresAVX2(dst *float32, ldd int, q, k *float32, d, tiles int)
TEXT ·attendScoresAVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), R14
	MOVQ ldd+8(FP), R8
	SHLQ $2, R8
	MOVQ k+24(FP), BX
	MOVQ d+32(FP), R9
	SHLQ $6, R9              // bytes of a tile
	MOVQ tiles+40(FP), DX

tile:
	MOVQ q+16(FP), R13
	MOVQ R14, DI
	MOVQ $2, AX

half:
	MOVQ R13, SI
	MOVQ BX, R15
	MOVQ d+32(FP), CX
	ZERO8

loop:
	VMOVUPS (R15), Y0
	VMOVUPS 32(R15), Y1
	PREFETCHT0 (R15)(R9*1)
	FMA2(0(SI), Y4, Y5)
	FMA2(4(SI), Y6, Y7)
	FMA2(8(SI), Y8, Y9)
	FMA2(12(SI), Y10, Y11)
	ADDQ $64, R15
	ADDQ $32, SI
	DECQ CX
	JNZ  loop
	SCORE(Y4, Y5)
	SCORE(Y6, Y7)
	SCORE(Y8, Y9)
	SCORE(Y10, Y11)
	ADDQ $16, R13
	DECQ AX
	JNZ  half
	ADDQ R9, BX
	ADDQ $64, R14
	DECQ DX
	JNZ  tile
	VZEROUPPER
	RET

#define ADDOUT(c0, c1) \
	VADDPS (DI), c0, c0   \
	VADDPS 32(DI), c1, c1 \
	VMOVUPS c0, (DI)      \
	VMOVUPS c1, 32(DI)    \
	ADDQ R9, DI

// func attendValuesAVX2(dst, w *float32, ldw int, v *float32, n, width int)
TEXT ·attendValuesAVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), R14
	MOVQ ldw+16(FP), R8
	SHLQ $2, R8
	LEAQ (R8)(R8*2), R11
	MOVQ v+24(FP), BX
	MOVQ width+40(FP), DX
	MOVQ DX, R9
	SHLQ $2, R9              // bytes of a value
	MOVQ n+32(FP), R10
	IMULQ R9, R10

columns:
	MOVQ w+8(FP), R13
	MOVQ R14, DI
	MOVQ $2, AX

half:
	MOVQ R13, SI
	MOVQ BX, R15
	MOVQ n+32(FP), CX
	ZERO8

loop:
	VMOVUPS (R15), Y0
	VMOVUPS 32(R15), Y1
	PREFETCHT0 (R15)(R10*1)
	FMA2(0(SI), Y4, Y5)
	FMA2(0(SI)(R8*1), Y6, Y7)
	FMA2(0(SI)(R8*2), Y8, Y9)
	FMA2(0(SI)(R11*1), Y10, Y11)
	ADDQ R9, R15
	ADDQ $4, SI
	DECQ CX
	JNZ  loop
	ADDOUT(Y4, Y5)
	ADDOUT(Y6, Y7)
	ADDOUT(Y8, Y9)
	ADDOUT(Y10, Y11)
	LEAQ (R13)(R8*4), R13
	DECQ AX
	JNZ  half
	ADDQ $64, BX
	ADDQ $64, R14
	SUBQ $16, DX
	JNZ  columns
	VZEROUPPER
	RET
