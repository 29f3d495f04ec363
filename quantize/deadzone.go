package quantize

import "fmt"

// A dead zone of X, .5 < X ≤ 1, prices the codes that are not 0: a fit then minimises
//
//	Σ over rows of (w - ŵ)·H·(w - ŵ)ᵀ  +  Σ λ·H_jj over codes that are not 0
//	λ = (2X - 1)·a²
//
// with a the scale that stage 1 gives the code's group without a price (of stage 1 itself, H = 1). For a weight by
// itself whose scale is a, the objective falls with a code ±1 where |w| > X·a instead of a/2: X is the half-width of the
// zone that becomes 0, in units of a, in every column and every group.
//
// One price for a whole matrix would be the best trade of its bits against its own objective; by the model's KL it was
// the worse one (docs/quality.md), as it empties the groups whose weights are small.
//
// Every step is exact as it is without a price. Of a group's codes the k largest |w| are not 0, and the scale is their
// mean, for the k that maximises S_k²/k - λ·k; a column of descent takes the code that minimises
//
//	a²·(u - t)² + λ·|t|
//
// and the scale's refit changes no rate. So no pass raises the sum.
//
// Only single ternary planes have it: in other formats a code that is 0 is no more frequent than its neighbours.

// prices says whether a dead zone changes what the method fits: whether it is one that chooses codes by a sum to which a
// price can be added, and does not train them away from it afterwards.
func (m Method) prices() bool { return m == Stage1 || m == PTBitNet || m == GPTQWithDescent }

// CheckDeadZone refuses a dead zone that cannot be, or that the method has no use for.
func (o FitOptions) CheckDeadZone(m Method) error {
	x := o.DeadZone
	switch {
	case x == 0 || x == 0.5:
		return nil
	case !(x > 0.5 && x <= 1):
		return fmt.Errorf("quantize: a dead zone of %v scales: want .5, which is none, to 1", x)
	case !m.prices():
		return fmt.Errorf("quantize: method %s has no dead zone; choose %s, %s or %s", m, PTBitNet, GPTQWithDescent, Stage1)
	}
	return nil
}

// setPrices sets λ of every group.
func (b *batch) setPrices(deadZone float64) {
	if deadZone <= 0.5 {
		return
	}
	b.prices = make([]float64, b.rows*b.groups)
	for i := range b.prices {
		first, n := b.span(i % b.groups)
		a := float64(stage1Scale(b.w[i/b.groups*b.in+first:][:n], b.order[:n], 0))
		b.prices[i] = (2*deadZone - 1) * float64(a*a)
	}
}

// price returns λ of group g of a row.
func (b *batch) price(row, g int) float64 {
	if b.prices == nil {
		return 0
	}
	return b.prices[row*b.groups+g]
}

// pricedTernary returns the t in {-1, 0, +1} that minimises (u - t)² + rho·|t|, 0 where two do.
func pricedTernary(u, rho float32) int8 {
	zone := (1 + rho) / 2
	switch {
	case u > zone:
		return 1
	case u < -zone:
		return -1
	}
	return 0
}

// cost is (u - t)² + rho·|t|.
func cost(u, rho float32, t int8) float32 {
	d := u - float32(t)
	return float32(d*d) + float32(rho*float32(t*t))
}

// zone returns the |w| up to which 0 is the code that minimises (w - a·t)² + price·|t|, for a > 0.
func zone(a float32, price float64) float32 {
	return float32(float64(a)/2 + price/(2*float64(a)))
}
