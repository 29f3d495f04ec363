//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "vnni_amd64.h"
#include "int_vnni_amd64.h"

// A block is two operands, its low and its high nibbles, looked up. Z3 the scale 2^-127, Z4 nibble mask, Z6 the table,
// Z7 the scale byte that is NaN; R13 memory to ask for.

#define CONSTANTS \
	BYTEMASK(0x0F, Z4); \
	MOVL $0x00400000, BX; \
	VPBROADCASTD BX, Z3; \
	MOVL $255, BX; \
	VPBROADCASTD BX, Z7; \
	VBROADCASTI32X4 ·mxfp4Stored(SB), Z6; \
	MOVQ tile_ahead(AX), R13

#define UNPACK \
	VMOVDQU64 (SI), Z0; \
	VPSRLW $4, Z0, Z1; \
	VPANDQ Z4, Z0, Z0; \
	VPANDQ Z4, Z1, Z1; \
	VPSHUFB Z0, Z6, Z0; \
	VPSHUFB Z1, Z6, Z1

// SCALES makes Z5 = 2^(e-127) of the scale bytes: e is the exponent of a float32, but for 0, whose power is below the
// normal ones, and 255, which is NaN. It also asks for 128 bytes of the next tile.
#define SCALES \
	PREFETCHT1 (R13); \
	PREFETCHT1 64(R13); \
	ADDQ $128, R13; \
	VPMOVZXBD (DI), Z5; \
	ADDQ $16, DI; \
	VPCMPEQD Z7, Z5, K1; \
	VPSLLD $23, Z5, Z5; \
	VPMAXUD Z3, Z5, Z5; \
	VPTERNLOGD $0xFF, Z5, Z5, K1, Z5

#define OFFSET(t, a, b, s) VPSLLD $4, a, a

#define MULADDPAIR(t, a, b, s) \
	ADDPAIR(t, a, b, s); \
	VFMADD231PS Z5, a, s

// func tileMXFP4VNNI4(c *tile)
TEXT ·tileMXFP4VNNI4(SB), 0, $320-8
	NARROW(EACHPAIR4, 4, CONSTANTS, OFFSET, UNPACK, DOTPAIR4, 32, SCALES, MULADDPAIR)

// func tileMXFP4VNNI2(c *tile)
TEXT ·tileMXFP4VNNI2(SB), 0, $192-8
	NARROW(EACHPAIR2, 2, CONSTANTS, OFFSET, UNPACK, DOTPAIR2, 16, SCALES, MULADDPAIR)

// func tileMXFP4VNNI1(c *tile)
TEXT ·tileMXFP4VNNI1(SB), 0, $128-8
	NARROW(EACHPAIR1, 1, CONSTANTS, OFFSET, UNPACK, DOTPAIR1, 8, SCALES, MULADDPAIR)
