//go:build !purego

#include "textflag.h"

// SDOT V0.16B, V1.16B, Vd.4S, which the assembler does not know.
#define SDOT(d) WORD $(0x4E819400 | d)

// func dot(rounds int)
TEXT ·dot(SB), NOSPLIT, $0-8
	MOVD rounds+0(FP), R0
loop:
	SDOT(8)
	SDOT(9)
	SDOT(10)
	SDOT(11)
	SDOT(12)
	SDOT(13)
	SDOT(14)
	SDOT(15)
	SDOT(16)
	SDOT(17)
	SDOT(18)
	SDOT(19)
	SDOT(20)
	SDOT(21)
	SDOT(22)
	SDOT(23)
	SDOT(24)
	SDOT(25)
	SDOT(26)
	SDOT(27)
	SDOT(28)
	SDOT(29)
	SDOT(30)
	SDOT(31)
	SUBS $1, R0, R0
	BNE  loop
	RET
