package ternaryop

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/routing"
	"github.com/seed-796a8800/tritium/internal/t16"
)

// Experts is one projection of a mixture of experts, as Linear is of one matrix.
type Experts struct {
	Name   string // canonical name, "model.layers.0.mlp.experts.gate_up_proj"
	Weight *Stack
	Bias   []float32 // [E, Out], or nil
	Active int       // active experts a token
}

type experts struct {
	graph.Base
	Experts
}

// Apply declares the projection as one node. A token's active experts are
// those with a routing weight that is not zero; they fill its slots in
// increasing order, and slots beyond them are zero.
//
// Shapes: x [T, In] or [T, A, In], routing [T, E] -> [T, A, Out].
func (e Experts) Apply(b *graph.Builder, x, routing *gorgonia.Node) *gorgonia.Node {
	if err := e.check(); err != nil {
		b.Fail(err)
		return x
	}
	return b.Apply(lastPart(e.Name), &experts{
		Base: graph.Base{Kind: e.Weight.Format.String() + " experts", Attributes: fmt.Sprintf("%s g%d", e.Name, e.Weight.Group),
			In: []gorgonia.TensorType{graph.Float32Tensor(x.Dims()), graph.Float32Tensor(2)}, Out: graph.Float32Tensor(3)},
		Experts: e,
	}, x, routing)
}

func (e Experts) check() error {
	s := e.Weight
	if _, err := StackFromBytes(s.Format, s.E, s.Out, s.In, s.Group, s.Codes, s.Scales); err != nil {
		return fmt.Errorf("%s: %w", e.Name, err)
	}
	if e.Active < 1 || e.Active > s.E {
		return fmt.Errorf("%s: %d of %d experts active", e.Name, e.Active, s.E)
	}
	if e.Bias != nil && len(e.Bias) != s.E*s.Out {
		return fmt.Errorf("%s: %d biases for %d experts of %d outputs", e.Name, len(e.Bias), s.E, s.Out)
	}
	return nil
}

// CanonicalName returns the name of the weights the projection holds.
func (o *experts) CanonicalName() string { return o.Name }

func (o *experts) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	shapes, err := gorgonia.DimSizersToShapes(in)
	if err != nil {
		return nil, err
	}
	x, r, w := shapes[0], shapes[1], o.Weight
	if len(x) < 2 || x[len(x)-1] != w.In || len(x) == 3 && x[1] != o.Active || x[0] != r[0] || r[1] != w.E {
		return nil, fmt.Errorf("inputs of shapes %v and %v for %d experts from %d to %d, %d of them active", x, r, w.E, w.In, w.Out, o.Active)
	}
	return tensor.Shape{x[0], o.Active, w.Out}, nil
}

func (o *experts) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(o, in...) }

// expertsRun is the memory of one prepared projection. Experts run in waves of
// at most as many as a token has: a decoded token is one wave, and the panels'
// memory does not grow with the number of experts.
type expertsRun struct {
	*experts
	as      *routing.Assignment
	x, out  []float32
	perSlot bool // x is [T, A, In], not [T, In]
	weights []t16.Weights
	panels  []t16.Panel
	cols    int // of a plane
	tiles   int
	chunk   int
	chunks  int

	wave []int32 // the experts of the open wave, panel i holding expert wave[i]'s tokens
	base int     // the wave's first entry in the assignment
}

func (o *experts) Prepare(a *graph.Args) (graph.Step, error) {
	cpu, err := graph.HostDevice(a, o.Kind)
	if err != nil {
		return nil, err
	}
	r := &expertsRun{
		experts: o, as: routing.New(a.MaxRows, o.Weight.E, o.Active),
		x: a.In[0].Float32s(), out: a.Out.Float32s(), perSlot: len(a.In[0].Shape()) == 3,
		weights: make([]t16.Weights, o.Weight.E), panels: make([]t16.Panel, o.Active),
	}
	for e := range r.weights {
		m := o.Weight.At(e)
		var bias []float32
		if o.Bias != nil {
			bias = o.Bias[e*m.Out : (e+1)*m.Out]
		}
		r.weights[e] = m.weights(bias)
	}
	w := &r.weights[0]
	for i := range r.panels {
		r.panels[i].Reset(w.Format, w.K, w.Group, 1) // so that decoding never grows it
	}
	r.cols = o.Weight.Format.Cols(o.Weight.In)
	r.tiles = w.Tiles()
	r.chunk = chunkTiles(r.tiles, cpu.Threads())
	r.chunks = (r.tiles + r.chunk - 1) / r.chunk
	quantize, multiply := r.quantize, r.multiply
	routed := a.In[1].Float32s()
	return func(b *graph.Batch) error {
		rows := b.Active(a.Rows)
		if err := r.as.Build(routed, rows); err != nil {
			return err
		}
		if int(r.as.Start[o.Weight.E]) < rows*o.Active {
			clear(r.out[:rows*o.Active*o.Weight.Out]) // slots without an expert
		}
		for at := 0; at < len(r.as.Active); at += o.Active {
			r.wave = r.as.Active[at:min(at+o.Active, len(r.as.Active))]
			n := 0
			for i, e := range r.wave {
				tokens, _ := r.as.Of(int(e))
				r.panels[i].Reset(w.Format, w.K, w.Group, len(tokens))
				n += len(tokens)
			}
			r.base = int(r.as.Start[r.wave[0]])
			cpu.Parallel(n, quantize)
			cpu.Parallel(len(r.wave)*r.chunks, multiply)
		}
		return nil
	}, nil
}

// quantize puts the i-th (token, expert) pair of the wave into its panel.
func (r *expertsRun) quantize(_, i int) {
	at := r.base + i
	p := 0
	for at >= int(r.as.Start[r.wave[p]+1]) {
		p++
	}
	slot := int(r.as.Tokens[at])*r.Active + int(r.as.Slot[at])
	row := int(r.as.Tokens[at])
	if r.perSlot {
		row = slot
	}
	in := r.Weight.In
	r.panels[p].SetRepeated(at-int(r.as.Start[r.wave[p]]), r.x[row*in:(row+1)*in], r.cols, slot)
}

// multiply computes some tiles of one of the wave's experts for all its tokens.
func (r *expertsRun) multiply(_, i int) {
	p, c := i/r.chunks, i%r.chunks*r.chunk
	t16.MatMul(r.out, r.Weight.Out, &r.weights[r.wave[p]], c, min(r.tiles, c+r.chunk), &r.panels[p])
}
