package constrain

import (
	"cmp"
	"slices"
	"unicode/utf8"
)

// runeRange is the runes from lo to hi.
type runeRange struct{ lo, hi rune }

// Surrogates are not characters.
const (
	surrogateMin = 0xD800
	surrogateMax = 0xDFFF
)

// runesIn is one character in one of the ranges, in UTF-8.
func runesIn(ranges ...runeRange) fragment {
	return func(b *builder, from int32) int32 {
		to := b.node()
		for _, r := range ranges {
			for _, part := range []runeRange{{r.lo, min(r.hi, surrogateMin-1)}, {max(r.lo, surrogateMax+1), min(r.hi, utf8.MaxRune)}} {
				if b.err == nil && part.lo <= part.hi {
					b.runes(from, to, part.lo, part.hi)
				}
			}
		}
		return to
	}
}

// runes adds the encodings of [lo, hi], split where they change length and then
// so that every byte is in a range by itself.
//
// Source: RE2, re2/compile.cc Compiler::AddRuneRangeUTF8.
func (b *builder) runes(from, to int32, lo, hi rune) {
	for _, last := range []rune{0x7F, 0x7FF, 0xFFFF} {
		if lo <= last && last < hi {
			b.runes(from, to, lo, last)
			b.runes(from, to, last+1, hi)
			return
		}
	}
	if hi < utf8.RuneSelf {
		b.edge(from, edge{to: to, rule: noRule, lo: byte(lo), hi: byte(hi)})
		return
	}
	for i := 1; i < utf8.UTFMax; i++ {
		mask := rune(1)<<(6*i) - 1
		if lo&^mask == hi&^mask {
			continue
		}
		if lo&mask != 0 {
			b.runes(from, to, lo, lo|mask)
			b.runes(from, to, (lo|mask)+1, hi)
			return
		}
		if hi&mask != mask {
			b.runes(from, to, lo, hi&^mask-1)
			b.runes(from, to, hi&^mask, hi)
			return
		}
	}
	var first, last [utf8.UTFMax]byte
	n := utf8.EncodeRune(first[:], lo)
	utf8.EncodeRune(last[:], hi)
	for i := range n {
		next := to
		if i < n-1 {
			next = b.node()
		}
		b.edge(from, edge{to: next, rule: noRule, lo: first[i], hi: last[i]})
		from = next
	}
}

// without returns the ranges, which are in order, less some runes in order.
func without(ranges []runeRange, runes ...rune) []runeRange {
	var rest []runeRange
	for _, r := range ranges {
		for _, c := range runes {
			if r.lo <= c && c <= r.hi {
				if r.lo < c {
					rest = append(rest, runeRange{r.lo, c - 1})
				}
				r.lo = c + 1
			}
		}
		if r.lo <= r.hi {
			rest = append(rest, r)
		}
	}
	return rest
}

// complement returns all other runes.
func complement(ranges []runeRange) []runeRange {
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b runeRange) int { return cmp.Compare(a.lo, b.lo) })
	var rest []runeRange
	next := rune(0)
	for _, r := range sorted {
		if next < r.lo {
			rest = append(rest, runeRange{next, r.lo - 1})
		}
		next = max(next, r.hi+1)
	}
	if next <= utf8.MaxRune {
		rest = append(rest, runeRange{next, utf8.MaxRune})
	}
	return rest
}
