package ops

import (
	"fmt"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// elementwise is an operator whose output has its inputs' shape and is
// computed row by row.
type elementwise struct {
	graph.Base
	graph.Gradient
	row func(dst []float32, in [][]float32)
}

func newElementwise(kind, attributes string, dims, inputs int, row func(dst []float32, in [][]float32)) *elementwise {
	o := &elementwise{Base: graph.Base{Kind: kind, Attributes: attributes, Out: graph.Float32Tensor(dims)}, row: row}
	for range inputs {
		o.In = append(o.In, graph.Float32Tensor(dims))
	}
	return o
}

func (o *elementwise) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	shapes, err := gorgonia.DimSizersToShapes(in)
	if err != nil {
		return nil, err
	}
	for _, s := range shapes[1:] {
		if !s.Eq(shapes[0]) {
			return nil, fmt.Errorf("%s of shapes %v and %v", o.Kind, shapes[0], s)
		}
	}
	return shapes[0].Clone(), nil
}

func (o *elementwise) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(o, in...) }

// grainFloats is how many floats a call of a parallel region should touch at
// least; below it the region costs more than the work.
const grainFloats = 8192

func (o *elementwise) Prepare(a *graph.Args) (graph.Step, error) {
	cpu, err := graph.HostDevice(a, o.Kind)
	if err != nil {
		return nil, err
	}
	out := a.Out.Float32s()
	width := a.Out.Shape().TotalSize() / a.Out.Shape()[0]
	grain := max(1, grainFloats/width)
	rows := 0
	views := make([][][]float32, cpu.Threads())
	for w := range views {
		views[w] = make([][]float32, len(a.In))
	}
	chunk := func(worker, i int) {
		in := views[worker]
		for r := i * grain; r < min(rows, (i+1)*grain); r++ {
			for k := range in {
				in[k] = a.In[k].Float32s()[r*width : (r+1)*width]
			}
			o.row(out[r*width:(r+1)*width], in)
		}
	}
	return func(b *graph.Batch) error {
		rows = b.Active(a.Rows)
		cpu.Parallel((rows+grain-1)/grain, chunk)
		return nil
	}, nil
}

// Residual adds two tensors of one shape, as the residual stream does.
//
// Shapes: x [T, H], y [T, H] -> [T, H].
func Residual(b *graph.Builder, name string, x, y *gorgonia.Node) *gorgonia.Node {
	o := newElementwise("add", name, x.Dims(), 2, func(dst []float32, in [][]float32) {
		kernel.Add(dst, in[0], in[1])
	})
	o.Gradient = graph.Gradient{passOn, passOn}
	return b.Apply(name, o, x, y)
}

// RMSNorm scales every row to unit root mean square and multiplies it by the
// weights: y = x / sqrt(mean(x²) + eps) · w.
//
// Shapes: x [T, H], weight [H] -> [T, H]. Source: gpt_oss/torch/model.py, RMSNorm.
func RMSNorm(b *graph.Builder, name string, eps float32, x, weight *gorgonia.Node) *gorgonia.Node {
	return b.Apply(name, &graph.Function{
		Base: graph.Base{Kind: "rmsnorm", Attributes: fmt.Sprintf("%s eps=%g", name, eps),
			In: graph.Float32Tensors(2, 1), Out: graph.Float32Tensor(2)},
		Infer: func(in []tensor.Shape) (tensor.Shape, error) {
			if x, w := in[0], in[1]; x[1] != w[0] {
				return nil, fmt.Errorf("%d weights for rows of %d", w[0], x[1])
			}
			return in[0].Clone(), nil
		},
		OnCPU:    func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) { return prepareNorm(a, cpu, eps) },
		Gradient: graph.Gradient{normByInput(eps), normByWeight(eps)},
	}, x, weight)
}

func prepareNorm(a *graph.Args, cpu *graph.CPU, eps float32) (graph.Step, error) {
	weight := a.In[1].Float32s()
	grain := max(1, grainFloats/len(weight))
	rows := 0
	do := func(_, i int) {
		for r := i * grain; r < min(rows, (i+1)*grain); r++ {
			kernel.RMSNorm(rowOf(a.Out, r), rowOf(a.In[0], r), weight, eps)
		}
	}
	return func(b *graph.Batch) error {
		rows = b.Active(a.Rows)
		cpu.Parallel((rows+grain-1)/grain, do)
		return nil
	}, nil
}

// width is the size of a node's last axis.
func width(n *gorgonia.Node) int {
	s := n.Shape()
	if len(s) == 0 {
		return 0 // the placeholder of a declaration that failed
	}
	return s[len(s)-1]
}

type selectRows struct {
	graph.Base
	graph.Gradient
}

// SelectOutputs keeps the rows that the batch wants (graph.Batch.Outputs),
// packed. What is declared on it is computed for those rows only.
//
// Shapes: x [T, H] -> [T, H], of which len(Outputs) rows hold something.
func SelectOutputs(b *graph.Builder, name string, x *gorgonia.Node) *gorgonia.Node {
	return b.Apply(name, &selectRows{graph.Base{Kind: "select", Attributes: name,
		In: graph.Float32Tensors(2), Out: graph.Float32Tensor(2)}, graph.Gradient{selectedByInput}}, x)
}

func (o *selectRows) SelectsRows() {}

func (o *selectRows) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	shapes, err := gorgonia.DimSizersToShapes(in)
	if err != nil {
		return nil, err
	}
	return shapes[0].Clone(), nil
}

func (o *selectRows) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(o, in...) }

func (o *selectRows) Prepare(a *graph.Args) (graph.Step, error) {
	if _, err := graph.HostDevice(a, o.Kind); err != nil {
		return nil, err
	}
	in, out := a.In[0].Float32s(), a.Out.Float32s()
	w := a.Out.Shape()[1]
	return func(b *graph.Batch) error {
		for i, r := range b.Outputs {
			copy(out[i*w:(i+1)*w], in[r*w:(r+1)*w])
		}
		return nil
	}, nil
}
