package t16

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"
)

// mxfp4Group is how many columns share a scale in MXFP4.
const mxfp4Group = 32

// MXFP4Rows is a matrix [Out, K] in MXFP4 as it is published, row by row; see package mxfp4 for the codes. The slices
// are never written.
type MXFP4Rows struct {
	Blocks []byte    // [Out][K/32][16], the low nibble of a byte the even column
	Scales []byte    // [Out][K/32], E8M0
	Bias   []float32 // [Out], or nil
	Out    int
	K      int // a multiple of 32
}

// Tiles is the number of 16-row tiles, the unit by which callers split a product over threads.
func (w *MXFP4Rows) Tiles() int { return (w.Out + TileRows - 1) / TileRows }

// MXFP4Tile is memory for one tile of an [MXFP4Rows], from call to call; calls at the same time need one each.
type MXFP4Tile struct {
	codes  []byte // [K/8][64]
	scales []byte // [K/32][16]
}

// Reset makes room for k columns; it allocates only when t has never been as large.
func (t *MXFP4Tile) Reset(k int) {
	t.codes = resize(t.codes, MXFP4.tileBytes(k))
	t.scales = resize(t.scales, k/mxfp4Group*TileRows)
}

// MatMulMXFP4 computes rows 16*tile0 .. min(16*tile1, Out) of w times every row of p, a panel for [MXFP4] in groups of
// 32: dst[row*ldd + r] = y[r, t], where row is what [Panel.Set] was told for token t. With the columns of a block b of
// 32, v the doubled value of a code, an integer from -12 to 12, and e the block's scale byte:
//
//	s(b)   = Σ_{k in block b} v[r][k]·a[t][k]                   exact, int32
//	acc    = RN(acc + s(b)·2^(e-127))                           from 0, blocks in order; NaN where e is 255
//	y[r,t] = RN(RN(acc·RN(ascale[t]/2)) + bias[r])
//
// The addition rounds once: the product is exact but for overflow, so a fused multiply-add and float64 agree.
//
// The rows of a tile are turned into layout T16 in turned, which stays in the cache, and multiplied from there: nothing
// is repacked in memory, and few tokens read the matrix as fast as many.
//
// Shapes: dst at least [max row, ldd] + Out, ldd >= Out unless all tokens share one row. Allocates nothing once turned
// has had its Reset. Wrong lengths panic.
func MatMulMXFP4(dst []float32, ldd int, w *MXFP4Rows, tile0, tile1 int, p *Panel, turned *MXFP4Tile) {
	checkMXFP4(dst, ldd, w, tile0, tile1, p)
	if p.n == 0 {
		return
	}
	turned.Reset(w.K)
	groups := w.K / mxfp4Group
	rows := Weights{Format: MXFP4, Codes: w.Blocks, Scales: w.Scales, Bias: w.Bias, Out: w.Out, K: w.K, Group: mxfp4Group}
	strips := p.strips[mulWide(dst, ldd, &rows, tile0, tile1, p):]
	for i := tile0; i < tile1 && len(strips) > 0; i++ {
		ahead := turned.turn(w, i*TileRows)
		for _, s := range strips {
			end := min(s.first+s.width, p.n)
			c := tile{
				format: MXFP4, rows: p.rows[s.first:end], ldd: ldd, ascales: p.scales[s.first:end],
				codes: turned.codes, scales: turned.scales, ahead: ahead,
				acts:   p.acts[s.acts:][:w.K/4*s.width],
				nsums:  p.nsums[s.sums:][:groups*s.width],
				groups: groups, blocks: mxfp4Group / MXFP4.BlockCols(), width: s.width,
			}
			c.mul(dst, &rows, i*TileRows)
		}
	}
}

