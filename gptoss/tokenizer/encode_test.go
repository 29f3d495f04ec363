package tokenizer

import (
	"compress/gzip"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

const nanoPath = "../../testdata/nano/tokenizer.json"

func nano(tb testing.TB) *Tokenizer {
	tb.Helper()
	tok, err := Load(nanoPath)
	if err != nil {
		tb.Fatal(err)
	}
	return tok
}

// prose returns public-domain English.
func prose(tb testing.TB) string {
	tb.Helper()
	f, err := os.Open("testdata/prose.txt.gz")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	text, err := io.ReadAll(unzipped)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func splitAll(tok *Tokenizer, text string) []string {
	var pieces []string
	for i := 0; i < len(text); {
		end := tok.classes.next(text, i)
		pieces = append(pieces, text[i:end])
		i = end
	}
	return pieces
}

func TestSplitAgainstReference(t *testing.T) {
	tok := nano(t)
	rng := rand.New(rand.NewPCG(3, 4))
	texts := []string{prose(t)[:20000]}
	for range 4000 {
		texts = append(texts, adversarial(rng), garbage(rng))
	}
	for _, text := range texts {
		if got, want := splitAll(tok, text), referenceSplit(text); !slices.Equal(got, want) {
			t.Fatalf("split(%q)\n got %q\nwant %q", text, got, want)
		}
	}
}

// TestSplitPairs goes through all pairs and many triples of one rune of each combination of classes.
func TestSplitPairs(t *testing.T) {
	tok := nano(t)
	runes := []string{
		"a", "A", "ǅ", "ʰ", "日", "\u0301", "7", " ", "\t", "\n", "\r", "'", "s", "L", "/", ".", "\xff", "𐐀", "𐐨", "\U00011002",
	}
	for _, a := range runes {
		for _, b := range runes {
			for _, c := range append(runes, "") {
				for _, d := range append(runes, "") {
					text := a + b + c + d
					if got, want := splitAll(tok, text), referenceSplit(text); !slices.Equal(got, want) {
						t.Fatalf("split(%q)\n got %q\nwant %q", text, got, want)
					}
				}
			}
		}
	}
}

// TestClasses compares the table with package unicode for every rune.
func TestClasses(t *testing.T) {
	table := newClassTable()
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		got, n := table.at(string(r), 0)
		if n != utf8.RuneLen(r) {
			t.Fatalf("%U has %d bytes", r, n)
		}
		for _, property := range []struct {
			class class
			want  bool
		}{
			{head, unicode.In(r, unicode.Lu, unicode.Lt, unicode.Lm, unicode.Lo, unicode.M)},
			{tail, unicode.In(r, unicode.Ll, unicode.Lm, unicode.Lo, unicode.M)},
			{letter, unicode.IsLetter(r)},
			{number, unicode.IsNumber(r)},
			{space, unicode.IsSpace(r)},
			{newline, r == '\r' || r == '\n'},
		} {
			if (got&property.class != 0) != property.want {
				t.Fatalf("%U has classes %06b; %06b must be %t", r, got, property.class, property.want)
			}
		}
	}
}

func TestEncodeAgainstReference(t *testing.T) {
	tok, ref := nano(t), readReference(t, nanoPath)
	rng := rand.New(rand.NewPCG(5, 6))
	for _, ignore := range []bool{true, false} {
		tok.ignoreMerges, ref.Model.IgnoreMerges = ignore, ignore
		texts := []string{prose(t)[:20000], strings.Repeat("ab", 500), strings.Repeat("the", 300)}
		for range 1000 {
			texts = append(texts, adversarial(rng), garbage(rng))
		}
		for _, text := range texts {
			if got, want := tok.Encode(text), ref.encode(text); !slices.Equal(got, want) {
				t.Fatalf("ignore_merges %t: Encode(%q)\n got %v\nwant %v", ignore, text, got, want)
			}
		}
	}
}

// TestShortEqualsLong: the two ways to merge a piece agree, also on pieces that the splitter would not make.
func TestShortEqualsLong(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	text := prose(t)
	for _, tok := range []*Tokenizer{nano(t), published(t)} {
		for range 5000 {
			n := 2 + rng.IntN(shortPiece-1)
			start := rng.IntN(len(text) - n)
			piece := text[start : start+n]
			switch rng.IntN(3) {
			case 0:
				piece = strings.Repeat(piece[:1+rng.IntN(min(4, n))], n)[:n]
			case 1:
				piece = strings.ReplaceAll(piece, " ", "")
				if len(piece) < 2 {
					continue
				}
			}
			short, long := tok.appendShort(nil, piece), tok.appendLong(nil, piece)
			if !slices.Equal(short, long) {
				t.Fatalf("%q\nshort %v\nlong  %v", piece, short, long)
			}
		}
	}
}

// TestLongPieceSteps: a megabyte without a boundary takes a number of heap operations that is linear in its length.
func TestLongPieceSteps(t *testing.T) {
	sizes := map[string]int{"a": 1 << 20, "=": 1 << 16, " ": 1 << 16, "the": 1 << 16, "é": 1 << 16, "日": 1 << 16}
	for _, tok := range []*Tokenizer{nano(t), published(t)} {
		for unit, n := range sizes {
			piece := strings.Repeat(unit, n/len(unit))
			l := newMergeList(tok, piece)
			steps := 0
			for l.step() {
				if steps++; steps > 3*len(piece) {
					t.Fatalf("%q: more than %d steps for %d bytes", unit, 3*len(piece), len(piece))
				}
			}
		}
	}
}

// TestLongText: long runs that keep the splitter in one alternative come back whole. Quadratic work would hang here.
func TestLongText(t *testing.T) {
	tok := published(t)
	for _, unit := range []string{"a", "A", "ʰA", "=", " ", "\n", " \n", "\u0301", "1", "\xff", "'s", "/\n", "\xe2\x80"} {
		text := strings.Repeat(unit, 1<<18/len(unit))
		if tok.Decode(tok.Encode(text)) != text {
			t.Errorf("%d bytes of %q do not come back", len(text), unit)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	for _, tok := range []*Tokenizer{nano(t), published(t)} {
		for range 5000 {
			text := adversarial(rng)
			if rng.IntN(2) == 0 {
				text = garbage(rng)
			}
			ids := tok.Encode(text)
			if got := tok.Decode(ids); got != text {
				t.Fatalf("Decode(Encode(%q)) = %q", text, got)
			}
			if got := tok.Decode(tok.EncodeSpecial(text)); got != text {
				t.Fatalf("Decode(EncodeSpecial(%q)) = %q", text, got)
			}
			if i := slices.IndexFunc(ids, tok.IsSpecial); i >= 0 {
				t.Fatalf("Encode(%q) has the special token %d", text, ids[i])
			}
		}
	}
}

func TestAppendEncode(t *testing.T) {
	tok := nano(t)
	got := tok.AppendEncode([]int32{-1}, "the sea")
	if want := append([]int32{-1}, tok.Encode("the sea")...); !slices.Equal(got, want) {
		t.Errorf("AppendEncode = %v, want %v", got, want)
	}
	text := prose(t)
	dst := tok.Encode(text)
	if n := testing.AllocsPerRun(3, func() { dst = tok.AppendEncode(dst[:0], text) }); n != 0 {
		t.Errorf("AppendEncode into a slice with room makes %v allocations", n)
	}
}

func TestEncodeSpecial(t *testing.T) {
	tok := nano(t)
	id := func(piece string) int32 {
		id, ok := tok.ID(piece)
		if !ok {
			t.Fatalf("no token %q", piece)
		}
		return id
	}
	start, message, end := id("<|start|>"), id("<|message|>"), id("<|end|>")
	want := slices.Concat([]int32{start}, tok.Encode("user"), []int32{message}, tok.Encode("Hi <|there"), []int32{end, end}, tok.Encode("<|"))
	if got := tok.EncodeSpecial("<|start|>user<|message|>Hi <|there<|end|><|end|><|"); !slices.Equal(got, want) {
		t.Errorf("EncodeSpecial = %v, want %v", got, want)
	}
	if got := tok.Encode("<|start|>"); slices.ContainsFunc(got, tok.IsSpecial) || len(got) < 2 {
		t.Errorf("Encode(<|start|>) = %v", got)
	}
	if tok.IsSpecial(0) || tok.IsSpecial(-1) || !tok.IsSpecial(start) {
		t.Error("IsSpecial is wrong")
	}
}

// TestSpecialLongest: of two specials that start at the same byte the longer one wins.
func TestSpecialLongest(t *testing.T) {
	tok, err := FromRanks(strings.NewReader(byteRanks()), map[string]int32{"<a": 256, "<a>": 257, "b<": 258})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tok.EncodeSpecial("<a><ab<a>x"), []int32{257, 256, 258, 'a', '>', 'x'}; !slices.Equal(got, want) {
		t.Errorf("EncodeSpecial = %v, want %v", got, want)
	}
}
