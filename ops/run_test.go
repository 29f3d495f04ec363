package ops

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/seed-796a8800/tritium/graph"
)

// value is an input of a declaration: float32 or int32, row-major.
type value struct {
	shape []int
	data  any
}

// random draws normal float32s.
func random(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func newRandom() *rand.Rand { return rand.New(rand.NewPCG(3, 4)) }

// declared is a compiled declaration whose rows a test runs as it likes.
type declared struct {
	t    testing.TB
	plan *graph.Plan
	ins  []graph.Buffer
	out  graph.Buffer
}

func declare(t testing.TB, threads int, inputs []value, build func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node) (*declared, error) {
	t.Helper()
	b := graph.NewBuilder()
	var nodes []*gorgonia.Node
	for i, v := range inputs {
		dt := tensor.Float32
		if _, ok := v.data.([]int32); ok {
			dt = tensor.Int32
		}
		nodes = append(nodes, b.Input(string(rune('a'+i)), dt, v.shape...))
	}
	out := build(b, nodes)
	cpu := graph.NewCPU(threads)
	t.Cleanup(func() { cpu.Close() })
	plan, err := b.Compile(cpu, inputs[0].shape[0], graph.WithOutputs(out))
	if err != nil {
		return nil, err
	}
	d := &declared{t: t, plan: plan}
	for i, n := range nodes {
		in, err := plan.Value(n)
		if err != nil {
			t.Fatal(err)
		}
		switch data := inputs[i].data.(type) {
		case []float32:
			copy(in.Float32s(), data)
		case []int32:
			copy(in.Int32s(), data)
		}
		d.ins = append(d.ins, in)
	}
	if d.out, err = plan.Value(out); err != nil {
		t.Fatal(err)
	}
	return d, nil
}

// parameter declares a tensor with a value.
func parameter(b *graph.Builder, name string, data []float32, shape ...int) *gorgonia.Node {
	return b.Parameter(name, tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data)))
}

// run appends the first rows as tokens of a sequence, or of a new one.
func (d *declared) run(seq *graph.Sequence, rows int, want ...int) error {
	d.t.Helper()
	if seq == nil {
		seq = d.sequence()
	}
	b := graph.NewBatch()
	b.Add(seq, rows)
	b.Want(want...)
	return d.plan.Run(b)
}

func (d *declared) sequence() *graph.Sequence {
	d.t.Helper()
	seq, err := d.plan.NewSequence()
	if err != nil {
		d.t.Fatal(err)
	}
	return seq
}

// compute returns what a declaration computes for all rows. It checks on the
// way that threads change no bit and that rows beyond a batch are not written.
func compute(t testing.TB, inputs []value, build func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node) []float32 {
	t.Helper()
	var first []float32
	for _, threads := range []int{1, 3} {
		d, err := declare(t, threads, inputs, build)
		if err != nil {
			t.Fatal(err)
		}
		rows := inputs[0].shape[0]
		out := d.out.Float32s()
		width := len(out) / rows
		for _, n := range []int{rows/2 + 1, rows} {
			for i := range out {
				out[i] = 1234
			}
			if err := d.run(nil, n); err != nil {
				t.Fatal(err)
			}
			for i, v := range out[n*width:] {
				if v != 1234 {
					t.Fatalf("a batch of %d rows wrote row %d", n, n+i/width)
				}
			}
			if first != nil {
				same(t, out[:n*width], first[:n*width])
			}
		}
		if first == nil {
			first = append(first, out...)
		}
	}
	return first
}

// same compares bits.
func same(t testing.TB, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("value %d is %v, want %v", i, got[i], want[i])
		}
	}
}

// near compares with float64 values to a tolerance relative to the largest.
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

// refused checks that a declaration does not compile, for these reasons.
func refused(t *testing.T, inputs []value, build func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node, words ...string) {
	t.Helper()
	_, err := declare(t, 1, inputs, func(b *graph.Builder, in []*gorgonia.Node) (out *gorgonia.Node) {
		b.Scope("scope", func() { out = build(b, in) })
		return out
	})
	checkError(t, err, append(words, "graph: scope")...)
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
