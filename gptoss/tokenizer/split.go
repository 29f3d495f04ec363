package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// pattern is the only pre-tokenizer this package implements: o200k, seven alternatives, the leftmost that matches wins.
// Go's regexp can not compile its lookahead and its \s is ASCII, so next does the same by hand.
const pattern = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?` +
	`|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?` +
	`|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`

// class is a set of the properties the pattern asks a rune for.
type class uint8

const (
	head    class = 1 << iota // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], what a word starts with
	tail                      // [\p{Ll}\p{Lm}\p{Lo}\p{M}], what a word goes on with; Lm, Lo and M are both
	letter                    // \p{L}
	number                    // \p{N}
	space                     // \s, Unicode White_Space
	newline                   // [\r\n], which are space too
)

// classTable holds the classes of the basic multilingual plane; runes above it are rare enough to look up.
type classTable [1 << 16]class

// properties maps the Unicode tables to classes. A rune's class is the union of the rows it is in.
var properties = [...]struct {
	table *unicode.RangeTable
	class class
}{
	{unicode.Lu, head | letter},
	{unicode.Lt, head | letter},
	{unicode.Ll, tail | letter},
	{unicode.Lm, head | tail | letter},
	{unicode.Lo, head | tail | letter},
	{unicode.M, head | tail},
	{unicode.N, number},
	{unicode.White_Space, space},
}

func newClassTable() *classTable {
	t := new(classTable)
	for _, p := range properties {
		for _, r := range p.table.R16 {
			for c := uint32(r.Lo); c <= uint32(r.Hi); c += uint32(r.Stride) {
				t[c] |= p.class
			}
		}
	}
	t['\r'] |= newline
	t['\n'] |= newline
	return t
}

// at returns the class and the size of the rune at text[i:]. A byte that is not UTF-8 counts as one rune without a class,
// that is, as punctuation.
func (t *classTable) at(text string, i int) (class, int) {
	if c := text[i]; c < utf8.RuneSelf {
		return t[c], 1
	}
	r, n := utf8.DecodeRuneInString(text[i:])
	if int(r) < len(t) {
		return t[r], n
	}
	var c class
	for _, p := range properties {
		if unicode.Is(p.table, r) {
			c |= p.class
		}
	}
	return c, n
}

// next returns the end of the pre-token that starts at text[i], i < len(text). Every alternative looks at most one rune
// past the run it consumes or rejects, and no run is rejected more than a fixed number of times, so splitting is linear.
func (t *classTable) next(text string, i int) int {
	c, n := t.at(text, i)
	if c&number != 0 {
		return t.numbers(text, i+n)
	}
	if c&newline == 0 {
		if end := t.word(text, i, i+n, c); end > i {
			return contraction(text, end)
		}
	}
	if end := t.punctuation(text, i); end > i {
		return end
	}
	return t.whitespace(text, i)
}

// word matches alternatives 1 and 2 without their contraction at i, whose rune has class c and ends at s; i if neither
// matches. The rune at i may be the prefix [^\r\n\p{L}\p{N}]? or, when it is a letter or a mark, part of the word;
// regex order is: 1 with the prefix, 1 without, 2 with, 2 without.
func (t *classTable) word(text string, i, s int, c class) int {
	headEnd := s // of the head run behind the prefix
	prefix := c&letter == 0
	if prefix {
		var end int
		if headEnd, end = t.lower(text, s); end > s {
			return end
		}
	}
	if c&(head|tail) != 0 {
		runEnd, end := t.lower(text, i)
		if end > i {
			return end
		}
		if !prefix {
			return runEnd
		}
	}
	if headEnd > s {
		return headEnd
	}
	return i
}

// lower matches [head]*[tail]+ at i and returns the end of the head run and the end of the match, i if there is none.
func (t *classTable) lower(text string, i int) (headEnd, end int) {
	headEnd = i
	last := i // end of the last rune of the head run that is in tail as well
	for headEnd < len(text) {
		c, n := t.at(text, headEnd)
		if c&head == 0 {
			break
		}
		headEnd += n
		if c&tail != 0 {
			last = headEnd
		}
	}
	for end = headEnd; end < len(text); {
		c, n := t.at(text, end)
		if c&tail == 0 {
			break
		}
		end += n
	}
	if end == headEnd {
		// Nothing is left for [tail]+, so the regex backtracks into the head run, to the last rune that will do.
		end = last
	}
	return headEnd, end
}

// contraction returns the end of (?i:'s|'t|'re|'ve|'m|'ll|'d)? at i. Case folding lets U+017F (long s) be an s.
func contraction(text string, i int) int {
	if len(text)-i < 2 || text[i] != '\'' {
		return i
	}
	rest := text[i+1:]
	switch rest[0] | 0x20 { // folds A-Z, and no other byte onto the letters below
	case 's', 't', 'm', 'd':
		return i + 2
	case 'r', 'v':
		if len(rest) > 1 && rest[1]|0x20 == 'e' {
			return i + 3
		}
	case 'l':
		if len(rest) > 1 && rest[1]|0x20 == 'l' {
			return i + 3
		}
	}
	const longS = "ſ"
	if len(rest) >= len(longS) && rest[:len(longS)] == longS {
		return i + 1 + len(longS)
	}
	return i
}

// numbers matches the rest of \p{N}{1,3}, one number before i having matched.
func (t *classTable) numbers(text string, i int) int {
	for count := 1; count < 3 && i < len(text); count++ {
		c, n := t.at(text, i)
		if c&number == 0 {
			break
		}
		i += n
	}
	return i
}

// punctuation matches ` ?[^\s\p{L}\p{N}]+[\r\n/]*` at i and returns the end, i if there is none.
func (t *classTable) punctuation(text string, i int) int {
	start := i
	if text[i] == ' ' {
		start++
	}
	end := start
	for end < len(text) {
		c, n := t.at(text, end)
		if c&(space|letter|number) != 0 {
			break
		}
		end += n
	}
	if end == start {
		return i
	}
	for end < len(text) && (text[end] == '\r' || text[end] == '\n' || text[end] == '/') {
		end++
	}
	return end
}

// whitespace matches `\s*[\r\n]+|\s+(?!\S)|\s+` at i, whose rune is whitespace.
func (t *classTable) whitespace(text string, i int) int {
	end := i
	last := i     // start of the last rune of the run
	afterEOL := i // end of its last \r or \n
	for end < len(text) {
		c, n := t.at(text, end)
		if c&space == 0 {
			break
		}
		last = end
		end += n
		if c&newline != 0 {
			afterEOL = end
		}
	}
	switch {
	case afterEOL > i:
		return afterEOL
	case end == len(text) || last == i:
		return end
	}
	return last // the last space belongs to what follows
}
