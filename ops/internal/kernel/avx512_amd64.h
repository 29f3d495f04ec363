// FOLD4 adds lanes 16→8→4 of four dot products and leaves them in r0, one per
// 128-bit quarter. Clobbers Z0-Z3.
#define FOLD4(r0, r1, r2, r3) \
	VSHUFF64X2 $0x44, r1, r0, Z0 \
	VSHUFF64X2 $0xEE, r1, r0, Z1 \
	VADDPS     Z1, Z0, Z0        \
	VSHUFF64X2 $0x44, r3, r2, Z2 \
	VSHUFF64X2 $0xEE, r3, r2, Z3 \
	VADDPS     Z3, Z2, Z2        \
	VSHUFF32X4 $0x88, Z2, Z0, Z1 \
	VSHUFF32X4 $0xDD, Z2, Z0, Z3 \
	VADDPS     Z3, Z1, r0

// FOLD2 adds lanes 4→2 of the quarters of x and y into x.
#define FOLD2(x, y) \
	VSHUFPS $0x44, y, x, Z0 \
	VSHUFPS $0xEE, y, x, Z1 \
	VADDPS  Z1, Z0, x

// FOLD1 adds lanes 2→1: quarter r of x becomes four finished sums of row r.
#define FOLD1(x, y) \
	VSHUFPS $0x88, y, x, Z0 \
	VSHUFPS $0xDD, y, x, Z1 \
	VADDPS  Z1, Z0, x
