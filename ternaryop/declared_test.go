package ternaryop

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/seed-796a8800/tritium/graph"
)

// value is an input of a declaration, row-major.
type value struct {
	shape []int
	data  []float32
}

func random(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// eachFormat runs f once per format.
func eachFormat(t *testing.T, f func(t *testing.T, f Format)) {
	for i := range packings {
		t.Run(Format(i).String(), func(t *testing.T) { f(t, Format(i)) })
	}
}

// randomMatrix packs random codes and scales.
func randomMatrix(t testing.TB, rng *rand.Rand, f Format, out, in, group int) *Matrix {
	t.Helper()
	p := packings[f]
	codes, scales := make([]int8, out*p.planes*in), make([]float32, out*p.planes*(f.Cols(in)/group))
	for i := range codes {
		codes[i] = int8(p.low + rng.IntN(p.high-p.low+1))
	}
	for i := range scales {
		scales[i] = (rng.Float32() + .01) / float32(p.high)
	}
	m, err := Pack(f, codes, scales, out, in, group)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// drawMatrix is a random matrix and what it stands for.
func drawMatrix(t testing.TB, r *rand.Rand, f Format, out, in, group int) (m *Matrix, dense []float32) {
	t.Helper()
	m = randomMatrix(t, r, f, out, in, group)
	dense = make([]float32, out*in)
	m.DecodeRows(dense, 0, out)
	return m, dense
}

// declaration is compiled, with its inputs filled.
type declaration struct {
	t    testing.TB
	plan *graph.Plan
	ins  []graph.Buffer
	out  graph.Buffer
}

func declare(t testing.TB, threads int, inputs []value, build func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node) (*declaration, error) {
	t.Helper()
	b := graph.NewBuilder()
	var nodes []*gorgonia.Node
	for i, v := range inputs {
		nodes = append(nodes, b.Input(string(rune('a'+i)), tensor.Float32, v.shape...))
	}
	out := build(b, nodes)
	cpu := graph.NewCPU(threads)
	t.Cleanup(func() { cpu.Close() })
	plan, err := b.Compile(cpu, inputs[0].shape[0], graph.WithOutputs(out))
	if err != nil {
		return nil, err
	}
	d := &declaration{t: t, plan: plan}
	for i, n := range nodes {
		in, err := plan.Value(n)
		if err != nil {
			t.Fatal(err)
		}
		copy(in.Float32s(), inputs[i].data)
		d.ins = append(d.ins, in)
	}
	if d.out, err = plan.Value(out); err != nil {
		t.Fatal(err)
	}
	return d, nil
}

// run runs the first rows as a new sequence.
func (d *declaration) run(rows int) error {
	seq, err := d.plan.NewSequence()
	if err != nil {
		d.t.Fatal(err)
	}
	b := graph.NewBatch()
	b.Add(seq, rows)
	return d.plan.Run(b)
}

// compute returns what is computed for all rows. It checks that threads and
// the size of the batch change no bit, and that nothing beyond is written.
func compute(t testing.TB, inputs []value, build func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node) []float32 {
	t.Helper()
	var first []float32
	for _, threads := range []int{1, 2, 3} {
		d, err := declare(t, threads, inputs, build)
		if err != nil {
			t.Fatal(err)
		}
		rows, out := inputs[0].shape[0], d.out.Float32s()
		width := len(out) / rows
		for _, n := range []int{rows, 1, rows/2 + 1} {
			for i := range out {
				out[i] = 1234
			}
			if err := d.run(n); err != nil {
				t.Fatal(err)
			}
			for i, v := range out[n*width:] {
				if v != 1234 {
					t.Fatalf("a batch of %d rows wrote row %d", n, n+i/width)
				}
			}
			if first == nil {
				first = append(first, out...)
			}
			for i, v := range out[:n*width] {
				if math.Float32bits(v) != math.Float32bits(first[i]) {
					t.Fatalf("%d threads, %d rows: value %d is %v, was %v", threads, n, i, v, first[i])
				}
			}
		}
	}
	return first
}

// multiplied is W·(scale · codes of x) + b in float64, of the very codes that
// QuantizeRow gives.
func multiplied(dense, x, bias []float32) (y []float64) {
	codes := make([]int8, len(x))
	scale := QuantizeRow(codes, x)
	for o := range len(dense) / len(x) {
		sum := 0.0
		for i, c := range codes {
			sum += float64(dense[o*len(x)+i]) * float64(c) * float64(scale)
		}
		if bias != nil {
			sum += float64(bias[o])
		}
		y = append(y, sum)
	}
	return y
}

// near compares to a tolerance relative to the largest value.
func near(t testing.TB, name string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", name, len(got), len(want))
	}
	top := 1.0
	for _, v := range want {
		top = max(top, math.Abs(v))
	}
	for i, v := range want {
		if !(math.Abs(float64(got[i])-v) <= tolerance*top) {
			t.Fatalf("%s: value %d is %v, want %v", name, i, got[i], v)
		}
	}
}

func checkError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q lacks %q", err, w)
		}
	}
	if strings.ContainsAny(err.Error(), "\n\t") {
		t.Errorf("error %q is not one line", err)
	}
}

func refused(t *testing.T, inputs []value, build func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node, words ...string) {
	t.Helper()
	_, err := declare(t, 1, inputs, func(b *graph.Builder, in []*gorgonia.Node) (out *gorgonia.Node) {
		b.Scope("scope", func() { out = build(b, in) })
		return out
	})
	checkError(t, err, append(words, "graph: scope")...)
}
