//go:build !purego

#include "textflag.h"

// Rows 4q + m, q in 0..3, are the 128-bit lanes of register m: turning four registers within their lanes puts dword d
// of all rows, in order, in register d.
//
// R8-R11 rows 0, 4, 8 and 12; BX the bytes of a row, DX of three.

#define POINTERS \
	LEAQ (BX)(BX*2), DX; \
	LEAQ (SI)(BX*4), R9; \
	LEAQ (R9)(BX*4), R10; \
	LEAQ (R10)(BX*4), R11; \
	MOVQ SI, R8

#define LOADZ(index, x, z) \
	VMOVDQU (R8)index, x; \
	VINSERTI32X4 $1, (R9)index, z, z; \
	VINSERTI32X4 $2, (R10)index, z, z; \
	VINSERTI32X4 $3, (R11)index, z, z

#define LOADROWSZ \
	VMOVDQU (R8), X0; \
	VINSERTI32X4 $1, (R9), Z0, Z0; \
	VINSERTI32X4 $2, (R10), Z0, Z0; \
	VINSERTI32X4 $3, (R11), Z0, Z0; \
	LOADZ((BX*1), X1, Z1); \
	LOADZ((BX*2), X2, Z2); \
	LOADZ((DX*1), X3, Z3)

// TURNZ makes Z0-Z3 the dwords 0-3 of the 16 rows.
#define TURNZ \
	LOADROWSZ; \
	VPUNPCKLDQ Z1, Z0, Z4; \
	VPUNPCKHDQ Z1, Z0, Z5; \
	VPUNPCKLDQ Z3, Z2, Z6; \
	VPUNPCKHDQ Z3, Z2, Z7; \
	VPUNPCKLQDQ Z6, Z4, Z0; \
	VPUNPCKHQDQ Z6, Z4, Z1; \
	VPUNPCKLQDQ Z7, Z5, Z2; \
	VPUNPCKHQDQ Z7, Z5, Z3

// func turnCodesAVX512(dst, src *byte, groups int)
TEXT ·turnCodesAVX512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ groups+16(FP), CX
	MOVQ CX, BX
	SHLQ $4, BX
	POINTERS
	LEAQ (R11)(BX*4), R13 // the next 16 rows
loop:
	PREFETCHT1 (R13)
	PREFETCHT1 64(R13)
	TURNZ
	VMOVDQU64 Z0, (DI)
	VMOVDQU64 Z1, 64(DI)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	ADDQ $256, DI
	ADDQ $128, R13
	ADDQ $16, R8
	ADDQ $16, R9
	ADDQ $16, R10
	ADDQ $16, R11
	DECQ CX
	JNZ loop
	VZEROUPPER
	RET

// PLANES stores the weights of one dword of the 16 rows: those of its low nibbles, then those of its high ones.
#define PLANES(z, at) \
	VPSRLW $4, z, Z4; \
	VPANDQ Z8, z, z; \
	VPANDQ Z8, Z4, Z4; \
	VPSHUFB z, Z9, z; \
	VPSHUFB Z4, Z9, Z4; \
	VMOVDQU64 z, (at)(DI); \
	VMOVDQU64 Z4, (at+128)(DI)

// func unpackMXFP4AVX512(dst *[64]byte, src *byte, stride, groups int)
TEXT ·unpackMXFP4AVX512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ stride+16(FP), BX
	MOVQ groups+24(FP), CX
	POINTERS
	MOVL $0x0F0F0F0F, AX
	VPBROADCASTD AX, Z8
	VBROADCASTI32X4 ·mxfp4Stored(SB), Z9
loop:
	TURNZ
	PLANES(Z0, 0)
	PLANES(Z1, 256)
	PLANES(Z2, 512)
	PLANES(Z3, 768)
	ADDQ $1024, DI
	ADDQ $16, R8
	ADDQ $16, R9
	ADDQ $16, R10
	ADDQ $16, R11
	DECQ CX
	JNZ loop
	VZEROUPPER
	RET

// Dword 4q + j of a register of bytes turned within lanes holds rows 4q..4q+3 of group j: laneOrder makes it 4j + q.
DATA laneOrder<>+0(SB)/4, $0
DATA laneOrder<>+4(SB)/4, $4
DATA laneOrder<>+8(SB)/4, $8
DATA laneOrder<>+12(SB)/4, $12
DATA laneOrder<>+16(SB)/4, $1
DATA laneOrder<>+20(SB)/4, $5
DATA laneOrder<>+24(SB)/4, $9
DATA laneOrder<>+28(SB)/4, $13
DATA laneOrder<>+32(SB)/4, $2
DATA laneOrder<>+36(SB)/4, $6
DATA laneOrder<>+40(SB)/4, $10
DATA laneOrder<>+44(SB)/4, $14
DATA laneOrder<>+48(SB)/4, $3
DATA laneOrder<>+52(SB)/4, $7
DATA laneOrder<>+56(SB)/4, $11
DATA laneOrder<>+60(SB)/4, $15
GLOBL laneOrder<>(SB), RODATA|NOPTR, $64

// Sixteen groups at a time; the last sixteen may overlap those before, as CX counts down to the first of them.
// NEXTGROUPS moves on by min(16, what is left) groups, or leaves the loop.
#define NEXTGROUPS \
	SUBQ $16, CX; \
	JZ done; \
	MOVQ $16, AX; \
	CMPQ CX, AX; \
	CMOVQLT CX, AX; \
	ADDQ AX, R8; \
	ADDQ AX, R9; \
	ADDQ AX, R10; \
	ADDQ AX, R11; \
	SUBQ AX, CX; \
	ADDQ $16, CX; \
	SHLQ $4, AX; \
	ADDQ AX, DI

