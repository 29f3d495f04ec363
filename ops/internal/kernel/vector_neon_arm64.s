//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

// The wrappers pass n > 0, a multiple of 16 (decodeMXFP4: of one block), so the
// loops test at the end. R3 counts what is left.

// func dotLanesNEON(acc *[16]float32, a, b *float32, n int)
TEXT ·dotLanesNEON(SB), NOSPLIT, $0-32
	MOVD acc+0(FP), R0
	MOVD a+8(FP), R1
	MOVD b+16(FP), R2
	MOVD n+24(FP), R3
	VLD1 (R0), [V16.S4, V17.S4, V18.S4, V19.S4]

loop:
	VLD1.P 64(R1), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1.P 64(R2), [V4.S4, V5.S4, V6.S4, V7.S4]
	VFMLA V0.S4, V4.S4, V16.S4
	VFMLA V1.S4, V5.S4, V17.S4
	VFMLA V2.S4, V6.S4, V18.S4
	VFMLA V3.S4, V7.S4, V19.S4
	SUBS $16, R3, R3
	BGT  loop
	VST1 [V16.S4, V17.S4, V18.S4, V19.S4], (R0)
	RET

// func sumLanesNEON(acc *[16]float32, x *float32, n int)
TEXT ·sumLanesNEON(SB), NOSPLIT, $0-24
	MOVD acc+0(FP), R0
	MOVD x+8(FP), R1
	MOVD n+16(FP), R3
	VLD1 (R0), [V16.S4, V17.S4, V18.S4, V19.S4]

loop:
	VLD1.P 64(R1), [V0.S4, V1.S4, V2.S4, V3.S4]
	FADD(0, 16, 16)
	FADD(1, 17, 17)
	FADD(2, 18, 18)
	FADD(3, 19, 19)
	SUBS $16, R3, R3
	BGT  loop
	VST1 [V16.S4, V17.S4, V18.S4, V19.S4], (R0)
	RET

// FMAX returns NaN if either operand is one.
//
// func maxLanesNEON(acc *[16]float32, x *float32, n int)
TEXT ·maxLanesNEON(SB), NOSPLIT, $0-24
	MOVD acc+0(FP), R0
	MOVD x+8(FP), R1
	MOVD n+16(FP), R3
	VLD1 (R0), [V16.S4, V17.S4, V18.S4, V19.S4]

loop:
	VLD1.P 64(R1), [V0.S4, V1.S4, V2.S4, V3.S4]
	FMAX(0, 16, 16)
	FMAX(1, 17, 17)
	FMAX(2, 18, 18)
	FMAX(3, 19, 19)
	SUBS $16, R3, R3
	BGT  loop
	VST1 [V16.S4, V17.S4, V18.S4, V19.S4], (R0)
	RET

// Without their signs floats order like integers, NaN above Inf.
//
// func absMaxLanesNEON(acc *[16]float32, x *float32, n int)
TEXT ·absMaxLanesNEON(SB), NOSPLIT, $0-24
	MOVD acc+0(FP), R0
	MOVD x+8(FP), R1
	MOVD n+16(FP), R3
	VLD1 (R0), [V16.S4, V17.S4, V18.S4, V19.S4]

loop:
	VLD1.P 64(R1), [V0.S4, V1.S4, V2.S4, V3.S4]
	FABS(0, 0)
	UMAX(0, 16, 16)
	FABS(1, 1)
	UMAX(1, 17, 17)
	FABS(2, 2)
	UMAX(2, 18, 18)
	FABS(3, 3)
	UMAX(3, 19, 19)
	SUBS $16, R3, R3
	BGT  loop
	VST1 [V16.S4, V17.S4, V18.S4, V19.S4], (R0)
	RET

// func axpyNEON(alpha float32, x, y *float32, n int)
TEXT ·axpyNEON(SB), NOSPLIT, $0-32
	MOVD x+8(FP), R1
	MOVD y+16(FP), R0
	MOVD n+24(FP), R3
	FMOVS alpha+0(FP), F8
	VDUP V8.S[0], V8.S4

