package graph

import (
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"
)

// A Plan is a compiled graph: the steps in order, each bound to its memory. It
// implements gorgonia.VM. A plan runs one batch at a time; the sequences it
// runs are independent of each other.
type Plan struct {
	dev     Device
	maxRows int
	name    func(*gorgonia.Node) string
	steps   []step
	buffers map[*gorgonia.Node]Buffer // inputs, outputs
	leaves  []*gorgonia.Node          // inputs and parameters
	states  []Stateful
	arena   int64
	hash    uint64
	memory  *memory
	whole   *Batch // RunAll's, made by its first call
}

type step struct {
	name   string
	run    Step
	probes []Step
}

var _ gorgonia.VM = (*Plan)(nil)

// Option changes what Compile does.
type Option func(*compiler)

// WithOutputs keeps the values of these nodes for Plan.Value and leaves out
// whatever none of them needs. Without it the outputs are the graph's roots.
func WithOutputs(nodes ...*gorgonia.Node) Option {
	return func(c *compiler) { c.outputs = append(c.outputs, nodes...) }
}

// WithMemoryOf computes in the memory of another plan of the same device, or in
// more where that is too small: of the two only one can run at a time, and none
// while the other is compiled. Inputs and outputs have memory of their own as
// always.
func WithMemoryOf(p *Plan) Option {
	return func(c *compiler) { c.plan.memory = p.memory }
}

// A Probe looks at a node's inputs and output right after it was computed. It
// must not change or keep them.
type Probe func(name string, b *Batch, in []Buffer, out Buffer) error

// WithProbe calls p after every node whose name (Builder.Name) and operator
// match, at every run. The graph is the same with and without probes.
func WithProbe(match func(name string, op gorgonia.Op) bool, p Probe) Option {
	return func(c *compiler) { c.probes = append(c.probes, probe{match, p}) }
}

// Compile turns a graph into a plan for batches of at most maxRows rows: it
// orders the nodes, gives them memory that is shared between nodes whose lives
// do not overlap, and prepares every kernel.
//
// Compiling reads the graph through gorgonia's caches, so one graph may be
// compiled by one goroutine at a time. Compiled plans only read it.
//
// Leaves that Builder.Parameter did not declare have memory of their own; a
// value they have already is copied there.
//
// Errors: a node without a shape or with a type the device cannot hold, two
// nodes with one hash, a statement node (gorgonia.Read: use Plan.Value), a node
// that reads selected rows and all rows (see RowSelector), and whatever a
// kernel's Prepare refuses; each names the node.
func Compile(g *gorgonia.ExprGraph, dev Device, maxRows int, opts ...Option) (*Plan, error) {
	if maxRows < 1 {
		return nil, fmt.Errorf("graph: compiling for %d rows", maxRows)
	}
	c := &compiler{plan: &Plan{dev: dev, maxRows: maxRows, name: (*gorgonia.Node).Name, buffers: map[*gorgonia.Node]Buffer{}, memory: newMemory()}}
	for _, o := range opts {
		o(c)
	}
	if err := c.sort(g); err != nil {
		return nil, err
	}
	c.assign()
	if err := c.allocate(); err != nil {
		return nil, err
	}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	return c.plan, nil
}

// Device returns the device the plan runs on.
func (p *Plan) Device() Device { return p.dev }

// MaxRows returns the largest number of rows a batch may have.
func (p *Plan) MaxRows() int { return p.maxRows }

// ArenaBytes returns the memory that the nodes' values take.
func (p *Plan) ArenaBytes() int64 { return p.arena }

// Hash identifies what the plan computes: FNV-1a over its operators in order,
// each with its kind and attributes. It does not depend on the weights, nor on
// how many rows the plan takes.
func (p *Plan) Hash() uint64 { return p.hash }

// Value returns the memory of an input, where the caller writes it, or of an
// output, where Run leaves it. Other nodes share memory and have no value to
// give; name them in WithOutputs.
func (p *Plan) Value(n *gorgonia.Node) (Buffer, error) {
	b, ok := p.buffers[n]
	if !ok {
		return Buffer{}, fmt.Errorf("graph: %s is neither an input nor an output of the plan", p.name(n))
	}
	return b, nil
}

// NewSequence returns an empty sequence for this plan's batches.
func (p *Plan) NewSequence() (*Sequence, error) {
	s := &Sequence{plan: p, states: make([]State, len(p.states))}
	for i, k := range p.states {
		var err error
		if s.states[i], err = k.NewState(p.dev); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Run computes the outputs for a batch and appends its tokens to their
// sequences. With kernels only, and sequences that have room, it allocates
// nothing.
//
// Errors: a batch the plan cannot take, which changes nothing; a step or a
// probe that fails, after which the batch's sequences must be truncated before
// they are used again. A second call while one is running is refused.
func (p *Plan) Run(b *Batch) error {
	if !p.memory.running.CompareAndSwap(false, true) {
		return errors.New("graph: the plan, or one that shares its memory, is running another batch; give every goroutine a plan of its own")
	}
	defer p.memory.running.Store(false)
	if err := b.check(p); err != nil {
		return err
	}
	for i := range b.Segments {
		s := &b.Segments[i]
		if err := s.Sequence.grow(s.Start + s.Len); err != nil {
			return err
		}
	}
	for i := range b.Segments {
		b.Segments[i].Sequence.torn = true
	}
	for i := range p.steps {
		s := &p.steps[i]
		if err := s.run(b); err != nil {
			return fmt.Errorf("graph: %s: %w", s.name, err)
		}
		for _, probe := range s.probes {
			if err := probe(b); err != nil {
				return fmt.Errorf("graph: probe of %s: %w", s.name, err)
			}
		}
	}
	for i := range b.Segments {
		s := &b.Segments[i]
		s.Sequence.length += s.Len
		s.Sequence.torn = false
	}
	return nil
}

// RunAll computes all rows, for one sequence that starts anew. Inputs and
// parameters that have a value of their own, such as gorgonia.Let gives, are
// set to it first; the others keep what was written through Plan.Value.
func (p *Plan) RunAll() error {
	for _, n := range p.leaves {
		v := n.Value()
		if v == nil {
			continue
		}
		if err := fill(p.buffers[n], v); err != nil {
			return fmt.Errorf("graph: input %s: %w", p.name(n), err)
		}
	}
	if p.whole == nil {
		seq, err := p.NewSequence()
		if err != nil {
			return err
		}
		p.whole = wholeBatch(p.maxRows, seq)
	}
	if err := p.whole.Segments[0].Sequence.Truncate(0); err != nil {
		return err
	}
	return p.Run(p.whole)
}

// Reset does nothing: a plan keeps nothing from one run to the next that its
// sequences do not hold.
func (p *Plan) Reset() {}

// Close releases nothing of the device, which the caller owns.
func (p *Plan) Close() error { return nil }
