//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "vnni_amd64.h"
#include "int_vnni_amd64.h"

// ---- Int4: a block is two operands, its low and its high nibbles. Z4 mask.

#define INT4CONSTANTS BYTEMASK(0x0F, Z4)

#define INT4UNPACK \
	VMOVDQU64 (SI), Z0; \
	PREFETCHT0 4096(SI); \
	VPSRLW $4, Z0, Z1; \
	VPANDQ Z4, Z0, Z0; \
	VPANDQ Z4, Z1, Z1

#define INT4OFFSET(t, a, b, s) VPSLLD $3, a, a

// func tileInt4VNNI4(c *tile)
TEXT ·tileInt4VNNI4(SB), 0, $320-8
	NARROW(EACHPAIR4, 4, INT4CONSTANTS, INT4OFFSET, INT4UNPACK, DOTPAIR4, 32, HALFSCALES, FOLDPAIR)

// func tileInt4VNNI2(c *tile)
TEXT ·tileInt4VNNI2(SB), 0, $192-8
	NARROW(EACHPAIR2, 2, INT4CONSTANTS, INT4OFFSET, INT4UNPACK, DOTPAIR2, 16, HALFSCALES, FOLDPAIR)

// func tileInt4VNNI1(c *tile)
TEXT ·tileInt4VNNI1(SB), 0, $128-8
	NARROW(EACHPAIR1, 1, INT4CONSTANTS, INT4OFFSET, INT4UNPACK, DOTPAIR1, 8, HALFSCALES, FOLDPAIR)

// ---- Int8: a block is one operand as it is. For few tokens the second sum stays zero.

#define INT8CONSTANTS

#define INT8UNPACK \
	VMOVDQU64 (SI), Z0; \
	PREFETCHT0 4096(SI)

#define INT8OFFSET(t, a, b, s) VPSLLD $7, a, a

#define ONEDOT(t, a, b, s) VPDPBUSD.BCST ((t)*4)(R8), Z0, a

// func tileInt8VNNI4(c *tile)
TEXT ·tileInt8VNNI4(SB), 0, $320-8
	NARROW(EACHPAIR4, 4, INT8CONSTANTS, INT8OFFSET, INT8UNPACK, ONEDOT, 16, HALFSCALES, FOLDPAIR)

// func tileInt8VNNI2(c *tile)
TEXT ·tileInt8VNNI2(SB), 0, $192-8
	NARROW(EACHPAIR2, 2, INT8CONSTANTS, INT8OFFSET, INT8UNPACK, ONEDOT, 8, HALFSCALES, FOLDPAIR)

// func tileInt8VNNI1(c *tile)
TEXT ·tileInt8VNNI1(SB), 0, $128-8
	NARROW(EACHPAIR1, 1, INT8CONSTANTS, INT8OFFSET, INT8UNPACK, ONEDOT, 4, HALFSCALES, FOLDPAIR)
