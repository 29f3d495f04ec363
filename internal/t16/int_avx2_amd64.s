//go:build !purego

#include "textflag.h"
#include "go_asm.h"

// Rows 0-7 and 8-15 of a tile are the dwords of two 256-bit registers.
//
// AX call, SI codes, DI scales, R8 activations, R9 negated sums, R10 groups left, R11 blocks left in the chunk,
// R12 frame: float sums [token][16] and, from WIDE on, int32 sums [token][16]; R13 blocks left in the group.
// Y0-Y7 sums [token][half], 16 bits for Int4 and 32 bits for Int8.

#define WIDE 256

#define LOADCALL \
	MOVQ c+0(FP), AX; \
	MOVQ tile_codes(AX), SI; \
	MOVQ tile_scales(AX), DI; \
	MOVQ tile_acts(AX), R8; \
	MOVQ tile_nsums(AX), R9; \
	MOVQ tile_groups(AX), R10; \
	LEAQ 31(SP), R12; \
	ANDQ $~31, R12; \
	VPCMPEQW Y15, Y15, Y15; \
	VPSRLW $15, Y15, Y15

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

#define EACH1(op) op(0, Y0, Y1)
#define EACH2(op) EACH1(op); op(1, Y2, Y3)
#define EACH4(op) EACH2(op); op(2, Y4, Y5); op(3, Y6, Y7)

#define CLEAR(t, a, b) \
	VPXOR a, a, a; \
	VMOVDQA a, ((t)*64)(R12); \
	VMOVDQA a, ((t)*64+32)(R12)

#define ZERO(t, a, b) \
	VPXOR a, a, a; \
	VPXOR b, b, b

#define SCALES \
	VCVTPH2PS (DI), Y8; \
	VCVTPH2PS 16(DI), Y9; \
	ADDQ $32, DI

// ADDSCALED adds the 32-bit sums Y10 and Y11 of token t, times the scales, to its float sums.
#define ADDSCALED(t) \
	VCVTDQ2PS Y10, Y10; \
	VCVTDQ2PS Y11, Y11; \
	VMULPS Y8, Y10, Y10; \
	VMULPS Y9, Y11, Y11; \
	VADDPS ((t)*64)(R12), Y10, Y10; \
	VADDPS ((t)*64+32)(R12), Y11, Y11; \
	VMOVAPS Y10, ((t)*64)(R12); \
	VMOVAPS Y11, ((t)*64+32)(R12)

// ---- Int4. VPMADDUBSW adds two columns in 16 bits: at most 2*15*127 = 3810 a step and two steps a block, so 16-bit
// sums hold 4 blocks and are then added to 32-bit sums. Y8 Y9 block, Y10 Y11 nibbles, Y12 mask, Y13 activations,
// Y14 scratch, Y15 ones.

#define CHUNK 4

// START begins a group: the 32-bit sums of token t are 8 times its negated activation sum.
#define START(t, a, b) \
	VPBROADCASTD ((t)*4)(R9), Y14; \
	VPSLLD $3, Y14, Y14; \
	VMOVDQA Y14, (WIDE+(t)*64)(R12); \
	VMOVDQA Y14, (WIDE+(t)*64+32)(R12)

// NEXTCHUNK takes min(CHUNK, R13) blocks from R13 into R11.
#define NEXTCHUNK \
	MOVQ $CHUNK, R11; \
	CMPQ R13, R11; \
	CMOVQLT R13, R11; \
	SUBQ R11, R13

#define DOT(off, a, b) \
	VPBROADCASTD (off)(R8), Y13; \
	VPMADDUBSW Y13, Y10, Y14; \
	VPADDW Y14, a, a; \
	VPMADDUBSW Y13, Y11, Y14; \
	VPADDW Y14, b, b

#define DOTFIRST(t, a, b) DOT((t)*4, a, b)
#define DOTSECOND1(t, a, b) DOT(4, a, b)
#define DOTSECOND2(t, a, b) DOT(8+(t)*4, a, b)
#define DOTSECOND4(t, a, b) DOT(16+(t)*4, a, b)

// WIDEN adds the 16-bit sums of token t to its 32-bit sums.
#define WIDEN(t, a, b) \
	VPMADDWD Y15, a, a; \
	VPMADDWD Y15, b, b; \
	VPADDD (WIDE+(t)*64)(R12), a, a; \
	VPADDD (WIDE+(t)*64+32)(R12), b, b; \
	VMOVDQA a, (WIDE+(t)*64)(R12); \
	VMOVDQA b, (WIDE+(t)*64+32)(R12)