loop:
	VLD1.P 64(R1), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1 (R0), [V16.S4, V17.S4, V18.S4, V19.S4]
	VFMLA V8.S4, V0.S4, V16.S4
	VFMLA V8.S4, V1.S4, V17.S4
	VFMLA V8.S4, V2.S4, V18.S4
	VFMLA V8.S4, V3.S4, V19.S4
	VST1.P [V16.S4, V17.S4, V18.S4, V19.S4], 64(R0)
	SUBS $16, R3, R3
	BGT  loop
	RET

// func addNEON(dst, a, b *float32, n int)
TEXT ·addNEON(SB), NOSPLIT, $0-32
	MOVD dst+0(FP), R0
	MOVD a+8(FP), R1
	MOVD b+16(FP), R2
	MOVD n+24(FP), R3

loop:
	VLD1.P 64(R1), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1.P 64(R2), [V4.S4, V5.S4, V6.S4, V7.S4]
	FADD(4, 0, 0)
	FADD(5, 1, 1)
	FADD(6, 2, 2)
	FADD(7, 3, 3)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)
	SUBS $16, R3, R3
	BGT  loop
	RET

// func mulNEON(dst, a, b *float32, n int)
TEXT ·mulNEON(SB), NOSPLIT, $0-32
	MOVD dst+0(FP), R0
	MOVD a+8(FP), R1
	MOVD b+16(FP), R2
	MOVD n+24(FP), R3

loop:
	VLD1.P 64(R1), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1.P 64(R2), [V4.S4, V5.S4, V6.S4, V7.S4]
	FMUL(4, 0, 0)
	FMUL(5, 1, 1)
	FMUL(6, 2, 2)
	FMUL(7, 3, 3)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)
	SUBS $16, R3, R3
	BGT  loop
	RET

// func scaleNEON(dst *float32, a float32, x *float32, n int)
TEXT ·scaleNEON(SB), NOSPLIT, $0-32
	MOVD dst+0(FP), R0
	MOVD x+16(FP), R1
	MOVD n+24(FP), R3
	FMOVS a+8(FP), F8
	VDUP V8.S[0], V8.S4

loop:
	VLD1.P 64(R1), [V0.S4, V1.S4, V2.S4, V3.S4]
	FMUL(8, 0, 0)
	FMUL(8, 1, 1)
	FMUL(8, 2, 2)
	FMUL(8, 3, 3)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)
	SUBS $16, R3, R3
	BGT  loop
	RET

// func normNEON(dst, x, w *float32, s float32, n int)
TEXT ·normNEON(SB), NOSPLIT, $0-40
	MOVD dst+0(FP), R0
	MOVD x+8(FP), R1
	MOVD w+16(FP), R2
	MOVD n+32(FP), R3
	FMOVS s+24(FP), F8
	VDUP V8.S[0], V8.S4

loop:
	VLD1.P 64(R1), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1.P 64(R2), [V4.S4, V5.S4, V6.S4, V7.S4]
	FMUL(8, 0, 0)
	FMUL(8, 1, 1)
	FMUL(8, 2, 2)
	FMUL(8, 3, 3)
	FMUL(4, 0, 0)
	FMUL(5, 1, 1)
	FMUL(6, 2, 2)
	FMUL(7, 3, 3)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)
	SUBS $16, R3, R3
	BGT  loop
	RET

// func rotateNEON(dst0, dst1, x0, x1, cos, sin *float32, n int)
TEXT ·rotateNEON(SB), NOSPLIT, $0-56
	MOVD dst0+0(FP), R0
	MOVD dst1+8(FP), R4
	MOVD x0+16(FP), R1
	MOVD x1+24(FP), R5
	MOVD cos+32(FP), R2
	MOVD sin+40(FP), R6
	MOVD n+48(FP), R3

loop:
	VLD1.P 16(R1), [V0.S4]
	VLD1.P 16(R5), [V1.S4]
	VLD1.P 16(R2), [V2.S4]
	VLD1.P 16(R6), [V3.S4]
	FMUL(3, 1, 4)
	FNEG(4, 4)
	FMUL(3, 0, 5)
	VFMLA V2.S4, V0.S4, V4.S4
	VFMLA V2.S4, V1.S4, V5.S4
	VST1.P [V4.S4], 16(R0)
	VST1.P [V5.S4], 16(R4)
	SUBS $4, R3, R3
	BGT  loop
	RET

