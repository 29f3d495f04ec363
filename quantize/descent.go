package quantize

import "github.com/seed-796a8800/tritium/ops"

// descentMargin is how much better, in units of a²·H_jj, a code must be to
// replace another: more than the rounding of the float32 products can feign,
// so that no pass raises the objective.
const descentMargin = 1e-3

// descend improves the codes and scales of a batch of rows by coordinate
// descent on (w - ŵ)·H·(w - ŵ)ᵀ + Σ price·H_jj·|t_j|. With r = (w - ŵ)·H, for each column
// in order
//
//	t_j ← the t that minimises a²·(u - t)² + price·|t|, u = (ŵ_j + r_j/H_jj) / a
//
// which without a price is the code nearest to u, and after each group the closed-form scale for the codes it then has
//
//	a ← a + (r_G·t_G) / (t_G·H_GG·t_Gᵀ)
//
// rounded to float16: the objective is a parabola in a, so of all values that
// can be stored the one nearest to its vertex is the best, and no worse than
// the one before. r is computed anew for each group from the errors as they
// are, which costs no more than keeping it up to date and gathers no rounding.
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
		a := b.scales[row*b.groups+g]
		if a == 0 {
			return 0
		}
		i := row*b.in + j
		old := b.codes[i]
		u := float32(old) + r*b.inverse[j]/a
		rho := float32(b.price(row*b.groups+g)) / (a * a)
		t := pricedTernary(u, rho)
		if t == old {
			return 0
		}
		if cost(u, rho, old)-cost(u, rho, t) < descentMargin {
			return 0
		}
		changed = true
		b.codes[i] = t
		b.errors[i] = b.w[i] - a*float32(t)
		return a * float32(old-t)
	})
	return changed
}

// refitScales gives every row of group g its least-squares scale and reports
// whether one changed. It must follow descendCodes of the same group.
func (b *batch) refitScales(g int) bool {
	first, n := b.span(g)
	for row := range b.rows {
		t := b.values[row*b.group:][:n]
		for j, c := range b.codes[row*b.in+first:][:n] {
			t[j] = float32(c)
		}
	}
	ops.MatMulNT(b.product, b.group, b.values, b.group, b.h[first*b.in+first:], b.in, b.rows, n, n, false)
	changed := false
	for row := range b.rows {
		at := row * b.group
		var rt, tht float64
		for j, t := range b.values[at:][:n] {
			q := float64(b.product[at+j]) // H_GG·t
			rt += float64(b.base[at+j])*float64(t) + float64(b.delta[at+j])*q
			tht += float64(t) * q
		}
		if tht <= 0 {
			continue
		}
		scale := &b.scales[row*b.groups+g]
		a := storedScale(float64(*scale) + rt/tht)
		if a == *scale || a == 0 {
			continue
		}
		if a < 0 { // the other groups moved far: keep scales positive
			a = -a
			negate(b.codes[row*b.in+first:][:n])
		}
		*scale = a
		changed = true
		b.groupErrors(row, g)
	}
	return changed
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
	a := b.scales[row*b.groups+g]
	first, n := b.span(g)
	at := row*b.in + first
	w, e := b.w[at:][:n], b.errors[at:][:n]
	for j, c := range b.codes[at:][:n] {
		e[j] = w[j] - a*float32(c)
	}
}

func negate(codes []int8) {
	for i, c := range codes {
		codes[i] = -c
	}
}
