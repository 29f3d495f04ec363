package graph

import (
	"fmt"
	"hash/fnv"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// compiler holds what only compilation needs.
type compiler struct {
	plan    *Plan
	outputs []*gorgonia.Node
	probes  []probe
	// parameters are the leaves whose value's memory the plan uses itself.
	parameters map[*gorgonia.Node]bool

	order []*gorgonia.Node // inputs first
	kids  map[*gorgonia.Node][]*gorgonia.Node
	rows  map[*gorgonia.Node]rowDomain
	spans []*span
	home  map[*gorgonia.Node]*span
}

type probe struct {
	match func(string, gorgonia.Op) bool
	f     Probe
}

// sort lists the nodes that the outputs need, each after its inputs.
func (c *compiler) sort(g *gorgonia.ExprGraph) error {
	sorted, err := gorgonia.Sort(g) // roots first
	if err != nil {
		return fmt.Errorf("graph: %w", err)
	}
	c.kids = make(map[*gorgonia.Node][]*gorgonia.Node, len(sorted))
	read := make(map[*gorgonia.Node]bool, len(sorted))
	for _, n := range sorted {
		c.kids[n] = childrenOf(n)
		for _, k := range c.kids[n] {
			read[k] = true
		}
	}
	if len(c.outputs) == 0 {
		for _, n := range sorted {
			if !read[n] {
				c.outputs = append(c.outputs, n)
			}
		}
	}
	needed := make(map[*gorgonia.Node]bool, len(sorted))
	for i, n := range c.outputs {
		if n == nil || n.Graph() != g {
			return fmt.Errorf("graph: output %d is not a node of the graph", i)
		}
		needed[n] = true
	}
	hashes := make(map[uint32]*gorgonia.Node, len(sorted))
	for _, n := range sorted {
		if !needed[n] {
			continue
		}
		for _, k := range c.kids[n] {
			needed[k] = true
		}
		if other, ok := hashes[n.Hashcode()]; ok {
			return fmt.Errorf("graph: %s and %s have the same hash; give their operators different attributes", c.plan.name(other), c.plan.name(n))
		}
		hashes[n.Hashcode()] = n
		if err := checkNode(n, c.kids[n]); err != nil {
			return fmt.Errorf("graph: %s: %w", c.plan.name(n), err)
		}
		c.order = append(c.order, n)
	}
	if len(c.order) == 0 {
		return fmt.Errorf("graph: nothing is declared")
	}
	slices.Reverse(c.order)
	return nil
}

// checkNode refuses what has no value to keep.
func checkNode(n *gorgonia.Node, kids []*gorgonia.Node) error {
	_, statement := n.Op().(gorgonia.NoRetOp)
	// Gorgonia's own statements are recognizable only by having inputs that
	// they do not count.
	if n.Op() != nil && n.Op().Arity() == 0 && len(kids) > 0 {
		statement = true
	}
	if statement {
		return fmt.Errorf("%v is a statement; read results with Plan.Value", n.Op())
	}
	dims := 0
	switch t := n.Type().(type) {
	case tensor.Dtype:
	case gorgonia.TensorType:
		if _, ok := t.Of.(tensor.Dtype); !ok {
			return fmt.Errorf("a tensor of %v", t.Of)
		}
		dims = t.Dims
	default:
		return fmt.Errorf("a node of type %v", n.Type())
	}
	if dims > 0 && len(n.Shape()) == 0 {
		return fmt.Errorf("no shape is known")
	}
	return nil
}

// constantOf returns the value of gorgonia's constants.
func constantOf(n *gorgonia.Node) (gorgonia.Value, bool) {
	k, ok := n.Op().(interface{ Value() gorgonia.Value })
	if !ok {
		return nil, false
	}
	return k.Value(), true
}

// prepare makes the steps.
func (c *compiler) prepare() error {
	p := c.plan
	hash := fnv.New64a()
	c.rows = make(map[*gorgonia.Node]rowDomain, len(c.order))
	for _, n := range c.order {
		if n.Op() == nil {
			p.leaves = append(p.leaves, n)
			continue
		}
		if _, ok := constantOf(n); ok {
			continue
		}
		name := p.name(n)
		n.Op().WriteHash(hash)
		run, in, err := c.prepareNode(n)
		if err != nil {
			return fmt.Errorf("graph: %s: %w", name, err)
		}
		s := step{name: name, run: run}
		for _, pr := range c.probes {
			if pr.match(name, n.Op()) {
				out, f := p.buffers[n], pr.f
				s.probes = append(s.probes, func(b *Batch) error { return f(name, b, in, out) })
			}
		}
		p.steps = append(p.steps, s)
	}
	p.hash = hash.Sum64()
	// From here on only inputs and outputs have a value of their own.
	kept := map[*gorgonia.Node]Buffer{}
	for _, n := range slices.Concat(p.leaves, c.outputs) {
		kept[n] = p.buffers[n]
	}
	p.buffers = kept
	return nil
}

func (c *compiler) prepareNode(n *gorgonia.Node) (run Step, in []Buffer, err error) {
	for _, k := range c.kids[n] {
		in = append(in, c.plan.buffers[k])
	}
	rows, err := c.rowsOf(n)
	if err != nil {
		return nil, nil, err
	}
	c.rows[n] = rows
	k, ok := n.Op().(Kernel)
	if !ok {
		run, err = foreignStep(n.Op(), in, c.plan.buffers[n])
		return run, in, err
	}
	a := &Args{Device: c.plan.dev, MaxRows: c.plan.maxRows, Rows: rows.set(), Out: c.plan.buffers[n], In: slices.Clone(in), shared: c.plan.memory.kernels}
	if s, ok := k.(Stateful); ok {
		a.State = len(c.plan.states)
		c.plan.states = append(c.plan.states, s)
	}
	run, err = k.Prepare(a)
	if err == nil && run == nil {
		err = fmt.Errorf("%v prepared no step", k)
	}
	return run, in, err
}

// rowDomain says what a node's rows are while it is being compiled. Leaves
// and what is computed from parameters alone fit either domain.
type rowDomain uint8

const (
	anyRows rowDomain = iota
	tokenRows
	outputRows
)

func (d rowDomain) set() RowSet {
	if d == outputRows {
		return OutputRows
	}
	return TokenRows
}

func (c *compiler) rowsOf(n *gorgonia.Node) (rowDomain, error) {
	var seen [outputRows + 1]bool
	input := false
	for _, k := range c.kids[n] {
		seen[c.rows[k]] = true
		input = input || k.Op() == nil && !c.parameters[k]
	}
	_, selects := n.Op().(RowSelector)
	_, restores := n.Op().(RowRestorer)
	switch {
	case selects && seen[outputRows]:
		return anyRows, fmt.Errorf("its input's rows are selected already")
	case seen[outputRows] && seen[tokenRows]:
		return anyRows, fmt.Errorf("it mixes selected rows with all rows of the batch")
	case restores:
		return tokenRows, nil
	case selects || seen[outputRows]:
		return outputRows, nil
	case input || seen[tokenRows]:
		return tokenRows, nil
	}
	return anyRows, nil
}
