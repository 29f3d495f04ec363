package ops

import "github.com/seed-796a8800/tritium/ops/internal/kernel"

// MatMulNT computes C = A·Bᵀ, or C += A·Bᵀ with accumulate, in float32 on the
// calling goroutine: dst[i*ldd+j] (+)= Σ_k a[i*lda+k]·b[j*ldb+k] for i < m,
// j < n. The order of the sum over k depends on k alone, so a result does not
// change with m, n, the strides or the instruction set.
//
// Shapes: A [m, k] with row stride lda, B [n, k] with ldb, C [m, n] with ldd.
func MatMulNT(dst []float32, ldd int, a []float32, lda int, b []float32, ldb, m, n, k int, accumulate bool) {
	kernel.MatMulNT(dst, ldd, a, lda, b, ldb, m, n, k, accumulate)
}
