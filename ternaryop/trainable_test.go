package ternaryop

import (
	"math/rand/v2"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/seed-796a8800/tritium/graph"
)

// straightThrough compiles Σ c·f(in) and returns f's value and the derivatives
// by its inputs.
func straightThrough(t *testing.T, f func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node, c []float32, shapes [][]int, data ...[]float32) (y []float32, grads [][]float32) {
	t.Helper()
	b := graph.NewBuilder()
	var in gorgonia.Nodes
	for i, d := range data {
		in = append(in, b.Input(string(rune('a'+i)), tensor.Float32, shapes[i]...))
		if len(d) != tensor.Shape(shapes[i]).TotalSize() {
			t.Fatalf("input %d has %d values for shape %v", i, len(d), shapes[i])
		}
	}
	out := f(b, in)
	weights := b.Parameter("weights", tensor.New(tensor.WithShape(out.Shape()...), tensor.WithBacking(c)))
	cost := b.Try(gorgonia.Sum(b.Try(gorgonia.HadamardProd(out, weights))))
	if err := b.Err(); err != nil {
		t.Fatal(err)
	}
	nodes, err := gorgonia.Grad(cost, in...)
	if err != nil {
		t.Fatal(err)
	}
	cpu := graph.NewCPU(2)
	defer cpu.Close()
	plan, err := b.Compile(cpu, shapes[0][0], graph.WithOutputs(append(gorgonia.Nodes{out}, nodes...)...))
	if err != nil {
		t.Fatal(err)
	}
	read := func(n *gorgonia.Node) []float32 {
		v, err := plan.Value(n)
		if err != nil {
			t.Fatal(err)
		}
		return v.Float32s()
	}
	for i, n := range in {
		copy(read(n), data[i])
	}
	if err := plan.RunAll(); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		grads = append(grads, read(n))
	}
	return read(out), grads
}

func TestTernarize(t *testing.T) {
	// One group with scale 2, one with scale 1.
	latent := []float32{-3, -2, -1.5, -.5, 0, .9, 1.1, 2.5, -.4, .4, .6, 5}
	scales := []float32{2, 1, .5}
	c := []float32{1, -1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1}
	y, g := straightThrough(t, func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
		return Ternarize(b, "ternary", 4, in[0], in[1])
	}, c, [][]int{{1, 12}, {1, 3}}, latent, scales)
	expect(t, "weights", y, []float32{-2, -2, -2, 0, 0, 1, 1, 1, -.5, .5, .5, .5})
	// -3 with dw 1 would move further out, -2 with dw -1 back in; 5 with -1
	// further out, and 2.5 and 1.1 with 1 back in.
	expect(t, "by latent", g[0], []float32{0, -1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0})
	// Group 0: -1, +1, -1+.75, 0+.25; group 1: 0, 1-.9, 1, 1; group 2: -1+.8... in scales of .5.
	expect(t, "by scale", g[1], []float32{-1 + 1 - .25 + .25, 0 + .1 + 1 + 1, -1 + .8 + 1 - .8 + 1 - 1})
}

func TestTernarizeExperts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const e, out, in, group = 3, 2, 8, 4
	latent, scales, c := make([]float32, e*out*in), make([]float32, e*out*in/group), make([]float32, e*out*in)
	for i := range latent {
		latent[i], c[i] = float32(r.NormFloat64()), float32(r.NormFloat64())
	}
	for i := range scales {
		scales[i] = .2 + r.Float32()
	}
	y, g := straightThrough(t, func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
		return Ternarize(b, "ternary", 4, in[0], in[1])
	}, c, [][]int{{e, out, in}, {e, out, in / group}}, latent, scales)
	for i, s := range scales { // each group by itself gives the same
		lo, hi := i*group, (i+1)*group
		y1, g1 := straightThrough(t, func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
			return Ternarize(b, "ternary", 4, in[0], in[1])
		}, c[lo:hi], [][]int{{1, group}, {1, 1}}, latent[lo:hi], []float32{s})
		expect(t, "weights", y[lo:hi], y1)
		expect(t, "by latent", g[0][lo:hi], g1[0])
		expect(t, "by scale", g[1][i:i+1], g1[1])
	}
}

func TestRoundInputs(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const tokens, active, in = 3, 2, 37
	x, c := make([]float32, tokens*active*in), make([]float32, tokens*active*in)
	for i := range x {
		x[i], c[i] = float32(r.NormFloat64()), float32(r.NormFloat64())
	}
	y, g := straightThrough(t, func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
		return RoundInputs(b, "inputs", in[0])
	}, c, [][]int{{tokens, active, in}}, x)
	expect(t, "derivatives", g[0], c)
	q := make([]int8, in)
	for row := 0; row < len(x); row += in {
		s := QuantizeRow(q, x[row:row+in])
		for i, code := range q {
			if y[row+i] != s*float32(code) {
				t.Fatalf("value %d is %v, want %d times %v", row+i, y[row+i], code, s)
			}
		}
	}
}

func expect(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i, w := range want {
		if d := got[i] - w; d > 1e-5 || d < -1e-5 || len(got) != len(want) {
			t.Fatalf("%s: %v, want %v", what, got, want)
		}
	}
}

// TestTernarizeRest: the last group of a row may be shorter.
func TestTernarizeRest(t *testing.T) {
	latent := []float32{.9, -.2, 3, -3, .1, 2.5}
	scales := []float32{1, 2, 1, 2}
	y, g := straightThrough(t, func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
		return Ternarize(b, "ternary", 2, in[0], in[1])
	}, []float32{1, 1, 1, 1, 1, 1}, [][]int{{2, 3}, {2, 2}}, latent, scales)
	expect(t, "weights", y, []float32{1, 0, 2, -1, 0, 2})
	expect(t, "by scale", g[1], []float32{.1 + .2, 1, -1 - .1, 1})
}
