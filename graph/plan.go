package graph

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
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
	bound   []*gorgonia.Node          // inputs whose value RunAll reads from the node
	states  []Stateful
	arena   int64
	whole   *Batch // RunAll's batch
}

type step struct {
	node   *gorgonia.Node
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

// A Probe looks at a node's inputs and output right after it was computed. It
// must not change or keep them.
type Probe func(name string, b *Batch, in []Buffer, out Buffer) error

// WithProbe calls p after every node whose name (Builder.Name) and operator
// match, at every run. The graph is the same with and without probes.
func WithProbe(match func(name string, op gorgonia.Op) bool, p Probe) Option {
	return func(c *compiler) { c.probes = append(c.probes, probe{match, p}) }
}

func withNames(name func(*gorgonia.Node) string) Option {
	return func(c *compiler) { c.plan.name = name }
}

// Compile turns a graph into a plan for batches of at most maxRows rows: it
// orders the nodes, gives them memory that is shared between nodes whose lives
// do not overlap, and prepares every kernel.
//
// Compiling reads the graph through gorgonia's caches, so one graph may be
// compiled by one goroutine at a time. Compiled plans only read it.
//
// Errors: a node without a shape or with a type the device cannot hold, two
// nodes with one hash, a statement node (gorgonia.Read: use Plan.Value), and
// whatever a kernel's Prepare refuses; each names the node.
func Compile(g *gorgonia.ExprGraph, dev Device, maxRows int, opts ...Option) (*Plan, error) {
	if maxRows < 1 {
		return nil, fmt.Errorf("graph: compiling for %d rows", maxRows)
	}
	c := &compiler{plan: &Plan{dev: dev, maxRows: maxRows, name: (*gorgonia.Node).Name, buffers: map[*gorgonia.Node]Buffer{}}}
	for _, o := range opts {
		o(c)
	}
	if err := c.order(g); err != nil {
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
// nothing. After an error the sequences of the batch are unusable until they
// are truncated to 0.
func (p *Plan) Run(b *Batch) error {
	if err := b.check(p); err != nil {
		return err
	}
	for _, s := range b.Segments {
		if err := s.Sequence.reserve(s.Start + s.Len); err != nil {
			return err
		}
	}
	for i := range p.steps {
		s := &p.steps[i]
		if err := s.run(b); err != nil {
			return fmt.Errorf("graph: %s: %w", p.name(s.node), err)
		}
		for _, probe := range s.probes {
			if err := probe(b); err != nil {
				return fmt.Errorf("graph: probe of %s: %w", p.name(s.node), err)
			}
		}
	}
	for i := range b.Segments {
		s := &b.Segments[i]
		s.Sequence.length += s.Len
	}
	return nil
}

// RunAll computes every row for one new sequence, with the inputs' values as
// gorgonia.Let set them.
func (p *Plan) RunAll() error {
	for _, n := range p.bound {
		if err := copyValue(p.buffers[n], n.Value()); err != nil {
			return fmt.Errorf("graph: input %s: %w", p.name(n), err)
		}
	}
	seq, err := p.NewSequence()
	if err != nil {
		return err
	}
	p.whole = wholeBatch(p.maxRows, seq)
	return p.Run(p.whole)
}

// Reset does nothing: a plan keeps nothing from one run to the next that its
// sequences do not hold.
func (p *Plan) Reset() {}

// Close releases nothing of the device, which the caller owns.
func (p *Plan) Close() error { return nil }

// copyValue writes a value that was bound to an input node after compilation
// into the input's buffer.
func copyValue(dst Buffer, v gorgonia.Value) error {
	if v == nil {
		return nil // written through Plan.Value
	}
	if !v.Shape().Eq(dst.shape) {
		return fmt.Errorf("a value of shape %v for an input of shape %v", v.Shape(), dst.shape)
	}
	ok := false
	switch d := dst.data.(type) {
	case []float32:
		ok = copySlice(d, v.Data())
	case []float64:
		ok = copySlice(d, v.Data())
	case []int32:
		ok = copySlice(d, v.Data())
	}
	if !ok {
		return fmt.Errorf("a value of %T for an input of %T", v.Data(), dst.data)
	}
	return nil
}

// copySlice copies a tensor's slice or a scalar.
func copySlice[T any](dst []T, src any) bool {
	switch s := src.(type) {
	case []T:
		copy(dst, s)
	case T:
		dst[0] = s
	default:
		return false
	}
	return true
}

func sizeOf(dt tensor.Dtype) int64 { return int64(dt.Size()) }
