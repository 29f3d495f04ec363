//go:build !purego

#include "textflag.h"
#include "go_asm.h"

// Rows 0-7 and 8-15 of a tile are the dwords of two 256-bit registers. VPMADDUBSW adds two columns in 16 bits: at most
// 2*2*127 = 508 a step and four steps a block, so 16-bit sums hold 16 blocks and are then added to 32-bit sums.
//
// AX call, SI codes, DI scales, R8 activations, R9 negated sums, R10 groups left, R11 blocks left in the chunk,
// R12 frame: float sums [token][16] and, from WIDE on, int32 sums [token][16]; R13 blocks left in the group.
// Y0-Y7 16-bit sums [token][half], Y8 Y9 block, Y10 Y11 one crumb, Y12 mask, Y13 activations, Y14 scratch, Y15 ones.

#define WIDE 256
#define CHUNK 16

#define LOADCALL \
	MOVQ c+0(FP), AX; \
	MOVQ tile_codes(AX), SI; \
	MOVQ tile_scales(AX), DI; \
	MOVQ tile_acts(AX), R8; \
	MOVQ tile_nsums(AX), R9; \
	MOVQ tile_groups(AX), R10; \
	LEAQ 31(SP), R12; \
	ANDQ $~31, R12; \
	MOVL $0x03030303, BX; \
	VMOVD BX, X12; \
	VPBROADCASTD X12, Y12; \
	VPCMPEQW Y15, Y15, Y15; \
	VPSRLW $15, Y15, Y15

#define CLEAR(t) \
	VPXOR Y14, Y14, Y14; \
	VMOVDQA Y14, (t*64)(R12); \
	VMOVDQA Y14, (t*64+32)(R12)

// START begins a group: the 32-bit sums of token t are its negated activation sum.
#define START(t) \
	VPBROADCASTD (t*4)(R9), Y14; \
	VMOVDQA Y14, (WIDE+t*64)(R12); \
	VMOVDQA Y14, (WIDE+t*64+32)(R12)

// NEXTCHUNK takes min(CHUNK, R13) blocks from R13 into R11.
#define NEXTCHUNK \
	MOVQ $CHUNK, R11; \
	CMPQ R13, R11; \
	CMOVQLT R13, R11; \
	SUBQ R11, R13

#define ZERO(a, b) \
	VPXOR a, a, a; \
	VPXOR b, b, b

#define LOAD \
	VMOVDQU (SI), Y8; \
	VMOVDQU 32(SI), Y9; \
	PREFETCHT0 4096(SI)

#define CRUMB \
	VPAND Y12, Y8, Y10; \
	VPAND Y12, Y9, Y11

#define SHIFT \
	VPSRLW $2, Y8, Y8; \
	VPSRLW $2, Y9, Y9

#define DOT(off, a, b) \
	VPBROADCASTD (off)(R8), Y13; \
	VPMADDUBSW Y13, Y10, Y14; \
	VPADDW Y14, a, a; \
	VPMADDUBSW Y13, Y11, Y14; \
	VPADDW Y14, b, b

// WIDEN adds the 16-bit sums of token t to its 32-bit sums.
#define WIDEN(t, a, b) \
	VPMADDWD Y15, a, a; \
	VPMADDWD Y15, b, b; \
	VPADDD (WIDE+t*64)(R12), a, a; \
	VPADDD (WIDE+t*64+32)(R12), b, b; \
	VMOVDQA a, (WIDE+t*64)(R12); \
	VMOVDQA b, (WIDE+t*64+32)(R12)

#define SCALES \
	VCVTPH2PS (DI), Y8; \
	VCVTPH2PS 16(DI), Y9; \
	ADDQ $32, DI

// FOLD ends a group: token t's sums, times the scales, join its float sums.
#define FOLD(t) \
	VCVTDQ2PS (WIDE+t*64)(R12), Y10; \
	VCVTDQ2PS (WIDE+t*64+32)(R12), Y11; \
	VMULPS Y8, Y10, Y10; \
	VMULPS Y9, Y11, Y11; \
	VADDPS (t*64)(R12), Y10, Y10; \
	VADDPS (t*64+32)(R12), Y11, Y11; \
	VMOVAPS Y10, (t*64)(R12); \
	VMOVAPS Y11, (t*64+32)(R12)

