//go:build !purego

#include "textflag.h"

// Lanes of row r of a and row c of b: Y(4 + 6r + 2c) holds 0-7, the next
// register 8-15.

#define STEP(bptr, c0, c1) \
	VMOVUPS     bptr, Y2   \
	VFMADD231PS Y2, Y0, c0 \
	VFMADD231PS Y2, Y1, c1

// FOLD2 adds lanes 16→8→4 of two dot products and leaves them in x, one per
// half. Clobbers Y0 and Y1.
#define FOLD2(x, xhi, y, yhi) \
	VADDPS     xhi, x, x         \
	VADDPS     yhi, y, y         \
	VPERM2F128 $0x20, y, x, Y0 \
	VPERM2F128 $0x31, y, x, Y1 \
	VADDPS     Y1, Y0, x

// HALVE adds neighbouring pairs of lanes: with $0x44, $0xEE lanes 4→2 of x and
// y, with $0x88, $0xDD lanes 2→1.
#define HALVE(lo, hi, x, y) \
	VSHUFPS $lo, y, x, Y0 \
	VSHUFPS $hi, y, x, Y1 \
	VADDPS  Y1, Y0, x

// func tileAVX2(dst *float32, ldd int, a *float32, lda int, b *float32, ldb, k int, acc *float32, mode int, next *float32)
TEXT ·tileAVX2(SB), NOSPLIT, $0-80
	MOVQ a+16(FP), AX
	MOVQ lda+24(FP), R8
	SHLQ $2, R8
	MOVQ b+32(FP), BX
	MOVQ ldb+40(FP), R10
	SHLQ $2, R10
	MOVQ k+48(FP), CX
	MOVQ acc+56(FP), R12
	MOVQ mode+64(FP), R13
	MOVQ next+72(FP), R11
	TESTQ $1, R13
	JZ   zero
	VMOVUPS 0(R12), Y4
	VMOVUPS 32(R12), Y5
	VMOVUPS 64(R12), Y6
	VMOVUPS 96(R12), Y7
	VMOVUPS 128(R12), Y8
	VMOVUPS 160(R12), Y9
	VMOVUPS 192(R12), Y10
	VMOVUPS 224(R12), Y11
	VMOVUPS 256(R12), Y12
	VMOVUPS 288(R12), Y13
	VMOVUPS 320(R12), Y14
	VMOVUPS 352(R12), Y15
	JMP  test

zero:
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	VXORPS Y8, Y8, Y8
	VXORPS Y9, Y9, Y9
	VXORPS Y10, Y10, Y10
	VXORPS Y11, Y11, Y11
	VXORPS Y12, Y12, Y12
	VXORPS Y13, Y13, Y13
	VXORPS Y14, Y14, Y14
	VXORPS Y15, Y15, Y15

test:
	SHRQ $4, CX
	JZ   done

loop:
	PREFETCHT1 (R11)
	VMOVUPS (AX), Y0
	VMOVUPS (AX)(R8*1), Y1
	STEP((BX), Y4, Y10)
	STEP((BX)(R10*1), Y6, Y12)
	STEP((BX)(R10*2), Y8, Y14)
	VMOVUPS 32(AX), Y0
	VMOVUPS 32(AX)(R8*1), Y1
	STEP(32(BX), Y5, Y11)
	STEP(32(BX)(R10*1), Y7, Y13)
	STEP(32(BX)(R10*2), Y9, Y15)
	ADDQ $64, AX
	ADDQ $64, BX
	ADDQ $64, R11
	DECQ CX
	JNZ  loop

done:
	TESTQ $2, R13
	JNZ  fold
	VMOVUPS Y4, 0(R12)
	VMOVUPS Y5, 32(R12)
	VMOVUPS Y6, 64(R12)
	VMOVUPS Y7, 96(R12)
	VMOVUPS Y8, 128(R12)
	VMOVUPS Y9, 160(R12)
	VMOVUPS Y10, 192(R12)
	VMOVUPS Y11, 224(R12)
	VMOVUPS Y12, 256(R12)
	VMOVUPS Y13, 288(R12)
	VMOVUPS Y14, 320(R12)
	VMOVUPS Y15, 352(R12)
	VZEROUPPER
	RET

