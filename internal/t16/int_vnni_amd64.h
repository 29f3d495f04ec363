// What the AVX-512 VNNI kernels for whole-number weights (Int4, Int8, MXFP4) share. A kernel file says how its format
// is unpacked and scaled, and has one tile for each width.
//
// The 16 dwords of a 512-bit register are the 16 rows of a tile; VPDPBUSD adds four columns of each at once.
//
// AX call, SI codes, DI scales, R8 activations, R9 negated sums, R10 groups left, R11 blocks left,
// R12 float sums [token][16] in the frame, aligned to 64, and behind them, from SUMS on, what the sums start from.
// Z0-Z3 unpacked weights and scratch, Z5 scales, Z4 Z6 Z7 constants of the format, Z8-Z31 int32 sums of the tokens.

#define SUMS(width) ((width)*64)

#define LOADCALL \
	MOVQ c+0(FP), AX; \
	MOVQ tile_codes(AX), SI; \
	MOVQ tile_scales(AX), DI; \
	MOVQ tile_acts(AX), R8; \
	MOVQ tile_nsums(AX), R9; \
	MOVQ tile_groups(AX), R10; \
	LEAQ 63(SP), R12; \
	ANDQ $~63, R12

// FINISH stores RN(RN(acc*ascale) + bias) for each token and returns.
#define FINISH \
	MOVQ tile_dst(AX), DI; \
	MOVQ tile_rows(AX), SI; \
	MOVQ (tile_rows+8)(AX), CX; \
	MOVQ tile_ldd(AX), DX; \
	MOVQ tile_ascales(AX), R8; \
	MOVQ tile_bias(AX), BX; \
	VMOVUPS (BX), Z1; \
finish: \
	VBROADCASTSS (R8), Z0; \
	VMULPS (R12), Z0, Z0; \
	VADDPS Z1, Z0, Z0; \
	MOVQ (SI), R11; \
	IMULQ DX, R11; \
	VMOVUPS Z0, (DI)(R11*4); \
	ADDQ $64, R12; \
	ADDQ $8, SI; \
	ADDQ $4, R8; \
	DECQ CX; \
	JNZ finish; \
	VZEROUPPER; \
	RET

// DWORDS sets every dword of z to m.
#define DWORDS(m, z) \
	MOVL $(m), BX; \
	VPBROADCASTD BX, z

// HALFSCALES takes the scales of a group as half floats.
#define HALFSCALES \
	VCVTPH2PS (DI), Z5; \
	ADDQ $32, DI

// ---- 8, 16 and 24 tokens: weights are unpacked once a block and serve every token.

// EACH8 applies op to eight tokens from token t on.
#define EACH8(op, t, a, b, c, d, e, f, g, h) \
	op(t+0, a); \
	op(t+1, b); \
	op(t+2, c); \
	op(t+3, d); \
	op(t+4, e); \
	op(t+5, f); \
	op(t+6, g); \
	op(t+7, h)

#define EACHA(op) EACH8(op, 0, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15)
#define EACHB(op) EACH8(op, 8, Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)
#define EACHC(op) EACH8(op, 16, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31)

#define EACH24(op) EACHA(op); EACHB(op); EACHC(op)
#define EACH16(op) EACHA(op); EACHB(op)

// CLEAR zeroes the float sum of token t; Z0 is zero.
#define CLEAR(t, z) VMOVDQA64 Z0, ((t)*64)(R12)

// The sums of a group start from the negated sums of activations, times the offset of the weights, 1 << bits.
#define NSUMS24(bits) \
	VPSLLD $(bits), (R9), Z0; \
	VPSLLD $(bits), 64(R9), Y1; \
	VMOVDQA64 Z0, SUMS(24)(R12); \
	VMOVDQA Y1, (SUMS(24)+64)(R12); \
	ADDQ $96, R9
#define NSUMS16(bits) \
	VPSLLD $(bits), (R9), Z0; \
	VMOVDQA64 Z0, SUMS(16)(R12); \
	ADDQ $64, R9
#define NSUMS8(bits) \
	VPSLLD $(bits), (R9), Y0; \
	VMOVDQA64 Y0, SUMS(8)(R12); \
	ADDQ $32, R9

#define START24(t, z) VPBROADCASTD (SUMS(24)+(t)*4)(R12), z
#define START16(t, z) VPBROADCASTD (SUMS(16)+(t)*4)(R12), z
#define START8(t, z) VPBROADCASTD (SUMS(8)+(t)*4)(R12), z

