package graph

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// A Builder declares a graph. Errors stick: the first one is kept with the
// scope it happened in, later calls do nothing of use, and Compile returns it.
// Nodes are never nil, so a declaration needs no error handling of its own.
type Builder struct {
	g          *gorgonia.ExprGraph
	root       *scope
	open       *scope // innermost
	names      map[*gorgonia.Node]string
	leaves     map[string]bool // full names of inputs and parameters
	parameters map[*gorgonia.Node]bool
	dummy      *gorgonia.Node // stands for what could not be declared
	err        error
}

// scope is one call of Builder.Scope. The nodes declared while it was open are
// those whose ids are in [lo, hi): gorgonia counts them up.
type scope struct {
	name   string
	parent *scope
	lo, hi int64
	inner  []*scope
}

// path returns the scopes' names from the outermost, joined by dots.
func (s *scope) path() string {
	if s == nil || s.parent == nil {
		return ""
	}
	return join(s.parent.path(), s.name)
}

func join(scope, name string) string {
	if scope == "" {
		return name
	}
	return scope + "." + name
}

// of returns the innermost scope in which a node was declared.
func (s *scope) of(id int64) *scope {
	for _, in := range s.inner {
		if in.lo <= id && id < in.hi {
			return in.of(id)
		}
	}
	return s
}

// NewBuilder returns a builder over a new, empty graph.
func NewBuilder() *Builder {
	root := &scope{}
	return &Builder{
		g: gorgonia.NewGraph(), root: root, open: root,
		names: map[*gorgonia.Node]string{}, leaves: map[string]bool{}, parameters: map[*gorgonia.Node]bool{},
	}
}

// Graph returns the graph declared so far.
func (b *Builder) Graph() *gorgonia.ExprGraph { return b.g }

// Err returns the first error, or nil.
func (b *Builder) Err() error { return b.err }

// Fail records an error, unless there is one already.
func (b *Builder) Fail(err error) {
	if b.err != nil || err == nil {
		return
	}
	// Gorgonia's errors carry line breaks and stack traces' worth of wrapping.
	msg := strings.Join(strings.Fields(err.Error()), " ")
	if path := b.open.path(); path != "" {
		msg = path + ": " + msg
	}
	b.err = fmt.Errorf("graph: %s", msg)
}

// Scope declares what body declares under a name: the names of its nodes start
// with the enclosing scopes' names, joined by dots. Drawings show a box for
// every call.
func (b *Builder) Scope(name string, body func()) {
	outer := b.open
	s := &scope{name: name, parent: outer, lo: b.next(), hi: math.MaxInt64}
	outer.inner = append(outer.inner, s)
	b.open = s
	body()
	b.open, s.hi = outer, b.next()
}

// next returns the id of the next node.
func (b *Builder) next() int64 { return int64(len(b.g.AllNodes())) }

// Name returns the full name of a node: "model.layers.0.self_attn.q_proj".
// Nodes that gorgonia made have gorgonia's name in place of the last part.
func (b *Builder) Name(n *gorgonia.Node) string {
	if s, ok := b.names[n]; ok {
		return s
	}
	return join(b.root.of(n.ID()).path(), n.Name())
}

// Input declares a tensor whose value is given at every run. An input without
// a shape is a scalar.
func (b *Builder) Input(name string, dt tensor.Dtype, shape ...int) *gorgonia.Node {
	for _, n := range shape {
		if n < 1 {
			b.failAt(name, fmt.Errorf("an input of shape %v", shape))
		}
	}
	full := b.leaf(name)
	if b.err != nil {
		return b.placeholder()
	}
	var n *gorgonia.Node
	if len(shape) == 0 {
		n = gorgonia.NewScalar(b.g, dt, gorgonia.WithName(full))
	} else {
		n = gorgonia.NewTensor(b.g, dt, len(shape), gorgonia.WithShape(shape...), gorgonia.WithName(full))
	}
	b.names[n] = full
	return n
}

