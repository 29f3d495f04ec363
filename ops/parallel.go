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

// The blocks in which mulNT hands out a product, and the rows in which
// transpose does.
const (
	productRows  = 96
	productCols  = 192
	transposeRow = 32
)

// mulNT computes dst = A·Bᵀ, or dst += A·Bᵀ, on all threads.
//
// Shapes: a [m, k] with row stride lda, b [n, k], dst [m, n] with ldd.
func mulNT(cpu *graph.CPU, dst []float32, ldd int, a []float32, lda int, b []float32, m, n, k int, accumulate bool) {
	cols := (n + productCols - 1) / productCols
	rows := (m + productRows - 1) / productRows
	cpu.Parallel(rows*cols, func(_, at int) {
		i, j := at/cols*productRows, at%cols*productCols
		kernel.MatMulNT(dst[i*ldd+j:], ldd, a[i*lda:], lda, b[j*k:], k, min(productRows, m-i), min(productCols, n-j), k, accumulate)
	})
}

// transpose computes dst[c][r] = src[r][c] on all threads.
//
// Shapes: src [rows, cols], dst [cols, rows].
func transpose(cpu *graph.CPU, dst, src []float32, rows, cols int) {
	cpu.Parallel((cols+transposeRow-1)/transposeRow, func(_, at int) {
		first, last := at*transposeRow, min(cols, (at+1)*transposeRow)
		for lo := 0; lo < rows; lo += transposeRow {
			turn(dst[first*rows+lo:], rows, src[lo*cols+first:], cols, min(transposeRow, rows-lo), last-first)
		}
	})
}
