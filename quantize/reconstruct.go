package quantize

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// TrainOptions say how a layer is reconstructed. Zero values mean the defaults.
type TrainOptions struct {
	Steps int     // default 300
	Batch int     // windows a step; default 16
	Rate  float64 // of Adam for the latent weights; default 1e-3
	// HeldOut is the share of the windows that training does not see, and that
	// decide whether its result is kept; default 1/16, at least one window.
	HeldOut float64
	Seed    uint64
}

// resolve fills in the defaults for that many windows.
func (o TrainOptions) resolve(windows int) (TrainOptions, error) {
	if o.Steps == 0 {
		o.Steps = 300
	}
	if o.Rate == 0 {
		o.Rate = 1e-3
	}
	if o.HeldOut == 0 {
		o.HeldOut = 1. / 16
	}
	if o.Batch == 0 {
		o.Batch = 16
	}
	switch {
	case o.Steps < 1 || o.Batch < 1:
		return o, fmt.Errorf("quantize: %d steps of %d windows: want at least 1", o.Steps, o.Batch)
	case !(o.Rate > 0) || o.Rate > 1:
		return o, fmt.Errorf("quantize: a rate of %v: want one in (0, 1]", o.Rate)
	case !(o.HeldOut > 0) || o.HeldOut > .5:
		return o, fmt.Errorf("quantize: holding out %v of the windows: want a share in (0, 0.5]", o.HeldOut)
	case windows < 2:
		return o, fmt.Errorf("quantize: training needs at least 2 calibration windows, one of them held out; there are %d", windows)
	}
	o.Batch = min(o.Batch, windows-o.heldOut(windows))
	return o, nil
}

func (o TrainOptions) heldOut(windows int) int {
	return min(windows-1, max(1, int(math.Round(o.HeldOut*float64(windows)))))
}

// trainer minimises, over the parameters of one layer, the distance of its
// output from the original layer's:
//
//	loss = Σ ‖layer(x̂) - layer_original(x)‖² / Σ ‖layer_original(x) - x̂‖²
//
// over windows of the quantized stream x̂ and of the original x.
type trainer struct {
	cpu    *graph.CPU
	layer  *trainable
	window int // tokens
	h      int
	opt    TrainOptions

	x, target []float32 // [windows, window, H]
	windows   int
	held      int // of them, the last
	norm      float64

	params     []parameter
	step, look *graph.Plan // with derivatives, and without
	in         [2]trainInput
	batch      *graph.Batch
	sequences  [2][]*graph.Sequence
}

// trainInput is where a plan takes windows from and leaves the error of every
// token.
type trainInput struct{ x, target, errors []float32 }

// newTrainer declares a layer with its loss and its derivatives.
func newTrainer(cpu *graph.CPU, layer *trainable, index, window int, x, target []float32, o TrainOptions) (*trainer, error) {
	h := layer.config.Hidden
	windows := len(x) / (h * window)
	o, err := o.resolve(windows)
	if err != nil {
		return nil, err
	}
	t := &trainer{cpu: cpu, layer: layer, window: window, h: h, opt: o, x: x, target: target,
		windows: windows, held: o.heldOut(windows), batch: graph.NewBatch()}
	rows := o.Batch * window
	b := graph.NewBuilder()
	stream, want := b.Input("stream", tensor.Float32, rows, h), b.Input("target", tensor.Float32, rows, h)
	out := gptoss.DeclareLayer(b, *layer.config, layer, index, stream)
	errors := ops.SquaredError(b, "error", out, want)
	loss := b.Try(gorgonia.Sum(errors))
	if err := b.Err(); err != nil {
		return nil, err
	}
	var nodes gorgonia.Nodes
	if t.params, nodes, err = layer.parametersOf(b, index); err != nil {
		return nil, err
	}
	grads, err := gorgonia.Grad(loss, nodes...)
	if err != nil {
		return nil, fmt.Errorf("quantize: differentiating layer %d: %w", index, err)
	}
	if t.step, err = b.Compile(cpu, rows, graph.WithOutputs(append(slices.Clone(grads), errors)...)); err != nil {
		return nil, err
	}
	if t.look, err = b.Compile(cpu, rows, graph.WithOutputs(errors)); err != nil {
		return nil, err
	}
	for i, g := range grads {
		v, err := t.step.Value(g)
		if err != nil {
			return nil, err
		}
		t.params[i].grad = v.Float32s()
	}
	for i, p := range []*graph.Plan{t.step, t.look} {
		if err := t.bind(i, p, stream, want, errors); err != nil {
			return nil, err
		}
	}
	var sum float64
	for i, v := range target {
		d := float64(v - x[i])
		sum += d * d
	}
	t.norm = sum / float64(windows)
	return t, nil
}

