//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "vnni_amd64.h"

// ---- 8, 16 and 24 tokens: weights are unpacked once a block and serve every token. Z0-Z3 the four crumbs, Z4 mask.

#define UNPACK \
	VMOVDQU64 (SI), Z0; \
	VPSRLW $2, Z0, Z1; \
	VPSRLW $4, Z0, Z2; \
	VPSRLW $6, Z0, Z3; \
	VPANDQ Z4, Z0, Z0; \
	VPANDQ Z4, Z1, Z1; \
	VPANDQ Z4, Z2, Z2; \
	VPANDQ Z4, Z3, Z3

// func tileVNNI24(c *tile)
TEXT ·tileVNNI24(SB), 0, $1600-8
	LOADCALL
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
	UNPACK
	DOTA(0, Z0)
	DOTB(32, Z0)
	DOTC(64, Z0)
	DOTA(96, Z1)
	DOTB(128, Z1)
	DOTC(160, Z1)
	DOTA(192, Z2)
	DOTB(224, Z2)
	DOTC(256, Z2)
	DOTA(288, Z3)
	DOTB(320, Z3)
	DOTC(352, Z3)
	ADDQ $64, SI
	ADDQ $(24*16), R8
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

// func tileVNNI16(c *tile)
TEXT ·tileVNNI16(SB), 0, $1088-8
	LOADCALL
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
	UNPACK
	DOTA(0, Z0)
	DOTB(32, Z0)
	DOTA(64, Z1)
	DOTB(96, Z1)
	DOTA(128, Z2)
	DOTB(160, Z2)
	DOTA(192, Z3)
	DOTB(224, Z3)
	ADDQ $64, SI
	ADDQ $(16*16), R8
	DECQ R11
	JNZ block
	VCVTPH2PS (DI), Z0
	ADDQ $32, DI
	EACHA(FOLD)
	EACHB(FOLD)
	DECQ R10
	JNZ group
	FINISH

// func tileVNNI8(c *tile)
TEXT ·tileVNNI8(SB), 0, $576-8
	LOADCALL
	BYTEMASK(0x03, Z4)
	VPXORQ Z0, Z0, Z0
	EACHA(CLEAR)
group:
	EACHA(START)
	ADDQ $(8*4), R9
	MOVQ tile_blocks(AX), R11
block:
	UNPACK
	DOTA(0, Z0)
	DOTA(32, Z1)
	DOTA(64, Z2)
	DOTA(96, Z3)
	ADDQ $64, SI
	ADDQ $(8*16), R8
	DECQ R11
	JNZ block
	VCVTPH2PS (DI), Z0
	ADDQ $32, DI
	EACHA(FOLD)
	DECQ R10
	JNZ group
	FINISH

// ---- 1, 2 and 4 tokens: weights are masked in place and each crumb has its own sum per token, scaled by 4^crumb,
// which hides the latency of VPDPBUSD and saves the shifts. Z0-Z4 block and crumbs, Z5 scales, Z8-Z23 int32 sums
// [token][crumb], Z24-Z27 float sums, Z28-Z31 masks.

#define MASKS \
	BYTEMASK(0x03, Z28); \
	BYTEMASK(0x0C, Z29); \
	BYTEMASK(0x30, Z30); \
	BYTEMASK(0xC0, Z31)

#define MASKED \
	VMOVDQU64 (SI), Z0; \
	PREFETCHT0 4096(SI); \
	VPANDQ Z28, Z0, Z1; \
	VPANDQ Z29, Z0, Z2; \
	VPANDQ Z30, Z0, Z3; \
	VPANDQ Z31, Z0, Z4

#define START4(t, a, b, c, d) \
	VPBROADCASTD (t*4)(R9), a; \
	VPXORQ b, b, b; \
	VPXORQ c, c, c; \
	VPXORQ d, d, d

// DOT4 adds one block for token t of n.
#define DOT4(t, n, a, b, c, d) \
	VPDPBUSD.BCST (t*4)(R8), Z1, a; \
	VPDPBUSD.BCST (n*4+t*4)(R8), Z2, b; \
	VPDPBUSD.BCST (n*8+t*4)(R8), Z3, c; \
	VPDPBUSD.BCST (n*12+t*4)(R8), Z4, d

