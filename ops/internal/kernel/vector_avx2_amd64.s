//go:build !purego

#include "textflag.h"

// The wrappers pass n > 0, a multiple of 16 (decodeMXFP4: of one block), so the
// loops test at the end. AX counts elements.

// func dotLanesAVX2(acc *[16]float32, a, b *float32, n int)
TEXT ·dotLanesAVX2(SB), NOSPLIT, $0-32
	MOVQ acc+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ n+24(FP), CX
	VMOVUPS (DI), Y0
	VMOVUPS 32(DI), Y1
	XORQ AX, AX

loop:
	VMOVUPS (SI)(AX*4), Y2
	VMOVUPS 32(SI)(AX*4), Y3
	VFMADD231PS (DX)(AX*4), Y2, Y0
	VFMADD231PS 32(DX)(AX*4), Y3, Y1
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VZEROUPPER
	RET

// func sumLanesAVX2(acc *[16]float32, x *float32, n int)
TEXT ·sumLanesAVX2(SB), NOSPLIT, $0-24
	MOVQ acc+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), CX
	VMOVUPS (DI), Y0
	VMOVUPS 32(DI), Y1
	XORQ AX, AX

loop:
	VADDPS (SI)(AX*4), Y0, Y0
	VADDPS 32(SI)(AX*4), Y1, Y1
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VZEROUPPER
	RET

// Y4 and Y5 collect the lanes that met a NaN, which VMAXPS alone would forget;
// all ones is a NaN.
//
// func maxLanesAVX2(acc *[16]float32, x *float32, n int)
TEXT ·maxLanesAVX2(SB), NOSPLIT, $0-24
	MOVQ acc+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), CX
	VMOVUPS (DI), Y0
	VMOVUPS 32(DI), Y1
	VCMPPS $3, Y0, Y0, Y4
	VCMPPS $3, Y1, Y1, Y5
	XORQ AX, AX

loop:
	VMOVUPS (SI)(AX*4), Y2
	VMOVUPS 32(SI)(AX*4), Y3
	VCMPPS $3, Y2, Y2, Y6
	VCMPPS $3, Y3, Y3, Y7
	VORPS Y6, Y4, Y4
	VORPS Y7, Y5, Y5
	VMAXPS Y2, Y0, Y0
	VMAXPS Y3, Y1, Y1
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VORPS Y4, Y0, Y0
	VORPS Y5, Y1, Y1
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VZEROUPPER
	RET

// Without their signs floats order like integers, NaN above Inf.
//
// func absMaxLanesAVX2(acc *[16]float32, x *float32, n int)
TEXT ·absMaxLanesAVX2(SB), NOSPLIT, $0-24
	MOVQ acc+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), CX
	VMOVUPS (DI), Y0
	VMOVUPS 32(DI), Y1
	VPCMPEQD Y4, Y4, Y4
	VPSRLD $1, Y4, Y4
	XORQ AX, AX

loop:
	VPAND (SI)(AX*4), Y4, Y2
	VPAND 32(SI)(AX*4), Y4, Y3
	VPMAXUD Y2, Y0, Y0
	VPMAXUD Y3, Y1, Y1
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VZEROUPPER
	RET

// func axpyAVX2(alpha float32, x, y *float32, n int)
TEXT ·axpyAVX2(SB), NOSPLIT, $0-32
	MOVQ x+8(FP), SI
	MOVQ y+16(FP), DI
	MOVQ n+24(FP), CX
	VBROADCASTSS alpha+0(FP), Y0
	XORQ AX, AX

loop:
	VMOVUPS (DI)(AX*4), Y1
	VFMADD231PS (SI)(AX*4), Y0, Y1
	VMOVUPS Y1, (DI)(AX*4)
	ADDQ $8, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func addAVX2(dst, a, b *float32, n int)
TEXT ·addAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ n+24(FP), CX
	XORQ AX, AX

loop:
	VMOVUPS (SI)(AX*4), Y0
	VADDPS (DX)(AX*4), Y0, Y0
	VMOVUPS Y0, (DI)(AX*4)
	ADDQ $8, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func mulAVX2(dst, a, b *float32, n int)
TEXT ·mulAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ n+24(FP), CX
	XORQ AX, AX

loop:
	VMOVUPS (SI)(AX*4), Y0
	VMULPS (DX)(AX*4), Y0, Y0
	VMOVUPS Y0, (DI)(AX*4)
	ADDQ $8, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func scaleAVX2(dst *float32, a float32, x *float32, n int)
