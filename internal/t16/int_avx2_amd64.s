//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "int_avx2_amd64.h"

// ---- Int4: at most 2*15*127 = 3810 a step, so 16 bits hold the 8 steps of 4 blocks.

#define NOTHING
#define START8(t, a, b) START(3, t)

// func tileInt4AVX2x4(c *tile)
TEXT ·tileInt4AVX2x4(SB), 0, $544-8
	FOURBITS(EACH4, 4, NOTHING, START8, 4, NOTHING, DOTSECOND4, HALFSCALES, FOLD)

// func tileInt4AVX2x2(c *tile)
TEXT ·tileInt4AVX2x2(SB), 0, $544-8
	FOURBITS(EACH2, 2, NOTHING, START8, 4, NOTHING, DOTSECOND2, HALFSCALES, FOLD)

// func tileInt4AVX2x1(c *tile)
TEXT ·tileInt4AVX2x1(SB), 0, $544-8
	FOURBITS(EACH1, 1, NOTHING, START8, 4, NOTHING, DOTSECOND1, HALFSCALES, FOLD)

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
	HALFSCALES; \
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
