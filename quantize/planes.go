package quantize

import (
	"math"
	"slices"
)

// twoPlanes are the nine levels a₁·t₁ + a₂·t₂ of two ternary planes. A code is
// 3·t₁ + t₂, from -4 to 4: the balanced ternary number t₁t₂.
type twoPlanes struct{}

func (twoPlanes) planes() int { return 2 }

func (twoPlanes) digit(code int8, plane int) int8 {
	t1 := (code+4)/3 - 1
	if plane == 0 {
		return t1
	}
	return code - 3*t1
}

func (p twoPlanes) value(code int8, scales []float32) float32 {
	t1 := p.digit(code, 0)
	return float32(scales[0]*float32(t1)) + float32(scales[1]*float32(code-3*t1))
}

// nearest tries each t₁ with the t₂ that is best beside it. The levels mirror
// at 0, and so do the codes.
func (twoPlanes) nearest(x float32, scales []float32) int8 {
	if x < 0 {
		return -twoPlanes{}.nearest(-x, scales)
	}
	a1, a2 := scales[0], scales[1]
	half := max(a2, -a2) / 2
	var code int8
	least := float32(math.Inf(1))
	for t1 := int8(-1); t1 <= 1; t1++ {
		rest := x - float32(a1*float32(t1))
		var t2 int8
		if rest > half {
			t2 = 1
		} else if rest < -half {
			t2 = -1
		}
		if a2 < 0 {
			t2 = -t2
		}
		d := rest - float32(a2*float32(t2))
		if d = max(d, -d); d < least {
			least, code = d, 3*t1+t2
		}
	}
	return code
}

func (p twoPlanes) better(code int8, step float32, scales []float32, _ float64) int8 {
	old := p.value(code, scales)
	t := p.nearest(old+step, scales)
	if t == code {
		return code
	}
	// The gain is (2·step - moved)·moved. The rounding of step is relative to
	// the weights, not to how near two levels are to each other.
	moved := p.value(t, scales) - old
	least := descentMargin * (max(scales[0], -scales[0]) + max(scales[1], -scales[1]))
	if float32((2*step-moved)*moved) <= float32(least*max(moved, -moved)) {
		return code
	}
	return t
}

// refit solves for both scales at once and rounds first one of them, then the
// other, which makes up for that; the better order is taken, if it is better
// than what was there: rounded, the minimum need not be.
func (p twoPlanes) refit(scales []float32, _ []int8, e *normalEquations) bool {
	h, g := &e.hessian, &e.gradient
	var step [2]float64
	switch det := h[0][0]*h[1][1] - h[0][1]*h[1][0]; {
	case det > 1e-6*h[0][0]*h[1][1]:
		step = [2]float64{(g[0]*h[1][1] - g[1]*h[0][1]) / det, (g[1]*h[0][0] - g[0]*h[1][0]) / det}
	case h[0][0] > 0: // no second plane, or the first once more
		step[0] = g[0] / h[0][0]
	case h[1][1] > 0:
		step[1] = g[1] / h[1][1]
	default:
		return false
	}
	old := [2]float32{scales[0], scales[1]}
	var least float64
	for first := range 2 {
		second := 1 - first
		var s [2]float32
		s[first] = storedScale(float64(old[first]) + step[first])
		d := [2]float64{}
		d[first] = float64(s[first]) - float64(old[first])
		s[second] = old[second]
		if h[second][second] > 0 {
			s[second] = storedScale(float64(old[second]) + (g[second]-d[first]*h[first][second])/h[second][second])
		}
		d[second] = float64(s[second]) - float64(old[second])
		if s[0] == 0 || s[1] == 0 && old[1] != 0 {
			continue // a plane that is gone does not come back
		}
		change := 0.
		for i := range 2 {
			change += d[i] * (d[0]*h[i][0] + d[1]*h[i][1] - 2*g[i])
		}
		if change < least {
			least, scales[0], scales[1] = change, s[0], s[1]
		}
	}
	return least < 0
}

// planeStarts are the scales from which leastSquares sets out, in root mean
// squares of the group: nine even levels as far as a normal distribution wants
// them, and levels that are closer together.
var planeStarts = [...][2]float64{{1.6, .53}, {1.2, .45}}

