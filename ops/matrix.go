package ops

import (
	"fmt"

	"github.com/seed-796a8800/tritium/internal/mxfp4"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
)

// Matrix is a dense weight [Out, In] in some storage format, read a few rows
// at a time as float32. Weights stay in their format; a row is decoded where
// it is used, or multiplied as it is (see rowMultiplier).
type Matrix interface {
	Dims() (out, in int)
	// DecodeRows writes rows [row, row+n) to dst[:n*in].
	DecodeRows(dst []float32, row, n int)
}

// F32 is a matrix of float32.
type F32 struct {
	Out, In int
	Data    []float32 // [Out][In]
}

// Dims returns Out and In.
func (m F32) Dims() (out, in int) { return m.Out, m.In }

// DecodeRows copies rows.
func (m F32) DecodeRows(dst []float32, row, n int) { copy(dst, m.Data[row*m.In:(row+n)*m.In]) }

// BF16 is a matrix of bfloat16, little endian, as safetensors stores it.
type BF16 struct {
	Out, In int
	Data    []byte // [Out][In]
}

// Dims returns Out and In.
func (m BF16) Dims() (out, in int) { return m.Out, m.In }

// DecodeRows converts rows; the conversion is exact.
func (m BF16) DecodeRows(dst []float32, row, n int) {
	kernel.DecodeBF16(dst[:n*m.In], m.Data[row*m.In*2:(row+n)*m.In*2])
}

// BF16Transposed is a matrix of bfloat16 stored as [In][Out], the layout of
// dequantized GPT-OSS experts in Transformers.
type BF16Transposed struct {
	Out, In int
	Data    []byte // [In][Out]
}

// Dims returns Out and In.
func (m BF16Transposed) Dims() (out, in int) { return m.Out, m.In }

// DecodeRows gathers rows; the conversion is exact.
func (m BF16Transposed) DecodeRows(dst []float32, row, n int) {
	var line [64]float32
	for i := range m.In {
		for r := 0; r < n; r += len(line) {
			w := min(len(line), n-r)
			at := (i*m.Out + row + r) * 2
			kernel.DecodeBF16(line[:w], m.Data[at:at+2*w])
			for j, v := range line[:w] {
				dst[(r+j)*m.In+i] = v
			}
		}
	}
}

// MXFP4 is a matrix in OpenAI's MXFP4: blocks of 32 four-bit floats along a
// row, each with a power-of-two scale. In is a multiple of 32.
type MXFP4 struct {
	Out, In int
	Blocks  []byte // [Out][In/32][16]
	Scales  []byte // [Out][In/32]
}

// Dims returns Out and In.
func (m MXFP4) Dims() (out, in int) { return m.Out, m.In }

// DecodeRows decodes rows; the values are exact.
func (m MXFP4) DecodeRows(dst []float32, row, n int) {
	blocks, scales := m.rows(row, n)
	kernel.DecodeMXFP4(dst[:n*m.In], blocks, scales)
}

func (m MXFP4) rows(row, n int) (blocks, scales []byte) {
	g := m.In / mxfp4.BlockSize
	return m.Blocks[row*g*16 : (row+n)*g*16], m.Scales[row*g : (row+n)*g]
}

// checkMatrix refuses storage that does not fit the dimensions, so that
// DecodeRows never reads outside it.
func checkMatrix(m Matrix) error {
	out, in := m.Dims()
	if out < 1 || in < 1 {
		return fmt.Errorf("a %d x %d matrix", out, in)
	}
	var got, want int
	switch m := m.(type) {
	case F32:
		got, want = len(m.Data), out*in
	case BF16:
		got, want = len(m.Data), out*in*2
	case BF16Transposed:
		got, want = len(m.Data), out*in*2
	case MXFP4:
		if in%mxfp4.BlockSize != 0 {
			return fmt.Errorf("MXFP4 needs a multiple of %d inputs, not %d", mxfp4.BlockSize, in)
		}
		if len(m.Blocks) != out*in/2 {
			return fmt.Errorf("%d bytes of MXFP4 blocks for a %d x %d matrix", len(m.Blocks), out, in)
		}
		got, want = len(m.Scales), out*in/mxfp4.BlockSize
	}
	if got != want {
		return fmt.Errorf("%d elements of storage for a %d x %d matrix, want %d", got, out, in, want)
	}
	return nil
}
