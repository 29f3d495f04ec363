//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "arm64.h"

// SDOT by element: four columns of four rows times one of four dwords of activations, which lie side by side in the
// panel. Codes are small enough to be signed as they are stored; int8 weights get their sign by a flip of the top bit.
//
// V0-V3 block, V4-V7 a quarter of it, V8-V11 activations.

// BYFORMAT starts the group's blocks at the loop of the format.
#define BYFORMAT \
	MOVD tile_blocks(R0), R6; \
	CMPW $const_Int4, R9; \
	BEQ int4; \
	BGT int8

// QUARTERED puts the bits of mask of each byte of the block in V4-V7, SHIFTED the bits from n on.
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
	VEOR bias, V0.B16, V4.B16; \
	VEOR bias, V1.B16, V5.B16; \
	VEOR bias, V2.B16, V6.B16; \
	VEOR bias, V3.B16, V7.B16

// TOKEN1, 2 and 4 add V4-V7 times the elements of V<m> from i on to the sums from a on: [quad][token].
#define TOKEN1(a, m, i) \
	SDOTE(a+0, 4, m, i); \
	SDOTE(a+1, 5, m, i); \
	SDOTE(a+2, 6, m, i); \
	SDOTE(a+3, 7, m, i)

#define TWO(a, n, m, i) \
	SDOTE(a+0, n, m, i+0); \
	SDOTE(a+1, n, m, i+1)

#define TOKEN2(a, m, i) \
	TWO(a+0, 4, m, i); \
	TWO(a+2, 5, m, i); \
	TWO(a+4, 6, m, i); \
	TWO(a+6, 7, m, i)

#define FOUR(a, n, m) \
	TWO(a+0, n, m, 0); \
	TWO(a+2, n, m, 2)

#define TOKEN4(m) \
	FOUR(16, 4, m); \
	FOUR(20, 5, m); \
	FOUR(24, 6, m); \
	FOUR(28, 7, m)

#define START4(i, a, b, c, d) \
	VDUP V8.S[i], a; \
	VDUP V8.S[i], b; \
	VDUP V8.S[i], c; \
	VDUP V8.S[i], d

// func tileDot4(c *tile)
TEXT ·tileDot4(SB), 0, $256-8
	LOADCALL
	FORMAT(0)
	MOVD $fsum-256(SP), R7
	ZEROSUMS(4)
	VDUP R10, V13.S4
	VDUP R11, V12.B16
group:
	VLD1.P 16(R4), [V8.S4]
	MULS(8, 8, 13)
	START4(0, V16.S4, V20.S4, V24.S4, V28.S4)
	START4(1, V17.S4, V21.S4, V25.S4, V29.S4)
	START4(2, V18.S4, V22.S4, V26.S4, V30.S4)
	START4(3, V19.S4, V23.S4, V27.S4, V31.S4)
	BYFORMAT
ternary2:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 64(R3), [V8.B16, V9.B16, V10.B16, V11.B16]
	QUARTERED(V12.B16)
	TOKEN4(8)
	SHIFTED(2)
	MASKED(V12.B16)
	TOKEN4(9)
	SHIFTED(4)
	MASKED(V12.B16)
	TOKEN4(10)
	SHIFTED(6)
	TOKEN4(11)
	SUBS $1, R6, R6
	BNE ternary2
	B fold
int4:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 32(R3), [V8.B16, V9.B16]
	QUARTERED(V12.B16)
	TOKEN4(8)
	SHIFTED(4)
	TOKEN4(9)
	SUBS $1, R6, R6
	BNE int4
	B fold
int8:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 16(R3), [V8.B16]
	SIGNED(V12.B16)
	TOKEN4(8)
	SUBS $1, R6, R6
	BNE int8
fold:
	SCALES
	MOVD R7, R8
	FOLD(16, 4, 4, 4, 4)
	FOLD(20, 5, 5, 5, 5)
	FOLD(24, 6, 6, 6, 6)
	FOLD(28, 7, 7, 7, 7)
	SUBS $1, R5, R5
	BNE group
	FINISH(4)

// func tileDot2(c *tile)
//
// Crumbs 0 and 2 stay in bits 0..1 and go to the sums V16-V23, crumbs 1 and 3 stay in bits 2..3 and go to V24-V31,
// which hold four times their share until the group ends: that saves masking after a shift.
TEXT ·tileDot2(SB), 0, $128-8
	LOADCALL
	FORMAT(0)
	MOVD $fsum-128(SP), R7
	ZEROSUMS(2)
	VDUP R10, V13.S4
	VDUP R11, V12.B16
	VSHL $2, V12.B16, V14.B16