// leastSquares alternates between the codes nearest to the weights and the
// least-squares scales of these codes, from several starts, and takes the best.
//
// The levels mirror, so only |w| counts. Sorted, with prefix sums, an
// assignment is four places at which the level changes, and its normal
// equations are sums over five stretches: after sorting, a step takes
// O(log g).
func (p twoPlanes) leastSquares(codes []int8, scales, w []float32, _ float64, s *scratch) {
	sorted, sums := s.order[:len(w)], s.sums[:len(w)+1]
	var squares float64
	for i, v := range w {
		sorted[i] = math.Float32bits(v) &^ (1 << 31)
		squares += float64(v) * float64(v)
	}
	slices.Sort(sorted)
	sums[0] = 0
	for i, b := range sorted {
		sums[i+1] = sums[i] + float64(math.Float32frombits(b))
	}
	top, rms := float64(math.Float32frombits(sorted[len(sorted)-1])), math.Sqrt(squares/float64(len(w)))
	best := p.alternate(sorted, sums, .75*top, .25*top) // the largest weight on the largest level
	for _, start := range planeStarts {
		if f := p.alternate(sorted, sums, start[0]*rms, start[1]*rms); f.gain > best.gain {
			best = f
		}
	}
	scales[0], scales[1] = storedScale(best.a1), storedScale(best.a2)
	for i, v := range w {
		codes[i] = p.nearest(v, scales)
	}
}

// planeFit is a pair of scales, a₁ ≥ a₂ ≥ 0, and by how much it lowers Σ w².
type planeFit struct{ a1, a2, gain float64 }

// alternations bounds the steps of alternate, of which ten are usual.
const alternations = 40

func (twoPlanes) alternate(sorted []uint32, sums []float64, a1, a2 float64) (best planeFit) {
	var before [4]int
	for range alternations {
		// The levels of |w|, from 0 up, and the digits they are made of.
		levels := [5]float64{0, a2, a1 - a2, a1, a1 + a2}
		t1, t2 := [5]float64{0, 0, 1, 1, 1}, [5]float64{0, 1, -1, 0, 1}
		if levels[1] > levels[2] {
			levels[1], levels[2], t1[1], t1[2], t2[1], t2[2] = levels[2], levels[1], t1[2], t1[1], t2[2], t2[1]
		}
		var cuts [4]int
		var h11, h12, h22, g1, g2 float64
		for i := 1; i <= 4; i++ {
			middle := math.Float32bits(float32((levels[i-1] + levels[i]) / 2))
			cuts[i-1], _ = slices.BinarySearch(sorted, middle)
		}
		for i := 1; i <= 4; i++ {
			from, to := cuts[i-1], len(sorted)
			if i < 4 {
				to = cuts[i]
			}
			n, sum := float64(to-from), sums[to]-sums[from]
			h11, h12, h22 = h11+n*t1[i]*t1[i], h12+n*t1[i]*t2[i], h22+n*t2[i]*t2[i]
			g1, g2 = g1+sum*t1[i], g2+sum*t2[i]
		}
		det := h11*h22 - h12*h12
		if det <= 0 { // fewer than two levels are in use
			if h11 > 0 && g1*g1/h11 > best.gain {
				best = planeFit{g1 / h11, 0, g1 * g1 / h11}
			}
			return best
		}
		a1, a2 = math.Abs(g1*h22-g2*h12)/det, math.Abs(g2*h11-g1*h12)/det
		a1, a2 = max(a1, a2), min(a1, a2)
		if gain := (g1*g1*h22 - 2*g1*g2*h12 + g2*g2*h11) / det; gain > best.gain {
			best = planeFit{a1, a2, gain}
		}
		if cuts == before {
			return best
		}
		before = cuts
	}
	return best
}

// sideBySide turns a fit's codes and scales, by weight and by group, into those
// of two matrices side by side, in which they are packed.
//
// Shapes: codes [out, in] -> [out, 2, in], scales [out, groups, 2] -> [out, 2, groups].
func (p twoPlanes) sideBySide(codes []int8, scales []float32, in, groups int) ([]int8, []float32) {
	digits, split := make([]int8, 0, 2*len(codes)), make([]float32, 0, len(scales))
	for row := range len(codes) / in {
		for plane := range 2 {
			for _, c := range codes[row*in:][:in] {
				digits = append(digits, p.digit(c, plane))
			}
			for g := range groups {
				split = append(split, scales[(row*groups+g)*2+plane])
			}
		}
	}
	return digits, split
}
