package quantize

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestAgainstOracles holds the blocked methods against the column-by-column
// ones, over sizes that cross strips, panels, tiles and batches of rows.
func TestAgainstOracles(t *testing.T) {
	cpu := newCPU(t, 2)
	for _, c := range []struct{ out, in, group int }{
		{3, 8, 8}, {5, 30, 10}, {40, 96, 32}, {6, 160, 160}, {4, 288, 144}, {4, 264, 8},
		{5, 100, 80}, {6, 192, 80}, {4, 192, 240}, {3, 290, 160}, // the last group is shorter
	} {
		t.Run(fmt.Sprintf("out=%d/in=%d/group=%d", c.out, c.in, c.group), func(t *testing.T) {
			r := randomSource(uint64(c.in))
			x := correlatedTokens(r, 2*c.in, c.in)
			w := normals(r, c.out*c.in)
			h, m := dampedOracle(x, c.in, 0.01), momentOf(t, cpu, x, c.in)
			for _, method := range fitMethods() {
				fit, err := NewFitter(cpu).Ternary(w, c.out, c.in, c.group, m, method, FitOptions{Passes: 2})
				if err != nil {
					t.Fatal(err)
				}
				if method == AbsMean {
					continue // has no blocks; TestAbsMean
				}
				var got, want, total float64
				differ := 0
				for row := range c.out {
					w := w[row*c.in:][:c.in]
					codes, scales := oracleFit(t, method, h, w, c.group, 2)
					groups := groupsOf(c.in, c.group)
					gotCodes, gotScales := fit.Codes[row*c.in:][:c.in], fit.Scales[row*groups:][:groups]
					want += objective(h, w, codes, scales, c.group)
					got += objective(h, w, gotCodes, gotScales, c.group)
					total += objective(h, w, make([]int8, c.in), scales, c.group)
					for i := range codes {
						if codes[i] != gotCodes[i] {
							differ++
						}
					}
				}
				// A tie broken the other way may carry a few codes with it.
				if differ*100 > c.out*c.in {
					t.Errorf("%s: %d of %d codes differ from the oracle's", method, differ, c.out*c.in)
				}
				if math.Abs(got-want) > 3e-3*want {
					t.Errorf("%s: objective %g, the oracle's %g", method, got, want)
				}
				if math.Abs(fit.RelativeError-got/total) > 1e-5 {
					t.Errorf("%s: RelativeError %g, computed anew %g", method, fit.RelativeError, got/total)
				}
			}
		})
	}
}

// TestMethodOrder: on correlated inputs each method earns its cost.
func TestMethodOrder(t *testing.T) {
	cpu := newCPU(t, 2)
	const out, in, group = 48, 192, 64
	r := randomSource(7)
	m := momentOf(t, cpu, correlatedTokens(r, 600, in), in)
	w := normals(r, out*in)
	f := NewFitter(cpu)
	loss := map[Method]float64{}
	for _, method := range fitMethods() {
		fit, err := f.Ternary(w, out, in, group, m, method, FitOptions{})
		if err != nil {
			t.Fatal(err)
		}
		loss[method] = fit.RelativeError
	}
	t.Log(loss)
	for _, pair := range [][2]Method{{Stage1, AbsMean}, {PTBitNet, Stage1}, {GPTQ, Stage1}, {GPTQWithDescent, GPTQ}} {
		if better, worse := loss[pair[0]], loss[pair[1]]; better >= worse {
			t.Errorf("%s leaves %.4f, %s %.4f", pair[0], better, pair[1], worse)
		}
	}
	if loss[PTBitNet] > 0.6*loss[Stage1] {
		t.Errorf("descent leaves %.4f of stage 1's %.4f: on these inputs it removes half", loss[PTBitNet], loss[Stage1])
	}
}