#define DOTFIRST(t, z) VPDPBUSD.BCST ((t)*4)(R8), Z0, z
#define DOTSECOND24(t, z) VPDPBUSD.BCST (96+(t)*4)(R8), Z1, z
#define DOTSECOND16(t, z) VPDPBUSD.BCST (64+(t)*4)(R8), Z1, z
#define DOTSECOND8(t, z) VPDPBUSD.BCST (32+(t)*4)(R8), Z1, z

// FOLD ends a group: token t's sums, times the scales, join its float sums.
#define FOLD(t, z) \
	VCVTDQ2PS z, z; \
	VMULPS Z5, z, z; \
	VADDPS ((t)*64)(R12), z, z; \
	VMOVAPS z, ((t)*64)(R12)

// WIDE is a whole kernel: constants sets the registers of the format, unpack makes the operands of a block, dots adds
// them to the sums and moves R8 on, scales loads Z5.
#define WIDE(each, nsums, start, constants, unpack, dots, scales, fold) \
	LOADCALL; \
	constants; \
	VPXORQ Z0, Z0, Z0; \
	each(CLEAR); \
group: \
	nsums; \
	each(start); \
	MOVQ tile_blocks(AX), R11; \
block: \
	unpack; \
	dots; \
	ADDQ $64, SI; \
	DECQ R11; \
	JNZ block; \
	scales; \
	each(fold); \
	DECQ R10; \
	JNZ group; \
	FINISH

#define TWODOTS24 \
	EACH24(DOTFIRST); \
	EACH24(DOTSECOND24); \
	ADDQ $192, R8
#define TWODOTS16 \
	EACH16(DOTFIRST); \
	EACH16(DOTSECOND16); \
	ADDQ $128, R8
#define TWODOTS8 \
	EACHA(DOTFIRST); \
	EACHA(DOTSECOND8); \
	ADDQ $64, R8

// ---- 1, 2 and 4 tokens: each operand of a block has its own sum per token, which hides the latency of VPDPBUSD.
// Z8-Z15 int32 sums [token][operand], Z24-Z27 float sums.

#define EACHPAIR1(op) op(0, Z8, Z9, Z24)
#define EACHPAIR2(op) EACHPAIR1(op); op(1, Z10, Z11, Z25)
#define EACHPAIR4(op) EACHPAIR2(op); op(2, Z12, Z13, Z26); op(3, Z14, Z15, Z27)

#define CLEARPAIR(t, a, b, s) VPXORQ s, s, s
#define STARTPAIR(t, a, b, s) \
	VPBROADCASTD ((t)*4)(R9), a; \
	VPXORQ b, b, b
#define DOTPAIR1(t, a, b, s) \
	VPDPBUSD.BCST (R8), Z0, a; \
	VPDPBUSD.BCST 4(R8), Z1, b
#define DOTPAIR2(t, a, b, s) \
	VPDPBUSD.BCST ((t)*4)(R8), Z0, a; \
	VPDPBUSD.BCST (8+(t)*4)(R8), Z1, b
#define DOTPAIR4(t, a, b, s) \
	VPDPBUSD.BCST ((t)*4)(R8), Z0, a; \
	VPDPBUSD.BCST (16+(t)*4)(R8), Z1, b
#define ADDPAIR(t, a, b, s) \
	VPADDD b, a, a; \
	VCVTDQ2PS a, a
#define FOLDPAIR(t, a, b, s) \
	ADDPAIR(t, a, b, s); \
	VMULPS Z5, a, a; \
	VADDPS s, a, s
#define STOREPAIR(t, a, b, s) VMOVAPS s, ((t)*64)(R12)

// NARROW is a whole kernel for few tokens; step moves R8 past the activations of a block.
#define NARROW(each, width, constants, offset, unpack, dot, step, scales, fold) \
	LOADCALL; \
	constants; \
	each(CLEARPAIR); \
group: \
	each(STARTPAIR); \
	each(offset); \
	ADDQ $((width)*4), R9; \
	MOVQ tile_blocks(AX), R11; \
block: \
	unpack; \
	each(dot); \
	ADDQ $64, SI; \
	ADDQ $(step), R8; \
	DECQ R11; \
	JNZ block; \
	scales; \
	each(fold); \
	DECQ R10; \
	JNZ group; \
	each(STOREPAIR); \
	FINISH
