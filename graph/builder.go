package graph

import (
	"fmt"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// A Builder declares a graph. Errors stick: the first one is kept with the
// scope it happened in, later calls do nothing, and Compile returns it. Nodes
// are never nil, so a declaration needs no error handling of its own.
type Builder struct {
	g     *gorgonia.ExprGraph
	scope []string
	names map[*gorgonia.Node]string // full name of every node made here
	dummy *gorgonia.Node            // stands for what could not be declared
	err   error
}

// NewBuilder returns a builder over a new, empty graph.
func NewBuilder() *Builder {
	return &Builder{g: gorgonia.NewGraph(), names: map[*gorgonia.Node]string{}}
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
	if len(b.scope) > 0 {
		msg = strings.Join(b.scope, ".") + ": " + msg
	}
	b.err = fmt.Errorf("graph: %s", msg)
}

// Scope declares what body declares under a name: the names of its nodes start
// with the enclosing scopes' names, joined by dots.
func (b *Builder) Scope(name string, body func()) {
	b.scope = append(b.scope, name)
	body()
	b.scope = b.scope[:len(b.scope)-1]
}

// Name returns the full name of a node: "model.layers.0.self_attn.q_proj".
// Nodes that gorgonia made have gorgonia's name.
func (b *Builder) Name(n *gorgonia.Node) string {
	if s, ok := b.names[n]; ok {
		return s
	}
	return n.Name()
}

// Lookup returns the node with a full name.
func (b *Builder) Lookup(name string) (*gorgonia.Node, bool) {
	for n, s := range b.names {
		if s == name {
			return n, true
		}
	}
	return nil, false
}

// Input declares a tensor whose value is given at every run.
func (b *Builder) Input(name string, dt tensor.Dtype, shape ...int) *gorgonia.Node {
	full := b.full(name)
	n := gorgonia.NewTensor(b.g, dt, len(shape), gorgonia.WithShape(shape...), gorgonia.WithName(full))
	b.names[n] = full
	return n
}

// Parameter declares a tensor that has a value and may be differentiated by.
// The plan uses the value's memory itself: what is written there (by an
// optimizer, say) is seen by the next run.
func (b *Builder) Parameter(name string, value *tensor.Dense) *gorgonia.Node {
	full := b.full(name)
	n := gorgonia.NewTensor(b.g, value.Dtype(), value.Dims(), gorgonia.WithShape(value.Shape()...),
		gorgonia.WithName(full), gorgonia.WithValue(value))
	b.names[n] = full
	return n
}

// Apply declares op applied to inputs, under a name.
func (b *Builder) Apply(name string, op gorgonia.Op, inputs ...*gorgonia.Node) *gorgonia.Node {
	if b.err != nil {
		return b.placeholder()
	}
	n, err := gorgonia.ApplyOp(op, inputs...)
	if err != nil {
		b.Scope(name, func() { b.Fail(err) })
		return b.placeholder()
	}
	// A node with the same operator and inputs is the same node. But gorgonia
	// compares 32-bit hashes; should two different declarations ever collide
	// there, the second would silently become the first.
	for i, c := range childrenOf(n) {
		if c != inputs[i] {
			b.Fail(fmt.Errorf("%s and %s have the same hash; give one of the operators another attribute", b.Name(n), b.full(name)))
			return b.placeholder()
		}
	}
	if _, seen := b.names[n]; !seen {
		b.names[n] = b.full(name)
		gorgonia.WithName(b.names[n])(n)
	}
	return n
}

// Try takes the result of one of gorgonia's own functions into the
// declaration: y := b.Try(gorgonia.Mul(x, w)).
func (b *Builder) Try(n *gorgonia.Node, err error) *gorgonia.Node {
	if err != nil {
		b.Fail(err)
	}
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
	return Compile(b.g, dev, maxRows, append([]Option{withNames(b.Name)}, opts...)...)
}

func (b *Builder) full(name string) string {
	if len(b.scope) == 0 {
		return name
	}
	return strings.Join(b.scope, ".") + "." + name
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
