package kernel

import "math"

// Attention over keys, values and weights of 8 bits. Sums of products are exact
// integers, so only what is done to them in float32 is defined here.

// AttendQueries8 is a panel of queries of 8 bits with one scale a row.
type AttendQueries8 struct {
	codes  []int8 // [d/4, 8, 4]
	scales [AttendRows]float32
	starts [AttendRows]int32 // -128·Σ codes: where VPDPBUSD starts, because it takes keys without a sign
}

// Init makes room for queries of d elements, a multiple of 4.
func (q *AttendQueries8) Init(d int) { q.codes = make([]int8, AttendRows*d) }

// Set sets a row. Elements behind the last count as zero.
func (q *AttendQueries8) Set(row int, codes []int8, scale float32) {
	start := int32(0)
	for i, c := range codes {
		q.codes[(i&^3)*AttendRows+row*4+i&3] = c
		start -= 128 * int32(c)
	}
	q.scales[row], q.starts[row] = scale, start
}

// AttendScores8 computes the scores of a panel of queries over tiles of keys
// that are stored with 128 added:
//
//	dst[r, p] = (float32(Σ_d q[d, r]·(k[p/16, d/4, p%16, d%4] - 128)) · scale_q[r]) · scales[p]
//
// Shapes: q of d elements, k [tiles, d/4, 16, 4], scales [16·tiles],
// dst [8, 16·tiles] with row stride ldd.
func AttendScores8(dst []float32, ldd int, q *AttendQueries8, k []byte, scales []float32) {
	tiles := len(scales) / AttendTile
	checkLen("scales", len(scales), tiles*AttendTile)
	checkLen("k", len(k), tiles*AttendTile*len(q.codes)/AttendRows)
	checkMatrix("dst", len(dst), ldd, AttendRows, tiles*AttendTile)
	if tiles > 0 && len(q.codes) > 0 {
		attendScores8(dst, ldd, q, k, scales)
	}
}

// AttendWeights8 turns the scores of a head into weights of 8 bits that have
// the scales of the values in them, with one scale a block of 64 positions, and
// adds the weights as they were before to sums in lanes:
//
//	e = Exp(scores - m), or 0 where scores - m < -64
//	sums[p%16] += e, x = e·vscales, or 0 where e is
//	top = max x of the block, codes = roundHalfEven(x·(127/top)), scales = top/127
//
// A weight that far below the largest changes no sum in float32, and subnormal
// numbers are slow. A block below 2^-120 is zero; the scale of one with an x that is infinite,
// negative or NaN is NaN.
//
// Shapes: codes, scores, vscales [64·blocks], scales [blocks].
func AttendWeights8(codes []int8, scales []float32, sums *[lanes]float32, scores, vscales []float32, m float32) {
	n := len(scales) * AttendBlock
	checkLen("codes", len(codes), n)
	checkLen("scores", len(scores), n)
	checkLen("vscales", len(vscales), n)
	if n > 0 {
		attendWeights8(codes, scales, sums, scores, vscales, m)
	}
}

// AttendValues8 adds the weighted values of a block to a panel of outputs:
//
//	dst[r, i] = fma(float32(Σ_p w[r, p]·v[p/4, i, p%4]), scales[r·lds], dst[r, i])
//
// Shapes: w [8, 64] with row stride ldw, no code below zero; scales [8] with
// stride lds; v [16, width, 4]; dst [8, width]; width is a multiple of 16.
func AttendValues8(dst []float32, w []int8, ldw int, scales []float32, lds int, v []int8, width int) {
	checkLen("dst", len(dst), AttendRows*width)
	checkLen("v", len(v), AttendBlock*width)
	checkLen("width", width%lanes, 0)
	checkMatrix("w", len(w), ldw, AttendRows, AttendBlock)
	checkMatrix("scales", len(scales), lds, AttendRows, 1)
	if width > 0 {
		attendValues8(dst, w, ldw, scales, lds, v, width)
	}
}

func attendScores8Generic(dst []float32, ldd int, q *AttendQueries8, k []byte, scales []float32) {
	d := len(q.codes) / AttendRows
	for p, scale := range scales {
		tile := k[p/AttendTile*AttendTile*d:][:AttendTile*d]
		for r := range AttendRows {
			s := int32(0)
			for i := range d {
				s += int32(q.codes[(i&^3)*AttendRows+r*4+i&3]) * (int32(tile[(i&^3)*AttendTile+p%AttendTile*4+i&3]) - 128)
			}
			dst[r*ldd+p] = float32(float32(s)*q.scales[r]) * scale
		}
	}
}

// minTop is below what 127 can be divided by; minWeight is the logarithm of the
// smallest weight.
const (
	minTop    = 0x1p-120
	minWeight = -64
)

// attendWeights8Generic uses the vector kernels that there are.
func attendWeights8Generic(codes []int8, scales []float32, acc *[lanes]float32, scores, vscales []float32, m float32) {
	var x [AttendBlock]float32
	for b := range scales {
		at := b * AttendBlock
		var hidden [AttendBlock]bool
		for i, s := range scores[at : at+AttendBlock] {
			x[i] = s - m
			if hidden[i] = x[i] < minWeight; hidden[i] {
				x[i] = minWeight
			}
		}
		expSubBlocks(x[:], x[:], 0)
		for i, h := range hidden {
			if h {
				x[i] = 0
			}
		}
		sumLanes(acc, x[:])
		bits := uint32(0)
		for i, scale := range vscales[at : at+AttendBlock] {
			if !hidden[i] {
				x[i] *= scale
			}
			bits = max(bits, math.Float32bits(x[i]))
		}
		top := math.Float32frombits(bits)
		var inv float32
		switch {
		case bits >= 0x7f800000:
			scales[b] = float32(math.NaN())
			clear(x[:])
		case top < minTop:
			scales[b] = 0
		default:
			scales[b], inv = top/127, 127/top
		}
		for i, v := range x { // adding 1.5·2^23 rounds
			codes[at+i] = int8(math.Float32bits(float32(float32(v*inv) + 0x1.8p23)))
		}
	}
}

func attendValues8Generic(dst []float32, w []int8, ldw int, scales []float32, lds int, v []int8, width int) {
	for r := range AttendRows {
		for i := range width {
			s := int32(0)
			for p := range AttendBlock {
				s += int32(w[r*ldw+p]) * int32(v[(p&^3)*width+i*4+p&3])
			}
			dst[r*width+i] = fma32(float32(s), scales[r*lds], dst[r*width+i])
		}
	}
}
