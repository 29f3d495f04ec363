package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Decode returns the bytes of the tokens, concatenated.
//
// The result is not UTF-8 where the tokens are not: a token may end inside a rune, and nothing is replaced by U+FFFD. A
// special token gives its spelling; an id without a token gives nothing.
func (t *Tokenizer) Decode(ids []int32) string {
	n := 0
	for _, id := range ids {
		n += len(t.piece(id))
	}
	var b strings.Builder
	b.Grow(n)
	for _, id := range ids {
		b.WriteString(t.piece(id))
	}
	return b.String()
}

// Decoder decodes one token at a time without ever cutting a rune in two.
type Decoder struct {
	t    *Tokenizer
	held []byte // the start of a rune, at most utf8.UTFMax-1 bytes
}

// NewDecoder returns a Decoder at the start of a text.
func (t *Tokenizer) NewDecoder() *Decoder { return &Decoder{t: t} }

// Write takes the next token and returns the text that is complete now, which may be empty.
//
// Only the start of a rune that later tokens can still complete is held back, so what Write and Flush return, concatenated,
// is what Decode returns. Bytes that can not become UTF-8 any more come through unchanged (strings.ToValidUTF8 replaces them).
func (d *Decoder) Write(id int32) string {
	piece := d.t.piece(id)
	if len(d.held) > 0 {
		piece = string(d.held) + piece
	}
	complete := len(piece) - incomplete(piece)
	d.held = append(d.held[:0], piece[complete:]...)
	return piece[:complete]
}

// Flush returns the bytes still held back, an incomplete rune, and starts a new text.
func (d *Decoder) Flush() string {
	rest := string(d.held)
	d.held = d.held[:0]
	return rest
}

// incomplete returns the length of the unfinished rune that text ends with.
func incomplete(text string) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		end := text[len(text)-n:]
		if utf8.RuneStart(end[0]) {
			if utf8.FullRuneInString(end) {
				return 0
			}
			return n
		}
	}
	return 0
}
