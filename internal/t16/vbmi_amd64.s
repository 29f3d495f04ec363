//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "vnni_amd64.h"

// Ternary5. A byte is b = r + 81*d4 with r < 81, so r is the least of b, b-81 and b-162 as unsigned bytes, b-r is
// 81*d4, and one permutation of a table of 128 bytes takes r to its digits d0..d3 in the places of Ternary2. The
// thirteen bytes from 243 on have r = 81..93, whose digits d0..d3 the table has too.

// REMAINDER: Z1 is r and Z0 81*d4, from Z0; Z2 is lost. Z5 is 81 in every byte.
#define REMAINDER \
	VPSUBB Z5, Z0, Z1; \
	VPSUBB Z5, Z1, Z2; \
	VPMINUB Z2, Z1, Z1; \
	VPMINUB Z0, Z1, Z1; \
	VPSUBB Z1, Z0, Z0

// DIGITS: Z1 is d0 + 4*d1 + 16*d2 + 64*d3, from r. Z6 and Z7 are the table.
#define DIGITS VPERMI2B Z7, Z6, Z1

#define LOADTABLE \
	BYTEMASK(81, Z5); \
	VMOVDQU64 ·fourCrumbs+0(SB), Z6; \
	VMOVDQU64 ·fourCrumbs+64(SB), Z7

// ---- 8, 16 and 24 tokens: weights are unpacked once a block and serve every token. Z0-Z3 digits 4, 0, 1 and 2; digit
// 3 takes the place of digit 4 when that has been used. Z4 mask: 81 & 3 = 1 and 162 & 3 = 2.

#define UNPACK5 \
	VMOVDQU64 (SI), Z0; \
	REMAINDER; \
	DIGITS; \
	VPSRLW $2, Z1, Z2; \
	VPSRLW $4, Z1, Z3; \
	VPANDQ Z4, Z0, Z0; \
	VPANDQ Z4, Z2, Z2; \
	VPANDQ Z4, Z3, Z3

#define LASTDIGITS \
	VPSRLW $6, Z1, Z0; \
	VPANDQ Z4, Z0, Z0; \
	VPANDQ Z4, Z1, Z1

// func tile5VBMI24(c *tile)
TEXT ·tile5VBMI24(SB), 0, $1600-8
	LOADCALL
	LOADTABLE
	BYTEMASK(0x03, Z4)
	VPXORQ Z0, Z0, Z0
	EACHA(CLEAR)
	EACHB(CLEAR)
	EACHC(CLEAR)
group:
	EACHA(START)
	EACHB(START)
	EACHC(START)
	ADDQ $(24*4), R9
	MOVQ tile_blocks(AX), R11
block:
	UNPACK5
	DOTA(384, Z0)
	DOTB(416, Z0)
	DOTC(448, Z0)
	DOTA(96, Z2)
	DOTB(128, Z2)
	DOTC(160, Z2)
	DOTA(192, Z3)
	DOTB(224, Z3)
	DOTC(256, Z3)
	LASTDIGITS
	DOTA(0, Z1)
	DOTB(32, Z1)
	DOTC(64, Z1)
	DOTA(288, Z0)
	DOTB(320, Z0)
	DOTC(352, Z0)
	ADDQ $64, SI
	ADDQ $(24*20), R8
	DECQ R11
	JNZ block
	VCVTPH2PS (DI), Z0
	ADDQ $32, DI
	EACHA(FOLD)
	EACHB(FOLD)
	EACHC(FOLD)
	DECQ R10
	JNZ group
	FINISH

// func tile5VBMI16(c *tile)
TEXT ·tile5VBMI16(SB), 0, $1088-8
	LOADCALL
	LOADTABLE
	BYTEMASK(0x03, Z4)
	VPXORQ Z0, Z0, Z0
	EACHA(CLEAR)
	EACHB(CLEAR)
group:
	EACHA(START)
	EACHB(START)
	ADDQ $(16*4), R9
	MOVQ tile_blocks(AX), R11
block:
	UNPACK5
	DOTA(256, Z0)
	DOTB(288, Z0)
	DOTA(64, Z2)
	DOTB(96, Z2)
	DOTA(128, Z3)
	DOTB(160, Z3)
	LASTDIGITS
	DOTA(0, Z1)
	DOTB(32, Z1)
	DOTA(192, Z0)
	DOTB(224, Z0)
	ADDQ $64, SI
	ADDQ $(16*20), R8
	DECQ R11
	JNZ block
	VCVTPH2PS (DI), Z0
	ADDQ $32, DI
	EACHA(FOLD)
	EACHB(FOLD)
	DECQ R10
	JNZ group
	FINISH

// func tile5VBMI8(c *tile)
TEXT ·tile5VBMI8(SB), 0, $576-8
	LOADCALL
	LOADTABLE
	BYTEMASK(0x03, Z4)
	VPXORQ Z0, Z0, Z0
	EACHA(CLEAR)
group:
	EACHA(START)
	ADDQ $(8*4), R9
	MOVQ tile_blocks(AX), R11
block:
	UNPACK5
	DOTA(128, Z0)
	DOTA(32, Z2)
	DOTA(64, Z3)
	LASTDIGITS
	DOTA(0, Z1)
	DOTA(96, Z0)
	ADDQ $64, SI
	ADDQ $(8*20), R8
	DECQ R11
	JNZ block
	VCVTPH2PS (DI), Z0
	ADDQ $32, DI
	EACHA(FOLD)
	DECQ R10
	JNZ group
	FINISH

// ---- 1, 2 and 4 tokens: as for Ternary2, digits stay where they are and have a sum each per token, scaled by 4^c and
// by 81. Z0-Z4 digits, Z8-Z27 int32 sums [token][digit], Z28-Z31 masks.

