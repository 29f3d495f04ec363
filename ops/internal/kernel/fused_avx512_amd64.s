//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "avx512_amd64.h"

// Lanes of row r of the weights and token t: Z(16 + 4r + t). Tokens are at AX,
// SI, DI and R8, CX counts their elements; the rows of the weights at BX, R10
// bytes apart; R12 walks the next strip of rows, which is what follows in
// memory, and brings it into the L2 cache.

#define LOAD \
	MOVQ s+0(FP), R9         \
	MOVQ strip_x(R9), AX     \
	MOVQ strip_x+8(R9), SI   \
	MOVQ strip_x+16(R9), DI  \
	MOVQ strip_x+24(R9), R8  \
	MOVQ strip_w(R9), BX     \
	MOVQ strip_ldw(R9), R10  \
	LEAQ (R10)(R10*2), R11   \
	LEAQ (BX)(R10*4), R12    \
	MOVQ strip_scales(R9), DX \
	MOVQ strip_lds(R9), R13  \
	XORQ CX, CX

#define ZERO(a, b, c, d) \
	VPXORD a, a, a \
	VPXORD b, b, b \
	VPXORD c, c, c \
	VPXORD d, d, d

#define ZERO1 \
	ZERO(Z16, Z20, Z24, Z28)

#define ZERO4 \
	ZERO(Z16, Z17, Z18, Z19) \
	ZERO(Z20, Z21, Z22, Z23) \
	ZERO(Z24, Z25, Z26, Z27) \
	ZERO(Z28, Z29, Z30, Z31)

#define X1 \
	VMOVUPS (AX)(CX*4), Z0

#define X4 \
	X1                     \
	VMOVUPS (SI)(CX*4), Z1 \
	VMOVUPS (DI)(CX*4), Z2 \
	VMOVUPS (R8)(CX*4), Z3

#define FMA1(w, c0) \
	VFMADD231PS w, Z0, c0

#define FMA4(w, c0, c1, c2, c3) \
	VFMADD231PS w, Z0, c0 \
	VFMADD231PS w, Z1, c1 \
	VFMADD231PS w, Z2, c2 \
	VFMADD231PS w, Z3, c3

// STORE1 folds and stores four rows by one token, STORE4 by four tokens.
#define STORE1 \
	FOLD4(Z16, Z20, Z24, Z28) \
	FOLD2(Z16, Z16)           \
	FOLD1(Z16, Z16)           \
	MOVL        $0x1111, R10  \
	KMOVW       R10, K1       \
	VCOMPRESSPS Z16, K1, Z0   \
	MOVQ        s+0(FP), R9   \
	VMOVUPS     X0, strip_out(R9) \
	VZEROUPPER

#define STORE4 \
	FOLD4(Z16, Z17, Z18, Z19) \
	FOLD4(Z20, Z21, Z22, Z23) \
	FOLD4(Z24, Z25, Z26, Z27) \
	FOLD4(Z28, Z29, Z30, Z31) \
	FOLD2(Z16, Z20)           \
	FOLD2(Z24, Z28)           \
	FOLD1(Z16, Z24)           \
	MOVQ        s+0(FP), R9   \
	VMOVUPS     Z16, strip_out(R9) \
	VZEROUPPER

#define BF16(ptr, w) \
	VPMOVZXWD ptr, w   \
	VPSLLD    $16, w, w

// NIBBLES looks 16 codes up in a table of 16 values, one instruction each for
// the load, the shift and the look-up, which ignores all but the last four bits
// of an index. The shift leaves code j in dword 2j and code 8+j in dword 2j+1,
// so the inputs are permuted likewise (NX1, NX4), and the lanes are put back
// in order before they are folded.
#define NIBBLES(ptr, table, w) \
	VPBROADCASTQ ptr, w      \
	VPSRLVQ      Z9, w, w    \
	VPERMPS      table, w, w

#define NX1 \
	VPERMPS (AX)(CX*4), Z10, Z0

#define NX4 \
	NX1                         \
	VPERMPS (SI)(CX*4), Z10, Z1 \
	VPERMPS (DI)(CX*4), Z10, Z2 \
	VPERMPS (R8)(CX*4), Z10, Z3

#define ORDER(a, b, c, d) \
	VPERMPS a, Z13, a \
	VPERMPS b, Z13, b \
	VPERMPS c, Z13, c \
	VPERMPS d, Z13, d

#define ORDER1 \
	ORDER(Z16, Z20, Z24, Z28)

#define ORDER4 \
	ORDER(Z16, Z17, Z18, Z19) \
	ORDER(Z20, Z21, Z22, Z23) \
	ORDER(Z24, Z25, Z26, Z27) \
	ORDER(Z28, Z29, Z30, Z31)

DATA nibbles<>+0(SB)/8, $0
DATA nibbles<>+8(SB)/8, $4
DATA nibbles<>+16(SB)/8, $8
DATA nibbles<>+24(SB)/8, $12
DATA nibbles<>+32(SB)/8, $16
DATA nibbles<>+40(SB)/8, $20
DATA nibbles<>+48(SB)/8, $24
DATA nibbles<>+56(SB)/8, $28
DATA nibbles<>+64(SB)/8, $0x0000000800000000
DATA nibbles<>+72(SB)/8, $0x0000000900000001
DATA nibbles<>+80(SB)/8, $0x0000000A00000002
DATA nibbles<>+88(SB)/8, $0x0000000B00000003
DATA nibbles<>+96(SB)/8, $0x0000000C00000004
DATA nibbles<>+104(SB)/8, $0x0000000D00000005
DATA nibbles<>+112(SB)/8, $0x0000000E00000006
DATA nibbles<>+120(SB)/8, $0x0000000F00000007
DATA nibbles<>+128(SB)/8, $0x0000000200000000
DATA nibbles<>+136(SB)/8, $0x0000000600000004
DATA nibbles<>+144(SB)/8, $0x0000000A00000008
DATA nibbles<>+152(SB)/8, $0x0000000E0000000C
DATA nibbles<>+160(SB)/8, $0x0000000300000001
DATA nibbles<>+168(SB)/8, $0x0000000700000005
DATA nibbles<>+176(SB)/8, $0x0000000B00000009
DATA nibbles<>+184(SB)/8, $0x0000000F0000000D
GLOBL nibbles<>(SB), RODATA|NOPTR, $192

