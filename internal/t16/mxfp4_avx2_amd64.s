//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "int_avx2_amd64.h"

// At most 2*28*127 = 7112 a step, so 16 bits hold the 4 steps of 2 blocks.

#define START16(t, a, b) START(4, t)

// ASK also has R14 say which memory to ask for.
#define ASK MOVQ tile_ahead(AX), R14

#define LOOK \
	VBROADCASTI128 ·mxfp4Stored(SB), Y14; \
	VPSHUFB Y10, Y14, Y10; \
	VPSHUFB Y11, Y14, Y11

// POWERS makes y = 2^(e-127) of its scale bytes: e is the exponent of a float32, but for 0, whose power is below the
// normal ones, and 255, which is NaN. Y10 is 255 and Y11 the power of 0.
#define POWERS(y) \
	VPCMPEQD Y10, y, Y13; \
	VPSLLD $23, y, y; \
	VPMAXUD Y11, y, y; \
	VPOR Y13, y, y

#define SCALES \
	PREFETCHT1 (R14); \
	PREFETCHT1 64(R14); \
	ADDQ $128, R14; \
	MOVL $255, BX; \
	VMOVD BX, X10; \
	VPBROADCASTD X10, Y10; \
	MOVL $0x00400000, BX; \
	VMOVD BX, X11; \
	VPBROADCASTD X11, Y11; \
	VPMOVZXBD (DI), Y8; \
	VPMOVZXBD 8(DI), Y9; \
	POWERS(Y8); \
	POWERS(Y9); \
	ADDQ $16, DI

#define MULADD(t, a, b) \
	VCVTDQ2PS (WIDE+(t)*64)(R12), Y10; \
	VCVTDQ2PS (WIDE+(t)*64+32)(R12), Y11; \
	VFMADD213PS ((t)*64)(R12), Y8, Y10; \
	VFMADD213PS ((t)*64+32)(R12), Y9, Y11; \
	VMOVAPS Y10, ((t)*64)(R12); \
	VMOVAPS Y11, ((t)*64+32)(R12)

// func tileMXFP4AVX2x4(c *tile)
TEXT ·tileMXFP4AVX2x4(SB), 0, $544-8
	FOURBITS(EACH4, 4, ASK, START16, 2, LOOK, DOTSECOND4, SCALES, MULADD)

// func tileMXFP4AVX2x2(c *tile)
TEXT ·tileMXFP4AVX2x2(SB), 0, $544-8
	FOURBITS(EACH2, 2, ASK, START16, 2, LOOK, DOTSECOND2, SCALES, MULADD)

// func tileMXFP4AVX2x1(c *tile)
TEXT ·tileMXFP4AVX2x1(SB), 0, $544-8
	FOURBITS(EACH1, 1, ASK, START16, 2, LOOK, DOTSECOND1, SCALES, MULADD)
