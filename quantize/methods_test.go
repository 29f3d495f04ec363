package quantize

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"
)

func oracleFit(t testing.TB, method Method, h mat.Symmetric, w []float32, group, passes int) ([]int8, []float32) {
	t.Helper()
	var codes []int8
	var scales []float32
	if method == GPTQ || method == GPTQWithDescent {
		codes, scales = gptqOracle(t, h, w, group)
	} else {
		codes = make([]int8, len(w))
		for g := range groupsOf(len(w), group) {
			wide := make([]float64, min(group, len(w)-g*group))
			for i := range wide {
				wide[i] = float64(w[g*group+i])
			}
			a, _ := stage1Oracle(wide)
			scales = append(scales, storedScale(a))
			for i, v := range wide {
				codes[g*group+i] = nearestOracle(v / float64(scales[g]))
			}
		}
	}
	if method == PTBitNet || method == GPTQWithDescent {
		for range passes {
			descentOracle(h, w, codes, scales, group)
		}
	}
	return codes, scales
}

func TestAbsMean(t *testing.T) {
	w := []float32{1, -1, 0.25, -0.25, 4, 0, 0, 1.5} // mean 1
	fit, err := NewFitter(newCPU(t, 1)).Ternary(w, 1, 8, 4, nil, AbsMean, FitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if want := []int8{1, -1, 0, 0, 1, 0, 0, 1}; !slices.Equal(fit.Codes, want) {
		t.Errorf("codes %v, want %v", fit.Codes, want)
	}
	if want := []float32{1, 1}; !slices.Equal(fit.Scales, want) {
		t.Errorf("scales %v, want %v", fit.Scales, want)
	}
	if want := (2*0.0625 + 9 + 0.25) / (2 + 2*0.0625 + 16 + 2.25); math.Abs(fit.RelativeError-want) > 1e-12 {
		t.Errorf("relative error %g, want %g", fit.RelativeError, want)
	}
}

// TestStage1: no threshold does better, and the paper's search over a grid of
// thresholds does at most 1 % worse.
func TestStage1(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 64).Draw(t, "n")
		r := randomSource(rapid.Uint64().Draw(t, "seed"))
		tail := rapid.Float64Range(0.5, 3).Draw(t, "tail")
		w, wide := make([]float32, n), make([]float64, n)
		for i := range w {
			v := r.NormFloat64()
			w[i] = float32(math.Copysign(math.Pow(math.Abs(v), tail), v))
			wide[i] = float64(w[i])
		}
		got := stage1Scale(w, make([]uint32, n), 0)
		want, best := stage1Oracle(wide)
		if math.Abs(float64(got)-want) > want/2048+1e-7 {
			t.Fatalf("scale %g, best of all thresholds %g", got, want)
		}
		codes := make([]int8, n)
		encodeTernary(codes, w, got)
		// Rounding the scale costs k·(a/2048)² at the very most.
		if e := plainError(w, codes, got); e > best+dot(w, w)/(2048*2048)+1e-12 {
			t.Fatalf("error %g, best of all thresholds %g", e, best)
		}
	})
}

func TestStage1AgainstGrid(t *testing.T) {
	r := randomSource(11)
	const n = 2880
	w := normals(r, n)
	var mean float64
	for _, v := range w {
		mean += math.Abs(float64(v)) / n
	}
	grid := math.Inf(1)
	for f := 0.5; f <= 1.5; f += 0.02 {
		threshold := f * 0.75 * mean
		codes := make([]int8, n)
		for i, v := range w {
			if math.Abs(float64(v)) > threshold {
				codes[i] = int8(math.Copysign(1, float64(v)))
			}
		}
		grid = min(grid, plainError(w, codes, leastSquaresScale(w, codes)))
	}
	codes := make([]int8, n)
	a := stage1Scale(w, make([]uint32, n), 0)
	encodeTernary(codes, w, a)
	exact := plainError(w, codes, a)
	if exact > grid*(1+1e-6) || exact < grid*0.99 {
		t.Errorf("exact fit leaves %g, the grid %g", exact, grid)
	}
}

// newBatch is a batch over all rows, with any codes and scales to start from.
func newBatch(l levels, w []float32, out, in, group int, h []float32, codes []int8, scales []float32) *batch {
	s := &scratch{}
	s.resize(out, in, group, l.planes())
	return &batch{scratch: s, levels: l, rows: out, in: in, group: group, groups: in / group, h: h, inverse: inverseDiagonal(nil, h, in), w: w, codes: codes, scales: scales}
}

// drawBatch draws a row, groups, and statistics, for a fit to levels. The oracle is
// H as the batch has it.
func drawBatch(t *rapid.T, cpu *graph.CPU, l levels) (b *batch, oracle *mat.SymDense, r *rand.Rand) {
	group := rapid.IntRange(1, 40).Draw(t, "group")
	in := group * rapid.IntRange(1, 4).Draw(t, "groups")
	r = randomSource(rapid.Uint64().Draw(t, "seed"))
	x := correlatedTokens(r, rapid.IntRange(1, 80).Draw(t, "tokens"), in)
	damp := math.Pow(10, rapid.Float64Range(-4, 0).Draw(t, "damp"))
	m := NewMoment(in)
	if err := m.Add(cpu, x, in, nil); err != nil {
		t.Fatal(err)
	}
	h, err := m.Damped(cpu, damp, nil)
	if err != nil {
		t.Fatal(err)
	}
	oracle = dampedOracle(x, in, damp)
	w, codes, scales := normals(r, in), make([]int8, in), make([]float32, in/group*l.planes())
	return newBatch(l, w, 1, in, group, h, codes, scales), oracle, r
}

