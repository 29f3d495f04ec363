//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "arm64.h"

// USMMLA: two rows by two tokens, eight columns at once, twice what SDOT does. It wants the eight columns of a row side
// by side and T16 has four: dwords of two blocks are zipped, before they are taken apart. So the eight columns are four
// of one block and four of the next, a group has an even number of blocks, and the panel is packed in pairs of blocks
// (see pairs in panel.go): 16 bytes of it are the eight columns of one token, then those of the next. Weights are
// multiplied as they are stored, unsigned.
//
// What a pair of rows, p, and a pair of tokens have in a register is [r0t0, r0t1, r1t0, r1t1]; the float sums keep
// that order, [quad][tokens/2][p], until all groups are in, and are then sorted.
//
// R13 quads or halves left, R14 codes, R15 activations.

// SORT turns the float sums of 4 quads by two pairs of tokens, n times, into [quad][token][4].
#define SORT(n) \
	MOVD R7, R8; \
	MOVD $n, R12; \
sort: \
	VLD1 (R8), [V0.S4, V1.S4, V2.S4, V3.S4]; \
	VUZP1 V1.S4, V0.S4, V4.S4; \
	VUZP2 V1.S4, V0.S4, V5.S4; \
	VUZP1 V3.S4, V2.S4, V6.S4; \
	VUZP2 V3.S4, V2.S4, V7.S4; \
	VST1.P [V4.S4, V5.S4, V6.S4, V7.S4], 64(R8); \
	SUBS $1, R12, R12; \
	BNE sort

// 24 tokens: one quad at a time. V0 V1 its two pairs of rows, zipped, V2 V3 a quarter of them, V4 mask, V5-V7
// activations, V8-V31 sums.

// PAIR adds two pairs of rows times the pair of tokens in V<m>.
#define PAIR(a, m) \
	USMMLA(a+0, 2, m); \
	USMMLA(a+1, 3, m)

#define THREE(a) \
	VLD1.P 48(R15), [V5.B16, V6.B16, V7.B16]; \
	PAIR(a+0, 5); \
	PAIR(a+2, 6); \
	PAIR(a+4, 7)

#define TOKENS24 \
	THREE(8); \
	THREE(14); \
	THREE(20); \
	THREE(26)

// QUAD zips the next two blocks' quads into two registers.
#define QUAD(a, b) \
	FMOVQ (R14), F5; \
	FMOVQ 64(R14), F6; \
	ADD $128, R14; \
	VZIP1 V6.S4, V5.S4, a; \
	VZIP2 V6.S4, V5.S4, b

#define START24(n, a, b, c, d) \
	VDUP n.D[0], a; \
	VDUP n.D[0], b; \
	VDUP n.D[1], c; \
	VDUP n.D[1], d

// func tileMM24(c *tile)
TEXT ·tileMM24(SB), 0, $1536-8
	LOADCALL
	FORMAT(128)
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
	START24(V0, V8.D2, V9.D2, V10.D2, V11.D2)
	START24(V1, V12.D2, V13.D2, V14.D2, V15.D2)
	START24(V2, V16.D2, V17.D2, V18.D2, V19.D2)
	START24(V3, V20.D2, V21.D2, V22.D2, V23.D2)
	START24(V4, V24.D2, V25.D2, V26.D2, V27.D2)
	START24(V5, V28.D2, V29.D2, V30.D2, V31.D2)
	MOVD R1, R14
	MOVD R3, R15
	MOVD tile_blocks(R0), R6
	VDUP R11, V4.B16
	CMPW $const_Int4, R9
	BEQ int4
	BGT int8
ternary2:
	QUAD(V0.S4, V1.S4)
	VAND V4.B16, V0.B16, V2.B16
	VAND V4.B16, V1.B16, V3.B16
	TOKENS24
	VUSHR $2, V0.B16, V2.B16
	VUSHR $2, V1.B16, V3.B16
	VAND V4.B16, V2.B16, V2.B16
	VAND V4.B16, V3.B16, V3.B16
	TOKENS24
	VUSHR $4, V0.B16, V2.B16
	VUSHR $4, V1.B16, V3.B16
	VAND V4.B16, V2.B16, V2.B16
	VAND V4.B16, V3.B16, V3.B16
	TOKENS24
	VUSHR $6, V0.B16, V2.B16
	VUSHR $6, V1.B16, V3.B16
	TOKENS24
	SUBS $2, R6, R6
	BNE ternary2
	B fold
