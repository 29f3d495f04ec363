package graph

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// compiler holds what only compilation needs.
type compiler struct {
	plan    *Plan
	outputs []*gorgonia.Node
	probes  []probe

	order_ []*gorgonia.Node // inputs first
	kids   map[*gorgonia.Node][]*gorgonia.Node
	rows   map[*gorgonia.Node]RowSet
	blocks []block
	home   map[*gorgonia.Node]int // index into blocks
}

type probe struct {
	match func(string, gorgonia.Op) bool
	f     Probe
}

// block is memory that several nodes use one after the other.
type block struct {
	dt  tensor.Dtype
	len int
}

// order lists the nodes that the outputs need, each after its inputs.
func (c *compiler) order(g *gorgonia.ExprGraph) error {
	sorted, err := gorgonia.Sort(g) // roots first
	if err != nil {
		return fmt.Errorf("graph: %w", err)
	}
	c.kids = make(map[*gorgonia.Node][]*gorgonia.Node, len(sorted))
	isRoot := make(map[*gorgonia.Node]bool, len(sorted))
	for _, n := range sorted {
		c.kids[n] = childrenOf(n)
		isRoot[n] = true
	}
	for _, n := range sorted {
		for _, k := range c.kids[n] {
			isRoot[k] = false
		}
	}
	if len(c.outputs) == 0 {
		for _, n := range sorted {
			if isRoot[n] {
				c.outputs = append(c.outputs, n)
			}
		}
	}
	needed := make(map[*gorgonia.Node]bool, len(sorted))
	for _, n := range c.outputs {
		if n.Graph() != g {
			return fmt.Errorf("graph: output %s is a node of another graph", c.plan.name(n))
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
		c.order_ = append(c.order_, n)
	}
	for i, j := 0, len(c.order_)-1; i < j; i, j = i+1, j-1 {
		c.order_[i], c.order_[j] = c.order_[j], c.order_[i]
	}
	return nil
}

// assign decides which nodes share memory. A node's block is free again after
// the last step that reads it. Inputs and outputs have blocks of their own.
func (c *compiler) assign() {
	last := make(map[*gorgonia.Node]int, len(c.order_))
	for i, n := range c.order_ {
		for _, k := range c.kids[n] {
			last[k] = i
		}
	}
	pinned := make(map[*gorgonia.Node]bool)
	for _, n := range c.outputs {
		pinned[n] = true
	}
	c.home = make(map[*gorgonia.Node]int, len(c.order_))
	var free []int
	for i, n := range c.order_ {
		size := max(1, n.Shape().TotalSize())
		if n.Op() == nil || pinned[n] {
			c.home[n] = c.newBlock(n.Dtype(), size)
			continue
		}
		c.home[n] = c.take(&free, n.Dtype(), size)
		for _, k := range uniqueNodes(c.kids[n]) {
			if last[k] == i && k.Op() != nil && !pinned[k] {
				free = append(free, c.home[k])
			}
		}
	}
}

// take returns the free block that fits best, the largest of those too small
// (which then grows), or a new one.
func (c *compiler) take(free *[]int, dt tensor.Dtype, size int) int {
	best := -1
	for i, id := range *free {
		b := c.blocks[id]
		if b.dt != dt {
			continue
		}
		if best < 0 {
			best = i
			continue
		}
		cur := c.blocks[(*free)[best]].len
		if fits := b.len >= size; fits && (cur < size || b.len < cur) || !fits && cur < size && b.len > cur {
			best = i
		}
	}
	if best < 0 {
		return c.newBlock(dt, size)
	}
	id := (*free)[best]
	*free = append((*free)[:best], (*free)[best+1:]...)
	c.blocks[id].len = max(c.blocks[id].len, size)
	return id
}

func (c *compiler) newBlock(dt tensor.Dtype, size int) int {
	c.blocks = append(c.blocks, block{dt, size})
	return len(c.blocks) - 1
}

// allocate makes the memory and binds every node to its part.
func (c *compiler) allocate() error {
	memory := make([]Buffer, len(c.blocks))
	all := make(map[*gorgonia.Node]Buffer, len(c.order_))
	for _, n := range c.order_ {
		b, err := c.bind(n, memory)
		if err != nil {
			return fmt.Errorf("graph: %s: %w", c.plan.name(n), err)
		}
		all[n] = b
	}
	for i, m := range memory {
		if m.data != nil {
			c.plan.arena += int64(c.blocks[i].len) * sizeOf(c.blocks[i].dt)
		}
	}
	c.plan.buffers = all
	return nil
}

// bind returns a node's buffer. A parameter and a constant are the memory of
// their value.
func (c *compiler) bind(n *gorgonia.Node, memory []Buffer) (Buffer, error) {
	if v := n.Value(); v != nil && (n.Op() == nil || n.Op().Arity() == 0) {
		switch d := v.Data().(type) {
		case []float32, []float64, []int32:
			return Buffer{v.Shape(), d}, nil
		case float32:
			return Buffer{v.Shape(), []float32{d}}, nil
		case float64:
			return Buffer{v.Shape(), []float64{d}}, nil
		}
	}
	id := c.home[n]
	if memory[id].data == nil {
		b, err := c.plan.dev.Alloc(tensor.Shape{c.blocks[id].len}, c.blocks[id].dt)
		if err != nil {
			return Buffer{}, err
		}
		memory[id] = b
	}
	if n.IsScalar() {
		b, err := memory[id].reshape(tensor.Shape{1})
		b.shape = tensor.ScalarShape()
		return b, err
	}
	return memory[id].reshape(n.Shape())
}

// prepare makes the steps.
func (c *compiler) prepare() error {
	p := c.plan
	c.rows = make(map[*gorgonia.Node]RowSet, len(c.order_))
	for _, n := range c.order_ {
		if n.Op() == nil {
			p.bound = append(p.bound, n)
			continue
		}
		if n.Op().Arity() == 0 {
			continue // a constant
		}
		in := make([]Buffer, len(c.kids[n]))
		for i, k := range c.kids[n] {
			in[i] = p.buffers[k]
			c.rows[n] = max(c.rows[n], c.rows[k])
		}
		run, err := c.prepareNode(n, in)
		if err != nil {
			return fmt.Errorf("graph: %s: %w", p.name(n), err)
		}
		s := step{node: n, run: run}
		for _, pr := range c.probes {
			if name := p.name(n); pr.match(name, n.Op()) {
				out, f := p.buffers[n], pr.f
				s.probes = append(s.probes, func(b *Batch) error { return f(name, b, in, out) })
			}
		}
		p.steps = append(p.steps, s)
	}
	// From here on only inputs and outputs have a value of their own.
	kept := map[*gorgonia.Node]Buffer{}
	for _, n := range append(p.bound, c.outputs...) {
		kept[n] = p.buffers[n]
	}
	p.buffers = kept
	return nil
}

func (c *compiler) prepareNode(n *gorgonia.Node, in []Buffer) (Step, error) {
	k, ok := n.Op().(Kernel)
	if !ok {
		return foreignStep(n, in, c.plan.buffers[n])
	}
	if _, ok := k.(RowSelector); ok {
		if c.rows[n] == OutputRows {
			return nil, fmt.Errorf("its input's rows are selected already")
		}
		c.rows[n] = OutputRows
	}
	a := &Args{Device: c.plan.dev, MaxRows: c.plan.maxRows, Rows: c.rows[n], Out: c.plan.buffers[n], In: in}
	if s, ok := k.(Stateful); ok {
		a.State = len(c.plan.states)
		c.plan.states = append(c.plan.states, s)
	}
	return k.Prepare(a)
}

func uniqueNodes(ns []*gorgonia.Node) []*gorgonia.Node {
	var out []*gorgonia.Node
	for i, n := range ns {
		seen := false
		for _, m := range ns[:i] {
			seen = seen || m == n
		}
		if !seen {
			out = append(out, n)
		}
	}
	return out
}
