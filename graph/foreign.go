package graph

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// foreignStep runs an operator that is not a Kernel (gorgonia's own) through
// its Do method. It computes all rows, active or not, and allocates as the
// operator does.
func foreignStep(n *gorgonia.Node, in []Buffer, out Buffer) (Step, error) {
	if _, ok := n.Op().(gorgonia.NoRetOp); ok {
		return nil, fmt.Errorf("%v is a statement; read results with Plan.Value", n.Op())
	}
	kids := childrenOf(n)
	values := make([]gorgonia.Value, len(in))
	fresh := make([]func() gorgonia.Value, len(in))
	for i, b := range in {
		make, err := valueOf(b, kids[i].IsScalar())
		if err != nil {
			return nil, err
		}
		fresh[i] = make
	}
	return func(*Batch) error {
		for i, f := range fresh {
			values[i] = f()
		}
		v, err := n.Op().Do(values...)
		if err != nil {
			return err
		}
		return copyResult(out, v)
	}, nil
}

// valueOf returns a function that presents a buffer as a gorgonia value. The
// value is made anew at every call because operators may reshape what they are
// given.
func valueOf(b Buffer, scalar bool) (func() gorgonia.Value, error) {
	if !scalar {
		return func() gorgonia.Value {
			return tensor.New(tensor.WithShape(b.shape...), tensor.WithBacking(b.data))
		}, nil
	}
	switch d := b.data.(type) {
	case []float32:
		return func() gorgonia.Value { return gorgonia.NewF32(d[0]) }, nil
	case []float64:
		return func() gorgonia.Value { return gorgonia.NewF64(d[0]) }, nil
	case []int32:
		return func() gorgonia.Value { return gorgonia.NewI32(d[0]) }, nil
	}
	return nil, fmt.Errorf("no gorgonia scalar for %T", b.data)
}

// copyResult stores what an operator returned. The result may be a view (a
// transpose, a slice), so a dense tensor that is not contiguous is
// materialized first.
func copyResult(out Buffer, v gorgonia.Value) error {
	if t, ok := v.(tensor.View); ok && t.RequiresIterator() {
		m, ok := t.Materialize().(gorgonia.Value)
		if !ok {
			return fmt.Errorf("cannot materialize a %T", v)
		}
		v = m
	}
	if got, want := v.Shape().TotalSize(), out.shape.TotalSize(); got != want {
		return fmt.Errorf("computed a value of shape %v, declared %v", v.Shape(), out.shape)
	}
	ok := false
	switch d := out.data.(type) {
	case []float32:
		ok = copySlice(d, v.Data())
	case []float64:
		ok = copySlice(d, v.Data())
	case []int32:
		ok = copySlice(d, v.Data())
	}
	if !ok {
		return fmt.Errorf("computed a %T, declared %T", v.Data(), out.data)
	}
	return nil
}
