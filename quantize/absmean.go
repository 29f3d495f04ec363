package quantize

import "math"

// absmeanScale returns the scale of BitNet b1.58 for a row, its mean absolute
// value. It is the control every other method is held against.
//
// Source: Ma et al., "The Era of 1-bit LLMs", arXiv:2402.17764, section 2.
func absmeanScale(row []float32) float32 {
	var sum float64
	for _, v := range row {
		sum += math.Abs(float64(v))
	}
	return storedScale(sum / float64(len(row)))
}
