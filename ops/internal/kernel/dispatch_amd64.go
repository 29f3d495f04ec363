//go:build !purego

package kernel

import "golang.org/x/sys/cpu"

// What the machine offers; tests switch them off one by one. Each set assumes
// nothing of the one before it.
var (
	useAVX512 = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512DQ
	useAVX2   = cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C
)

func tiled() bool { return useAVX512 || useAVX2 }

// tileShape returns the rows of a and of b in one tile of a product with m rows
// of a, and the rows of b in one gemv.
func tileShape(m int) (mr, nr, nv int) {
	switch {
	case useAVX512 && m < 4:
		return 2, 8, 8
	case useAVX512:
		return 4, 6, 8
	}
	return 2, 3, 4
}

func tile(dst *float32, ldd int, p *panel) {
	if useAVX512 && p.rows == 2 {
		tile2AVX512(dst, ldd, p.a, p.lda, p.b, p.ldb, p.k, p.acc, p.mode, p.next)
	} else if useAVX512 {
		tileAVX512(dst, ldd, p.a, p.lda, p.b, p.ldb, p.k, p.acc, p.mode, p.next)
	} else {
		tileAVX2(dst, ldd, p.a, p.lda, p.b, p.ldb, p.k, p.acc, p.mode, p.next)
	}
}

func gemv(dst, a, b *float32, ldb, k int, acc *float32, mode int) {
	if useAVX512 {
		gemvAVX512(dst, a, b, ldb, k, acc, mode)
	} else {
		gemvAVX2(dst, a, b, ldb, k, acc, mode)
	}
}

func dotLanes(acc *[lanes]float32, a, b []float32) {
	if useAVX512 {
		dotLanesAVX512(acc, &a[0], &b[0], len(a))
	} else if useAVX2 {
		dotLanesAVX2(acc, &a[0], &b[0], len(a))
	} else {
		dotLanesGeneric(acc, a, b)
	}
}

func sumLanes(acc *[lanes]float32, x []float32) {
	if useAVX512 {
		sumLanesAVX512(acc, &x[0], len(x))
	} else if useAVX2 {
		sumLanesAVX2(acc, &x[0], len(x))
	} else {
		sumLanesGeneric(acc, x)
	}
}

func maxLanes(acc *[lanes]float32, x []float32) {
	if useAVX512 {
		maxLanesAVX512(acc, &x[0], len(x))
	} else if useAVX2 {
		maxLanesAVX2(acc, &x[0], len(x))
	} else {
		maxLanesGeneric(acc, x)
	}
}

func absMaxLanes(acc *[lanes]float32, x []float32) {
	if useAVX512 {
		absMaxLanesAVX512(acc, &x[0], len(x))
	} else if useAVX2 {
		absMaxLanesAVX2(acc, &x[0], len(x))
	} else {
		absMaxLanesGeneric(acc, x)
	}
}

func axpy(alpha float32, x, y []float32) {
	if useAVX512 {
		axpyAVX512(alpha, &x[0], &y[0], len(y))
	} else if useAVX2 {
		axpyAVX2(alpha, &x[0], &y[0], len(y))
	} else {
		axpyGeneric(alpha, x, y)
	}
}

func add(dst, a, b []float32) {
	if useAVX512 {
		addAVX512(&dst[0], &a[0], &b[0], len(dst))
	} else if useAVX2 {
		addAVX2(&dst[0], &a[0], &b[0], len(dst))
	} else {
		addGeneric(dst, a, b)
	}
}

func mul(dst, a, b []float32) {
	if useAVX512 {
		mulAVX512(&dst[0], &a[0], &b[0], len(dst))
	} else if useAVX2 {
		mulAVX2(&dst[0], &a[0], &b[0], len(dst))
	} else {
		mulGeneric(dst, a, b)
	}
}

func scale(dst []float32, a float32, x []float32) {
	if useAVX512 {
		scaleAVX512(&dst[0], a, &x[0], len(dst))
	} else if useAVX2 {
		scaleAVX2(&dst[0], a, &x[0], len(dst))
	} else {
		scaleGeneric(dst, a, x)
	}
}

func norm(dst, x, w []float32, s float32) {
	if useAVX512 {
		normAVX512(&dst[0], &x[0], &w[0], s, len(dst))
	} else if useAVX2 {
		normAVX2(&dst[0], &x[0], &w[0], s, len(dst))
	} else {
		normGeneric(dst, x, w, s)
	}
}

func rotate(dst0, dst1, x0, x1, cos, sin []float32) {
	if useAVX512 {
		rotateAVX512(&dst0[0], &dst1[0], &x0[0], &x1[0], &cos[0], &sin[0], len(dst0))
	} else if useAVX2 {
		rotateAVX2(&dst0[0], &dst1[0], &x0[0], &x1[0], &cos[0], &sin[0], len(dst0))
	} else {
		rotateGeneric(dst0, dst1, x0, x1, cos, sin)
	}
}

func expSubBlocks(dst, x []float32, sub float32) {
	if useAVX512 {
		expSubBlocksAVX512(&dst[0], &x[0], sub, len(dst), &expConsts)
	} else if useAVX2 {
		expSubBlocksAVX2(&dst[0], &x[0], sub, len(dst), &expConsts)
	} else {
		expSubGeneric(dst, x, sub)
	}
}

func swiGLU(dst, gateUp []float32, limit float32) {
	if useAVX512 {
		swiGLUAVX512(&dst[0], &gateUp[0], limit, -swigluAlpha, len(dst), &expConsts)
	} else if useAVX2 {
		swiGLUAVX2(&dst[0], &gateUp[0], limit, -swigluAlpha, len(dst), &expConsts)
	} else {
		swiGLUGeneric(dst, gateUp, limit)
	}
}

func decodeBF16(dst []float32, src []byte) {
	if useAVX512 {
		decodeBF16AVX512(&dst[0], &src[0], len(dst))
	} else if useAVX2 {
		decodeBF16AVX2(&dst[0], &src[0], len(dst))
	} else {
		decodeBF16Generic(dst, src)
	}
}

func decodeF16(dst []float32, src []byte) {
	if useAVX512 {
		decodeF16AVX512(&dst[0], &src[0], len(dst))
	} else if useAVX2 {
		decodeF16AVX2(&dst[0], &src[0], len(dst))
	} else {
		decodeF16Generic(dst, src)
	}
}

func decodeMXFP4(dst []float32, blocks, scales []byte) {
	if useAVX512 {
		decodeMXFP4AVX512(&dst[0], &blocks[0], &scales[0], len(scales), &e2m1, &e8m0)
	} else if useAVX2 {
		decodeMXFP4AVX2(&dst[0], &blocks[0], &scales[0], len(scales), &e2m1, &e8m0)
	} else {
		decodeMXFP4Generic(dst, blocks, scales)
	}
}
