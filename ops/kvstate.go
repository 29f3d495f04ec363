package ops

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/seed-796a8800/tritium/graph"
)

// kvHeader begins a saved cache, little-endian. The keys' rows follow, then the
// values', as float32.
type kvHeader struct {
	Width, Window uint32
	Length, High  uint64
}

// Fork returns an independent copy.
func (c *kvCache) Fork() (graph.State, error) {
	f := *c
	f.k, f.v = slices.Clone(c.k), slices.Clone(c.v)
	return &f, nil
}

// kept is the number of rows that hold something.
func (c *kvCache) kept() int {
	if c.window > 0 {
		return min(c.high, c.ring())
	}
	return c.length
}

// Save writes the rows that hold something.
func (c *kvCache) Save(w io.Writer) error {
	h := kvHeader{uint32(c.width), uint32(c.window), uint64(c.length), uint64(c.high)}
	if err := binary.Write(w, binary.LittleEndian, h); err != nil {
		return err
	}
	n := c.kept() * c.width
	buf := make([]byte, 0, 4*kvChunk)
	for _, rows := range [][]float32{c.k[:n], c.v[:n]} {
		for chunk := range slices.Chunk(rows, kvChunk) {
			buf = buf[:0]
			for _, x := range chunk {
				buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(x))
			}
			if _, err := w.Write(buf); err != nil {
				return err
			}
		}
	}
	return nil
}

// kvChunk is how many numbers are read or written at a time.
const kvChunk = 1 << 14

// Load reads what Save wrote for a cache of the same width and window.
func (c *kvCache) Load(r io.Reader) error {
	var h kvHeader
	if err := binary.Read(r, binary.LittleEndian, &h); err != nil {
		return err
	}
	switch {
	case int(h.Width) != c.width || int(h.Window) != c.window:
		return fmt.Errorf("ops: keys and values %d wide with a window of %d, want %d and %d", h.Width, h.Window, c.width, c.window)
	case h.Length > h.High || h.High > math.MaxInt32:
		return fmt.Errorf("ops: keys and values of %d tokens of %d", h.Length, h.High)
	}
	l := kvCache{width: c.width, window: c.window, length: int(h.Length), high: int(h.High)}
	n := l.kept() * c.width
	buf := make([]byte, 4*kvChunk)
	for _, rows := range []*[]float32{&l.k, &l.v} {
		for len(*rows) < n {
			part := buf[:4*min(kvChunk, n-len(*rows))]
			if _, err := io.ReadFull(r, part); err != nil {
				return err
			}
			for ; len(part) > 0; part = part[4:] {
				*rows = append(*rows, math.Float32frombits(binary.LittleEndian.Uint32(part)))
			}
		}
	}
	*c = l
	return nil
}