#define FOLD(t, a, b) \
	VMOVDQA (WIDE+(t)*64)(R12), Y10; \
	VMOVDQA (WIDE+(t)*64+32)(R12), Y11; \
	ADDSCALED(t)

#define INT4TILE(each, width, second) \
	LOADCALL; \
	MOVL $0x0F0F0F0F, BX; \
	VMOVD BX, X12; \
	VPBROADCASTD X12, Y12; \
	each(CLEAR); \
group: \
	each(START); \
	ADDQ $((width)*4), R9; \
	MOVQ tile_blocks(AX), R13; \
chunk: \
	NEXTCHUNK; \
	each(ZERO); \
block: \
	VMOVDQU (SI), Y8; \
	VMOVDQU 32(SI), Y9; \
	PREFETCHT0 4096(SI); \
	VPAND Y12, Y8, Y10; \
	VPAND Y12, Y9, Y11; \
	each(DOTFIRST); \
	VPSRLW $4, Y8, Y10; \
	VPSRLW $4, Y9, Y11; \
	VPAND Y12, Y10, Y10; \
	VPAND Y12, Y11, Y11; \
	each(second); \
	ADDQ $64, SI; \
	ADDQ $((width)*8), R8; \
	DECQ R11; \
	JNZ block; \
	each(WIDEN); \
	TESTQ R13, R13; \
	JNZ chunk; \
	SCALES; \
	each(FOLD); \
	DECQ R10; \
	JNZ group; \
	FINISH

// func tileInt4AVX2x4(c *tile)
TEXT ·tileInt4AVX2x4(SB), 0, $544-8
	INT4TILE(EACH4, 4, DOTSECOND4)

// func tileInt4AVX2x2(c *tile)
TEXT ·tileInt4AVX2x2(SB), 0, $544-8
	INT4TILE(EACH2, 2, DOTSECOND2)

// func tileInt4AVX2x1(c *tile)
TEXT ·tileInt4AVX2x1(SB), 0, $544-8
	INT4TILE(EACH1, 1, DOTSECOND1)

// ---- Int8. 255*127 twice overflows 16 bits, so the offset is taken off and the sign of a weight put on the
// activation: |w| <= 128 and |a| <= 127, twice, is 32512. The sums then start from zero.
// Y8 Y9 weights, Y10 Y11 their magnitudes, Y12 offset, Y13 activations, Y14 scratch, Y15 ones.

#define DOT8(t, a, b) \
	VPBROADCASTD ((t)*4)(R8), Y13; \
	VPSIGNB Y8, Y13, Y14; \
	VPMADDUBSW Y14, Y10, Y14; \
	VPMADDWD Y15, Y14, Y14; \
	VPADDD Y14, a, a; \
	VPSIGNB Y9, Y13, Y14; \
	VPMADDUBSW Y14, Y11, Y14; \
	VPMADDWD Y15, Y14, Y14; \
	VPADDD Y14, b, b

#define FOLD8(t, a, b) \
	VMOVDQA a, Y10; \
	VMOVDQA b, Y11; \
	ADDSCALED(t)

#define INT8TILE(each, width) \
	LOADCALL; \
	MOVL $0x80808080, BX; \
	VMOVD BX, X12; \
	VPBROADCASTD X12, Y12; \
	each(CLEAR); \
group: \
	each(ZERO); \
	MOVQ tile_blocks(AX), R11; \
block: \
	VPXOR (SI), Y12, Y8; \
	VPXOR 32(SI), Y12, Y9; \
	PREFETCHT0 4096(SI); \
	VPABSB Y8, Y10; \
	VPABSB Y9, Y11; \
	each(DOT8); \
	ADDQ $64, SI; \
	ADDQ $((width)*4), R8; \
	DECQ R11; \
	JNZ block; \
	SCALES; \
	each(FOLD8); \
	DECQ R10; \
	JNZ group; \
	FINISH

// func tileInt8AVX2x4(c *tile)
TEXT ·tileInt8AVX2x4(SB), 0, $288-8
	INT8TILE(EACH4, 4)

// func tileInt8AVX2x2(c *tile)
TEXT ·tileInt8AVX2x2(SB), 0, $160-8
	INT8TILE(EACH2, 2)

// func tileInt8AVX2x1(c *tile)
TEXT ·tileInt8AVX2x1(SB), 0, $96-8
	INT8TILE(EACH1, 1)