// Parameter declares a tensor that has a value and may be differentiated by.
// The plan uses the value's memory itself: what is written there (by an
// optimizer, say) is seen by the next run. So the value must be contiguous and
// have at least one axis.
func (b *Builder) Parameter(name string, value *tensor.Dense) *gorgonia.Node {
	switch {
	case value == nil:
		b.failAt(name, errors.New("a parameter without a value"))
	case value.IsScalar() || value.RequiresIterator() || value.DataOrder().IsColMajor():
		b.failAt(name, fmt.Errorf("a parameter of shape %v that is a scalar or not contiguous; materialize it", value.Shape()))
	}
	full := b.leaf(name)
	if b.err != nil {
		return b.placeholder()
	}
	n := gorgonia.NewTensor(b.g, value.Dtype(), value.Dims(), gorgonia.WithShape(value.Shape()...),
		gorgonia.WithName(full), gorgonia.WithValue(value))
	b.names[n] = full
	b.parameters[n] = true
	return n
}

// leaf returns the full name of a new input or parameter. Gorgonia would
// silently make one node of two leaves of one name.
func (b *Builder) leaf(name string) string {
	full := join(b.open.path(), name)
	if b.leaves[full] {
		b.failAt(name, errors.New("declared twice"))
	}
	b.leaves[full] = true
	return full
}

// failAt records an error at a name in the open scope.
func (b *Builder) failAt(name string, err error) { b.Fail(fmt.Errorf("%s: %w", name, err)) }

// Apply declares op applied to inputs, under a name.
func (b *Builder) Apply(name string, op gorgonia.Op, inputs ...*gorgonia.Node) *gorgonia.Node {
	if b.err != nil {
		return b.placeholder()
	}
	for i, in := range inputs {
		if in == nil {
			b.failAt(name, fmt.Errorf("input %d is nil", i))
			return b.placeholder()
		}
	}
	inputs = slices.Clone(inputs) // the node keeps the slice
	n, err := gorgonia.ApplyOp(op, inputs...)
	if err != nil {
		b.failAt(name, err)
		return b.placeholder()
	}
	// A node with the same operator and inputs is the same node. But gorgonia
	// compares 32-bit hashes; should two different declarations ever collide
	// there, the second would silently become the first.
	if !slices.Equal(childrenOf(n), inputs) {
		b.failAt(name, fmt.Errorf("has the same hash as %s; give one of the operators another attribute", b.Name(n)))
		return b.placeholder()
	}
	if _, seen := b.names[n]; !seen {
		b.names[n] = join(b.open.path(), name)
		gorgonia.WithName(b.names[n])(n)
	}
	return n
}

// Try takes the result of one of gorgonia's own functions into the
// declaration: y := b.Try(gorgonia.Mul(x, w)).
func (b *Builder) Try(n *gorgonia.Node, err error) *gorgonia.Node {
	if err == nil && n == nil {
		err = errors.New("a nil node")
	}
	b.Fail(err)
	if b.err != nil {
		return b.placeholder()
	}
	return n
}

// Compile compiles what was declared; see the function Compile.
func (b *Builder) Compile(dev Device, maxRows int, opts ...Option) (*Plan, error) {
	if b.err != nil {
		return nil, b.err
	}
	declared := func(c *compiler) { c.plan.name, c.parameters = b.Name, b.parameters }
	return Compile(b.g, dev, maxRows, append([]Option{declared}, opts...)...)
}

func (b *Builder) placeholder() *gorgonia.Node {
	if b.dummy == nil {
		b.dummy = gorgonia.NewScalar(b.g, tensor.Float32, gorgonia.WithName("failed"))
	}
	return b.dummy
}

// childrenOf returns a node's inputs in order. Gorgonia exports them only
// through the graph's From.
func childrenOf(n *gorgonia.Node) []*gorgonia.Node {
	it := n.Graph().From(n.ID())
	if it == nil {
		return nil
	}
	cs := make([]*gorgonia.Node, 0, it.Len())
	for it.Next() {
		cs = append(cs, it.Node().(*gorgonia.Node))
	}
	return cs
}

// Lookup returns the node with a full name, such as
// "model.layers.0.self_attn.attention".
func (b *Builder) Lookup(name string) (*gorgonia.Node, bool) {
	for _, n := range b.g.AllNodes() {
		if b.Name(n) == name {
			return n, true
		}
	}
	return nil, false
}
