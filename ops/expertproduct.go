package ops

import (
	"fmt"

	"github.com/seed-796a8800/tritium/graph"
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

func (s *expertShape) forward(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
	x, routed, w, bias := a.In[0].Float32s(), a.In[1].Float32s(), a.In[2].Float32s(), a.In[3].Float32s()
	shape := a.In[2].Shape()
	out, in, perSlot := shape[1], shape[2], len(a.In[0].Shape()) == 3
	m := s.rows(a, cpu, shape[0], in, out)
	return func(b *graph.Batch) error {
		if err := m.build(routed, b.Active(a.Rows)); err != nil {
			return err
		}
		m.clearIdle(a.Out.Float32s(), out)
		blocks := m.cut(m.as.Active, out)
		cpu.Parallel(len(blocks), func(worker, i int) {
			k, room := &blocks[i], &m.workers[worker]
			m.gather(room.x, x, in, k, perSlot)
			width := k.right - k.left
			for r := range k.hi - k.lo {
				copy(room.y[r*width:(r+1)*width], bias[k.expert*out+k.left:])
			}
			kernel.MatMulNT(room.y, width, room.x, in, w[(k.expert*out+k.left)*in:], in, k.hi-k.lo, width, in, true)
			m.scatter(a.Out.Float32s(), room.y, out, k)
		})
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

// expertFloats is how much scratch memory the experts that are computed at the
// same time may take, where one alone does not need more.
const expertFloats = 8 << 20

func (s *expertShape) inputStep(a *graph.Args, cpu *graph.CPU, perSlot bool) (graph.Step, error) {
	dy, routed, w, dx := a.In[0].Float32s(), a.In[1].Float32s(), a.In[2].Float32s(), a.Out.Float32s()
	shape := a.In[2].Shape()
	out, in := shape[1], shape[2]
	m := s.rows(a, cpu, shape[0], out, in)
	m.b = grow(m.b, min(shape[0], max(1, expertFloats/(out*in)))*out*in)
	if !perSlot {
		m.a = grow(m.a, min(a.MaxRows*s.active, max(a.MaxRows, expertFloats/in))*in)
	}
	return func(b *graph.Batch) error {
		rows := b.Active(a.Rows)
		if err := m.build(routed, rows); err != nil {
			return err
		}
		if perSlot {
			m.clearIdle(dx, in)
		} else if m.entries() == 0 {
			clear(dx[:rows*in])
		}
		m.groups(func(experts, entries int) bool {
			return experts*out*in <= len(m.b) && (perSlot || entries*in <= len(m.a))
		}, func(experts []int32) {
			turned := m.turnWeights(cpu, w, experts, out, in)
			first := int(m.as.Start[experts[0]])
			blocks := m.cut(experts, in)
			cpu.Parallel(len(blocks), func(worker, i int) {
				k, room := &blocks[i], &m.workers[worker]
				m.gather(room.x, dy, out, k, true)
				wt, width := turned[k.place*out*in+k.left*out:], k.right-k.left
				if !perSlot {
					kernel.MatMulNT(m.a[(k.lo-first)*in+k.left:], in, room.x, out, wt, out, k.hi-k.lo, width, out, false)
					return
				}
				kernel.MatMulNT(room.y, width, room.x, out, wt, out, k.hi-k.lo, width, out, false)
				m.scatter(dx, room.y, in, k)
			})
			if !perSlot {
				m.sumSlots(cpu, dx, in, rows, first, int(m.as.Start[experts[len(experts)-1]+1]))
			}
		})
		return nil
	}, nil
}

// turnWeights transposes the weights of some experts.
//
// Shapes: w [E, Out, In] -> [len(experts), In, Out].
func (m *expertRows) turnWeights(cpu *graph.CPU, w []float32, experts []int32, out, in int) []float32 {
	parts := (out + transposeRows - 1) / transposeRows
	cpu.Parallel(len(experts)*parts, func(_, i int) {
		e, first := i/parts, i%parts*transposeRows
		kernel.Transpose(m.b[e*out*in+first:], out, w[(int(experts[e])*out+first)*in:], in, min(transposeRows, out-first), in)
	})
	return m.b
}

// sumSlots adds to every token what entries [from, to) have in m.a for it, in
// increasing order of expert. It starts from zero with the first entries.
//
// Shapes: dx [T, width], m.a [to-from, width].
func (m *expertRows) sumSlots(cpu *graph.CPU, dx []float32, width, tokens, from, to int) {
	cpu.Parallel((tokens+transposeRows-1)/transposeRows, func(_, i int) {
		for t := i * transposeRows; t < min(tokens, (i+1)*transposeRows); t++ {
			y := dx[t*width : (t+1)*width]
			if from == 0 {
				clear(y)
			}
			for _, entry := range m.entryOf[t*m.as.Slots : (t+1)*m.as.Slots] {
				if at := int(entry); from <= at && at < to {
					kernel.Add(y, y, m.a[(at-from)*width:(at-from+1)*width])
				}
			}
		}
	})
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
	m := s.rows(a, cpu, experts, 0, 0)
	// Room for the transposed rows of some experts, of any one at least; see lead.
	tokens := min(a.MaxRows*s.active+2*vectorFloats*experts, max(lead(a.MaxRows), expertFloats/(in+out)))
	m.a, m.b = grow(m.a, tokens*out), grow(m.b, tokens*in)
	return func(b *graph.Batch) error {
		if err := m.build(routed, b.Active(a.Rows)); err != nil {
			return err
		}
		for e := range experts {
			if m.as.Start[e] == m.as.Start[e+1] {
				clear(dw[e*out*in : (e+1)*out*in])
			}
		}
		m.groups(func(experts, entries int) bool {
			return entries+2*vectorFloats*experts <= tokens || experts == 1
		}, func(experts []int32) {
			ps := m.products(cpu, experts, dw, dy, x, out, in, perSlot)
			each := ps[0].blocks()
			cpu.Parallel(len(ps)*each, func(_, i int) { ps[i/each].block(i%each, productDepth) })
		})
		return nil
	}, nil
}

// products transposes the rows of some experts and returns the products that
// give the derivatives by their weights.
//
// Shapes: dw [E, Out, In], dy [T, A, Out], x [T, In] or [T, A, In].
func (m *expertRows) products(cpu *graph.CPU, experts []int32, dw, dy, x []float32, out, in int, perSlot bool) []product {
	m.list = m.list[:0]
	at := 0
	for _, e := range experts {
		n := int(m.as.Start[e+1] - m.as.Start[e])
		p := product{dst: dw[int(e)*out*in:], ldd: in, a: m.a[at*out:], lda: lead(n), b: m.b[at*in:], ldb: lead(n),
			m: out, n: in, k: roundUp(n, vectorFloats)}
		m.list = append(m.list, p.cut(cpu, len(experts)))
		pad(p.a, out, n)
		pad(p.b, in, n)
		at += lead(n)
	}
	blocks := m.cut(experts, 1)
	cpu.Parallel(len(blocks), func(_, i int) {
		k := &blocks[i]
		p, first := &m.list[k.place], k.lo-int(m.as.Start[k.expert])
		kernel.GatherTranspose(p.a[first:], p.lda, dy, out, m.rowOf[k.lo:k.hi], out)
		kernel.GatherTranspose(p.b[first:], p.ldb, x, in, m.sources(k, perSlot), in)
	})
	return m.list
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
			m := s.rows(a, cpu, experts, 0, 0)
			parts := (out + sumColumns - 1) / sumColumns
			return func(b *graph.Batch) error {
				if err := m.build(routed, b.Active(a.Rows)); err != nil {
					return err
				}
				cpu.Parallel(experts*parts, func(_, i int) {
					e, lo := i/parts, i%parts*sumColumns
					hi := min(out, lo+sumColumns)
					sum := db[e*out+lo : e*out+hi]
					clear(sum)
					for _, r := range m.rowOf[m.as.Start[e]:m.as.Start[e+1]] {
						kernel.Add(sum, sum, dy[int(r)*out+lo:int(r)*out+hi])
					}
				})
				return nil
			}, nil
		},
	}, grad, in[1])
}
