package quantize

import (
	"fmt"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// reconstruction is the goal for one layer: the distance of its output,
// on the quantized stream, from the original layer's on the original stream,
// relative to what the layer adds to the stream.
//
//	‖layer(x̂) - layer_original(x)‖² / mean ‖layer_original(x) - x̂‖²
//
// Shapes: x and target [windows·window, H].
func reconstruction(layer *trainable, index, window int, x, target []float32) goal {
	h := layer.config.Hidden
	n := window * h
	var sum float64
	for i, v := range target {
		d := float64(v - x[i])
		sum += d * d
	}
	norm := sum / float64(len(target)/h)
	return goal{
		windows: len(x) / n, window: window,
		declare: func(b *graph.Builder, rows int) (loss *gorgonia.Node, inputs gorgonia.Nodes, params []parameter, nodes gorgonia.Nodes, err error) {
			stream, want := b.Input("stream", tensor.Float32, rows, h), b.Input("target", tensor.Float32, rows, h)
			out := gptoss.DeclareLayer(b, *layer.config, layer, index, stream)
			loss = ops.SquaredError(b, "loss", norm, out, want)
			if params, nodes, err = layer.parametersOf(b, index); err != nil {
				err = fmt.Errorf("layer %d: %w", index, err)
			}
			return loss, gorgonia.Nodes{stream, want}, params, nodes, err
		},
		load: func(in []graph.Buffer, windows []int) error {
			for i, w := range windows {
				copy(in[0].Float32s()[i*n:(i+1)*n], x[w*n:(w+1)*n])
				copy(in[1].Float32s()[i*n:(i+1)*n], target[w*n:(w+1)*n])
			}
			return nil
		},
	}
}
