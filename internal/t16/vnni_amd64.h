// What the AVX-512 kernels share. The 16 dwords of a 512-bit register are the 16 rows of a tile; VPDPBUSD adds four
// columns of each at once.
//
// AX call, SI codes, DI scales, R8 activations, R9 negated sums, R10 groups left, R11 blocks left,
// R12 float sums [token][16] in the frame, aligned to 64.

#define LOADCALL \
	MOVQ c+0(FP), AX; \
	MOVQ tile_codes(AX), SI; \
	MOVQ tile_scales(AX), DI; \
	MOVQ tile_acts(AX), R8; \
	MOVQ tile_nsums(AX), R9; \
	MOVQ tile_groups(AX), R10; \
	LEAQ 63(SP), R12; \
	ANDQ $~63, R12

// BYTEMASK sets every byte of z to m.
#define BYTEMASK(m, z) \
	MOVL $(m*0x01010101), BX; \
	VPBROADCASTD BX, z

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

// ---- 8, 16 and 24 tokens: Z0 scales at the end of a group, Z8-Z31 int32 sums of the tokens.

#define DOTA(off, w) \
	VPDPBUSD.BCST (off+0)(R8), w, Z8; \
	VPDPBUSD.BCST (off+4)(R8), w, Z9; \
	VPDPBUSD.BCST (off+8)(R8), w, Z10; \
	VPDPBUSD.BCST (off+12)(R8), w, Z11; \
	VPDPBUSD.BCST (off+16)(R8), w, Z12; \
	VPDPBUSD.BCST (off+20)(R8), w, Z13; \
	VPDPBUSD.BCST (off+24)(R8), w, Z14; \
	VPDPBUSD.BCST (off+28)(R8), w, Z15

#define DOTB(off, w) \
	VPDPBUSD.BCST (off+0)(R8), w, Z16; \
	VPDPBUSD.BCST (off+4)(R8), w, Z17; \
	VPDPBUSD.BCST (off+8)(R8), w, Z18; \
	VPDPBUSD.BCST (off+12)(R8), w, Z19; \
	VPDPBUSD.BCST (off+16)(R8), w, Z20; \
	VPDPBUSD.BCST (off+20)(R8), w, Z21; \
	VPDPBUSD.BCST (off+24)(R8), w, Z22; \
	VPDPBUSD.BCST (off+28)(R8), w, Z23

#define DOTC(off, w) \
	VPDPBUSD.BCST (off+0)(R8), w, Z24; \
	VPDPBUSD.BCST (off+4)(R8), w, Z25; \
	VPDPBUSD.BCST (off+8)(R8), w, Z26; \
	VPDPBUSD.BCST (off+12)(R8), w, Z27; \
	VPDPBUSD.BCST (off+16)(R8), w, Z28; \
	VPDPBUSD.BCST (off+20)(R8), w, Z29; \
	VPDPBUSD.BCST (off+24)(R8), w, Z30; \
	VPDPBUSD.BCST (off+28)(R8), w, Z31

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

#define CLEAR(t, z) VMOVDQA64 Z0, ((t)*64)(R12)
#define START(t, z) VPBROADCASTD ((t)*4)(R9), z
#define FOLD(t, z) \
	VCVTDQ2PS z, z; \
	VMULPS Z0, z, z; \
	VADDPS ((t)*64)(R12), z, z; \
	VMOVAPS z, ((t)*64)(R12)
