// Vector instructions the Go assembler does not know, operands in its order:
// second source, first source, destination.

#define FADD(m, n, d) WORD $(0x4E20D400 | (m)<<16 | (n)<<5 | (d))
#define FSUB(m, n, d) WORD $(0x4EA0D400 | (m)<<16 | (n)<<5 | (d))
#define FMUL(m, n, d) WORD $(0x6E20DC00 | (m)<<16 | (n)<<5 | (d))
#define FDIV(m, n, d) WORD $(0x6E20FC00 | (m)<<16 | (n)<<5 | (d))
#define FMAX(m, n, d) WORD $(0x4E20F400 | (m)<<16 | (n)<<5 | (d))
#define FMIN(m, n, d) WORD $(0x4EA0F400 | (m)<<16 | (n)<<5 | (d))
#define FADDP(m, n, d) WORD $(0x6E20D400 | (m)<<16 | (n)<<5 | (d))
#define UMAX(m, n, d) WORD $(0x6EA06400 | (m)<<16 | (n)<<5 | (d))
#define FNEG(n, d) WORD $(0x6EA0F800 | (n)<<5 | (d))
#define FABS(n, d) WORD $(0x4EA0F800 | (n)<<5 | (d))
#define FCVTL(n, d) WORD $(0x0E217800 | (n)<<5 | (d))
#define FCVTL2(n, d) WORD $(0x4E217800 | (n)<<5 | (d))
#define SCVTF(n, d) WORD $(0x4E21D800 | (n)<<5 | (d))
#define SSHR1(n, d) WORD $(0x4F3F0400 | (n)<<5 | (d))

// FOLD4 adds lanes 16→8→4 into the first register.
#define FOLD4(v0, v1, v2, v3) \
	FADD(v2, v0, v0) \
	FADD(v3, v1, v1) \
	FADD(v1, v0, v0)

// FOLD2 adds lanes 4→2 of vx and vy into vx, whose number is x.
#define FOLD2(vx, vy, x) \
	VZIP1 vy.D2, vx.D2, V0.D2 \
	VZIP2 vy.D2, vx.D2, V1.D2 \
	FADD(1, 0, x)
