//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "avx2_amd64.h"

// An MXFP4 value has no bits below its upper 16: it is a bfloat16. So VPSHUFB
// looks up the two bytes of 32 values at once, 10 instructions a block where
// looking up float32 with VPERMPS and setting the sign takes 20.
//
// Unpacking leaves the 16 values of half a block in the order 0 4 8 12 1 5 9 13,
// 2 6 10 14 3 7 11 15. The token is brought into that order, block by block on
// the stack, and the lanes out of it before they are folded.

// At 0 what brings the high nibbles of the second copy of a block down, at 32
// the order of eight lanes before they are interleaved, which is its own inverse.
DATA mxfp4<>+0(SB)/8, $0
DATA mxfp4<>+8(SB)/8, $0
DATA mxfp4<>+16(SB)/8, $4
DATA mxfp4<>+24(SB)/8, $4
DATA mxfp4<>+32(SB)/8, $0x0000000400000000
DATA mxfp4<>+40(SB)/8, $0x0000000600000002
DATA mxfp4<>+48(SB)/8, $0x0000000500000001
DATA mxfp4<>+56(SB)/8, $0x0000000700000003
GLOBL mxfp4<>(SB), RODATA|NOPTR, $64

// TOKEN orders 16 elements of the token.
#define TOKEN(off) \
	VPERMPS   off(AX)(CX*4), Y14, Y0    \
	VPERMPS   32+off(AX)(CX*4), Y14, Y1 \
	VUNPCKLPD Y1, Y0, Y2                \
	VUNPCKHPD Y1, Y0, Y3                \
	VMOVUPS   Y2, off(SP)               \
	VMOVUPS   Y3, 32+off(SP)

// BLOCK multiplies one block of one row, its scale byte at scale, by the token.
#define BLOCK(scale, ptr, lo, hi) \
	MOVBLZX        scale, R14          \
	SHLL           $5, R14             \
	VBROADCASTI128 ptr, Y0             \
	VPSRLVQ        Y13, Y0, Y0         \
	VPAND          Y12, Y0, Y0         \
	VBROADCASTI128 (R9)(R14*1), Y1     \
	VBROADCASTI128 16(R9)(R14*1), Y2   \
	VPSHUFB        Y0, Y1, Y1          \
	VPSHUFB        Y0, Y2, Y2          \
	VPUNPCKLBW     Y2, Y1, Y0          \
	VPUNPCKHBW     Y2, Y1, Y1          \
	VPSLLD         $16, Y0, Y2         \
	VPAND          Y15, Y0, Y0         \
	VFMADD231PS    0(SP), Y2, lo       \
	VFMADD231PS    32(SP), Y0, hi      \
	VPSLLD         $16, Y1, Y3         \
	VPAND          Y15, Y1, Y1         \
	VFMADD231PS    64(SP), Y3, lo      \
	VFMADD231PS    96(SP), Y1, hi

// ORDER brings the lanes of one row in order.
#define ORDER(lo, hi) \
	VUNPCKLPD hi, lo, Y0  \
	VUNPCKHPD hi, lo, Y1  \
	VPERMPS   Y0, Y14, lo \
	VPERMPS   Y1, Y14, hi

// The lanes of row r are Y(4 + 2r) and the next register; the rest is as in
// fused_avx2_amd64.s.
//
// func mulMXFP4x1AVX2(s *strip)
TEXT ·mulMXFP4x1AVX2(SB), NOSPLIT, $128-8
	MOVQ s+0(FP), R9
	MOVQ strip_x(R9), AX
	MOVQ strip_w(R9), BX
	MOVQ strip_ldw(R9), R10
	LEAQ (R10)(R10*2), R11
	LEAQ (BX)(R10*4), R12
	MOVQ strip_scales(R9), DX
	MOVQ strip_lds(R9), R13
	LEAQ (R13)(R13*2), DI
	MOVQ strip_k(R9), R15
	MOVQ strip_halves(R9), R9
	MOVL $0x0F0F0F0F, CX
	VMOVD CX, X12
	VPBROADCASTD X12, Y12
	VMOVDQU mxfp4<>+0(SB), Y13
	VMOVDQU mxfp4<>+32(SB), Y14
	VPCMPEQD Y15, Y15, Y15
	VPSLLD   $16, Y15, Y15
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	VXORPS Y8, Y8, Y8
	VXORPS Y9, Y9, Y9
	VXORPS Y10, Y10, Y10
	VXORPS Y11, Y11, Y11
	XORQ CX, CX

loop:
	PREFETCHT1 (R12)
	TOKEN(0)
	TOKEN(64)
	BLOCK((DX), (BX), Y4, Y5)
	BLOCK((DX)(R13*1), (BX)(R10*1), Y6, Y7)
	BLOCK((DX)(R13*2), (BX)(R10*2), Y8, Y9)
	BLOCK((DX)(DI*1), (BX)(R11*1), Y10, Y11)
	INCQ DX
	ADDQ $16, BX
	ADDQ $64, R12
	ADDQ $32, CX
	CMPQ CX, R15
	JLT  loop
	ORDER(Y4, Y5)
	ORDER(Y6, Y7)
	ORDER(Y8, Y9)
	ORDER(Y10, Y11)
	STORE
	RET