// drawStart gives a batch codes and scales, good or absurd.
func drawStart(t *rapid.T, b *batch, r *rand.Rand) {
	if rapid.Bool().Draw(t, "from stage 1") {
		b.stage1()
		return
	}
	all := codesOf(b.levels)
	for i := range b.codes {
		b.codes[i] = all[r.IntN(len(all))]
	}
	for g := range b.scales {
		b.scales[g] = storedScale(3 * r.Float64())
	}
}

// TestDescentNeverRaises starts from anything, good or absurd.
func TestDescentNeverRaises(t *testing.T) {
	cpu := newCPU(t, 1)
	rapid.Check(t, func(t *rapid.T) {
		b, oracle, r := drawBatch(t, cpu, ternary{})
		drawStart(t, b, r)
		w, codes, scales, group := b.w, b.codes, b.scales, b.group
		last := objective(oracle, w, codes, scales, group)
		for pass := range 4 {
			b.descend(1)
			now := objective(oracle, w, codes, scales, group)
			if now > last*(1+1e-6) {
				t.Fatalf("pass %d raised the objective from %g to %g", pass, last, now)
			}
			last = now
		}
	})
}

// TestRefitIsOptimal: with codes fixed, no other float16 is a better scale.
func TestRefitIsOptimal(t *testing.T) {
	cpu := newCPU(t, 1)
	rapid.Check(t, func(t *rapid.T) {
		group := rapid.IntRange(2, 32).Draw(t, "group")
		in := group * rapid.IntRange(1, 3).Draw(t, "groups")
		r := randomSource(rapid.Uint64().Draw(t, "seed"))
		x := correlatedTokens(r, in+5, in)
		m := NewMoment(in)
		if err := m.Add(cpu, x, in, nil); err != nil {
			t.Fatal(err)
		}
		h, err := m.Damped(cpu, 0.01, nil)
		if err != nil {
			t.Fatal(err)
		}
		oracle := dampedOracle(x, in, 0.01)
		w, codes, scales := normals(r, in), make([]int8, in), make([]float32, in/group)
		b := newBatch(ternary{}, w, 1, in, group, h, codes, scales)
		b.stage1()
		b.computeErrors()
		g := in/group - 1
		b.descendCodes(g)
		b.refitScales(g)
		best := objective(oracle, w, codes, scales, group)
		a := scales[g]
		if a < 0 {
			t.Fatalf("scale %g", a)
		}
		for step := -64; step <= 64; step++ {
			if scales[g] = storedScale(float64(a) * (1 + float64(step)/2048)); scales[g] == a {
				continue
			}
			if other := objective(oracle, w, codes, scales, group); other < best*(1-1e-6) {
				t.Fatalf("scale %g leaves %g, %g leaves %g", a, best, scales[g], other)
			}
		}
	})
}

// TestRefitTurnsSigns: where the best scale is negative, the codes turn.
func TestRefitTurnsSigns(t *testing.T) {
	h := []float32{1, 0.5, 0.5, 1}
	w, codes, scales := []float32{-2, -1}, []int8{1, 1}, []float32{1}
	b := newBatch(ternary{}, w, 1, 2, 2, h, codes, scales)
	b.computeErrors()
	copy(b.base, []float32{-3 - 2*0.5, -3*0.5 - 2}) // (w - ŵ)·H
	clear(b.delta)
	if !b.refitScales(0) || codes[0] != -1 || codes[1] != -1 || scales[0] != 1.5 {
		t.Errorf("codes %v, scale %g, want -1, -1 and 1.5", codes, scales[0])
	}
	if b.errors[0] != -0.5 || b.errors[1] != 0.5 {
		t.Errorf("errors %v, want -0.5 and 0.5", b.errors[:2])
	}
}

// TestDiagonalStatistics: inputs that are never on together leave nothing to
// compensate, so that gptq is stage 1.
func TestDiagonalStatistics(t *testing.T) {
	cpu := newCPU(t, 2)
	const out, in, group = 20, 160, 40
	x := make([]float32, in*in)
	for i := range in {
		x[i*in+i] = 1 + float32(i%7)
	}
	w := normals(randomSource(2), out*in)
	f := NewFitter(cpu)
	m := momentOf(t, cpu, x, in)
	want, err := f.Ternary(w, out, in, group, m, Stage1, FitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Ternary(w, out, in, group, m, GPTQ, FitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Codes, want.Codes) || !slices.Equal(got.Scales, want.Scales) {
		t.Error("gptq on a diagonal H is not stage 1")
	}
}

func plainError(w []float32, codes []int8, a float32) float64 {
	var s float64
	for i, c := range codes {
		d := float64(w[i]) - float64(a)*float64(c)
		s += d * d
	}
	return s
}

// leastSquaresScale returns the scale that fits the codes best, as stored.
func leastSquaresScale(w []float32, codes []int8) float32 {
	var wc, cc float64
	for i, c := range codes {
		wc += float64(w[i]) * float64(c)
		cc += float64(c) * float64(c)
	}
	return storedScale(ratio(wc, cc))
}
