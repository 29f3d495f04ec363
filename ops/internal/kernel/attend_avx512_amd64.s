//go:build !purego

#include "textflag.h"

// FMA2 multiplies one broadcast element with the two registers Z0 and Z1.
#define FMA2(ptr, t, c0, c1) \
	VBROADCASTSS ptr, t  \
	VFMADD231PS Z0, t, c0 \
	VFMADD231PS Z1, t, c1

#define FMA1(ptr, t, c0) \
	VBROADCASTSS ptr, t  \
	VFMADD231PS Z0, t, c0

#define ZERO8(a, b, c, d, e, f, g, h) \
	VPXORD a, a, a \
	VPXORD b, b, b \
	VPXORD c, c, c \
	VPXORD d, d, d \
	VPXORD e, e, e \
	VPXORD f, f, f \
	VPXORD g, g, g \
	VPXORD h, h, h

// SCORES stores eight rows at R14, R8 bytes apart, off bytes in. Clobbers R15.
#define SCORES(off, a, b, c, d, e, f, g, h) \
	VMOVUPS a, off(R14)          \
	VMOVUPS b, off(R14)(R8*1)    \
	VMOVUPS c, off(R14)(R8*2)    \
	VMOVUPS e, off(R14)(R8*4)    \
	LEAQ (R14)(R11*1), R15       \
	VMOVUPS d, off(R15)          \
	VMOVUPS f, off(R15)(R8*2)    \
	VMOVUPS h, off(R15)(R8*4)    \
	LEAQ (R15)(R11*1), R15       \
	VMOVUPS g, off(R15)

// Rows 0-7 by the first tile of a pair are in Z16-Z23, by the second in
// Z24-Z31. While a pair is multiplied the next is brought into the cache.
//
// func attendScoresAVX512(dst *float32, ldd int, q, k *float32, d, tiles int)
TEXT ·attendScoresAVX512(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), R14
	MOVQ ldd+8(FP), R8
	SHLQ $2, R8
	LEAQ (R8)(R8*2), R11
	MOVQ k+24(FP), BX
	MOVQ d+32(FP), R9
	SHLQ $6, R9                 // bytes of a tile
	LEAQ (R9)(R9*2), R10
	MOVQ tiles+40(FP), DX
	SUBQ $2, DX
	JLT  last

pair:
	MOVQ q+16(FP), SI
	MOVQ d+32(FP), CX
	ZERO8(Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)
	ZERO8(Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31)

pairLoop:
	VMOVUPS (BX), Z0
	VMOVUPS (BX)(R9*1), Z1
	PREFETCHT0 (BX)(R9*2)
	PREFETCHT0 (BX)(R10*1)
	FMA2(0(SI), Z2, Z16, Z24)
	FMA2(4(SI), Z3, Z17, Z25)
	FMA2(8(SI), Z4, Z18, Z26)
	FMA2(12(SI), Z5, Z19, Z27)
	FMA2(16(SI), Z2, Z20, Z28)
	FMA2(20(SI), Z3, Z21, Z29)
	FMA2(24(SI), Z4, Z22, Z30)
	FMA2(28(SI), Z5, Z23, Z31)
	ADDQ $64, BX
	ADDQ $32, SI
	DECQ CX
	JNZ  pairLoop
	SCORES(0, Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)
	SCORES(64, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31)
	ADDQ $128, R14
	ADDQ R9, BX
	SUBQ $2, DX
	JGE  pair

last:
	ADDQ $2, DX
	JZ   done
	MOVQ q+16(FP), SI
	MOVQ d+32(FP), CX
	ZERO8(Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)

lastLoop:
	VMOVUPS (BX), Z0
	FMA1(0(SI), Z2, Z16)
	FMA1(4(SI), Z3, Z17)
	FMA1(8(SI), Z4, Z18)
	FMA1(12(SI), Z5, Z19)
	FMA1(16(SI), Z2, Z20)
	FMA1(20(SI), Z3, Z21)
	FMA1(24(SI), Z4, Z22)
	FMA1(28(SI), Z5, Z23)
	ADDQ $64, BX
	ADDQ $32, SI
	DECQ CX
	JNZ  lastLoop
	SCORES(0, Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)

done:
	VZEROUPPER
	RET

