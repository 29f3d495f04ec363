package t16

import (
	"encoding/binary"
	"math"
)

// tileGeneric is the truth that every mulTile equals by ==; see the package comment for the formula.
//
// The explicit float32 conversions forbid the compiler to fuse the multiplication with the addition, which it would
// do on arm64, ppc64, riscv64 and s390x.
func tileGeneric(c *tile) {
	var acc [maxWidth][TileRows]float32
	var sum [maxWidth][TileRows]int32
	for g := range c.groups {
		for t, neg := range c.nsums[g*c.width:][:c.width] {
			for r := range sum[t] {
				sum[t][r] = c.format.offset() * neg
			}
		}
		for b := g * c.blocks; b < (g+1)*c.blocks; b++ {
			c.block(&sum, b)
		}
		if c.format == MXFP4 {
			c.foldMXFP4(&acc, &sum, g)
			continue
		}
		for r := range TileRows {
			scale := halfToFloat(binary.LittleEndian.Uint16(c.scales[(g*TileRows+r)*scaleBytes:]))
			for t := range c.rows {
				acc[t][r] = float32(acc[t][r] + float32(float32(sum[t][r])*scale))
			}
		}
	}
	for t, row := range c.rows {
		out := c.dst[row*c.ldd:][:TileRows]
		for r := range out {
			out[r] = float32(float32(acc[t][r]*c.ascales[t]) + c.bias[r])
		}
	}
}

// block adds Σ (w+offset)·a over the columns of one block to the sums of its 16 rows.
func (c *tile) block(sum *[maxWidth][TileRows]int32, b int) {
	dwords := c.format.BlockCols() / 4
	for i := range dwords { // columns 4i..4i+3
		w := c.format.unpack(c.codes[b*blockBytes:], i)
		for t, a := range c.acts[(b*dwords+i)*c.width:][:c.width] {
			a0, a1, a2, a3 := int32(int8(a)), int32(int8(a>>8)), int32(int8(a>>16)), int32(int8(a>>24))
			for r := range sum[t] {
				sum[t][r] += w[r][0]*a0 + w[r][1]*a1 + w[r][2]*a2 + w[r][3]*a3
			}
		}
	}
}

// halfToFloat widens an IEEE half float; exact for every value.
func halfToFloat(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&1023)
	switch exp {
	case 0: // zero and subnormals: frac · 2^-24
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	case 31:
		return math.Float32frombits(sign | 0x7F800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}
