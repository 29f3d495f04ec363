package ops

import (
	"fmt"
	"math"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/seed-796a8800/tritium/graph"
)

// attention64 is attention of one sequence by its definition.
func attention64(o Attention, q, k, v, sinks []float64, tokens int) []float64 {
	d, n, kv := o.HeadDim, o.Heads*o.HeadDim, o.KVHeads*o.HeadDim
	y := make([]float64, tokens*n)
	for t := range tokens {
		lo := 0
		if o.Window > 0 {
			lo = max(0, t-o.Window+1)
		}
		for h := range o.Heads {
			at := h / (o.Heads / o.KVHeads) * d
			z := math.Exp(sinks[h])
			for j := lo; j <= t; j++ {
				s := 0.0
				for i := range d {
					s += q[t*n+h*d+i] * k[j*kv+at+i]
				}
				p := math.Exp(s / math.Sqrt(float64(d)))
				z += p
				for i := range d {
					y[t*n+h*d+i] += p * v[j*kv+at+i]
				}
			}
			for i := range d {
				y[t*n+h*d+i] /= z
			}
		}
	}
	return y
}

func TestAttentionGradient(t *testing.T) {
	r := newRandom()
	for _, c := range []struct {
		o      Attention
		tokens int
	}{
		{Attention{Heads: 1, KVHeads: 1, HeadDim: 2}, 1},
		{Attention{Heads: 4, KVHeads: 2, HeadDim: 6}, 9},
		{Attention{Heads: 3, KVHeads: 1, HeadDim: 5, Window: 4}, 11},
		{Attention{Heads: 2, KVHeads: 2, HeadDim: 8}, 2*vectorFloats + 7},
		{Attention{Heads: 2, KVHeads: 1, HeadDim: 8, Window: 20}, backRows + 9},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			o, tokens := c.o, c.tokens
			n, kv := o.Heads*o.HeadDim, o.KVHeads*o.HeadDim
			sinks := random(r, o.Heads)
			sinks[0] += 3 // above the scores
			checkGradient(t, inputs{
				{random(r, tokens*n), []int{tokens, n}, false}, {random(r, tokens*kv), []int{tokens, kv}, false},
				{random(r, tokens*kv), []int{tokens, kv}, false}, {sinks, []int{o.Heads}, false},
			}, func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
				return b.Apply("attention", &graph.Function{
					Base:     graph.Base{Kind: "stand-in", In: graph.Float32Tensors(2, 2, 2, 1), Out: graph.Float32Tensor(2)},
					Infer:    func(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil },
					OnCPU:    func(*graph.Args, *graph.CPU) (graph.Step, error) { return func(*graph.Batch) error { return nil }, nil },
					Gradient: attentionBack{o}.derivatives(),
				}, in...)
			}, func(v [][]float64) []float64 { return attention64(o, v[0], v[1], v[2], v[3], tokens) })
		})
	}
}
