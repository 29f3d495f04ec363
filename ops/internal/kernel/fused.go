package kernel

import (
	"fmt"
	"unsafe"
)

// The products of this file are those of decoding the weights and MatMulNT, bit
// for bit: every decoded weight is a float32 before it is multiplied, and the
// lanes sum in the same order. For few tokens they read the stored weights
// directly, so that a product costs no more memory traffic than its weights.

// stripTokens and maxStripRows bound what one call of a fused kernel multiplies.
const (
	stripTokens  = 4
	maxStripRows = 4
)

// format is how the weights of a fused product are stored.
type format int

const (
	formatBF16 format = iota
	formatMXFP4
)

// strip is what one call of a fused kernel multiplies: a few rows of weights by
// one token or by stripTokens of them. The assembly knows its fields by name.
type strip struct {
	out    [stripTokens * maxStripRows]float32 // [tokens][rows]
	x      [stripTokens]*float32
	w      unsafe.Pointer // first row
	ldw    int            // bytes from row to row
	scales unsafe.Pointer // of the first row
	lds    int            // bytes from row to row
	k      int
	values *float32 // value of every nibble under every scale byte, MXFP4
	halves *byte    // MXFP4: the same as bfloat16, see mxfp4Halves
}

// MulBF16 computes dst = X·Wᵀ of bfloat16 weights: DecodeBF16 to scratch, then
// MatMulNT, or the same bits without scratch.
//
// Shapes: x [m, k], w [n, k] as 2·n·k bytes, dst [m, n] with row stride ldd,
// scratch [n·k].
func MulBF16(dst []float32, ldd int, x []float32, m int, w []byte, n, k int, scratch []float32) {
	checkLen("w", len(w), 2*n*k)
	if !fuses(m, n, k) {
		DecodeBF16(scratch[:n*k], w)
		MatMulNT(dst, ldd, x, k, scratch, k, m, n, k, false)
		return
	}
	s := strip{w: unsafe.Pointer(&w[0]), ldw: 2 * k, k: k}
	s.mul(formatBF16, dst, ldd, x, m, n)
}

// MulMXFP4 computes dst = X·Wᵀ of MXFP4 weights: DecodeMXFP4 to scratch, then
// MatMulNT, or the same bits without scratch.
//
// Shapes: x [m, k], blocks [n, k/32, 16], scales [n, k/32], dst [m, n] with row
// stride ldd, scratch [n·k].
func MulMXFP4(dst []float32, ldd int, x []float32, m int, blocks, scales []byte, n, k int, scratch []float32) {
	if k%32 != 0 {
		panic(fmt.Sprintf("kernel: MXFP4 blocks of 32 do not divide rows of %d", k))
	}
	checkLen("blocks", 2*len(blocks), n*k)
	checkLen("scales", 32*len(scales), n*k)
	if !fuses(m, n, k) {
		DecodeMXFP4(scratch[:n*k], blocks, scales)
		MatMulNT(dst, ldd, x, k, scratch, k, m, n, k, false)
		return
	}
	s := strip{w: unsafe.Pointer(&blocks[0]), ldw: k / 2, scales: unsafe.Pointer(&scales[0]), lds: k / 32, k: k,
		values: &mxfp4[0][0], halves: &mxfp4Halves[0][0][0]}
	s.mul(formatMXFP4, dst, ldd, x, m, n)
}

// fuses tells whether the fused kernels take a product: few tokens, since for
// more of them the tiles of MatMulNT gain more than decoding to memory costs,
// and no tails.
func fuses(m, n, k int) bool {
	return m > 0 && m <= fewTokens() && n >= stripRows(m) && k > 0 && k%lanes == 0
}

// mul walks the rows of the weights strip by strip, all tokens while a strip is
// in the cache. A strip at the ragged edge starts earlier, and missing tokens
// are the last one again.
func (s *strip) mul(f format, dst []float32, ldd int, x []float32, m, n int) {
	checkMatrix("dst", len(dst), ldd, m, n)
	checkMatrix("x", len(x), s.k, m, s.k)
	rows := stripRows(m)
	w, scales := s.w, s.scales
	for j := 0; j < n; j += rows {
		j = min(j, n-rows)
		s.w, s.scales = unsafe.Add(w, j*s.ldw), unsafe.Add(scales, j*s.lds)
		for i := 0; i < m; i += stripTokens {
			for t := range s.x {
				s.x[t] = &x[min(i+t, m-1)*s.k]
			}
			tokens := min(stripTokens, m-i)
			mulStrip(f, tokens, s)
			for t := range tokens {
				copy(dst[(i+t)*ldd+j:][:rows], s.out[t*rows:])
			}
		}
	}
}
