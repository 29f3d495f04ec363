//go:build !purego

#include "textflag.h"

DATA signs<>+0(SB)/8, $0x8080808080808080
GLOBL signs<>(SB), RODATA|NOPTR, $8
DATA ones<>+0(SB)/8, $0x0001000100010001
GLOBL ones<>(SB), RODATA|NOPTR, $8

// QK adds the products of a query with the keys Y0 and Y1, whose magnitudes are
// in Y2 and Y3: the sign of a key goes to the query, so that no pair of
// products leaves int16.
#define QK(ptr, c0, c1) \
	VPBROADCASTD ptr, Y4      \
	VPSIGNB Y0, Y4, Y5        \
	VPSIGNB Y1, Y4, Y6        \
	VPMADDUBSW Y5, Y2, Y5     \
	VPMADDUBSW Y6, Y3, Y6     \
	VPMADDWD Y15, Y5, Y5      \
	VPMADDWD Y15, Y6, Y6      \
	VPADDD Y5, c0, c0         \
	VPADDD Y6, c1, c1

#define SCORE(n, c0, c1) \
	VBROADCASTSS (4*n)(R11), Y4 \
	VCVTDQ2PS c0, c0            \
	VCVTDQ2PS c1, c1            \
	VMULPS Y4, c0, c0           \
	VMULPS Y4, c1, c1           \
	VMULPS (R12), c0, c0        \
	VMULPS 32(R12), c1, c1      \
	VMOVUPS c0, (DI)            \
	VMOVUPS c1, 32(DI)          \
	ADDQ R8, DI

// A panel is done in quarters of two rows, in Y8-Y11.
//
// func attendScores8AVX2(dst *float32, ldd int, q *int8, qscales *[8]float32, k *byte, scales *float32, d4, tiles int)
TEXT ·attendScores8AVX2(SB), NOSPLIT, $0-64
	MOVQ dst+0(FP), R14
	MOVQ ldd+8(FP), R8
	SHLQ $2, R8
	MOVQ k+32(FP), BX
	MOVQ scales+40(FP), R12
	MOVQ d4+48(FP), R9
	SHLQ $6, R9              // bytes of a tile
	MOVQ tiles+56(FP), DX
	VPBROADCASTQ signs<>(SB), Y14
	VPBROADCASTQ ones<>(SB), Y15

tile:
	MOVQ q+16(FP), R13
	MOVQ qscales+24(FP), R11
	MOVQ R14, DI
	MOVQ $4, AX

quarter:
	MOVQ R13, SI
	MOVQ BX, R15
	MOVQ d4+48(FP), CX
	VPXOR Y8, Y8, Y8
	VPXOR Y9, Y9, Y9
	VPXOR Y10, Y10, Y10
	VPXOR Y11, Y11, Y11

loop:
	VPXOR (R15), Y14, Y0
	VPXOR 32(R15), Y14, Y1
	PREFETCHT0 (R15)(R9*1)
	VPABSB Y0, Y2
	VPABSB Y1, Y3
	QK(0(SI), Y8, Y9)
	QK(4(SI), Y10, Y11)
	ADDQ $64, R15
	ADDQ $32, SI
	DECQ CX
	JNZ  loop
	SCORE(0, Y8, Y9)
	SCORE(1, Y10, Y11)
	ADDQ $8, R13
	ADDQ $8, R11
	DECQ AX
	JNZ  quarter
	ADDQ R9, BX
	ADDQ $64, R12
	ADDQ $64, R14
	DECQ DX
	JNZ  tile
	VZEROUPPER
	RET

// PV adds the products of weights, which fit 7 bits, with the values Y0 and Y1.
#define PV(ptr, c0, c1) \
	VPBROADCASTD ptr, Y4  \
	VPMADDUBSW Y0, Y4, Y5 \
	VPMADDUBSW Y1, Y4, Y6 \
	VPMADDWD Y15, Y5, Y5  \
	VPMADDWD Y15, Y6, Y6  \
	VPADDD Y5, c0, c0     \
	VPADDD Y6, c1, c1

#define ADDOUT(c0, c1) \
	VBROADCASTSS (R12), Y4      \
	VCVTDQ2PS c0, c0            \
	VCVTDQ2PS c1, c1            \
	VFMADD213PS (DI), Y4, c0    \
	VFMADD213PS 32(DI), Y4, c1  \
	VMOVUPS c0, (DI)            \
	VMOVUPS c1, 32(DI)          \
	ADDQ R9, DI                 \
	ADDQ R10, R12

// A panel is done in halves of four rows, in Y7-Y14, sixteen elements at a time.
//
// func attendValues8AVX2(dst *float32, w *int8, ldw int, scales *float32, lds int, v *int8, width int)
TEXT ·attendValues8AVX2(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), R14
	MOVQ ldw+16(FP), R8
	LEAQ (R8)(R8*2), R11
	MOVQ lds+32(FP), R10
	SHLQ $2, R10
	MOVQ v+40(FP), BX
	MOVQ width+48(FP), DX
	MOVQ DX, R9
	SHLQ $2, R9              // bytes of four positions, and of an output
	VPBROADCASTQ ones<>(SB), Y15

columns:
	MOVQ w+8(FP), R13
	MOVQ scales+24(FP), R12
	MOVQ R14, DI
	MOVQ $2, AX

half:
	MOVQ R13, SI
	MOVQ BX, R15
	MOVQ $16, CX
	VPXOR Y7, Y7, Y7
	VPXOR Y8, Y8, Y8
	VPXOR Y9, Y9, Y9
	VPXOR Y10, Y10, Y10
	VPXOR Y11, Y11, Y11
	VPXOR Y12, Y12, Y12
	VPXOR Y13, Y13, Y13
	VPXOR Y14, Y14, Y14

loop:
	VMOVDQU (R15), Y0
	VMOVDQU 32(R15), Y1
	PV(0(SI), Y7, Y8)
	PV(0(SI)(R8*1), Y9, Y10)
	PV(0(SI)(R8*2), Y11, Y12)
	PV(0(SI)(R11*1), Y13, Y14)
	ADDQ R9, R15
	ADDQ $4, SI
	DECQ CX
	JNZ  loop
	ADDOUT(Y7, Y8)
	ADDOUT(Y9, Y10)
	ADDOUT(Y11, Y12)
	ADDOUT(Y13, Y14)
	LEAQ (R13)(R8*4), R13
	DECQ AX
	JNZ  half
	ADDQ $64, BX
	ADDQ $64, R14
	SUBQ $16, DX
	JNZ  columns
	VZEROUPPER
	RET
