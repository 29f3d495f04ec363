package quantize

import "github.com/seed-796a8800/tritium/ternaryop"

// levels are the values that the weights of a group can be rounded to, given
// the group's scales. They are all that differs between the formats that a
// Fitter fits: the methods are written in terms of them.
type levels interface {
	// planes is how many scales a group has: a value is the sum of as many
	// integers, each times its scale.
	planes() int
	// leastSquares fits a group by itself, min Σ (w - ŵ)² + price over codes that
	// are not 0. Scales are float16s. Only ternary has prices that are not 0.
	leastSquares(codes []int8, scales, w []float32, price float64, s *scratch)
	// digit is the integer of a plane that a code stands for.
	digit(code int8, plane int) int8
	// value is what a code stands for.
	value(code int8, scales []float32) float32
	// nearest returns the code whose value is nearest to x.
	nearest(x float32, scales []float32) int8
	// better returns the code whose value is nearest to that of the given one
	// plus step, its price considered, or the given one where that gains no more
	// than the rounding of step can feign.
	better(code int8, step float32, scales []float32, price float64) int8
	// refit moves scales, and codes with them, to where the objective is least,
	// and reports whether that changed something.
	refit(scales []float32, codes []int8, e *normalEquations) bool
}

// levelsOf returns the levels of a format. It has none for int8, whose steps are
// so small that there is nothing to gain over rounding.
func levelsOf(f ternaryop.Format) (l levels, ok bool) {
	switch f {
	case ternaryop.Ternary2, ternaryop.Ternary5:
		return ternary{}, true
	case ternaryop.Planes2, ternaryop.Planes5:
		return twoPlanes{}, true
	case ternaryop.Int4:
		return int4{}, true
	}
	return nil, false
}

// ternary are the levels -a, 0 and a > 0; a code is its own integer.
type ternary struct{}

func (ternary) planes() int                               { return 1 }
func (ternary) digit(code int8, _ int) int8               { return code }
func (ternary) value(code int8, scales []float32) float32 { return float32(scales[0] * float32(code)) }

func (ternary) leastSquares(codes []int8, scales, w []float32, price float64, s *scratch) {
	scales[0] = stage1Scale(w, s.order[:len(w)], price)
	encodePriced(codes, w, scales[0], price)
}

func (ternary) nearest(x float32, scales []float32) int8 {
	if scales[0] == 0 {
		return 0
	}
	return pricedTernary(x/scales[0], 0)
}

func (ternary) better(code int8, step float32, scales []float32, price float64) int8 {
	a := scales[0]
	if a == 0 || price == 0 && max(step, -step) <= a/2 {
		return code // as almost always, no other is nearer
	}
	u, rho := float32(code)+step/a, float32(price)/(a*a)
	t := pricedTernary(u, rho)
	if cost(u, rho, code)-cost(u, rho, t) < descentMargin {
		return code
	}
	return t
}

func (ternary) refit(scales []float32, codes []int8, e *normalEquations) bool {
	if !refitScale(&scales[0], e) {
		return false
	}
	if scales[0] < 0 { // the other groups moved far: keep scales positive
		scales[0] = -scales[0]
		negate(codes)
	}
	return true
}

// int4 are the levels -8a to 7a of 4 bits, where a may be negative; a code is
// its own integer.
type int4 struct{}

func (int4) planes() int                               { return 1 }
func (int4) digit(code int8, _ int) int8               { return code }
func (int4) value(code int8, scales []float32) float32 { return float32(scales[0] * float32(code)) }

func (int4) leastSquares(codes []int8, scales, w []float32, _ float64, _ *scratch) {
	scales[0] = fitInt4Group(codes, w)
}

func (int4) nearest(x float32, scales []float32) int8 {
	if scales[0] == 0 {
		return 0
	}
	return nearestInt4(x / scales[0])
}

func (int4) better(code int8, step float32, scales []float32, _ float64) int8 {
	if scales[0] == 0 {
		return code
	}
	u := float32(code) + step/scales[0]
	t := nearestInt4(u)
	if cost(u, 0, code)-cost(u, 0, t) < descentMargin {
		return code
	}
	return t
}

func (int4) refit(scales []float32, _ []int8, e *normalEquations) bool {
	return refitScale(&scales[0], e)
}

// nearestInt4 returns the integer in [-8, 7] nearest to u.
func nearestInt4(u float32) int8 {
	const shift = 3 << 22 // adding it to a small float32 rounds that to an integer
	return int8(float32(min(max(u, -8), 7)+shift) - shift)
}
