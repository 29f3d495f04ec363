package kernel

import "math"

// Constants of the exponential. The arguments outside [expMin, expMax] give 0
// and +Inf anyway; clamping keeps the exponent arithmetic in range.
const (
	expMax   = 89
	expMin   = -104
	log2e    = 0x1.715476p+0
	rintBias = 0x1.8p23 // adding it rounds to an integer and leaves that integer in the low bits
	negLn2Hi = -0x1.62e43p-1
	negLn2Lo = 0x1.05c61p-29
)

// expPoly is q in e^r = 1 + r + r²·q(r), highest power first: a minimax fit of
// the relative error on |r| <= ln2/2, 2^-28 with these rounded coefficients.
var expPoly = [5]float32{0x1.6a23cep-10, 0x1.123a2p-7, 0x1.5558f2p-5, 0x1.555492p-3, 0x1.fffffcp-2}

// exp32 returns e^x: x = n·ln2 + r, then 2^n times a polynomial in r. The scale
// is applied in two halves, the first exact, so overflow and gradual underflow
// come out of one rounding.
func exp32(x float32) float32 {
	if x != x {
		return x
	}
	x = max(min(x, expMax), expMin)
	t := fma32(x, log2e, rintBias)
	f := t - rintBias
	r := fma32(f, negLn2Hi, x)
	r = fma32(f, negLn2Lo, r)
	p := expPoly[0]
	for _, c := range expPoly[1:] {
		p = fma32(p, r, c)
	}
	p = fma32(p, r, 1)
	p = fma32(p, r, 1)
	n := int32(math.Float32bits(t)) - int32(math.Float32bits(rintBias))
	h := n >> 1
	return float32(float32(p*pow2(h)) * pow2(n-h))
}

func pow2(n int32) float32 { return math.Float32frombits(uint32(n+127) << 23) }

func expSubGeneric(dst, x []float32, sub float32) {
	for i := range dst {
		dst[i] = exp32(x[i] - sub)
	}
}

// swigluAlpha is the slope of the sigmoid in GPT-OSS' activation.
const swigluAlpha = 1.702

func swiGLUGeneric(dst, gateUp []float32, limit float32) {
	for i := range dst {
		g := min(gateUp[2*i], limit)
		l := max(min(gateUp[2*i+1], limit), -limit)
		d := 1 + exp32(-swigluAlpha*g)
		dst[i] = float32(g/d) * float32(l+1)
	}
}

// normGeneric computes dst = (x·s)·w.
func normGeneric(dst, x, w []float32, s float32) {
	for i := range dst {
		dst[i] = float32(x[i]*s) * w[i]
	}
}

// rotateGeneric turns each pair (x0[i], x1[i]) by the angle of cos[i], sin[i].
func rotateGeneric(dst0, dst1, x0, x1, cos, sin []float32) {
	for i := range dst0 {
		u, v := x0[i], x1[i]
		dst0[i] = fma32(u, cos[i], -float32(v*sin[i]))
		dst1[i] = fma32(v, cos[i], float32(u*sin[i]))
	}
}
