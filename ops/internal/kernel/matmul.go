package kernel

import "fmt"

// Modes of a tile kernel, known to the assembly.
const (
	modeResume = 1 << iota // lanes start from acc, not from +0
	modeFinish             // fold the lanes into dst instead of storing them to acc
	modeAdd                // with modeFinish: on top of dst
)

// Blocking of MatMulNT, in multiples that every tile shape divides. For one
// block of k a tile of b and the lanes stay in the L1 cache while rowBlock rows
// of a pass by; over all of k, l2Floats of b stay in the L2. Longer blocks of k
// save more on keeping lanes than they lose by spilling out of the L1.
const (
	rowBlock = 8
	colBlock = 24
	kBlock   = 1024
	l2Floats = 96 << 10
	maxNV    = 8
)

// MatMulNT computes dst = A·Bᵀ, or dst += A·Bᵀ with accumulate. Each element is
// Dot of its two rows, added to dst afterwards with one rounding.
//
//	dst[i*ldd+j] (+)= Σ_k a[i*lda+k]·b[j*ldb+k],  i < m, j < n
//
// Shapes: a [m, k] with row stride lda, b [n, k] with ldb, dst [m, n] with ldd.
func MatMulNT(dst []float32, ldd int, a []float32, lda int, b []float32, ldb, m, n, k int, accumulate bool) {
	if m < 0 || n < 0 || k < 0 {
		panic(fmt.Sprintf("kernel: MatMulNT of negative size m=%d n=%d k=%d", m, n, k))
	}
	if m == 0 || n == 0 {
		return
	}
	checkMatrix("dst", len(dst), ldd, m, n)
	checkMatrix("a", len(a), lda, m, k)
	checkMatrix("b", len(b), ldb, n, k)
	if !tiled() {
		matMulNTGeneric(dst, ldd, a, lda, b, ldb, m, n, k, accumulate)
		return
	}
	g := gemm{dst: dst, ldd: ldd, a: a, lda: lda, b: b, ldb: ldb, m: m, n: n, k: k, accumulate: accumulate}
	g.mr, g.nr, g.nv = tileShape(m)
	switch {
	case m >= g.mr && n >= g.nr:
		t := tiling{gemm: g}
		if k <= kBlock && k%lanes == 0 {
			t.run(nil)
		} else {
			var w workspace
			t.run(&w)
		}
	case n >= g.nv:
		g.rows(dst, ldd, 1)
	case m >= g.nv: // few rows of b: the same products with the roles swapped
		g.a, g.lda, g.m, g.b, g.ldb, g.n = b, ldb, n, a, lda, m
		g.rows(dst, 1, ldd)
	default:
		g.dots()
	}
}

func checkMatrix(name string, have, stride, rows, cols int) {
	if stride < cols || have < cols || rows > 1 && stride > (have-cols)/(rows-1) {
		panic(fmt.Sprintf("kernel: matrix %s [%d, %d] with stride %d does not fit %d elements", name, rows, cols, stride, have))
	}
}

// gemm is one product and the tile shape it is cut with.
type gemm struct {
	dst, a, b     []float32
	ldd, lda, ldb int
	m, n, k       int
	mr, nr, nv    int
	accumulate    bool
}

// tiling walks a gemm in blocks of tiles. A tile at the ragged edge starts
// earlier instead of being smaller, so it computes some elements again.
type tiling struct {
	gemm
	pass           int           // rows of b per pass over a
	fetch          [rowBlock]int // by tile of the block: see plan
	i0, i1, j0, j1 int           // current block: rows of a, rows of b
}

// workspace is what a product needs that takes more than one block of k.
type workspace struct {
	acc   [rowBlock * colBlock * lanes]float32
	tailA [rowBlock * lanes]float32
	tailB [colBlock * lanes]float32
}

// panel is what one tile multiplies in one block of k.
type panel struct {
	rows     int // of a
	a, b     *float32
	lda, ldb int
	k, mode  int
	acc      *float32 // lanes between blocks of k
	next     *float32 // fetched early for a later tile
}

func (g *tiling) run(w *workspace) {
	g.pass = max(l2Floats/max(g.k, 1)/colBlock, 1) * colBlock
	for jp := 0; jp < g.n; jp += g.pass {
		jend := min(jp+g.pass, g.n)
		for g.i0 = 0; g.i0 < g.m; g.i0 += rowBlock {
			g.i1 = min(g.i0+rowBlock, g.m)
			g.plan()
			for g.j0 = jp; g.j0 < jend; g.j0 += colBlock {
				g.j1 = min(g.j0+colBlock, jend)
				g.block(w)
			}
		}
	}
}

