// What the Go assembler lacks, by encoding, and what the arm64 kernels share. Registers are numbers, in Arm's order
// of operands: destination first.

#define SDOTE(d, n, m, i) WORD $(0x4F80E000 | ((i)&1)<<21 | ((i)>>1)<<11 | (m)<<16 | (n)<<5 | (d)) // d.4s += n.16b · m.4b[i]
#define USMMLA(d, n, m) WORD $(0x4E80AC00 | (m)<<16 | (n)<<5 | (d)) // d.4s, 2x2, += n.16b, unsigned 2x8, · m.16b, signed 2x8, transposed
#define SMULL(d, n, m) WORD $(0x0E20C000 | (m)<<16 | (n)<<5 | (d)) // d.8h = n.8b * m.8b, the low halves
#define SMULL2(d, n, m) WORD $(0x4E20C000 | (m)<<16 | (n)<<5 | (d)) // the high halves
#define SMLAL(d, n, m) WORD $(0x0E208000 | (m)<<16 | (n)<<5 | (d)) // d.8h += n.8b * m.8b, the low halves
#define SMLAL2(d, n, m) WORD $(0x4E208000 | (m)<<16 | (n)<<5 | (d)) // the high halves
#define SADDLP(d, n) WORD $(0x4E602800 | (n)<<5 | (d)) // d.4s = pairwise sums of n.8h
#define SADDLPB(d, n) WORD $(0x4E202800 | (n)<<5 | (d)) // d.8h = pairwise sums of n.16b
#define SADALP(d, n) WORD $(0x4E606800 | (n)<<5 | (d)) // d.4s += pairwise sums of n.8h
#define SSRA(d, n, s) WORD $(0x4F001400 | (64-(s))<<16 | (n)<<5 | (d)) // d.4s += n.4s >> s
#define MULS(d, n, m) WORD $(0x4EA09C00 | (m)<<16 | (n)<<5 | (d)) // of 32 bits
#define SCVTF(d, n) WORD $(0x4E21D800 | (n)<<5 | (d))
#define FMUL(d, n, m) WORD $(0x6E20DC00 | (m)<<16 | (n)<<5 | (d))
#define FADD(d, n, m) WORD $(0x4E20D400 | (m)<<16 | (n)<<5 | (d))
#define FCVTL(d, n) WORD $(0x0E217800 | (n)<<5 | (d)) // d.4s = n.4h
#define FCVTL2(d, n) WORD $(0x4E217800 | (n)<<5 | (d)) // d.4s = the high half of n.8h
#define FCVTNS(d, n) WORD $(0x4E21A800 | (n)<<5 | (d)) // to nearest even
#define UMAX(d, n, m) WORD $(0x6EA06400 | (m)<<16 | (n)<<5 | (d))
#define UMAXV(d, n) WORD $(0x6EB0A800 | (n)<<5 | (d))
#define XTNH(d, n) WORD $(0x0E612800 | (n)<<5 | (d)) // low half of d.8h = n.4s
#define XTNH2(d, n) WORD $(0x4E612800 | (n)<<5 | (d))
#define XTNB(d, n) WORD $(0x0E212800 | (n)<<5 | (d)) // low half of d.16b = n.8h
#define XTNB2(d, n) WORD $(0x4E212800 | (n)<<5 | (d))

// R0 call, R1 codes, R2 scales, R3 activations, R4 negated sums, R5 groups left, R6 blocks left, R7 frame with the
// float sums [quad][token][4]: a quad is four rows, the dwords of one register. R9 format, R10 offset of its weights,
// R11 the byte that masks or biases them.

#define LOADCALL \
	MOVD c+0(FP), R0; \
	MOVD tile_codes(R0), R1; \
	MOVD tile_scales(R0), R2; \
	MOVD tile_acts(R0), R3; \
	MOVD tile_nsums(R0), R4; \
	MOVD tile_groups(R0), R5; \
	MOVBU tile_format(R0), R9

// FORMAT sets R10 and R11; int8offset is 0 for the kernels that flip the top bit of a byte to make it signed, and 128
// for those that multiply unsigned bytes.
#define FORMAT(int8offset) \
	MOVD $1, R10; \
	MOVD $3, R11; \
	CMPW $const_Int4, R9; \
	BLT known; \
	MOVD $8, R10; \
	MOVD $15, R11; \
	BEQ known; \
	MOVD $int8offset, R10; \
	MOVD $128, R11; \
known:

#define ZERO(a, b, c, d) \
	VEOR a, a, a; \
	VEOR b, b, b; \
	VEOR c, c, c; \
	VEOR d, d, d

// ZEROSUMS clears the float sums of n tokens.
#define ZEROSUMS(n) \
	ZERO(V0.B16, V1.B16, V2.B16, V3.B16); \
	MOVD R7, R8; \
	MOVD $n, R12; \
zero: \
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R8); \
	SUBS $1, R12, R12; \
	BNE zero

// SCALES widens the group's 16 scales into V4-V7, a quad each.
#define SCALES \
	VLD1.P 32(R2), [V0.H8, V1.H8]; \
	FCVTL(4, 0); \
	FCVTL2(5, 0); \
	FCVTL(6, 1); \
	FCVTL2(7, 1)

// FOLD adds the int32 sums a, a+1, a+2, a+3 times the scales in V<w> V<x> V<y> V<z> to the float sums at R8, and
// steps R8.
#define FOLD(a, w, x, y, z) \
	VLD1 (R8), [V0.S4, V1.S4, V2.S4, V3.S4]; \
	SCVTF(a+0, a+0); \
	SCVTF(a+1, a+1); \
	SCVTF(a+2, a+2); \
	SCVTF(a+3, a+3); \
	FMUL(a+0, a+0, w); \
	FMUL(a+1, a+1, x); \
	FMUL(a+2, a+2, y); \
	FMUL(a+3, a+3, z); \
	FADD(0, 0, a+0); \
	FADD(1, 1, a+1); \
	FADD(2, 2, a+2); \
	FADD(3, 3, a+3); \
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R8)

// FINISH stores RN(RN(acc*ascale) + bias) for each token of a strip of the width and returns.
#define FINISH(width) \
	MOVD tile_dst(R0), R1; \
	MOVD tile_rows(R0), R2; \
	MOVD (tile_rows+8)(R0), R3; \
	MOVD tile_ldd(R0), R4; \
	MOVD tile_ascales(R0), R5; \
	MOVD tile_bias(R0), R6; \
	VLD1 (R6), [V8.S4, V9.S4, V10.S4, V11.S4]; \
finish: \
	FMOVQ (R7), F0; \
	FMOVQ (16*width)(R7), F1; \
	FMOVQ (32*width)(R7), F2; \
	FMOVQ (48*width)(R7), F3; \
	ADD $16, R7; \
	VLD1R.P 4(R5), [V4.S4]; \
	FMUL(0, 0, 4); \
	FMUL(1, 1, 4); \
	FMUL(2, 2, 4); \
	FMUL(3, 3, 4); \
	FADD(0, 0, 8); \
	FADD(1, 1, 9); \
	FADD(2, 2, 10); \
	FADD(3, 3, 11); \
	MOVD.P 8(R2), R8; \
	MUL R4, R8, R8; \
	ADD R8<<2, R1, R8; \
	VST1 [V0.S4, V1.S4, V2.S4, V3.S4], (R8); \
	SUBS $1, R3, R3; \
	BNE finish; \
	RET
