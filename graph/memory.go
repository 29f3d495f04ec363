package graph

import (
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// memory is what one plan computes in, or several that never run at the same
// time.
type memory struct {
	running atomic.Bool
	values  map[tensor.Dtype]Buffer // of nodes, beside inputs and outputs
	kernels sharedMemory
}

func newMemory() *memory {
	return &memory{values: map[tensor.Dtype]Buffer{}, kernels: sharedMemory{}}
}

// span is memory that a node's value takes, and that of nodes which take it
// over, from the step that computes it to the last that reads it.
type span struct {
	dt          tensor.Dtype
	len         int
	first, last int    // steps
	own         bool   // of an input or output of the plan: nobody else uses it later
	memory      Buffer // where own
	at          int    // else the offset into the memory that nodes of the type share
}

// spanAlign is what offsets are multiples of, in elements: a vector of the
// widest instruction set.
const spanAlign = 16

// assign decides which nodes share memory. A node's memory is another's only
// once nothing reads it any more, but where a node says that it may take over
// an input's. Inputs and outputs of the plan have memory of their own.
// Constants and parameters need none.
func (c *compiler) assign() {
	last := make(map[*gorgonia.Node]int, len(c.order))
	for i, n := range c.order {
		last[n] = max(i, last[n])
		for _, k := range c.kids[n] {
			last[k] = i
		}
	}
	c.home = make(map[*gorgonia.Node]*span, len(c.order))
	for i, n := range c.order {
		if _, ok := constantOf(n); ok || c.parameters[n] {
			continue
		}
		s := &span{dt: n.Dtype(), len: max(1, n.Shape().TotalSize()), first: i, last: last[n],
			own: n.Op() == nil || slices.Contains(c.outputs, n)}
		if over := c.takenOver(n, last); over != nil {
			own := s.own
			s = c.home[over]
			s.last, s.own = last[n], own
		} else {
			c.spans = append(c.spans, s)
		}
		c.home[n] = s
	}
	c.place()
}

// takenOver returns an input whose memory a node may take over, if any; see
// Function.Reuses. A probe wants to see all inputs.
func (c *compiler) takenOver(n *gorgonia.Node, last map[*gorgonia.Node]int) *gorgonia.Node {
	f, ok := n.Op().(*Function)
	probed := func(p probe) bool { return p.match(c.plan.name(n), n.Op()) }
	if !ok || slices.ContainsFunc(c.probes, probed) {
		return nil
	}
	for _, i := range f.Reuses {
		k := c.kids[n][i]
		s, ok := c.home[k]
		dies := ok && !s.own && c.order[last[k]] == n
		others := slices.Concat(c.kids[n][:i], c.kids[n][i+1:])
		if dies && !slices.Contains(others, k) && k.Dtype() == n.Dtype() && k.Shape().Eq(n.Shape()) {
			return k
		}
	}
	return nil
}

// place gives the spans of each type their offsets into one piece of memory:
// the largest first, each where it fits between those that are held at the same
// time, as low as it can.
func (c *compiler) place() {
	shared := slices.DeleteFunc(slices.Clone(c.spans), func(s *span) bool { return s.own })
	slices.SortStableFunc(shared, func(a, b *span) int { return cmp.Compare(b.len, a.len) })
	var placed []*span // by offset
	for _, s := range shared {
		at := 0
		for _, p := range placed {
			if p.dt != s.dt || p.first > s.last || s.first > p.last {
				continue
			}
			if at+s.len <= p.at {
				break
			}
			at = max(at, roundUp(p.at+p.len, spanAlign))
		}
		s.at = at
		i, _ := slices.BinarySearchFunc(placed, s, func(a, b *span) int { return cmp.Compare(a.at, b.at) })
		placed = slices.Insert(placed, i, s)
	}
}

func roundUp(n, multiple int) int { return (n + multiple - 1) / multiple * multiple }

// allocate makes the memory and binds every node to its part.
func (c *compiler) allocate() error {
	sizes := map[tensor.Dtype]int{}
	for _, s := range c.spans {
		if s.own {
			c.plan.arena += int64(s.len) * int64(s.dt.Size())
		} else {
			sizes[s.dt] = max(sizes[s.dt], s.at+s.len)
		}
	}
	shared := c.plan.memory.values
	for dt, size := range sizes {
		// A plan that was compiled before keeps the smaller buffer, if it has one.
		if b, ok := shared[dt]; !ok || b.shape.TotalSize() < size {
			b, err := c.plan.dev.Alloc(tensor.Shape{size}, dt)
			if err != nil {
				return fmt.Errorf("graph: %w", err)
			}
			shared[dt] = b
		}
		c.plan.arena += int64(size) * int64(dt.Size())
	}
	for _, n := range c.order {
		b, err := c.bind(n, shared)
		if err != nil {
			return fmt.Errorf("graph: %s: %w", c.plan.name(n), err)
		}
		c.plan.buffers[n] = b
	}
	return nil
}

// bind returns a node's buffer.
func (c *compiler) bind(n *gorgonia.Node, shared map[tensor.Dtype]Buffer) (Buffer, error) {
	if v, ok := constantOf(n); ok {
		return bufferOf(v)
	}
	if c.parameters[n] {
		b, err := bufferOf(n.Value())
		if err == nil && !slices.Equal(b.shape, n.Shape()) {
			err = fmt.Errorf("a value of shape %v for a parameter of shape %v", b.shape, n.Shape())
		}
		return b, err
	}
	s := c.home[n]
	if !s.own {
		return shared[s.dt].part(s.at, n.Shape())
	}
	if s.memory.data == nil {
		var err error
		if s.memory, err = c.plan.dev.Alloc(n.Shape(), s.dt); err != nil {
			return Buffer{}, err
		}
	}
	if n.Op() == nil && n.Value() != nil {
		return s.memory, fill(s.memory, n.Value())
	}
	return s.memory, nil
}
