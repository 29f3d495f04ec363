//go:build !purego

#include "textflag.h"

#define MAC(tmp, acc) \
	VPMADDUBSW Y0, Y1, tmp \
	VPADDW tmp, acc, acc

// func avx2(rounds int)
TEXT ·avx2(SB), NOSPLIT, $0-8
	MOVQ rounds+0(FP), CX
loop:
	MAC(Y2, Y8)
	MAC(Y3, Y9)
	MAC(Y4, Y10)
	MAC(Y5, Y11)
	MAC(Y2, Y12)
	MAC(Y3, Y13)
	MAC(Y4, Y14)
	MAC(Y5, Y15)
	DECQ CX
	JNZ loop
	VZEROUPPER
	RET
