//go:build !purego

#include "textflag.h"
#include "arm64.h"

// func absMaxNEON(x *float32, n int) uint32
TEXT ·absMaxNEON(SB), NOSPLIT, $0-20
	MOVD x+0(FP), R0
	MOVD n+8(FP), R1
	MOVD $0x7FFFFFFF, R2 // all but the sign
	VDUP R2, V8.S4
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16
loop:
	VLD1.P 64(R0), [V4.S4, V5.S4, V6.S4, V7.S4]
	VAND V8.B16, V4.B16, V4.B16
	VAND V8.B16, V5.B16, V5.B16
	VAND V8.B16, V6.B16, V6.B16
	VAND V8.B16, V7.B16, V7.B16
	UMAX(0, 0, 4)
	UMAX(1, 1, 5)
	UMAX(2, 2, 6)
	UMAX(3, 3, 7)
	SUBS $16, R1, R1
	BNE loop
	UMAX(0, 0, 1)
	UMAX(2, 2, 3)
	UMAX(0, 0, 2)
	UMAXV(0, 0)
	VMOV V0.S[0], R2
	MOVW R2, ret+16(FP)
	RET

// func quantizeNEON(dst *byte, x *float32, n int, inv float32)
TEXT ·quantizeNEON(SB), NOSPLIT, $0-28
	MOVD dst+0(FP), R0
	MOVD x+8(FP), R1
	MOVD n+16(FP), R2
	MOVWU inv+24(FP), R3
	VDUP R3, V8.S4
loop:
	VLD1.P 64(R1), [V0.S4, V1.S4, V2.S4, V3.S4]
	FMUL(0, 0, 8)
	FMUL(1, 1, 8)
	FMUL(2, 2, 8)
	FMUL(3, 3, 8)
	FCVTNS(0, 0)
	FCVTNS(1, 1)
	FCVTNS(2, 2)
	FCVTNS(3, 3)
	XTNH(0, 0)
	XTNH2(0, 1)
	XTNH(2, 2)
	XTNH2(2, 3)
	XTNB(0, 0)
	XTNB2(0, 2)
	VST1.P [V0.B16], 16(R0)
	SUBS $16, R2, R2
	BNE loop
	RET