func (t *trainer) bind(i int, p *graph.Plan, stream, want, errors *gorgonia.Node) error {
	for _, v := range []struct {
		node *gorgonia.Node
		to   *[]float32
	}{{stream, &t.in[i].x}, {want, &t.in[i].target}, {errors, &t.in[i].errors}} {
		b, err := p.Value(v.node)
		if err != nil {
			return err
		}
		*v.to = b.Float32s()
	}
	for range t.opt.Batch {
		seq, err := p.NewSequence()
		if err != nil {
			return err
		}
		t.sequences[i] = append(t.sequences[i], seq)
	}
	return nil
}

// The two plans of a trainer.
const (
	withDerivatives = iota
	withoutDerivatives
)

// run sends windows through one of the plans and returns the sum of their
// squared errors.
func (t *trainer) run(plan int, windows []int) (float64, error) {
	in, n := t.in[plan], t.window*t.h
	t.batch.Reset()
	for i, w := range windows {
		seq := t.sequences[plan][i]
		if err := seq.Truncate(0); err != nil {
			return 0, err
		}
		t.batch.Add(seq, t.window)
		copy(in.x[i*n:(i+1)*n], t.x[w*n:(w+1)*n])
		copy(in.target[i*n:(i+1)*n], t.target[w*n:(w+1)*n])
	}
	p := t.step
	if plan == withoutDerivatives {
		p = t.look
	}
	if err := p.Run(t.batch); err != nil {
		return 0, err
	}
	var sum float64
	for _, e := range in.errors[:len(windows)*t.window] {
		sum += float64(e)
	}
	return sum, nil
}

// heldOut returns the loss on the windows that training does not see.
func (t *trainer) heldOut() (float64, error) {
	held := make([]int, t.held)
	for i := range held {
		held[i] = t.windows - t.held + i
	}
	var sum float64
	for part := range slices.Chunk(held, t.opt.Batch) {
		e, err := t.run(withoutDerivatives, part)
		if err != nil {
			return 0, err
		}
		sum += e
	}
	return sum / (t.norm * float64(t.held)), nil
}

// train takes all steps, and calls tick after each with its loss.
func (t *trainer) train(ctx context.Context, tick func(step int, loss float64)) error {
	rng := rand.New(rand.NewPCG(t.opt.Seed, 0x7261696e))
	order := windowOrder{rng: rng, n: t.windows - t.held}
	optimizer := newAdam(.9, .999, t.params)
	windows := make([]int, t.opt.Batch)
	for step := range t.opt.Steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		order.next(windows)
		loss, err := t.run(withDerivatives, windows)
		if err != nil {
			return err
		}
		optimizer.step(t.cpu, t.params, t.opt.Rate*cosine(step, t.opt.Steps))
		tick(step, loss/(t.norm*float64(len(windows))))
	}
	return nil
}

// windowOrder deals out windows: all of them in a random order, then all again
// in another.
type windowOrder struct {
	rng  *rand.Rand
	n    int
	left []int
}

func (o *windowOrder) next(dst []int) {
	for i := range dst {
		if len(o.left) == 0 {
			o.left = o.rng.Perm(o.n)
		}
		dst[i], o.left = o.left[0], o.left[1:]
	}
}
