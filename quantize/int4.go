package quantize

// int4Spans are the steps the search tries, as the integer span the largest
// weight is laid on. Beyond -8 or 7 it is clipped, which pays when it stands
// alone.
var int4Spans = [...]float64{-8, 8, -7.6, -7.3, -7, 7, -8.4, -8.8, -9.2, -9.6}

// FitInt4 quantizes a matrix to signed 4-bit codes with a float16 scale for
// each group of inputs, for embedding and head.
//
//	min over scale, code of Σ (w - scale·code)²,  code in [-8, 7]
//
// over a grid of steps, each followed by the least-squares scale of its codes.
// A scale may be negative: the range has one more code below zero than above,
// and the group's largest weight gets it. The scales are exactly float16
// values.
//
// Shapes: w [Out, In]; codes [Out, In], scales [Out, ⌈In/group⌉].
// Errors: sizes that do not match, weights that are not finite.
func FitInt4(w []float32, out, in, group int) (codes []int8, scales []float32, err error) {
	if err := checkWeights(w, out, in, group); err != nil {
		return nil, nil, err
	}
	group = min(group, in)
	codes, scales = make([]int8, out*in), make([]float32, 0, out*groupsOf(in, group))
	for row := range out {
		for k := 0; k < in; k += group {
			at, n := row*in+k, min(group, in-k)
			scales = append(scales, fitInt4Group(codes[at:][:n], w[at:][:n]))
		}
	}
	return codes, scales, nil
}

func fitInt4Group(codes []int8, w []float32) float32 {
	top := float64(extreme(w))
	var scale float32
	var best float64 // of the error less Σw², which is that of the scale 0
	for _, span := range int4Spans {
		a := storedScale(top / span)
		encodeInteger(codes, w, a, -8, 7)
		var wc, cc float64
		for i, c := range codes {
			wc += float64(w[i]) * float64(c)
			cc += float64(c) * float64(c)
		}
		a = storedScale(ratio(wc, cc))
		if e := float64(a) * (float64(a)*cc - 2*wc); e < best {
			best, scale = e, a
		}
	}
	encodeInteger(codes, w, scale, -8, 7) // nearest again: can only gain
	return scale
}
