package ops

import "github.com/seed-796a8800/tritium/ops/internal/kernel"

// rowMultiplier is a Matrix that multiplies some of its rows without, or with
// less than, decoding them to memory.
type rowMultiplier interface {
	// MulRows computes dst = X·Wᵀ for rows [row, row+n) of the matrix, bit for bit
	// as DecodeRows and MatMulNT do.
	//
	// Shapes: x [m, In], dst [m, n] with row stride ldd, scratch [n·In] for use as
	// the matrix likes.
	MulRows(dst []float32, ldd int, x []float32, m, row, n int, scratch []float32)
}

// mulRows computes dst = X·Wᵀ for rows [row, row+n) of w; see rowMultiplier.
func mulRows(w Matrix, dst []float32, ldd int, x []float32, m, row, n int, scratch []float32) {
	if f, ok := w.(rowMultiplier); ok {
		f.MulRows(dst, ldd, x, m, row, n, scratch)
		return
	}
	_, in := w.Dims()
	w.DecodeRows(scratch, row, n)
	kernel.MatMulNT(dst, ldd, x, in, scratch, in, m, n, in, false)
}

// MulRows multiplies rows where they are.
func (m F32) MulRows(dst []float32, ldd int, x []float32, tokens, row, n int, _ []float32) {
	kernel.MatMulNT(dst, ldd, x, m.In, m.Data[row*m.In:(row+n)*m.In], m.In, tokens, n, m.In, false)
}

// MulRows multiplies rows, a few tokens straight from the stored weights.
func (m BF16) MulRows(dst []float32, ldd int, x []float32, tokens, row, n int, scratch []float32) {
	kernel.MulBF16(dst, ldd, x, tokens, m.Data[row*m.In*2:(row+n)*m.In*2], n, m.In, scratch)
}

// MulRows multiplies rows, a few tokens straight from the stored weights.
func (m MXFP4) MulRows(dst []float32, ldd int, x []float32, tokens, row, n int, scratch []float32) {
	blocks, scales := m.rows(row, n)
	kernel.MulMXFP4(dst, ldd, x, tokens, blocks, scales, n, m.In, scratch)
}
