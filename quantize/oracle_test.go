package quantize

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"gonum.org/v1/gonum/mat"
)

// The oracles: the textbook form of each algorithm in float64, one column at a
// time, sharing no code with what they check.

func newCPU(t testing.TB, threads int) *graph.CPU {
	t.Helper()
	cpu := graph.NewCPU(threads)
	t.Cleanup(func() { cpu.Close() })
	return cpu
}

func randomSource(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func normals(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// correlatedTokens returns [tokens, in] activations that share a quarter as
// many hidden factors, with a few channels far larger than the rest.
func correlatedTokens(r *rand.Rand, tokens, in int) []float32 {
	factors := max(1, in/4)
	mix := normals(r, factors*in)
	x := make([]float32, 0, tokens*in)
	for range tokens {
		z := normals(r, factors)
		for j := range in {
			v := 0.3 * r.NormFloat64()
			for f, s := range z {
				v += float64(s*mix[f*in+j]) / math.Sqrt(float64(factors))
			}
			if j%37 == 5 {
				v *= 8
			}
			x = append(x, float32(v))
		}
	}
	return x
}

func momentOf(t testing.TB, cpu *graph.CPU, x []float32, in int) *Moment {
	t.Helper()
	m := NewMoment(in)
	if err := m.Add(cpu, x, in, nil); err != nil {
		t.Fatal(err)
	}
	return m
}

// dampedOracle is Moment.Damped from the tokens themselves.
func dampedOracle(x []float32, in int, damp float64) *mat.SymDense {
	h := mat.NewSymDense(in, nil)
	for t := 0; t < len(x); t += in {
		for i := range in {
			for j := i; j < in; j++ {
				h.SetSym(i, j, h.At(i, j)+float64(x[t+i])*float64(x[t+j]))
			}
		}
	}
	mean := mat.Trace(h) / float64(in)
	h.ScaleSym(1/mean, h)
	for i := range in {
		h.SetSym(i, i, h.At(i, i)+damp)
	}
	return h
}

func dequantize(codes []int8, scales []float32, group int) []float64 {
	w := make([]float64, len(codes))
	for i, c := range codes {
		w[i] = float64(scales[i/group]) * float64(c)
	}
	return w
}

// objective is (w - ŵ)·H·(w - ŵ)ᵀ of one row.
func objective(h mat.Symmetric, w []float32, codes []int8, scales []float32, group int) float64 {
	e := dequantize(codes, scales, group)
	for i := range e {
		e[i] = float64(w[i]) - e[i]
	}
	v := mat.NewVecDense(len(e), e)
	return mat.Inner(v, h, v)
}

// stage1Oracle tries every threshold.
func stage1Oracle(w []float64) (scale, squared float64) {
	abs := make([]float64, len(w))
	for i, v := range w {
		abs[i] = math.Abs(v)
		squared += v * v
	}
	for _, threshold := range slices.Clone(abs) {
		var s, k float64
		for _, v := range abs {
			if v >= threshold {
				s += v
				k++
			}
		}
		if s == 0 {
			continue
		}
		var e float64
		for _, v := range abs {
			if v >= threshold {
				v -= s / k
			}
			e += v * v
		}
		if e < squared {
			scale, squared = s/k, e
		}
	}
	return scale, squared
}

func nearestOracle(u float64) int8 {
	return int8(max(-1, min(1, math.RoundToEven(u))))
}

// gptqOracle is algorithm 1 of the GPTQ paper for one row, with U = chol(H⁻¹).
func gptqOracle(t testing.TB, h mat.Symmetric, w []float32, group int) ([]int8, []float32) {
	t.Helper()
	in := len(w)
	var chol mat.Cholesky
	if !chol.Factorize(h) {
		t.Fatal("oracle: H is not positive definite")
	}
	var inverse mat.SymDense
	if err := chol.InverseTo(&inverse); err != nil {
		t.Fatal(err)
	}
	if !chol.Factorize(&inverse) {
		t.Fatal("oracle: the inverse of H is not positive definite")
	}
	var u mat.TriDense
	chol.UTo(&u)
	codes, scales := make([]int8, in), make([]float32, groupsOf(in, group))
	c := make([]float64, in)
	for i, v := range w {
		c[i] = float64(v)
	}
	for j := range in {
		if j%group == 0 {
			a, _ := stage1Oracle(c[j:min(j+group, in)])
			scales[j/group] = storedScale(a)
		}
		a := float64(scales[j/group])
		codes[j] = nearestOracle(c[j] / a)
		e := (c[j] - a*float64(codes[j])) / u.At(j, j)
		for k := j; k < in; k++ {
			c[k] -= e * u.At(j, k)
		}
	}
	return codes, scales
}

// descentOracle runs one pass over a row, keeping r = (w - ŵ)·H up to date
// after every single change.
func descentOracle(h mat.Symmetric, w []float32, codes []int8, scales []float32, group int) {
	in := len(w)
	r := make([]float64, in)
	e := dequantize(codes, scales, group)
	for i := range e {
		e[i] = float64(w[i]) - e[i]
	}
	for j := range r {
		for k, v := range e {
			r[j] += v * h.At(k, j)
		}
	}
	move := func(k int, by float64) {
		for j := range r {
			r[j] -= by * h.At(k, j)
		}
	}
	for g := range scales {
		a := float64(scales[g])
		for j := g * group; j < min((g+1)*group, in) && a != 0; j++ {
			u := float64(codes[j]) + r[j]/h.At(j, j)/a
			t := nearestOracle(u)
			old := u - float64(codes[j])
			if now := u - float64(t); old*old-now*now >= descentMargin {
				move(j, a*float64(t-codes[j]))
				codes[j] = t
			}
		}
		var rt, tht float64
		for j := g * group; j < min((g+1)*group, in); j++ {
			rt += r[j] * float64(codes[j])
			for k := g * group; k < min((g+1)*group, in); k++ {
				tht += float64(codes[j]) * h.At(j, k) * float64(codes[k])
			}
		}
		if tht == 0 {
			continue
		}
		b := storedScale(a + rt/tht)
		if step := float64(b) - a; b != 0 && step*step*tht-2*step*rt < 0 {
			scales[g] = max(b, -b)
			for j := g * group; j < min((g+1)*group, in); j++ {
				move(j, step*float64(codes[j]))
				if b < 0 {
					codes[j] = -codes[j]
				}
			}
		}
	}
}
