package quantize

import "math"

// FitInt8 quantizes a matrix to int8 with one scale a row, for projections
// that are kept at 8 bits.
//
//	scale = max|w| / 127     code = round(w / scale), in [-127, 127]
//
// The scales are exactly float16 values.
//
// Shapes: w [Out, In]; codes [Out, In], scales [Out].
// Errors: sizes that do not match, weights that are not finite.
func FitInt8(w []float32, out, in int) (codes []int8, scales []float32, err error) {
	if err := checkWeights(w, out, in, in); err != nil {
		return nil, nil, err
	}
	codes, scales = make([]int8, out*in), make([]float32, out)
	for row := range out {
		r := w[row*in:][:in]
		a := storedScale(math.Abs(float64(extreme(r))) / 127)
		scales[row] = a
		encodeInteger(codes[row*in:][:in], r, a, -127, 127)
	}
	return codes, scales, nil
}

// extreme returns the element of largest magnitude, with its sign.
func extreme(w []float32) float32 {
	var e float32
	for _, v := range w {
		if max(v, -v) > max(e, -e) {
			e = v
		}
	}
	return e
}

// encodeInteger writes the codes in [lo, hi] nearest to w under the scale a.
func encodeInteger(codes []int8, w []float32, a float32, lo, hi float64) {
	if a == 0 {
		clear(codes)
		return
	}
	const shift = 3 << 51 // adding it to a small float64 rounds that to an integer
	inv := 1 / float64(a)
	for i, v := range w {
		u := min(max(float64(v)*inv, lo), hi)
		codes[i] = int8(u + shift - shift)
	}
}