#define ORDERS \
	VMOVUPS nibbles<>+0(SB), Z9   \
	VMOVUPS nibbles<>+64(SB), Z10 \
	VMOVUPS nibbles<>+128(SB), Z13 \
	MOVQ    strip_values(R9), R9

// TABLE loads the sixteen values of an MXFP4 code under the scale at ptr.
#define TABLE(ptr, z) \
	MOVBLZX ptr, R14         \
	SHLL    $6, R14          \
	VMOVUPS (R9)(R14*1), z

// TABLES does so for one block of four rows.
#define TABLES \
	TABLE((DX), Z4)           \
	TABLE((DX)(R13*1), Z5)    \
	TABLE((DX)(R13*2), Z6)    \
	LEAQ (DX)(R13*2), R14     \
	TABLE((R14)(R13*1), Z7)   \
	INCQ DX

#define ROWS1(off) \
	NX1                                   \
	NIBBLES(off(BX), Z4, Z11)             \
	FMA1(Z11, Z16)                        \
	NIBBLES(off(BX)(R10*1), Z5, Z12)      \
	FMA1(Z12, Z20)                        \
	NIBBLES(off(BX)(R10*2), Z6, Z14)      \
	FMA1(Z14, Z24)                        \
	NIBBLES(off(BX)(R11*1), Z7, Z15)      \
	FMA1(Z15, Z28)                        \
	ADDQ $16, CX

#define ROWS4(off) \
	NX4                                   \
	NIBBLES(off(BX), Z4, Z11)             \
	FMA4(Z11, Z16, Z17, Z18, Z19)         \
	NIBBLES(off(BX)(R10*1), Z5, Z12)      \
	FMA4(Z12, Z20, Z21, Z22, Z23)         \
	NIBBLES(off(BX)(R10*2), Z6, Z14)      \
	FMA4(Z14, Z24, Z25, Z26, Z27)         \
	NIBBLES(off(BX)(R11*1), Z7, Z15)      \
	FMA4(Z15, Z28, Z29, Z30, Z31)         \
	ADDQ $16, CX

// func mulBF16x1AVX512(s *strip)
TEXT ·mulBF16x1AVX512(SB), NOSPLIT, $0-8
	LOAD
	MOVQ strip_k(R9), R9
	ZERO1

loop:
	PREFETCHT1 (R12)
	PREFETCHT1 64(R12)
	X1
	BF16((BX), Z4)
	FMA1(Z4, Z16)
	BF16((BX)(R10*1), Z5)
	FMA1(Z5, Z20)
	BF16((BX)(R10*2), Z6)
	FMA1(Z6, Z24)
	BF16((BX)(R11*1), Z7)
	FMA1(Z7, Z28)
	ADDQ $32, BX
	ADDQ $128, R12
	ADDQ $16, CX
	CMPQ CX, R9
	JLT  loop
	STORE1
	RET

// func mulBF16x4AVX512(s *strip)
TEXT ·mulBF16x4AVX512(SB), NOSPLIT, $0-8
	LOAD
	MOVQ strip_k(R9), R9
	ZERO4

loop:
	PREFETCHT1 (R12)
	PREFETCHT1 64(R12)
	X4
	BF16((BX), Z4)
	FMA4(Z4, Z16, Z17, Z18, Z19)
	BF16((BX)(R10*1), Z5)
	FMA4(Z5, Z20, Z21, Z22, Z23)
	BF16((BX)(R10*2), Z6)
	FMA4(Z6, Z24, Z25, Z26, Z27)
	BF16((BX)(R11*1), Z7)
	FMA4(Z7, Z28, Z29, Z30, Z31)
	ADDQ $32, BX
	ADDQ $128, R12
	ADDQ $16, CX
	CMPQ CX, R9
	JLT  loop
	STORE4
	RET

// func mulMXFP4x1AVX512(s *strip)
TEXT ·mulMXFP4x1AVX512(SB), NOSPLIT, $0-8
	LOAD
	MOVQ strip_k(R9), R15
	ORDERS
	ZERO1

loop:
	PREFETCHT1 (R12)
	TABLES
	ROWS1(0)
	ROWS1(8)
	ADDQ $16, BX
	ADDQ $64, R12
	CMPQ CX, R15
	JLT  loop
	ORDER1
	STORE1
	RET

// func mulMXFP4x4AVX512(s *strip)
TEXT ·mulMXFP4x4AVX512(SB), NOSPLIT, $0-8
	LOAD
	MOVQ strip_k(R9), R15
	ORDERS
	ZERO4

loop:
	PREFETCHT1 (R12)
	TABLES
	ROWS4(0)
	ROWS4(8)
	ADDQ $16, BX
	ADDQ $64, R12
	CMPQ CX, R15
	JLT  loop
	ORDER4
	STORE4
	RET
