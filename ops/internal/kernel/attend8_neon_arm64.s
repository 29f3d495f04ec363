//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

#define SMULL(m, n, d) WORD $(0x0E20C000 | (m)<<16 | (n)<<5 | (d)) // d.8h = n.8b * m.8b, the low halves
#define SMULL2(m, n, d) WORD $(0x4E20C000 | (m)<<16 | (n)<<5 | (d)) // the high halves
#define SADALP(n, d) WORD $(0x4E606800 | (n)<<5 | (d)) // d.4s += pairwise sums of n.8h

// DOT adds to the lanes of d and d+1 what sixteen bytes of a, four for each of
// four sums, times those of b give: two partial sums for each, side by side.
#define DOT(a, b, d) \
	SMULL(b, a, 12)  \
	SMULL2(b, a, 13) \
	SADALP(12, d+0)  \
	SADALP(13, d+1)

#define DOT4(b, d) \
	DOT(4, b, d+0) \
	DOT(5, b, d+2) \
	DOT(6, b, d+4) \
	DOT(7, b, d+6)

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

// JOIN finishes sixteen sums of a row as floats in V4-V7.
#define JOIN(v0, v1, v2, v3, v4, v5, v6, v7) \
	VADDP v1.S4, v0.S4, V4.S4 \
	VADDP v3.S4, v2.S4, V5.S4 \
	VADDP v5.S4, v4.S4, V6.S4 \
	VADDP v7.S4, v6.S4, V7.S4 \
	SCVTF(4, 4) \
	SCVTF(5, 5) \
	SCVTF(6, 6) \
	SCVTF(7, 7)

// SCORE stores a row of scores, and steps to the next. The scales of the keys
// are in V8-V11.
#define SCORE \
	VLD1R.P 4(R13), [V0.S4] \
	FMUL(0, 4, 4)  \
	FMUL(0, 5, 5)  \
	FMUL(0, 6, 6)  \
	FMUL(0, 7, 7)  \
	FMUL(8, 4, 4)  \
	FMUL(9, 5, 5)  \
	FMUL(10, 6, 6) \
	FMUL(11, 7, 7) \
	VST1 [V4.S4, V5.S4, V6.S4, V7.S4], (R7) \
	ADD  R1, R7, R7

// A panel is done in quarters of two rows, in V16-V23 and V24-V31.
//
// func attendScores8NEON(dst *float32, ldd int, q *int8, qscales *[8]float32, k *byte, scales *float32, d4, tiles int)
TEXT ·attendScores8NEON(SB), NOSPLIT, $0-64
	MOVD dst+0(FP), R0
	MOVD ldd+8(FP), R1
	LSL  $2, R1, R1
	MOVD k+32(FP), R3
	MOVD scales+40(FP), R4
	MOVD tiles+56(FP), R5
	MOVD $0x8080808080808080, R6
	VDUP R6, V3.D2

tile:
	MOVD q+16(FP), R6
	MOVD qscales+24(FP), R13
	MOVD R0, R7
	MOVD $4, R8
	VLD1.P 64(R4), [V8.S4, V9.S4, V10.S4, V11.S4]

quarter:
	MOVD R6, R9
	MOVD R3, R10
	MOVD d4+48(FP), R11
	ZERO16

loop:
	VLD1.P 64(R10), [V4.B16, V5.B16, V6.B16, V7.B16]
	VEOR V3.B16, V4.B16, V4.B16
	VEOR V3.B16, V5.B16, V5.B16
	VEOR V3.B16, V6.B16, V6.B16
	VEOR V3.B16, V7.B16, V7.B16
	ADD  $4, R9, R12
	VLD1R (R9), [V0.S4]
	VLD1R (R12), [V1.S4]
	ADD  $32, R9, R9
	DOT4(0, 16)
	DOT4(1, 24)
	SUBS $1, R11, R11
	BNE  loop
	JOIN(V16, V17, V18, V19, V20, V21, V22, V23)
	SCORE
	JOIN(V24, V25, V26, V27, V28, V29, V30, V31)
	SCORE
	ADD  $8, R6, R6
	SUBS $1, R8, R8
	BNE  quarter
	MOVD R10, R3
	ADD  $64, R0, R0
	SUBS $1, R5, R5
	BNE  tile
	RET

// ADDOUT adds a row of the panel of outputs, and steps to the next.
#define ADDOUT \
	VLD1R (R13), [V2.S4]                      \
	ADD  R10, R13, R13                        \
	VLD1 (R7), [V8.S4, V9.S4, V10.S4, V11.S4] \
	VFMLA V2.S4, V4.S4, V8.S4                 \
	VFMLA V2.S4, V5.S4, V9.S4                 \
	VFMLA V2.S4, V6.S4, V10.S4                \
	VFMLA V2.S4, V7.S4, V11.S4                \
	VST1 [V8.S4, V9.S4, V10.S4, V11.S4], (R7) \
	ADD  R5, R7, R7

// func attendValues8NEON(dst *float32, w *int8, ldw int, scales *float32, lds int, v *int8, width int)
TEXT ·attendValues8NEON(SB), NOSPLIT, $0-56
	MOVD dst+0(FP), R0
	MOVD ldw+16(FP), R2
	MOVD lds+32(FP), R10
	LSL  $2, R10, R10
	MOVD v+40(FP), R3
	MOVD width+48(FP), R6
	LSL  $2, R6, R5           // bytes of four positions, and of an output

columns:
	MOVD w+8(FP), R9
	MOVD scales+24(FP), R13
	MOVD R0, R7
	MOVD $4, R8

quarter:
	ADD  R2, R9, R12
	ADD  R2, R12, R4          // the next quarter
	MOVD R3, R14
	MOVD $16, R15
	ZERO16

loop:
	VLD1 (R14), [V4.B16, V5.B16, V6.B16, V7.B16]
	ADD  R5, R14, R14
	VLD1R.P 4(R9), [V0.S4]
	VLD1R.P 4(R12), [V1.S4]
	DOT4(0, 16)
	DOT4(1, 24)
	SUBS $1, R15, R15
	BNE  loop
	JOIN(V16, V17, V18, V19, V20, V21, V22, V23)
	ADDOUT
	JOIN(V24, V25, V26, V27, V28, V29, V30, V31)
	ADDOUT
	MOVD R4, R9
	SUBS $1, R8, R8
	BNE  quarter
	ADD  $64, R3, R3
	ADD  $64, R0, R0
	SUBS $16, R6, R6
	BNE  columns
	RET
