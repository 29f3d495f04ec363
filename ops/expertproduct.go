package ops

import (
	"fmt"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/routing"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// ExpertProduct is one projection of a mixture of experts by weights that are
// a node: for each active expert e of a token, in increasing order,
// y = W[e]·x + bias[e].
//
// It cannot be differentiated by the routing, which Combine weighs its results
// with.
//
// Shapes: x [T, In] or [T, A, In], routing [T, E], w [E, Out, In],
// bias [E, Out] -> [T, A, Out].
func ExpertProduct(b *graph.Builder, name string, active int, x, routing, w, bias *gorgonia.Node) *gorgonia.Node {
	s := &expertShape{active: active}
	return b.Apply(name, &graph.Function{
		Base: graph.Base{Kind: "expert product", Attributes: fmt.Sprintf("%s A=%d", name, active),
			In: graph.Float32Tensors(x.Dims(), 2, 3, 2), Out: graph.Float32Tensor(3)},
		Infer: func(in []tensor.Shape) (tensor.Shape, error) {
			x, r, w, bias := in[0], in[1], in[2], in[3]
			if len(x) == 3 && x[1] != active || x[0] != r[0] || x[len(x)-1] != w[2] || r[1] != w[0] ||
				bias[0] != w[0] || bias[1] != w[1] {
				return nil, fmt.Errorf("an expert product of %v, routing %v and %v with a bias of %v", x, r, w, bias)
			}
			return tensor.Shape{x[0], active, w[1]}, nil
		},
		OnCPU:    s.forward,
		Gradient: graph.Gradient{s.byInput, nil, s.byWeight, s.byBias},
	}, x, routing, w, bias)
}

// expertShape makes the steps of an expert product and of its derivatives.
type expertShape struct{ active int }

// expertScratch is what those steps share.
type expertScratch struct {
	x, y []float32 // rows sorted by expert: [T·A, In], [T·A, Out]
	products
}

// expertRows sorts rows by expert into the scratch memory and back.
type expertRows struct {
	as *routing.Assignment
	*expertScratch
}

func (s *expertShape) rows(a *graph.Args, experts, in, out int) expertRows {
	m := graph.Shared[expertScratch](a)
	n := a.MaxRows * s.active
	m.x, m.y = grow(m.x, n*in), grow(m.y, n*out)
	return expertRows{routing.New(a.MaxRows, experts, s.active), m}
}

// gather sorts rows by expert: of token t, or of its slots where there is one
// row for each.
func (m expertRows) gather(cpu *graph.CPU, dst, src []float32, width int, perSlot bool) {
	cpu.Parallel(m.entries(), func(_, i int) {
		row := m.row(i, perSlot)
		copy(dst[i*width:(i+1)*width], src[row*width:(row+1)*width])
	})
}

// entries is the number of (token, active expert) pairs.
func (m expertRows) entries() int { return int(m.as.Start[m.as.Experts]) }

func (m expertRows) row(entry int, perSlot bool) int {
	t := int(m.as.Tokens[entry])
	if perSlot {
		return t*m.as.Slots + int(m.as.Slot[entry])
	}
	return t
}

// scatter undoes gather for rows that are one for each slot; slots without an
// expert are zero.
func (m expertRows) scatter(cpu *graph.CPU, dst, src []float32, width, tokens int) {
	if m.entries() < tokens*m.as.Slots {
		clear(dst[:tokens*m.as.Slots*width])
	}
	cpu.Parallel(m.entries(), func(_, i int) {
		row := m.row(i, true)
		copy(dst[row*width:(row+1)*width], src[i*width:(i+1)*width])
	})
}

func (s *expertShape) forward(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
	x, routed, w, bias := a.In[0].Float32s(), a.In[1].Float32s(), a.In[2].Float32s(), a.In[3].Float32s()
	shape := a.In[2].Shape()
	out, in, perSlot := shape[1], shape[2], len(a.In[0].Shape()) == 3
	m := s.rows(a, shape[0], in, out)
	return func(b *graph.Batch) error {
		rows := b.Active(a.Rows)
		if err := m.as.Build(routed, rows); err != nil {
			return err
		}
		m.gather(cpu, m.x, x, in, perSlot)
		for _, e := range m.as.Active {
			lo, hi := int(m.as.Start[e]), int(m.as.Start[e+1])
			y, e := m.y[lo*out:hi*out], int(e)
			cpu.Parallel(hi-lo, func(_, i int) { copy(y[i*out:(i+1)*out], bias[e*out:(e+1)*out]) })
			mulNT(cpu, y, out, m.x[lo*in:], in, w[e*out*in:], hi-lo, out, in, true)
		}
		m.scatter(cpu, a.Out.Float32s(), m.y, out, rows)
		return nil
	}, nil
}

// byInput is dx = Σ_slots dy·W[e].
func (s *expertShape) byInput(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
	perSlot := in[0].Dims() == 3
	return gorgonia.ApplyOp(&graph.Function{
		Base: graph.Base{Kind: "expert product by input", Attributes: fmt.Sprintf("A=%d slots=%v", s.active, perSlot),
			In: graph.Float32Tensors(3, 2, 3), Out: graph.Float32Tensor(in[0].Dims())},
		Infer: func(in []tensor.Shape) (tensor.Shape, error) {
			if perSlot {
				return tensor.Shape{in[0][0], s.active, in[2][2]}, nil
			}
			return tensor.Shape{in[0][0], in[2][2]}, nil
		},
		OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) { return s.inputStep(a, cpu, perSlot) },
	}, grad, in[1], in[2])
}

