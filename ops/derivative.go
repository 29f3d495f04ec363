package ops

import (
	"fmt"
	"math"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// rowFunction is the derivative of an operator that works row by row: each row
// of the output is computed from the same rows of the inputs, which may be of
// different widths. scratch floats are the row function's to use.
func rowFunction(kind, attributes string, dims []int, like, scratch int, row func(dst, scratch []float32, in [][]float32)) *graph.Function {
	return &graph.Function{
		Base:  graph.Base{Kind: kind, Attributes: attributes, In: graph.Float32Tensors(dims...), Out: graph.Float32Tensor(dims[like])},
		Infer: graph.Like(like),
		OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
			views := make([][][]float32, cpu.Threads())
			room := make([][]float32, cpu.Threads())
			for w := range views {
				views[w], room[w] = make([][]float32, len(a.In)), make([]float32, scratch)
			}
			do := func(worker, r int) {
				in := views[worker]
				for k := range in {
					in[k] = rowOf(a.In[k], r)
				}
				row(rowOf(a.Out, r), room[worker], in)
			}
			return func(b *graph.Batch) error {
				cpu.Parallel(b.Active(a.Rows), do)
				return nil
			}, nil
		},
	}
}

// rowOf returns what one index of the first axis holds.
func rowOf(b graph.Buffer, r int) []float32 {
	w := b.Shape().TotalSize() / b.Shape()[0]
	return b.Float32s()[r*w : (r+1)*w]
}

// passOn is the derivative by a summand.
func passOn(_ gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) { return grad, nil }

// normByInput is the derivative of RMSNorm by x: with r = 1/sqrt(mean(x²)+eps)
// and g = dy·w, dx = r·g - x·r³·(Σ g·x)/H.
func normByInput(eps float32) graph.Derivative {
	return func(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
		return gorgonia.ApplyOp(&graph.Function{
			Base: graph.Base{Kind: "rmsnorm by input", Attributes: fmt.Sprintf("eps=%g", eps),
				In: graph.Float32Tensors(2, 2, 1), Out: graph.Float32Tensor(2)},
			Infer: graph.Like(1),
			OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
				weight := a.In[2].Float32s()
				do := func(_, t int) {
					dy, x, dx := rowOf(a.In[0], t), rowOf(a.In[1], t), rowOf(a.Out, t)
					kernel.Mul(dx, dy, weight)
					r := rootMeanSquare(x, eps)
					pull := -r * r * r * kernel.Dot(dx, x) / float32(len(x))
					kernel.Scale(dx, r, dx)
					kernel.Axpy(pull, x, dx)
				}
				return func(b *graph.Batch) error {
					cpu.Parallel(b.Active(a.Rows), do)
					return nil
				}, nil
			},
		}, grad, in[0], in[1])
	}
}

// rootMeanSquare returns 1/sqrt(mean(x²)+eps).
func rootMeanSquare(x []float32, eps float32) float32 {
	return float32(1 / math.Sqrt(float64(kernel.SumSquares(x)/float32(len(x))+eps)))
}

// normByWeight is the derivative of RMSNorm by w: Σ_t dy·x·r.
func normByWeight(eps float32) graph.Derivative {
	return func(in gorgonia.Nodes, out, grad *gorgonia.Node) (*gorgonia.Node, error) {
		terms, err := gorgonia.ApplyOp(rowFunction("rmsnorm by weight", fmt.Sprintf("eps=%g", eps), []int{2, 2}, 1, 0,
			func(dst, _ []float32, in [][]float32) {
				kernel.Mul(dst, in[0], in[1])
				kernel.Scale(dst, rootMeanSquare(in[1], eps), dst)
			}), grad, in[0])
		if err != nil {
			return nil, err
		}
		return sumRowsOf(in, out, terms)
	}
}

// routerByLogits is the derivative of the softmax over the chosen experts,
// p·(dp - Σ p·dp), which is zero for the others because their p is.
func routerByLogits(_ gorgonia.Nodes, out, grad *gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(rowFunction("router by logits", "", []int{2, 2}, 0, 0, func(dst, _ []float32, in [][]float32) {
		dp, p := in[0], in[1]
		sum := kernel.Dot(dp, p)
		for i := range dst {
			dst[i] = p[i] * (dp[i] - sum)
		}
	}), grad, out)
}

// swigluByInput is the derivative of SwiGLU by the interleaved gate and up. A
// clamp passes nothing where it acts.
func swigluByInput(limit float32) graph.Derivative {
	return func(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
		o := rowFunction("swiglu by input", fmt.Sprintf("limit=%g", limit), []int{3, 3}, 1, 0,
			func(dst, _ []float32, in [][]float32) { kernel.SwiGLUBack(dst, in[0], in[1], limit) })
		o.Reuses = []int{1} // the largest value of a layer
		return gorgonia.ApplyOp(o, grad, in[0])
	}
}

// combineByInput is the derivative of Combine by what the experts computed:
// routing[e]·dy in the slot of e.
func combineByInput(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
	o := rowFunction("combine by input", fmt.Sprintf("A=%d", in[0].Shape()[1]), []int{2, 2}, 0, 0, func(dst, _ []float32, in [][]float32) {
		dy, slot := in[0], 0
		clear(dst)
		for _, w := range in[1] {
			if w != 0 {
				kernel.Scale(dst[slot*len(dy):(slot+1)*len(dy)], w, dy)
				slot++
			}
		}
	})
	active := in[0].Shape()[1]
	o.Out = graph.Float32Tensor(3)
	o.Infer = func(in []tensor.Shape) (tensor.Shape, error) {
		return tensor.Shape{in[0][0], active, in[0][1]}, nil
	}
	return gorgonia.ApplyOp(o, grad, in[1])
}

// combineByRouting is the derivative of Combine by the routing: x[slot of e]·dy
// for the active experts. That of the others is not zero, but no router that
// is trained through can tell.
func combineByRouting(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(rowFunction("combine by routing", "", []int{2, 3, 2}, 2, 0, func(dst, _ []float32, in [][]float32) {
		dy, x, slot := in[0], in[1], 0
		for e, w := range in[2] {
			dst[e] = 0
			if w != 0 {
				dst[e] = kernel.Dot(dy, x[slot*len(dy):(slot+1)*len(dy)])
				slot++
			}
		}
	}), grad, in[0], in[1])
}

// restoreRows is the derivative of selectRows.
type restoreRows struct{ graph.Function }

func (o *restoreRows) RestoresRows() {}

func (o *restoreRows) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(o, in...) }

// selectedByInput puts the derivatives by the wanted rows back to where the
// rows came from. The others have none.
func selectedByInput(_ gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(&restoreRows{graph.Function{
		Base:  graph.Base{Kind: "restore rows", In: graph.Float32Tensors(2), Out: graph.Float32Tensor(2)},
		Infer: graph.Like(0),
		OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
			return func(b *graph.Batch) error {
				w := a.Out.Shape()[1]
				clear(a.Out.Float32s()[:b.Rows()*w])
				for i, r := range b.Outputs {
					copy(rowOf(a.Out, r), rowOf(a.In[0], i))
				}
				return nil
			}, nil
		},
	}}, grad)
}
