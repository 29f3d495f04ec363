//go:build !purego

#include "textflag.h"
#include "exp_avx512_amd64.h"

// Z0 and Z1 hold keys, four elements of sixteen positions each, without a sign.
#define QK2(ptr, t, c0, c1) \
	VPBROADCASTD ptr, t \
	VPDPBUSD t, Z0, c0  \
	VPDPBUSD t, Z1, c1

#define QK1(ptr, t, c0) \
	VPBROADCASTD ptr, t \
	VPDPBUSD t, Z0, c0

#define START8(a, b, c, d, e, f, g, h) \
	VPBROADCASTD 0(R13), a  \
	VPBROADCASTD 4(R13), b  \
	VPBROADCASTD 8(R13), c  \
	VPBROADCASTD 12(R13), d \
	VPBROADCASTD 16(R13), e \
	VPBROADCASTD 20(R13), f \
	VPBROADCASTD 24(R13), g \
	VPBROADCASTD 28(R13), h

#define SCORE(n, a, ks) \
	VCVTDQ2PS a, a                \
	VMULPS.BCST (4*n)(AX), a, a   \
	VMULPS ks, a, a

// SCORES stores eight rows at R14, R8 bytes apart, off bytes in. Clobbers R15.
#define SCORES(off, ks, a, b, c, d, e, f, g, h) \
	SCORE(0, a, ks) \
	SCORE(1, b, ks) \
	SCORE(2, c, ks) \
	SCORE(3, d, ks) \
	SCORE(4, e, ks) \
	SCORE(5, f, ks) \
	SCORE(6, g, ks) \
	SCORE(7, h, ks) \
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
// func attendScores8VNNI(dst *float32, ldd int, q *int8, starts *[8]int32, qscales *[8]float32, k *byte, scales *float32, d4, tiles int)
TEXT ·attendScores8VNNI(SB), NOSPLIT, $0-72
	MOVQ dst+0(FP), R14
	MOVQ ldd+8(FP), R8
	SHLQ $2, R8
	LEAQ (R8)(R8*2), R11
	MOVQ starts+24(FP), R13
	MOVQ qscales+32(FP), AX
	MOVQ k+40(FP), BX
	MOVQ scales+48(FP), R12
	MOVQ d4+56(FP), R9
	SHLQ $6, R9                 // bytes of a tile
	LEAQ (R9)(R9*2), R10
	MOVQ tiles+64(FP), DX
	SUBQ $2, DX
	JLT  last

pair:
	MOVQ q+16(FP), SI
	MOVQ d4+56(FP), CX
	START8(Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)
	START8(Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31)

pairLoop:
	VMOVDQU32 (BX), Z0
	VMOVDQU32 (BX)(R9*1), Z1
	PREFETCHT0 4096(BX)(R9*2)
	PREFETCHT0 4096(BX)(R10*1)
	QK2(0(SI), Z2, Z16, Z24)
	QK2(4(SI), Z3, Z17, Z25)
	QK2(8(SI), Z4, Z18, Z26)
	QK2(12(SI), Z5, Z19, Z27)
	QK2(16(SI), Z2, Z20, Z28)
	QK2(20(SI), Z3, Z21, Z29)
	QK2(24(SI), Z4, Z22, Z30)
	QK2(28(SI), Z5, Z23, Z31)
	ADDQ $64, BX
	ADDQ $32, SI
	DECQ CX
	JNZ  pairLoop
	VMOVUPS (R12), Z2
	VMOVUPS 64(R12), Z3
	SCORES(0, Z2, Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)
	SCORES(64, Z3, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31)
	ADDQ $128, R14
	ADDQ $128, R12
	ADDQ R9, BX
	SUBQ $2, DX
	JGE  pair

last:
	ADDQ $2, DX
	JZ   done
	MOVQ q+16(FP), SI
	MOVQ d4+56(FP), CX
	START8(Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)

