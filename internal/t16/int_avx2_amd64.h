// What the AVX2 kernels for whole-number weights (Int4, Int8, MXFP4) share.
//
// Rows 0-7 and 8-15 of a tile are the dwords of two 256-bit registers.
//
// AX call, SI codes, DI scales, R8 activations, R9 negated sums, R10 groups left, R11 blocks left in the chunk,
// R12 frame: float sums [token][16] and, from WIDE on, int32 sums [token][16]; R13 blocks left in the group.
// Y0-Y7 sums [token][half], 32 bits for Int8, else 16 bits.

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

// HALFSCALES takes the scales of a group as half floats.
#define HALFSCALES \
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

// ---- Four-bit weights. VPMADDUBSW adds two columns in 16 bits, two times a block; after chunk blocks the 16-bit sums
// are added to 32-bit sums. Y8 Y9 block, Y10 Y11 nibbles, Y12 mask, Y13 activations,
// Y14 scratch, Y15 ones.

// START begins a group: the 32-bit sums of token t are its negated activation sum times 1 << bits.
#define START(bits, t) \
	VPBROADCASTD ((t)*4)(R9), Y14; \
	VPSLLD $(bits), Y14, Y14; \
	VMOVDQA Y14, (WIDE+(t)*64)(R12); \
	VMOVDQA Y14, (WIDE+(t)*64+32)(R12)

// NEXTCHUNK takes min(chunk, R13) blocks from R13 into R11.
#define NEXTCHUNK(chunk) \
	MOVQ $(chunk), R11; \
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

// FOURBITS is a whole kernel; look turns the nibbles in Y10 and Y11 into weights.
#define FOURBITS(each, width, constants, start, chunkblocks, look, second, scales, fold) \
	LOADCALL; \
	MOVL $0x0F0F0F0F, BX; \
	VMOVD BX, X12; \
	VPBROADCASTD X12, Y12; \
	constants; \
	each(CLEAR); \
group: \
	each(start); \
	ADDQ $((width)*4), R9; \
	MOVQ tile_blocks(AX), R13; \
chunk: \
	NEXTCHUNK(chunkblocks); \
	each(ZERO); \
block: \
	VMOVDQU (SI), Y8; \
	VMOVDQU 32(SI), Y9; \
	PREFETCHT0 4096(SI); \
	VPAND Y12, Y8, Y10; \
	VPAND Y12, Y9, Y11; \
	look; \
	each(DOTFIRST); \
	VPSRLW $4, Y8, Y10; \
	VPSRLW $4, Y9, Y11; \
	VPAND Y12, Y10, Y10; \
	VPAND Y12, Y11, Y11; \
	look; \
	each(second); \
	ADDQ $64, SI; \
	ADDQ $((width)*8), R8; \
	DECQ R11; \
	JNZ block; \
	each(WIDEN); \
	TESTQ R13, R13; \
	JNZ chunk; \
	scales; \
	each(fold); \
	DECQ R10; \
	JNZ group; \
	FINISH
