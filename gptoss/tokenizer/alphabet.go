package tokenizer

import "unicode/utf8"

// The byte-level alphabet of GPT-2 spells bytes as printable characters: those that are printable in Latin-1 stand for
// themselves, the other 68 are U+0100, U+0101, ... in byte order.
//
// Source: openai/gpt-2 src/encoder.py bytes_to_unicode.
const firstShifted = 0x100

// shifted holds the ranges of bytes that do not stand for themselves: controls and space, DEL to NBSP, the soft hyphen.
var shifted = [...]struct{ lo, hi rune }{{0x00, 0x20}, {0x7f, 0xa0}, {0xad, 0xad}}

// rawByte returns the byte that r spells.
func rawByte(r rune) (byte, bool) {
	if r >= firstShifted {
		rest := r - firstShifted
		for _, s := range shifted {
			n := s.hi - s.lo + 1
			if rest < n {
				return byte(s.lo + rest), true
			}
			rest -= n
		}
		return 0, false
	}
	for _, s := range shifted {
		if r >= s.lo && r <= s.hi {
			return 0, false
		}
	}
	return byte(r), true
}

// appendRaw appends the bytes that text spells; not ok if it has a character outside the alphabet.
func appendRaw(dst, text []byte) (_ []byte, ok bool) {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		b, ok := rawByte(r) // utf8.RuneError is outside the alphabet too
		if !ok {
			return dst, false
		}
		dst = append(dst, b)
		text = text[n:]
	}
	return dst, true
}
