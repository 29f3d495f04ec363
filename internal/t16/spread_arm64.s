//go:build !purego

#include "textflag.h"
#include "arm64.h"

// SUM adds the 16 int8 of V0 to the 32-bit sums of V8.
#define SUM(n) \
	SADDLPB(4, n); \
	SADALP(8, 4)

// func spreadNEON(dst *uint32, stride int, q *byte, n int) int32
TEXT ·spreadNEON(SB), NOSPLIT, $0-36
	MOVD dst+0(FP), R0
	MOVD stride+8(FP), R1
	MOVD q+16(FP), R2
	MOVD n+24(FP), R3
	LSL $2, R1, R1
	VEOR V8.B16, V8.B16, V8.B16
loop:
	VLD1.P 16(R2), [V0.B16]
	SUM(0)
	VST1.P V0.S[0], (R0)(R1)
	VST1.P V0.S[1], (R0)(R1)
	VST1.P V0.S[2], (R0)(R1)
	VST1.P V0.S[3], (R0)(R1)
	SUBS $16, R3, R3
	BNE loop
	VADDV V8.S4, V8
	VMOV V8.S[0], R3
	MOVW R3, ret+32(FP)
	RET

// func spreadPairsNEON(dst *uint32, stride int, q *byte, n, cols int) int32
TEXT ·spreadPairsNEON(SB), NOSPLIT, $0-44
	MOVD dst+0(FP), R0
	MOVD stride+8(FP), R1
	MOVD q+16(FP), R2
	MOVD n+24(FP), R3
	MOVD cols+32(FP), R4
	LSL $2, R1, R1
	VEOR V8.B16, V8.B16, V8.B16
	CMP $8, R4
	BEQ cols8
	BLT cols4
cols16:
	VLD1.P 32(R2), [V0.B16, V1.B16]
	SUM(0)
	SUM(1)
	VZIP1 V1.S4, V0.S4, V2.S4
	VZIP2 V1.S4, V0.S4, V3.S4
	VST1.P V2.D[0], (R0)(R1)
	VST1.P V2.D[1], (R0)(R1)
	VST1.P V3.D[0], (R0)(R1)
	VST1.P V3.D[1], (R0)(R1)
	SUBS $32, R3, R3
	BNE cols16
	B done
cols8:
	VLD1.P 16(R2), [V0.B16]
	SUM(0)
	VUZP1 V0.S4, V0.S4, V2.S4
	VUZP2 V0.S4, V0.S4, V3.S4
	VST1.P V2.D[0], (R0)(R1)
	VST1.P V3.D[0], (R0)(R1)
	SUBS $16, R3, R3
	BNE cols8
	B done
cols4:
	VLD1.P 8(R2), [V0.B8]
	SUM(0)
	VST1.P V0.D[0], (R0)(R1)
	SUBS $8, R3, R3
	BNE cols4
done:
	VADDV V8.S4, V8
	VMOV V8.S[0], R3
	MOVW R3, ret+40(FP)
	RET