// FINISH stores RN(RN(acc*ascale) + bias) for each token and returns.
#define FINISH \
	MOVQ tile_dst(AX), DI; \
	MOVQ tile_rows(AX), SI; \
	MOVQ (tile_rows+8)(AX), CX; \
	MOVQ tile_ldd(AX), DX; \
	MOVQ tile_ascales(AX), R8; \
	MOVQ tile_bias(AX), BX; \
	VMOVUPS (BX), Y3; \
	VMOVUPS 32(BX), Y4; \
finish: \
	VBROADCASTSS (R8), Y0; \
	VMULPS (R12), Y0, Y1; \
	VMULPS 32(R12), Y0, Y2; \
	VADDPS Y3, Y1, Y1; \
	VADDPS Y4, Y2, Y2; \
	MOVQ (SI), R11; \
	IMULQ DX, R11; \
	VMOVUPS Y1, (DI)(R11*4); \
	VMOVUPS Y2, 32(DI)(R11*4); \
	ADDQ $64, R12; \
	ADDQ $8, SI; \
	ADDQ $4, R8; \
	DECQ CX; \
	JNZ finish; \
	VZEROUPPER; \
	RET

#define STEP4(off) \
	CRUMB; \
	DOT(off+0, Y0, Y1); \
	DOT(off+4, Y2, Y3); \
	DOT(off+8, Y4, Y5); \
	DOT(off+12, Y6, Y7)

// func tileAVX2x4(c *tile)
TEXT ·tileAVX2x4(SB), 0, $544-8
	LOADCALL
	CLEAR(0)
	CLEAR(1)
	CLEAR(2)
	CLEAR(3)
group:
	START(0)
	START(1)
	START(2)
	START(3)
	ADDQ $16, R9
	MOVQ tile_blocks(AX), R13
chunk:
	NEXTCHUNK
	ZERO(Y0, Y1)
	ZERO(Y2, Y3)
	ZERO(Y4, Y5)
	ZERO(Y6, Y7)
block:
	LOAD
	STEP4(0)
	SHIFT
	STEP4(16)
	SHIFT
	STEP4(32)
	SHIFT
	STEP4(48)
	ADDQ $64, SI
	ADDQ $64, R8
	DECQ R11
	JNZ block
	WIDEN(0, Y0, Y1)
	WIDEN(1, Y2, Y3)
	WIDEN(2, Y4, Y5)
	WIDEN(3, Y6, Y7)
	TESTQ R13, R13
	JNZ chunk
	SCALES
	FOLD(0)
	FOLD(1)
	FOLD(2)
	FOLD(3)
	DECQ R10
	JNZ group
	FINISH

#define STEP2(off) \
	CRUMB; \
	DOT(off+0, Y0, Y1); \
	DOT(off+4, Y2, Y3)

// func tileAVX2x2(c *tile)
TEXT ·tileAVX2x2(SB), 0, $544-8
	LOADCALL
	CLEAR(0)
	CLEAR(1)
group:
	START(0)
	START(1)
	ADDQ $8, R9
	MOVQ tile_blocks(AX), R13
chunk:
	NEXTCHUNK
	ZERO(Y0, Y1)
	ZERO(Y2, Y3)
block:
	LOAD
	STEP2(0)
	SHIFT
	STEP2(8)
	SHIFT
	STEP2(16)
	SHIFT
	STEP2(24)
	ADDQ $64, SI
	ADDQ $32, R8
	DECQ R11
	JNZ block
	WIDEN(0, Y0, Y1)
	WIDEN(1, Y2, Y3)
	TESTQ R13, R13
	JNZ chunk
	SCALES
	FOLD(0)
	FOLD(1)
	DECQ R10
	JNZ group
	FINISH

#define STEP1(off) \
	CRUMB; \
	DOT(off, Y0, Y1)

// func tileAVX2x1(c *tile)
TEXT ·tileAVX2x1(SB), 0, $544-8
	LOADCALL
	CLEAR(0)
group:
	START(0)
	ADDQ $4, R9
	MOVQ tile_blocks(AX), R13
chunk:
	NEXTCHUNK
	ZERO(Y0, Y1)
block:
	LOAD
	STEP1(0)
	SHIFT
	STEP1(4)
	SHIFT
	STEP1(8)
	SHIFT
	STEP1(12)
	ADDQ $64, SI
	ADDQ $16, R8
	DECQ R11
	JNZ block
	WIDEN(0, Y0, Y1)
	TESTQ R13, R13
	JNZ chunk
	SCALES
	FOLD(0)
	DECQ R10
	JNZ group
	FINISH
