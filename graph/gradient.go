package graph

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Grad declares the derivatives of a loss by leaves; of the sum of its elements,
// where the loss has several. It is reverse-mode differentiation as
// gorgonia.Grad does it, with two differences: derivatives of a value that is
// used more than once are added up by a kernel, on all threads and without
// allocating, and only what depends on the leaves is differentiated.
//
// Errors: an operator without derivatives between a leaf and the loss, a leaf
// that the loss does not depend on.
func (b *Builder) Grad(loss *gorgonia.Node, wrt ...*gorgonia.Node) gorgonia.Nodes {
	if b.err != nil {
		return nil
	}
	sorted, err := gorgonia.Sort(b.g) // roots first
	if err != nil {
		b.Fail(err)
		return nil
	}
	d := differentiation{b: b, active: map[*gorgonia.Node]bool{}, terms: map[*gorgonia.Node]gorgonia.Nodes{}}
	for _, n := range wrt {
		d.active[n] = true
	}
	for i := len(sorted) - 1; i >= 0; i-- {
		d.mark(sorted[i])
	}
	d.terms[loss] = gorgonia.Nodes{b.ones(loss)}
	for _, n := range sorted {
		if d.active[n] && len(d.terms[n]) > 0 {
			d.passOn(n)
		}
	}
	grads := make(gorgonia.Nodes, len(wrt))
	for i, n := range wrt {
		if b.err == nil && len(d.terms[n]) == 0 {
			b.Fail(fmt.Errorf("%s: the loss %s does not depend on it", b.Name(n), b.Name(loss)))
		}
		if b.err != nil {
			return nil
		}
		grads[i] = d.terms[n][0]
	}
	return grads
}

// differentiation is one call of Grad.
type differentiation struct {
	b      *Builder
	active map[*gorgonia.Node]bool           // depends on a leaf in question
	terms  map[*gorgonia.Node]gorgonia.Nodes // whose sum is the derivative by the node
}

// mark finds out whether a node depends on the leaves, given its inputs do.
func (d *differentiation) mark(n *gorgonia.Node) {
	kids := childrenOf(n)
	op, known := n.Op().(gorgonia.SDOp)
	var by []bool
	if known {
		by = op.DiffWRT(len(kids))
	}
	for i, k := range kids {
		if d.active[k] && (!known || i < len(by) && by[i]) {
			d.active[n] = true
		}
	}
}

// passOn adds up the derivative by a node and passes it on to the node's
// inputs.
func (d *differentiation) passOn(n *gorgonia.Node) {
	if d.b.err != nil {
		return
	}
	grad := d.b.sum(d.terms[n])
	d.terms[n] = gorgonia.Nodes{grad}
	if n.Op() == nil {
		return
	}
	op, ok := n.Op().(gorgonia.SDOp)
	if !ok {
		d.b.Fail(fmt.Errorf("%s: %v cannot be differentiated", d.b.Name(n), n.Op()))
	}
	if d.b.err != nil {
		return
	}
	kids := childrenOf(n)
	by, err := op.SymDiff(kids, n, grad)
	if err != nil {
		d.b.Fail(fmt.Errorf("%s: %w", d.b.Name(n), err))
		return
	}
	for i, can := range op.DiffWRT(len(kids)) {
		if can && d.active[kids[i]] {
			d.terms[kids[i]] = append(d.terms[kids[i]], by[i])
		}
	}
}

// isVector tells whether the kernels below can hold a node's value.
func isVector(n *gorgonia.Node) bool { return n.Dims() > 0 && n.Dtype() == tensor.Float32 }

// ones is the derivative of the sum of a loss' elements by the loss.
func (b *Builder) ones(loss *gorgonia.Node) *gorgonia.Node {
	switch {
	case isVector(loss):
		return b.Apply("ones", &Function{
			Base:  Base{Kind: "ones", In: Float32Tensors(loss.Dims()), Out: Float32Tensor(loss.Dims())},
			Infer: Like(0),
			OnCPU: func(a *Args, _ *CPU) (Step, error) {
				return func(*Batch) error {
					for i := range a.Out.Float32s() {
						a.Out.Float32s()[i] = 1
					}
					return nil
				}, nil
			},
		}, loss)
	case loss.Dims() > 0:
		b.Fail(fmt.Errorf("%s: a loss of %v with %d axes; sum it", b.Name(loss), loss.Dtype(), loss.Dims()))
	case loss.Dtype() == tensor.Float64:
		return b.g.AddNode(gorgonia.NewConstant(1.0))
	}
	return b.g.AddNode(gorgonia.NewConstant(float32(1)))
}

// sum declares the sum of terms of one shape.
func (b *Builder) sum(terms gorgonia.Nodes) *gorgonia.Node {
	if len(terms) == 1 {
		return terms[0]
	}
	if !isVector(terms[0]) {
		return b.Try(gorgonia.ReduceAdd(terms))
	}
	o := &Function{Base: Base{Kind: "sum", Out: Float32Tensor(terms[0].Dims())}, Infer: Like(0), OnCPU: prepareSum, Reuses: []int{0, 1}}
	for range terms {
		o.In = append(o.In, o.Out)
	}
	return b.Apply("sum", o, terms...)
}

// prepareSum adds up whole values, a part at a time that stays in the cache.
func prepareSum(a *Args, cpu *CPU) (Step, error) {
	const part = 4096
	dst := a.Out.Float32s()
	do := func(_, i int) {
		to := dst[i*part : min(len(dst), (i+1)*part)]
		addTo(to, a.In[0].Float32s()[i*part:], a.In[1].Float32s()[i*part:])
		for _, in := range a.In[2:] {
			addTo(to, to, in.Float32s()[i*part:])
		}
	}
	return func(*Batch) error {
		cpu.Parallel((len(dst)+part-1)/part, do)
		return nil
	}, nil
}

func addTo(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := range dst {
		dst[i] = x[i] + y[i]
	}
}