int4:
	QUAD(V0.S4, V1.S4)
	VAND V4.B16, V0.B16, V2.B16
	VAND V4.B16, V1.B16, V3.B16
	TOKENS24
	VUSHR $4, V0.B16, V2.B16
	VUSHR $4, V1.B16, V3.B16
	TOKENS24
	SUBS $2, R6, R6
	BNE int4
	B fold
int8:
	QUAD(V2.S4, V3.S4)
	TOKENS24
	SUBS $2, R6, R6
	BNE int8
fold:
	FMOVD.P 8(R2), F4
	FCVTL(6, 4)
	VZIP1 V6.S4, V6.S4, V4.S4
	VZIP2 V6.S4, V6.S4, V5.S4
	FOLD(8, 4, 5, 4, 5)
	FOLD(12, 4, 5, 4, 5)
	FOLD(16, 4, 5, 4, 5)
	FOLD(20, 4, 5, 4, 5)
	FOLD(24, 4, 5, 4, 5)
	FOLD(28, 4, 5, 4, 5)
	ADD $16, R1
	SUBS $1, R13, R13
	BNE quad
	SUB $48, R14, R1 // the first quad of the next group
	MOVD R15, R3
	ADD $96, R4
	SUBS $1, R5, R5
	BNE group
	SORT(24)
	FINISH(24)

// 8 and 4 tokens: half a tile at a time. V0-V3 a quarter of its four pairs of rows, V4-V7 the pairs, zipped, V8-V11
// activations, V12 mask, V16-V31 sums.

// HALF zips the next two blocks' halves into four registers.
#define HALF(a, b, c, d) \
	VLD1 (R14), [V8.B16, V9.B16]; \
	ADD $64, R14; \
	VLD1 (R14), [V10.B16, V11.B16]; \
	ADD $64, R14; \
	VZIP1 V10.S4, V8.S4, a; \
	VZIP2 V10.S4, V8.S4, b; \
	VZIP1 V11.S4, V9.S4, c; \
	VZIP2 V11.S4, V9.S4, d

#define MASKED(mask) \
	VAND mask, V0.B16, V0.B16; \
	VAND mask, V1.B16, V1.B16; \
	VAND mask, V2.B16, V2.B16; \
	VAND mask, V3.B16, V3.B16

#define QUARTERED(mask) \
	VAND mask, V4.B16, V0.B16; \
	VAND mask, V5.B16, V1.B16; \
	VAND mask, V6.B16, V2.B16; \
	VAND mask, V7.B16, V3.B16

#define SHIFTED(n) \
	VUSHR $n, V4.B16, V0.B16; \
	VUSHR $n, V5.B16, V1.B16; \
	VUSHR $n, V6.B16, V2.B16; \
	VUSHR $n, V7.B16, V3.B16

// PAIRS adds the four pairs of rows times the pair of tokens in V<m>; quads are b - a apart.
#define PAIRS(a, b, m) \
	USMMLA(a+0, 0, m); \
	USMMLA(a+1, 1, m); \
	USMMLA(b+0, 2, m); \
	USMMLA(b+1, 3, m)

#define TOKENS8 \
	VLD1.P 64(R15), [V8.B16, V9.B16, V10.B16, V11.B16]; \
	PAIRS(16, 24, 8); \
	PAIRS(18, 26, 9); \
	PAIRS(20, 28, 10); \
	PAIRS(22, 30, 11)

#define TOKENS4 \
	VLD1.P 32(R15), [V8.B16, V9.B16]; \
	PAIRS(16, 20, 8); \
	PAIRS(18, 22, 9)

#define START(n, a, b, c, d) \
	VDUP n, a; \
	VDUP n, b; \
	VDUP n, c; \
	VDUP n, d