fold:
	FOLD2(Y4, Y5, Y10, Y11)
	FOLD2(Y6, Y7, Y12, Y13)
	FOLD2(Y8, Y9, Y14, Y15)
	HALVE(0x44, 0xEE, Y4, Y6)
	HALVE(0x44, 0xEE, Y8, Y8)
	HALVE(0x88, 0xDD, Y4, Y8) // half r: the sums of row r with rows 0, 1, 2 of b
	VEXTRACTF128 $1, Y4, X5
	MOVQ dst+0(FP), DI
	MOVQ ldd+8(FP), SI
	TESTQ $4, R13
	JZ   set
	VMOVSD      (DI), X0
	VINSERTPS   $0x20, 8(DI), X0, X0
	VADDPS      X0, X4, X4
	VMOVSD      (DI)(SI*4), X1
	VINSERTPS   $0x20, 8(DI)(SI*4), X1, X1
	VADDPS      X1, X5, X5

set:
	VMOVLPS    X4, (DI)
	VEXTRACTPS $2, X4, 8(DI)
	VMOVLPS    X5, (DI)(SI*4)
	VEXTRACTPS $2, X5, 8(DI)(SI*4)
	VZEROUPPER
	RET

// The four rows of b keep their lanes in Y4-Y11.
//
// func gemvAVX2(dst, a, b *float32, ldb, k int, acc *float32, mode int)
TEXT ·gemvAVX2(SB), NOSPLIT, $0-56
	MOVQ a+8(FP), AX
	MOVQ b+16(FP), BX
	MOVQ ldb+24(FP), R10
	SHLQ $2, R10
	LEAQ (R10)(R10*2), R11
	MOVQ k+32(FP), CX
	MOVQ acc+40(FP), R12
	MOVQ mode+48(FP), R13
	TESTQ $1, R13
	JZ   zero
	VMOVUPS 0(R12), Y4
	VMOVUPS 32(R12), Y5
	VMOVUPS 64(R12), Y6
	VMOVUPS 96(R12), Y7
	VMOVUPS 128(R12), Y8
	VMOVUPS 160(R12), Y9
	VMOVUPS 192(R12), Y10
	VMOVUPS 224(R12), Y11
	JMP  test

zero:
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	VXORPS Y8, Y8, Y8
	VXORPS Y9, Y9, Y9
	VXORPS Y10, Y10, Y10
	VXORPS Y11, Y11, Y11

test:
	SHRQ $4, CX
	JZ   done

loop:
	VMOVUPS (AX), Y0
	VMOVUPS 32(AX), Y1
	VFMADD231PS (BX), Y0, Y4
	VFMADD231PS 32(BX), Y1, Y5
	VFMADD231PS (BX)(R10*1), Y0, Y6
	VFMADD231PS 32(BX)(R10*1), Y1, Y7
	VFMADD231PS (BX)(R10*2), Y0, Y8
	VFMADD231PS 32(BX)(R10*2), Y1, Y9
	VFMADD231PS (BX)(R11*1), Y0, Y10
	VFMADD231PS 32(BX)(R11*1), Y1, Y11
	ADDQ $64, AX
	ADDQ $64, BX
	DECQ CX
	JNZ  loop

done:
	TESTQ $2, R13
	JNZ  fold
	VMOVUPS Y4, 0(R12)
	VMOVUPS Y5, 32(R12)
	VMOVUPS Y6, 64(R12)
	VMOVUPS Y7, 96(R12)
	VMOVUPS Y8, 128(R12)
	VMOVUPS Y9, 160(R12)
	VMOVUPS Y10, 192(R12)
	VMOVUPS Y11, 224(R12)
	VZEROUPPER
	RET

fold:
	FOLD2(Y4, Y5, Y8, Y9)     // rows 0 and 2
	FOLD2(Y6, Y7, Y10, Y11)   // rows 1 and 3
	HALVE(0x44, 0xEE, Y4, Y6)
	HALVE(0x88, 0xDD, Y4, Y4) // half h begins with rows 2h and 2h+1
	VEXTRACTF128 $1, Y4, X5
	VMOVLHPS X5, X4, X4
	MOVQ dst+0(FP), DI
	VMOVUPS X4, (DI)
	VZEROUPPER
	RET
