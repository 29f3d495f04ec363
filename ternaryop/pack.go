package ternaryop

import (
	"encoding/binary"
	"fmt"

	"github.com/x448/float16"
)

// Pack stores codes and scales in the kernels' layout.
//
// Scales are rounded to half floats, to nearest even; below 2^-24 that may be 0.
//
// Shapes: codes [out][in], each -1, 0 or +1; scales [out][Cols/group], Cols being in rounded up to a multiple of 16.
// Errors: those of [Layout], wrong lengths, another code, a scale that is NaN or beyond ±65504 as a half float.
func Pack(codes []int8, scales []float32, out, in, group int) (*Matrix, error) {
	nc, ns, err := Layout(out, in, group)
	if err != nil {
		return nil, err
	}
	groups := roundUp(in) / group
	if len(codes)/in != out || len(codes)%in != 0 || len(scales) != out*groups {
		return nil, fmt.Errorf("ternaryop: %d codes and %d scales for a matrix [%d, %d] in groups of %d", len(codes), len(scales), out, in, group)
	}
	m := &Matrix{Out: out, In: in, Group: group, Codes: make([]byte, nc), Scales: make([]byte, ns)}
	for i := range m.Codes {
		m.Codes[i] = zeroByte
	}
	for r := range out {
		for k, c := range codes[r*in:][:in] {
			if c < -1 || c > 1 {
				return nil, fmt.Errorf("ternaryop: code [%d, %d] is %d, none of -1, 0, +1", r, k, c)
			}
			at, shift := m.codeAt(r, k)
			m.Codes[at] ^= (byte(c+1) ^ 1) << shift // the byte holds code 0 there, 1
		}
		for g, s := range scales[r*groups:][:groups] {
			h := float16.Fromfloat32(s)
			if !h.IsFinite() {
				return nil, fmt.Errorf("ternaryop: scale [%d, %d] is %g: no finite half float, rescale the tensor", r, g, s)
			}
			binary.LittleEndian.PutUint16(m.Scales[m.scaleAt(r, g):], h.Bits())
		}
	}
	return m, nil
}

// codeAt says which byte of Codes holds row r, column k, and from which bit on.
func (m *Matrix) codeAt(r, k int) (at, shift int) {
	return r/align*align*m.Cols()/4 + k/align*64 + r%align*4 + k%4, 2 * (k % align / 4)
}

// scaleAt says where in Scales row r, group g is.
func (m *Matrix) scaleAt(r, g int) int {
	return scaleBytes * ((r/align*(m.Cols()/m.Group)+g)*align + r%align)
}

// Unpack is the inverse of [Pack].
//
// Shapes: codes [Out][In], scales [Out][Cols/Group].
func (m *Matrix) Unpack() (codes []int8, scales []float32) {
	groups := m.Cols() / m.Group
	codes, scales = make([]int8, m.Out*m.In), make([]float32, m.Out*groups)
	for r := range m.Out {
		for k := range m.In {
			at, shift := m.codeAt(r, k)
			codes[r*m.In+k] = int8(m.Codes[at]>>shift&3) - 1
		}
		for g := range groups {
			scales[r*groups+g] = m.scale(r, g)
		}
	}
	return codes, scales
}

func (m *Matrix) scale(r, g int) float32 {
	return float16.Frombits(binary.LittleEndian.Uint16(m.Scales[m.scaleAt(r, g):])).Float32()
}

// Dequantize writes rows row0..row1-1 as floats, scale · code.
//
// Shapes: dst [row1-row0][In]. Panics unless 0 <= row0 <= row1 <= Out and dst is exactly as long.
func (m *Matrix) Dequantize(dst []float32, row0, row1 int) {
	if row0 < 0 || row1 < row0 || row1 > m.Out || len(dst) != (row1-row0)*m.In {
		panic(fmt.Sprintf("ternaryop: Dequantize: %d floats for rows [%d, %d) of [%d, %d]", len(dst), row0, row1, m.Out, m.In))
	}
	for r := row0; r < row1; r++ {
		row := dst[(r-row0)*m.In:][:m.In]
		for k0 := 0; k0 < m.In; k0 += m.Group {
			scale := m.scale(r, k0/m.Group)
			for k := k0; k < min(k0+m.Group, m.In); k++ {
				at, shift := m.codeAt(r, k)
				row[k] = float32(int(m.Codes[at]>>shift&3)-1) * scale
			}
		}
	}
}
