package quantize

import (
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
)

// goal is what a trainer minimises: the mean, over the tokens of windows,
// of a loss that is declared on a graph.
type goal struct {
	model  *trainable
	pool   pool
	window int // tokens of a window
	// declare declares the loss of each of some rows, [T], and returns it with
	// the inputs that load fills and the parameters that training changes.
	declare func(b *graph.Builder, rows int) (loss *gorgonia.Node, inputs gorgonia.Nodes, params []parameter, nodes gorgonia.Nodes, err error)
	// load puts windows into the inputs, one after the other.
	load func(in []graph.Buffer, windows []int) error
}

// pool is how many windows there are to train on and to judge by: those of the
// calibration text, and behind them those that the original model wrote.
type pool struct{ text, written int }

func (p pool) all() int { return p.text + p.written }

// split returns the windows that training sees and those that judge it: the
// last ones of the text, which is what the model is for.
func (p pool) split(held int) (seen, judges []int) {
	for i := range p.all() {
		if i >= p.text-held && i < p.text {
			judges = append(judges, i)
		} else {
			seen = append(seen, i)
		}
	}
	return seen, judges
}

// trainer minimises a goal with Adam.
type trainer struct {
	cpu          *graph.CPU
	opt          TrainOptions
	goal         goal
	seen, judges []int // windows

	params     []parameter
	step, look *trainedPlan // with derivatives, and without
	state      trainState
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
	o, err := o.resolve(goal.pool)
	if err != nil {
		return nil, err
	}
	t := &trainer{cpu: cpu, opt: o, goal: goal}
	t.seen, t.judges = goal.pool.split(o.heldOut(goal.pool.text))
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
		p := &t.params[i]
		if p.rate = 1; !p.latent {
			p.rate = float32(o.Others)
		}
		if p.grad = t.step.grads[i].Float32s(); o.Micro < o.Batch {
			p.grad = make([]float32, len(p.value)) // their sum
		}
	}
	t.state.optimizer = newAdam(o.Beta1, o.Beta2, t.params)
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
	var sum float64
	for part := range slices.Chunk(t.judges, t.opt.Micro) {
		e, err := t.look.run(&t.goal, part)
		if err != nil {
			return 0, err
		}
		sum += e
	}
	return sum / float64(len(t.judges)*t.goal.window), nil
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
	of   []int
	left []int
}

func newWindowOrder(seed uint64, windows []int) *windowOrder {
	return &windowOrder{rng: rand.New(rand.NewPCG(seed, 0x7261696e)), of: windows}
}

func (o *windowOrder) next(dst []int) {
	for i := range dst {
		if len(o.left) == 0 {
			o.left = o.rng.Perm(len(o.of))
		}
		dst[i], o.left = o.of[o.left[0]], o.left[1:]
	}
}
