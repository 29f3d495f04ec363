// Package ternaryop holds projections whose weights are integers of a few bits times a scale, above all -1, 0 and +1,
// and multiplies them by activations in int8.
package ternaryop

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/x448/float16"

	"github.com/seed-796a8800/tritium/internal/t16"
)

// Matrix is a matrix of integers and scales, W[r, k] = scale[r, k/Group] · code[r, k], in the kernels' layout, T16.
//
// In Planes2 and Planes5 it is the sum of two of them, P = 2 planes that lie side by side and multiply the same
// inputs. A product adds up the groups of the first plane, then those of the second, to one float32 (internal/t16).
//
// Rows are padded to a multiple of 16 with code 0 and scale 0, columns of a plane to a multiple of 16, of 80 at 1.6 bits
// (Cols), with code 0; the activations of padded columns are 0. Both slices may alias a read-only file mapping: nothing
// here writes to them.
//
//	Codes   [Rows/16 tiles][P·Cols/(4n) blocks][16 rows][4]  byte j holds the n codes of columns 4c+j of the block,
//	                                                         c < n, as digits code+offset, the lowest c first: 4 to the
//	                                                         base 4 in Ternary2, 5 to the base 3 in Ternary5, 2 to the
//	                                                         base 16 in Int4, 1 in Int8; the offsets are 1, 1, 8 and 128
//	Scales  [Rows/16 tiles][P·Cols/Group][16 rows]           IEEE half floats, little-endian
type Matrix struct {
	Format  Format
	Out, In int
	Group   int // columns that share a scale: a multiple of 16, of 80 at 1.6 bits, that divides Cols
	Codes   []byte
	Scales  []byte
}

const (
	tileRows   = t16.TileRows
	blockBytes = 64
	scaleBytes = 2
)

// Dims returns Out and In.
func (m *Matrix) Dims() (out, in int) { return m.Out, m.In }

// Cols is In rounded up to a multiple of 16, of 80 at 1.6 bits: the columns that are stored of a plane.
func (m *Matrix) Cols() int { return m.Format.Cols(m.In) }

// Layout returns the bytes that the codes and the scales of a matrix take, in memory and on disk.
//
// Errors: an unknown format, a dimension below 1, more columns than the kernels' sums hold (262,144, of Int8 65,536, of
// two planes 131,072), a group that is no multiple of the format's padding or does not divide the padded columns, a size that overflows int.
func Layout(f Format, out, in, group int) (codeBytes, scaleBytes int, err error) {
	if !f.valid() {
		return 0, 0, fmt.Errorf("ternaryop: unknown %v", f)
	}
	align, planes := packings[f].align, packings[f].planes
	most := packings[f].kernel.MaxK() / planes
	switch {
	case out < 1 || in < 1:
		return 0, 0, fmt.Errorf("ternaryop: matrix [%d, %d] is empty", out, in)
	case in > most || f.Cols(in) > most:
		return 0, 0, fmt.Errorf("ternaryop: %d columns, the kernels' sums of %v weights hold at most %d", in, f, most)
	case group < align || group%align != 0 || f.Cols(in)%group != 0:
		return 0, 0, fmt.Errorf("ternaryop: groups of %d do not fit %d columns of %v: take a multiple of %d that divides %d",
			group, in, f, align, f.Cols(in))
	case out > math.MaxInt/f.Cols(in)-tileRows: // codes take at most a byte a weight, scales at most an eighth
		return 0, 0, fmt.Errorf("ternaryop: matrix [%d, %d] is larger than the address space", out, in)
	}
	tiles := roundUp(out, tileRows) / tileRows
	return tiles * f.tileBytes(in), tiles * planes * (f.Cols(in) / group) * tileRows * 2, nil
}

// tileBytes is the size of the codes of 16 rows.
func (f Format) tileBytes(in int) int { return f.Planes() * f.planeBytes(in) }

// planeBytes is the part of it that a plane has.
func (f Format) planeBytes(in int) int { return f.Cols(in) / f.blockCols() * blockBytes }

// FromBytes makes a matrix of bytes that were packed before; it keeps codes and scales and copies nothing.
//
// Errors: those of [Layout]; lengths that differ from it. The contents are not looked at: see [Matrix.Validate].
func FromBytes(f Format, out, in, group int, codes, scales []byte) (*Matrix, error) {
	nc, ns, err := Layout(f, out, in, group)
	if err != nil {
		return nil, err
	}
	if len(codes) != nc || len(scales) != ns {
		return nil, fmt.Errorf("ternaryop: %v matrix [%d, %d] in groups of %d takes %d bytes of codes and %d of scales, got %d and %d",
			f, out, in, group, nc, ns, len(codes), len(scales))
	}
	return &Matrix{Format: f, Out: out, In: in, Group: group, Codes: codes, Scales: scales}, nil
}

// check is what FromBytes refuses.
func (m *Matrix) check() error {
	_, err := FromBytes(m.Format, m.Out, m.In, m.Group, m.Codes, m.Scales)
	return err
}

// Validate reads all of m and reports bytes that no packing makes: the fourth code of Ternary2, 243 and above in
// Ternary5, and scales that are not finite.
//
// A matrix that fails is safe to multiply by, with meaningless results that may differ between instruction sets.
func (m *Matrix) Validate() error {
	if err := m.check(); err != nil {
		return err
	}
	if i := m.Format.firstBad(m.Codes); i >= 0 {
		return fmt.Errorf("ternaryop: byte %d of the codes is %#02x, which holds a code that is none of -1, 0, +1", i, m.Codes[i])
	}
	for i := 0; i < len(m.Scales); i += scaleBytes {
		if h := binary.LittleEndian.Uint16(m.Scales[i:]); !float16.Frombits(h).IsFinite() {
			return fmt.Errorf("ternaryop: scale %d is %v", i/scaleBytes, float16.Frombits(h))
		}
	}
	return nil
}

func (m *Matrix) planes() int { return m.Format.Planes() }

// groups is the number of groups of a row of a plane.
func (m *Matrix) groups() int { return m.Cols() / m.Group }

// weights is m as the kernels take it, with a bias [Out] or nil.
func (m *Matrix) weights(bias []float32) t16.Weights {
	return t16.Weights{Format: packings[m.Format].kernel, Codes: m.Codes, Scales: m.Scales, Bias: bias,
		Out: m.Out, K: m.planes() * m.Cols(), Group: m.Group}
}
