package tokenizer

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDecoderConcatenation(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for _, tok := range []*Tokenizer{nano(t), published(t)} {
		for range 3000 {
			ids := make([]int32, rng.IntN(40))
			for i := range ids {
				ids[i] = rng.Int32N(int32(tok.Size())+4) - 2 // some are no tokens
			}
			checkStream(t, tok, ids)
		}
	}
}

// TestDecoderRunes: valid text that is cut anywhere comes out in whole runes.
func TestDecoderRunes(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	tok := nano(t)
	for range 3000 {
		text := adversarial(rng)
		d := tok.NewDecoder()
		for _, id := range tok.Encode(text) {
			if s := d.Write(id); !utf8.ValidString(s) {
				t.Fatalf("%q: Write returned %q", text, s)
			}
		}
		if rest := d.Flush(); rest != "" {
			t.Fatalf("%q: Flush returned %q", text, rest)
		}
	}
}

// checkStream fails unless streaming gives what Decode gives and holds back only what can still become a rune.
func checkStream(t *testing.T, tok *Tokenizer, ids []int32) {
	t.Helper()
	d := tok.NewDecoder()
	var b strings.Builder
	for i, id := range ids {
		b.WriteString(d.Write(id))
		held := tok.Decode(ids[:i+1])[b.Len():]
		if held != "" && (len(held) >= utf8.UTFMax || utf8.FullRuneInString(held)) {
			t.Fatalf("%v: %q is held back", ids[:i+1], held)
		}
	}
	b.WriteString(d.Flush())
	if got, want := b.String(), tok.Decode(ids); got != want {
		t.Fatalf("stream of %v = %q, want %q", ids, got, want)
	}
	if rest := d.Flush(); rest != "" {
		t.Fatalf("second Flush returned %q", rest)
	}
}

func TestDecoderSteps(t *testing.T) {
	tok, err := FromRanks(strings.NewReader(byteRanks()), nil) // id = byte
	if err != nil {
		t.Fatal(err)
	}
	d := tok.NewDecoder()
	for i, step := range []struct {
		id   int32
		want string
	}{
		{'a', "a"},
		{0xf0, ""}, {0x9f, ""}, {0x92, ""}, {0x96, "💖"}, // a rune in four tokens
		{0xe2, ""}, {'b', "\xe2b"}, // broken off
		{0x80, "\x80"}, {0xff, "\xff"}, // never the start of a rune
		{0xc3, ""}, {0xc3, "\xc3"}, {0xa9, "é"},
		{0xed, ""}, {0xa0, "\xed\xa0"}, // a surrogate, invalid after two bytes
		{-1, ""}, {256, ""}, // no tokens
		{0xe2, ""}, {-1, ""}, {0x82, ""},
	} {
		if got := d.Write(step.id); got != step.want {
			t.Fatalf("step %d: Write(%#x) = %q, want %q", i, step.id, got, step.want)
		}
	}
	if got := d.Flush(); got != "\xe2\x82" {
		t.Errorf("Flush() = %q", got)
	}
}

func TestBytes(t *testing.T) {
	tok := nano(t)
	count := 0
	for id := range int32(tok.Size()) {
		b, ok := tok.Bytes(id)
		if !ok {
			continue
		}
		count++
		if back, ok := tok.ID(string(b)); !ok || back != id {
			t.Errorf("ID(Bytes(%d)) = %d, %t", id, back, ok)
		}
		b[0]++ // a copy: the tokenizer must not change
		if again, _ := tok.Bytes(id); again[0] == b[0] {
			t.Fatalf("Bytes(%d) is not a copy", id)
		}
	}
	if count != 2048 || tok.Size() != 2048 {
		t.Errorf("%d tokens, size %d, want 2048", count, tok.Size())
	}
	for _, id := range []int32{-1, 2048, 1 << 30} {
		if b, ok := tok.Bytes(id); ok || len(b) != 0 {
			t.Errorf("Bytes(%d) = %q, %t", id, b, ok)
		}
	}
}
