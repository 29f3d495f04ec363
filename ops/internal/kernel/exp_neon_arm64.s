//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

// LOADCONSTS broadcasts expConsts (R2) to V16-V27.
#define LOADCONSTS \
	VLD1R.P 4(R2), [V16.S4] \
	VLD1R.P 4(R2), [V17.S4] \
	VLD1R.P 4(R2), [V18.S4] \
	VLD1R.P 4(R2), [V19.S4] \
	VLD1R.P 4(R2), [V20.S4] \
	VLD1R.P 4(R2), [V21.S4] \
	VLD1R.P 4(R2), [V22.S4] \
	VLD1R.P 4(R2), [V23.S4] \
	VLD1R.P 4(R2), [V24.S4] \
	VLD1R.P 4(R2), [V25.S4] \
	VLD1R.P 4(R2), [V26.S4] \
	VLD1R.P 4(R2), [V27.S4]

// HORNER sets c = p·V0 + c, where c has just become the constant k.
#define HORNER(k, p, c) \
	VMOV  k.B16, c.B16 \
	VFMLA p.S4, V0.S4, c.S4

// EXP sets V0 = exp32(V0). FMIN and FMAX return NaN for NaN. Clobbers V1-V4.
#define EXP \
	FMIN(16, 0, 0)                \
	FMAX(17, 0, 0)                \
	HORNER(V19, V18, V1)          \
	FSUB(19, 1, 2)                \
	VSUB  V19.S4, V1.S4, V1.S4    \
	VFMLA V20.S4, V2.S4, V0.S4    \
	VFMLA V21.S4, V2.S4, V0.S4    \
	HORNER(V23, V22, V4)          \
	HORNER(V24, V4, V3)           \
	HORNER(V25, V3, V4)           \
	HORNER(V26, V4, V3)           \
	HORNER(V27, V3, V4)           \
	HORNER(V27, V4, V3)           \
	SSHR1(1, 0)                   \
	VSUB  V0.S4, V1.S4, V1.S4     \
	VSHL  $23, V0.S4, V0.S4       \
	VADD  V27.S4, V0.S4, V0.S4    \
	VSHL  $23, V1.S4, V1.S4       \
	VADD  V27.S4, V1.S4, V1.S4    \
	FMUL(0, 3, 0)                 \
	FMUL(1, 0, 0)

// func expSubBlocksNEON(dst, x *float32, sub float32, n int, consts *[12]float32)
TEXT ·expSubBlocksNEON(SB), NOSPLIT, $0-40
	MOVD dst+0(FP), R0
	MOVD x+8(FP), R1
	MOVD n+24(FP), R3
	MOVD consts+32(FP), R2
	FMOVS sub+16(FP), F5
	VDUP V5.S[0], V5.S4
	LOADCONSTS

loop:
	VLD1.P 16(R1), [V0.S4]
	FSUB(5, 0, 0)
	EXP
	VST1.P [V0.S4], 16(R0)
	SUBS $4, R3, R3
	BGT  loop
	RET

// func swiGLUNEON(dst, gateUp *float32, limit, negAlpha float32, n int, consts *[12]float32)
TEXT ·swiGLUNEON(SB), NOSPLIT, $0-40
	MOVD dst+0(FP), R0
	MOVD gateUp+8(FP), R1
	MOVD n+24(FP), R3
	MOVD consts+32(FP), R2
	FMOVS limit+16(FP), F28
	VDUP V28.S[0], V28.S4
	FNEG(28, 29)
	FMOVS negAlpha+20(FP), F30
	VDUP V30.S[0], V30.S4
	LOADCONSTS

loop:
	VLD2.P 32(R1), [V5.S4, V6.S4]
	FMIN(28, 5, 5)
	FMIN(28, 6, 6)
	FMAX(29, 6, 6)
	FMUL(30, 5, 0)
	EXP
	FADD(27, 0, 0)
	FDIV(0, 5, 0)
	FADD(27, 6, 6)
	FMUL(6, 0, 0)
	VST1.P [V0.S4], 16(R0)
	SUBS $4, R3, R3
	BGT  loop
	RET
