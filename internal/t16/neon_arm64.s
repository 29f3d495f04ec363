//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "arm64.h"

// For cores without the dot product: SMLAL adds products in 16 bits, one lane a column. A ternary weight's is at most
// 2*127, and a block adds four to a lane, so 16-bit sums hold 32 blocks; of 4 bits it is 15*127, a block adds two, and
// they hold 8. They are then added to the 32-bit sums in the frame. A product of int8 fills 16 bits and is added up at
// once.
//
// R6 blocks left in the chunk, R10 int32 sums [token][16], R12 blocks left in the group, R13 blocks of a chunk. V0-V3
// block, V4-V7 a quarter of it, V8 V9 activations, V12 mask, V13 offset, V16-V23 and V24-V31 the sums of the tokens:
// two rows a register.

#define NEXTCHUNK \
	MOVD R13, R6; \
	CMP R6, R12; \
	CSEL LT, R12, R6, R6; \
	SUB R6, R12, R12

#define QUARTERED(mask) \
	VAND mask, V0.B16, V4.B16; \
	VAND mask, V1.B16, V5.B16; \
	VAND mask, V2.B16, V6.B16; \
	VAND mask, V3.B16, V7.B16

#define SHIFTED(n) \
	VUSHR $n, V0.B16, V4.B16; \
	VUSHR $n, V1.B16, V5.B16; \
	VUSHR $n, V2.B16, V6.B16; \
	VUSHR $n, V3.B16, V7.B16

#define MASKED(mask) \
	VAND mask, V4.B16, V4.B16; \
	VAND mask, V5.B16, V5.B16; \
	VAND mask, V6.B16, V6.B16; \
	VAND mask, V7.B16, V7.B16

// SIGNED makes int8 of the weights w+128 in the block.
#define SIGNED(bias) \
	VEOR bias, V0.B16, V0.B16; \
	VEOR bias, V1.B16, V1.B16; \
	VEOR bias, V2.B16, V2.B16; \
	VEOR bias, V3.B16, V3.B16

// QUARTERSUM adds V4-V7 times the four columns in V<m> to the 16-bit sums a..a+7.
#define QUARTERSUM(a, m) \
	SMLAL(a+0, 4, m); \
	SMLAL2(a+1, 4, m); \
	SMLAL(a+2, 5, m); \
	SMLAL2(a+3, 5, m); \
	SMLAL(a+4, 6, m); \
	SMLAL2(a+5, 6, m); \
	SMLAL(a+6, 7, m); \
	SMLAL2(a+7, 7, m)

// BYTES adds the block's rows in V<n> times the four columns in V<m> to the 32-bit sums of pairs a and a+1.
#define BYTES(a, n, m) \
	SMULL(4, n, m); \
	SMULL2(5, n, m); \
	SADALP(a+0, 4); \
	SADALP(a+1, 5)

#define BLOCKSUM(a, m) \
	BYTES(a+0, 0, m); \
	BYTES(a+2, 1, m); \
	BYTES(a+4, 2, m); \
	BYTES(a+6, 3, m)

#define ZEROA \
	ZERO(V16.B16, V17.B16, V18.B16, V19.B16); \
	ZERO(V20.B16, V21.B16, V22.B16, V23.B16)

#define ZEROB \
	ZERO(V24.B16, V25.B16, V26.B16, V27.B16); \
	ZERO(V28.B16, V29.B16, V30.B16, V31.B16)

// PAIRS makes 32-bit sums of pairs of the 16-bit sums a..a+7.
#define PAIRS(a) \
	SADDLP(a+0, a+0); \
	SADDLP(a+1, a+1); \
	SADDLP(a+2, a+2); \
	SADDLP(a+3, a+3); \
	SADDLP(a+4, a+4); \
	SADDLP(a+5, a+5); \
	SADDLP(a+6, a+6); \
	SADDLP(a+7, a+7)

// WIDEN adds eight registers of 32-bit sums of pairs, after a second pairwise sum, to the int32 sums at R8, and steps R8.
#define WIDEN(a, b, c, d, e, f, g, h) \
	VADDP b, a, V4.S4; \
	VADDP d, c, V5.S4; \
	VADDP f, e, V6.S4; \
	VADDP h, g, V7.S4; \
	VLD1 (R8), [V0.S4, V1.S4, V2.S4, V3.S4]; \
	VADD V4.S4, V0.S4, V0.S4; \
	VADD V5.S4, V1.S4, V1.S4; \
	VADD V6.S4, V2.S4, V2.S4; \
	VADD V7.S4, V3.S4, V3.S4; \
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R8)

#define WIDENA WIDEN(V16.S4, V17.S4, V18.S4, V19.S4, V20.S4, V21.S4, V22.S4, V23.S4)
#define WIDENB WIDEN(V24.S4, V25.S4, V26.S4, V27.S4, V28.S4, V29.S4, V30.S4, V31.S4)

// START sets the int32 sums of the next token, at R8, to what its weights' offset adds, negated, and steps R8.
#define START \
	VLD1R.P 4(R4), [V0.S4]; \
	MULS(0, 0, 13); \
	VMOV V0.B16, V1.B16; \
	VMOV V0.B16, V2.B16; \
	VMOV V0.B16, V3.B16; \
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R8)

