package ops

import (
	"fmt"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Product is a projection by weights that are a node, which training changes:
// y = x·Wᵀ + bias.
//
// Shapes: x [T, In], w [Out, In], bias [Out] -> [T, Out].
func Product(b *graph.Builder, name string, x, w, bias *gorgonia.Node) *gorgonia.Node {
	return b.Apply(name, &graph.Function{
		Base: graph.Base{Kind: "product", Attributes: name, In: graph.Float32Tensors(2, 2, 1), Out: graph.Float32Tensor(2)},
		Infer: func(in []tensor.Shape) (tensor.Shape, error) {
			x, w, bias := in[0], in[1], in[2]
			if x[1] != w[1] || bias[0] != w[0] {
				return nil, fmt.Errorf("a product of %v and %v with a bias of %v", x, w, bias)
			}
			return tensor.Shape{x[0], w[0]}, nil
		},
		OnCPU:    prepareProduct,
		Gradient: graph.Gradient{productByInput, productByWeight, sumRowsOf},
	}, x, w, bias)
}

func prepareProduct(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
	x, w, bias, y := a.In[0].Float32s(), a.In[1].Float32s(), a.In[2].Float32s(), a.Out.Float32s()
	out, in := a.In[1].Shape()[0], a.In[1].Shape()[1]
	return func(b *graph.Batch) error {
		t := b.Active(a.Rows)
		cpu.Parallel(t, func(_, i int) { copy(y[i*out:(i+1)*out], bias) })
		mulNT(cpu, y, out, x, in, w, t, out, in, true)
		return nil
	}, nil
}

// productByInput is dx = dy·W.
func productByInput(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(&graph.Function{
		Base:  graph.Base{Kind: "product by input", In: graph.Float32Tensors(2, 2), Out: graph.Float32Tensor(2)},
		Infer: func(in []tensor.Shape) (tensor.Shape, error) { return tensor.Shape{in[0][0], in[1][1]}, nil },
		OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
			out, in := a.In[1].Shape()[0], a.In[1].Shape()[1]
			s := graph.Shared[products](a)
			s.b = grow(s.b, out*in)
			return func(b *graph.Batch) error {
				transpose(cpu, s.b, out, a.In[1].Float32s(), out, in)
				mulNT(cpu, a.Out.Float32s(), in, a.In[0].Float32s(), out, s.b, b.Active(a.Rows), in, out, false)
				return nil
			}, nil
		},
	}, grad, in[1])
}

// frozenRows is how many rows of a weight that is not a node are decoded at a
// time to differentiate by the input.
const frozenRows = 256

// byInput is dx = dy·W of weights that no training changes. The derivative
// passes through the rounding of the input, if any.
func (d Dense) byInput(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
	out, width := d.Weight.Dims()
	return gorgonia.ApplyOp(&graph.Function{
		Base:  graph.Base{Kind: "linear by input", Attributes: d.Name, In: graph.Float32Tensors(2), Out: graph.Float32Tensor(2)},
		Infer: func(in []tensor.Shape) (tensor.Shape, error) { return tensor.Shape{in[0][0], width}, nil },
		OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
			s := graph.Shared[products](a)
			s.a, s.b = grow(s.a, frozenRows*width), grow(s.b, frozenRows*width)
			return func(b *graph.Batch) error {
				t, dy, dx := b.Active(a.Rows), a.In[0].Float32s(), a.Out.Float32s()
				for row := 0; row < out; row += frozenRows {
					n := min(frozenRows, out-row)
					cpu.Parallel(n, func(_, i int) { d.Weight.DecodeRows(s.a[i*width:(i+1)*width], row+i, 1) })
					transpose(cpu, s.b, n, s.a, n, width)
					mulNT(cpu, dx, width, dy[row:], out, s.b, t, width, n, row > 0)
				}
				return nil
			}, nil
		},
	}, grad)
}

// productByWeight is dW = dyᵀ·x.
func productByWeight(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(&graph.Function{
		Base:  graph.Base{Kind: "product by weight", In: graph.Float32Tensors(2, 2), Out: graph.Float32Tensor(2)},
		Infer: func(in []tensor.Shape) (tensor.Shape, error) { return tensor.Shape{in[0][1], in[1][1]}, nil },
		OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
			out, in := a.In[0].Shape()[1], a.In[1].Shape()[1]
			s := graph.Shared[products](a)
			s.a, s.b = grow(s.a, lead(a.MaxRows)*out), grow(s.b, lead(a.MaxRows)*in)
			return func(b *graph.Batch) error {
				mulTN(cpu, s, a.Out.Float32s(), a.In[0].Float32s(), a.In[1].Float32s(), b.Active(a.Rows), out, in)
				return nil
			}, nil
		},
	}, grad, in[0])
}

// sumRowsOf is the derivative by what was added to every row: Σ_t dy[t].
func sumRowsOf(_ gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(&graph.Function{
		Base:  graph.Base{Kind: "sum rows", In: graph.Float32Tensors(2), Out: graph.Float32Tensor(1)},
		Infer: func(in []tensor.Shape) (tensor.Shape, error) { return tensor.Shape{in[0][1]}, nil },
		OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
			return func(b *graph.Batch) error {
				sumRows(cpu, a.Out.Float32s(), a.In[0].Float32s(), b.Active(a.Rows))
				return nil
			}, nil
		},
	}, grad)
}

// sumRows computes dst = Σ_t x[t], each column in order of t.
//
// Shapes: x [rows, N], dst [N].
func sumRows(cpu *graph.CPU, dst, x []float32, rows int) {
	n := len(dst)
	cpu.Parallel((n+sumColumns-1)/sumColumns, func(_, i int) {
		lo, hi := i*sumColumns, min(n, (i+1)*sumColumns)
		clear(dst[lo:hi])
		for t := range rows {
			kernel.Add(dst[lo:hi], dst[lo:hi], x[t*n+lo:t*n+hi])
		}
	})
}

// sumColumns is how many columns of a sum of rows a thread takes at a time.
const sumColumns = 128
