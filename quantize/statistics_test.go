package quantize

import (
	"math"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"
)

func compareDamped(t *testing.T, name string, got []float32, want *mat.SymDense) {
	t.Helper()
	n := want.SymmetricDim()
	if len(got) != n*n {
		t.Fatalf("%s: %d elements, want %d", name, len(got), n*n)
	}
	for i := range n {
		for j := range n {
			// In units of the elements' own size: Cauchy-Schwarz.
			unit := math.Sqrt(want.At(i, i) * want.At(j, j))
			if d := math.Abs(float64(got[i*n+j]) - want.At(i, j)); d > 2e-6*unit {
				t.Fatalf("%s: H[%d, %d] = %g, want %g", name, i, j, got[i*n+j], want.At(i, j))
			}
		}
	}
}

func TestMoment(t *testing.T) {
	cpu := newCPU(t, 2)
	for _, c := range []struct{ tokens, in int }{{1, 1}, {7, 5}, {513, 130}, {1030, 64}} {
		x := correlatedTokens(randomSource(uint64(c.in)), c.tokens, c.in)
		m := momentOf(t, cpu, x, c.in)
		if m.Tokens() != c.tokens || m.Inputs() != c.in {
			t.Fatalf("%d tokens of %d inputs, want %d of %d", m.Tokens(), m.Inputs(), c.tokens, c.in)
		}
		h, err := m.Damped(cpu, 0.01, nil)
		if err != nil {
			t.Fatal(err)
		}
		compareDamped(t, "whole", h, dampedOracle(x, c.in, 0.01))
		m.Flush(cpu)
		if h, err = m.Damped(cpu, 0.5, h); err != nil {
			t.Fatal(err)
		}
		compareDamped(t, "flushed", h, dampedOracle(x, c.in, 0.5))
	}
}

