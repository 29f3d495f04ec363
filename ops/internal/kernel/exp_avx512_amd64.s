//go:build !purego

#include "textflag.h"
#include "exp_avx512_amd64.h"

// func expSubBlocksAVX512(dst, x *float32, sub float32, n int, consts *[12]float32)
TEXT ·expSubBlocksAVX512(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+24(FP), CX
	MOVQ consts+32(FP), DX
	VBROADCASTSS sub+16(FP), Z3
	LOADCONSTS
	XORQ AX, AX

loop:
	VMOVUPS (SI)(AX*4), Z0
	VSUBPS Z3, Z0, Z0
	EXP
	VMOVUPS Z0, (DI)(AX*4)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// inOrder undoes the interleaving of two registers by VSHUFPS.
DATA inOrder<>+0(SB)/8, $0
DATA inOrder<>+8(SB)/8, $2
DATA inOrder<>+16(SB)/8, $4
DATA inOrder<>+24(SB)/8, $6
DATA inOrder<>+32(SB)/8, $1
DATA inOrder<>+40(SB)/8, $3
DATA inOrder<>+48(SB)/8, $5
DATA inOrder<>+56(SB)/8, $7
GLOBL inOrder<>(SB), RODATA|NOPTR, $64

// func swiGLUAVX512(dst, gateUp *float32, limit, negAlpha float32, n int, consts *[12]float32)
TEXT ·swiGLUAVX512(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ gateUp+8(FP), SI
	MOVQ n+24(FP), CX
	MOVQ consts+32(FP), DX
	VBROADCASTSS limit+16(FP), Z28
	VPXORD Z29, Z29, Z29
	VSUBPS Z28, Z29, Z29
	VBROADCASTSS negAlpha+20(FP), Z30
	VMOVUPS inOrder<>(SB), Z31
	LOADCONSTS
	XORQ AX, AX

loop:
	VMOVUPS (SI)(AX*8), Z0
	VMOVUPS 64(SI)(AX*8), Z1
	VSHUFPS $0x88, Z1, Z0, Z4
	VSHUFPS $0xDD, Z1, Z0, Z5
	VMINPS Z4, Z28, Z4
	VMINPS Z5, Z28, Z5
	VMAXPS Z5, Z29, Z5
	VMULPS Z30, Z4, Z0
	EXP
	VADDPS Z27, Z0, Z0
	VDIVPS Z0, Z4, Z0
	VADDPS Z27, Z5, Z5
	VMULPS Z5, Z0, Z0
	VPERMPD Z0, Z31, Z0
	VMOVUPS Z0, (DI)(AX*4)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET
