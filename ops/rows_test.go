package ops

import (
	"math"
	"testing"

	"gorgonia.org/gorgonia"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/reference"
)

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func norm(weight []float32, eps float32) func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
	return func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
		return RMSNorm(b, "norm", eps, in[0], parameter(b, "weight", weight, len(weight)))
	}
}

func TestRMSNorm(t *testing.T) {
	// Spec 4.2.
	got := compute(t, []value{{[]int{1, 4}, []float32{1, -2, 3, 0.5}}}, norm([]float32{1, 0.5, 2, 1}, 1e-5))
	near(t, "spec", got, []float64{0.52981220, -0.52981220, 3.17887320, 0.26490610}, 1e-7)

	r := newRandom()
	for _, shape := range [][]int{{1, 1}, {5, 7}, {3, 33}, {300, 96}, {2, 2880}} {
		rows, w := shape[0], shape[1]
		x, weight := random(r, rows*w), random(r, w)
		clear(x[:w]) // a row of zeros stays one
		var want []float64
		for i := range rows {
			want = append(want, reference.RMSNorm(widen(x[i*w:(i+1)*w]), widen(weight), float64(float32(1e-5)))...)
		}
		near(t, "random", compute(t, []value{{shape, x}}, norm(weight, 1e-5)), want, 1e-6)
	}
	refused(t, []value{{[]int{2, 4}, make([]float32, 8)}}, norm(make([]float32, 3), 1e-5), "norm", "3 weights for rows of 4")
}

func TestResidual(t *testing.T) {
	r := newRandom()
	add := func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node { return Residual(b, "sum", in[0], in[1]) }
	for _, shape := range [][]int{{1, 1}, {7, 19}, {300, 96}} {
		n := shape[0] * shape[1]
		x, y := random(r, n), random(r, n)
		want := make([]float32, n)
		for i := range want {
			want[i] = x[i] + y[i]
		}
		same(t, compute(t, []value{{shape, x}, {shape, y}}, add), want)
	}
	x := make([]float32, 24)
	refused(t, []value{{[]int{2, 4}, x}, {[]int{2, 5}, x}}, add, "sum", "(2, 4)", "(2, 5)")
	refused(t, []value{{[]int{2, 4}, x}, {[]int{2, 2, 2}, x}}, add, "sum")
}

func TestEmbedding(t *testing.T) {
	r := newRandom()
	table := F32{Out: 11, In: 6, Data: random(r, 66)}
	embed := func(m Matrix) func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
		return func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node { return Embedding(b, "embed", m, in[0]) }
	}
	ids := []int32{10, 0, 3, 3, 9}
	var want []float32
	for _, id := range ids {
		want = append(want, table.Data[id*6:id*6+6]...)
	}
	same(t, compute(t, []value{{[]int{5}, ids}}, embed(table)), want)
	for _, id := range []int32{-1, 11, math.MaxInt32, math.MinInt32} {
		d, err := declare(t, 1, []value{{[]int{2}, []int32{0, id}}}, embed(table))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.run(nil, 1); err != nil {
			t.Errorf("a bad id beyond the batch: %v", err)
		}
		checkError(t, d.run(nil, 2), "embed: token id ", "outside the vocabulary of 11")
	}
	refused(t, []value{{[]int{5}, ids}}, embed(F32{Out: 11, In: 6, Data: make([]float32, 65)}), "embed: 65 elements of storage for a 11 x 6 matrix, want 66")
	refused(t, []value{{[]int{5}, make([]float32, 5)}}, embed(table), "embed")
}

func TestSelectOutputs(t *testing.T) {
	r := newRandom()
	x := random(r, 6*5)
	weight := random(r, 5)
	d, err := declare(t, 2, []value{{[]int{6, 5}, x}}, func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
		return norm(weight, 1e-5)(b, []*gorgonia.Node{SelectOutputs(b, "select", in[0])})
	})
	if err != nil {
		t.Fatal(err)
	}
	all := compute(t, []value{{[]int{6, 5}, x}}, norm(weight, 1e-5))
	for _, rows := range [][]int{{0}, {5}, {1, 2, 4}, {0, 1, 2, 3, 4, 5}, {}} {
		out := d.out.Float32s()
		for i := range out {
			out[i] = 1234
		}
		if err := d.run(nil, 6, rows...); err != nil {
			t.Fatal(err)
		}
		for i, row := range rows {
			same(t, out[i*5:i*5+5], all[row*5:row*5+5])
		}
		for _, v := range out[len(rows)*5:] {
			if v != 1234 {
				t.Fatalf("wanting %v wrote more rows", rows)
			}
		}
	}
	// What follows a sequence cannot see only some of its tokens.
	refused(t, []value{{[]int{6, 4}, make([]float32, 24)}}, func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
		return Rope(b, "rope", YaRN(4, 1e4, 1, 32, 1, 4096), SelectOutputs(b, "select", in[0]))
	}, "rope", "selected rows")
	refused(t, []value{{[]int{6, 4}, make([]float32, 24)}}, func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
		x := SelectOutputs(b, "select", in[0])
		return Attention{Name: "attention", Heads: 1, KVHeads: 1, HeadDim: 4}.Apply(b, x, x, x, parameter(b, "sinks", []float32{0}, 1))
	}, "attention", "selected rows")
}
