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
// Shapes: codes [out][in], each one of the format's; scales [out][f.Cols(in)/group].
// Errors: those of [Layout], wrong lengths, another code, a scale that is NaN or beyond ±65504 as a half float.
func Pack(f Format, codes []int8, scales []float32, out, in, group int) (*Matrix, error) {
	nc, ns, err := Layout(f, out, in, group)
	if err != nil {
		return nil, err
	}
	groups := f.Cols(in) / group
	if len(codes)/in != out || len(codes)%in != 0 || len(scales) != out*groups {
		return nil, fmt.Errorf("ternaryop: %d codes and %d scales for a matrix [%d, %d] in groups of %d", len(codes), len(scales), out, in, group)
	}
	m := &Matrix{Format: f, Out: out, In: in, Group: group, Codes: make([]byte, nc), Scales: make([]byte, ns)}
	if zero := f.join(nil); out%tileRows != 0 { // the rows that pad the last tile
		last := m.Codes[nc-f.tileBytes(in):]
		for i := range last {
			last[i] = zero
		}
	}
	for r := range out {
		if err := m.packRow(r, codes[r*in:][:in]); err != nil {
			return nil, err
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

func (m *Matrix) packRow(r int, codes []int8) error {
	p := packings[m.Format]
	for k, c := range codes {
		if int(c) < p.low || int(c) > p.high {
			return fmt.Errorf("ternaryop: code [%d, %d] is %d, none of %d to %d", r, k, c, p.low, p.high)
		}
	}
	block := m.Format.blockCols()
	at := m.rowAt(r)
	for k0 := 0; k0 < m.Cols(); k0, at = k0+block, at+blockBytes {
		for j := range 4 {
			var w [5]int8
			n := 0
			for k := k0 + j; k < min(k0+block, m.In); k += 4 {
				w[n] = codes[k]
				n++
			}
			m.Codes[at+j] = m.Format.join(w[:n])
		}
	}
	return nil
}

// rowAt says where in Codes the first four bytes of row r are; its others are a block farther each.
func (m *Matrix) rowAt(r int) int { return r/tileRows*m.Format.tileBytes(m.In) + r%tileRows*4 }

// scaleAt says where in Scales row r, group g is.
func (m *Matrix) scaleAt(r, g int) int {
	return scaleBytes * ((r/tileRows*(m.Cols()/m.Group)+g)*tileRows + r%tileRows)
}

func (m *Matrix) scale(r, g int) float32 {
	return float16.Frombits(binary.LittleEndian.Uint16(m.Scales[m.scaleAt(r, g):])).Float32()
}

// Unpack is the inverse of [Pack].
//
// Shapes: codes [Out][In], scales [Out][Cols/Group].
func (m *Matrix) Unpack() (codes []int8, scales []float32) {
	groups := m.Cols() / m.Group
	codes, scales = make([]int8, m.Out*m.In), make([]float32, m.Out*groups)
	for r := range m.Out {
		row := codes[r*m.In:][:m.In]
		m.eachCode(r, 0, m.In, func(k int, code int8) { row[k] = code })
		for g := range groups {
			scales[r*groups+g] = m.scale(r, g)
		}
	}
	return codes, scales
}

// DecodeRows writes rows [row, row+n) as floats, scale · code.
//
// Shapes: dst at least [n][In]. Panics unless the rows exist.
func (m *Matrix) DecodeRows(dst []float32, row, n int) {
	if row < 0 || n < 0 || row > m.Out-n || len(dst) < n*m.In {
		panic(fmt.Sprintf("ternaryop: DecodeRows: %d floats for rows [%d, %d) of [%d, %d]", len(dst), row, row+n, m.Out, m.In))
	}
	for r := range n {
		y := dst[r*m.In:][:m.In]
		for k0 := 0; k0 < m.In; k0 += m.Group {
			scale := m.scale(row+r, k0/m.Group)
			m.eachCode(row+r, k0, min(k0+m.Group, m.In), func(k int, code int8) { y[k] = scale * float32(code) })
		}
	}
}

// eachCode calls f with the codes of row r, columns [k0, k1), block by block; k0 starts a block.
func (m *Matrix) eachCode(r, k0, k1 int, f func(k int, code int8)) {
	block, digits := m.Format.blockCols(), packings[m.Format].digits
	at := m.rowAt(r) + k0/block*blockBytes
	for ; k0 < k1; k0, at = k0+block, at+blockBytes {
		for j, b := range m.Codes[at:][:4] {
			w := m.Format.split(b)
			for c, code := range w[:digits] {
				if k := k0 + 4*c + j; k < k1 {
					f(k, code)
				}
			}
		}
	}
}
