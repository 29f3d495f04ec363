//go:build !purego

package t16

import (
	"math/bits"
	"sync"
	"unsafe"
)

// Many tokens: the weights of two tiles, some columns at a time, are unpacked to bytes in the first-level cache, and
// the core multiplies them by strip after strip. Unpacking then costs next to nothing, whatever the format, and an
// activation dword that is loaded once serves both tiles, so that the loads stay behind the multiplications.
const (
	wideTokens = 12      // of the widest strip: two tiles of it are 24 of the 32 registers
	wideLeast  = 8       // tokens of a strip that the core takes
	wideStrips = 8       // strips that share one unpacking
	wideCols   = 512     // columns that are unpacked at a time
	wideGroup  = 1 << 15 // columns of a group times the offset of the weights: 127 times as much stays below 2^22, see wide12
)

// wideScratch is what one call works in. It is too large for a stack that has to be cleared at every call.
type wideScratch struct {
	weights [wideCols / 4][2][blockBytes]byte             // columns 4i..4i+3 of each tile, row by row
	acc     [wideStrips][2 * wideTokens][TileRows]float32 // float sums [tile][token] of each strip
	sums    [wideStrips][2 * wideTokens][TileRows]int32   // those of a group that is not over
	turned  [2]MXFP4Tile                                  // the scales of each tile of rows
}

var widePool = sync.Pool{New: func() any { return new(wideScratch) }}

// wide is one call of the core: two tiles, a segment of their columns and strips of one width. A segment is whole
// groups, or a part of one. The assembly reads its fields.
type wide struct {
	weights  *byte    // [groups*dwords][2][64]
	acts     *uint32  // the segment of the first strip
	nsums    *int32   // likewise
	acc      *float32 // [strips][24][16]
	sums     *int32   // likewise
	scales   [2]*byte // the segment's, of each tile
	nextActs int      // bytes from a strip to the next
	nextSums int      // likewise
	strips   int
	groups   int
	dwords   int    // of a group, or of its part
	shift    int    // of nsums: log2 of the offset of the weights
	start    uint32 // bits that the sums start from, see wide12
	resume   int    // not 0: the group goes on from sums
	suspend  int    // not 0: the group goes on in the next segment
}

// wide says whether the core takes a format. Ternary weights unpack with so few operations that the kernels that do
// it for every strip anew are as fast for many tokens, and faster for few.
func (f Format) wide() bool { return f == Int4 || f == Int8 || f == MXFP4 }

// mulWide computes rows 16*tile0 .. min(16*tile1, Out) for the leading strips of p that the core takes, and returns
// how many these are. Weights in MXFP4 are rows as [MXFP4Rows] has them.
func mulWide(dst []float32, ldd int, w *Weights, tile0, tile1 int, p *Panel) int {
	n := 0
	for n < len(p.strips) && p.strips[n].width >= wideLeast {
		n++
	}
	if n == 0 || !useVNNI || !w.Format.wide() {
		return 0
	}
	s := widePool.Get().(*wideScratch)
	for first := 0; first < n; first += wideStrips {
		strips := p.strips[first:min(first+wideStrips, n)]
		for i := tile0; i < tile1; i += 2 {
			tiles := min(2, tile1-i)
			s.multiply(w, i, tiles, p, strips)
			for t := range tiles {
				s.store(dst, ldd, w, i+t, t, p, strips)
			}
		}
	}
	widePool.Put(s)
	return n
}

// multiply leaves the float sums of one tile or two in acc.
func (s *wideScratch) multiply(w *Weights, tile, tiles int, p *Panel, strips []strip) {
	clear(s.acc[:len(strips)])
	cols, groups := w.Format.BlockCols(), w.K/w.Group
	step := wideCols / cols * cols
	if w.Group <= wideCols {
		step = wideCols / w.Group * w.Group
	}
	if w.Format == MXFP4 {
		for t := range tiles {
			s.turned[t].Reset(w.K)
			s.turned[t].turnScales(w.Scales, w.Out, groups, (tile+t)*TileRows)
		}
	}
	for from, to := 0, 0; from < w.K; from = to {
		g := from / w.Group
		to = min(from+step, w.K)
		if w.Group > wideCols {
			to = min(to, (g+1)*w.Group)
		}
		var c wide
		for t := range 2 {
			at := tile + min(t, tiles-1) // a tile that is missing computes what nobody reads
			unpack(&s.weights[0][t], w, at, from/cols, to/cols)
			if w.Format == MXFP4 {
				c.scales[t] = &s.turned[at-tile].scales[g*TileRows]
			} else {
				c.scales[t] = &w.Scales[(at*groups+g)*TileRows*scaleBytes]
			}
		}
		c.weights = &s.weights[0][0][0]
		c.groups = max(1, (to-from)/w.Group)
		c.dwords = (to - from) / 4 / c.groups
		if from > g*w.Group {
			c.resume = 1
		}
		if to < (g+1)*w.Group {
			c.suspend = 1
		}
		s.core(&c, w, p, strips, from/4, g)
	}
}

