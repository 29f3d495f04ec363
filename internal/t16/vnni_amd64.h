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