// func decodeBF16NEON(dst *float32, src *byte, n int)
TEXT ·decodeBF16NEON(SB), NOSPLIT, $0-24
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD n+16(FP), R3
	VEOR V4.B16, V4.B16, V4.B16

loop:
	VLD1.P 32(R1), [V0.H8, V1.H8]
	VZIP1 V0.H8, V4.H8, V16.H8
	VZIP2 V0.H8, V4.H8, V17.H8
	VZIP1 V1.H8, V4.H8, V18.H8
	VZIP2 V1.H8, V4.H8, V19.H8
	VST1.P [V16.S4, V17.S4, V18.S4, V19.S4], 64(R0)
	SUBS $16, R3, R3
	BGT  loop
	RET

// func decodeF16NEON(dst *float32, src *byte, n int)
TEXT ·decodeF16NEON(SB), NOSPLIT, $0-24
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD n+16(FP), R3

loop:
	VLD1.P 32(R1), [V0.H8, V1.H8]
	FCVTL(0, 16)
	FCVTL2(0, 17)
	FCVTL(1, 18)
	FCVTL2(1, 19)
	VST1.P [V16.S4, V17.S4, V18.S4, V19.S4], 64(R0)
	SUBS $16, R3, R3
	BGT  loop
	RET

// The low halves of the codes as float32 are zero; the two bytes above come
// from tables in V14 and V15.
//
// func decodeMXFP4NEON(dst *float32, blocks, scales *byte, n int, codes *[16]float32, factors *[256]float32)
TEXT ·decodeMXFP4NEON(SB), NOSPLIT, $0-48
	MOVD dst+0(FP), R0
	MOVD blocks+8(FP), R1
	MOVD scales+16(FP), R2
	MOVD n+24(FP), R3
	MOVD codes+32(FP), R4
	MOVD factors+40(FP), R5
	VLD1 (R4), [V8.S4, V9.S4, V10.S4, V11.S4]
	VUZP2 V9.H8, V8.H8, V12.H8
	VUZP2 V11.H8, V10.H8, V13.H8
	VUZP1 V13.B16, V12.B16, V14.B16
	VUZP2 V13.B16, V12.B16, V15.B16
	VEOR V5.B16, V5.B16, V5.B16
	VMOVI $15, V7.B16

loop:
	VLD1.P 16(R1), [V0.B16]
	VAND V7.B16, V0.B16, V1.B16
	VUSHR $4, V0.B16, V2.B16
	VZIP1 V2.B16, V1.B16, V3.B16 // codes in order of elements
	VZIP2 V2.B16, V1.B16, V4.B16
	MOVBU.P 1(R2), R8
	ADD R8<<2, R5, R9
	VLD1R (R9), [V6.S4]
	VTBL V3.B16, [V15.B16], V20.B16
	VTBL V3.B16, [V14.B16], V21.B16
	VZIP1 V20.B16, V21.B16, V22.B16
	VZIP2 V20.B16, V21.B16, V23.B16
	VZIP1 V22.H8, V5.H8, V16.H8
	VZIP2 V22.H8, V5.H8, V17.H8
	VZIP1 V23.H8, V5.H8, V18.H8
	VZIP2 V23.H8, V5.H8, V19.H8
	FMUL(6, 16, 16)
	FMUL(6, 17, 17)
	FMUL(6, 18, 18)
	FMUL(6, 19, 19)
	VST1.P [V16.S4, V17.S4, V18.S4, V19.S4], 64(R0)
	VTBL V4.B16, [V15.B16], V20.B16
	VTBL V4.B16, [V14.B16], V21.B16
	VZIP1 V20.B16, V21.B16, V22.B16
	VZIP2 V20.B16, V21.B16, V23.B16
	VZIP1 V22.H8, V5.H8, V16.H8
	VZIP2 V22.H8, V5.H8, V17.H8
	VZIP1 V23.H8, V5.H8, V18.H8
	VZIP2 V23.H8, V5.H8, V19.H8
	FMUL(6, 16, 16)
	FMUL(6, 17, 17)
	FMUL(6, 18, 18)
	FMUL(6, 19, 19)
	VST1.P [V16.S4, V17.S4, V18.S4, V19.S4], 64(R0)
	SUBS $1, R3, R3
	BGT  loop
	RET
