package kernel

import (
	"math"
	"testing"
)

// The vectors below were computed in float64 from the formulas of OpenAI's
// gpt_oss/torch/model.py.

func near(t *testing.T, what string, got []float32, want []float64) {
	t.Helper()
	for i, w := range want {
		if math.Abs(float64(got[i])-w) > 1e-6*math.Abs(w)+5e-9 {
			t.Errorf("%s[%d] = %v, want %v", what, i, got[i], w)
		}
	}
}

func TestReferenceVectors(t *testing.T) {
	eachISA(t, func(t *testing.T, _ string) {
		y := make([]float32, 4)
		RMSNorm(y, []float32{1, -2, 3, 0.5}, []float32{1, .5, 2, 1}, 1e-5)
		near(t, "RMSNorm", y, []float64{0.52981220, -0.52981220, 3.17887320, 0.26490610})

		SoftmaxSink(y[:3], []float32{1, 2, 3}, .5)
		near(t, "SoftmaxSink", y, []float64{0.08536889, 0.23205671, 0.63079554})
		if share := 1 - float64(y[0]) - float64(y[1]) - float64(y[2]); math.Abs(share-0.05177885) > 1e-7 {
			t.Errorf("the sink's share is %v, want 0.05177885", share)
		}
		SoftmaxSink(y[:1], []float32{-5}, 4)
		near(t, "SoftmaxSink far below the sink", y, []float64{0.00012339})
		SoftmaxSink(nil, nil, 1)

		gu := []float32{0, 0, 1, 0, 1, 1, -1, 2, 10, 10, -10, -10, 7, -8, .5, -1}
		a := make([]float32, 8)
		SwiGLU(a, gu, 7)
		want := []float64{0, .845795765933, 1.691591531866, -.462612702202, 55.999625026, 2.434776777e-6, -41.999718770, 0}
		for i, w := range want {
			if math.Abs(float64(a[i])-w) > 1e-6*math.Abs(w) {
				t.Errorf("SwiGLU[%d] = %v, want %v", i, a[i], w)
			}
		}

		block := make([]byte, 16)
		for i := range block {
			block[i] = byte(0x10 + i)
		}
		w := make([]float32, 32)
		DecodeMXFP4(w, block, []byte{121})
		for i, m := range []float32{0, .5, 1, 1.5, 2, 3, 4, 6, float32(math.Copysign(0, -1)), -.5, -1, -1.5, -2, -3, -4, -6} {
			if !same(w[2*i], m/64) || w[2*i+1] != .0078125 {
				t.Errorf("MXFP4 byte %#x = %v, %v", block[i], w[2*i], w[2*i+1])
			}
		}
	})
}

func TestSwiGLUAgainstFloat64(t *testing.T) {
	const n = 2000
	r := newRand()
	gu := make([]float32, 2*n)
	for i := range gu {
		gu[i] = float32(r.NormFloat64() * 4)
	}
	eachISA(t, func(t *testing.T, _ string) {
		y := make([]float32, n)
		SwiGLU(y, gu, 7)
		for i, got := range y {
			g := math.Min(float64(gu[2*i]), 7)
			l := math.Max(math.Min(float64(gu[2*i+1]), 7), -7)
			want := g / (1 + math.Exp(-1.702*g)) * (l + 1)
			// l+1 cancels, and Exp turns an absolute error of 1.702·g into a relative one.
			tol := math.Abs(want)*(4+2*math.Abs(g))*0x1p-23 + math.Abs(g)*0x1p-23
			if math.Abs(float64(got)-want) > tol {
				t.Fatalf("SwiGLU(%v, %v) = %v, want %v", gu[2*i], gu[2*i+1], got, want)
			}
		}
	})
}

func TestRopeAgainstFloat64(t *testing.T) {
	r := newRand()
	x, c, s, y := make([]float32, 64), make([]float32, 32), make([]float32, 32), make([]float32, 64)
	fill(r, x, fills["normal"])
	for i := range c {
		sin, cos := math.Sincos(r.Float64() * 100)
		c[i], s[i] = float32(cos), float32(sin)
	}
	eachISA(t, func(t *testing.T, _ string) {
		Rope(y, x, c, s)
		for i := range c {
			u, v, cos, sin := float64(x[i]), float64(x[i+32]), float64(c[i]), float64(s[i])
			if d := math.Abs(float64(y[i]) - (u*cos - v*sin)); d > 1e-6 {
				t.Errorf("[%d] off by %g", i, d)
			}
			if d := math.Abs(float64(y[i+32]) - (v*cos + u*sin)); d > 1e-6 {
				t.Errorf("[%d] off by %g", i+32, d)
			}
		}
	})
}

func TestEmpty(t *testing.T) {
	if Dot(nil, nil) != 0 || Sum(nil) != 0 || AbsMax(nil) != 0 || Max(nil) != -inf {
		t.Error("the reductions of nothing are 0, 0, 0 and -Inf")
	}
	DecodeMXFP4(nil, nil, nil)
	RMSNorm(nil, nil, nil, 0)
	Rope(nil, nil, nil, nil)
}
