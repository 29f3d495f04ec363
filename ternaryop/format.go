package ternaryop

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/seed-796a8800/tritium/internal/t16"
)

// Format is how the weights of a matrix are stored: as integers of a few bits,
// each group of which shares a scale.
type Format uint8

// The formats, by the bits of a weight without its scale.
const (
	Ternary2 Format = iota // 2 bits: -1, 0, +1
	Ternary5               // 1.6 bits: five of -1, 0, +1 in a byte
	Int4                   // 4 bits: -8..7
	Int8                   // 8 bits: -128..127
	Planes2                // two of Ternary2: a weight is the sum of two, each with its own scale
	Planes5                // two of Ternary5

	expanded       // Ternary5 after [Stack.Expand]; never on disk
	expandedPlanes // Planes5 after it
)

// packing says how a format fills a byte: with digits to a base, each a weight
// plus an offset, the first column's the lowest.
type packing struct {
	name         string
	kernel       t16.Format
	base, digits int
	low, high    int // the weights there are; the offset is -low
	align        int // columns are padded to a multiple of it, and groups are multiples
	planes       int // matrices side by side, which multiply the same inputs
}

// The columns of Ternary5 are padded to whole blocks of Ternary2 too, so that
// every such matrix can be rewritten with 2 bits a weight where that is what
// the processor multiplies fast.
var packings = [...]packing{
	Ternary2: {"ternary", t16.Ternary2, 4, 4, -1, 1, 16, 1},
	Ternary5: {"ternary1.6", t16.Ternary5, 3, 5, -1, 1, 80, 1},
	Int4:     {"int4", t16.Int4, 16, 2, -8, 7, 16, 1},
	Int8:     {"int8", t16.Int8, 256, 1, -128, 127, 16, 1},
	Planes2:  {"two-planes", t16.Ternary2, 4, 4, -1, 1, 16, 2},
	Planes5:  {"two-planes1.6", t16.Ternary5, 3, 5, -1, 1, 80, 2},

	expanded:       {"ternary1.6 expanded", t16.Ternary2, 4, 4, -1, 1, 80, 1},
	expandedPlanes: {"two-planes1.6 expanded", t16.Ternary2, 4, 4, -1, 1, 80, 2},
}

// ParseFormat returns the format of the given name: "ternary", "ternary1.6",
// "int4", "int8", "two-planes" or "two-planes1.6".
func ParseFormat(name string) (Format, error) {
	for f, p := range packings[:expanded] {
		if p.name == name {
			return Format(f), nil
		}
	}
	return 0, fmt.Errorf("ternaryop: unknown format %q", name)
}

// String returns the format's name.
func (f Format) String() string {
	if !f.valid() {
		return fmt.Sprintf("format %d", uint8(f))
	}
	return packings[f].name
}

// Native says whether the kernels of this processor multiply weights of the
// format as fast as they read them. Where they do not, [Stack.Expand] helps.
func (f Format) Native() bool { return !f.Expands() || t16.NativeTernary5() }

// Expands says whether the format has five weights in a byte, which
// [Stack.Expand] rewrites.
func (f Format) Expands() bool { return f == Ternary5 || f == Planes5 }

// Planes returns how many integers make up a weight, each times a scale of its
// own: 2 in Planes2 and Planes5, 1 in all others. Panics on an unknown format.
func (f Format) Planes() int { return packings[f].planes }

// Ternary says whether the integers are -1, 0 and +1. Panics on an unknown
// format.
func (f Format) Ternary() bool { return packings[f].high == 1 }

func (f Format) valid() bool { return int(f) < len(packings) }

// Cols returns the columns that are stored of a plane with in columns: in
// rounded up to a multiple of 16, of 80 in Ternary5 and Planes5.
func (f Format) Cols(in int) int { return roundUp(in, packings[f].align) }

// Groups returns the group size for in columns that comes closest to want from
// below: the largest multiple of 32 (of 80 in Ternary5 and Planes5), or where there is none
// of 16, that is at most want and divides the padded columns. Where no group is
// that small it is the smallest there is.
//
// Units: columns. For 2880 and 128 it is 96, in Ternary5 80; for 4096 and 192,
// 128, in Ternary5 160, which divides the 4160 that are stored; for 48 and 128, 48.
func (f Format) Groups(in, want int) int {
	align := packings[f].align
	cols := f.Cols(max(in, 1))
	for _, step := range []int{roundUp(32, align), align} {
		for g := min(want, cols) / step * step; g > 0; g -= step {
			if cols%g == 0 {
				return g
			}
		}
	}
	return align
}

// blockCols is how many columns of 16 rows fill a block of 64 bytes.
func (f Format) blockCols() int { return 4 * packings[f].digits }

// join returns the byte that holds the weights w, at most as many as fit; the
// others are 0.
func (f Format) join(w []int8) byte {
	p := packings[f]
	b := 0
	for c := p.digits - 1; c >= 0; c-- {
		digit := -p.low
		if c < len(w) {
			digit += int(w[c])
		}
		b = b*p.base + digit
	}
	return byte(b)
}

// split is the inverse of join; the base is spelled out so that no division is
// by a variable.
func (f Format) split(b byte) (w [5]int8) {
	switch packings[f].kernel {
	case t16.Ternary2:
		return [5]int8{int8(b&3) - 1, int8(b>>2&3) - 1, int8(b>>4&3) - 1, int8(b>>6) - 1}
	case t16.Ternary5:
		return [5]int8{int8(b%3) - 1, int8(b/3%3) - 1, int8(b/9%3) - 1, int8(b/27%3) - 1, int8(min(b/81, 2)) - 1}
	case t16.Int4:
		return [5]int8{int8(b&15) - 8, int8(b>>4) - 8}
	}
	return [5]int8{int8(b ^ 0x80)} // b - 128
}

// firstBad returns the index of the first byte that no packing makes, -1 where
// there is none.
//
// Shapes: codes [8·N].
func (f Format) firstBad(codes []byte) int {
	const ones, top = 0x0101010101010101, 0x8080808080808080
	if packings[f].high > 1 {
		return -1 // integers use every byte
	}
	for i := 0; i < len(codes); i += 8 {
		x := binary.LittleEndian.Uint64(codes[i:])
		bad := x & (x >> 1) & (0x55 * ones) // two bits that are 3
		if packings[f].kernel == t16.Ternary5 {
			bad = (x&^top + (256-243)*ones) & x & top // 243 or more: what is over 128 overflows with 13 added
		}
		if bad != 0 {
			return i + bits.TrailingZeros64(bad)/8
		}
	}
	return -1
}

func roundUp(n, multiple int) int { return (n + multiple - 1) / multiple * multiple }
