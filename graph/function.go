package graph

import (
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Function is a kernel given by its parts: its shape rule, its preparation for
// the CPU and, where it has them, its derivatives. Derivatives may allocate a
// little, and read rows of other tokens: they run for whole batches in training.
type Function struct {
	Base
	Infer func(in []tensor.Shape) (tensor.Shape, error)
	OnCPU func(a *Args, cpu *CPU) (Step, error) // see Kernel.Prepare
	Gradient
	// Reuses lists inputs whose memory the output may take, one of them, where
	// nothing else reads it: no element of it is read once the output has been
	// written there. It has the output's shape.
	Reuses []int
}

// InferShape applies the shape rule.
func (o *Function) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	shapes, err := gorgonia.DimSizersToShapes(in)
	if err != nil {
		return nil, err
	}
	return o.Infer(shapes)
}

// Do runs the function on whole values; see the function Do.
func (o *Function) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return Do(o, in...) }

// Prepare prepares the function for the CPU.
func (o *Function) Prepare(a *Args) (Step, error) {
	cpu, err := HostDevice(a, o.Kind)
	if err != nil {
		return nil, err
	}
	return o.OnCPU(a, cpu)
}

// Derivative declares the derivative of the loss by one input of an operator,
// given the operator's inputs, its output and the derivative by the output.
type Derivative func(in gorgonia.Nodes, out, grad *gorgonia.Node) (*gorgonia.Node, error)

// Gradient makes an operator that embeds it a gorgonia.SDOp: a Derivative for
// every input, nil for those that it cannot be differentiated by. The zero
// Gradient has none.
type Gradient []Derivative

// DiffWRT says by which inputs the operator can be differentiated.
func (g Gradient) DiffWRT(inputs int) []bool {
	can := make([]bool, inputs)
	for i, d := range g {
		can[i] = d != nil
	}
	return can
}

// SymDiff declares the derivatives of the loss by the inputs.
func (g Gradient) SymDiff(in gorgonia.Nodes, out, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	derivatives := make(gorgonia.Nodes, len(in))
	for i, d := range g {
		if d == nil {
			continue
		}
		var err error
		if derivatives[i], err = d(in, out, grad); err != nil {
			return nil, err
		}
	}
	return derivatives, nil
}

// Float32Tensors lists the types of inputs with those numbers of axes.
func Float32Tensors(dims ...int) []gorgonia.TensorType {
	in := make([]gorgonia.TensorType, len(dims))
	for i, d := range dims {
		in[i] = Float32Tensor(d)
	}
	return in
}

// Like is the shape rule of a function whose output has the shape of its i-th
// input, as the derivative by that input has.
func Like(i int) func(in []tensor.Shape) (tensor.Shape, error) {
	return func(in []tensor.Shape) (tensor.Shape, error) { return in[i].Clone(), nil }
}
