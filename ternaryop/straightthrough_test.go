package ternaryop

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestMasksChooseAsTheDefinition compares the loops without branches with the
// definition of Ternarize, on values that lie on either side of every border.
func TestMasksChooseAsTheDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 7))
	for _, s := range []float32{1, .37, 2.5, 1e-20, 3e30} {
		var latent []float32
		for _, at := range []float32{0, s / 2, s, 2 * s} {
			latent = append(latent, at, -at, math.Nextafter32(at, 0), -math.Nextafter32(at, 0),
				math.Nextafter32(at, math.MaxFloat32), -math.Nextafter32(at, math.MaxFloat32))
		}
		for range 101 {
			latent = append(latent, s*float32(r.NormFloat64()))
		}
		n := len(latent)
		dw, w, dl := make([]float32, n), make([]float32, n), make([]float32, n)
		for i := range dw {
			dw[i] = float32(r.NormFloat64())
		}
		ternarize(w, latent, s)
		latentGradient(dl, dw, latent, s)
		var ds, size float64
		for i, l := range latent {
			code, passed := float32(0), dw[i]
			switch {
			case l > s/2:
				code = 1
			case l < -s/2:
				code = -1
			}
			if (l >= s || l <= -s) && (dw[i] < 0) != (l < 0) {
				passed = 0
			}
			if w[i] != s*code {
				t.Errorf("scale %v: %v becomes %v, want %v", s, l, w[i], s*code)
			}
			if dl[i] != passed {
				t.Errorf("scale %v: the derivative by %v is %v of %v, want %v", s, l, dl[i], dw[i], passed)
			}
			term := float64(code)
			if l < s && l > -s {
				term -= float64(l) / float64(s)
			}
			ds += float64(dw[i]) * term
			size += math.Abs(float64(dw[i]))
		}
		// A latent weight next to a border may fall on its other side once it is
		// divided; the sum has some of those, each an ulp away from it.
		if got := float64(scaleGradient(dw, latent, s)); math.Abs(got-ds) > 2e-6*size+borders(latent, dw, s) {
			t.Errorf("scale %v: its derivative is %v, want %v", s, got, ds)
		}
	}
}

// borders bounds what weights next to a border of rounding or clamping change.
func borders(latent, dw []float32, s float32) (sum float64) {
	for i, l := range latent {
		for _, at := range []float64{.5, 1} {
			if math.Abs(math.Abs(float64(l)/float64(s))-at) < 1e-6 {
				sum += math.Abs(float64(dw[i]))
			}
		}
	}
	return sum
}
