package harmony

import (
	"strings"
	"unicode/utf8"
)

// replacement stands for bytes that are not UTF-8.
const replacement = string(utf8.RuneError)

// valid returns a text with U+FFFD for every maximal part of a rune that is not
// continued, and for every other byte that is not UTF-8. Unlike
// strings.ToValidUTF8 it does not merge neighbours, so the result does not
// depend on how the text is cut, where no cut is inside such a part.
//
// Source: The Unicode Standard, "U+FFFD Substitution of Maximal Subparts",
// which Rust's String::from_utf8_lossy follows.
func valid(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		if r == utf8.RuneError && n == 1 {
			for n < len(text) && !utf8.FullRuneInString(text[:n+1]) {
				n++
			}
			b.WriteString(replacement)
		} else {
			b.WriteString(text[:n])
		}
		text = text[n:]
	}
	return b.String()
}