group:
	FMOVD.P 8(R4), F8
	MULS(8, 8, 13)
	START4(0, V16.S4, V18.S4, V20.S4, V22.S4)
	START4(1, V17.S4, V19.S4, V21.S4, V23.S4)
	ZERO(V24.B16, V25.B16, V26.B16, V27.B16)
	ZERO(V28.B16, V29.B16, V30.B16, V31.B16)
	BYFORMAT
ternary2:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 32(R3), [V8.B16, V9.B16]
	QUARTERED(V12.B16)
	TOKEN2(16, 8, 0)
	QUARTERED(V14.B16)
	TOKEN2(24, 8, 2)
	VUSHR $4, V0.B16, V0.B16
	VUSHR $4, V1.B16, V1.B16
	VUSHR $4, V2.B16, V2.B16
	VUSHR $4, V3.B16, V3.B16
	QUARTERED(V12.B16)
	TOKEN2(16, 9, 0)
	QUARTERED(V14.B16)
	TOKEN2(24, 9, 2)
	SUBS $1, R6, R6
	BNE ternary2
	SSRA(16, 24, 2)
	SSRA(17, 25, 2)
	SSRA(18, 26, 2)
	SSRA(19, 27, 2)
	SSRA(20, 28, 2)
	SSRA(21, 29, 2)
	SSRA(22, 30, 2)
	SSRA(23, 31, 2)
	B fold
int4:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 16(R3), [V8.B16]
	QUARTERED(V12.B16)
	TOKEN2(16, 8, 0)
	SHIFTED(4)
	TOKEN2(16, 8, 2)
	SUBS $1, R6, R6
	BNE int4
	B fold
int8:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	FMOVD.P 8(R3), F8
	SIGNED(V12.B16)
	TOKEN2(16, 8, 0)
	SUBS $1, R6, R6
	BNE int8
fold:
	SCALES
	MOVD R7, R8
	FOLD(16, 4, 4, 5, 5)
	FOLD(20, 6, 6, 7, 7)
	SUBS $1, R5, R5
	BNE group
	FINISH(2)

// func tileDot1(c *tile)
//
// Decoding is one operation a crumb: crumbs 0, 1 and 2 are masked where they are, in sums of their own, V16-V19,
// V20-V23 and V24-V27, which hold 1, 4 and 16 times their share; crumb 3 is shifted and goes to V28-V31.
TEXT ·tileDot1(SB), 0, $64-8
	LOADCALL
	FORMAT(0)
	MOVD $fsum-64(SP), R7
	ZEROSUMS(1)
	VDUP R10, V15.S4
	VDUP R11, V12.B16
	VSHL $2, V12.B16, V13.B16
	VSHL $4, V12.B16, V14.B16
group:
	VLD1R.P 4(R4), [V8.S4]
	MULS(16, 8, 15)
	VMOV V16.B16, V17.B16
	VMOV V16.B16, V18.B16
	VMOV V16.B16, V19.B16
	ZERO(V20.B16, V21.B16, V22.B16, V23.B16)
	ZERO(V24.B16, V25.B16, V26.B16, V27.B16)
	ZERO(V28.B16, V29.B16, V30.B16, V31.B16)
	BYFORMAT
ternary2:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 16(R3), [V8.B16]
	QUARTERED(V12.B16)
	TOKEN1(16, 8, 0)
	QUARTERED(V13.B16)
	TOKEN1(20, 8, 1)
	QUARTERED(V14.B16)
	TOKEN1(24, 8, 2)
	SHIFTED(6)
	TOKEN1(28, 8, 3)
	SUBS $1, R6, R6
	BNE ternary2
	SSRA(16, 20, 2)
	SSRA(17, 21, 2)
	SSRA(18, 22, 2)
	SSRA(19, 23, 2)
	SSRA(16, 24, 4)
	SSRA(17, 25, 4)
	SSRA(18, 26, 4)
	SSRA(19, 27, 4)
	B join
int4:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	FMOVD.P 8(R3), F8
	QUARTERED(V12.B16)
	TOKEN1(16, 8, 0)
	SHIFTED(4)
	TOKEN1(28, 8, 1)
	SUBS $1, R6, R6
	BNE int4
	B join
int8:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	FMOVS.P 4(R3), F8
	SIGNED(V12.B16)
	TOKEN1(16, 8, 0)
	SUBS $1, R6, R6
	BNE int8
join:
	VADD V28.S4, V16.S4, V16.S4
	VADD V29.S4, V17.S4, V17.S4
	VADD V30.S4, V18.S4, V18.S4
	VADD V31.S4, V19.S4, V19.S4
	SCALES
	MOVD R7, R8
	FOLD(16, 4, 5, 6, 7)
	SUBS $1, R5, R5
	BNE group
	FINISH(1)
