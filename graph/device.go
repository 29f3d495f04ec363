package graph

import (
	"fmt"

	"gorgonia.org/tensor"
)

// A Device holds buffers and runs kernels. Kernels ask it for what they need
// by its concrete type: a kernel without code for a device says so in Prepare.
type Device interface {
	Name() string
	// Alloc returns a zeroed buffer.
	Alloc(shape tensor.Shape, dt tensor.Dtype) (Buffer, error)
	Close() error
}

// Buffer is memory of a device with a shape. Its data is a Go slice on the CPU
// and whatever the device uses elsewhere.
type Buffer struct {
	shape tensor.Shape
	data  any
}

// NewHostBuffer returns a buffer over a Go slice.
func NewHostBuffer(shape tensor.Shape, data any) Buffer { return Buffer{shape, data} }

// Shape returns the buffer's shape. It must not be changed.
func (b Buffer) Shape() tensor.Shape { return b.shape }

// Data returns the memory: []float32, []int32 or []float64 on the CPU.
func (b Buffer) Data() any { return b.data }

// Float32s returns the memory of a float32 buffer on the CPU, nil for any
// other.
func (b Buffer) Float32s() []float32 {
	s, _ := b.data.([]float32)
	return s
}

// Int32s returns the memory of an int32 buffer on the CPU, nil for any other.
func (b Buffer) Int32s() []int32 {
	s, _ := b.data.([]int32)
	return s
}

// part returns the elements of b from one on as a buffer of another shape. CPU
// buffers only; it is how plans share memory between nodes.
func (b Buffer) part(from int, shape tensor.Shape) (Buffer, error) {
	to := from + shape.TotalSize()
	switch s := b.data.(type) {
	case []float32:
		return Buffer{shape, s[from:to:to]}, nil
	case []int32:
		return Buffer{shape, s[from:to:to]}, nil
	case []float64:
		return Buffer{shape, s[from:to:to]}, nil
	}
	return Buffer{}, fmt.Errorf("graph: cannot share a buffer of %T", b.data)
}

// HostDevice returns the CPU a kernel is being prepared for, or an error that
// says the kernel has no code for the device.
func HostDevice(a *Args, kernel string) (*CPU, error) {
	if c, ok := a.Device.(*CPU); ok {
		return c, nil
	}
	return nil, fmt.Errorf("graph: %s has no code for device %q", kernel, a.Device.Name())
}
