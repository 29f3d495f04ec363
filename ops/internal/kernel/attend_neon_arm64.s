//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

// FMLAE adds n times element i of m to d.
#define FMLAE(m, i, n, d) WORD $(0x4F801000 | ((i)&1)<<21 | ((i)>>1)<<11 | (m)<<16 | (n)<<5 | (d))

// A panel is done in two halves of four rows. Sixteen lanes are four registers:
// row r of the half keeps them from V(16 + 4r).

#define ZERO16 \
	VEOR V16.B16, V16.B16, V16.B16 \
	VEOR V17.B16, V17.B16, V17.B16 \
	VEOR V18.B16, V18.B16, V18.B16 \
	VEOR V19.B16, V19.B16, V19.B16 \
	VEOR V20.B16, V20.B16, V20.B16 \
	VEOR V21.B16, V21.B16, V21.B16 \
	VEOR V22.B16, V22.B16, V22.B16 \
	VEOR V23.B16, V23.B16, V23.B16 \
	VEOR V24.B16, V24.B16, V24.B16 \
	VEOR V25.B16, V25.B16, V25.B16 \
	VEOR V26.B16, V26.B16, V26.B16 \
	VEOR V27.B16, V27.B16, V27.B16 \
	VEOR V28.B16, V28.B16, V28.B16 \
	VEOR V29.B16, V29.B16, V29.B16 \
	VEOR V30.B16, V30.B16, V30.B16 \
	VEOR V31.B16, V31.B16, V31.B16

// ROW adds the lanes V4-V7 times element i of V0.
#define ROW(i, a) \
	FMLAE(0, i, 4, a+0) \
	FMLAE(0, i, 5, a+1) \
	FMLAE(0, i, 6, a+2) \
	FMLAE(0, i, 7, a+3)

// func attendScoresNEON(dst *float32, ldd int, q, k *float32, d, tiles int)
TEXT ·attendScoresNEON(SB), NOSPLIT, $0-48
	MOVD dst+0(FP), R0
	MOVD ldd+8(FP), R1
	LSL  $2, R1, R1
	MOVD k+24(FP), R3
	MOVD d+32(FP), R4
	MOVD tiles+40(FP), R5

tile:
	MOVD q+16(FP), R6
	MOVD R0, R7
	MOVD $2, R8

half:
	MOVD R6, R9
	MOVD R3, R10
	MOVD R4, R11
	ZERO16

loop:
	VLD1 (R9), [V0.S4]
	ADD  $32, R9, R9
	VLD1.P 64(R10), [V4.S4, V5.S4, V6.S4, V7.S4]
	ROW(0, 16)
	ROW(1, 20)
	ROW(2, 24)
	ROW(3, 28)
	SUBS $1, R11, R11
	BNE  loop
	VST1 [V16.S4, V17.S4, V18.S4, V19.S4], (R7)
	ADD  R1, R7, R7
	VST1 [V20.S4, V21.S4, V22.S4, V23.S4], (R7)
	ADD  R1, R7, R7
	VST1 [V24.S4, V25.S4, V26.S4, V27.S4], (R7)
	ADD  R1, R7, R7
	VST1 [V28.S4, V29.S4, V30.S4, V31.S4], (R7)
	ADD  R1, R7, R7
	ADD  $16, R6, R6
	SUBS $1, R8, R8
	BNE  half
	MOVD R10, R3
	ADD  $64, R0, R0
	SUBS $1, R5, R5
	BNE  tile
	RET

// WEIGH adds the lanes V4-V7 times the weight of a row, every lane of w.
#define WEIGH(w, c0, c1, c2, c3) \
	VFMLA w.S4, V4.S4, c0.S4 \
	VFMLA w.S4, V5.S4, c1.S4 \
	VFMLA w.S4, V6.S4, c2.S4 \
	VFMLA w.S4, V7.S4, c3.S4

// ADDOUT adds a row of the panel of outputs, and steps to the next.
#define ADDOUT(a, v0, v1, v2, v3) \
	VLD1 (R7), [V4.S4, V5.S4, V6.S4, V7.S4] \
	FADD(4, a+0, a+0) \
	FADD(5, a+1, a+1) \
	FADD(6, a+2, a+2) \
	FADD(7, a+3, a+3) \
	VST1 [v0.S4, v1.S4, v2.S4, v3.S4], (R7) \
	ADD  R5, R7, R7

// func attendValuesNEON(dst, w *float32, ldw int, v *float32, n, width int)
TEXT ·attendValuesNEON(SB), NOSPLIT, $0-48
	MOVD dst+0(FP), R0
	MOVD ldw+16(FP), R2
	LSL  $2, R2, R2
	MOVD v+24(FP), R3
	MOVD n+32(FP), R4
	MOVD width+40(FP), R6
	LSL  $2, R6, R5           // bytes of a value

columns:
	MOVD w+8(FP), R9
	MOVD R0, R7
	MOVD $2, R8

half:
	ADD  R2, R9, R10
	ADD  R2, R10, R11
	ADD  R2, R11, R12
	ADD  R2, R12, R13         // the other half
	MOVD R3, R14
	MOVD R4, R15
	ZERO16

loop:
	VLD1 (R14), [V4.S4, V5.S4, V6.S4, V7.S4]
	ADD  R5, R14, R14
	VLD1R.P 4(R9), [V0.S4]
	VLD1R.P 4(R10), [V1.S4]
	VLD1R.P 4(R11), [V2.S4]
	VLD1R.P 4(R12), [V3.S4]
	WEIGH(V0, V16, V17, V18, V19)
	WEIGH(V1, V20, V21, V22, V23)
	WEIGH(V2, V24, V25, V26, V27)
	WEIGH(V3, V28, V29, V30, V31)
	SUBS $1, R15, R15
	BNE  loop
	ADDOUT(16, V16, V17, V18, V19)
	ADDOUT(20, V20, V21, V22, V23)
	ADDOUT(24, V24, V25, V26, V27)
	ADDOUT(28, V28, V29, V30, V31)
	MOVD R13, R9
	SUBS $1, R8, R8
	BNE  half
	ADD  $64, R3, R3
	ADD  $64, R0, R0
	SUBS $16, R6, R6
	BNE  columns
	RET
