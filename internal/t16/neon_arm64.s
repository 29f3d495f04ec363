//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "arm64.h"

// For cores without the dot product: SMLAL adds products of at most 2*127 in 16 bits, one lane a column. A block adds
// four to a lane, so 16-bit sums hold 32 blocks and are then added to the 32-bit sums in the frame.
//
// R6 blocks left in the chunk, R9 blocks left in the group, R10 int32 sums [token][16]. V0-V3 block, V4-V7 one crumb,
// V8 V9 activations, V12 mask, V16-V23 and V24-V31 the 16-bit sums of the tokens: two rows a register.

#define CHUNK 32

#define NEXTCHUNK \
	MOVD $CHUNK, R6; \
	CMP R6, R9; \
	CSEL LT, R9, R6, R6; \
	SUB R6, R9, R9

// CRUMBSUM adds the crumb V4-V7 times the four columns in V<m> to the sums a..a+7.
#define CRUMBSUM(a, m) \
	SMLAL(a+0, 4, m); \
	SMLAL2(a+1, 4, m); \
	SMLAL(a+2, 5, m); \
	SMLAL2(a+3, 5, m); \
	SMLAL(a+4, 6, m); \
	SMLAL2(a+5, 6, m); \
	SMLAL(a+6, 7, m); \
	SMLAL2(a+7, 7, m)

#define ZERO(a, b, c, d) \
	VEOR a, a, a; \
	VEOR b, b, b; \
	VEOR c, c, c; \
	VEOR d, d, d

#define ZEROA \
	ZERO(V16.B16, V17.B16, V18.B16, V19.B16); \
	ZERO(V20.B16, V21.B16, V22.B16, V23.B16)

#define ZEROB \
	ZERO(V24.B16, V25.B16, V26.B16, V27.B16); \
	ZERO(V28.B16, V29.B16, V30.B16, V31.B16)

#define PAIRS(a) \
	SADDLP(a+0, a+0); \
	SADDLP(a+1, a+1); \
	SADDLP(a+2, a+2); \
	SADDLP(a+3, a+3); \
	SADDLP(a+4, a+4); \
	SADDLP(a+5, a+5); \
	SADDLP(a+6, a+6); \
	SADDLP(a+7, a+7)

// WIDEN adds four registers of 32-bit pairs, after a second pairwise sum, to the int32 sums at R8, and steps R8.
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

#define WIDENA \
	PAIRS(16); \
	WIDEN(V16.S4, V17.S4, V18.S4, V19.S4, V20.S4, V21.S4, V22.S4, V23.S4)

#define WIDENB \
	PAIRS(24); \
	WIDEN(V24.S4, V25.S4, V26.S4, V27.S4, V28.S4, V29.S4, V30.S4, V31.S4)

// START sets the int32 sums of the next token, at R8, to its negated activation sum, and steps R8.
#define START \
	VLD1R.P 4(R4), [V0.S4]; \
	VMOV V0.B16, V1.B16; \
	VMOV V0.B16, V2.B16; \
	VMOV V0.B16, V3.B16; \
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R8)

// func tileNEON2(c *tile)
TEXT ·tileNEON2(SB), 0, $256-8
	LOADCALL
	MOVD $fsum-256(SP), R7
	MOVD $isum-128(SP), R10
	VMOVI $3, V12.B16
	ZERO(V0.B16, V1.B16, V2.B16, V3.B16)
	MOVD R7, R8
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R8)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R8)
group:
	MOVD R10, R8
	START
	START
	MOVD tile_blocks(R0), R9
chunk:
	NEXTCHUNK
	ZEROA
	ZEROB
block:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	CRUMB0(V12.B16)
	VLD1R.P 4(R3), [V8.S4]
	VLD1R.P 4(R3), [V9.S4]
	CRUMBSUM(16, 8)
	CRUMBSUM(24, 9)
	CRUMB1(V12.B16)
	VLD1R.P 4(R3), [V8.S4]
	VLD1R.P 4(R3), [V9.S4]
	CRUMBSUM(16, 8)
	CRUMBSUM(24, 9)
	CRUMB2(V12.B16)
	VLD1R.P 4(R3), [V8.S4]
	VLD1R.P 4(R3), [V9.S4]
	CRUMBSUM(16, 8)
	CRUMBSUM(24, 9)
	CRUMB3
	VLD1R.P 4(R3), [V8.S4]
	VLD1R.P 4(R3), [V9.S4]
	CRUMBSUM(16, 8)
	CRUMBSUM(24, 9)
	SUBS $1, R6, R6
	BNE block
	MOVD R10, R8
	WIDENA
	WIDENB
	CBNZ R9, chunk
	SCALES
	VLD1.P 64(R10), [V16.S4, V17.S4, V18.S4, V19.S4]
	VLD1 (R10), [V20.S4, V21.S4, V22.S4, V23.S4]
	SUB $64, R10, R10
	MOVD R7, R8
	FOLD(16)
	FOLD(20)
	SUBS $1, R5, R5
	BNE group
	FINISH

// func tileNEON1(c *tile)
TEXT ·tileNEON1(SB), 0, $128-8
	LOADCALL
	MOVD $fsum-128(SP), R7
	MOVD $isum-64(SP), R10
	VMOVI $3, V12.B16
	ZERO(V0.B16, V1.B16, V2.B16, V3.B16)
	VST1 [V0.S4, V1.S4, V2.S4, V3.S4], (R7)
group:
	MOVD R10, R8
	START
	MOVD tile_blocks(R0), R9
chunk:
	NEXTCHUNK
	ZEROA
block:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	CRUMB0(V12.B16)
	VLD1R.P 4(R3), [V8.S4]
	CRUMBSUM(16, 8)
	CRUMB1(V12.B16)
	VLD1R.P 4(R3), [V8.S4]
	CRUMBSUM(16, 8)
	CRUMB2(V12.B16)
	VLD1R.P 4(R3), [V8.S4]
	CRUMBSUM(16, 8)
	CRUMB3
	VLD1R.P 4(R3), [V8.S4]
	CRUMBSUM(16, 8)
	SUBS $1, R6, R6
	BNE block
	MOVD R10, R8
	WIDENA
	CBNZ R9, chunk
	SCALES
	VLD1 (R10), [V16.S4, V17.S4, V18.S4, V19.S4]
	MOVD R7, R8
	FOLD(16)
	SUBS $1, R5, R5
	BNE group
	FINISH
