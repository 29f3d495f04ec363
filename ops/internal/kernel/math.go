package kernel

import "math"

// Exp computes dst = e^x to within 1 ulp: +Inf above ln(MaxFloat32), gradual
// underflow down to the smallest subnormal and 0 below it, NaN for NaN.
//
// Shapes: dst, x [N]; dst may be x.
func Exp(dst, x []float32) {
	checkLen("x", len(x), len(dst))
	expSub(dst, x, 0)
}

// expSub computes dst = e^(x-sub).
func expSub(dst, x []float32, sub float32) {
	n := len(dst) &^ (lanes - 1)
	if n > 0 {
		expSubBlocks(dst[:n], x[:n], sub)
	}
	if n < len(dst) {
		var t [lanes]float32
		copy(t[:], x[n:])
		expSubBlocks(t[:], t[:], sub)
		copy(dst[n:], t[:])
	}
}

// SoftmaxSink computes the softmax of the scores and one extra logit, the sink,
// whose own share is dropped:
//
//	m = max(scores..., sink); e_k = Exp(scores_k - m)
//	dst_k = e_k · (1 / (Sum(e) + Exp(sink - m)))
//
// A sink of -Inf gives the plain softmax. Any NaN makes every result NaN.
//
// Shapes: dst, scores [K]; dst may be scores.
//
// Source: gpt_oss/torch/model.py, sdpa.
func SoftmaxSink(dst, scores []float32, sink float32) {
	z := ExpSink(dst, scores, sink)
	Scale(dst, 1/z, dst)
}

// SwiGLU computes GPT-OSS' clamped, gated activation of interleaved pairs:
//
//	g = min(gateUp[2i], limit); l = clamp(gateUp[2i+1], -limit, limit)
//	dst[i] = (g / (1 + Exp(-1.702·g))) · (l + 1)
//
// Shapes: dst [I], gateUp [2·I]; they may not overlap. The limit is positive.
//
// Source: gpt_oss/torch/model.py, swiglu.
func SwiGLU(dst, gateUp []float32, limit float32) {
	checkLen("gateUp", len(gateUp), 2*len(dst))
	if !(limit > 0) {
		panic("kernel: the SwiGLU limit must be positive")
	}
	n := len(dst) &^ (lanes - 1)
	if n > 0 {
		swiGLU(dst[:n], gateUp[:2*n], limit)
	}
	if n < len(dst) {
		var t [lanes]float32
		var s [2 * lanes]float32
		copy(s[:], gateUp[2*n:])
		swiGLU(t[:], s[:], limit)
		copy(dst[n:], t[:])
	}
}

// RMSNorm computes dst = (x·s)·w with s = 1/sqrt(SumSquares(x)/N + eps), every
// operation rounded to float32.
//
// Shapes: dst, x, w [N]; dst may be x.
//
// Source: gpt_oss/torch/model.py, RMSNorm.
func RMSNorm(dst, x, w []float32, eps float32) {
	checkLen("x", len(x), len(dst))
	checkLen("w", len(w), len(dst))
	mean := SumSquares(x) / float32(len(x))
	s := 1 / float32(math.Sqrt(float64(mean+eps)))
	n := len(dst) &^ (lanes - 1)
	if n > 0 {
		norm(dst[:n], x[:n], w[:n], s)
	}
	if n < len(dst) {
		normGeneric(dst[n:], x[n:], w[n:], s)
	}
}

// Rope rotates one head, element i paired with element i + D/2:
//
//	dst[i]     = fma(x[i], cos[i], -(x[i+D/2]·sin[i]))
//	dst[i+D/2] = fma(x[i+D/2], cos[i], x[i]·sin[i])
//
// Shapes: dst, x [D], D even; cos, sin [D/2]; dst may be x.
//
// Source: gpt_oss/torch/model.py, _apply_rotary_emb.
func Rope(dst, x, cos, sin []float32) {
	h := len(cos)
	checkLen("x", len(x), 2*h)
	checkLen("dst", len(dst), 2*h)
	checkLen("sin", len(sin), h)
	n := h &^ (lanes - 1)
	if n > 0 {
		rotate(dst[:n], dst[h:h+n], x[:n], x[h:h+n], cos[:n], sin[:n])
	}
	if n < h {
		rotateGeneric(dst[n:h], dst[h+n:], x[n:h], x[h+n:], cos[n:], sin[n:])
	}
}
