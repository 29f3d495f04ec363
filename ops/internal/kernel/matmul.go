package kernel

import "fmt"

// Modes of a tile kernel, known to the assembly.
const (
	modeResume = 1 << iota // lanes start from acc, not from +0
	modeFinish             // fold the lanes into dst instead of storing them to acc
	modeAdd                // with modeFinish: on top of dst
)

// Blocking of MatMulNT; every tile shape divides rowBlock. For one block of k a
// tile of b stays in the L1 cache while rowBlock rows of a pass by. In the L2
// stay, over all of k, those rows, the next as many, which are fetched
// meanwhile, and l2Floats of b. Longer blocks of k save more on keeping lanes
// than they lose by spilling out of the L1. maxMR, maxNR and maxNV bound what
// tileShape returns.
const (
	kBlock   = 1024
	rowBlock = 16
	l2Floats = 256 << 10
	maxMR    = 4
	maxNR    = 8
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

// tiling walks a gemm in blocks of tiles: as many rows of b as stay in the L2
// cache, rowBlock rows of a by those, one tile of b by those rows of a. A tile at
// the ragged edge starts earlier instead of being smaller, so it computes some
// elements again.
type tiling struct {
	gemm
	kb             int // block of k
	pass           int // rows of b per pass over a
	i0, i1, j0, j1 int // current rows of a and of b
	fetch          fetches
}

// workspace is what a product needs that takes more than one block of k.
type workspace struct {
	acc   [rowBlock * maxNR * lanes]float32
	tailA [maxMR * lanes]float32
	tailB [maxNR * lanes]float32
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
	blocks := max((g.k+kBlock-1)/kBlock, 1)
	g.kb = max(((g.k+blocks-1)/blocks+lanes-1)&^(lanes-1), lanes)
	g.pass = g.n
	if g.n*g.k > l2Floats { // then a pass shares the cache with the next one's rows
		g.pass = max(l2Floats/2/g.k/g.nr, 1) * g.nr
	}
	for g.j0 = 0; g.j0 < g.n; g.j0 += g.pass {
		g.j1 = min(g.j0+g.pass, g.n)
		for g.i0 = 0; g.i0 < g.m; g.i0 += rowBlock {
			g.i1 = min(g.i0+rowBlock, g.m)
			g.fetch = g.plan()
			for j := g.j0; j < g.j1; j += g.nr {
				g.column(w, j)
			}
		}
	}
}

// column computes the tiles of rows [i0, i1) of a by the rows from j of b,
// walking k in blocks and keeping the lanes in w between them. What is left of k
// after the last multiple of 16 is one more block, copied and padded with zeros.
func (g *tiling) column(w *workspace, j int) {
	whole := g.k &^ (lanes - 1)
	for k0 := 0; k0 < whole || k0 == 0; k0 += g.kb {
		g.sweep(w, j, k0, min(g.kb, whole-k0))
	}
	if whole == g.k {
		return
	}
	packTail(w.tailB[:], g.b, g.ldb, min(j, g.n-g.nr), g.nr, whole, g.k)
	p := panel{rows: g.mr, b: &w.tailB[0], lda: lanes, ldb: lanes, k: lanes}
	for i := g.i0; i < g.i1; i += g.mr {
		packTail(w.tailA[:], g.a, g.lda, min(i, g.m-g.mr), g.mr, whole, g.k)
		p.a, p.acc, p.mode, p.next = &w.tailA[0], g.lanesOf(w, i), modeResume, &w.tailA[0]
		g.finish(i, j, &p)
	}
}

// packTail copies columns [k0, k1) of n rows to rows of 16. The rest of dst
// stays zero: k is the same for all of a product.
func packTail(dst, src []float32, ld, row, n, k0, k1 int) {
	for r := range n {
		copy(dst[r*lanes:], src[(row+r)*ld+k0:(row+r)*ld+k1])
	}
}

// sweep adds k in [k0, k0+kn) to the lanes of every tile of a column.
func (g *tiling) sweep(w *workspace, j, k0, kn int) {
	p := panel{rows: g.mr, lda: g.lda, ldb: g.ldb, k: kn}
	p.b = first(g.b[min(j, g.n-g.nr)*g.ldb+k0:])
	mode := 0
	if k0 > 0 {
		mode = modeResume
	}
	q := (j - g.j0) / g.nr * g.fetch.tiles
	for i := g.i0; i < g.i1; i += g.mr {
		p.a, p.acc = first(g.a[min(i, g.m-g.mr)*g.lda+k0:]), g.lanesOf(w, i)
		p.mode, p.next = mode, g.ahead(q, k0, p.a)
		q++
		if k0+kn == g.k {
			g.finish(i, j, &p)
		} else {
			tile(nil, 0, &p)
		}
	}
}

// fetches says which rows the tiles of one block bring into the L2 cache, one
// row a tile: rows of a first, then rows of b.
type fetches struct {
	tiles    int // in one column of the block
	a, rowsA int // first row and how many
	b, rowsB int
	tilesB   int // left for rows of b
}

// plan picks the rows that the blocks after this one need: the next rows of a,
// and this block's share of the rows of b in the next pass, so that a pass does
// not begin by waiting for memory.
func (g *tiling) plan() (f fetches) {
	f.tiles = (g.i1 - g.i0 + g.mr - 1) / g.mr
	f.a, f.rowsA = g.i1, min(rowBlock, g.m-g.i1)
	if g.i1 == g.m && g.m > rowBlock && g.j1 < g.n {
		f.a, f.rowsA = 0, rowBlock
	}
	next := min(g.pass, g.n-g.j1)
	from, to := g.i0*next/g.m, g.i1*next/g.m
	f.b, f.rowsB = g.j1+from, to-from
	f.tilesB = max((g.j1-g.j0+g.nr-1)/g.nr*f.tiles-f.rowsA, 0)
	return f
}

// ahead returns what tile q of the block should fetch, or own, which the tile
// reads anyway. With fewer tiles than rows of b every so many rows are fetched.
func (g *tiling) ahead(q, k0 int, own *float32) *float32 {
	f := &g.fetch
	if q < f.rowsA {
		return first(g.a[(f.a+q)*g.lda+k0:])
	}
	q -= f.rowsA
	if f.rowsB > f.tilesB {
		q = q * f.rowsB / f.tilesB
	}
	if q < f.rowsB {
		return first(g.b[(f.b+q)*g.ldb+k0:])
	}
	return own
}

// lanesOf returns where the tile of a column that begins with row i keeps its
// lanes.
func (g *tiling) lanesOf(w *workspace, i int) *float32 {
	if w == nil {
		return nil
	}
	return &w.acc[(i-g.i0)*g.nr*lanes]
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
	var t [maxMR * maxNR]float32
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