// core multiplies one segment, from the given dword and group on, by the strips, those of each width in one call.
func (s *wideScratch) core(c *wide, w *Weights, p *Panel, strips []strip, dword, group int) {
	exact := int(w.Format.offset())*w.Group > wideGroup
	c.shift = bits.TrailingZeros32(uint32(w.Format.offset()))
	if !exact {
		c.start = 0x4B400000
	}
	for i := 0; i < len(strips); i += c.strips {
		first := strips[i]
		c.strips = 1
		for i+c.strips < len(strips) && strips[i+c.strips].width == first.width {
			c.strips++
		}
		c.acts, c.nextActs = &p.acts[first.acts+dword*first.width], first.width*p.k
		c.nsums, c.nextSums = &p.nsums[first.sums+group*first.width], first.width*4*(p.k/p.group)
		c.acc, c.sums = &s.acc[i][0][0], &s.sums[i][0][0]
		switch {
		case w.Format == MXFP4 && first.width == wideTokens:
			wideMXFP4x12(c)
		case w.Format == MXFP4:
			wideMXFP4x8(c)
		case exact && first.width == wideTokens:
			wideExact12(c)
		case exact:
			wideExact8(c)
		case first.width == wideTokens:
			wide12(c)
		default:
			wide8(c)
		}
	}
}

// store finishes tile t of the two, tile i of the matrix, and puts the rows that exist into dst.
func (s *wideScratch) store(dst []float32, ldd int, w *Weights, i, t int, p *Panel, strips []strip) {
	row := i * TileRows
	c := tile{ldd: ldd, dst: dst[row:], bias: zeroBias[:]}
	if w.Bias != nil {
		c.bias = w.Bias[row:]
	}
	for n, st := range strips {
		end := min(st.first+st.width, p.n)
		c.rows, c.ascales = p.rows[st.first:end], p.scales[st.first:end]
		acc := s.acc[n][t*st.width:]
		if row+TileRows <= w.Out {
			finishVNNI(&c, &acc[0])
			continue
		}
		for j, to := range c.rows {
			for r := range w.Out - row {
				c.dst[to*ldd+r] = float32(float32(acc[j][r]*c.ascales[j]) + c.bias[r])
			}
		}
	}
}

// unpack writes the stored weights of blocks from..to-1 of a tile to dst and every second 64 bytes after it.
func unpack(dst *[blockBytes]byte, w *Weights, tile, from, to int) {
	if w.Format == MXFP4 {
		unpackMXFP4(dst, w, tile*TileRows, from/4, to/4)
		return
	}
	codes := &w.Codes[tile*w.Format.tileBytes(w.K)+from*blockBytes]
	switch w.Format {
	case Int4:
		unpackInt4VNNI(dst, codes, to-from)
	case Int8:
		unpackInt8VNNI(dst, codes, to-from)
	}
}

// unpackMXFP4 is unpack for the groups of 32 columns from..to-1 of rows as they are published.
func unpackMXFP4(dst *[blockBytes]byte, w *Weights, row, from, to int) {
	const block = mxfp4Group / 2
	stride := w.K / 2
	if row+TileRows <= w.Out {
		unpackMXFP4AVX512(dst, &w.Codes[row*stride+from*block], stride, to-from)
		return
	}
	planes := unsafe.Slice(dst, (to-from)*16-1)
	for r := range w.Out - row {
		for i, b := range w.Codes[(row+r)*stride:][from*block : to*block] {
			plane := i / 4 * 4 // two planes a dword, each behind one of the other tile
			planes[plane][r*4+i%4] = mxfp4Stored[b&15]
			planes[plane+2][r*4+i%4] = mxfp4Stored[b>>4]
		}
	}
}

// wide12 adds a segment to the sums of strips of 12 tokens: for every strip s, tile i, token t and row r
//
//	acc[s][12i+t][r] = RN(acc + RN(Σ·scale)) group by group, Σ = nsums + Σ weights·acts
//
// Group sums start from the bits of 1.5·2^23, so that the bits of a sum Σ with |Σ| < 2^22 are those of the float
// 1.5·2^23 + Σ. One fused multiplication then gives RN((1.5·2^23 + Σ)·scale - 1.5·2^23·scale) = RN(Σ·scale), because
// 1.5·2^23 times a half float is exact.
//
//go:noescape
func wide12(c *wide)

// wide8 is wide12 for strips of 8 tokens, acc[s][8i+t].
//
//go:noescape
func wide8(c *wide)

// wideExact12 is wide12 for any sums, with c.start 0.
//
//go:noescape
func wideExact12(c *wide)

//go:noescape
func wideExact8(c *wide)

// wideMXFP4x12 is wide12 with the scales and the fold of MXFP4: acc = RN(acc + Σ·2^(e-127)).
//
//go:noescape
func wideMXFP4x12(c *wide)

//go:noescape
func wideMXFP4x8(c *wide)

// finishVNNI stores RN(RN(acc*ascale) + bias) for the tokens of c.rows.
//
//go:noescape
func finishVNNI(c *tile, acc *[TileRows]float32)

// unpackInt4VNNI writes 2 planes of 64 bytes, 128 bytes apart, for each block of Int4.
//
//go:noescape
func unpackInt4VNNI(dst *[blockBytes]byte, codes *byte, blocks int)

// unpackInt8VNNI writes each block of Int8, 128 bytes apart.
//
//go:noescape
func unpackInt8VNNI(dst *[blockBytes]byte, codes *byte, blocks int)

// unpackMXFP4AVX512 writes 8 planes of 64 bytes, 128 bytes apart, for every 32 columns of 16 rows, stride bytes apart.
//
//go:noescape
func unpackMXFP4AVX512(dst *[blockBytes]byte, src *byte, stride, groups int)