// BLOCKS runs the blocks of a group in the loop of the format.
#define BLOCKS(TOKENS) \
	MOVD R1, R14; \
	MOVD R3, R15; \
	MOVD tile_blocks(R0), R6; \
	CMPW $const_Int4, R9; \
	BEQ int4; \
	BGT int8; \
ternary2: \
	HALF(V4.S4, V5.S4, V6.S4, V7.S4); \
	QUARTERED(V12.B16); \
	TOKENS; \
	SHIFTED(2); \
	MASKED(V12.B16); \
	TOKENS; \
	SHIFTED(4); \
	MASKED(V12.B16); \
	TOKENS; \
	SHIFTED(6); \
	TOKENS; \
	SUBS $2, R6, R6; \
	BNE ternary2; \
	B fold; \
int4: \
	HALF(V4.S4, V5.S4, V6.S4, V7.S4); \
	QUARTERED(V12.B16); \
	TOKENS; \
	SHIFTED(4); \
	TOKENS; \
	SUBS $2, R6, R6; \
	BNE int4; \
	B fold; \
int8: \
	HALF(V0.S4, V1.S4, V2.S4, V3.S4); \
	TOKENS; \
	SUBS $2, R6, R6; \
	BNE int8; \
fold:

// HALFSCALES widens the scales of half a tile into V4-V7, a pair of rows each.
#define HALFSCALES \
	VLD1.P 16(R2), [V0.H8]; \
	FCVTL(1, 0); \
	FCVTL2(2, 0); \
	VZIP1 V1.S4, V1.S4, V4.S4; \
	VZIP2 V1.S4, V1.S4, V5.S4; \
	VZIP1 V2.S4, V2.S4, V6.S4; \
	VZIP2 V2.S4, V2.S4, V7.S4

// func tileMM8(c *tile)
TEXT ·tileMM8(SB), 0, $512-8
	LOADCALL
	FORMAT(128)
	MOVD $fsum-512(SP), R7
	ZEROSUMS(8)
	VDUP R10, V13.S4
	VDUP R11, V12.B16
group:
	MOVD R7, R8
	MOVD $2, R13
half:
	VLD1 (R4), [V8.S4, V9.S4]
	MULS(8, 8, 13)
	MULS(9, 9, 13)
	START(V8.D[0], V16.D2, V17.D2, V24.D2, V25.D2)
	START(V8.D[1], V18.D2, V19.D2, V26.D2, V27.D2)
	START(V9.D[0], V20.D2, V21.D2, V28.D2, V29.D2)
	START(V9.D[1], V22.D2, V23.D2, V30.D2, V31.D2)
	BLOCKS(TOKENS8)
	HALFSCALES
	FOLD(16, 4, 5, 4, 5)
	FOLD(20, 4, 5, 4, 5)
	FOLD(24, 6, 7, 6, 7)
	FOLD(28, 6, 7, 6, 7)
	ADD $32, R1
	SUBS $1, R13, R13
	BNE half
	SUB $32, R14, R1 // the first half of the next group
	MOVD R15, R3
	ADD $32, R4
	SUBS $1, R5, R5
	BNE group
	SORT(8)
	FINISH(8)

// func tileMM4(c *tile)
TEXT ·tileMM4(SB), 0, $256-8
	LOADCALL
	FORMAT(128)
	MOVD $fsum-256(SP), R7
	ZEROSUMS(4)
	VDUP R10, V13.S4
	VDUP R11, V12.B16
group:
	MOVD R7, R8
	MOVD $2, R13
half:
	VLD1 (R4), [V8.S4]
	MULS(8, 8, 13)
	START(V8.D[0], V16.D2, V17.D2, V20.D2, V21.D2)
	START(V8.D[1], V18.D2, V19.D2, V22.D2, V23.D2)
	BLOCKS(TOKENS4)
	HALFSCALES
	FOLD(16, 4, 5, 4, 5)
	FOLD(20, 6, 7, 6, 7)
	ADD $32, R1
	SUBS $1, R13, R13
	BNE half
	SUB $32, R14, R1 // the first half of the next group
	MOVD R15, R3
	ADD $16, R4
	SUBS $1, R5, R5
	BNE group
	SORT(4)
	FINISH(4)
