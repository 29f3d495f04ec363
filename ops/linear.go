package ops

import (
	"fmt"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Dense is a projection by a dense matrix in any storage format. The sums are
// float32, in an order that depends on the number of inputs alone; of int8
// inputs by MXFP4 they are exact within blocks of 32 (see t16.MatMulMXFP4).
type Dense struct {
	Name   string // canonical name, "model.layers.0.self_attn.q_proj"
	Weight Matrix
	Bias   []float32 // [Out], or nil
	// Int8Inputs rounds every row of the input to 8 bits first, as the ternary
	// projections do: what quantizing activations alone costs. By MXFP4 the
	// product is then in whole numbers, faster than in float32.
	Int8Inputs bool
}

type dense struct {
	graph.Base
	graph.Gradient
	Dense
	out, in int
}

// Apply declares the projection as one node.
func (d Dense) Apply(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node {
	out, in := d.Weight.Dims()
	b.Fail(wrap(d.Name, checkMatrix(d.Weight)))
	if d.Bias != nil && len(d.Bias) != out {
		b.Fail(fmt.Errorf("%s: %d biases for %d outputs", d.Name, len(d.Bias), out))
	}
	return b.Apply(lastPart(d.Name), &dense{
		Base: graph.Base{Kind: "linear", Attributes: fmt.Sprintf("%s %T int8=%v", d.Name, d.Weight, d.Int8Inputs),
			In: []gorgonia.TensorType{graph.Float32Tensor(2)}, Out: graph.Float32Tensor(2)},
		Gradient: graph.Gradient{d.byInput},
		Dense:    d, out: out, in: in,
	}, x)
}

// CanonicalName returns the name of the weights the projection holds.
func (o *dense) CanonicalName() string { return o.Name }

func (o *dense) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	shapes, err := gorgonia.DimSizersToShapes(in)
	if err != nil {
		return nil, err
	}
	if s := shapes[0]; len(s) != 2 || s[1] != o.in {
		return nil, fmt.Errorf("an input of shape %v for a projection from %d to %d", s, o.in, o.out)
	}
	return tensor.Shape{shapes[0][0], o.out}, nil
}

func (o *dense) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(o, in...) }

// blockRows is how many rows of a weight are multiplied at a time: enough that
// reading the inputs again for every block costs little, few enough that a
// decoded block stays in the second-level cache and the threads share evenly.
// 60 is a multiple of the rows in every tile of the kernels.
func blockRows(out, threads int) int {
	return max(1, min(60, (out+4*threads-1)/(4*threads)))
}

func (o *dense) Prepare(a *graph.Args) (graph.Step, error) {
	cpu, err := graph.HostDevice(a, o.Kind)
	if err != nil {
		return nil, err
	}
	if w, ok := wholeNumbers(o.Weight, o.Bias); ok && o.Int8Inputs {
		return o.prepareInt8(a, cpu, w), nil
	}
	x, out := a.In[0].Float32s(), a.Out.Float32s()
	var rounded *int8Rows
	if o.Int8Inputs {
		rounded = newInt8Rows(cpu, a.MaxRows, o.in)
	}
	block := blockRows(o.out, cpu.Threads())
	scratch := make([][]float32, cpu.Threads())
	for w := range scratch {
		scratch[w] = make([]float32, block*o.in)
	}
	rows := 0
	do := func(worker, i int) {
		r0 := i * block
		n := min(block, o.out-r0)
		mulRows(o.Weight, out[r0:], o.out, x, rows, r0, n, scratch[worker][:n*o.in])
		if o.Bias != nil {
			for t := range rows {
				y := out[t*o.out+r0 : t*o.out+r0+n]
				kernel.Add(y, y, o.Bias[r0:r0+n])
			}
		}
	}
	return func(b *graph.Batch) error {
		if rows = b.Active(a.Rows); rows == 0 {
			return nil
		}
		if rounded != nil {
			x = rounded.round(a.In[0].Float32s(), rows)
		}
		cpu.Parallel((o.out+block-1)/block, do)
		return nil
	}, nil
}

// lastPart returns what follows the last dot: a node's name within its scope.
func lastPart(name string) string {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '.' {
			return name[i+1:]
		}
	}
	return name
}
