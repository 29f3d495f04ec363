package quantize

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"testing"

	"github.com/seed-796a8800/tritium/ternaryop"
	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"
)

// eachLevels runs f once for each set of levels.
func eachLevels(t *testing.T, f func(t *testing.T, l levels)) {
	for _, format := range []ternaryop.Format{ternaryop.Ternary2, ternaryop.Planes2, ternaryop.Int4} {
		l, ok := levelsOf(format)
		if !ok {
			t.Fatalf("%v has no levels", format)
		}
		t.Run(format.String(), func(t *testing.T) { f(t, l) })
	}
}

// codesOf lists the codes that there are.
func codesOf(l levels) (all []int8) {
	lo, hi := map[levels]int8{ternary{}: -1, twoPlanes{}: -4, int4{}: -8}[l], map[levels]int8{ternary{}: 1, twoPlanes{}: 4, int4{}: 7}[l]
	for c := lo; c <= hi; c++ {
		all = append(all, c)
	}
	return all
}

// valueOracle is Σ scale·digit.
func valueOracle(l levels, code int8, scales []float32) (v float64) {
	for p, s := range scales {
		v += float64(s) * float64(l.digit(code, p))
	}
	return v
}

// levelsObjective is (w - ŵ)·H·(w - ŵ)ᵀ of one row.
func levelsObjective(l levels, h mat.Symmetric, w []float32, codes []int8, scales []float32, group int) float64 {
	e := make([]float64, len(w))
	for i := range e {
		e[i] = float64(w[i]) - valueOracle(l, codes[i], scales[i/group*l.planes():][:l.planes()])
	}
	v := mat.NewVecDense(len(e), e)
	return mat.Inner(v, h, v)
}

// TestLevels: digits and values agree, and the nearest code is the one that
// trying all of them finds, whatever the signs and sizes of the scales.
func TestLevels(t *testing.T) {
	eachLevels(t, func(t *testing.T, l levels) {
		rapid.Check(t, func(t *rapid.T) {
			scales := make([]float32, l.planes())
			for p := range scales {
				scales[p] = storedScale(rapid.Float64Range(-2, 2).Draw(t, "scale"))
			}
			if _, ok := l.(ternary); ok {
				scales[0] = max(scales[0], -scales[0])
			}
			x := float32(rapid.Float64Range(-6, 6).Draw(t, "x"))
			nearest := math.Inf(1)
			for _, c := range codesOf(l) {
				v := valueOracle(l, c, scales)
				if got := l.value(c, scales); math.Abs(float64(got)-v) > 1e-6 {
					t.Fatalf("code %d is %g, its digits %g", c, got, v)
				}
				nearest = min(nearest, math.Abs(float64(x)-v))
			}
			c := l.nearest(x, scales)
			if !slices.Contains(codesOf(l), c) {
				t.Fatalf("%g is said to be nearest to code %d", x, c)
			}
			if d := math.Abs(float64(x) - valueOracle(l, c, scales)); d > nearest+1e-5 {
				t.Fatalf("%g is %g from code %d, %g from the nearest", x, d, c, nearest)
			}
		})
	})
}

// TestPlanesAgainstAll holds the alternation against all codes of small groups.
func TestPlanesAgainstAll(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers for several seconds")
	}
	const n = 4
	r := randomSource(21)
	var got, want, one float64
	for range 100 {
		w, codes, scales := normals(r, n), make([]int8, n), make([]float32, 2)
		var s scratch
		s.resize(1, n, n, 2)
		twoPlanes{}.leastSquares(codes, scales, w, 0, &s)
		e := 0.
		for i, c := range codes {
			d := float64(w[i]) - valueOracle(twoPlanes{}, c, scales)
			e += d * d
		}
		best := dot(w, w)
		all := slices.Repeat([]int8{-4}, n)
		for more := true; more; more = next(all, 4) {
			best = min(best, planesError(w, all))
		}
		if e < best-1e-3 {
			t.Fatalf("a fit leaves %g, the best there is %g", e, best)
		}
		got, want = got+e, want+best
		a, _ := stage1Oracle(wide(w))
		encodeTernary(codes, w, float32(a))
		one += plainError(w, codes, float32(a))
	}
	t.Logf("squared error: one plane %.4f, two %.4f, best %.4f", one, got, want)
	// Four weights have hardly more freedom than two scales; the alternation
	// finds a local minimum of many.
	if got > 0.12*one || got > want+0.06*one {
		t.Errorf("two planes leave %g, the best codes %g, one plane %g", got, want, one)
	}
}

