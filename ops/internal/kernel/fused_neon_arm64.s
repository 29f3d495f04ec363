//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "neon_arm64.h"

// What stands beside the kernels' declarations: four rows by one token, x1, or one row by four tokens, x4.
//
// R0 strip, R10 elements left. x1: R1-R4 rows, R5-R8 their scales, R9 token. x4: R1 row, R5 its scales, R6-R9 tokens.
// R11 values, R13 elements left in the group of int4, R14 elements of a group. V0-V3 sixteen elements of a token,
// V4-V7 of a row, V15 zero, V16-V31 lanes, four registers a product.

#define ZERO(a, b, c, d) \
	VEOR a, a, a \
	VEOR b, b, b \
	VEOR c, c, c \
	VEOR d, d, d

#define ZEROLANES \
	VEOR V15.B16, V15.B16, V15.B16 \
	ZERO(V16.B16, V17.B16, V18.B16, V19.B16) \
	ZERO(V20.B16, V21.B16, V22.B16, V23.B16) \
	ZERO(V24.B16, V25.B16, V26.B16, V27.B16) \
	ZERO(V28.B16, V29.B16, V30.B16, V31.B16)

#define LOADX1 \
	MOVD s+0(FP), R0 \
	MOVD strip_w(R0), R1 \
	MOVD strip_ldw(R0), R12 \
	ADD  R12, R1, R2 \
	ADD  R12, R2, R3 \
	ADD  R12, R3, R4 \
	MOVD strip_scales(R0), R5 \
	MOVD strip_lds(R0), R12 \
	ADD  R12, R5, R6 \
	ADD  R12, R6, R7 \
	ADD  R12, R7, R8 \
	MOVD strip_x(R0), R9 \
	MOVD strip_k(R0), R10 \
	ZEROLANES

#define LOADX4 \
	MOVD s+0(FP), R0 \
	MOVD strip_w(R0), R1 \
	MOVD strip_scales(R0), R5 \
	MOVD strip_x(R0), R6 \
	MOVD (strip_x+8)(R0), R7 \
	MOVD (strip_x+16)(R0), R8 \
	MOVD (strip_x+24)(R0), R9 \
	MOVD strip_k(R0), R10 \
	ZEROLANES

// LANES adds the products of V0-V3 and V4-V7 to the lanes of one product.
#define LANES(a, b, c, d) \
	VFMLA V0.S4, V4.S4, a \
	VFMLA V1.S4, V5.S4, b \
	VFMLA V2.S4, V6.S4, c \
	VFMLA V3.S4, V7.S4, d

#define LANES0 LANES(V16.S4, V17.S4, V18.S4, V19.S4)
#define LANES1 LANES(V20.S4, V21.S4, V22.S4, V23.S4)
#define LANES2 LANES(V24.S4, V25.S4, V26.S4, V27.S4)
#define LANES3 LANES(V28.S4, V29.S4, V30.S4, V31.S4)

#define TOKEN(at) VLD1 (at), [V0.S4, V1.S4, V2.S4, V3.S4]
#define NEXTTOKEN(at) VLD1.P 64(at), [V0.S4, V1.S4, V2.S4, V3.S4]

// TOKENS multiplies V4-V7 by the next elements of four tokens.
#define TOKENS \
	NEXTTOKEN(R6) \
	LANES0 \
	NEXTTOKEN(R7) \
	LANES1 \
	NEXTTOKEN(R8) \
	LANES2 \
	NEXTTOKEN(R9) \
	LANES3

// STORE folds the lanes and returns.
#define STORE \
	FOLD4(16, 17, 18, 19) \
	FOLD4(20, 21, 22, 23) \
	FOLD4(24, 25, 26, 27) \
	FOLD4(28, 29, 30, 31) \
	FOLD2(V16, V20, 16) \
	FOLD2(V24, V28, 24) \
	FADDP(24, 16, 16) \
	ADD  $strip_out, R0, R0 \
	VST1 [V16.S4], (R0) \
	RET