TEXT ·scaleAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ x+16(FP), SI
	MOVQ n+24(FP), CX
	VBROADCASTSS a+8(FP), Y0
	XORQ AX, AX

loop:
	VMULPS (SI)(AX*4), Y0, Y1
	VMOVUPS Y1, (DI)(AX*4)
	ADDQ $8, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func normAVX2(dst, x, w *float32, s float32, n int)
TEXT ·normAVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ w+16(FP), DX
	MOVQ n+32(FP), CX
	VBROADCASTSS s+24(FP), Y0
	XORQ AX, AX

loop:
	VMULPS (SI)(AX*4), Y0, Y1
	VMULPS (DX)(AX*4), Y1, Y1
	VMOVUPS Y1, (DI)(AX*4)
	ADDQ $8, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func rotateAVX2(dst0, dst1, x0, x1, cos, sin *float32, n int)
TEXT ·rotateAVX2(SB), NOSPLIT, $0-56
	MOVQ dst0+0(FP), DI
	MOVQ dst1+8(FP), R8
	MOVQ x0+16(FP), SI
	MOVQ x1+24(FP), R9
	MOVQ cos+32(FP), DX
	MOVQ sin+40(FP), R10
	MOVQ n+48(FP), CX
	XORQ AX, AX

loop:
	VMOVUPS (SI)(AX*4), Y0
	VMOVUPS (R9)(AX*4), Y1
	VMOVUPS (DX)(AX*4), Y2
	VMOVUPS (R10)(AX*4), Y3
	VMULPS Y1, Y3, Y4
	VMULPS Y0, Y3, Y5
	VFMSUB231PS Y0, Y2, Y4
	VFMADD231PS Y1, Y2, Y5
	VMOVUPS Y4, (DI)(AX*4)
	VMOVUPS Y5, (R8)(AX*4)
	ADDQ $8, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func decodeBF16AVX2(dst *float32, src *byte, n int)
TEXT ·decodeBF16AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	XORQ AX, AX

loop:
	VPMOVZXWD (SI)(AX*2), Y0
	VPSLLD $16, Y0, Y0
	VMOVUPS Y0, (DI)(AX*4)
	ADDQ $8, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// func decodeF16AVX2(dst *float32, src *byte, n int)
TEXT ·decodeF16AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	XORQ AX, AX

loop:
	VCVTPH2PS (SI)(AX*2), Y0
	VMOVUPS Y0, (DI)(AX*4)
	ADDQ $8, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET

// E2M1 multiplies eight codes by Y6: VPERMPS looks only at the low three bits,
// which are the magnitude; bit 3 becomes the sign.
#define E2M1(codes, off) \
	VPMOVZXBD codes, Y0     \
	VPERMPS   Y5, Y0, Y1    \
	VPSLLD    $28, Y0, Y0   \
	VPAND     Y4, Y0, Y0    \
	VPOR      Y0, Y1, Y1    \
	VMULPS    Y6, Y1, Y1    \
	VMOVUPS   Y1, off(DI)

// func decodeMXFP4AVX2(dst *float32, blocks, scales *byte, n int, codes *[16]float32, factors *[256]float32)
TEXT ·decodeMXFP4AVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ blocks+8(FP), SI
	MOVQ scales+16(FP), DX
	MOVQ n+24(FP), CX
	MOVQ codes+32(FP), R8
	MOVQ factors+40(FP), R9
	VMOVUPS (R8), Y5
	MOVL $0x0F0F0F0F, R10
	VMOVD R10, X7
	VPBROADCASTD X7, X7
	VPCMPEQD Y4, Y4, Y4
	VPSLLD $31, Y4, Y4
	XORQ AX, AX

loop:
	VMOVDQU (SI), X0
	VPSRLW $4, X0, X1
	VPAND X7, X0, X0
	VPAND X7, X1, X1
	VPUNPCKLBW X1, X0, X2 // codes in order of elements
	VPUNPCKHBW X1, X0, X3
	MOVBLZX (DX)(AX*1), R10
	VBROADCASTSS (R9)(R10*4), Y6
	E2M1(X2, 0)
	VPSRLDQ $8, X2, X2
	E2M1(X2, 32)
	E2M1(X3, 64)
	VPSRLDQ $8, X3, X3
	E2M1(X3, 96)
	ADDQ $16, SI
	ADDQ $128, DI
	ADDQ $1, AX
	CMPQ AX, CX
	JLT  loop
	VZEROUPPER
	RET
