package ops

import (
	"fmt"
	"slices"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
)

// ringSlack is how many tokens a ring holds beyond its window: as many can be
// forgotten exactly, and as many can be stored before they attend.
const ringSlack = 64

// kvCache holds the keys and values of one sequence in one layer. A ring has
// position p at p mod capacity once it has its full size. Capacities are whole
// blocks, so that no block of positions lies apart.
//
// Positions are in tiles of 16 that hold the first elements of their keys side
// by side, then the second ones, and so on; values have one row a position,
// padded with zeros to whole vectors.
type kvCache struct {
	format             CacheFormat
	heads, dim, window int

	k, v     []float32 // [head][capacity/16][dim][16] and [head][capacity][padded(dim)]
	int8     cache8
	capacity int // positions
	length   int // tokens stored and not forgotten
	first    int // the earliest position that has not been overwritten

	kept *kvCache // what a ring was when Keep was called; nil: it was not
}

func roundUp(n, multiple int) int { return (n + multiple - 1) / multiple * multiple }

// padded is the row width of values.
func padded(dim int) int { return roundUp(dim, kernel.AttendTile) }

// ring is the full size of a ring.
func (c *kvCache) ring() int { return roundUp(c.window+ringSlack, blockSize) }

// Reserve makes room for a sequence of that many tokens.
func (c *kvCache) Reserve(tokens int) error {
	need := roundUp(tokens, blockSize)
	if c.window > 0 {
		need = min(need, c.ring())
	}
	switch {
	case need <= c.capacity:
		return nil
	case c.format == CacheInt8:
		c.int8.grow(c, need)
	default:
		c.k = spread(c.k, c.heads, c.capacity*c.dim, need*c.dim)
		c.v = spread(c.v, c.heads, c.capacity*padded(c.dim), need*padded(c.dim))
	}
	c.capacity = need
	return nil
}

// spread copies rows of one size to the beginnings of larger ones.
func spread[T any](x []T, rows, from, to int) []T {
	y := make([]T, rows*to)
	for r := range rows {
		copy(y[r*to:], x[r*from:(r+1)*from])
	}
	return y
}

// Truncate forgets the tokens at positions n and later. A ring can do that as
// long as it has what position n sees, or had it kept.
func (c *kvCache) Truncate(n int) error {
	if c.kept != nil && n < c.kept.length {
		c.kept = nil
	}
	if c.window > 0 && n > 0 && n < c.length && max(0, n-c.window+1) < c.first {
		if c.kept != nil && n == c.kept.length {
			return c.restore()
		}
		return fmt.Errorf("ops: a sliding window of %d has overwritten what position %d sees", c.window, n)
	}
	c.length = min(c.length, n)
	if n == 0 {
		c.first = 0
	}
	return nil
}

// Keep copies a ring. What is not a ring forgets nothing by itself.
func (c *kvCache) Keep() {
	if c.window > 0 {
		c.kept = c.clone()
	}
}

// restore makes the ring what was kept, with the room that it has now.
func (c *kvCache) restore() error {
	kept, capacity := c.kept, c.capacity
	*c = *kept.clone()
	c.kept = kept
	return c.Reserve(capacity)
}

// Fork returns an independent copy.
func (c *kvCache) Fork() (graph.State, error) { return c.clone(), nil }

// clone returns a copy that keeps nothing.
func (c *kvCache) clone() *kvCache {
	f := *c
	f.k, f.v, f.int8, f.kept = slices.Clone(c.k), slices.Clone(c.v), c.int8.clone(), nil
	return &f
}

// slot is where a position is.
func (c *kvCache) slot(position int) int {
	if c.window > 0 {
		return position % c.capacity
	}
	return position
}

// keys returns one head's keys of positions [lo, hi): whole tiles within a
// block.
func (c *kvCache) keys(head, lo, hi int) []float32 {
	at := head*c.capacity + c.slot(lo)
	return c.k[at*c.dim : (at+hi-lo)*c.dim]
}

// values returns one head's values of positions [lo, hi) within a block.
func (c *kvCache) values(head, lo, hi int) []float32 {
	at, width := head*c.capacity+c.slot(lo), padded(c.dim)
	return c.v[at*width : (at+hi-lo)*width]
}

// store puts one head's keys and values of n tokens where they belong. k and v
// have a row every stride elements.
func (c *kvCache) store(head int, k, v []float32, stride, position, n int) {
	if c.format == CacheInt8 {
		c.store8(head, k, v, stride, position, n)
		return
	}
	for i := range n {
		at := head*c.capacity + c.slot(position+i)
		lane := at % tileTokens
		tile := c.k[(at-lane)*c.dim:][:tileTokens*c.dim]
		for d, x := range k[i*stride:][:c.dim] {
			tile[d*tileTokens+lane] = x
		}
		copy(c.v[at*padded(c.dim):], v[i*stride:][:c.dim])
	}
}

// stored says that the tokens before a position have been stored in all heads.
func (c *kvCache) stored(end int) {
	c.length = end
	if c.window > 0 {
		c.first = max(c.first, end-c.capacity)
	}
}
