package ops

import (
	"fmt"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// SquaredError is the squared distance of every row from its target:
// e[t] = Σ (y[t] - target[t])².
//
// Shapes: y and target [T, H] -> [T].
func SquaredError(b *graph.Builder, name string, y, target *gorgonia.Node) *gorgonia.Node {
	return b.Apply(name, &graph.Function{
		Base: graph.Base{Kind: "squared error", Attributes: name, In: graph.Float32Tensors(2, 2), Out: graph.Float32Tensor(1)},
		Infer: func(in []tensor.Shape) (tensor.Shape, error) {
			if !in[0].Eq(in[1]) {
				return nil, fmt.Errorf("the error of shape %v against %v", in[0], in[1])
			}
			return tensor.Shape{in[0][0]}, nil
		},
		OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
			do := func(_, t int) {
				want := rowOf(a.In[1], t)
				var sum float64
				for i, v := range rowOf(a.In[0], t) {
					d := float64(v - want[i])
					sum += d * d
				}
				a.Out.Float32s()[t] = float32(sum)
			}
			return func(b *graph.Batch) error {
				cpu.Parallel(b.Active(a.Rows), do)
				return nil
			}, nil
		},
		Gradient: graph.Gradient{errorByRow, nil},
	}, y, target)
}

// errorByRow is dy[t] = 2·de[t]·(y[t] - target[t]).
func errorByRow(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(rowFunction("squared error by row", "", []int{2, 2, 1}, 0, 0, func(dst, _ []float32, in [][]float32) {
		y, want, e := in[0], in[1], 2*in[2][0]
		for i := range dst {
			dst[i] = e * (y[i] - want[i])
		}
	}), in[0], in[1], grad)
}
