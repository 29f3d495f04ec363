package quantize

import "fmt"

// A dead zone of X, .5 < X ≤ 1, prices the codes that are not 0: a fit then minimises
//
//	Σ over rows of (w - ŵ)·H·(w - ŵ)ᵀ  +  λ·(number of codes that are not 0)
//	λ = (2X - 1)·mean of a² over all weights
//
// with H's mean diagonal at 1 (of stage 1, H = 1) and a the scales of stage 1 without a price. Where codes are stored in
// as many bits as they carry, a static code's length is, but for a constant, the number of codes that are not 0 times
// what one of them costs more than a 0; so this is the best trade of size against the objective, at one exchange rate for
// the whole matrix: weights become 0 where that costs least. For a weight by itself, H_jj = 1 and a its scale, the
// objective falls with a code ±1 where |w| > X·a instead of a/2: X is the half-width of the zone that becomes 0, in
// units of a.
//
// Every step is exact as it is without a price. Of a group's codes the k largest |w| are not 0, and the scale is their
// mean, for the k that maximises S_k²/k - λ·k; a column of descent takes the code that minimises
//
//	H_jj·a²·(u - t)² + λ·|t|
//
// and the scale's refit changes no rate. So no pass raises the sum.

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

// priceOf returns λ for a matrix.
func (f *Fitter) priceOf(w []float32, out, in, group int, deadZone float64) float64 {
	if deadZone <= 0.5 {
		return 0
	}
	squares := make([]float64, out)
	size := batchRows(out, f.cpu.Threads())
	f.cpu.Parallel((out+size-1)/size, func(worker, i int) {
		order := grow(f.scratch[worker].order, group)
		f.scratch[worker].order = order
		for row := i * size; row < min((i+1)*size, out); row++ {
			for first := 0; first < in; first += group {
				n := min(group, in-first)
				a := float64(stage1Scale(w[row*in+first:][:n], order[:n], 0))
				squares[row] += float64(n) * float64(a*a)
			}
		}
	})
	// Summed by row, as all that must not follow the thread count.
	return (2*deadZone - 1) * sum(squares) / (float64(out) * float64(in))
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