func TestMomentRows(t *testing.T) {
	cpu := newCPU(t, 2)
	const in, stride, tokens = 20, 23, 40
	r := randomSource(4)
	x := normals(r, stride*tokens)
	var rows []int
	var kept []float32
	for row := 0; row < tokens; row += 1 + row%3 {
		rows = append(rows, row)
		kept = append(kept, x[row*stride:][:in]...)
	}
	m := NewMoment(in)
	if err := m.Add(cpu, x, stride, rows); err != nil {
		t.Fatal(err)
	}
	if err := m.Add(cpu, x, stride, []int{}); err != nil {
		t.Fatal(err)
	}
	if m.Tokens() != len(rows) {
		t.Errorf("%d tokens, want %d", m.Tokens(), len(rows))
	}
	h, err := m.Damped(cpu, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	compareDamped(t, "rows", h, dampedOracle(kept, in, 0))
}

func TestMergeAndShrink(t *testing.T) {
	cpu := newCPU(t, 2)
	const in = 12
	r := randomSource(6)
	a, b := normals(r, 10*in), correlatedTokens(r, 30, in)
	m := momentOf(t, cpu, a, in)
	if err := m.Merge(cpu, momentOf(t, cpu, b, in)); err != nil {
		t.Fatal(err)
	}
	h, err := m.Damped(cpu, 0.01, nil)
	if err != nil {
		t.Fatal(err)
	}
	compareDamped(t, "merge", h, dampedOracle(append(append([]float32{}, a...), b...), in, 0.01))
	if m.Tokens() != 40 {
		t.Errorf("merged to %d tokens, want 40", m.Tokens())
	}

	// 15 tokens' worth of b's mean is every b weighted by half.
	m = momentOf(t, cpu, a, in)
	if err := m.Shrink(cpu, momentOf(t, cpu, b, in), 15); err != nil {
		t.Fatal(err)
	}
	weighted := append([]float32{}, a...)
	for _, v := range b {
		weighted = append(weighted, v*float32(math.Sqrt(0.5)))
	}
	if h, err = m.Damped(cpu, 0.01, h); err != nil {
		t.Fatal(err)
	}
	compareDamped(t, "shrink", h, dampedOracle(weighted, in, 0.01))
	if m.Tokens() != 10 || m.weight != 25 {
		t.Errorf("shrunk to %d tokens of weight %g, want 10 of 25", m.Tokens(), m.weight)
	}

	// An expert without tokens takes the layer's H; a layer without tokens
	// changes nothing.
	m = NewMoment(in)
	if err := m.Shrink(cpu, momentOf(t, cpu, b, in), 15); err != nil {
		t.Fatal(err)
	}
	if err := m.Shrink(cpu, NewMoment(in), 15); err != nil {
		t.Fatal(err)
	}
	if h, err = m.Damped(cpu, 0.01, h); err != nil {
		t.Fatal(err)
	}
	compareDamped(t, "lent", h, dampedOracle(b, in, 0.01))
}

func TestMomentRefusals(t *testing.T) {
	cpu := newCPU(t, 1)
	m := NewMoment(4)
	x := make([]float32, 12)
	for _, c := range []struct {
		err  error
		want string
	}{
		{m.Add(cpu, x, 3, nil), "row stride 3"},
		{m.Add(cpu, x, 5, nil), "not whole rows of 5"},
		{m.Add(cpu, x, 4, []int{0, 3}), "row 3 of 3"},
		{m.Add(cpu, x, 4, []int{-1}), "row -1"},
		{NewMoment(0).Add(cpu, nil, 0, nil), "0 inputs"},
		{m.Merge(cpu, NewMoment(5)), "cannot merge one of 5"},
		{m.Shrink(cpu, NewMoment(5), 1), "towards one of 5"},
		{m.Shrink(cpu, m, math.NaN()), "NaN tokens"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", c.err, c.want)
		}
	}
	if m.Tokens() != 0 {
		t.Errorf("refused tokens were counted: %d", m.Tokens())
	}
}

// TestFactorize: Mᵀ·D·M is H, also where H is all but singular.
func TestFactorize(t *testing.T) {
	cpu := newCPU(t, 2)
	for _, c := range []struct{ in, group, tokens int }{
		{1, 1, 3}, {6, 3, 20}, {128, 64, 20}, {129, 43, 300}, {300, 150, 40},
	} {
		x := correlatedTokens(randomSource(uint64(c.in)), c.tokens, c.in)
		h, err := momentOf(t, cpu, x, c.in).Damped(cpu, 0.01, nil)
		if err != nil {
			t.Fatal(err)
		}
		var f feedback
		f.factorize(cpu, h, c.in, c.group, 0.01)
		d := pivotsOracle(t, h, c.in)
		n := c.in
		for i := range n {
			for j := range i + 1 {
				var s float64
				for k := i; k < n; k++ {
					s += float64(f.m[k*n+i]) * d[k] * float64(f.m[k*n+j])
				}
				unit := math.Sqrt(float64(h[i*n+i]) * float64(h[j*n+j]))
				if math.Abs(s-float64(h[i*n+j])) > 1e-4*unit {
					t.Fatalf("in=%d: (MᵀDM)[%d, %d] = %g, want %g", n, i, j, s, h[i*n+j])
				}
			}
		}
		for g := 1; g < n/c.group; g++ {
			checkInverse(t, &f, g)
		}
	}
}

// pivotsOracle returns D, from gonum's Cholesky of H turned back to front.
func pivotsOracle(t *testing.T, h []float32, n int) []float64 {
	t.Helper()
	flipped := mat.NewSymDense(n, nil)
	for i := range n {
		for j := i; j < n; j++ {
			flipped.SetSym(i, j, float64(h[(n-1-i)*n+n-1-j]))
		}
	}
	var chol mat.Cholesky
	if !chol.Factorize(flipped) {
		t.Fatal("oracle: H is not positive definite")
	}
	var u mat.TriDense
	chol.UTo(&u)
	d := make([]float64, n)
	for i := range d {
		d[n-1-i] = u.At(i, i) * u.At(i, i)
	}
	return d
}

func checkInverse(t *testing.T, f *feedback, g int) {
	t.Helper()
	first, size := g*f.group, f.group
	inverse := f.inverse[first*size:][:size*size]
	for i := range size {
		for j := range size {
			var s float64
			for k := range i + 1 {
				s += float64(f.m[(first+i)*f.n+first+k]) * float64(inverse[k*size+j])
			}
			want := 0.0
			if i == j {
				want = 1
			}
			if math.Abs(s-want) > 1e-4 {
				t.Fatalf("in=%d group %d: (M·M⁻¹)[%d, %d] = %g", f.n, g, i, j, s)
			}
		}
	}
}
