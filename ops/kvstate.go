package ops

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// cacheMagic begins what Save writes, and counts its layouts.
const cacheMagic = "tritiumKV1"

// cacheHeader says what follows: positions first to length of a cache of this
// shape, each with the keys of all heads, then their values.
type cacheHeader struct {
	Magic              [len(cacheMagic)]byte
	Format             uint16
	Heads, Dim, Window uint32
	First, Length      uint64
}

func (c *kvCache) header() cacheHeader {
	h := cacheHeader{Heads: uint32(c.heads), Dim: uint32(c.dim), Window: uint32(c.window),
		First: uint64(c.oldest()), Length: uint64(c.length)}
	copy(h.Magic[:], cacheMagic)
	return h
}

// oldest is the earliest position that Save keeps.
func (c *kvCache) oldest() int { return min(c.first, c.length) }

// Save writes all that the cache holds, little-endian.
func (c *kvCache) Save(w io.Writer) error {
	if err := binary.Write(w, binary.LittleEndian, c.header()); err != nil {
		return fmt.Errorf("ops: saving keys and values: %w", err)
	}
	row := make([]byte, c.rowBytes())
	for p := c.oldest(); p < c.length; p++ {
		c.encode(row, p)
		if _, err := w.Write(row); err != nil {
			return fmt.Errorf("ops: saving keys and values: %w", err)
		}
	}
	return nil
}

// Load replaces what the cache holds by what Save wrote for one of the same
// shape, and reads nothing behind it. Memory grows with the data that arrives,
// whatever the header claims. A cache that cannot be loaded is empty.
//
// Errors: another format or shape, a header that contradicts itself, an end
// before all positions.
func (c *kvCache) Load(r io.Reader) error {
	err := c.load(r)
	if err != nil {
		c.first, c.length = 0, 0
		return fmt.Errorf("ops: loading keys and values: %w", err)
	}
	return nil
}

func (c *kvCache) load(r io.Reader) error {
	var h cacheHeader
	c.first, c.length = 0, 0
	if err := binary.Read(r, binary.LittleEndian, &h); err != nil {
		return short(err)
	}
	if err := c.accepts(h); err != nil {
		return err
	}
	row := make([]byte, c.rowBytes())
	for p := int(h.First); p < int(h.Length); p++ {
		if _, err := io.ReadFull(r, row); err != nil {
			return short(err)
		}
		// Twice what has arrived. A ring has its full size before it wraps.
		if err := c.Reserve(min(int(h.Length), max(p+1, 2*(p-int(h.First))))); err != nil {
			return err
		}
		c.decode(row, p)
	}
	c.first, c.length = int(h.First), int(h.Length)
	return nil
}

// short says in our words that a file ends early.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the data ends early")
	}
	return err
}

// accepts refuses what this cache cannot hold.
func (c *kvCache) accepts(h cacheHeader) error {
	want := c.header()
	switch {
	case h.Magic != want.Magic || h.Format != want.Format:
		return fmt.Errorf("they begin with %.12q in format %d, want %q in format %d", h.Magic[:], h.Format, cacheMagic, want.Format)
	case h.Heads != want.Heads || h.Dim != want.Dim || h.Window != want.Window:
		return fmt.Errorf("they have %d heads of %d and a window of %d; this layer has %d of %d and %d",
			h.Heads, h.Dim, h.Window, want.Heads, want.Dim, want.Window)
	case h.Length > maxCachedTokens || h.First > h.Length:
		return fmt.Errorf("they hold positions %d to %d", h.First, h.Length)
	}
	first, length := int(h.First), int(h.Length)
	needed := 0 // the earliest position that the next token sees
	if c.window > 0 {
		needed = max(0, length-c.window+1)
	}
	if first > needed || c.window > 0 && length-first > c.ring() {
		return fmt.Errorf("they hold positions %d to %d; the window of %d needs those from %d, and holds %d",
			first, length, c.window, needed, c.ring())
	}
	return nil
}

// maxCachedTokens is more than any sequence has.
const maxCachedTokens = 1 << 30

// rowBytes is the size of a saved position.
func (c *kvCache) rowBytes() int { return 2 * 4 * c.heads * c.dim }

// encode writes the keys of a position, then its values.
func (c *kvCache) encode(row []byte, position int) {
	at := 0
	c.each(position, func(x *float32) {
		binary.LittleEndian.PutUint32(row[at:], math.Float32bits(*x))
		at += 4
	})
}

func (c *kvCache) decode(row []byte, position int) {
	at := 0
	c.each(position, func(x *float32) {
		*x = math.Float32frombits(binary.LittleEndian.Uint32(row[at:]))
		at += 4
	})
}

// each calls f for the elements of a position in the order of a saved row.
func (c *kvCache) each(position int, f func(x *float32)) {
	for h := range c.heads {
		at := h*c.capacity + c.slot(position)
		lane := at % tileTokens
		for d := range c.dim {
			f(&c.k[(at-lane)*c.dim+d*tileTokens+lane])
		}
	}
	for h := range c.heads {
		at := (h*c.capacity + c.slot(position)) * padded(c.dim)
		for d := range c.dim {
			f(&c.v[at+d])
		}
	}
}
