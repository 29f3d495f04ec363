package ternaryop

import (
	"fmt"
	"math"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
)

// The loops of this file pass over all weights at every step of training. Which
// way a weight goes is a coin toss, so they choose with masks instead of
// branches: the bits of a float without its sign are in the order of its size.

const signBit = 1 << 31

// atLeast is all ones where the size a is b or more, else 0; both are bits
// without a sign.
func atLeast(a, b uint32) uint32 { return ^uint32(int32(a-b) >> 31) }

// ternarize computes dst = s·clamp(round(latent/s), -1, 1), with ties to zero.
func ternarize(dst, latent []float32, s float32) {
	scale := math.Float32bits(s) &^ signBit
	above := math.Float32bits(math.Float32frombits(scale)/2) + 1
	dst = dst[:len(latent)]
	for i, l := range latent {
		b := math.Float32bits(l)
		dst[i] = math.Float32frombits((scale | b&signBit) & atLeast(b&^signBit, above))
	}
}

func byLatent(group int) graph.Derivative {
	return func(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
		return gorgonia.ApplyOp(&graph.Function{
			Base: graph.Base{Kind: "ternarize by latent", Attributes: fmt.Sprintf("g%d", group), In: graph.Float32Tensors(grad.Dims(), in[0].Dims(), in[1].Dims()),
				Out: graph.Float32Tensor(in[0].Dims())},
			Infer:  graph.Like(1),
			Reuses: []int{0},
			OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
				dw, latent, scales, dl := a.In[0].Float32s(), a.In[1].Float32s(), a.In[2].Float32s(), a.Out.Float32s()
				return eachGroup(group, a.In[2], a.Out, cpu, func(i, lo, hi int) {
					latentGradient(dl[lo:hi], dw[lo:hi], latent[lo:hi], scales[i])
				}), nil
			},
		}, grad, in[0], in[1])
	}
}

// latentGradient passes on dw where the latent weight is inside of the clamp or
// would be moved towards it.
func latentGradient(dl, dw, latent []float32, s float32) {
	scale := math.Float32bits(s) &^ signBit
	dl, dw = dl[:len(latent)], dw[:len(latent)]
	for i, l := range latent {
		b, d := math.Float32bits(l), math.Float32bits(dw[i])
		away := uint32(int32(b^d) >> 31) // all ones: the signs differ, and the step makes the weight larger
		dl[i] = math.Float32frombits(d &^ (away & atLeast(b&^signBit, scale)))
	}
}

func byScale(group int) graph.Derivative {
	return func(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
		return gorgonia.ApplyOp(&graph.Function{
			Base: graph.Base{Kind: "ternarize by scale", Attributes: fmt.Sprintf("g%d", group), In: graph.Float32Tensors(grad.Dims(), in[0].Dims(), in[1].Dims()),
				Out: graph.Float32Tensor(in[1].Dims())},
			Infer: graph.Like(2),
			OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
				dw, latent, scales, ds := a.In[0].Float32s(), a.In[1].Float32s(), a.In[2].Float32s(), a.Out.Float32s()
				return eachGroup(group, a.In[2], a.In[1], cpu, func(i, lo, hi int) {
					ds[i] = scaleGradient(dw[lo:hi], latent[lo:hi], scales[i])
				}), nil
			},
		}, grad, in[0], in[1])
	}
}

// scaleGradient is Σ dw·(t - r) over the weights inside of the clamp and Σ dw·t
// over the others, r = latent/s. Four sums are kept, so that none waits for the
// addition before.
func scaleGradient(dw, latent []float32, s float32) float32 {
	const one, half = 0x3F800000, 0x3F000000
	inverse := 1 / s
	var sums [4]float32
	dw = dw[:len(latent)]
	term := func(i int) float32 {
		r := float32(latent[i] * inverse)
		b := math.Float32bits(r)
		t := math.Float32frombits((one | b&signBit) & atLeast(b&^signBit, half+1))
		inside := math.Float32frombits(b &^ atLeast(b&^signBit, one))
		return float32(dw[i] * (t - inside))
	}
	i := 0
	for ; i+4 <= len(latent); i += 4 {
		sums[0] += term(i)
		sums[1] += term(i + 1)
		sums[2] += term(i + 2)
		sums[3] += term(i + 3)
	}
	for ; i < len(latent); i++ {
		sums[i%4] += term(i)
	}
	return sums[0] + sums[1] + (sums[2] + sums[3])
}
