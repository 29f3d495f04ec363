package quantize

import (
	"errors"

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
// Errors: those of reading the streams.
func reconstruction(model *trainable, first, end, window int, p pool, x, target residuals) (goal, error) {
	h := model.config.Hidden
	n := window * h
	norm, err := meanSquare(x, target, n, window)
	if err != nil {
		return goal{}, err
	}
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
				if err := x.read(in[0].Float32s()[i*n:(i+1)*n], w*window); err != nil {
					return err
				}
				if err := target.read(in[1].Float32s()[i*n:(i+1)*n], w*window); err != nil {
					return err
				}
			}
			return nil
		},
	}, nil
}

// residuals are a residual stream, some tokens of which are read at a time.
type residuals interface {
	read(dst []float32, first int) error // dst [n, H], n at most a window
	length() int                         // in tokens
}

// meanSquare is mean ‖target - x‖² over the tokens; a window has n values.
func meanSquare(x, target residuals, n, window int) (float64, error) {
	a, b := make([]float32, n), make([]float32, n)
	var sum float64
	for at := 0; at < x.length(); at += window {
		if err := errors.Join(x.read(a, at), target.read(b, at)); err != nil {
			return 0, err
		}
		for i, v := range b {
			d := float64(v - a[i])
			sum += d * d
		}
	}
	return sum / float64(x.length()), nil
}
