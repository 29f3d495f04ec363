package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Dtype is the element type of a tensor, spelled as in the file header.
type Dtype string

// The dtypes this package reads and writes. All are stored little-endian.
const (
	BF16   Dtype = "BF16"
	F16    Dtype = "F16"
	F32    Dtype = "F32"
	F64    Dtype = "F64"
	U8     Dtype = "U8"
	I8     Dtype = "I8"
	I16    Dtype = "I16"
	U16    Dtype = "U16"
	I32    Dtype = "I32"
	U32    Dtype = "U32"
	I64    Dtype = "I64"
	U64    Dtype = "U64"
	Bool   Dtype = "BOOL"
	F8E4M3 Dtype = "F8_E4M3"
	F8E5M2 Dtype = "F8_E5M2"
)

// Size returns the bytes of one element, or 0 for a dtype this package does not know.
func (d Dtype) Size() int {
	switch d {
	case U8, I8, Bool, F8E4M3, F8E5M2:
		return 1
	case BF16, F16, I16, U16:
		return 2
	case F32, I32, U32:
		return 4
	case F64, I64, U64:
		return 8
	}
	return 0
}

// Tensor is one named array of an Archive.
type Tensor struct {
	Name  string
	Dtype Dtype
	Shape []int  // row-major; empty for a scalar. Read-only.
	Data  []byte // little-endian, aliases the mapped file: read-only, invalid after Archive.Close, of any alignment; nil from Outline
	File  string // path of the file that holds it
}

// Len returns the number of elements, the product of Shape (1 for a scalar).
func (t Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Bytes returns the size of Data, also where that is not there.
func (t Tensor) Bytes() int64 { return int64(t.Len()) * int64(t.Dtype.Size()) }

// Float32s returns all elements of a BF16, F16, F32 or F64 tensor as float32.
//
// BF16, F16 and F32 convert exactly; F64 rounds to nearest even and overflows to ±Inf.
//
// Errors: any other dtype.
func (t Tensor) Float32s() ([]float32, error) {
	// Checked before the allocation; DecodeFloat32 repeats it for its own callers.
	if err := t.checkFloat(); err != nil {
		return nil, err
	}
	dst := make([]float32, len(t.Data)/t.Dtype.Size())
	return dst, t.DecodeFloat32(dst, 0)
}

// DecodeFloat32 converts elements [from, from+len(dst)) to float32 into dst, without allocating.
//
// Errors: a dtype other than BF16, F16, F32, F64; a range outside the tensor.
func (t Tensor) DecodeFloat32(dst []float32, from int) error {
	if err := t.checkFloat(); err != nil {
		return err
	}
	size := t.Dtype.Size()
	n := len(t.Data) / size
	if from < 0 || from > n || len(dst) > n-from {
		return fmt.Errorf("safetensors: %s: tensor %q: elements [%d, %d+%d) are outside its %d elements",
			t.File, t.Name, from, from, len(dst), n)
	}
	src := t.Data[from*size : (from+len(dst))*size]
	switch t.Dtype {
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		}
	case F16:
		for i := range dst {
			dst[i] = halfToFloat32(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
		}
	}
	return nil
}

func (t Tensor) checkFloat() error {
	switch t.Dtype {
	case BF16, F16, F32, F64:
		return nil
	}
	return fmt.Errorf("safetensors: %s: tensor %q: dtype %s does not decode to float32 (only BF16, F16, F32, F64 do); read its Data instead",
		t.File, t.Name, t.Dtype)
}

// halfToFloat32 widens an IEEE 754 binary16; every half is exact in float32.
func halfToFloat32(h uint16) float32 {
	sign := uint32(h>>15) << 31
	exp := uint32(h>>10) & 0x1f
	man := uint32(h) & 0x3ff
	switch exp {
	case 0: // zero or subnormal: man·2^-24, a normal float32
		f := float32(man) * 0x1p-24
		return math.Float32frombits(sign | math.Float32bits(f))
	case 0x1f: // infinity or NaN, payload kept
		return math.Float32frombits(sign | 0xff<<23 | man<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | man<<13)
}