// The weights of rows 0, 1, 2 and 4 are found from SI, of 3, 5 and 7 from R13,
// of 6 from DX.
#define ROWS \
	MOVQ SI, R12             \
	LEAQ (SI)(R11*1), R13    \
	LEAQ (R13)(R11*1), DX    \
	MOVQ BX, R15

#define NEXT \
	ADDQ $4, R12 \
	ADDQ $4, R13 \
	ADDQ $4, DX  \
	ADDQ R9, R15 \
	DECQ CX

// ADDOUT adds a row of the panel of outputs, and steps to the next.
#define ADDOUT2(c0, c1) \
	VADDPS (DI), c0, c0    \
	VADDPS 64(DI), c1, c1  \
	VMOVUPS c0, (DI)       \
	VMOVUPS c1, 64(DI)     \
	ADDQ R9, DI

#define ADDOUT1(c0) \
	VADDPS (DI), c0, c0 \
	VMOVUPS c0, (DI)    \
	ADDQ R9, DI

// A panel takes 32 elements of the values at a time, then 16. While they are
// summed, those of the next n positions are brought into the cache.
//
// func attendValuesAVX512(dst, w *float32, ldw int, v *float32, n, width int)
TEXT ·attendValuesAVX512(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), R14
	MOVQ w+8(FP), SI
	MOVQ ldw+16(FP), R8
	SHLQ $2, R8
	LEAQ (R8)(R8*2), R11
	MOVQ v+24(FP), BX
	MOVQ width+40(FP), R9
	SHLQ $2, R9              // bytes of a value
	MOVQ n+32(FP), R10
	IMULQ R9, R10
	MOVQ width+40(FP), AX
	SUBQ $32, AX
	JLT  last

wide:
	MOVQ n+32(FP), CX
	ROWS
	ZERO8(Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)
	ZERO8(Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31)

wideLoop:
	VMOVUPS (R15), Z0
	VMOVUPS 64(R15), Z1
	PREFETCHT0 (R15)(R10*1)
	PREFETCHT0 64(R15)(R10*1)
	FMA2(0(R12), Z2, Z16, Z24)
	FMA2(0(R12)(R8*1), Z3, Z17, Z25)
	FMA2(0(R12)(R8*2), Z4, Z18, Z26)
	FMA2(0(R13), Z5, Z19, Z27)
	FMA2(0(R12)(R8*4), Z2, Z20, Z28)
	FMA2(0(R13)(R8*2), Z3, Z21, Z29)
	FMA2(0(DX), Z4, Z22, Z30)
	FMA2(0(R13)(R8*4), Z5, Z23, Z31)
	NEXT
	JNZ  wideLoop
	MOVQ R14, DI
	ADDOUT2(Z16, Z24)
	ADDOUT2(Z17, Z25)
	ADDOUT2(Z18, Z26)
	ADDOUT2(Z19, Z27)
	ADDOUT2(Z20, Z28)
	ADDOUT2(Z21, Z29)
	ADDOUT2(Z22, Z30)
	ADDOUT2(Z23, Z31)
	ADDQ $128, R14
	ADDQ $128, BX
	SUBQ $32, AX
	JGE  wide

last:
	ADDQ $32, AX
	JZ   done
	MOVQ n+32(FP), CX
	ROWS
	ZERO8(Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)

lastLoop:
	VMOVUPS (R15), Z0
	FMA1(0(R12), Z2, Z16)
	FMA1(0(R12)(R8*1), Z3, Z17)
	FMA1(0(R12)(R8*2), Z4, Z18)
	FMA1(0(R13), Z5, Z19)
	FMA1(0(R12)(R8*4), Z2, Z20)
	FMA1(0(R13)(R8*2), Z3, Z21)
	FMA1(0(DX), Z4, Z22)
	FMA1(0(R13)(R8*4), Z5, Z23)
	NEXT
	JNZ  lastLoop
	MOVQ R14, DI
	ADDOUT1(Z16)
	ADDOUT1(Z17)
	ADDOUT1(Z18)
	ADDOUT1(Z19)
	ADDOUT1(Z20)
	ADDOUT1(Z21)
	ADDOUT1(Z22)
	ADDOUT1(Z23)

done:
	VZEROUPPER
	RET