#define ASKSCALES \
	PREFETCHT1 (R13); \
	PREFETCHT1 64(R13); \
	PREFETCHT1 128(R13); \
	PREFETCHT1 192(R13); \
	ADDQ $256, R13

// func turnScalesAVX512(dst, src *byte, groups int)
TEXT ·turnScalesAVX512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ groups+16(FP), CX
	MOVQ CX, BX
	POINTERS
	LEAQ (R11)(BX*4), R13 // the next 16 rows
	VMOVDQU64 laneOrder<>(SB), Z8
loop:
	ASKSCALES
	LOADROWSZ
	VPUNPCKLBW Z1, Z0, Z4
	VPUNPCKHBW Z1, Z0, Z5
	VPUNPCKLBW Z3, Z2, Z6
	VPUNPCKHBW Z3, Z2, Z7
	VPUNPCKLWD Z6, Z4, Z0
	VPUNPCKHWD Z6, Z4, Z1
	VPUNPCKLWD Z7, Z5, Z2
	VPUNPCKHWD Z7, Z5, Z3
	VPERMD Z0, Z8, Z0
	VPERMD Z1, Z8, Z1
	VPERMD Z2, Z8, Z2
	VPERMD Z3, Z8, Z3
	VMOVDQU64 Z0, (DI)
	VMOVDQU64 Z1, 64(DI)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	NEXTGROUPS
	JMP loop
done:
	VZEROUPPER
	RET

#define LOADY(p, r, index, x, y) \
	VMOVDQU (p)index, x; \
	VINSERTI128 $1, (r)index, y, y

// LOADROWSY loads eight rows, 4q + m of them at p and r.
#define LOADROWSY(p, r) \
	VMOVDQU (p), X0; \
	VINSERTI128 $1, (r), Y0, Y0; \
	LOADY(p, r, (BX*1), X1, Y1); \
	LOADY(p, r, (BX*2), X2, Y2); \
	LOADY(p, r, (DX*1), X3, Y3)

#define TURNCODESY(p, r, at) \
	LOADROWSY(p, r); \
	VPUNPCKLDQ Y1, Y0, Y4; \
	VPUNPCKHDQ Y1, Y0, Y5; \
	VPUNPCKLDQ Y3, Y2, Y6; \
	VPUNPCKHDQ Y3, Y2, Y7; \
	VPUNPCKLQDQ Y6, Y4, Y0; \
	VPUNPCKHQDQ Y6, Y4, Y1; \
	VPUNPCKLQDQ Y7, Y5, Y2; \
	VPUNPCKHQDQ Y7, Y5, Y3; \
	VMOVDQU Y0, at(DI); \
	VMOVDQU Y1, (at+64)(DI); \
	VMOVDQU Y2, (at+128)(DI); \
	VMOVDQU Y3, (at+192)(DI)

// func turnCodesAVX2(dst, src *byte, groups int)
TEXT ·turnCodesAVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ groups+16(FP), CX
	MOVQ CX, BX
	SHLQ $4, BX
	POINTERS
	LEAQ (R11)(BX*4), R13 // the next 16 rows
loop:
	PREFETCHT1 (R13)
	PREFETCHT1 64(R13)
	TURNCODESY(R8, R9, 0)
	TURNCODESY(R10, R11, 32)
	ADDQ $256, DI
	ADDQ $128, R13
	ADDQ $16, R8
	ADDQ $16, R9
	ADDQ $16, R10
	ADDQ $16, R11
	DECQ CX
	JNZ loop
	VZEROUPPER
	RET

DATA halfOrder<>+0(SB)/4, $0
DATA halfOrder<>+4(SB)/4, $4
DATA halfOrder<>+8(SB)/4, $1
DATA halfOrder<>+12(SB)/4, $5
DATA halfOrder<>+16(SB)/4, $2
DATA halfOrder<>+20(SB)/4, $6
DATA halfOrder<>+24(SB)/4, $3
DATA halfOrder<>+28(SB)/4, $7
GLOBL halfOrder<>(SB), RODATA|NOPTR, $32

// STOREY stores eight rows of four groups.
#define STOREY(x, y, at) \
	VPERMD y, Y8, y; \
	VMOVQ x, (at)(DI); \
	VPEXTRQ $1, x, (at+16)(DI); \
	VEXTRACTI128 $1, y, x; \
	VMOVQ x, (at+32)(DI); \
	VPEXTRQ $1, x, (at+48)(DI)

#define TURNSCALESY(p, r, at) \
	LOADROWSY(p, r); \
	VPUNPCKLBW Y1, Y0, Y4; \
	VPUNPCKHBW Y1, Y0, Y5; \
	VPUNPCKLBW Y3, Y2, Y6; \
	VPUNPCKHBW Y3, Y2, Y7; \
	VPUNPCKLWD Y6, Y4, Y0; \
	VPUNPCKHWD Y6, Y4, Y1; \
	VPUNPCKLWD Y7, Y5, Y2; \
	VPUNPCKHWD Y7, Y5, Y3; \
	STOREY(X0, Y0, at); \
	STOREY(X1, Y1, at+64); \
	STOREY(X2, Y2, at+128); \
	STOREY(X3, Y3, at+192)

// func turnScalesAVX2(dst, src *byte, groups int)
TEXT ·turnScalesAVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ groups+16(FP), CX
	MOVQ CX, BX
	POINTERS
	LEAQ (R11)(BX*4), R13 // the next 16 rows
	VMOVDQU halfOrder<>(SB), Y8
loop:
	ASKSCALES
	TURNSCALESY(R8, R9, 0)
	TURNSCALESY(R10, R11, 8)
	NEXTGROUPS
	JMP loop
done:
	VZEROUPPER
	RET