func (s *expertShape) inputStep(a *graph.Args, cpu *graph.CPU, perSlot bool) (graph.Step, error) {
	dy, routed, w, dx := a.In[0].Float32s(), a.In[1].Float32s(), a.In[2].Float32s(), a.Out.Float32s()
	shape := a.In[2].Shape()
	out, in := shape[1], shape[2]
	m := s.rows(a, shape[0], in, out)
	m.b = grow(m.b, out*in)
	return func(b *graph.Batch) error {
		rows := b.Active(a.Rows)
		if err := m.as.Build(routed, rows); err != nil {
			return err
		}
		m.gather(cpu, m.y, dy, out, true)
		for _, e := range m.as.Active {
			lo, hi := int(m.as.Start[e]), int(m.as.Start[e+1])
			transpose(cpu, m.b, w[int(e)*out*in:], out, in)
			mulNT(cpu, m.x[lo*in:hi*in], in, m.y[lo*out:], out, m.b, hi-lo, in, out, false)
		}
		if perSlot {
			m.scatter(cpu, dx, m.x, in, rows)
			return nil
		}
		clear(dx[:rows*in])
		for _, e := range m.as.Active { // no token has an expert twice
			lo, hi := int(m.as.Start[e]), int(m.as.Start[e+1])
			cpu.Parallel(hi-lo, func(_, i int) {
				y := dx[int(m.as.Tokens[lo+i])*in:][:in]
				kernel.Add(y, y, m.x[(lo+i)*in:(lo+i+1)*in])
			})
		}
		return nil
	}, nil
}

// byWeight is dW[e] = Σ_t dyᵀ·x.
func (s *expertShape) byWeight(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
	perSlot := in[0].Dims() == 3
	return gorgonia.ApplyOp(&graph.Function{
		Base: graph.Base{Kind: "expert product by weight", Attributes: fmt.Sprintf("A=%d", s.active),
			In: graph.Float32Tensors(3, 2, in[0].Dims()), Out: graph.Float32Tensor(3)},
		Infer: func(in []tensor.Shape) (tensor.Shape, error) {
			return tensor.Shape{in[1][1], in[0][2], in[2][len(in[2])-1]}, nil
		},
		OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) { return s.weightStep(a, cpu, perSlot) },
	}, grad, in[1], in[0])
}

func (s *expertShape) weightStep(a *graph.Args, cpu *graph.CPU, perSlot bool) (graph.Step, error) {
	dy, routed, x, dw := a.In[0].Float32s(), a.In[1].Float32s(), a.In[2].Float32s(), a.Out.Float32s()
	experts, out, in := a.Out.Shape()[0], a.Out.Shape()[1], a.Out.Shape()[2]
	m := s.rows(a, experts, in, out)
	m.a, m.b = grow(m.a, a.MaxRows*out), grow(m.b, a.MaxRows*in)
	return func(b *graph.Batch) error {
		if err := m.as.Build(routed, b.Active(a.Rows)); err != nil {
			return err
		}
		m.gather(cpu, m.x, x, in, perSlot)
		m.gather(cpu, m.y, dy, out, true)
		clear(dw) // of experts without tokens
		for _, e := range m.as.Active {
			lo, hi := int(m.as.Start[e]), int(m.as.Start[e+1])
			transpose(cpu, m.a, m.y[lo*out:], hi-lo, out)
			transpose(cpu, m.b, m.x[lo*in:], hi-lo, in)
			mulNT(cpu, dw[int(e)*out*in:int(e+1)*out*in], in, m.a, hi-lo, m.b, out, in, hi-lo, false)
		}
		return nil
	}, nil
}

// byBias is dbias[e] = Σ_t dy.
func (s *expertShape) byBias(in gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(&graph.Function{
		Base: graph.Base{Kind: "expert product by bias", Attributes: fmt.Sprintf("A=%d", s.active),
			In: graph.Float32Tensors(3, 2), Out: graph.Float32Tensor(2)},
		Infer: func(in []tensor.Shape) (tensor.Shape, error) { return tensor.Shape{in[1][1], in[0][2]}, nil },
		OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
			dy, routed, db := a.In[0].Float32s(), a.In[1].Float32s(), a.Out.Float32s()
			experts, out := a.Out.Shape()[0], a.Out.Shape()[1]
			m := s.rows(a, experts, 0, out)
			return func(b *graph.Batch) error {
				if err := m.as.Build(routed, b.Active(a.Rows)); err != nil {
					return err
				}
				m.gather(cpu, m.y, dy, out, true)
				for e := range experts {
					lo, hi := int(m.as.Start[e]), int(m.as.Start[e+1])
					sumRows(cpu, db[e*out:(e+1)*out], m.y[lo*out:], hi-lo)
				}
				return nil
			}, nil
		},
	}, grad, in[1])
}
