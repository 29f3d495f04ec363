package reference

import (
	"cmp"
	"math"
	"slices"
)

// RMSNorm divides x by its root mean square and multiplies by weight.
//
//	y_i = x_i / sqrt(mean(x^2) + epsilon) * w_i
func RMSNorm(x, weight []float64, epsilon float64) []float64 {
	r := 1 / math.Sqrt(dot(x, x)/float64(len(x))+epsilon)
	y := make([]float64, len(x))
	for i := range x {
		y[i] = x[i] * r * weight[i]
	}
	return y
}

// InverseFrequencies are the rotary frequencies of a head, YaRN applied.
//
// Shapes: [headDim/2]. Units: radians per position. Source: YaRN (Peng et al. 2023) section 3.2; Transformers'
// _compute_yarn_parameters.
func (r Rope) InverseFrequencies(headDim int) []float64 {
	d := float64(headDim)
	inverse := make([]float64, headDim/2)
	for i := range inverse {
		inverse[i] = math.Pow(r.Theta, -2*float64(i)/d)
	}
	if r.Factor <= 1 {
		return inverse
	}
	// correction is the dimension that makes this many turns over the original context.
	correction := func(turns float64) float64 {
		return d / 2 * math.Log(r.OriginalContext/(turns*2*math.Pi)) / math.Log(r.Theta)
	}
	low, high := correction(r.BetaFast), correction(r.BetaSlow)
	if r.Truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, d-1)
	if low == high {
		high += 0.001
	}
	for i := range inverse {
		ramp := min(max((float64(i)-low)/(high-low), 0), 1)
		inverse[i] = inverse[i]*(1-ramp) + inverse[i]/r.Factor*ramp
	}
	return inverse
}

// Attention is the factor that YaRN puts on q and k alike: 0.1 ln(factor) + 1, or 1 without YaRN.
func (r Rope) Attention() float64 {
	if r.Factor <= 1 {
		return 1
	}
	return 0.1*math.Log(r.Factor) + 1
}

// Rotate applies the rotary embedding of position p to one head, in place: element i turns with element i + D/2.
//
// The angle, and only the angle, is a float32 product: that is how the model was trained, and at long positions its
// rounding is larger than every other difference between float32 and float64.
func Rotate(head []float64, p int, inverse []float64, scale float64) {
	half := len(head) / 2
	for i := range half {
		sin, cos := math.Sincos(float64(float32(p) * float32(inverse[i])))
		a, b := head[i], head[i+half]
		head[i] = (a*cos - b*sin) * scale
		head[i+half] = (b*cos + a*sin) * scale
	}
}

// SinkSoftmax is a softmax over the scores and one sink whose share is dropped, so that the weights sum to less than 1.
func SinkSoftmax(scores []float64, sink float64) []float64 {
	top := max(slices.Max(scores), sink)
	weights := make([]float64, len(scores))
	total := math.Exp(sink - top)
	for i, s := range scores {
		weights[i] = math.Exp(s - top)
		total += weights[i]
	}
	for i := range weights {
		weights[i] /= total
	}
	return weights
}

// TopK picks the k largest logits, best first and the lower index on a tie, and the softmax over only those.
func TopK(logits []float64, k int) ([]int, []float64) {
	order := make([]int, len(logits))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(logits[b], logits[a]) })
	chosen := order[:k]
	weights, total := make([]float64, k), 0.0
	for i, e := range chosen {
		weights[i] = math.Exp(logits[e] - logits[chosen[0]])
		total += weights[i]
	}
	for i := range weights {
		weights[i] /= total
	}
	return chosen, weights
}

// SwiGLU is GPT-OSS' activation; the gate is bounded from above only.
//
//	g = min(gate, limit), u = clamp(up, -limit, limit), a = g * sigmoid(1.702 g) * (u + 1)
func SwiGLU(gate, up, limit float64) float64 {
	g := min(gate, limit)
	u := min(max(up, -limit), limit)
	return g / (1 + math.Exp(-1.702*g)) * (u + 1)
}

// QuantizeInt8 rounds a token's values to int8 with one scale and gives back what the integers stand for.
//
//	s = max|x| / 127, y_i = s * roundHalfEven(x_i / s); all zeros stay zeros
func QuantizeInt8(x []float64) []float64 {
	y := make([]float64, len(x))
	largest := 0.0
	for _, v := range x {
		largest = max(largest, math.Abs(v))
	}
	if largest == 0 {
		return y
	}
	s := largest / 127
	for i, v := range x {
		y[i] = s * math.RoundToEven(v/s)
	}
	return y
}

// fp4 is the value of each E2M1 code.
var fp4 = [16]float64{0, 0.5, 1, 1.5, 2, 3, 4, 6, math.Copysign(0, -1), -0.5, -1, -1.5, -2, -3, -4, -6}

// DecodeMXFP4 turns blocks of 16 bytes, low nibble first, and one power of two each (exponent + 127) into weights.
//
// Shapes: blocks [n, 16], scales [n], result [32 n]. Every weight is exact in float32 unless its exponent is over 125.
func DecodeMXFP4(blocks, scales []byte) []float32 {
	weights := make([]float32, 0, 32*len(scales))
	for g, s := range scales {
		scale := math.Ldexp(1, int(s)-127)
		if s == 255 {
			scale = math.NaN()
		}
		for _, pair := range blocks[16*g:][:16] {
			weights = append(weights, float32(fp4[pair&15]*scale), float32(fp4[pair>>4]*scale))
		}
	}
	return weights
}

func dot(a, b []float64) float64 {
	sum := 0.0
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

func add(x, y [][]float64) [][]float64 {
	z := make([][]float64, len(x))
	for t := range x {
		z[t] = make([]float64, len(x[t]))
		for i := range x[t] {
			z[t][i] = x[t][i] + y[t][i]
		}
	}
	return z
}

// each applies f to every row.
func each(x [][]float64, f func([]float64) []float64) [][]float64 {
	y := make([][]float64, len(x))
	for t := range x {
		y[t] = f(x[t])
	}
	return y
}
