//go:build !purego

package kernel

// tileNEON and gemvNEON are the bodies of MatMulNT: 2 rows of a by 3 rows of
// b, and one row of a by 4 of b with contiguous dst. k is a multiple of 16.
// The lanes of every dot product start from acc with modeResume, else from +0;
// with modeFinish they are folded into dst (by a tile on top of it with
// modeAdd), else they are stored to acc. On its way the tile asks for k elements at next,
// which it does not use, to be brought into the L2 cache:
//
//	for k' := range k { lane[i][j][k'%16] = fma(a[i*lda+k'], b[j*ldb+k'], lane[i][j][k'%16]) }
//
//go:noescape
func tileNEON(dst *float32, ldd int, a *float32, lda int, b *float32, ldb, k int, acc *float32, mode int, next *float32)

//go:noescape
func gemvNEON(dst, a, b *float32, ldb, k int, acc *float32, mode int)

// dotLanesNEON computes, for n a multiple of 16:
//
//	for k := range n { acc[k%16] = fma(a[k], b[k], acc[k%16]) }
//
//go:noescape
func dotLanesNEON(acc *[16]float32, a, b *float32, n int)

// sumLanesNEON computes, for n a multiple of 16:
//
//	for k := range n { acc[k%16] += x[k] }
//
//go:noescape
func sumLanesNEON(acc *[16]float32, x *float32, n int)

// maxLanesNEON computes, for n a multiple of 16:
//
//	for k := range n { acc[k%16] = max(acc[k%16], x[k]) }, zeros of either sign being equal
//
//go:noescape
func maxLanesNEON(acc *[16]float32, x *float32, n int)

// absMaxLanesNEON computes, for n a multiple of 16:
//
//	for k := range n { acc[k%16] = max(acc[k%16], abs(x[k])) }, compared as integers
//
//go:noescape
func absMaxLanesNEON(acc *[16]float32, x *float32, n int)

// axpyNEON computes, for n a multiple of 16:
//
//	for i := range n { y[i] = fma(alpha, x[i], y[i]) }
//
//go:noescape
func axpyNEON(alpha float32, x, y *float32, n int)

// addNEON computes, for n a multiple of 16:
//
//	for i := range n { dst[i] = a[i] + b[i] }
//
//go:noescape
func addNEON(dst, a, b *float32, n int)

// mulNEON computes, for n a multiple of 16:
//
//	for i := range n { dst[i] = a[i] * b[i] }
//
//go:noescape
func mulNEON(dst, a, b *float32, n int)

// scaleNEON computes, for n a multiple of 16:
//
//	for i := range n { dst[i] = a * x[i] }
//
//go:noescape
func scaleNEON(dst *float32, a float32, x *float32, n int)

// normNEON computes, for n a multiple of 16:
//
//	for i := range n { dst[i] = x[i] * s * w[i] }
//
//go:noescape
func normNEON(dst, x, w *float32, s float32, n int)

// rotateNEON computes, for n a multiple of 16:
//
//	for i := range n { u, v := x0[i], x1[i]; dst0[i], dst1[i] = fma(u, cos[i], -(v*sin[i])), fma(v, cos[i], u*sin[i]) }
//
//go:noescape
func rotateNEON(dst0, dst1, x0, x1, cos, sin *float32, n int)

// expSubBlocksNEON computes, for n a multiple of 16:
//
//	for i := range n { dst[i] = exp32(x[i] - sub) }
//
//go:noescape
func expSubBlocksNEON(dst, x *float32, sub float32, n int, consts *[12]float32)

// swiGLUNEON computes, for n a multiple of 16:
//
//	for i := range n { g, l := min(gateUp[2*i], limit), max(min(gateUp[2*i+1], limit), -limit); dst[i] = g / (1 + exp32(negAlpha*g)) * (l + 1) }
//
//go:noescape
func swiGLUNEON(dst, gateUp *float32, limit, negAlpha float32, n int, consts *[12]float32)

// decodeBF16NEON computes, for n a multiple of 16:
//
//	for i := range n { dst[i] = frombits(src16[i] << 16) }
//
//go:noescape
func decodeBF16NEON(dst *float32, src *byte, n int)

// decodeF16NEON computes, for n a multiple of 16:
//
//	for i := range n { dst[i] = f16(src16[i]) }
//
//go:noescape
func decodeF16NEON(dst *float32, src *byte, n int)

// decodeMXFP4NEON computes:
//
//	for g := range n { for i := range 32 { dst[32*g+i] = codes[nibble(blocks, 32*g+i)] * factors[scales[g]] } }
//
//go:noescape
func decodeMXFP4NEON(dst *float32, blocks, scales *byte, n int, codes *[16]float32, factors *[256]float32)