#define MASKS \
	BYTEMASK(0x03, Z28); \
	BYTEMASK(0x0C, Z29); \
	BYTEMASK(0x30, Z30); \
	BYTEMASK(0xC0, Z31)

#define MASKED \
	VMOVDQU64 (SI), Z0; \
	PREFETCHT0 4096(SI); \
	REMAINDER; \
	DIGITS; \
	VPANDQ Z29, Z1, Z2; \
	VPANDQ Z30, Z1, Z3; \
	VPANDQ Z31, Z1, Z4; \
	VPANDQ Z28, Z1, Z1

#define CLEAR5(t) \
	VPXORQ Z0, Z0, Z0; \
	VMOVDQA64 Z0, (t*64)(R12)

#define START5(t, a, b, c, d, e) \
	VPBROADCASTD (t*4)(R9), a; \
	VPXORQ b, b, b; \
	VPXORQ c, c, c; \
	VPXORQ d, d, d; \
	VPXORQ e, e, e

// DOT5 adds one block for token t of n.
#define DOT5(t, n, a, b, c, d, e) \
	VPDPBUSD.BCST (t*4)(R8), Z1, a; \
	VPDPBUSD.BCST (n*4+t*4)(R8), Z2, b; \
	VPDPBUSD.BCST (n*8+t*4)(R8), Z3, c; \
	VPDPBUSD.BCST (n*12+t*4)(R8), Z4, d; \
	VPDPBUSD.BCST (n*16+t*4)(R8), Z0, e

// ENDGROUP: Z0 is the scales and Z1 the inverse of 81 modulo 2^32, which divides exactly.
#define ENDGROUP \
	VCVTPH2PS (DI), Z0; \
	ADDQ $32, DI; \
	MOVL $0x781948B1, BX; \
	VPBROADCASTD BX, Z1

// FOLD5 adds a group to the float sums of token t: a + (b + (c + d/4)/4)/4 + e/81, exact because digit c's sum is a
// multiple of 4^c and the last one's of 81. The last may have wrapped around; its quotient does not.
#define FOLD5(t, a, b, c, d, e) \
	VPMULLD Z1, e, e; \
	VPSRAD $2, d, d; \
	VPADDD c, d, d; \
	VPSRAD $2, d, d; \
	VPADDD b, d, d; \
	VPSRAD $2, d, d; \
	VPADDD a, d, d; \
	VPADDD e, d, d; \
	VCVTDQ2PS d, d; \
	VMULPS Z0, d, d; \
	VADDPS (t*64)(R12), d, d; \
	VMOVAPS d, (t*64)(R12)

// func tile5VBMI4(c *tile)
TEXT ·tile5VBMI4(SB), 0, $320-8
	LOADCALL
	LOADTABLE
	MASKS
	CLEAR5(0)
	CLEAR5(1)
	CLEAR5(2)
	CLEAR5(3)
group:
	START5(0, Z8, Z9, Z10, Z11, Z12)
	START5(1, Z13, Z14, Z15, Z16, Z17)
	START5(2, Z18, Z19, Z20, Z21, Z22)
	START5(3, Z23, Z24, Z25, Z26, Z27)
	ADDQ $16, R9
	MOVQ tile_blocks(AX), R11
block:
	MASKED
	DOT5(0, 4, Z8, Z9, Z10, Z11, Z12)
	DOT5(1, 4, Z13, Z14, Z15, Z16, Z17)
	DOT5(2, 4, Z18, Z19, Z20, Z21, Z22)
	DOT5(3, 4, Z23, Z24, Z25, Z26, Z27)
	ADDQ $64, SI
	ADDQ $80, R8
	DECQ R11
	JNZ block
	ENDGROUP
	FOLD5(0, Z8, Z9, Z10, Z11, Z12)
	FOLD5(1, Z13, Z14, Z15, Z16, Z17)
	FOLD5(2, Z18, Z19, Z20, Z21, Z22)
	FOLD5(3, Z23, Z24, Z25, Z26, Z27)
	DECQ R10
	JNZ group
	FINISH

// func tile5VBMI2(c *tile)
TEXT ·tile5VBMI2(SB), 0, $192-8
	LOADCALL
	LOADTABLE
	MASKS
	CLEAR5(0)
	CLEAR5(1)
group:
	START5(0, Z8, Z9, Z10, Z11, Z12)
	START5(1, Z13, Z14, Z15, Z16, Z17)
	ADDQ $8, R9
	MOVQ tile_blocks(AX), R11
block:
	MASKED
	DOT5(0, 2, Z8, Z9, Z10, Z11, Z12)
	DOT5(1, 2, Z13, Z14, Z15, Z16, Z17)
	ADDQ $64, SI
	ADDQ $40, R8
	DECQ R11
	JNZ block
	ENDGROUP
	FOLD5(0, Z8, Z9, Z10, Z11, Z12)
	FOLD5(1, Z13, Z14, Z15, Z16, Z17)
	DECQ R10
	JNZ group
	FINISH

// func tile5VBMI1(c *tile)
TEXT ·tile5VBMI1(SB), 0, $128-8
	LOADCALL
	LOADTABLE
	MASKS
	CLEAR5(0)
group:
	START5(0, Z8, Z9, Z10, Z11, Z12)
	ADDQ $4, R9
	MOVQ tile_blocks(AX), R11
block:
	MASKED
	DOT5(0, 1, Z8, Z9, Z10, Z11, Z12)
	ADDQ $64, SI
	ADDQ $20, R8
	DECQ R11
	JNZ block
	ENDGROUP
	FOLD5(0, Z8, Z9, Z10, Z11, Z12)
	DECQ R10
	JNZ group
	FINISH