// FOLD4 adds a group to the float sum s: a + (b + (c + d/4)/4)/4, exact because crumb i's sum is a multiple of 4^i.
#define FOLD4(a, b, c, d, s) \
	VPSRAD $2, d, d; \
	VPADDD c, d, d; \
	VPSRAD $2, d, d; \
	VPADDD b, d, d; \
	VPSRAD $2, d, d; \
	VPADDD a, d, d; \
	VCVTDQ2PS d, d; \
	VMULPS Z5, d, d; \
	VADDPS s, d, s

// func tileVNNI4(c *tile)
TEXT ·tileVNNI4(SB), 0, $320-8
	LOADCALL
	MASKS
	VPXORQ Z24, Z24, Z24
	VPXORQ Z25, Z25, Z25
	VPXORQ Z26, Z26, Z26
	VPXORQ Z27, Z27, Z27
group:
	START4(0, Z8, Z9, Z10, Z11)
	START4(1, Z12, Z13, Z14, Z15)
	START4(2, Z16, Z17, Z18, Z19)
	START4(3, Z20, Z21, Z22, Z23)
	ADDQ $16, R9
	MOVQ tile_blocks(AX), R11
block:
	MASKED
	DOT4(0, 4, Z8, Z9, Z10, Z11)
	DOT4(1, 4, Z12, Z13, Z14, Z15)
	DOT4(2, 4, Z16, Z17, Z18, Z19)
	DOT4(3, 4, Z20, Z21, Z22, Z23)
	ADDQ $64, SI
	ADDQ $64, R8
	DECQ R11
	JNZ block
	VCVTPH2PS (DI), Z5
	ADDQ $32, DI
	FOLD4(Z8, Z9, Z10, Z11, Z24)
	FOLD4(Z12, Z13, Z14, Z15, Z25)
	FOLD4(Z16, Z17, Z18, Z19, Z26)
	FOLD4(Z20, Z21, Z22, Z23, Z27)
	DECQ R10
	JNZ group
	VMOVAPS Z24, (R12)
	VMOVAPS Z25, 64(R12)
	VMOVAPS Z26, 128(R12)
	VMOVAPS Z27, 192(R12)
	FINISH

// func tileVNNI2(c *tile)
TEXT ·tileVNNI2(SB), 0, $192-8
	LOADCALL
	MASKS
	VPXORQ Z24, Z24, Z24
	VPXORQ Z25, Z25, Z25
group:
	START4(0, Z8, Z9, Z10, Z11)
	START4(1, Z12, Z13, Z14, Z15)
	ADDQ $8, R9
	MOVQ tile_blocks(AX), R11
block:
	MASKED
	DOT4(0, 2, Z8, Z9, Z10, Z11)
	DOT4(1, 2, Z12, Z13, Z14, Z15)
	ADDQ $64, SI
	ADDQ $32, R8
	DECQ R11
	JNZ block
	VCVTPH2PS (DI), Z5
	ADDQ $32, DI
	FOLD4(Z8, Z9, Z10, Z11, Z24)
	FOLD4(Z12, Z13, Z14, Z15, Z25)
	DECQ R10
	JNZ group
	VMOVAPS Z24, (R12)
	VMOVAPS Z25, 64(R12)
	FINISH

// func tileVNNI1(c *tile)
TEXT ·tileVNNI1(SB), 0, $128-8
	LOADCALL
	MASKS
	VPXORQ Z24, Z24, Z24
group:
	START4(0, Z8, Z9, Z10, Z11)
	ADDQ $4, R9
	MOVQ tile_blocks(AX), R11
block:
	MASKED
	DOT4(0, 1, Z8, Z9, Z10, Z11)
	ADDQ $64, SI
	ADDQ $16, R8
	DECQ R11
	JNZ block
	VCVTPH2PS (DI), Z5
	ADDQ $32, DI
	FOLD4(Z8, Z9, Z10, Z11, Z24)
	DECQ R10
	JNZ group
	VMOVAPS Z24, (R12)
	FINISH
