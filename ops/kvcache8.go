package ops

import (
	"slices"

	"github.com/seed-796a8800/tritium/internal/t16"
)

// cache8 is the memory of a cache of 8 bits. Four elements of a key are side by
// side, with 128 added, and four positions of an element of a value: what the
// integer products sum in one step. Keys are padded to whole fours.
type cache8 struct {
	k       []byte    // [head][capacity/16][dim4/4][16][4]
	v       []int8    // [head][capacity/4][padded(dim)][4]
	kscales []float32 // [head][capacity]
	vscales []float32 // [head][capacity]
	row     []int8    // [head][dim], scratch
}

func dim4(dim int) int { return roundUp(dim, 4) }

func (x *cache8) grow(c *kvCache, capacity int) {
	x.k = spread(x.k, c.heads, c.capacity*dim4(c.dim), capacity*dim4(c.dim))
	x.v = spread(x.v, c.heads, c.capacity*padded(c.dim), capacity*padded(c.dim))
	x.kscales = spread(x.kscales, c.heads, c.capacity, capacity)
	x.vscales = spread(x.vscales, c.heads, c.capacity, capacity)
	x.row = make([]int8, c.heads*c.dim)
}

func (x *cache8) clone() cache8 {
	return cache8{slices.Clone(x.k), slices.Clone(x.v), slices.Clone(x.kscales), slices.Clone(x.vscales), slices.Clone(x.row)}
}

// store8 is store for a cache of 8 bits.
func (c *kvCache) store8(head int, k, v []float32, stride, position, n int) {
	row := c.int8.row[head*c.dim:][:c.dim]
	for i := range n {
		at := head*c.capacity + c.slot(position+i)
		c.int8.kscales[at] = t16.QuantizeRow(row, k[i*stride:][:c.dim])
		for d, code := range row {
			*c.key8(at, d) = byte(code) ^ 0x80
		}
		c.int8.vscales[at] = t16.QuantizeRow(row, v[i*stride:][:c.dim])
		for d, code := range row {
			*c.value8(at, d) = code
		}
	}
}

// key8 is where an element of a key is, and value8 of a value; at counts
// positions through all heads.
func (c *kvCache) key8(at, d int) *byte {
	lane := at % tileTokens
	return &c.int8.k[(at-lane)*dim4(c.dim)+(d&^3)*tileTokens+lane*4+d&3]
}

func (c *kvCache) value8(at, d int) *int8 {
	return &c.int8.v[(at&^3)*padded(c.dim)+d*4+at&3]
}

// keys8 returns one head's keys of positions [lo, hi), whole tiles within a
// block, and their scales.
func (c *kvCache) keys8(head, lo, hi int) (keys []byte, scales []float32) {
	at, d := head*c.capacity+c.slot(lo), dim4(c.dim)
	return c.int8.k[at*d : (at+hi-lo)*d], c.int8.kscales[at : at+hi-lo]
}

// values8 returns one head's values of a block.
func (c *kvCache) values8(head, block int) []int8 {
	at, width := head*c.capacity+c.slot(block), padded(c.dim)
	return c.int8.v[at*width : (at+blockSize)*width]
}

// contiguous returns how far positions from lo follow each other in memory, hi
// at most.
func (c *kvCache) contiguous(lo, hi int) int { return min(hi, lo+c.capacity-c.slot(lo)) }

// valueScales returns the scales of positions that do.
func (c *kvCache) valueScales(head, lo, hi int) []float32 {
	at := head*c.capacity + c.slot(lo)
	return c.int8.vscales[at : at+hi-lo]
}
