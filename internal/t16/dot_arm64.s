//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "arm64.h"

// SDOT by element: four columns of four rows times one of four tokens, whose dwords lie side by side in the panel.

// QUADS adds the crumb V4-V7 times element i of V<m> to the sums a..a+3.
#define QUADS(a, m, i) \
	SDOTE(a+0, 4, m, i); \
	SDOTE(a+1, 5, m, i); \
	SDOTE(a+2, 6, m, i); \
	SDOTE(a+3, 7, m, i)

#define TOKENS(m) \
	QUADS(16, m, 0); \
	QUADS(20, m, 1); \
	QUADS(24, m, 2); \
	QUADS(28, m, 3)

#define START(i, a, b, c, d) \
	VDUP V8.S[i], a; \
	VDUP V8.S[i], b; \
	VDUP V8.S[i], c; \
	VDUP V8.S[i], d

// func tileDot4(c *tile)
TEXT ·tileDot4(SB), 0, $256-8
	LOADCALL
	MOVD $fsum-256(SP), R7
	VMOVI $3, V12.B16
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16
	MOVD R7, R8
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R8)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R8)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R8)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R8)
group:
	VLD1.P 16(R4), [V8.S4]
	START(0, V16.S4, V17.S4, V18.S4, V19.S4)
	START(1, V20.S4, V21.S4, V22.S4, V23.S4)
	START(2, V24.S4, V25.S4, V26.S4, V27.S4)
	START(3, V28.S4, V29.S4, V30.S4, V31.S4)
	MOVD tile_blocks(R0), R6
block:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 64(R3), [V8.B16, V9.B16, V10.B16, V11.B16]
	CRUMB0(V12.B16)
	TOKENS(8)
	CRUMB1(V12.B16)
	TOKENS(9)
	CRUMB2(V12.B16)
	TOKENS(10)
	CRUMB3
	TOKENS(11)
	SUBS $1, R6, R6
	BNE block
	SCALES
	MOVD R7, R8
	FOLD(16)
	FOLD(20)
	FOLD(24)
	FOLD(28)
	SUBS $1, R5, R5
	BNE group
	FINISH

#define ADD4(x, y, z, s) \
	VADD y, x, x; \
	VADD s, z, z; \
	VADD z, x, x

// func tileDot1(c *tile)
//
// Each crumb has its own four sums, V16-V31, to hide the latency of SDOT.
TEXT ·tileDot1(SB), 0, $64-8
	LOADCALL
	MOVD $fsum-64(SP), R7
	VMOVI $3, V12.B16
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16
	VST1 [V0.S4, V1.S4, V2.S4, V3.S4], (R7)
group:
	VLD1R.P 4(R4), [V16.S4]
	VMOV V16.B16, V17.B16
	VMOV V16.B16, V18.B16
	VMOV V16.B16, V19.B16
	VEOR V20.B16, V20.B16, V20.B16
	VEOR V21.B16, V21.B16, V21.B16
	VEOR V22.B16, V22.B16, V22.B16
	VEOR V23.B16, V23.B16, V23.B16
	VEOR V24.B16, V24.B16, V24.B16
	VEOR V25.B16, V25.B16, V25.B16
	VEOR V26.B16, V26.B16, V26.B16
	VEOR V27.B16, V27.B16, V27.B16
	VEOR V28.B16, V28.B16, V28.B16
	VEOR V29.B16, V29.B16, V29.B16
	VEOR V30.B16, V30.B16, V30.B16
	VEOR V31.B16, V31.B16, V31.B16
	MOVD tile_blocks(R0), R6
block:
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 16(R3), [V8.B16]
	CRUMB0(V12.B16)
	QUADS(16, 8, 0)
	CRUMB1(V12.B16)
	QUADS(20, 8, 1)
	CRUMB2(V12.B16)
	QUADS(24, 8, 2)
	CRUMB3
	QUADS(28, 8, 3)
	SUBS $1, R6, R6
	BNE block
	ADD4(V16.S4, V20.S4, V24.S4, V28.S4)
	ADD4(V17.S4, V21.S4, V25.S4, V29.S4)
	ADD4(V18.S4, V22.S4, V26.S4, V30.S4)
	ADD4(V19.S4, V23.S4, V27.S4, V31.S4)
	SCALES
	MOVD R7, R8
	FOLD(16)
	SUBS $1, R5, R5
	BNE group
	FINISH