lastLoop:
	VMOVDQU32 (BX), Z0
	QK1(0(SI), Z2, Z16)
	QK1(4(SI), Z3, Z17)
	QK1(8(SI), Z4, Z18)
	QK1(12(SI), Z5, Z19)
	QK1(16(SI), Z2, Z20)
	QK1(20(SI), Z3, Z21)
	QK1(24(SI), Z4, Z22)
	QK1(28(SI), Z5, Z23)
	ADDQ $64, BX
	ADDQ $32, SI
	DECQ CX
	JNZ  lastLoop
	VMOVUPS (R12), Z2
	SCORES(0, Z2, Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)

done:
	VZEROUPPER
	RET

// WEIGH makes sixteen scores into x, and adds their exponentials to the sum.
#define WEIGH(off, x) \
	VMOVUPS off(SI), Z0         \
	VSUBPS Z3, Z0, Z0           \
	VCMPPS $21, Z17, Z0, K1     \
	EXP                         \
	VADDPS Z0, Z28, K1, Z28     \
	VMULPS.Z off(BX), Z0, K1, x

#define ROUND(off, x) \
	VMULPS Z13, x, x   \
	VCVTPS2DQ x, x     \
	VPMOVDB x, off(DI)

// The largest x is found as an integer: those of negative numbers and NaN are
// above that of infinity.
//
// func attendWeights8AVX512(codes *int8, scales *float32, acc *[16]float32, scores, vscales *float32, m float32, blocks int, consts *[12]float32)
TEXT ·attendWeights8AVX512(SB), NOSPLIT, $0-64
	MOVQ codes+0(FP), DI
	MOVQ scales+8(FP), R8
	MOVQ acc+16(FP), R9
	MOVQ scores+24(FP), SI
	MOVQ vscales+32(FP), BX
	VBROADCASTSS m+40(FP), Z3
	MOVQ blocks+48(FP), CX
	MOVQ consts+56(FP), DX
	LOADCONSTS
	MOVL $0xC2800000, AX     // -64, instead of the least that exp32 takes
	VPBROADCASTD AX, Z17
	VMOVUPS (R9), Z28
	VPXORD Z29, Z29, Z29
	MOVL $0x42FE0000, AX     // 127
	VMOVD AX, X14

block:
	WEIGH(0, Z4)
	WEIGH(64, Z5)
	WEIGH(128, Z6)
	WEIGH(192, Z7)
	VPMAXUD Z4, Z5, Z8
	VPMAXUD Z6, Z7, Z9
	VPMAXUD Z8, Z9, Z8
	VEXTRACTI64X4 $1, Z8, Y9
	VPMAXUD Y8, Y9, Y8
	VEXTRACTI128 $1, Y8, X9
	VPMAXUD X8, X9, X8
	VPSHUFD $0x4E, X8, X9
	VPMAXUD X8, X9, X8
	VPSHUFD $0xB1, X8, X9
	VPMAXUD X8, X9, X8
	VMOVD X8, AX
	CMPL AX, $0x7F800000
	JCC  broken
	CMPL AX, $0x03800000     // 2^-120
	JCS  zero
	VDIVSS X14, X8, X9       // the scale
	VMOVSS X9, (R8)
	VDIVSS X8, X14, X13
	VBROADCASTSS X13, Z13
	ROUND(0, Z4)
	ROUND(16, Z5)
	ROUND(32, Z6)
	ROUND(48, Z7)

next:
	ADDQ $64, DI
	ADDQ $4, R8
	ADDQ $256, SI
	ADDQ $256, BX
	DECQ CX
	JNZ  block
	VMOVUPS Z28, (R9)
	VZEROUPPER
	RET

broken:
	MOVL $0x7FC00000, (R8)
	VMOVDQU32 Z29, (DI)
	JMP  next

zero:
	MOVL $0, (R8)
	VMOVDQU32 Z29, (DI)
	JMP  next

// Z0 and Z1 hold values, sixteen elements of four positions each.
#define PV2(ptr, t, c0, c1) \
	VPBROADCASTD ptr, t \
	VPDPBUSD Z0, t, c0  \
	VPDPBUSD Z1, t, c1

#define PV1(ptr, t, c0) \
	VPBROADCASTD ptr, t \
	VPDPBUSD Z0, t, c0

