package quantize

import (
	"math"
	"slices"
)

// stage1Scale returns the scale of the least-squares ternary fit of a group,
// exactly, in O(g log g).
//
//	min over a, t of Σ (w - a·t)² + price·|t|
//
// For k non-zero codes the best are the k largest |w| and the best scale is
// their mean S_k/k, which lowers the error by S_k²/k; so the answer is the k >= 1
// that maximises that less its price. The codes that go with the scale are those
// beyond its zone: without a price, nearest to w, |w| > a/2. order is scratch of
// the group's length.
//
// Source: PT-BitNet (Guo et al., Neural Networks 191:107855), stage 1, whose
// search over thresholds this replaces by its exact optimum.
func stage1Scale(w []float32, order []uint32, price float64) float32 {
	// Non-negative floats sort as their bits do, several times faster.
	for i, v := range w {
		order[i] = math.Float32bits(v) &^ (1 << 31)
	}
	slices.Sort(order)
	var sum, scale float64
	best := math.Inf(-1)
	for i := len(order) - 1; i >= 0; i-- {
		sum += float64(math.Float32frombits(order[i]))
		k := float64(len(order) - i)
		if gain := float64(sum*sum/k) - float64(price*k); gain > best {
			best, scale = gain, sum/k
		}
	}
	return storedScale(scale)
}
