//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "vnni_amd64.h"

// The core: Z0-Z11 int32 sums of the first tile, Z12-Z23 of the second, Z24 Z25 their weights, Z26-Z29 activations,
// Z30 the shift and Z31 the start of wide.
//
// AX call, BX weights, CX dwords left in the group, SI DI scales, R8 activations, R9 negated sums, R10 float sums,
// R11 sums of a group that is not over, R12 strips left, R13 groups left, DX 64 bytes of the frame, aligned, with the
// strip's R8 and R9 behind.

#define LOADWIDE(tokens) \
	MOVQ c+0(FP), AX; \
	MOVQ wide_acts(AX), R8; \
	MOVQ wide_nsums(AX), R9; \
	MOVQ wide_acc(AX), R10; \
	MOVQ wide_sums(AX), R11; \
	MOVQ wide_strips(AX), R12; \
	LEAQ 63(SP), DX; \
	ANDQ $~63, DX; \
	MOVL $((1<<tokens)-1), CX; \
	KMOVW CX, K1; \
	MOVL wide_start(AX), CX; \
	VPBROADCASTD CX, Z31; \
	VMOVD wide_shift(AX), X30

#define LOADSTRIP \
	MOVQ R8, 64(DX); \
	MOVQ R9, 72(DX); \
	MOVQ wide_weights(AX), BX; \
	MOVQ wide_scales(AX), SI; \
	MOVQ (wide_scales+8)(AX), DI; \
	MOVQ wide_groups(AX), R13

#define NEXTSTRIP \
	MOVQ 64(DX), R8; \
	MOVQ 72(DX), R9; \
	ADDQ wide_nextActs(AX), R8; \
	ADDQ wide_nextSums(AX), R9; \
	ADDQ $(24*64), R10; \
	ADDQ $(24*64), R11

// STARTS leaves what the tokens' sums start from at DX.
#define STARTS(tokens) \
	VMOVDQU32.Z (R9), K1, Z24; \
	ADDQ $(tokens*4), R9; \
	VPSLLD X30, Z24, Z24; \
	VPADDD Z31, Z24, Z24; \
	VMOVDQA64 Z24, (DX)

#define WEIGHTS \
	VMOVDQU64 (BX), Z24; \
	VMOVDQU64 64(BX), Z25; \
	ADDQ $128, BX

#define DOT(t, z, a, b) \
	VPBROADCASTD ((t)*4)(R8), z; \
	VPDPBUSD z, Z24, a; \
	VPDPBUSD z, Z25, b

// SCALES: the scales are Z24 and Z25, times 1.5*2^23 Z26 and Z27.
#define SCALES \
	VCVTPH2PS (SI), Z24; \
	VCVTPH2PS (DI), Z25; \
	ADDQ $32, SI; \
	ADDQ $32, DI; \
	VMULPS Z31, Z24, Z26; \
	VMULPS Z31, Z25, Z27

// EXACTSCALES and EXACTFOLD are for sums of all of int32.
#define EXACTSCALES \
	VCVTPH2PS (SI), Z24; \
	VCVTPH2PS (DI), Z25; \
	ADDQ $32, SI; \
	ADDQ $32, DI

#define EXACTFOLD1(at, a, scale) \
	VCVTDQ2PS a, a; \
	VMULPS scale, a, a; \
	VADDPS ((at)*64)(R10), a, a; \
	VMOVUPS a, ((at)*64)(R10)

#define EXACTFOLD12(t, a, b) \
	EXACTFOLD1(t, a, Z24); \
	EXACTFOLD1(t+12, b, Z25)

#define EXACTFOLD8(t, a, b) \
	EXACTFOLD1(t, a, Z24); \
	EXACTFOLD1(t+8, b, Z25)

// MXFP4SCALES makes 2^(e-127) of the scale bytes: e is the exponent of a float32, but for 0, whose power is below the
// normal ones, and 255, which is NaN.
#define MXFP4SCALES \
	MOVL $255, CX; \
	VPBROADCASTD CX, Z26; \
	MOVL $0x00400000, CX; \
	VPBROADCASTD CX, Z27; \
	VPMOVZXBD (SI), Z24; \
	VPMOVZXBD (DI), Z25; \
	ADDQ $16, SI; \
	ADDQ $16, DI; \
	VPCMPEQD Z26, Z24, K2; \
	VPCMPEQD Z26, Z25, K3; \
	VPSLLD $23, Z24, Z24; \
	VPSLLD $23, Z25, Z25; \
	VPMAXUD Z27, Z24, Z24; \
	VPMAXUD Z27, Z25, Z25; \
	VPTERNLOGD $0xFF, Z24, Z24, K2, Z24; \
	VPTERNLOGD $0xFF, Z25, Z25, K3, Z25

#define MXFP4FOLD1(at, a, scale) \
	VSUBPS Z31, a, a; \
	VFMADD213PS ((at)*64)(R10), scale, a; \
	VMOVUPS a, ((at)*64)(R10)

#define MXFP4FOLD12(t, a, b) \
	MXFP4FOLD1(t, a, Z24); \
	MXFP4FOLD1(t+12, b, Z25)

#define MXFP4FOLD8(t, a, b) \
	MXFP4FOLD1(t, a, Z24); \
	MXFP4FOLD1(t+8, b, Z25)

#define WIDESTART(t, a, b) \
	VPBROADCASTD ((t)*4)(DX), a; \
	VMOVDQA64 a, b

#define FOLD1(at, a, scale, big) \
	VFMSUB213PS big, scale, a; \
	VADDPS ((at)*64)(R10), a, a; \
	VMOVUPS a, ((at)*64)(R10)

