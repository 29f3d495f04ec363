package graph_test

import (
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// TestGradIsGorgonias: the derivatives have the bits that gorgonia.Grad's have.
func TestGradIsGorgonias(t *testing.T) {
	run := func(differentiate func(c *classifier)) (values [][]float32) {
		c := declareClassifier(graph.NewBuilder())
		differentiate(c)
		p := compile(t, c.b, graph.NewCPU(2), 8, graph.WithOutputs(c.out...))
		for i, n := range c.inputs {
			copy(value(t, p, n), random(uint64(7+i), n.Shape()...).Data().([]float32))
		}
		if err := p.RunAll(); err != nil {
			t.Fatal(err)
		}
		for _, n := range c.out {
			values = append(values, value(t, p, n))
		}
		return values
	}
	want := run(func(c *classifier) { c.differentiate(t) })
	got := run(func(c *classifier) { c.out = append(c.out, c.b.Grad(c.loss, c.params...)...) })
	for i := range want {
		if !sameBits(got[i], want[i]) {
			t.Errorf("output %d: %v, gorgonia says %v", i, got[i], want[i])
		}
	}
}

// newSquare is x² with its derivative.
func newSquare() *graph.Function {
	base := func(kind string, inputs int) graph.Base {
		o := graph.Base{Kind: kind, Out: graph.Float32Tensor(2)}
		for range inputs {
			o.In = append(o.In, graph.Float32Tensor(2))
		}
		return o
	}
	step := func(f func(dst []float32, in []graph.Buffer)) func(a *graph.Args, _ *graph.CPU) (graph.Step, error) {
		return func(a *graph.Args, _ *graph.CPU) (graph.Step, error) {
			return func(*graph.Batch) error { f(a.Out.Float32s(), a.In); return nil }, nil
		}
	}
	return &graph.Function{Base: base("square", 1), Infer: graph.Like(0),
		OnCPU: step(func(dst []float32, in []graph.Buffer) {
			for i, x := range in[0].Float32s() {
				dst[i] = x * x
			}
		}),
		Gradient: graph.Gradient{func(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
			return gorgonia.ApplyOp(&graph.Function{Base: base("square by input", 2), Infer: graph.Like(0),
				OnCPU: step(func(dst []float32, in []graph.Buffer) {
					for i, x := range in[0].Float32s() {
						dst[i] = 2 * x * in[1].Float32s()[i]
					}
				})}, in[0], grad)
		}},
	}
}

// TestGradSums: a loss of several elements counts as their sum, and a value
// that is used three times collects three derivatives, without allocating.
func TestGradSums(t *testing.T) {
	const rows, width = 700, 9 // several parts of a sum
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, rows, width)
	y := b.Apply("y", newSquare(), x)
	z := b.Apply("z", newSquare(), y) // x⁴
	loss := b.Apply("loss", addThree(), x, y, z)
	grads := b.Grad(loss, x)
	p := compile(t, b, graph.NewCPU(2), rows, graph.WithOutputs(grads...))
	for i := range value(t, p, x) {
		value(t, p, x)[i] = float32(i%11) - 5
	}
	if err := p.RunAll(); err != nil {
		t.Fatal(err)
	}
	for i, g := range value(t, p, grads[0]) {
		x := float32(i%11) - 5
		if want := 1 + 2*x + 4*x*x*x; g != want {
			t.Fatalf("element %d: %v, want %v", i, g, want)
		}
	}
	if n := testing.AllocsPerRun(10, func() { _ = p.RunAll() }); n != 0 {
		t.Errorf("%v allocations a run", n)
	}
}

// addThree adds three inputs; each has the derivative by the sum.
func addThree() *graph.Function {
	pass := func(_ gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) { return grad, nil }
	return &graph.Function{Base: graph.Base{Kind: "three", In: graph.Float32Tensors(2, 2, 2), Out: graph.Float32Tensor(2)}, Infer: graph.Like(0),
		OnCPU: func(a *graph.Args, _ *graph.CPU) (graph.Step, error) {
			return func(*graph.Batch) error {
				for i := range a.Out.Float32s() {
					a.Out.Float32s()[i] = a.In[0].Float32s()[i] + a.In[1].Float32s()[i] + a.In[2].Float32s()[i]
				}
				return nil
			}, nil
		},
		Gradient: graph.Gradient{pass, pass, pass},
	}
}

// TestGradNeedsALeafOfTheLoss: what the loss does not depend on has no
// derivative, and what does not depend on the leaves needs none.
func TestGradNeedsALeafOfTheLoss(t *testing.T) {
	declare := func() (b *graph.Builder, loss, x, other *gorgonia.Node) {
		b = graph.NewBuilder()
		x, other = b.Input("x", tensor.Float32, 2, 3), b.Input("other", tensor.Float32, 2, 3)
		opaque := b.Apply("opaque", newToy("copy", "", 1, 0, func(dst []float32, in [][]float32) { copy(dst, in[0]) }), other)
		return b, b.Apply("loss", addThree(), x, opaque, x), x, other
	}
	b, loss, x, _ := declare()
	if grads := b.Grad(loss, x); b.Err() != nil || len(grads) != 1 {
		t.Error(b.Err(), grads)
	}
	b, loss, _, other := declare()
	if grads := b.Grad(loss, other); grads != nil || b.Err() == nil || !strings.Contains(b.Err().Error(), "opaque: copy cannot be differentiated") {
		t.Error(b.Err(), grads)
	}
	b, loss, _, _ = declare()
	unused := b.Input("unused", tensor.Float32, 2, 3)
	if grads := b.Grad(loss, unused); grads != nil || b.Err() == nil || !strings.Contains(b.Err().Error(), "unused: the loss loss does not depend on it") {
		t.Error(b.Err(), grads)
	}
}
