//go:build !purego

#include "textflag.h"

// The wrappers pass n > 0, a multiple of 16 (decodeMXFP4: of one block), so the
// loops test at the end. AX counts elements.

// func dotLanesAVX512(acc *[16]float32, a, b *float32, n int)
TEXT ·dotLanesAVX512(SB), NOSPLIT, $0-32
	MOVQ acc+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ n+24(FP), CX
	VMOVUPS (DI), Z0
	XORQ AX, AX

loop:
	VMOVUPS (SI)(AX*4), Z1
	VFMADD231PS (DX)(AX*4), Z1, Z0
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VMOVUPS Z0, (DI)
	VZEROUPPER
	RET

// func sumLanesAVX512(acc *[16]float32, x *float32, n int)
TEXT ·sumLanesAVX512(SB), NOSPLIT, $0-24
	MOVQ acc+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), CX
	VMOVUPS (DI), Z0
	XORQ AX, AX

loop:
	VADDPS (SI)(AX*4), Z0, Z0
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VMOVUPS Z0, (DI)
	VZEROUPPER
	RET

// K2 collects the lanes that met a NaN, which VMAXPS alone would forget.
//
// func maxLanesAVX512(acc *[16]float32, x *float32, n int)
TEXT ·maxLanesAVX512(SB), NOSPLIT, $0-24
	MOVQ acc+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), CX
	VMOVUPS (DI), Z0
	VCMPPS $3, Z0, Z0, K2
	XORQ AX, AX

loop:
	VMOVUPS (SI)(AX*4), Z1
	VCMPPS $3, Z1, Z1, K1
	KORW K1, K2, K2
	VMAXPS Z1, Z0, Z0
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VPTERNLOGD $0xFF, Z1, Z1, Z1
	VMOVAPS Z1, K2, Z0
	VMOVUPS Z0, (DI)
	VZEROUPPER
	RET

// Without their signs floats order like integers, NaN above Inf.
//
// func absMaxLanesAVX512(acc *[16]float32, x *float32, n int)
TEXT ·absMaxLanesAVX512(SB), NOSPLIT, $0-24
	MOVQ acc+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), CX
	VMOVUPS (DI), Z0
	VPTERNLOGD $0xFF, Z2, Z2, Z2
	VPSRLD $1, Z2, Z2
	XORQ AX, AX

loop:
	VPANDD (SI)(AX*4), Z2, Z1
	VPMAXUD Z1, Z0, Z0
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VMOVUPS Z0, (DI)
	VZEROUPPER
	RET

// func axpyAVX512(alpha float32, x, y *float32, n int)
TEXT ·axpyAVX512(SB), NOSPLIT, $0-32
	MOVQ x+8(FP), SI
	MOVQ y+16(FP), DI
	MOVQ n+24(FP), CX
	VBROADCASTSS alpha+0(FP), Z0
	XORQ AX, AX

loop:
	VMOVUPS (DI)(AX*4), Z1
	VFMADD231PS (SI)(AX*4), Z0, Z1
	VMOVUPS Z1, (DI)(AX*4)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func addAVX512(dst, a, b *float32, n int)
TEXT ·addAVX512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ n+24(FP), CX
	XORQ AX, AX

loop:
	VMOVUPS (SI)(AX*4), Z0
	VADDPS (DX)(AX*4), Z0, Z0
	VMOVUPS Z0, (DI)(AX*4)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func mulAVX512(dst, a, b *float32, n int)
TEXT ·mulAVX512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ n+24(FP), CX
	XORQ AX, AX

loop:
	VMOVUPS (SI)(AX*4), Z0
	VMULPS (DX)(AX*4), Z0, Z0
	VMOVUPS Z0, (DI)(AX*4)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func scaleAVX512(dst *float32, a float32, x *float32, n int)
TEXT ·scaleAVX512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ x+16(FP), SI
	MOVQ n+24(FP), CX
	VBROADCASTSS a+8(FP), Z0
	XORQ AX, AX

loop:
	VMULPS (SI)(AX*4), Z0, Z1
	VMOVUPS Z1, (DI)(AX*4)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func normAVX512(dst, x, w *float32, s float32, n int)
TEXT ·normAVX512(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ w+16(FP), DX
	MOVQ n+32(FP), CX
	VBROADCASTSS s+24(FP), Z0
	XORQ AX, AX

loop:
	VMULPS (SI)(AX*4), Z0, Z1
	VMULPS (DX)(AX*4), Z1, Z1
	VMOVUPS Z1, (DI)(AX*4)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func rotateAVX512(dst0, dst1, x0, x1, cos, sin *float32, n int)
TEXT ·rotateAVX512(SB), NOSPLIT, $0-56
	MOVQ dst0+0(FP), DI
	MOVQ dst1+8(FP), R8
	MOVQ x0+16(FP), SI
	MOVQ x1+24(FP), R9
	MOVQ cos+32(FP), DX
	MOVQ sin+40(FP), R10
	MOVQ n+48(FP), CX
	XORQ AX, AX

loop:
	VMOVUPS (SI)(AX*4), Z0
	VMOVUPS (R9)(AX*4), Z1
	VMOVUPS (DX)(AX*4), Z2
	VMOVUPS (R10)(AX*4), Z3
	VMULPS Z1, Z3, Z4
	VMULPS Z0, Z3, Z5
	VFMSUB231PS Z0, Z2, Z4
	VFMADD231PS Z1, Z2, Z5
	VMOVUPS Z4, (DI)(AX*4)
	VMOVUPS Z5, (R8)(AX*4)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func decodeBF16AVX512(dst *float32, src *byte, n int)
TEXT ·decodeBF16AVX512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	XORQ AX, AX

loop:
	VPMOVZXWD (SI)(AX*2), Z0
	VPSLLD $16, Z0, Z0
	VMOVUPS Z0, (DI)(AX*4)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func decodeF16AVX512(dst *float32, src *byte, n int)
TEXT ·decodeF16AVX512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	XORQ AX, AX

loop:
	VCVTPH2PS (SI)(AX*2), Z0
	VMOVUPS Z0, (DI)(AX*4)
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func decodeMXFP4AVX512(dst *float32, blocks, scales *byte, n int, codes *[16]float32, factors *[256]float32)
TEXT ·decodeMXFP4AVX512(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ blocks+8(FP), SI
	MOVQ scales+16(FP), DX
	MOVQ n+24(FP), CX
	MOVQ codes+32(FP), R8
	MOVQ factors+40(FP), R9
	VMOVUPS (R8), Z5
	MOVL $0x0F0F0F0F, R10
	VMOVD R10, X7
	VPBROADCASTD X7, X7
	XORQ AX, AX

loop:
	VMOVDQU (SI), X0
	VPSRLW $4, X0, X1
	VPAND X7, X0, X0
	VPAND X7, X1, X1
	VPUNPCKLBW X1, X0, X2 // codes in order of elements
	VPUNPCKHBW X1, X0, X3
	MOVBLZX (DX)(AX*1), R10
	VBROADCASTSS (R9)(R10*4), Z6
	VPMOVZXBD X2, Z2
	VPMOVZXBD X3, Z3
	VPERMPS Z5, Z2, Z2
	VPERMPS Z5, Z3, Z3
	VMULPS Z6, Z2, Z2
	VMULPS Z6, Z3, Z3
	VMOVUPS Z2, (DI)
	VMOVUPS Z3, 64(DI)
	ADDQ $16, SI
	ADDQ $128, DI
	ADDQ $1, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET
