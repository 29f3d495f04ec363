package ops

import (
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
)

// products multiplies matrices on all threads, and transposes them for it. It
// is scratch memory that the derivatives of a plan share.
type products struct {
	a, b []float32 // transposed operands
}

// grow returns s where it has n floats or more, else n new ones.
func grow(s []float32, n int) []float32 {
	if n > len(s) {
		return make([]float32, n)
	}
	return s
}

// The blocks in which products are handed out and the part of a sum over tokens
// that is computed at a time, so that its operands stay in the cache; and the
// rows in which transpose hands out its work.
const (
	productRows   = 96
	productCols   = 192
	productDepth  = 1024
	transposeRows = 64
)

// product is dst = A·Bᵀ, or dst += A·Bᵀ.
//
// Shapes: a [m, k] with row stride lda, b [n, k] with ldb, dst [m, n] with ldd.
type product struct {
	dst           []float32
	ldd           int
	a             []float32
	lda           int
	b             []float32
	ldb           int
	m, n, k       int
	accumulate    bool
	rows, columns int // of a block
}

// cut chooses blocks of which several of these products at once have enough
// for all threads. No result depends on it.
func (p product) cut(cpu *graph.CPU, products int) product {
	p.rows, p.columns = productRows, productCols
	for p.rows > productRows/4 && products*p.blocks() < 4*cpu.Threads() {
		if p.columns > p.rows {
			p.columns /= 2
		} else {
			p.rows /= 2
		}
	}
	return p
}

// blocks is how many blocks the product has.
func (p *product) blocks() int {
	return ((p.m + p.rows - 1) / p.rows) * ((p.n + p.columns - 1) / p.columns)
}

// block computes one of them. With a depth the sum is taken so many elements at
// a time.
func (p *product) block(at, depth int) {
	columns := (p.n + p.columns - 1) / p.columns
	i, j := at/columns*p.rows, at%columns*p.columns
	m, n := min(p.rows, p.m-i), min(p.columns, p.n-j)
	for from := 0; from == 0 || from < p.k; from += depth {
		kernel.MatMulNT(p.dst[i*p.ldd+j:], p.ldd, p.a[i*p.lda+from:], p.lda, p.b[j*p.ldb+from:], p.ldb,
			m, n, min(depth, p.k-from), p.accumulate || from > 0)
	}
}

// mulNT computes a product on all threads; b has no gaps between rows.
func mulNT(cpu *graph.CPU, dst []float32, ldd int, a []float32, lda int, b []float32, m, n, k int, accumulate bool) {
	p := product{dst: dst, ldd: ldd, a: a, lda: lda, b: b, ldb: k, m: m, n: n, k: k, accumulate: accumulate}.cut(cpu, 1)
	cpu.Parallel(p.blocks(), func(_, at int) { p.block(at, max(1, k)) })
}

// lead is the row stride of so many tokens in a row: whole vectors, so that
// they are aligned, and not a power of two, whose rows would fight for the same
// lines of the cache.
func lead(tokens int) int { return roundUp(tokens, vectorFloats) + vectorFloats }

// vectorFloats is how many elements a sum takes at a time; what is missing
// counts as zero (see the package kernel).
const vectorFloats = 16

// pad puts zeros behind the tokens of every row.
//
// Shapes: x [rows, tokens] with row stride lead(tokens).
func pad(x []float32, rows, tokens int) {
	ld := lead(tokens)
	for r := range rows {
		clear(x[r*ld+tokens : r*ld+roundUp(tokens, vectorFloats)])
	}
}

// mulTN computes dst = Aᵀ·B over all tokens.
//
// Shapes: a [t, m], b [t, n], dst [m, n]; s.a holds m·lead(t) and s.b n·lead(t).
func mulTN(cpu *graph.CPU, s *products, dst, a, b []float32, t, m, n int) {
	ld := lead(t)
	transpose(cpu, s.a, ld, a, t, m)
	transpose(cpu, s.b, ld, b, t, n)
	pad(s.a, m, t)
	pad(s.b, n, t)
	p := product{dst: dst, ldd: n, a: s.a, lda: ld, b: s.b, ldb: ld, m: m, n: n, k: roundUp(t, vectorFloats)}.cut(cpu, 1)
	cpu.Parallel(p.blocks(), func(_, at int) { p.block(at, productDepth) })
}

// transpose computes dst[c*ldd+r] = src[r][c] on all threads.
//
// Shapes: src [rows, cols], dst [cols, rows] with row stride ldd.
func transpose(cpu *graph.CPU, dst []float32, ldd int, src []float32, rows, cols int) {
	cpu.Parallel((rows+transposeRows-1)/transposeRows, func(_, i int) {
		first := i * transposeRows
		kernel.Transpose(dst[first:], ldd, src[first*cols:], cols, min(transposeRows, rows-first), cols)
	})
}
