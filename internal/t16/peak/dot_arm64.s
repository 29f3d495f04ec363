//go:build !purego

#include "textflag.h"

// SDOT Vd.4S, V0.16B, V1.16B and USMMLA Vd.4S, V0.16B, V1.16B, which the assembler does not know.
#define SDOT(d) WORD $(0x4E819400 | d)
#define USMMLA(d) WORD $(0x4E81AC00 | d)

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

// func mmla(rounds int)
TEXT ·mmla(SB), NOSPLIT, $0-8
	MOVD rounds+0(FP), R0
loop:
	USMMLA(8)
	USMMLA(9)
	USMMLA(10)
	USMMLA(11)
	USMMLA(12)
	USMMLA(13)
	USMMLA(14)
	USMMLA(15)
	USMMLA(16)
	USMMLA(17)
	USMMLA(18)
	USMMLA(19)
	USMMLA(20)
	USMMLA(21)
	USMMLA(22)
	USMMLA(23)
	USMMLA(24)
	USMMLA(25)
	USMMLA(26)
	USMMLA(27)
	USMMLA(28)
	USMMLA(29)
	USMMLA(30)
	USMMLA(31)
	SUBS $1, R0, R0
	BNE  loop
	RET