#define ZERO8(a, b, c, d, e, f, g, h) \
	VPXORD a, a, a \
	VPXORD b, b, b \
	VPXORD c, c, c \
	VPXORD d, d, d \
	VPXORD e, e, e \
	VPXORD f, f, f \
	VPXORD g, g, g \
	VPXORD h, h, h

// The weights of rows 0, 1, 2 and 4 are found from R12, of 3, 5 and 7 from R13,
// of 6 from DX.
#define ROWS \
	MOVQ SI, R12             \
	LEAQ (SI)(R11*1), R13    \
	LEAQ (R13)(R11*1), DX    \
	MOVQ $16, CX             \
	MOVQ BX, R15

#define NEXT \
	ADDQ $4, R12 \
	ADDQ $4, R13 \
	ADDQ $4, DX  \
	ADDQ R9, R15 \
	DECQ CX

// ADDOUT adds a row of the panel of outputs, and steps to the next.
#define ADDOUT2(c0, c1) \
	VCVTDQ2PS c0, c0             \
	VCVTDQ2PS c1, c1             \
	VBROADCASTSS (R12), Z2       \
	VFMADD213PS (DI), Z2, c0     \
	VFMADD213PS 64(DI), Z2, c1   \
	VMOVUPS c0, (DI)             \
	VMOVUPS c1, 64(DI)           \
	ADDQ R9, DI                  \
	ADDQ R13, R12

#define ADDOUT1(c0) \
	VCVTDQ2PS c0, c0             \
	VBROADCASTSS (R12), Z2       \
	VFMADD213PS (DI), Z2, c0     \
	VMOVUPS c0, (DI)             \
	ADDQ R9, DI                  \
	ADDQ R13, R12

// A panel takes 32 elements of the values at a time, then 16. While they are
// summed, those of the next block are brought into the cache.
//
// func attendValues8VNNI(dst *float32, w *int8, ldw int, scales *float32, lds int, v *int8, width int)
TEXT ·attendValues8VNNI(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), R14
	MOVQ w+8(FP), SI
	MOVQ ldw+16(FP), R8
	LEAQ (R8)(R8*2), R11
	MOVQ v+40(FP), BX
	MOVQ width+48(FP), R9
	SHLQ $2, R9              // bytes of four positions, and of an output
	MOVQ R9, R10
	SHLQ $4, R10             // bytes of a block
	MOVQ width+48(FP), AX
	SUBQ $32, AX
	JLT  last

wide:
	ROWS
	ZERO8(Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)
	ZERO8(Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31)

wideLoop:
	VMOVDQU32 (R15), Z0
	VMOVDQU32 64(R15), Z1
	PREFETCHT0 4096(R15)(R10*1)
	PREFETCHT0 4160(R15)(R10*1)
	PV2(0(R12), Z2, Z16, Z24)
	PV2(0(R12)(R8*1), Z3, Z17, Z25)
	PV2(0(R12)(R8*2), Z4, Z18, Z26)
	PV2(0(R13), Z5, Z19, Z27)
	PV2(0(R12)(R8*4), Z2, Z20, Z28)
	PV2(0(R13)(R8*2), Z3, Z21, Z29)
	PV2(0(DX), Z4, Z22, Z30)
	PV2(0(R13)(R8*4), Z5, Z23, Z31)
	NEXT
	JNZ  wideLoop
	MOVQ R14, DI
	MOVQ scales+24(FP), R12
	MOVQ lds+32(FP), R13
	SHLQ $2, R13
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
	ROWS
	ZERO8(Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)

lastLoop:
	VMOVDQU32 (R15), Z0
	PV1(0(R12), Z2, Z16)
	PV1(0(R12)(R8*1), Z3, Z17)
	PV1(0(R12)(R8*2), Z4, Z18)
	PV1(0(R13), Z5, Z19)
	PV1(0(R12)(R8*4), Z2, Z20)
	PV1(0(R13)(R8*2), Z3, Z21)
	PV1(0(DX), Z4, Z22)
	PV1(0(R13)(R8*4), Z5, Z23)
	NEXT
	JNZ  lastLoop
	MOVQ R14, DI
	MOVQ scales+24(FP), R12
	MOVQ lds+32(FP), R13
	SHLQ $2, R13
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
