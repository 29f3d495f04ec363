package ops

import (
	"fmt"
	"math"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// SquaredError is the squared distance of every row from its target, in units
// of norm: e[t] = Σ (y[t] - target[t])² / norm.
//
// Shapes: y and target [T, H] -> [T].
func SquaredError(b *graph.Builder, name string, norm float64, y, target *gorgonia.Node) *gorgonia.Node {
	return b.Apply(name, &graph.Function{
		Base: graph.Base{Kind: "squared error", Attributes: fmt.Sprintf("%s /%g", name, norm), In: graph.Float32Tensors(2, 2), Out: graph.Float32Tensor(1)},
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
				a.Out.Float32s()[t] = float32(sum / norm)
			}
			return func(b *graph.Batch) error {
				cpu.Parallel(b.Active(a.Rows), do)
				return nil
			}, nil
		},
		Gradient: graph.Gradient{errorByRow(norm), nil},
	}, y, target)
}

// errorByRow is dy[t] = 2·de[t]·(y[t] - target[t]) / norm.
func errorByRow(norm float64) graph.Derivative {
	return func(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
		return gorgonia.ApplyOp(rowFunction("squared error by row", fmt.Sprintf("/%g", norm), []int{2, 2, 1}, 0, 0,
			func(dst, _ []float32, in [][]float32) {
				y, want, e := in[0], in[1], 2*in[2][0]/float32(norm)
				for i := range dst {
					dst[i] = e * (y[i] - want[i])
				}
			}), in[0], in[1], grad)
	}
}

// Divergence is the Kullback-Leibler divergence of every row's distribution
// from a target's, both given as logits:
//
//	d[t] = Σ_v p_v (ln p_v - ln q_v), p = softmax(target[t]), q = softmax(logits[t])
//
// Shapes: logits and target [T, V] -> [T]. Units: nats.
func Divergence(b *graph.Builder, name string, logits, target *gorgonia.Node) *gorgonia.Node {
	return b.Apply(name, &graph.Function{
		Base: graph.Base{Kind: "divergence", Attributes: name, In: graph.Float32Tensors(2, 2), Out: graph.Float32Tensor(1)},
		Infer: func(in []tensor.Shape) (tensor.Shape, error) {
			if !in[0].Eq(in[1]) {
				return nil, fmt.Errorf("the divergence of shape %v from %v", in[0], in[1])
			}
			return tensor.Shape{in[0][0]}, nil
		},
		OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
			room := make([][]float32, cpu.Threads())
			for w := range room {
				room[w] = make([]float32, 2*a.In[0].Shape()[1])
			}
			do := func(worker, t int) {
				a.Out.Float32s()[t] = divergence(rowOf(a.In[0], t), rowOf(a.In[1], t), room[worker])
			}
			return func(b *graph.Batch) error {
				cpu.Parallel(b.Active(a.Rows), do)
				return nil
			}, nil
		},
		Gradient: graph.Gradient{divergenceByLogits, nil},
	}, logits, target)
}

// divergence takes room for the logits of both below their largest, and for
// their exponentials.
//
// Shapes: logits and target [V], room [2·V].
func divergence(logits, target, room []float32) float32 {
	p, q := room[:len(target)], room[len(target):2*len(target)]
	want, top := kernel.Max(target), kernel.Max(logits)
	for i, l := range target {
		p[i], q[i] = l-want, logits[i]-top
	}
	kernel.Exp(p, p)
	kernel.Exp(q, q)
	var wantZ, z, dot float64
	for i, l := range target {
		w := float64(p[i])
		wantZ += w
		z += float64(q[i])
		dot += float64(w * float64(l-want-(logits[i]-top)))
	}
	return float32(dot/wantZ - math.Log(wantZ) + math.Log(z))
}

// divergenceByLogits is dd[t]·(q - p).
func divergenceByLogits(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(rowFunction("divergence by logits", "", []int{2, 2, 1}, 0, width(in[0]), func(dst, p []float32, in [][]float32) {
		none := float32(math.Inf(-1))
		kernel.SoftmaxSink(dst, in[0], none)
		kernel.SoftmaxSink(p, in[1], none)
		kernel.Axpy(-1, p, dst)
		kernel.Scale(dst, in[2][0], dst)
	}), in[0], in[1], grad)
}
