//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "arm64.h"

// Four rows at a time by 24 tokens: what is decoded is used 24 times, so that decoding takes 6 of 102 operations where
// 16 rows by 4 tokens take 24 of 88. The four quads take turns within a group, whose activations stay near.
//
// R13 quads left, R14 codes, R15 activations. V0 block, V1 a quarter of it, V2 mask, V4-V7 activations, V8-V31 sums by
// token, of four rows each.

#define FOUR(a, m) \
	SDOTE(a+0, 1, m, 0); \
	SDOTE(a+1, 1, m, 1); \
	SDOTE(a+2, 1, m, 2); \
	SDOTE(a+3, 1, m, 3)

// TOKENS adds V1 times 24 dwords to the sums.
#define TOKENS \
	VLD1.P 64(R15), [V4.B16, V5.B16, V6.B16, V7.B16]; \
	FOUR(8, 4); \
	FOUR(12, 5); \
	FOUR(16, 6); \
	FOUR(20, 7); \
	VLD1.P 32(R15), [V4.B16, V5.B16]; \
	FOUR(24, 4); \
	FOUR(28, 5)

#define START(from, a, b, c, d) \
	VDUP from.S[0], a; \
	VDUP from.S[1], b; \
	VDUP from.S[2], c; \
	VDUP from.S[3], d

// func tileDot24(c *tile)
TEXT ·tileDot24(SB), 0, $1536-8
	LOADCALL
	FORMAT(0)
	MOVD $fsum-1536(SP), R7
	ZEROSUMS(24)
group:
	MOVD R7, R8
	MOVD $4, R13
quad:
	VDUP R10, V6.S4
	MOVD R4, R12
	VLD1.P 64(R12), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1 (R12), [V4.S4, V5.S4]
	MULS(0, 0, 6)
	MULS(1, 1, 6)
	MULS(2, 2, 6)
	MULS(3, 3, 6)
	MULS(4, 4, 6)
	MULS(5, 5, 6)
	START(V0, V8.S4, V9.S4, V10.S4, V11.S4)
	START(V1, V12.S4, V13.S4, V14.S4, V15.S4)
	START(V2, V16.S4, V17.S4, V18.S4, V19.S4)
	START(V3, V20.S4, V21.S4, V22.S4, V23.S4)
	START(V4, V24.S4, V25.S4, V26.S4, V27.S4)
	START(V5, V28.S4, V29.S4, V30.S4, V31.S4)
	MOVD R1, R14
	MOVD R3, R15
	MOVD tile_blocks(R0), R6
	VDUP R11, V2.B16
	CMPW $const_Int4, R9
	BEQ int4
	BGT int8
ternary2:
	FMOVQ.P 64(R14), F0
	VAND V2.B16, V0.B16, V1.B16
	TOKENS
	VUSHR $2, V0.B16, V1.B16
	VAND V2.B16, V1.B16, V1.B16
	TOKENS
	VUSHR $4, V0.B16, V1.B16
	VAND V2.B16, V1.B16, V1.B16
	TOKENS
	VUSHR $6, V0.B16, V1.B16
	TOKENS
	SUBS $1, R6, R6
	BNE ternary2
	B fold
int4:
	FMOVQ.P 64(R14), F0
	VAND V2.B16, V0.B16, V1.B16
	TOKENS
	VUSHR $4, V0.B16, V1.B16
	TOKENS
	SUBS $1, R6, R6
	BNE int4
	B fold
int8:
	FMOVQ.P 64(R14), F0
	VEOR V2.B16, V0.B16, V1.B16
	TOKENS
	SUBS $1, R6, R6
	BNE int8
fold:
	FMOVD.P 8(R2), F4
	FCVTL(4, 4)
	FOLD(8, 4, 4, 4, 4)
	FOLD(12, 4, 4, 4, 4)
	FOLD(16, 4, 4, 4, 4)
	FOLD(20, 4, 4, 4, 4)
	FOLD(24, 4, 4, 4, 4)
	FOLD(28, 4, 4, 4, 4)
	ADD $16, R1
	SUBS $1, R13, R13
	BNE quad
	SUB $48, R14, R1 // the first quad of the next group
	MOVD R15, R3
	ADD $96, R4
	SUBS $1, R5, R5
	BNE group
	FINISH(24)
