package quantize

import (
	"math"

	"github.com/x448/float16"
)

const maxHalf = 65504 // the largest finite float16

// storedScale rounds a scale to the value the file will hold, a float16, so
// that whatever compensates for the rounding of weights also sees the rounding
// of their scale.
func storedScale(a float64) float32 {
	a = math.Max(-maxHalf, math.Min(maxHalf, a))
	return float16.Fromfloat32(float32(a)).Float32()
}

// encodeTernary writes the codes nearest to w under the scale a.
func encodeTernary(codes []int8, w []float32, a float32) { encodePriced(codes, w, a, 0) }

// encodePriced writes the codes that minimise (w - a·t)² + price·|t|.
func encodePriced(codes []int8, w []float32, a float32, price float64) {
	// Against the zone's edge and not by w/a: exact, and right for a = 0 as long
	// as no code is wanted there.
	if a == 0 {
		clear(codes)
		return
	}
	edge := zone(a, price)
	for i, v := range w {
		var t int8
		if v > edge {
			t = 1
		} else if v < -edge {
			t = -1
		}
		codes[i] = t
	}
}
