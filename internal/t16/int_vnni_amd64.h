// What the AVX-512 VNNI kernels for whole-number weights (Int4, Int8, MXFP4) and few tokens share beside vnni_amd64.h.
// A kernel file says how its format is unpacked and scaled, and has one tile for each width.
//
// Each operand of a block has its own sum per token, which hides the latency of VPDPBUSD. Z0 Z1 operands, Z5 scales,
// Z3 Z4 Z6 Z7 constants of the format, Z8-Z15 int32 sums [token][operand], Z24-Z27 float sums.

// HALFSCALES takes the scales of a group as half floats.
#define HALFSCALES \
	VCVTPH2PS (DI), Z5; \
	ADDQ $32, DI

#define EACHPAIR1(op) op(0, Z8, Z9, Z24)
#define EACHPAIR2(op) EACHPAIR1(op); op(1, Z10, Z11, Z25)
#define EACHPAIR4(op) EACHPAIR2(op); op(2, Z12, Z13, Z26); op(3, Z14, Z15, Z27)

#define CLEARPAIR(t, a, b, s) VPXORQ s, s, s
#define STARTPAIR(t, a, b, s) \
	VPBROADCASTD ((t)*4)(R9), a; \
	VPXORQ b, b, b
#define DOTPAIR1(t, a, b, s) \
	VPDPBUSD.BCST (R8), Z0, a; \
	VPDPBUSD.BCST 4(R8), Z1, b
#define DOTPAIR2(t, a, b, s) \
	VPDPBUSD.BCST ((t)*4)(R8), Z0, a; \
	VPDPBUSD.BCST (8+(t)*4)(R8), Z1, b
#define DOTPAIR4(t, a, b, s) \
	VPDPBUSD.BCST ((t)*4)(R8), Z0, a; \
	VPDPBUSD.BCST (16+(t)*4)(R8), Z1, b
#define ADDPAIR(t, a, b, s) \
	VPADDD b, a, a; \
	VCVTDQ2PS a, a
#define FOLDPAIR(t, a, b, s) \
	ADDPAIR(t, a, b, s); \
	VMULPS Z5, a, a; \
	VADDPS s, a, s
#define STOREPAIR(t, a, b, s) VMOVAPS s, ((t)*64)(R12)

// NARROW is a whole kernel for few tokens; step moves R8 past the activations of a block.
#define NARROW(each, width, constants, offset, unpack, dot, step, scales, fold) \
	LOADCALL; \
	constants; \
	each(CLEARPAIR); \
group: \
	each(STARTPAIR); \
	each(offset); \
	ADDQ $((width)*4), R9; \
	MOVQ tile_blocks(AX), R11; \
block: \
	unpack; \
	each(dot); \
	ADDQ $64, SI; \
	ADDQ $(step), R8; \
	DECQ R11; \
	JNZ block; \
	scales; \
	each(fold); \
	DECQ R10; \
	JNZ group; \
	each(STOREPAIR); \
	FINISH