// ACTS2 and ACTS1 load the next four columns of the tokens.
#define ACTS2 \
	VLD1R.P 4(R3), [V8.S4]; \
	VLD1R.P 4(R3), [V9.S4]

#define ACTS1 VLD1R.P 4(R3), [V8.S4]

// func tileNEON2(c *tile)
TEXT ·tileNEON2(SB), 0, $256-8
	LOADCALL
	FORMAT(0)
	MOVD $fsum-256(SP), R7
	ZEROSUMS(2)
	VDUP R10, V13.S4
	VDUP R11, V12.B16
	MOVD $isum-128(SP), R10
	MOVD $32, R13
	MOVD $8, R14
	CMPW $const_Int4, R9
	CSEL EQ, R14, R13, R13
group:
	MOVD R10, R8
	START
	START
	MOVD tile_blocks(R0), R12
	CMPW $const_Int4, R9
	BGT int8
chunk:
	NEXTCHUNK
	ZEROA
	ZEROB
	CMPW $const_Int4, R9
	BEQ int4
ternary2:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	QUARTERED(V12.B16)
	ACTS2
	QUARTERSUM(16, 8)
	QUARTERSUM(24, 9)
	SHIFTED(2)
	MASKED(V12.B16)
	ACTS2
	QUARTERSUM(16, 8)
	QUARTERSUM(24, 9)
	SHIFTED(4)
	MASKED(V12.B16)
	ACTS2
	QUARTERSUM(16, 8)
	QUARTERSUM(24, 9)
	SHIFTED(6)
	ACTS2
	QUARTERSUM(16, 8)
	QUARTERSUM(24, 9)
	SUBS $1, R6, R6
	BNE ternary2
	B widen
int4:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	QUARTERED(V12.B16)
	ACTS2
	QUARTERSUM(16, 8)
	QUARTERSUM(24, 9)
	SHIFTED(4)
	ACTS2
	QUARTERSUM(16, 8)
	QUARTERSUM(24, 9)
	SUBS $1, R6, R6
	BNE int4
widen:
	MOVD R10, R8
	PAIRS(16)
	WIDENA
	PAIRS(24)
	WIDENB
	CBNZ R12, chunk
	B fold
int8:
	ZEROA
	ZEROB
bytes:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	SIGNED(V12.B16)
	ACTS2
	BLOCKSUM(16, 8)
	BLOCKSUM(24, 9)
	SUBS $1, R12, R12
	BNE bytes
	MOVD R10, R8
	WIDENA
	WIDENB
fold:
	SCALES
	FMOVQ (R10), F16
	FMOVQ 64(R10), F17
	FMOVQ 16(R10), F18
	FMOVQ 80(R10), F19
	FMOVQ 32(R10), F20
	FMOVQ 96(R10), F21
	FMOVQ 48(R10), F22
	FMOVQ 112(R10), F23
	MOVD R7, R8
	FOLD(16, 4, 4, 5, 5)
	FOLD(20, 6, 6, 7, 7)
	SUBS $1, R5, R5
	BNE group
	FINISH(2)

// func tileNEON1(c *tile)
TEXT ·tileNEON1(SB), 0, $128-8
	LOADCALL
	FORMAT(0)
	MOVD $fsum-128(SP), R7
	ZEROSUMS(1)
	VDUP R10, V13.S4
	VDUP R11, V12.B16
	MOVD $isum-64(SP), R10
	MOVD $32, R13
	MOVD $8, R14
	CMPW $const_Int4, R9
	CSEL EQ, R14, R13, R13
group:
	MOVD R10, R8
	START
	MOVD tile_blocks(R0), R12
	CMPW $const_Int4, R9
	BGT int8
chunk:
	NEXTCHUNK
	ZEROA
	CMPW $const_Int4, R9
	BEQ int4
ternary2:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	QUARTERED(V12.B16)
	ACTS1
	QUARTERSUM(16, 8)
	SHIFTED(2)
	MASKED(V12.B16)
	ACTS1
	QUARTERSUM(16, 8)
	SHIFTED(4)
	MASKED(V12.B16)
	ACTS1
	QUARTERSUM(16, 8)
	SHIFTED(6)
	ACTS1
	QUARTERSUM(16, 8)
	SUBS $1, R6, R6
	BNE ternary2
	B widen
int4:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	QUARTERED(V12.B16)
	ACTS1
	QUARTERSUM(16, 8)
	SHIFTED(4)
	ACTS1
	QUARTERSUM(16, 8)
	SUBS $1, R6, R6
	BNE int4
widen:
	MOVD R10, R8
	PAIRS(16)
	WIDENA
	CBNZ R12, chunk
	B fold
int8:
	ZEROA
bytes:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	SIGNED(V12.B16)
	ACTS1
	BLOCKSUM(16, 8)
	SUBS $1, R12, R12
	BNE bytes
	MOVD R10, R8
	WIDENA
fold:
	SCALES
	VLD1 (R10), [V16.S4, V17.S4, V18.S4, V19.S4]
	MOVD R7, R8
	FOLD(16, 4, 5, 6, 7)
	SUBS $1, R5, R5
	BNE group
	FINISH(1)
