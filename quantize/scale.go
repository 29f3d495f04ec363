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

// nearestTernary returns the t in {-1, 0, +1} nearest to u.
func nearestTernary(u float32) int8 {
	switch {
	case u > 0.5:
		return 1
	case u < -0.5:
		return -1
	}
	return 0
}

// encodeTernary writes the codes nearest to w under the scale a.
func encodeTernary(codes []int8, w []float32, a float32) {
	// Against a/2 and not by w/a: exact, and right for a = 0 as long as no
	// code is wanted there.
	if a == 0 {
		clear(codes)
		return
	}
	half := a / 2
	for i, v := range w {
		var t int8
		if v > half {
			t = 1
		} else if v < -half {
			t = -1
		}
		codes[i] = t
	}
}
