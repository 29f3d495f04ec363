package ternaryop

import (
	"fmt"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/t16"
)

// Linear is BitLinear (BitNet b1.58, arXiv 2402.17764), in any of the formats:
// a projection by a matrix of integers of inputs that are rounded to int8, one
// scale a token.
//
//	q, s = QuantizeRow(x), y = s · Σ_g scale_g · (codes_g · q_g) + bias
//
// where g goes over the groups of the first plane, then over those of the
// second if there is one.
type Linear struct {
	Name   string // canonical name, "model.layers.0.self_attn.q_proj"
	Weight Matrix
	Bias   []float32 // [Out], or nil
}

type linear struct {
	graph.Base
	Linear
}

// Apply declares the projection as one node.
//
// Shapes: x [T, In] -> [T, Out].
func (l Linear) Apply(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node {
	if err := l.check(); err != nil {
		b.Fail(err)
		return x
	}
	return b.Apply(lastPart(l.Name), &linear{
		Base: graph.Base{Kind: l.Weight.Format.String() + " linear", Attributes: fmt.Sprintf("%s g%d", l.Name, l.Weight.Group),
			In: []gorgonia.TensorType{graph.Float32Tensor(2)}, Out: graph.Float32Tensor(2)},
		Linear: l,
	}, x)
}

func (l Linear) check() error {
	if err := l.Weight.check(); err != nil {
		return fmt.Errorf("%s: %w", l.Name, err)
	}
	if l.Bias != nil && len(l.Bias) != l.Weight.Out {
		return fmt.Errorf("%s: %d biases for %d outputs", l.Name, len(l.Bias), l.Weight.Out)
	}
	return nil
}

// CanonicalName returns the name of the weights the projection holds.
func (o *linear) CanonicalName() string { return o.Name }

func (o *linear) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	shapes, err := gorgonia.DimSizersToShapes(in)
	if err != nil {
		return nil, err
	}
	if s := shapes[0]; len(s) != 2 || s[1] != o.Weight.In {
		return nil, fmt.Errorf("an input of shape %v for a projection from %d to %d", s, o.Weight.In, o.Weight.Out)
	}
	return tensor.Shape{shapes[0][0], o.Weight.Out}, nil
}

func (o *linear) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(o, in...) }

// chunkTiles is how many 16-row tiles a call of a parallel region computes:
// enough to be worth the hand-out, few enough that the threads end together.
func chunkTiles(tiles, threads int) int { return max(1, min(8, tiles/(4*threads))) }

func (o *linear) Prepare(a *graph.Args) (graph.Step, error) {
	cpu, err := graph.HostDevice(a, o.Kind)
	if err != nil {
		return nil, err
	}
	x, out := a.In[0].Float32s(), a.Out.Float32s()
	w := o.Weight.weights(o.Bias)
	in, cols, ldd, tiles := o.Weight.In, o.Weight.Cols(), o.Weight.Out, w.Tiles()
	chunk := chunkTiles(tiles, cpu.Threads())
	var panel t16.Panel
	panel.Reset(w.Format, w.K, w.Group, a.MaxRows) // so that no run has to grow it
	quantize := func(_, t int) { panel.SetRepeated(t, x[t*in:(t+1)*in], cols, t) }
	multiply := func(_, i int) {
		t16.MatMul(out, ldd, &w, i*chunk, min(tiles, (i+1)*chunk), &panel)
	}
	return func(b *graph.Batch) error {
		rows := b.Active(a.Rows)
		if rows == 0 {
			return nil
		}
		panel.Reset(w.Format, w.K, w.Group, rows)
		cpu.Parallel(rows, quantize)
		cpu.Parallel((tiles+chunk-1)/chunk, multiply)
		return nil
	}, nil
}

// lastPart returns what follows the last dot: a node's name within its scope.
func lastPart(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }
