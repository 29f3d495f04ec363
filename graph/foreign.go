package graph

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// foreignStep runs an operator that is not a Kernel (gorgonia's own) through
// its Do method. It computes all rows, active or not, and allocates as the
// operator does.
func foreignStep(op gorgonia.Op, in []Buffer, out Buffer) (Step, error) {
	values := make([]gorgonia.Value, len(in))
	for _, b := range in {
		if _, err := valueOf(b); err != nil {
			return nil, err
		}
	}
	return func(*Batch) (err error) {
		for i, b := range in {
			// Made anew at every call: operators may reshape what they are given.
			if values[i], err = valueOf(b); err != nil {
				return err
			}
		}
		v, err := op.Do(values...)
		if err != nil {
			return err
		}
		return fill(out, v)
	}, nil
}

// valueOf presents a buffer as a gorgonia value.
func valueOf(b Buffer) (gorgonia.Value, error) {
	if len(b.shape) > 0 {
		return tensor.New(tensor.WithShape(b.shape...), tensor.WithBacking(b.data)), nil
	}
	switch d := b.data.(type) {
	case []float32:
		return gorgonia.NewF32(d[0]), nil
	case []float64:
		return gorgonia.NewF64(d[0]), nil
	case []int32:
		return gorgonia.NewI32(d[0]), nil
	}
	return nil, fmt.Errorf("no gorgonia scalar for %T", b.data)
}

// bufferOf presents a value as a buffer, row by row. The buffer is the value's
// own memory where that is contiguous, a copy where it is a scalar or a view
// (a transpose, a slice).
func bufferOf(v gorgonia.Value) (Buffer, error) {
	if v == nil {
		return Buffer{}, fmt.Errorf("it has no value")
	}
	shape := v.Shape().Clone()
	if d, ok := v.(tensor.DenseTensor); ok {
		if d.RequiresIterator() {
			m, ok := d.(tensor.View)
			if !ok || !m.IsMaterializable() {
				return Buffer{}, fmt.Errorf("a value of shape %v that is masked or not contiguous", shape)
			}
			d = m.Materialize().(tensor.DenseTensor)
			v = d
		}
		if d.DataOrder().IsColMajor() {
			return Buffer{}, fmt.Errorf("a value of shape %v in column-major order", shape)
		}
	}
	var data any
	switch d := v.Data().(type) {
	case []float32, []float64, []int32:
		data = d
	case float32:
		data = []float32{d}
	case float64:
		data = []float64{d}
	case int32:
		data = []int32{d}
	default:
		return Buffer{}, fmt.Errorf("a value of %T; only float32, float64 and int32 are supported", d)
	}
	return Buffer{shape, data}, nil
}

// fill copies a value into a buffer of its shape.
func fill(dst Buffer, v gorgonia.Value) error {
	src, err := bufferOf(v)
	if err != nil {
		return err
	}
	if !sameShape(src.shape, dst.shape) {
		return fmt.Errorf("a value of shape %v where %v was declared", src.shape, dst.shape)
	}
	ok := false
	switch d := dst.data.(type) {
	case []float32:
		ok = copyAll(d, src.data)
	case []float64:
		ok = copyAll(d, src.data)
	case []int32:
		ok = copyAll(d, src.data)
	}
	if !ok {
		return fmt.Errorf("a value of %T of shape %v where %T of shape %v was declared", src.data, src.shape, dst.data, dst.shape)
	}
	return nil
}

// sameShape allows for gorgonia's operators that add or drop axes of size one.
func sameShape(a, b tensor.Shape) bool {
	one := func(n int) bool { return n == 1 }
	return slices.Equal(slices.DeleteFunc(slices.Clone(a), one), slices.DeleteFunc(slices.Clone(b), one))
}

func copyAll[T any](dst []T, src any) bool {
	s, ok := src.([]T)
	return ok && len(s) == len(dst) && copy(dst, s) == len(dst)
}
