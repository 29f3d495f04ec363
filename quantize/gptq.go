package quantize

import "github.com/seed-796a8800/tritium/ops"

// gptq fits a batch of rows column by column, each column making up for the
// errors of those before it.
//
//	c_j = w_j + Σ_{k<j} (w_k - ŵ_k)·M[j, k]     t_j = the code nearest to c_j/a
//
// with H = Mᵀ·D·M, M unit lower triangular. This is GPTQ: its U = chol(H⁻¹) is
// D^-½·M^-ᵀ, and pushing errors forward through U gives the same c_j as pulling
// them through M, without inverting anything. The objective it leaves is
// Σ D_j·(c_j - ŵ_j)².
//
// A group's scales are the stage-1 scales of its weights as compensated, by
// optimal brain surgery, for all columns before the group.
//
// Source: Frantar et al., GPTQ, arXiv:2210.17323, algorithm 1; Chee et al.,
// QuIP, arXiv:2307.13304, theorem 6 for the equivalence.
func (b *batch) gptq(f *feedback) {
	c := recursion{tri: f.m, in: b.in, base: b.base, ldBase: b.group, ldY: b.in, panel: b.panel}
	for g := range b.groups {
		first, n := b.span(g)
		b.pullErrors(f, g)
		for row := range b.rows {
			b.leastSquares(b.codes[row*b.in+first:][:n], b.scalesOf(row, g), b.values[row*b.group:][:n], 0, b.scratch)
		}
		c.y = b.errors[first:]
		c.run(b.rows, first, first+n, func(row, j int, x float32) float32 {
			scales, i := b.scalesOf(row, g), row*b.in+j
			b.codes[i] = b.nearest(x, scales)
			return b.w[i] - b.value(b.codes[i], scales)
		})
	}
}

// pullErrors sets b.base to group g's weights plus what the errors of all
// columns before the group add to them, and b.values to the same weights when
// the group's own columns are free to move too.
func (b *batch) pullErrors(f *feedback, g int) {
	first, n := b.span(g)
	for row := range b.rows {
		w := b.w[row*b.in+first:][:n]
		copy(b.base[row*b.group:], w)
		copy(b.values[row*b.group:], w)
	}
	if g == 0 {
		return
	}
	ops.MatMulNT(b.product, b.group, b.errors, b.in, f.m[first*b.in:], b.in, b.rows, n, first, false)
	for row := range b.rows {
		base := b.base[row*b.group:][:n]
		for i, v := range b.product[row*b.group:][:n] {
			base[i] += v
		}
	}
	// With no errors inside the group, c_j - w_j solves d = s - (M_GG - 1)·d.
	ops.MatMulNT(b.values, b.group, b.product, b.group, f.inverse[first*b.group:], n, b.rows, n, n, true)
}
