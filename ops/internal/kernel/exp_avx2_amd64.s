//go:build !purego

#include "textflag.h"

// HORNER sets p = p·Y0 + the constant at off in expConsts (DX).
#define HORNER(off, p) \
	VBROADCASTSS off(DX), Y3  \
	VFMADD213PS  Y3, Y0, p

// EXP sets Y0 = exp32(Y0). The constants come from memory, a broadcast being
// no more than a load. The operand that VMINPS and VMAXPS return for NaN is Y0.
// Clobbers Y1-Y3
// and leaves 1 in Y3.
#define EXP \
	VBROADCASTSS 0(DX), Y3   \
	VMINPS       Y0, Y3, Y0  \
	VBROADCASTSS 4(DX), Y3   \
	VMAXPS       Y0, Y3, Y0  \
	VBROADCASTSS 8(DX), Y1   \
	VBROADCASTSS 12(DX), Y3  \
	VFMADD213PS  Y3, Y0, Y1  \
	VSUBPS       Y3, Y1, Y2  \
	VPSUBD       Y3, Y1, Y1  \
	VBROADCASTSS 16(DX), Y3  \
	VFMADD231PS  Y3, Y2, Y0  \
	VBROADCASTSS 20(DX), Y3  \
	VFMADD231PS  Y3, Y2, Y0  \
	VBROADCASTSS 24(DX), Y2  \
	HORNER(28, Y2)           \
	HORNER(32, Y2)           \
	HORNER(36, Y2)           \
	HORNER(40, Y2)           \
	HORNER(44, Y2)           \
	VFMADD213PS  Y3, Y0, Y2  \
	VPSRAD       $1, Y1, Y0  \
	VPSUBD       Y0, Y1, Y1  \
	VPSLLD       $23, Y0, Y0 \
	VPADDD       Y3, Y0, Y0  \
	VPSLLD       $23, Y1, Y1 \
	VPADDD       Y3, Y1, Y1  \
	VMULPS       Y0, Y2, Y0  \
	VMULPS       Y1, Y0, Y0

// func expSubBlocksAVX2(dst, x *float32, sub float32, n int, consts *[12]float32)
TEXT ·expSubBlocksAVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+24(FP), CX
	MOVQ consts+32(FP), DX
	VBROADCASTSS sub+16(FP), Y4
	XORQ AX, AX

loop:
	VMOVUPS (SI)(AX*4), Y0
	VSUBPS Y4, Y0, Y0
	EXP
	VMOVUPS Y0, (DI)(AX*4)
	ADDQ $8, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func swiGLUAVX2(dst, gateUp *float32, limit, negAlpha float32, n int, consts *[12]float32)
TEXT ·swiGLUAVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ gateUp+8(FP), SI
	MOVQ n+24(FP), CX
	MOVQ consts+32(FP), DX
	VBROADCASTSS limit+16(FP), Y8
	VXORPS Y9, Y9, Y9
	VSUBPS Y8, Y9, Y9
	VBROADCASTSS negAlpha+20(FP), Y10
	XORQ AX, AX

loop:
	VMOVUPS (SI)(AX*8), Y0
	VMOVUPS 32(SI)(AX*8), Y1
	VSHUFPS $0x88, Y1, Y0, Y4
	VSHUFPS $0xDD, Y1, Y0, Y5
	VMINPS Y4, Y8, Y4
	VMINPS Y5, Y8, Y5
	VMAXPS Y5, Y9, Y5
	VMULPS Y10, Y4, Y0
	EXP
	VADDPS Y3, Y0, Y0
	VDIVPS Y0, Y4, Y0
	VADDPS Y3, Y5, Y5
	VMULPS Y5, Y0, Y0
	VPERMPD $0xD8, Y0, Y0
	VMOVUPS Y0, (DI)(AX*4)
	ADDQ $8, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET
