// Package t16 multiplies matrices of a few bits a weight by rows of int8 activations.
//
// # Weights
//
// Layout T16. A tile is 16 rows with all their K columns, cut into blocks of 64 bytes that hold 16 rows and as many
// columns as the [Format] fits; byte row*4 + k%4 of a block has that row's weights of every fourth column. So one
// 64-byte load, unpacked once for each weight of a byte, gives operands whose 16 dwords are the 16 rows: rows are SIMD
// lanes and no sum over lanes is ever needed. Scales are IEEE half floats [tile][group][16], little-endian.
//
// # Activations
//
// A [Panel] holds int8 rows as dwords of four consecutive columns, the operand that VPDPBUSD and SDOT broadcast and
// USMMLA takes in twos, and the negated sum of every group, a multiple of which the accumulators start from because the
// weights are stored without a sign.
//
// # The result, to the bit
//
// For row r and token t, with RN the rounding of float32 to nearest even:
//
//	s(g)   = Σ_{k in group g} w[r][k]·a[t][k]                   exact, int32
//	acc    = RN(acc + RN(RN(s(g))·scale[r][g]))                 from 0, groups in order
//	y[r,t] = RN(RN(acc·ascale[t]) + bias[r])                    bias 0 where there is none
//
// The multiplication and the addition round separately because that is what portable Go can state exactly and what
// every SIMD set has; at one pair per group it costs nothing against the integer work. Because s is exact, y depends
// neither on the instruction set nor on how rows and tokens are split. tileGeneric is the definition; assembly equals
// it by ==.
package t16

import "fmt"

const (
	TileRows = 16 // rows of a tile: the dword lanes of a 512-bit register

	blockBytes = 64
	scaleBytes = 2
	maxWidth   = 24 // tokens of the widest strip of any instruction set
)

// tilesPerPass is how many tiles share one pass over the panel: their codes (92 KB at K = 2880) and a strip (69 KB)
// stay in the second-level cache together, so each comes from farther away once.
const tilesPerPass = 8

// Weights is a packed matrix [Out, K] as the kernels read it; the slices are never written.
type Weights struct {
	Format Format
	Codes  []byte    // [Tiles][K/BlockCols][64]
	Scales []byte    // [Tiles][K/Group][16] half floats
	Bias   []float32 // [Out], or nil
	Out    int
	K      int // a multiple of Group
	Group  int // a multiple of Format.BlockCols()
}

// Tiles is the number of 16-row tiles, the unit by which callers split a product over threads.
func (w *Weights) Tiles() int { return (w.Out + TileRows - 1) / TileRows }

// zeroBias stands for a missing bias.
var zeroBias [TileRows]float32

// tile is one call of a kernel: 16 rows times the tokens of one strip. The assembly reads its fields.
type tile struct {
	format  Format
	paired  bool      // how acts are packed
	dst     []float32 // token t, row r is dst[rows[t]*ldd + r], r in 0..15
	rows    []int     // [tokens to store]; at least 1, at most width
	ldd     int
	codes   []byte    // [groups*blocks][64]
	scales  []byte    // [groups][16] half floats
	acts    []uint32  // [K/4][width], or as pairedAt says
	nsums   []int32   // [groups][width], -Σa
	ascales []float32 // [tokens to store]
	bias    []float32 // [16]
	groups  int
	blocks  int     // per group
	width   int     // tokens the strip has room for
	ahead   uintptr // memory to ask for, MXFP4 only; may lie outside the matrix
}

// MatMul computes rows 16*tile0 .. min(16*tile1, Out) of w times every row of p: dst[row*ldd + r] = y[r, t], where row
// is what [Panel.Set] was told for token t.
//
// Nothing else of dst is written, so disjoint tile ranges may run at once over one dst. Wrong lengths panic.
//
// Shapes: dst at least [max row, ldd] + Out, ldd >= Out unless all tokens share one row. Allocates nothing.
func MatMul(dst []float32, ldd int, w *Weights, tile0, tile1 int, p *Panel) {
	check(dst, ldd, w, tile0, tile1, p)
	if p.n == 0 {
		return
	}
	groups, blocks := w.K/w.Group, w.Group/w.Format.BlockCols()
	codes := w.Format.tileBytes(w.K)
	for ; tile0 < tile1; tile0 += tilesPerPass {
		last := min(tile1, tile0+tilesPerPass)
		for _, s := range p.strips {
			end := min(s.first+s.width, p.n)
			c := tile{
				format: w.Format, paired: s.paired, rows: p.rows[s.first:end], ldd: ldd, ascales: p.scales[s.first:end],
				acts:   p.acts[s.acts:][:w.K/4*s.width],
				nsums:  p.nsums[s.sums:][:groups*s.width],
				groups: groups, blocks: blocks, width: s.width,
			}
			for i := tile0; i < last; i++ {
				c.codes = w.Codes[i*codes:][:codes]
				c.scales = w.Scales[i*groups*TileRows*scaleBytes:][:groups*TileRows*scaleBytes]
				c.mul(dst, w, i*TileRows)
			}
		}
	}
}

// mul computes the tile whose first row is row of w.
func (c *tile) mul(dst []float32, w *Weights, row int) {
	if row+TileRows > w.Out {
		matMulTail(dst, w, *c, row)
		return
	}
	c.dst, c.bias = dst[row:], zeroBias[:]
	if w.Bias != nil {
		c.bias = w.Bias[row:]
	}
	mulTile(c)
}

// matMulTail runs the last tile of a matrix whose rows are no multiple of 16: the kernels store whole tiles, so the
// result goes through scratch and only the rows that exist reach dst.
func matMulTail(dst []float32, w *Weights, c tile, row int) {
	var (
		scratch [maxWidth * TileRows]float32
		bias    [TileRows]float32
		order   [maxWidth]int
	)
	rows, ldd, n := c.rows, c.ldd, w.Out-row
	for t := range rows {
		order[t] = t
	}
	if w.Bias != nil {
		copy(bias[:], w.Bias[row:])
	}
	c.dst, c.rows, c.ldd, c.bias = scratch[:], order[:len(rows)], TileRows, bias[:]
	mulTile(&c)
	for t, to := range rows {
		copy(dst[to*ldd+row:][:n], scratch[t*TileRows:])
	}
}

// check panics unless every slice that the assembly reads or writes without bounds is as long as it must be.
func check(dst []float32, ldd int, w *Weights, tile0, tile1 int, p *Panel) {
	if w.Out < 0 || w.Format == MXFP4 || !w.Format.valid(w.K, w.Group) {
		panic(fmt.Sprintf("t16: MatMul: bad weights [%d, %d] in groups of %d", w.Out, w.K, w.Group))
	}
	tiles := w.Tiles()
	if len(w.Codes) != tiles*w.Format.tileBytes(w.K) || len(w.Scales) != tiles*(w.K/w.Group)*TileRows*scaleBytes {
		panic(fmt.Sprintf("t16: MatMul: %d bytes of codes and %d of scales do not hold [%d, %d] in groups of %d",
			len(w.Codes), len(w.Scales), w.Out, w.K, w.Group))
	}
	if w.Bias != nil && len(w.Bias) != w.Out {
		panic(fmt.Sprintf("t16: MatMul: bias of %d for %d rows", len(w.Bias), w.Out))
	}
	if tile0 < 0 || tile1 > tiles || tile0 > tile1 {
		panic(fmt.Sprintf("t16: MatMul: tiles [%d, %d) of %d", tile0, tile1, tiles))
	}
	if p.format != w.Format || p.k != w.K || p.group != w.Group {
		panic(fmt.Sprintf("t16: MatMul: panel of %d in groups of %d, weights of %d in groups of %d", p.k, p.group, w.K, w.Group))
	}
	checkDst(dst, ldd, w.Out, p)
}

// checkDst panics unless every row that p's tokens go to lies in dst.
func checkDst(dst []float32, ldd, out int, p *Panel) {
	top := 0
	for _, row := range p.rows {
		if row < 0 {
			panic(fmt.Sprintf("t16: MatMul: token goes to row %d", row))
		}
		top = max(top, row)
	}
	if ldd < 0 || (p.n > 0 && (len(dst) < out || (top > 0 && ldd > (len(dst)-out)/top))) {
		panic(fmt.Sprintf("t16: MatMul: %d floats do not hold row %d of %d floats, %d apart", len(dst), top, out, ldd))
	}
}
