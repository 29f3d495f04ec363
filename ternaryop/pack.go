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
// Shapes: codes [out][P][in], each one of the format's; scales [out][P][f.Cols(in)/group], P = f.Planes().
// Errors: those of [Layout], wrong lengths, another code, a scale that is NaN or beyond ±65504 as a half float.
func Pack(f Format, codes []int8, scales []float32, out, in, group int) (*Matrix, error) {
	nc, ns, err := Layout(f, out, in, group)
	if err != nil {
		return nil, err
	}
	planes, groups := f.Planes(), f.Cols(in)/group
	if len(codes)/in/planes != out || len(codes)%(in*planes) != 0 || len(scales) != out*planes*groups {
		return nil, fmt.Errorf("ternaryop: %d codes and %d scales for a %v matrix [%d, %d] in groups of %d", len(codes), len(scales), f, out, in, group)
	}
	m := &Matrix{Format: f, Out: out, In: in, Group: group, Codes: make([]byte, nc), Scales: make([]byte, ns)}
	if zero := f.join(nil); out%tileRows != 0 { // the rows that pad the last tile
		last := m.Codes[nc-f.tileBytes(in):]
		for i := range last {
			last[i] = zero
		}
	}
	for r := range out {
		for p := range planes {
			if err := m.packRow(r, p, codes[(r*planes+p)*in:][:in]); err != nil {
				return nil, err
			}
		}
		for g, s := range scales[r*planes*groups:][:planes*groups] {
			h := float16.Fromfloat32(s)
			if !h.IsFinite() {
				return nil, fmt.Errorf("ternaryop: scale [%d, %d] is %g: no finite half float, rescale the tensor", r, g, s)
			}
			binary.LittleEndian.PutUint16(m.Scales[m.scaleAt(r, g):], h.Bits())
		}
	}
	return m, nil
}

func (m *Matrix) packRow(r, plane int, codes []int8) error {
	f := packings[m.Format]
	for k, c := range codes {
		if int(c) < f.low || int(c) > f.high {
			return fmt.Errorf("ternaryop: code [%d, %d] is %d, none of %d to %d", r, k, c, f.low, f.high)
		}
	}
	block := m.Format.blockCols()
	at := m.rowAt(r, plane)
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

// rowAt says where in Codes the first four bytes of a plane of row r are; its others are a block farther each.
func (m *Matrix) rowAt(r, plane int) int {
	return r/tileRows*m.Format.tileBytes(m.In) + plane*m.Format.planeBytes(m.In) + r%tileRows*4
}

// scaleAt says where in Scales the g-th scale of row r is, those of all planes counted through.
func (m *Matrix) scaleAt(r, g int) int {
	return scaleBytes * ((r/tileRows*(m.planes()*m.groups())+g)*tileRows + r%tileRows)
}

func (m *Matrix) scale(r, g int) float32 {
	return float16.Frombits(binary.LittleEndian.Uint16(m.Scales[m.scaleAt(r, g):])).Float32()
}

// Unpack is the inverse of [Pack].
//
// Shapes: codes [Out][P][In], scales [Out][P][Cols/Group].
func (m *Matrix) Unpack() (codes []int8, scales []float32) {
	planes := m.planes()
	codes = make([]int8, m.Out*planes*m.In)
	for r := range m.Out {
		for p := range planes {
			row := codes[(r*planes+p)*m.In:][:m.In]
			m.eachCode(r, p, 0, m.In, func(k int, code int8) { row[k] = code })
		}
		for g := range planes * m.groups() {
			scales = append(scales, m.scale(r, g))
		}
	}
	return codes, scales
}

// DecodeRows writes rows [row, row+n) as floats, scale · code; of two planes the sum, rounded to float32.
//
// Shapes: dst at least [n][In]. Panics unless the rows exist.
func (m *Matrix) DecodeRows(dst []float32, row, n int) {
	if row < 0 || n < 0 || row > m.Out-n || len(dst) < n*m.In {
		panic(fmt.Sprintf("ternaryop: DecodeRows: %d floats for rows [%d, %d) of [%d, %d]", len(dst), row, row+n, m.Out, m.In))
	}
	for r := range n {
		y := dst[r*m.In:][:m.In]
		for k0 := 0; k0 < m.In; k0 += m.Group {
			g, k1 := k0/m.Group, min(k0+m.Group, m.In)
			scale := m.scale(row+r, g)
			m.eachCode(row+r, 0, k0, k1, func(k int, code int8) { y[k] = scale * float32(code) })
			for p := 1; p < m.planes(); p++ {
				scale := m.scale(row+r, p*m.groups()+g)
				m.eachCode(row+r, p, k0, k1, func(k int, code int8) { y[k] += float32(scale * float32(code)) })
			}
		}
	}
}

// eachCode calls f with the codes of a plane of row r, columns [k0, k1), block by block; k0 starts a block.
func (m *Matrix) eachCode(r, plane, k0, k1 int, f func(k int, code int8)) {
	block, digits := m.Format.blockCols(), packings[m.Format].digits
	at := m.rowAt(r, plane) + k0/block*blockBytes
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
