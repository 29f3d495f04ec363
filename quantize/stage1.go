package quantize

import (
	"math"
	"slices"
)

// stage1Scale returns the scale of the least-squares ternary fit of a group,
// exactly, in O(g log g).
//
//	min over a, t of Σ (w - a·t)²
//
// For k non-zero codes the best are the k largest |w| and the best scale is
// their mean S_k/k, which lowers the error by S_k²/k; so the answer is the k
// that maximises it. The codes that go with the scale are those nearest to w,
// |w| > a/2. order is scratch of the group's length.
//
// Source: PT-BitNet (Guo et al., Neural Networks 191:107855), stage 1, whose
// search over thresholds this replaces by its exact optimum.
func stage1Scale(w []float32, order []uint32) float32 {
	// Non-negative floats sort as their bits do, several times faster.
	for i, v := range w {
		order[i] = math.Float32bits(v) &^ (1 << 31)
	}
	slices.Sort(order)
	var sum, best, scale float64
	for i := len(order) - 1; i >= 0; i-- {
		sum += float64(math.Float32frombits(order[i]))
		k := float64(len(order) - i)
		if gain := sum * sum / k; gain > best {
			best, scale = gain, sum/k
		}
	}
	return storedScale(scale)
}
