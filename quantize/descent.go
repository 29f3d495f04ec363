package quantize

import "github.com/seed-796a8800/tritium/ops"

// descentMargin is how much better, in units of a²·H_jj, a ternary code must be
// to replace another: more than the rounding of the float32 products can feign,
// so that no pass raises the objective.
const descentMargin = 1e-3

// descend improves the codes and scales of a batch of rows by coordinate
// descent on (w - ŵ)·H·(w - ŵ)ᵀ + Σ price·H_jj·|t_j|. With r = (w - ŵ)·H, for each column
// in order
//
//	t_j ← the code that minimises (v - u)² + price·|t_j|, v its value, u = ŵ_j + r_j/H_jj
//
// which without a price is the one whose value is nearest to u, and after each group the
// closed-form scales for the codes it then has (refitScale, twoPlanes.refit). r is computed
// anew for each group from the errors as they are, which costs no more than keeping it up to
// date and gathers no rounding.
//
// Source: PT-BitNet (Guo et al., Neural Networks 191:107855), stage 2, as
// greedy exact coordinate descent.
func (b *batch) descend(passes int) {
	b.computeErrors()
	for range passes {
		changed := false
		for g := range b.groups {
			if b.descendCodes(g) {
				changed = true
			}
			if b.refitScales(g) {
				changed = true
			}
		}
		if !changed {
			return // a fixed point: the passes left would change nothing
		}
	}
}

// descendCodes sweeps the columns of group g once and reports whether a code
// changed. It leaves r as it was before the sweep in b.base and the change of
// the errors in b.delta.
func (b *batch) descendCodes(g int) bool {
	first, n := b.span(g)
	ops.MatMulNT(b.base, b.group, b.errors, b.in, b.h[first*b.in:], b.in, b.rows, n, b.in, false)
	changed := false
	c := recursion{tri: b.h, in: b.in, base: b.base, ldBase: b.group, y: b.delta, ldY: b.group, panel: b.panel}
	c.run(b.rows, first, first+n, func(row, j int, r float32) float32 {
		scales, i := b.scalesOf(row, g), row*b.in+j
		old := b.codes[i]
		t := b.better(old, r*b.inverse[j], scales, b.price(row, g))
		if t == old {
			return 0
		}
		changed = true
		b.codes[i] = t
		v := b.value(t, scales)
		b.errors[i] = b.w[i] - v
		return b.value(old, scales) - v
	})
	return changed
}

// refitScales gives every row of group g its least-squares scales and reports
// whether one changed. It must follow descendCodes of the same group.
func (b *batch) refitScales(g int) bool {
	first, n := b.span(g)
	planes, size := b.planes(), b.rows*b.group
	for p := range planes {
		values := b.values[p*size:]
		for row := range b.rows {
			t := values[row*b.group:][:n]
			for j, c := range b.codes[row*b.in+first:][:n] {
				t[j] = float32(b.digit(c, p))
			}
		}
		ops.MatMulNT(b.product[p*size:], b.group, values, b.group, b.h[first*b.in+first:], b.in, b.rows, n, n, false)
	}
	changed := false
	for row := range b.rows {
		var e normalEquations
		for p := range planes {
			at := p*size + row*b.group
			base, delta := b.base[row*b.group:][:n], b.delta[row*b.group:][:n]
			t, product := b.values[at:][:n], b.product[at:][:n] // product = H_GG·t
			for j, v := range t {
				e.gradient[p] += float64(base[j])*float64(v) + float64(delta[j])*float64(product[j])
			}
			for q := range p + 1 {
				e.hessian[p][q] = dot(b.values[q*size+row*b.group:][:n], product)
				e.hessian[q][p] = e.hessian[p][q]
			}
		}
		if b.refit(b.scalesOf(row, g), b.codes[row*b.in+first:][:n], &e) {
			changed = true
			b.groupErrors(row, g)
		}
	}
	return changed
}

// normalEquations say how the objective depends on a group's scales, its codes
// given: a step of d changes it by d·H·d - 2·g·d.
type normalEquations struct {
	gradient [2]float64    // g_p = r_G·t_p
	hessian  [2][2]float64 // H_pq = t_p·H_GG·t_qᵀ
}

// refitScale moves the only scale of a group to where the objective is least
//
//	a ← a + (r_G·t_G) / (t_G·H_GG·t_Gᵀ)
//
// rounded to float16: the objective is a parabola in a, so of all values that
// can be stored the one nearest to its vertex is the best, and no worse than
// the one before. It reports whether that is another, and not 0.
func refitScale(scale *float32, e *normalEquations) bool {
	if e.hessian[0][0] <= 0 {
		return false
	}
	a := storedScale(float64(*scale) + e.gradient[0]/e.hessian[0][0])
	if a == *scale || a == 0 {
		return false
	}
	*scale = a
	return true
}

// computeErrors sets b.errors = w - ŵ.
func (b *batch) computeErrors() {
	for row := range b.rows {
		for g := range b.groups {
			b.groupErrors(row, g)
		}
	}
}

func (b *batch) groupErrors(row, g int) {
	scales := b.scalesOf(row, g)
	first, n := b.span(g)
	at := row*b.in + first
	w, e := b.w[at:][:n], b.errors[at:][:n]
	for j, c := range b.codes[at:][:n] {
		e[j] = w[j] - b.value(c, scales)
	}
}

func negate(codes []int8) {
	for i, c := range codes {
		codes[i] = -c
	}
}
