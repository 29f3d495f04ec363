package ternaryop

import (
	"fmt"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/t16"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// RoundInputs rounds every row to 8 bits, as what multiplies by ternary weights
// does, and back. Its derivative is that of x (straight-through): rounding has
// none of use.
//
// Shapes: x [T, In] or [T, A, In] -> the same.
// Source: BitNet b1.58, arXiv 2402.17764.
func RoundInputs(b *graph.Builder, name string, x *gorgonia.Node) *gorgonia.Node {
	passOn := func(_ gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) { return grad, nil }
	return b.Apply(name, &graph.Function{
		// Without a name among the attributes: projections of one input share the
		// node.
		Base: graph.Base{Kind: "round inputs",
			In: graph.Float32Tensors(x.Dims()), Out: graph.Float32Tensor(x.Dims())},
		Infer:    graph.Like(0),
		OnCPU:    prepareRounding,
		Gradient: graph.Gradient{passOn},
		Reuses:   []int{0},
	}, x)
}

func prepareRounding(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
	x, out := a.In[0].Float32s(), a.Out.Float32s()
	shape := a.Out.Shape()
	in := shape[len(shape)-1]
	perToken := shape.TotalSize() / in / shape[0]
	codes := make([][]int8, cpu.Threads())
	for w := range codes {
		codes[w] = make([]int8, in)
	}
	do := func(worker, i int) {
		q, y := codes[worker], out[i*in:(i+1)*in]
		scale := t16.QuantizeRow(q, x[i*in:(i+1)*in])
		for k, c := range q {
			y[k] = scale * float32(c)
		}
	}
	return func(b *graph.Batch) error {
		cpu.Parallel(b.Active(a.Rows)*perToken, do)
		return nil
	}, nil
}

// Ternarize rounds latent weights to ternary ones with a scale for every group
// of inputs: w = s·clamp(round(l/s), -1, 1).
//
// Its derivatives are straight-through: rounding counts as the identity, and
// the clamp passes on what would move a latent weight back inside.
//
//	dl = dw              where |l| < s, or dw·l > 0
//	ds = Σ dw·(t - l/s)  inside, Σ dw·t where |l| >= s
//
// Shapes: latent [Out, In] or [E, Out, In], scales [Out, ⌈In/group⌉] or
// [E, Out, ⌈In/group⌉] -> as latent.
// Source: LSQ, arXiv 1902.08153, for the derivative by the scale.
func Ternarize(b *graph.Builder, name string, group int, latent, scales *gorgonia.Node) *gorgonia.Node {
	if group < 1 {
		b.Fail(fmt.Errorf("%s: groups of %d", name, group))
		return latent
	}
	return b.Apply(name, &graph.Function{
		Base: graph.Base{Kind: "ternarize", Attributes: fmt.Sprintf("%s g%d", name, group),
			In: graph.Float32Tensors(latent.Dims(), scales.Dims()), Out: graph.Float32Tensor(latent.Dims())},
		Infer: func(in []tensor.Shape) (tensor.Shape, error) {
			l, s := in[0], in[1]
			last := len(l) - 1
			if len(s) != len(l) || !l[:last].Eq(s[:last]) || s[last] != (l[last]+group-1)/group {
				return nil, fmt.Errorf("scales of shape %v for weights of shape %v in groups of %d", s, l, group)
			}
			return l.Clone(), nil
		},
		OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
			return eachGroup(group, a.In[1], a.Out, cpu, func(i, lo, hi int) {
				s := a.In[1].Float32s()[i]
				ternarize(a.Out.Float32s()[lo:hi], a.In[0].Float32s()[lo:hi], s)
			}), nil
		},
		Gradient: graph.Gradient{byLatent(group), byScale(group)},
	}, latent, scales)
}

// eachGroup makes a step that calls f for every group, i, of elements
// [lo, hi).
func eachGroup(group int, scales, weights graph.Buffer, cpu *graph.CPU, f func(i, lo, hi int)) graph.Step {
	last := len(weights.Shape()) - 1
	in, groups := weights.Shape()[last], scales.Shape()[last]
	do := func(_, r int) {
		for g := range groups {
			f(r*groups+g, r*in+g*group, r*in+min(in, (g+1)*group))
		}
	}
	return func(*graph.Batch) error {
		cpu.Parallel(weights.Shape().TotalSize()/in, do)
		return nil
	}
}
