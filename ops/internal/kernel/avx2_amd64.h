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

// STORE folds the four products of a strip, whose lanes are Y4-Y11, and stores
// them.
#define STORE \
	FOLD2(Y4, Y5, Y8, Y9)     \
	FOLD2(Y6, Y7, Y10, Y11)   \
	HALVE(0x44, 0xEE, Y4, Y6) \
	HALVE(0x88, 0xDD, Y4, Y4) \
	VEXTRACTF128 $1, Y4, X5   \
	VMOVLHPS X5, X4, X4       \
	MOVQ     s+0(FP), R9      \
	VMOVUPS  X4, strip_out(R9) \
	VZEROUPPER
