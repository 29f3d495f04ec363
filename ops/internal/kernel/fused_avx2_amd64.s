//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "avx2_amd64.h"

// A strip is four rows by one token or one row by four tokens. Lanes 0-7 of
// product p are Y(4 + 2p), lanes 8-15 the next register. Tokens are at AX, SI,
// DI and R8, CX counts their elements; the rows of the weights at BX, R10 bytes
// apart; R12 walks the next strip of rows, which is what follows in memory, and
// brings it into the L2 cache.

#define LOAD \
	MOVQ s+0(FP), R9          \
	MOVQ strip_x(R9), AX      \
	MOVQ strip_x+8(R9), SI    \
	MOVQ strip_x+16(R9), DI   \
	MOVQ strip_x+24(R9), R8   \
	MOVQ strip_w(R9), BX      \
	MOVQ strip_ldw(R9), R10   \
	LEAQ (R10)(R10*2), R11    \
	MOVQ strip_scales(R9), DX \
	MOVQ strip_lds(R9), R13   \
	XORQ CX, CX               \
	VXORPS Y4, Y4, Y4         \
	VXORPS Y5, Y5, Y5         \
	VXORPS Y6, Y6, Y6         \
	VXORPS Y7, Y7, Y7         \
	VXORPS Y8, Y8, Y8         \
	VXORPS Y9, Y9, Y9         \
	VXORPS Y10, Y10, Y10      \
	VXORPS Y11, Y11, Y11

#define X1 \
	VMOVUPS (AX)(CX*4), Y0   \
	VMOVUPS 32(AX)(CX*4), Y1

#define FMA1(lo, hi) \
	VFMADD231PS Y2, Y0, lo \
	VFMADD231PS Y3, Y1, hi

#define FMA4 \
	VFMADD231PS (AX)(CX*4), Y2, Y4   \
	VFMADD231PS 32(AX)(CX*4), Y3, Y5 \
	VFMADD231PS (SI)(CX*4), Y2, Y6   \
	VFMADD231PS 32(SI)(CX*4), Y3, Y7 \
	VFMADD231PS (DI)(CX*4), Y2, Y8   \
	VFMADD231PS 32(DI)(CX*4), Y3, Y9 \
	VFMADD231PS (R8)(CX*4), Y2, Y10  \
	VFMADD231PS 32(R8)(CX*4), Y3, Y11

// Each of these decodes 16 weights to Y2 and Y3.

#define BF16(lo, hi) \
	VPMOVZXWD lo, Y2      \
	VPMOVZXWD hi, Y3      \
	VPSLLD    $16, Y2, Y2 \
	VPSLLD    $16, Y3, Y3

// counts brings code i of eight to the end of dword i.
DATA counts<>+0(SB)/8, $0x0000000400000000
DATA counts<>+8(SB)/8, $0x0000000C00000008
DATA counts<>+16(SB)/8, $0x0000001400000010
DATA counts<>+24(SB)/8, $0x0000001C00000018
GLOBL counts<>(SB), RODATA|NOPTR, $32

// TABLE loads the eight magnitudes of an MXFP4 code under the scale at ptr.
#define TABLE(ptr) \
	MOVBLZX ptr, R14           \
	SHLL    $6, R14            \
	VMOVUPS (R9)(R14*1), Y12

// E2M1 looks up the magnitude of a code, its low three bits, and moves bit 3 to
// the sign.
#define E2M1(ptr, w) \
	VPBROADCASTD ptr, Y0     \
	VPSRLVD      Y14, Y0, Y0 \
	VPERMPS      Y12, Y0, w  \
	VPSLLD       $28, Y0, Y0 \
	VPAND        Y15, Y0, Y0 \
	VPXOR        Y0, w, w

#define MXFP4(lo, hi) \
	E2M1(lo, Y2) \
	E2M1(hi, Y3)

#define SIGNS \
	VMOVDQU  counts<>+0(SB), Y14  \
	VPCMPEQD Y15, Y15, Y15        \
	VPSLLD   $31, Y15, Y15        \
	MOVQ     strip_k(R9), R15     \
	MOVQ     strip_values(R9), R9

// func mulBF16x1AVX2(s *strip)
TEXT ·mulBF16x1AVX2(SB), NOSPLIT, $0-8
	LOAD
	LEAQ (BX)(R10*4), R12
	MOVQ strip_k(R9), R9

loop:
	PREFETCHT1 (R12)
	PREFETCHT1 64(R12)
	X1
	BF16((BX), 16(BX))
	FMA1(Y4, Y5)
	BF16((BX)(R10*1), 16(BX)(R10*1))
	FMA1(Y6, Y7)
	BF16((BX)(R10*2), 16(BX)(R10*2))
	FMA1(Y8, Y9)
	BF16((BX)(R11*1), 16(BX)(R11*1))
	FMA1(Y10, Y11)
	ADDQ $32, BX
	ADDQ $128, R12
	ADDQ $16, CX
	CMPQ CX, R9
	JLT  loop
	STORE
	RET

// func mulBF16x4AVX2(s *strip)
TEXT ·mulBF16x4AVX2(SB), NOSPLIT, $0-8
	LOAD
	LEAQ (BX)(R10*1), R12
	MOVQ strip_k(R9), R9

loop:
	PREFETCHT1 (R12)
	BF16((BX), 16(BX))
	FMA4
	ADDQ $32, BX
	ADDQ $32, R12
	ADDQ $16, CX
	CMPQ CX, R9
	JLT  loop
	STORE
	RET

// func mulMXFP4x4AVX2(s *strip)
TEXT ·mulMXFP4x4AVX2(SB), NOSPLIT, $0-8
	LOAD
	LEAQ (BX)(R10*1), R12
	SIGNS

loop:
	PREFETCHT1 (R12)
	TABLE((DX))
	MXFP4((BX), 4(BX))
	FMA4
	ADDQ $16, CX
	MXFP4(8(BX), 12(BX))
	FMA4
	INCQ DX
	ADDQ $16, BX
	ADDQ $16, R12
	ADDQ $16, CX
	CMPQ CX, R15
	JLT  loop
	STORE
	RET
