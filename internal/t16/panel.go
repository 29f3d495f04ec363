package t16

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Panel is the quantized activations of some tokens in the order in which the kernels read them.
//
// Tokens are cut into strips as wide as a kernel's register tile; a strip is [K/4][width] dwords of four consecutive
// int8 columns, so a strip of one token is the plain row, or the same dwords in the order that pairedAt says. Its
// memory is kept from one [Panel.Reset] to the next.
type Panel struct {
	acts   []uint32  // strips, each [K/4][width] or paired, little-endian in the dword
	nsums  []int32   // strips, each [K/group][width]: -Σa
	scales []float32 // [n]
	rows   []int     // [n], dst row
	strips []strip
	format Format
	k      int
	group  int
	n      int
}

// strip is width tokens from first on, the last strip maybe fewer; its other lanes are computed and not stored.
type strip struct {
	first, width int
	acts, sums   int // where its part of Panel.acts and Panel.nsums starts
	paired       bool
}

// quantChunk is the columns quantized at a time, on the stack: a multiple of 4 that keeps 16-bit sums below 2^16.
const quantChunk = 256

// Reset makes p a panel of n tokens of k columns in groups of group, for weights in format f; [Panel.Set] must then
// fill each of them.
//
// It allocates only when p has never been as large. Panics where f cannot have k columns in groups of group.
func (p *Panel) Reset(f Format, k, group, n int) {
	if n < 0 || !f.valid(k, group) {
		panic(fmt.Sprintf("t16: Panel.Reset: %d tokens of %d in groups of %d for format %d", n, k, group, f))
	}
	p.format, p.k, p.group, p.n = f, k, group, n
	p.strips = p.strips[:0]
	lanes := 0
	for first := 0; first < n; {
		w, paired := stripWidth(f, n-first), false
		if pw := pairedWidth(f, group, n-first); pw > 0 {
			w, paired = pw, true
		}
		p.strips = append(p.strips, strip{first, w, lanes * (k / 4), lanes * (k / group), paired})
		first += w
		lanes += w
	}
	p.acts = resize(p.acts, lanes*(k/4))
	p.nsums = resize(p.nsums, lanes*(k/group))
	p.scales = resize(p.scales, n)
	p.rows = resize(p.rows, n)
}

// resize returns s with length n and unspecified contents.
func resize[E any](s []E, n int) []E { return slices.Grow(s[:0], n)[:n] }

// Set quantizes x, as [QuantizeRow] does, into token i, whose results go to row of MatMul's dst.
//
// x may be shorter than the panel's columns: the rest is zero, as are the weights that pad a matrix. Different tokens
// may be set at once. Panics when i is no token, row is negative or x is longer than the panel.
func (p *Panel) Set(i int, x []float32, row int) { p.SetRepeated(i, x, p.k, row) }

// SetRepeated is Set for matrices that lie side by side and multiply the same activations: x, padded to cols columns,
// is quantized once and fills the panel's columns over and over.
//
// Panics as Set does, and unless cols is a multiple of the group that divides the panel's columns.
func (p *Panel) SetRepeated(i int, x []float32, cols, row int) {
	if i < 0 || i >= p.n || row < 0 || cols <= 0 || cols%p.group != 0 || p.k%cols != 0 || len(x) > cols {
		panic(fmt.Sprintf("t16: Panel.Set: token %d of %d, row %d, %d values of %d, which fill %d", i, p.n, row, len(x), cols, p.k))
	}
	scale, inv := rowScale(x)
	if p.format == MXFP4 {
		scale *= .5 // the kernels' weights are doubled, to be whole numbers
	}
	p.scales[i], p.rows[i] = scale, row
	s := p.find(i)
	acts, sums := p.acts[s.acts+i-s.first:], p.nsums[s.sums+i-s.first:]
	if s.paired {
		acts = acts[i-s.first:]
	}
	var buf [quantChunk]byte
	for g := range cols / p.group {
		var sum int32
		for k, end := g*p.group, (g+1)*p.group; k < end; k += quantChunk {
			q := buf[:min(quantChunk, end-k)]
			from := x[min(k, len(x)):min(k+len(q), len(x))]
			quantize(q, from, inv)
			clear(q[len(from):])
			if p.format == MXFP4 {
				evenFirst(q)
			}
			sum += s.spread(p.format, acts[k/4*s.width:], q)
			for again := k + cols; again < p.k; again += cols {
				s.spread(p.format, acts[again/4*s.width:], q)
			}
		}
		for again := g; again < p.k/p.group; again += cols / p.group {
			sums[again*s.width] = -sum
		}
	}
}

// find returns the strip of token i: all but the last few have the width of the first.
func (p *Panel) find(i int) strip {
	s := min(i/p.strips[0].width, len(p.strips)-1)
	for ; p.strips[s].first+p.strips[s].width <= i; s++ {
	}
	return p.strips[s]
}

// spread writes q to one token's dwords, dst being where they start, and returns Σ q.
func (s *strip) spread(f Format, dst []uint32, q []byte) int32 {
	if s.paired {
		return spreadPaired(f, dst, s.width, q)
	}
	return spread(dst, s.width, q)
}

// spread writes q as dwords to dst[0], dst[stride], ... and returns Σ q.
//
// It adds the bytes four at a time, biased by 128 to be unsigned, in two 16-bit sums.
func spread(dst []uint32, stride int, q []byte) int32 {
	signed, n := spreadSIMD(dst, stride, q)
	at := n / 4 * stride
	q = q[n:]
	var sum uint32
	for k := 0; k+4 <= len(q); k += 4 {
		v := binary.LittleEndian.Uint32(q[k:])
		dst[at] = v
		at += stride
		u := v ^ 0x80808080
		sum += u&0x00FF00FF + u>>8&0x00FF00FF
	}
	return signed + int32(sum&0xFFFF+sum>>16) - 128*int32(len(q))
}
