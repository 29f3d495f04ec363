package ops

import (
	"math"
	"testing"

	"gorgonia.org/gorgonia"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/reference"
)

func router(k int) func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
	return func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node { return Router(b, "routing", k, in[0]) }
}

// routed is the reference's routing as a dense row.
func routed(logits []float32, k int) []float64 {
	row := make([]float64, len(logits))
	experts, weights := reference.TopK(widen(logits), k)
	for i, e := range experts {
		row[e] = weights[i]
	}
	return row
}

func TestRouter(t *testing.T) {
	// Spec 4.7.
	z := []float32{0.1, 2, -1, 1.5, 1.9, 0, 3, 1.4}
	want := make([]float64, 8)
	want[6], want[1], want[4], want[3] = 0.51978275, 0.19121739, 0.17302065, 0.11597921
	near(t, "spec", compute(t, []value{{[]int{1, 8}, z}}, router(4)), want, 1e-7)

	r := newRandom()
	for _, tc := range []struct{ rows, e, k int }{{1, 1, 1}, {5, 8, 2}, {9, 5, 5}, {40, 128, 4}, {3, 33, 1}} {
		z := random(r, tc.rows*tc.e)
		var want []float64
		for i := range tc.rows {
			want = append(want, routed(z[i*tc.e:(i+1)*tc.e], tc.k)...)
		}
		got := compute(t, []value{{[]int{tc.rows, tc.e}, z}}, router(tc.k))
		near(t, "random", got, want, 1e-6)
		for i, w := range want {
			if (w == 0) != (got[i] == 0) {
				t.Fatalf("expert %d: %v, want %v", i, got[i], w)
			}
		}
	}
	inf := float32(math.Inf(1))
	for name, tc := range map[string]struct {
		z    []float32
		want []float64
	}{
		"ties":        {[]float32{1, 2, 2, 2}, []float64{0, 0.5, 0.5, 0}},
		"all equal":   {[]float32{-7, -7, -7, -7}, []float64{0.5, 0.5, 0, 0}},
		"one left":    {[]float32{-inf, 3, -inf, -inf}, []float64{0, 1, 0, 0}},
		"far apart":   {[]float32{0, -500, -501, -502}, []float64{1, 0, 0, 0}}, // exp(-500) is no float32
		"larger than": {[]float32{1e38, 1e38, -1e38, 0}, []float64{0.5, 0.5, 0, 0}},
	} {
		near(t, name, compute(t, []value{{[]int{1, 4}, tc.z}}, router(2)), tc.want, 1e-7)
	}
	nan := float32(math.NaN())
	for name, z := range map[string][]float32{"NaN": {1, nan, 2, 3}, "leading NaN": {nan, 1, 2, 3}, "+Inf": {inf, 0, 0, 0}, "all -Inf": {-inf, -inf, -inf, -inf}} {
		got := compute(t, []value{{[]int{1, 4}, z}}, router(2))
		if v := got[0]; v == v {
			t.Errorf("%s: routing %v, want NaN", name, got)
		}
	}
	for _, k := range []int{0, -1, 5} {
		refused(t, []value{{[]int{1, 4}, make([]float32, 4)}}, router(k), "routing: choosing")
	}
}

func activate(limit float32) func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
	return func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node { return SwiGLU(b, in[0], limit) }
}

func TestSwiGLU(t *testing.T) {
	// Spec 4.8: gate and up interleaved.
	got := compute(t, []value{{[]int{1, 2, 8}, []float32{0, 0, 1, 0, 1, 1, -1, 2, 10, 10, -10, -10, 7, -8, 0.5, -1}}}, activate(7))
	for i, want := range []float64{0, 0.845795765933, 1.691591531866, -0.462612702202, 55.999625026, 2.434776777e-6, -41.999718770, 0} {
		if math.Abs(float64(got[i])-want) > 1e-6*math.Abs(want) {
			t.Errorf("vector %d: %.10g, want %.10g", i, got[i], want)
		}
	}
	r := newRandom()
	for _, s := range [][]int{{1, 1, 2}, {7, 3, 34}, {40, 4, 192}} {
		n := s[0] * s[1] * s[2]
		x := random(r, n)
		for i := range x {
			x[i] *= 5
		}
		want := make([]float64, n/2)
		for i := range want {
			want[i] = reference.SwiGLU(float64(x[2*i]), float64(x[2*i+1]), 6)
		}
		near(t, "random", compute(t, []value{{s, x}}, activate(6)), want, 1e-6)
	}
	refused(t, []value{{[]int{1, 2, 3}, make([]float32, 6)}}, activate(7), "swiglu of shape (1, 2, 3)")
	for _, limit := range []float32{0, -1, float32(math.NaN())} {
		refused(t, []value{{[]int{1, 2, 4}, make([]float32, 8)}}, activate(limit), "swiglu: a limit of")
	}
}

func combined(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node { return Combine(b, in[0], in[1]) }

func TestCombine(t *testing.T) {
	const rows, active, e, h = 5, 2, 4, 19
	x := random(newRandom(), rows*active*h)
	routing := []float32{0, 0.25, 0, 0.75, 1, 0, 0, 0, 0, 0, 0, 0, 0.5, 0.5, 0, 0, 0, 0, -2, 0}
	want := make([]float64, rows*h)
	for t := range rows {
		slot := 0
		for i := range e {
			if w := float64(routing[t*e+i]); w != 0 {
				for j := range h {
					want[t*h+j] += w * float64(x[(t*active+slot)*h+j])
				}
				slot++
			}
		}
	}
	got := compute(t, []value{{[]int{rows, active, h}, x}, {[]int{rows, e}, routing}}, combined)
	near(t, "combine", got, want, 1e-6)
	for _, v := range got[2*h : 3*h] {
		if v != 0 {
			t.Fatal("a token without experts is not zero")
		}
	}
	routing[0], routing[2] = 1, 1
	d, err := declare(t, 1, []value{{[]int{rows, active, h}, x}, {[]int{rows, e}, routing}}, combined)
	if err != nil {
		t.Fatal(err)
	}
	checkError(t, d.run(nil, rows), "combine: token 0 is routed to 4 experts, at most 2")
	refused(t, []value{{[]int{4, 2, 3}, make([]float32, 24)}, {[]int{3, 5}, make([]float32, 15)}}, combined, "combine", "(4, 2, 3)", "(3, 5)")
}
