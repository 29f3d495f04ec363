package kernel

// rows multiplies fewer rows of a than a tile has: nv rows of b at a time, and
// all rows of a while those are in the cache. dst has strides ri and rj.
func (g *gemm) rows(dst []float32, ri, rj int) {
	whole := g.k &^ (lanes - 1)
	var tail [maxNV * lanes]float32
	for j := 0; j < g.n; j += g.nv {
		jt := min(j, g.n-g.nv)
		if whole < g.k {
			packTail(tail[:], g.b, g.ldb, jt, g.nv, whole, g.k)
		}
		for i := range g.m {
			var out [maxNV]float32
			g.row(&out, g.a[i*g.lda:i*g.lda+g.k], g.b[jt*g.ldb:], &tail)
			for c := j - jt; c < g.nv; c++ {
				d := &dst[i*ri+(jt+c)*rj]
				if g.accumulate {
					*d += out[c]
				} else {
					*d = out[c]
				}
			}
		}
	}
}

// row computes out[c] = Dot(a, row c of b) for nv rows. The columns of b past
// the last multiple of 16 are in tail, padded with zeros.
func (g *gemm) row(out *[maxNV]float32, a, b []float32, tail *[maxNV * lanes]float32) {
	whole := len(a) &^ (lanes - 1)
	if whole == len(a) {
		gemv(&out[0], first(a), first(b), g.ldb, whole, nil, modeFinish)
		return
	}
	var acc [maxNV * lanes]float32
	var t [lanes]float32
	gemv(nil, first(a), first(b), g.ldb, whole, &acc[0], 0)
	copy(t[:], a[whole:])
	gemv(&out[0], &t[0], &tail[0], lanes, lanes, &acc[0], modeResume|modeFinish)
}

// dots computes products too small for the other kernels.
func (g *gemm) dots() {
	for i := range g.m {
		for j := range g.n {
			s := Dot(g.a[i*g.lda:i*g.lda+g.k], g.b[j*g.ldb:j*g.ldb+g.k])
			if g.accumulate {
				s += g.dst[i*g.ldd+j]
			}
			g.dst[i*g.ldd+j] = s
		}
	}
}