// turn sets t to the 16 rows of w from row on; those behind the last are zero. It returns where the half of the next
// rows starts that it has not asked the cache for, so that the product does while it computes.
func (t *MXFP4Tile) turn(w *MXFP4Rows, row int) (ahead uintptr) {
	groups := w.K / mxfp4Group
	t.turnScales(w.Scales, w.Out, groups, row)
	rows := min(TileRows, w.Out-row)
	blocks := w.Blocks[row*groups*16 : (row+rows)*groups*16]
	ahead = uintptr(unsafe.Pointer(&blocks[0])) + uintptr(3*len(blocks)/2)
	if rows == TileRows && turnCodes(t, blocks, groups) {
		return ahead
	}
	clear(t.codes)
	for r := range rows {
		for i := range groups * 4 { // dwords, eight columns each
			copy(t.codes[i*blockBytes+r*4:][:4], blocks[(r*groups*4+i)*4:])
		}
	}
	return ahead
}

// turnScales sets t's scales to those of 16 of the out rows of scales, from row on.
func (t *MXFP4Tile) turnScales(scales []byte, out, groups, row int) {
	rows := min(TileRows, out-row)
	scales = scales[row*groups : (row+rows)*groups]
	if rows == TileRows && groups >= TileRows && turnScales(t, scales, groups) {
		return
	}
	clear(t.scales)
	for r := range rows {
		for g, e := range scales[r*groups:][:groups] {
			t.scales[g*TileRows+r] = e
		}
	}
}

// mxfp4Stored is 16 plus the doubled value of each code. The assembly reads it.
var mxfp4Stored = [16]byte{16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4}

// foldMXFP4 ends group g: the sums, times the scales, join acc.
//
// In float64 the product is exact, and the sum either is too or its smaller part is below a quarter of the last place
// of the larger, so that rounding to float32 afterwards is the only rounding that shows.
func (c *tile) foldMXFP4(acc *[maxWidth][TileRows]float32, sum *[maxWidth][TileRows]int32, g int) {
	for r, e := range c.scales[g*TileRows:][:TileRows] {
		scale := math.Float64frombits((uint64(e) - 127 + 1023) << 52)
		if e == 255 {
			scale = math.NaN()
		}
		for t := range c.rows {
			acc[t][r] = float32(float64(acc[t][r]) + float64(sum[t][r])*scale)
		}
	}
}

// evenFirst puts, in every eight codes, those of even columns before those of odd ones, as MXFP4's nibbles are.
func evenFirst(q []byte) {
	for ; len(q) >= 8; q = q[8:] {
		v := binary.LittleEndian.Uint64(q)
		binary.LittleEndian.PutUint64(q, evenBytes(v)|evenBytes(v>>8)<<32)
	}
}

// evenBytes returns bytes 0, 2, 4 and 6 of v.
func evenBytes(v uint64) uint64 {
	v &= 0x00FF00FF00FF00FF
	v = (v | v>>8) & 0x0000FFFF0000FFFF
	return (v | v>>16) & 0x00000000FFFFFFFF
}

// checkMXFP4 panics unless every slice that the assembly reads or writes without bounds is as long as it must be.
func checkMXFP4(dst []float32, ldd int, w *MXFP4Rows, tile0, tile1 int, p *Panel) {
	if w.Out < 0 || !MXFP4.valid(w.K, mxfp4Group) {
		panic(fmt.Sprintf("t16: MatMulMXFP4: bad weights [%d, %d]", w.Out, w.K))
	}
	if groups := w.Out * w.K / mxfp4Group; len(w.Blocks) != groups*16 || len(w.Scales) != groups {
		panic(fmt.Sprintf("t16: MatMulMXFP4: %d bytes of blocks and %d of scales do not hold [%d, %d]",
			len(w.Blocks), len(w.Scales), w.Out, w.K))
	}
	if w.Bias != nil && len(w.Bias) != w.Out {
		panic(fmt.Sprintf("t16: MatMulMXFP4: bias of %d for %d rows", len(w.Bias), w.Out))
	}
	if tile0 < 0 || tile1 > w.Tiles() || tile0 > tile1 {
		panic(fmt.Sprintf("t16: MatMulMXFP4: tiles [%d, %d) of %d", tile0, tile1, w.Tiles()))
	}
	if p.format != MXFP4 || p.k != w.K {
		panic(fmt.Sprintf("t16: MatMulMXFP4: panel of %d for format %d, weights of %d", p.k, p.format, w.K))
	}
	checkDst(dst, ldd, w.Out, p)
}
