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
	h := cacheHeader{Format: uint16(c.format), Heads: uint32(c.heads), Dim: uint32(c.dim), Window: uint32(c.window),
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
// Errors: another format or shape, another number of tokens, a header that
// contradicts itself, an end before all positions, a value that is not finite.
func (c *kvCache) Load(r io.Reader, tokens int) error {
	err := c.load(r, tokens)
	if err != nil {
		c.first, c.length = 0, 0
		return fmt.Errorf("ops: loading keys and values: %w", err)
	}
	return nil
}

func (c *kvCache) load(r io.Reader, tokens int) error {
	var h cacheHeader
	c.first, c.length, c.kept = 0, 0, nil
	if err := binary.Read(r, binary.LittleEndian, &h); err != nil {
		return short(err)
	}
	if err := c.accepts(h); err != nil {
		return err
	}
	if h.Length != uint64(tokens) {
		return fmt.Errorf("they end at position %d of a sequence of %d tokens", h.Length, tokens)
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
		if !c.decode(row, p) {
			return fmt.Errorf("position %d has a value that is not a finite number", p)
		}
	}
	c.first, c.length = int(h.First), int(h.Length)
	return nil
}

// short says in our words that a file ends early.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the data ends early: %w", io.ErrUnexpectedEOF)
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
func (c *kvCache) rowBytes() int {
	if c.format == CacheInt8 {
		return 2 * c.heads * (4 + c.dim)
	}
	return 2 * c.heads * 4 * c.dim
}

// encode writes the keys of a position, then its values. In 8 bits a scale
// precedes each head's.
func (c *kvCache) encode(row []byte, position int) {
	c.each(position, func(at int, key bool) {
		if c.format == CacheInt8 {
			putFloat(row, *c.scale8(at, key))
			for d := range c.dim {
				row[4+d] = byte(c.code8(at, d, key))
			}
			row = row[4+c.dim:]
			return
		}
		for d := range c.dim {
			putFloat(row[4*d:], *c.element(at, d, key))
		}
		row = row[4*c.dim:]
	})
}

// decode reads what encode wrote, and says whether all of it is finite.
func (c *kvCache) decode(row []byte, position int) bool {
	finite := true
	number := func(b []byte) float32 {
		v := float(b)
		finite = finite && v-v == 0
		return v
	}
	c.each(position, func(at int, key bool) {
		if c.format == CacheInt8 {
			*c.scale8(at, key) = number(row)
			for d := range c.dim {
				c.setCode8(at, d, key, int8(row[4+d]))
			}
			row = row[4+c.dim:]
			return
		}
		for d := range c.dim {
			*c.element(at, d, key) = number(row[4*d:])
		}
		row = row[4*c.dim:]
	})
	return finite
}

func putFloat(b []byte, v float32) { binary.LittleEndian.PutUint32(b, math.Float32bits(v)) }
func float(b []byte) float32       { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }

// each calls f for the keys of all heads at a position, then for the values; at
// counts positions through all heads.
func (c *kvCache) each(position int, f func(at int, key bool)) {
	for _, key := range []bool{true, false} {
		for h := range c.heads {
			f(h*c.capacity+c.slot(position), key)
		}
	}
}

// element is where an element of a key or a value is.
func (c *kvCache) element(at, d int, key bool) *float32 {
	if key {
		lane := at % tileTokens
		return &c.k[(at-lane)*c.dim+d*tileTokens+lane]
	}
	return &c.v[at*padded(c.dim)+d]
}

func (c *kvCache) scale8(at int, key bool) *float32 {
	if key {
		return &c.int8.kscales[at]
	}
	return &c.int8.vscales[at]
}

func (c *kvCache) code8(at, d int, key bool) int8 {
	if key {
		return int8(*c.key8(at, d) ^ 0x80)
	}
	return *c.value8(at, d)
}

func (c *kvCache) setCode8(at, d int, key bool, code int8) {
	if key {
		*c.key8(at, d) = byte(code) ^ 0x80
	} else {
		*c.value8(at, d) = code
	}
}
