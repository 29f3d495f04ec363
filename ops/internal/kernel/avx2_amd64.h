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
