//go:build !purego

package kernel

import "golang.org/x/sys/cpu"

// useNEON is what the machine offers; tests switch it off.
var useNEON = cpu.ARM64.HasASIMD

func tiled() bool { return useNEON }

// tileShape returns the rows of a and of b in one tile, and the rows of b in
// one gemv.
func tileShape(int) (mr, nr, nv int) { return 2, 3, 4 }

func tile(dst *float32, ldd int, p *panel) {
	tileNEON(dst, ldd, p.a, p.lda, p.b, p.ldb, p.k, p.acc, p.mode, p.next)
}

func gemv(dst, a, b *float32, ldb, k int, acc *float32, mode int) {
	gemvNEON(dst, a, b, ldb, k, acc, mode)
}

func dotLanes(acc *[lanes]float32, a, b []float32) {
	if useNEON {
		dotLanesNEON(acc, &a[0], &b[0], len(a))
	} else {
		dotLanesGeneric(acc, a, b)
	}
}

func sumLanes(acc *[lanes]float32, x []float32) {
	if useNEON {
		sumLanesNEON(acc, &x[0], len(x))
	} else {
		sumLanesGeneric(acc, x)
	}
}

func maxLanes(acc *[lanes]float32, x []float32) {
	if useNEON {
		maxLanesNEON(acc, &x[0], len(x))
	} else {
		maxLanesGeneric(acc, x)
	}
}

func absMaxLanes(acc *[lanes]float32, x []float32) {
	if useNEON {
		absMaxLanesNEON(acc, &x[0], len(x))
	} else {
		absMaxLanesGeneric(acc, x)
	}
}

func axpy(alpha float32, x, y []float32) {
	if useNEON {
		axpyNEON(alpha, &x[0], &y[0], len(y))
	} else {
		axpyGeneric(alpha, x, y)
	}
}

func add(dst, a, b []float32) {
	if useNEON {
		addNEON(&dst[0], &a[0], &b[0], len(dst))
	} else {
		addGeneric(dst, a, b)
	}
}

func mul(dst, a, b []float32) {
	if useNEON {
		mulNEON(&dst[0], &a[0], &b[0], len(dst))
	} else {
		mulGeneric(dst, a, b)
	}
}

func scale(dst []float32, a float32, x []float32) {
	if useNEON {
		scaleNEON(&dst[0], a, &x[0], len(dst))
	} else {
		scaleGeneric(dst, a, x)
	}
}

func norm(dst, x, w []float32, s float32) {
	if useNEON {
		normNEON(&dst[0], &x[0], &w[0], s, len(dst))
	} else {
		normGeneric(dst, x, w, s)
	}
}

func rotate(dst0, dst1, x0, x1, cos, sin []float32) {
	if useNEON {
		rotateNEON(&dst0[0], &dst1[0], &x0[0], &x1[0], &cos[0], &sin[0], len(dst0))
	} else {
		rotateGeneric(dst0, dst1, x0, x1, cos, sin)
	}
}

func expSubBlocks(dst, x []float32, sub float32) {
	if useNEON {
		expSubBlocksNEON(&dst[0], &x[0], sub, len(dst), &expConsts)
	} else {
		expSubGeneric(dst, x, sub)
	}
}

func swiGLU(dst, gateUp []float32, limit float32) {
	if useNEON {
		swiGLUNEON(&dst[0], &gateUp[0], limit, -swigluAlpha, len(dst), &expConsts)
	} else {
		swiGLUGeneric(dst, gateUp, limit)
	}
}

func decodeBF16(dst []float32, src []byte) {
	if useNEON {
		decodeBF16NEON(&dst[0], &src[0], len(dst))
	} else {
		decodeBF16Generic(dst, src)
	}
}

func decodeF16(dst []float32, src []byte) {
	if useNEON {
		decodeF16NEON(&dst[0], &src[0], len(dst))
	} else {
		decodeF16Generic(dst, src)
	}
}

func decodeMXFP4(dst []float32, blocks, scales []byte) {
	if useNEON {
		decodeMXFP4NEON(&dst[0], &blocks[0], &scales[0], len(scales), &e2m1, &e8m0)
	} else {
		decodeMXFP4Generic(dst, blocks, scales)
	}
}
