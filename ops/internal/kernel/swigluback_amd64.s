//go:build !purego

#include "textflag.h"
#include "exp_avx512_amd64.h"

// shuffled is the order in which VSHUFPS leaves the elements of two registers.
DATA shuffled<>+0(SB)/8, $0
DATA shuffled<>+8(SB)/8, $4
DATA shuffled<>+16(SB)/8, $1
DATA shuffled<>+24(SB)/8, $5
DATA shuffled<>+32(SB)/8, $2
DATA shuffled<>+40(SB)/8, $6
DATA shuffled<>+48(SB)/8, $3
DATA shuffled<>+56(SB)/8, $7
GLOBL shuffled<>(SB), RODATA|NOPTR, $64

// Z4 is the gate, Z5 up, Z6 dy, Z7 the clamped gate, Z8 the clamped up, Z9 the
// sigmoid, Z10 gate times sigmoid; Z11 becomes alpha.
//
// func swiGLUBackAVX512(dst, dy, gateUp *float32, limit, negAlpha float32, n int, consts *[12]float32)
TEXT ·swiGLUBackAVX512(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ dy+8(FP), R8
	MOVQ gateUp+16(FP), SI
	MOVQ n+32(FP), CX
	MOVQ consts+40(FP), DX
	VBROADCASTSS limit+24(FP), Z28
	VPXORD Z29, Z29, Z29
	VBROADCASTSS negAlpha+28(FP), Z30
	VSUBPS Z30, Z29, Z11
	VSUBPS Z28, Z29, Z29
	VMOVUPS shuffled<>(SB), Z31
	LOADCONSTS
	XORQ AX, AX

loop:
	VMOVUPS (SI)(AX*8), Z0
	VMOVUPS 64(SI)(AX*8), Z1
	VMOVUPS (R8)(AX*4), Z6
	VPERMPD Z6, Z31, Z6
	VSHUFPS $0x88, Z1, Z0, Z4
	VSHUFPS $0xDD, Z1, Z0, Z5
	VMINPS Z4, Z28, Z7
	VMINPS Z5, Z28, Z8
	VMAXPS Z8, Z29, Z8
	VMULPS Z30, Z7, Z0
	EXP
	VADDPS Z27, Z0, Z0
	VDIVPS Z0, Z27, Z9
	VMULPS Z9, Z7, Z10
	VADDPS Z27, Z8, Z8
	VMULPS Z8, Z6, Z8
	VMULPS Z10, Z11, Z0
	VSUBPS Z9, Z27, Z1
	VMULPS Z1, Z0, Z0
	VADDPS Z9, Z0, Z0
	VCMPPS $1, Z28, Z4, K1
	VMULPS.Z Z0, Z8, K1, Z0
	VCMPPS $1, Z28, Z5, K2
	VCMPPS $1, Z5, Z29, K2, K3
	VMULPS.Z Z10, Z6, K3, Z1
	VUNPCKLPS Z1, Z0, Z2
	VUNPCKHPS Z1, Z0, Z3
	VMOVUPS Z2, (DI)(AX*8)
	VMOVUPS Z3, 64(DI)(AX*8)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET
