// Package ternaryop holds projections whose weights are -1, 0 or +1 times a scale, two bits a weight, and multiplies
// them by activations in int8.
package ternaryop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/x448/float16"

	"github.com/seed-796a8800/tritium/internal/t16"
)

// Matrix is a ternary matrix W[r, k] = scale[r, k/Group] · code[r, k] in the kernels' layout, T16.
//
// Rows are padded to a multiple of 16 with code 0 and scale 0, columns to a multiple of 16 (Cols) with code 0; the
// activations of padded columns are 0. Both slices may alias a read-only file mapping: nothing here writes to them.
//
//	Codes   [Rows/16 tiles][Cols/16 blocks][16 rows][4]  bits 2c..2c+1 of byte j hold code+1 of column 4c+j of the block
//	Scales  [Rows/16 tiles][Cols/Group][16 rows]         IEEE half floats, little-endian
type Matrix struct {
	Out, In int
	Group   int // columns that share a scale: a multiple of 16 that divides Cols
	Codes   []byte
	Scales  []byte
}

const (
	align      = 16   // rows of a tile and columns of a block
	zeroByte   = 0x55 // four codes 0
	scaleBytes = 2
)

// Cols is In rounded up to a multiple of 16: the columns that are stored.
func (m *Matrix) Cols() int { return roundUp(m.In) }

func roundUp(n int) int { return (n + align - 1) / align * align }

// Layout returns the bytes that the codes and the scales of a matrix take, in memory and on disk.
//
// Errors: a dimension below 1, more than 262,144 columns, a group that is no multiple of 16 or does not divide the
// padded columns, a size that overflows int.
func Layout(out, in, group int) (codeBytes, scaleBytes int, err error) {
	switch {
	case out < 1 || in < 1:
		return 0, 0, fmt.Errorf("ternaryop: matrix [%d, %d] is empty", out, in)
	case in > t16.Ternary2.MaxK():
		return 0, 0, fmt.Errorf("ternaryop: %d columns, the kernels' sums hold at most %d", in, t16.Ternary2.MaxK())
	case group < align || group%align != 0 || roundUp(in)%group != 0:
		return 0, 0, fmt.Errorf("ternaryop: groups of %d do not fit %d columns: take a multiple of 16 that divides %d", group, in, roundUp(in))
	case out > math.MaxInt/roundUp(in)-align: // codes take Rows*Cols/4 bytes, scales at most half of that
		return 0, 0, fmt.Errorf("ternaryop: matrix [%d, %d] is larger than the address space", out, in)
	}
	cells := roundUp(out) * roundUp(in)
	return cells / 4, cells / group * 2, nil
}

// FromBytes makes a matrix of bytes that were packed before; it keeps codes and scales and copies nothing.
//
// Errors: those of [Layout]; lengths that differ from it. The contents are not looked at: see [Matrix.Validate].
func FromBytes(out, in, group int, codes, scales []byte) (*Matrix, error) {
	nc, ns, err := Layout(out, in, group)
	if err != nil {
		return nil, err
	}
	if len(codes) != nc || len(scales) != ns {
		return nil, fmt.Errorf("ternaryop: matrix [%d, %d] in groups of %d takes %d bytes of codes and %d of scales, got %d and %d",
			out, in, group, nc, ns, len(codes), len(scales))
	}
	return &Matrix{Out: out, In: in, Group: group, Codes: codes, Scales: scales}, nil
}

// Validate reads all of m and reports bytes that no packing makes: the fourth code, and scales that are not finite.
//
// A matrix that fails is safe to multiply by, with meaningless results that may differ between instruction sets.
func (m *Matrix) Validate() error {
	if _, err := FromBytes(m.Out, m.In, m.Group, m.Codes, m.Scales); err != nil {
		return err
	}
	for i, b := range m.Codes {
		if b&(b>>1)&zeroByte != 0 {
			return fmt.Errorf("ternaryop: byte %d of the codes is %#02x, which holds a code that is none of -1, 0, +1", i, b)
		}
	}
	for i := 0; i < len(m.Scales); i += scaleBytes {
		if h := binary.LittleEndian.Uint16(m.Scales[i:]); !float16.Frombits(h).IsFinite() {
			return fmt.Errorf("ternaryop: scale %d is %v", i/scaleBytes, float16.Frombits(h))
		}
	}
	return nil
}

// weights is m as the kernels take it, with a bias [Out] or nil.
func (m *Matrix) weights(bias []float32) t16.Weights {
	return t16.Weights{Codes: m.Codes, Scales: m.Scales, Bias: bias, Out: m.Out, K: m.Cols(), Group: m.Group}
}

// Groups returns the group size for in columns that comes closest to want from below: the largest multiple of 32, or
// where there is none of 16, that is at most want and divides the padded columns. It is never 0: 16 always divides.
//
// Units: columns. For 2880 and 128 it is 96; for 4096 and 192, 128; for 48 and 128, 48.
func Groups(in, want int) int {
	cols := roundUp(max(in, 1))
	for _, step := range []int{2 * align, align} {
		for g := min(want, cols) / step * step; g > 0; g -= step {
			if cols%g == 0 {
				return g
			}
		}
	}
	return align
}

// Stack is the matrices of E experts, all of one shape, one after the other in memory.
type Stack struct {
	E       int
	Out, In int
	Group   int
	Codes   []byte // [E][codes of a Matrix]
	Scales  []byte // [E][scales of a Matrix]
}

// StackFromBytes makes a stack of bytes that were packed before; it keeps codes and scales and copies nothing.
//
// Errors: those of [Layout]; e below 1; lengths that are not e times a matrix'.
func StackFromBytes(e, out, in, group int, codes, scales []byte) (*Stack, error) {
	nc, ns, err := Layout(out, in, group)
	if err != nil {
		return nil, err
	}
	if e < 1 {
		return nil, errors.New("ternaryop: a stack of no matrices")
	}
	if len(codes)%e != 0 || len(codes)/e != nc || len(scales)%e != 0 || len(scales)/e != ns {
		return nil, fmt.Errorf("ternaryop: %d matrices [%d, %d] in groups of %d take %d bytes of codes and %d of scales each, got %d and %d for all",
			e, out, in, group, nc, ns, len(codes), len(scales))
	}
	return &Stack{E: e, Out: out, In: in, Group: group, Codes: codes, Scales: scales}, nil
}

// At is expert e's matrix, aliasing the stack. Panics unless 0 <= e < E.
func (s *Stack) At(e int) Matrix {
	if e < 0 || e >= s.E {
		panic(fmt.Sprintf("ternaryop: expert %d of %d", e, s.E))
	}
	nc, ns := len(s.Codes)/s.E, len(s.Scales)/s.E
	return Matrix{
		Out: s.Out, In: s.In, Group: s.Group,
		Codes:  s.Codes[e*nc : (e+1)*nc : (e+1)*nc],
		Scales: s.Scales[e*ns : (e+1)*ns : (e+1)*ns],
	}
}