// block computes rows [i0, i1) × [j0, j1) of dst, walking k in blocks and
// keeping the lanes in w between them. What is left of k after the last
// multiple of 16 is one more block, copied and padded with zeros.
func (g *tiling) block(w *workspace) {
	whole := g.k &^ (lanes - 1)
	for k0 := 0; k0 < whole || k0 == 0; k0 += kBlock {
		g.sweep(w, k0, min(kBlock, whole-k0))
	}
	if whole == g.k {
		return
	}
	for i := g.i0; i < g.i1; i += g.mr {
		packTail(w.tailA[(i-g.i0)*lanes:], g.a, g.lda, min(i, g.m-g.mr), g.mr, whole, g.k)
	}
	for j := g.j0; j < g.j1; j += g.nr {
		packTail(w.tailB[(j-g.j0)*lanes:], g.b, g.ldb, min(j, g.n-g.nr), g.nr, whole, g.k)
	}
	p := panel{rows: g.mr, lda: lanes, ldb: lanes, k: lanes}
	for j := g.j0; j < g.j1; j += g.nr {
		for i := g.i0; i < g.i1; i += g.mr {
			p.a, p.b, p.acc = &w.tailA[(i-g.i0)*lanes], &w.tailB[(j-g.j0)*lanes], g.lanesOf(w, i, j)
			p.mode, p.next = modeResume, p.a
			g.finish(i, j, &p)
		}
	}
}

// packTail copies columns [k0, k1) of n rows to rows of 16. The rest of dst
// stays zero: k is the same for all of a product.
func packTail(dst, src []float32, ld, row, n, k0, k1 int) {
	for r := range n {
		copy(dst[r*lanes:], src[(row+r)*ld+k0:(row+r)*ld+k1])
	}
}

// sweep adds k in [k0, k0+kn) to the lanes of every tile of the block.
func (g *tiling) sweep(w *workspace, k0, kn int) {
	p := panel{rows: g.mr, lda: g.lda, ldb: g.ldb, k: kn}
	mode := 0
	if k0 > 0 {
		mode = modeResume
	}
	for j := g.j0; j < g.j1; j += g.nr {
		p.b = first(g.b[min(j, g.n-g.nr)*g.ldb+k0:])
		t := 0
		for i := g.i0; i < g.i1; i += g.mr {
			p.a, p.acc = first(g.a[min(i, g.m-g.mr)*g.lda+k0:]), g.lanesOf(w, i, j)
			p.mode, p.next = mode, g.ahead(t, j, k0, p.a)
			t++
			if k0+kn == g.k {
				g.finish(i, j, &p)
			} else {
				tile(nil, 0, &p)
			}
		}
	}
}

// plan decides which row of the next pass over b each tile of this block
// fetches: the row in place of fetch[t] of its own rows of b, or none. The tiles
// over all rows of a fetch each row of b once, evenly, so that a pass does not
// begin by waiting for memory.
func (g *tiling) plan() {
	tiles := (g.m + g.mr - 1) / g.mr
	t0 := g.i0 / g.mr
	for t := range (g.i1 - g.i0 + g.mr - 1) / g.mr {
		g.fetch[t] = (t0 + t) * g.nr / tiles
		if t0+t > 0 && (t0+t-1)*g.nr/tiles == g.fetch[t] {
			g.fetch[t] = -1
		}
	}
}

// ahead returns what tile t of the block over the rows from j of b should
// fetch, or itself, which the tile reads anyway.
func (g *tiling) ahead(t, j, k0 int, own *float32) *float32 {
	row := j + g.pass + g.fetch[t]
	if g.fetch[t] < 0 || row >= g.n {
		return own
	}
	return first(g.b[row*g.ldb+k0:])
}

// lanesOf returns where the tile that covers (i, j) keeps its lanes.
func (g *tiling) lanesOf(w *workspace, i, j int) *float32 {
	if w == nil {
		return nil
	}
	return &w.acc[((i-g.i0)*colBlock+(j-g.j0)*g.mr)*lanes]
}

// finish runs the last block of k of the tile that covers (i, j). A shifted
// tile may write its elements again, but it may not add to them again.
func (g *tiling) finish(i, j int, p *panel) {
	p.mode |= modeFinish
	it, jt := min(i, g.m-g.mr), min(j, g.n-g.nr)
	out := g.dst[it*g.ldd+jt:]
	if !g.accumulate || (it == i && jt == j) {
		if g.accumulate {
			p.mode |= modeAdd
		}
		tile(&out[0], g.ldd, p)
		return
	}
	var t [rowBlock * colBlock]float32
	tile(&t[0], g.nr, p)
	for r := i - it; r < g.mr; r++ {
		for c := j - jt; c < g.nr; c++ {
			out[r*g.ldd+c] += t[r*g.nr+c]
		}
	}
}

// first returns the address of x[0], or nil where k = 0 leaves no element.
func first(x []float32) *float32 {
	if len(x) == 0 {
		return nil
	}
	return &x[0]
}