// next counts codes up, from all -top to all top.
func next(codes []int8, top int8) bool {
	for i := range codes {
		if codes[i]++; codes[i] <= top {
			return true
		}
		codes[i] = -top
	}
	return false
}

// planesError is the squared error of codes with their best scales.
func planesError(w []float32, codes []int8) float64 {
	t := mat.NewDense(len(w), 2, nil)
	for i, c := range codes {
		t.SetRow(i, []float64{float64(twoPlanes{}.digit(c, 0)), float64(twoPlanes{}.digit(c, 1))})
	}
	x, y := mat.NewVecDense(len(w), wide(w)), mat.NewVecDense(2, nil)
	var gram mat.Dense
	gram.Mul(t.T(), t)
	var right mat.VecDense
	right.MulVec(t.T(), x)
	if y.SolveVec(&gram, &right) != nil {
		return math.Inf(1) // one plane at most; stage 1's case
	}
	return mat.Dot(x, x) - mat.Dot(y, &right)
}

// TestStage1OfNormals: what rounding a normal distribution costs in each format.
// The best nine levels at any distance leave .0279 (Max 1960 has .0345 for eight
// and .0280 for nine), the best sixteen even ones .0115.
func TestStage1OfNormals(t *testing.T) {
	const out, in, group = 64, 1024, 128
	w := normals(randomSource(31), out*in)
	cpu := newCPU(t, 2)
	for format, want := range map[ternaryop.Format][2]float64{
		ternaryop.Ternary2: {.17, .195}, ternaryop.Planes2: {.022, .032}, ternaryop.Int4: {.009, .0125},
	} {
		fit, err := NewFitter(cpu).Fit(format, w, out, in, group, nil, Stage1, FitOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%v: %.4f", format, fit.RelativeError)
		if e := fit.RelativeError; e < want[0] || e > want[1] {
			t.Errorf("%v leaves %g, want %g to %g", format, e, want[0], want[1])
		}
	}
}

// TestDescentOfLevelsNeverRaises starts from anything, good or absurd.
func TestDescentOfLevelsNeverRaises(t *testing.T) {
	cpu := newCPU(t, 1)
	eachLevels(t, func(t *testing.T, l levels) {
		rapid.Check(t, func(t *rapid.T) {
			b, oracle, r := drawBatch(t, cpu, l)
			drawStart(t, b, r)
			w, codes, scales, group := b.w, b.codes, b.scales, b.group
			energy := levelsObjective(l, oracle, w, make([]int8, b.in), scales, group)
			last := levelsObjective(l, oracle, w, codes, scales, group)
			for pass := range 4 {
				b.descend(1)
				now := levelsObjective(l, oracle, w, codes, scales, group)
				if now > last*(1+1e-6)+1e-9*energy {
					t.Fatalf("pass %d raised the objective from %g to %g", pass, last, now)
				}
				last = now
			}
		})
	})
}

// TestRefitOfLevelsIsOptimal: with codes fixed, no other pair of scales is
// better by more than rounding one of them costs.
func TestRefitOfLevelsIsOptimal(t *testing.T) {
	cpu := newCPU(t, 1)
	eachLevels(t, func(t *testing.T, l levels) {
		rapid.Check(t, func(t *rapid.T) {
			group := rapid.IntRange(8, 32).Draw(t, "group")
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
			planes := l.planes()
			w, codes, scales := normals(r, in), make([]int8, in), make([]float32, in/group*planes)
			b := newBatch(l, w, 1, in, group, h, codes, scales)
			b.stage1()
			b.computeErrors()
			g := in/group - 1
			b.descendCodes(g)
			b.refitScales(g)
			best := levelsObjective(l, oracle, w, codes, scales, group)
			energy := levelsObjective(l, oracle, w, make([]int8, in), scales, group)
			last := scales[g*planes:]
			was := slices.Clone(last)
			for i := -24; i <= 24; i++ {
				for j := -24; j <= 24; j++ {
					for p := range last {
						last[p] = storedScale(float64(was[p]) * (1 + float64([2]int{i, j}[p])/1024))
					}
					if other := levelsObjective(l, oracle, w, codes, scales, group); other < best*(1-1e-6)-float64(planes-1)*1e-6*energy {
						t.Fatalf("scales %v leave %g, %v leave %g", was, best, slices.Clone(last), other)
					}
				}
			}
		})
	})
}

// TestMethodsOfLevels: the methods earn their cost in every format, threads
// change nothing, and what is packed is what was fitted.
func TestMethodsOfLevels(t *testing.T) {
	const out, in, group = 48, 192, 64
	r := randomSource(7)
	w, x := normals(r, out*in), correlatedTokens(r, 600, in)
	loss := map[ternaryop.Format]map[Method]float64{}
	for _, format := range []ternaryop.Format{ternaryop.Ternary2, ternaryop.Planes2, ternaryop.Int4} {
		loss[format] = map[Method]float64{}
		for _, method := range fitMethods() {
			var first Fit
			for i, threads := range []int{1, 3} {
				cpu := newCPU(t, threads)
				fit, err := NewFitter(cpu).Fit(format, w, out, in, group, momentOf(t, cpu, x, in), method, FitOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					first = fit
				} else if !slices.Equal(fit.Codes, first.Codes) || !slices.Equal(fit.Scales, first.Scales) || fit.RelativeError != first.RelativeError {
					t.Errorf("%v, %s: %d threads give another result than one", format, method, threads)
				}
			}
			loss[format][method] = first.RelativeError
			packed, err := ternaryop.Pack(format, first.Codes, first.Scales, out, in, group)
			if err != nil {
				t.Fatal(err)
			}
			dense := make([]float32, out*in)
			packed.DecodeRows(dense, 0, out)
			h := dampedOracle(x, in, DefaultDamp)
			var lost, energy float64
			for row := range out {
				e := make([]float64, in)
				for k := range e {
					e[k] = float64(w[row*in+k]) - float64(dense[row*in+k])
				}
				lost += mat.Inner(mat.NewVecDense(in, e), h, mat.NewVecDense(in, e))
				v := mat.NewVecDense(in, wide(w[row*in:][:in]))
				energy += mat.Inner(v, h, v)
			}
			if got := first.RelativeError; math.Abs(got-lost/energy) > 1e-4*got {
				t.Errorf("%v, %s: relative error %g, of the packed matrix %g", format, method, got, lost/energy)
			}
		}
		t.Log(format, loss[format])
		for _, pair := range [][2]Method{{PTBitNet, Stage1}, {GPTQ, Stage1}, {GPTQWithDescent, GPTQ}} {
			if better, worse := loss[format][pair[0]], loss[format][pair[1]]; better >= worse {
				t.Errorf("%v: %s leaves %.5f, %s %.5f", format, pair[0], better, pair[1], worse)
			}
		}
	}
	for _, method := range fitMethods()[1:] {
		if one, two := loss[ternaryop.Ternary2][method], loss[ternaryop.Planes2][method]; two > one/4 {
			t.Errorf("%s: two planes leave %.4f, one %.4f", method, two, one)
		}
	}
}

// TestSameLevelsEverywhere pins the bytes of fits, as TestSameBytesEverywhere
// does.
func TestSameLevelsEverywhere(t *testing.T) {
	const out, in, group, tokens = 24, 160, 32, 700
	r := randomSource(8)
	draw := func() float32 { return float32(r.IntN(2001)-1000) / 512 }
	x := make([]float32, tokens*in)
	for i := range x {
		x[i] = draw()
		if i%in >= 5 {
			x[i] += x[i-3] - x[i-5]/2
		}
	}
	w := make([]float32, out*in)
	for i := range w {
		w[i] = draw()
	}
	cpu := newCPU(t, 2)
	m := momentOf(t, cpu, x, in)
	for want, c := range map[uint64]struct {
		format ternaryop.Format
		method Method
	}{
		0x6658f41b8a994cb3: {ternaryop.Planes2, PTBitNet}, 0x866b5896c51b47ea: {ternaryop.Planes2, GPTQWithDescent},
		0x80793d234aecfebd: {ternaryop.Int4, PTBitNet}, 0x82fcf394084ace5e: {ternaryop.Int4, GPTQWithDescent},
	} {
		fit, err := NewFitter(cpu).Fit(c.format, w, out, in, group, m, c.method, FitOptions{})
		if err != nil {
			t.Fatal(err)
		}
		digest := fnv.New64a()
		for _, part := range []any{fit.Codes, fit.Scales, fit.RelativeError} {
			if err := binary.Write(digest, binary.LittleEndian, part); err != nil {
				t.Fatal(err)
			}
		}
		if got := digest.Sum64(); got != want {
			t.Errorf("%v, %s: digest %#016x, want %#016x (relative error %g)", c.format, c.method, got, want, fit.RelativeError)
		}
	}
}

func TestFitRefusesInt8(t *testing.T) {
	_, err := NewFitter(newCPU(t, 1)).Fit(ternaryop.Int8, make([]float32, 16), 1, 16, 16, nil, Stage1, FitOptions{})
	if want := fmt.Sprintf("no method fits %v", ternaryop.Int8); err == nil || err.Error() != "quantize: "+want {
		t.Errorf("error %v, want %q", err, want)
	}
}
