package quantize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
)

// TrainOptions say how latent weights are trained. Zero values mean the defaults.
type TrainOptions struct {
	Steps int // default 300
	Batch int // windows a step; default 16
	// Micro is how many of them run through the graph at a time; fewer take less
	// memory and a little more time. Default: all.
	Micro int
	Rate  float64 // of Adam for the latent weights; default 1e-3
	// HeldOut is the share of the windows that training does not see, and that
	// decide whether its result is kept; default 1/16, at least one window.
	HeldOut float64
	Seed    uint64
}

// The defaults of TrainOptions.
const (
	DefaultSteps = 300
	DefaultBatch = 16
)

// resolve fills in the defaults for that many windows.
func (o TrainOptions) resolve(windows int) (TrainOptions, error) {
	if o.Steps == 0 {
		o.Steps = DefaultSteps
	}
	if o.Rate == 0 {
		o.Rate = 1e-3
	}
	if o.HeldOut == 0 {
		o.HeldOut = 1. / 16
	}
	if o.Batch == 0 {
		o.Batch = DefaultBatch
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
	if o.Micro < 1 || o.Micro > o.Batch {
		o.Micro = o.Batch
	}
	return o, nil
}

func (o TrainOptions) heldOut(windows int) int {
	return min(windows-1, max(1, int(math.Round(o.HeldOut*float64(windows)))))
}

// goal is what a trainer minimises: the mean, over the tokens of windows,
// of a loss that is declared on a graph.
type goal struct {
	windows, window int // how many, and their tokens
	// declare declares the loss of each of some rows, [T], and returns it with
	// the inputs that load fills and the parameters that training changes.
	declare func(b *graph.Builder, rows int) (loss *gorgonia.Node, inputs gorgonia.Nodes, params []parameter, nodes gorgonia.Nodes, err error)
	// load puts windows into the inputs, one after the other.
	load func(in []graph.Buffer, windows []int) error
}

// trainer minimises a goal with Adam.
type trainer struct {
	cpu  *graph.CPU
	opt  TrainOptions
	goal goal
	held int // windows that training does not see, the last

	params     []parameter
	step, look *trainedPlan // with derivatives, and without
}

// trainedPlan is a goal's compiled graph.
type trainedPlan struct {
	plan      *graph.Plan
	in        []graph.Buffer
	loss      []float32      // [T]
	grads     []graph.Buffer // by the parameters
	batch     *graph.Batch
	sequences []*graph.Sequence
}

func newTrainer(cpu *graph.CPU, goal goal, o TrainOptions, opts ...graph.Option) (*trainer, error) {
	o, err := o.resolve(goal.windows)
	if err != nil {
		return nil, err
	}
	t := &trainer{cpu: cpu, opt: o, goal: goal, held: o.heldOut(goal.windows)}
	rows := o.Micro * goal.window
	b := graph.NewBuilder()
	loss, inputs, params, nodes, err := goal.declare(b, rows)
	if err := errors.Join(b.Err(), err); err != nil {
		return nil, err
	}
	t.params = params
	grads := b.Grad(loss, nodes...)
	if err := b.Err(); err != nil {
		return nil, err
	}
	if t.step, err = compileTrained(cpu, b, rows, o.Micro, loss, inputs, grads, opts...); err != nil {
		return nil, err
	}
	if t.look, err = compileTrained(cpu, b, rows, o.Micro, loss, inputs, nil, append(opts, graph.WithMemoryOf(t.step.plan))...); err != nil {
		return nil, err
	}
	for i := range t.params {
		if t.params[i].grad = t.step.grads[i].Float32s(); o.Micro < o.Batch {
			t.params[i].grad = make([]float32, len(t.params[i].value)) // their sum
		}
	}
	return t, nil
}

func compileTrained(cpu *graph.CPU, b *graph.Builder, rows, windows int, loss *gorgonia.Node, inputs, grads gorgonia.Nodes, opts ...graph.Option) (*trainedPlan, error) {
	plan, err := b.Compile(cpu, rows, append(opts, graph.WithOutputs(append(slices.Clone(grads), loss)...))...)
	if err != nil {
		return nil, err
	}
	p := &trainedPlan{plan: plan, batch: graph.NewBatch()}
	value := func(n *gorgonia.Node) (v graph.Buffer) {
		var e error
		if v, e = plan.Value(n); e != nil {
			err = e
		}
		return v
	}
	for _, n := range inputs {
		p.in = append(p.in, value(n))
	}
	for _, n := range grads {
		p.grads = append(p.grads, value(n))
	}
	p.loss = value(loss).Float32s()
	for range windows {
		seq, e := plan.NewSequence()
		if e != nil {
			return nil, e
		}
		p.sequences = append(p.sequences, seq)
	}
	return p, err
}

// run sends windows through the plan and returns the sum of the tokens' losses.
func (p *trainedPlan) run(goal *goal, windows []int) (float64, error) {
	p.batch.Reset()
	for i := range windows {
		if err := p.sequences[i].Truncate(0); err != nil {
			return 0, err
		}
		row := p.batch.Add(p.sequences[i], goal.window)
		for r := range goal.window {
			p.batch.Want(row + r)
		}
	}
	if err := goal.load(p.in, windows); err != nil {
		return 0, err
	}
	if err := p.plan.Run(p.batch); err != nil {
		return 0, err
	}
	var sum float64
	for _, e := range p.loss[:len(windows)*goal.window] {
		sum += float64(e)
	}
	return sum, nil
}

// heldOut returns the mean loss of the windows that training does not see.
func (t *trainer) heldOut() (float64, error) {
	held := make([]int, t.held)
	for i := range held {
		held[i] = t.goal.windows - t.held + i
	}
	var sum float64
	for part := range slices.Chunk(held, t.opt.Micro) {
		e, err := t.look.run(&t.goal, part)
		if err != nil {
			return 0, err
		}
		sum += e
	}
	return sum / float64(t.held*t.goal.window), nil
}

// train takes all steps, and calls tick after each with its mean loss.
func (t *trainer) train(ctx context.Context, tick func(step int, loss float64)) error {
	order := windowOrder{rng: rand.New(rand.NewPCG(t.opt.Seed, 0x7261696e)), n: t.goal.windows - t.held}
	optimizer := newAdam(.9, .999, t.params)
	windows := make([]int, t.opt.Batch)
	for step := range t.opt.Steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		order.next(windows)
		loss, err := t.differentiate(windows)
		if err != nil {
			return err
		}
		optimizer.step(t.cpu, t.params, t.opt.Rate*cosine(step, t.opt.Steps))
		tick(step, loss/float64(len(windows)*t.goal.window))
	}
	return nil
}

// differentiate leaves the derivatives of the loss on some windows in the
// parameters' grad.
func (t *trainer) differentiate(windows []int) (float64, error) {
	if t.opt.Micro == t.opt.Batch {
		return t.step.run(&t.goal, windows)
	}
	var sum float64
	for _, p := range t.params {
		clear(p.grad)
	}
	for part := range slices.Chunk(windows, t.opt.Micro) {
		loss, err := t.step.run(&t.goal, part)
		if err != nil {
			return 0, err
		}
		sum += loss
		for i, p := range t.params {
			add(t.cpu, p.grad, t.step.grads[i].Float32s())
		}
	}
	return sum, nil
}

// add computes dst += x on all threads.
func add(cpu *graph.CPU, dst, x []float32) {
	const chunk = 1 << 15
	cpu.Parallel((len(dst)+chunk-1)/chunk, func(_, c int) {
		lo, hi := c*chunk, min(len(dst), (c+1)*chunk)
		for i, v := range x[lo:hi] {
			dst[lo+i] += v
		}
	})
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
