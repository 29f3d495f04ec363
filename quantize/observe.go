package quantize

import (
	"context"
	"fmt"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// layerRun runs one layer of the declared model over the calibration stream.
type layerRun struct {
	cpu     *graph.CPU
	config  gptoss.Config
	weights *overlay
	layer   int
	window  int
	rows    int // tokens a batch, a multiple of window
}

// observer looks at one batch's values of a node: [rows, ...], row-major.
type observer struct {
	node string // full name
	see  func(values []float32, rows int) error
}

// declare declares the layer on an input that the stream is copied to.
func (l *layerRun) declare() (b *graph.Builder, in *gorgonia.Node) {
	b = graph.NewBuilder()
	in = b.Input("stream", tensor.Float32, l.rows, l.config.Hidden)
	gptoss.DeclareLayer(b, l.config, l.weights, l.layer, in)
	return b, in
}

// run sends the stream through the layer as windows that each start a sequence. It computes only what the observed nodes need, and calls
// each observer with its node's values, batch by batch in the stream's order.
func (l *layerRun) run(ctx context.Context, x residuals, tick func(tokens int), observers ...observer) error {
	b, in := l.declare()
	h := l.config.Hidden
	var opts []graph.Option
	for _, o := range observers {
		node, ok := b.Lookup(o.node)
		if !ok {
			return fmt.Errorf("quantize: the declared layer has no node %q", o.node)
		}
		see := o.see
		opts = append(opts, graph.WithOutputs(node), graph.WithProbe(
			func(name string, _ gorgonia.Op) bool { return name == o.node },
			func(_ string, b *graph.Batch, _ []graph.Buffer, out graph.Buffer) error {
				width := out.Shape().TotalSize() / l.rows
				return see(out.Float32s()[:b.Rows()*width], b.Rows())
			}))
	}
	plan, err := b.Compile(l.cpu, l.rows, opts...)
	if err != nil {
		return err
	}
	buf, err := plan.Value(in)
	if err != nil {
		return err
	}
	batch := graph.NewBatch()
	for at := 0; at < x.length(); at += l.rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		rows := min(l.rows, x.length()-at)
		batch.Reset()
		for r := 0; r < rows; r += l.window {
			seq, err := plan.NewSequence()
			if err != nil {
				return err
			}
			batch.Add(seq, l.window)
		}
		if err := x.read(buf.Float32s()[:rows*h], at); err != nil {
			return err
		}
		if err := plan.Run(batch); err != nil {
			return err
		}
		tick(rows)
	}
	return nil
}
