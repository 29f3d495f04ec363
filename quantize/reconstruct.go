package quantize

import (
	"crypto/sha256"
	"fmt"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// reconstruction is the goal for layers that follow each other: the distance of
// the last one's output, with the quantized stream before the first, from the
// original's on the original stream, relative to what the layers add to it.
//
//	‖layers(x̂) - layers_original(x)‖² / mean ‖layers_original(x) - x̂‖²
//
// Shapes: x and target [windows·window, H].
func reconstruction(model *trainable, first, end, window int, p pool, x, target []float32) goal {
	h := model.config.Hidden
	n := window * h
	var sum float64
	for i, v := range target {
		d := float64(v - x[i])
		sum += d * d
	}
	norm := sum / float64(len(target)/h)
	return goal{
		model: model, pool: p, window: window,
		declare: func(b *graph.Builder, rows int) (loss *gorgonia.Node, inputs gorgonia.Nodes, params []parameter, nodes gorgonia.Nodes, err error) {
			stream, want := b.Input("stream", tensor.Float32, rows, h), b.Input("target", tensor.Float32, rows, h)
			out := stream
			for layer := first; layer < end; layer++ {
				out = gptoss.DeclareLayer(b, *model.config, model, layer, out)
			}
			loss = ops.SquaredError(b, "loss", norm, out, want)
			params, nodes, err = model.parametersOf(b, first, end)
			return loss, gorgonia.Nodes{stream, want}, params, nodes, err
		},
		load: func(in []graph.Buffer, windows []int) error {
			for i, w := range windows {
				copy(in[0].Float32s()[i*n:(i+1)*n], x[w*n:(w+1)*n])
				copy(in[1].Float32s()[i*n:(i+1)*n], target[w*n:(w+1)*n])
			}
			return nil
		},
		source: func() any {
			sum := sha256.New()
			s := stateStream{w: sum}
			s.floats(x)
			s.floats(target)
			return []any{"reconstruction", first, end, fmt.Sprintf("%x", sum.Sum(nil))}
		},
	}
}