#define FOLD12(t, a, b) \
	FOLD1(t, a, Z24, Z26); \
	FOLD1(t+12, b, Z25, Z27)

#define FOLD8(t, a, b) \
	FOLD1(t, a, Z24, Z26); \
	FOLD1(t+8, b, Z25, Z27)

#define SAVE(t, a, b) \
	VMOVDQU64 a, ((2*t)*64)(R11); \
	VMOVDQU64 b, ((2*t+1)*64)(R11)

#define RESTORE(t, a, b) \
	VMOVDQU64 ((2*t)*64)(R11), a; \
	VMOVDQU64 ((2*t+1)*64)(R11), b

#define WIDE8(op) \
	op(0, Z0, Z12); \
	op(1, Z1, Z13); \
	op(2, Z2, Z14); \
	op(3, Z3, Z15); \
	op(4, Z4, Z16); \
	op(5, Z5, Z17); \
	op(6, Z6, Z18); \
	op(7, Z7, Z19)

#define WIDE12(op) \
	WIDE8(op); \
	op(8, Z8, Z20); \
	op(9, Z9, Z21); \
	op(10, Z10, Z22); \
	op(11, Z11, Z23)

#define DOT8 \
	DOT(0, Z26, Z0, Z12); \
	DOT(1, Z27, Z1, Z13); \
	DOT(2, Z28, Z2, Z14); \
	DOT(3, Z29, Z3, Z15); \
	DOT(4, Z26, Z4, Z16); \
	DOT(5, Z27, Z5, Z17); \
	DOT(6, Z28, Z6, Z18); \
	DOT(7, Z29, Z7, Z19)

#define DOT12 \
	DOT8; \
	DOT(8, Z26, Z8, Z20); \
	DOT(9, Z27, Z9, Z21); \
	DOT(10, Z28, Z10, Z22); \
	DOT(11, Z29, Z11, Z23)

// CORE is a whole kernel; CX is free for scales.
#define CORE(tokens, each, dots, scales, fold) \
	LOADWIDE(tokens); \
strip: \
	LOADSTRIP; \
	CMPQ wide_resume(AX), $0; \
	JNE resume; \
group: \
	STARTS(tokens); \
	each(WIDESTART); \
begun: \
	MOVQ wide_dwords(AX), CX; \
dword: \
	WEIGHTS; \
	dots; \
	ADDQ $(tokens*4), R8; \
	DECQ CX; \
	JNZ dword; \
	CMPQ wide_suspend(AX), $0; \
	JNE suspend; \
	scales; \
	each(fold); \
	DECQ R13; \
	JNZ group; \
next: \
	NEXTSTRIP; \
	DECQ R12; \
	JNZ strip; \
	VZEROUPPER; \
	RET; \
resume: \
	each(RESTORE); \
	JMP begun; \
suspend: \
	each(SAVE); \
	JMP next

// func wide12(c *wide)
TEXT ·wide12(SB), 0, $144-8
	CORE(12, WIDE12, DOT12, SCALES, FOLD12)

// func wide8(c *wide)
TEXT ·wide8(SB), 0, $144-8
	CORE(8, WIDE8, DOT8, SCALES, FOLD8)

// func wideExact12(c *wide)
TEXT ·wideExact12(SB), 0, $144-8
	CORE(12, WIDE12, DOT12, EXACTSCALES, EXACTFOLD12)

// func wideExact8(c *wide)
TEXT ·wideExact8(SB), 0, $144-8
	CORE(8, WIDE8, DOT8, EXACTSCALES, EXACTFOLD8)

// func wideMXFP4x12(c *wide)
TEXT ·wideMXFP4x12(SB), 0, $144-8
	CORE(12, WIDE12, DOT12, MXFP4SCALES, MXFP4FOLD12)

// func wideMXFP4x8(c *wide)
TEXT ·wideMXFP4x8(SB), 0, $144-8
	CORE(8, WIDE8, DOT8, MXFP4SCALES, MXFP4FOLD8)

// func finishVNNI(c *tile, acc *[16]float32)
TEXT ·finishVNNI(SB), NOSPLIT, $0-16
	MOVQ c+0(FP), AX
	MOVQ acc+8(FP), R12
	FINISH

// The codes that the next segment needs are fetched while this one is multiplied.
#define AHEAD 2048

// func unpackInt4VNNI(dst *[64]byte, codes *byte, blocks int)
TEXT ·unpackInt4VNNI(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ codes+8(FP), SI
	MOVQ blocks+16(FP), CX
	BYTEMASK(0x0F, Z4)
block:
	VMOVDQU64 (SI), Z0
	PREFETCHT0 AHEAD(SI)
	VPSRLW $4, Z0, Z1
	VPANDQ Z4, Z0, Z0
	VPANDQ Z4, Z1, Z1
	VMOVDQU64 Z0, (DI)
	VMOVDQU64 Z1, 128(DI)
	ADDQ $64, SI
	ADDQ $256, DI
	DECQ CX
	JNZ block
	VZEROUPPER
	RET

// func unpackInt8VNNI(dst *[64]byte, codes *byte, blocks int)
TEXT ·unpackInt8VNNI(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ codes+8(FP), SI
	MOVQ blocks+16(FP), CX
block:
	VMOVDQU64 (SI), Z0
	PREFETCHT0 AHEAD(SI)
	VMOVDQU64 Z0, (DI)
	ADDQ $64, SI
	ADDQ $128, DI
	DECQ CX
	JNZ block
	VZEROUPPER
	RET