// BF16 decodes the next sixteen elements of a row.
#define BF16(row) \
	VLD1.P 32(row), [V8.H8, V9.H8] \
	VZIP1 V8.H8, V15.H8, V4.H8 \
	VZIP2 V8.H8, V15.H8, V5.H8 \
	VZIP1 V9.H8, V15.H8, V6.H8 \
	VZIP2 V9.H8, V15.H8, V7.H8

// func mulBF16x1NEON(s *strip)
TEXT ·mulBF16x1NEON(SB), NOSPLIT, $0-8
	LOADX1

loop:
	NEXTTOKEN(R9)
	BF16(R1)
	LANES0
	BF16(R2)
	LANES1
	BF16(R3)
	LANES2
	BF16(R4)
	LANES3
	SUBS $16, R10, R10
	BNE  loop
	STORE

// func mulBF16x4NEON(s *strip)
TEXT ·mulBF16x4NEON(SB), NOSPLIT, $0-8
	LOADX4

loop:
	BF16(R1)
	TOKENS
	SUBS $16, R10, R10
	BNE  loop
	STORE

// The values of four bits have nothing in the low half of a float32. TABLE splits the sixteen at p into their high
// bytes, V11, and the bytes below, V10.
#define TABLE(p) \
	VLD1  (p), [V8.S4, V9.S4, V10.S4, V11.S4] \
	VUZP2 V9.H8, V8.H8, V12.H8 \
	VUZP2 V11.H8, V10.H8, V13.H8 \
	VUZP1 V13.B16, V12.B16, V10.B16 \
	VUZP2 V13.B16, V12.B16, V11.B16

// LOOKUP decodes the sixteen codes in V12.
#define LOOKUP \
	VTBL  V12.B16, [V10.B16], V8.B16 \
	VTBL  V12.B16, [V11.B16], V9.B16 \
	VZIP1 V9.B16, V8.B16, V12.B16 \
	VZIP2 V9.B16, V8.B16, V8.B16 \
	VZIP1 V12.H8, V15.H8, V4.H8 \
	VZIP2 V12.H8, V15.H8, V5.H8 \
	VZIP1 V8.H8, V15.H8, V6.H8 \
	VZIP2 V8.H8, V15.H8, V7.H8

// MXFP4 puts the codes of a row's next block, in order, in V12 and V13, and their values under its scale in V10, V11.
#define MXFP4(row, scales) \
	MOVBU.P 1(scales), R12 \
	ADD   R12<<6, R11, R12 \
	TABLE(R12) \
	VLD1.P 16(row), [V8.B16] \
	VAND  V14.B16, V8.B16, V9.B16 \
	VUSHR $4, V8.B16, V8.B16 \
	VZIP1 V8.B16, V9.B16, V12.B16 \
	VZIP2 V8.B16, V9.B16, V13.B16

// BLOCK multiplies a row's next block by the token at R9 and, for its second half, R13.
#define BLOCK(row, scales, ADDLANES) \
	MXFP4(row, scales) \
	LOOKUP \
	TOKEN(R9) \
	ADDLANES \
	VMOV V13.B16, V12.B16 \
	LOOKUP \
	TOKEN(R13) \
	ADDLANES

// func mulMXFP4x1NEON(s *strip)
TEXT ·mulMXFP4x1NEON(SB), NOSPLIT, $0-8
	LOADX1
	MOVD  strip_values(R0), R11
	VMOVI $15, V14.B16

loop:
	ADD  $64, R9, R13
	BLOCK(R1, R5, LANES0)
	BLOCK(R2, R6, LANES1)
	BLOCK(R3, R7, LANES2)
	BLOCK(R4, R8, LANES3)
	ADD  $128, R9, R9
	SUBS $32, R10, R10
	BNE  loop
	STORE

// func mulMXFP4x4NEON(s *strip)
TEXT ·mulMXFP4x4NEON(SB), NOSPLIT, $0-8
	LOADX4
	MOVD  strip_values(R0), R11
	VMOVI $15, V14.B16

loop:
	MXFP4(R1, R5)
	LOOKUP
	TOKENS
	VMOV V13.B16, V12.B16
	LOOKUP
	TOKENS
	SUBS $32, R10, R10
	BNE  loop
	STORE