// TestSameBytes: neither threads, nor how tokens arrive, nor a Fitter's
// previous work change a fit.
func TestSameBytes(t *testing.T) {
	const out, in, group = 70, 144, 48
	r := randomSource(3)
	x := correlatedTokens(r, 1100, in)
	w := normals(r, out*in)
	for _, method := range fitMethods() {
		var first Fit
		for i, threads := range []int{1, 2, 3, 7} {
			cpu := newCPU(t, threads)
			m := NewMoment(in)
			for at := 0; at < len(x); {
				n := min(len(x)-at, in*(1+i*97))
				if err := m.Add(cpu, x[at:at+n], in, nil); err != nil {
					t.Fatal(err)
				}
				at += n
			}
			f := NewFitter(cpu)
			if i%2 == 1 { // leave something in its memory
				if _, err := f.Ternary(normals(r, 200*in), 200, in, in, m, GPTQWithDescent, FitOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			fit, err := f.Ternary(w, out, in, group, m, method, FitOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = fit
			} else if !slices.Equal(fit.Codes, first.Codes) || !slices.Equal(fit.Scales, first.Scales) || fit.RelativeError != first.RelativeError {
				t.Errorf("%s: %d threads give another result than one", method, threads)
			}
		}
	}
}

// TestSameBytesEverywhere pins the bytes of a fit, so that a processor or build
// tag that computes anything else shows up: units of work of one model are
// spread over unlike machines. A change of an algorithm changes the digests
// rightly; a change of platform must not.
func TestSameBytesEverywhere(t *testing.T) {
	const out, in, group, tokens = 24, 160, 32, 700
	r := randomSource(8)
	// Integers: no library function whose last bit could differ.
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
	for method, want := range map[Method]uint64{
		AbsMean: 0x280bae3aba207e37, Stage1: 0xd28fcac6ff636a5c, PTBitNet: 0x03ca83c7739245d0,
		GPTQ: 0xa8997b02de762d1c, GPTQWithDescent: 0x0d97371076f0fc05,
	} {
		fit, err := NewFitter(cpu).Ternary(w, out, in, group, m, method, FitOptions{})
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
			t.Errorf("%s: digest %#016x, want %#016x (relative error %g)", method, got, want, fit.RelativeError)
		}
	}
}

// TestStored: codes are ternary and scales survive the file's float16,
// whatever the magnitude of the weights.
func TestStored(t *testing.T) {
	cpu := newCPU(t, 2)
	f := NewFitter(cpu)
	rapid.Check(t, func(t *rapid.T) {
		group := rapid.IntRange(1, 40).Draw(t, "group")
		in := group * rapid.IntRange(1, 5).Draw(t, "groups")
		out := rapid.IntRange(1, 20).Draw(t, "out")
		r := randomSource(rapid.Uint64().Draw(t, "seed"))
		size := float32(math.Pow(10, rapid.Float64Range(-12, 6).Draw(t, "magnitude")))
		w := normals(r, out*in)
		for i := range w {
			w[i] *= size
		}
		m := NewMoment(in)
		if err := m.Add(cpu, correlatedTokens(r, rapid.IntRange(0, 30).Draw(t, "tokens"), in), in, nil); err != nil {
			t.Fatal(err)
		}
		method := rapid.SampledFrom(Methods()).Draw(t, "method")
		fit, err := f.Ternary(w, out, in, group, m, method, FitOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range fit.Codes {
			if c < -1 || c > 1 {
				t.Fatalf("code %d is %d", i, c)
			}
		}
		for i, a := range fit.Scales {
			if a < 0 || a > maxHalf || storedScale(float64(a)) != a {
				t.Fatalf("scale %d is %g", i, a)
			}
		}
		if !(fit.RelativeError >= 0) || math.IsInf(fit.RelativeError, 0) {
			t.Fatalf("relative error %g", fit.RelativeError)
		}
	})
}

func TestDegenerate(t *testing.T) {
	cpu := newCPU(t, 2)
	const out, in, group = 4, 24, 8
	r := randomSource(5)
	w := normals(r, out*in)
	f := NewFitter(cpu)
	want, err := f.Ternary(w, out, in, group, nil, Stage1, FitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dead := correlatedTokens(r, 50, in) // inputs 3 and 10 are never on
	for i := 0; i < len(dead); i += in {
		dead[i+3], dead[i+10] = 0, 0
	}
	for _, method := range fitMethods()[1:] {
		for name, m := range map[string]*Moment{
			"no statistics": nil, "no tokens": NewMoment(in), "zero tokens": momentOf(t, cpu, make([]float32, 3*in), in),
		} {
			fit, err := f.Ternary(w, out, in, group, m, method, FitOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(fit.Codes, want.Codes) || !slices.Equal(fit.Scales, want.Scales) || fit.RelativeError != want.RelativeError {
				t.Errorf("%s with %s is not stage 1", method, name)
			}
		}
		fit, err := f.Ternary(w, out, in, group, momentOf(t, cpu, dead, in), method, FitOptions{})
		if err != nil || !(fit.RelativeError > 0 && fit.RelativeError < 0.5) {
			t.Errorf("%s with dead inputs: error %g, %v", method, fit.RelativeError, err)
		}
		fit, err = f.Ternary(make([]float32, out*in), out, in, group, momentOf(t, cpu, dead, in), method, FitOptions{})
		if err != nil || fit.RelativeError != 0 || slices.Max(fit.Scales) != 0 {
			t.Errorf("%s of zeros: error %g, scales up to %g, %v", method, fit.RelativeError, slices.Max(fit.Scales), err)
		}
		// One token: H has rank 1 and only the damping keeps it definite.
		fit, err = f.Ternary(w, out, in, group, momentOf(t, cpu, dead[:in], in), method, FitOptions{Damp: 1e-9})
		if err != nil || !(fit.RelativeError >= 0 && (method == Stage1 || fit.RelativeError < 0.02)) {
			t.Errorf("%s with one token, hardly damped: error %g, %v", method, fit.RelativeError, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	cpu := newCPU(t, 1)
	w := normals(randomSource(1), 2*8)
	broken := slices.Clone(w)
	broken[11] = float32(math.NaN())
	infinite := slices.Clone(w)
	infinite[3] = float32(math.Inf(-1))
	hot := NewMoment(8)
	if err := hot.Add(cpu, infinite[:8], 8, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name           string
		w              []float32
		out, in, group int
		m              *Moment
		method         Method
		opt            FitOptions
		want           string
	}{
		{"no group", w, 2, 8, 0, nil, Stage1, FitOptions{}, "in groups of 0"},
		{"group below", w, 2, 8, math.MinInt, nil, Stage1, FitOptions{}, "in groups of -"},
		{"shape", w, 3, 8, 8, nil, Stage1, FitOptions{}, "16 weights are not a [3, 8] matrix"},
		{"no shape", nil, 0, 0, 8, nil, Stage1, FitOptions{}, "are not a [0, 0] matrix"},
		{"overflow", w, math.MaxInt/4 + 1, 8, 8, nil, Stage1, FitOptions{}, "matrix"},
		{"nan", broken, 2, 8, 8, nil, AbsMean, FitOptions{}, "row 1, column 3 is NaN"},
		{"infinite", infinite, 2, 8, 8, nil, Stage1, FitOptions{}, "row 0, column 3 is -Inf"},
		{"statistics", w, 2, 8, 8, NewMoment(9), Stage1, FitOptions{}, "statistics of 9 inputs"},
		{"activations", w, 2, 8, 8, hot, PTBitNet, FitOptions{}, "calibration activations hold NaN"},
		{"method", w, 2, 8, 8, nil, "best", FitOptions{}, "choose one of absmean, stage1, pt-bitnet"},
		{"damp", w, 2, 8, 8, nil, Stage1, FitOptions{Damp: math.NaN()}, "damping NaN"},
		{"passes", w, 2, 8, 8, nil, Stage1, FitOptions{Passes: -1}, "-1 passes"},
	} {
		_, err := NewFitter(cpu).Ternary(c.w, c.out, c.in, c.group, c.m, c.method, c.opt)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

// fitMethods are the methods that fit and do not train.
func fitMethods() []Method {
	return slices.DeleteFunc(Methods(), Method.Trains)
}
