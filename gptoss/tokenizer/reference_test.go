package tokenizer

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// The reference: the pattern as data for a backtracking matcher, and merges on strings by rescanning. It shares no code
// and no table with the package, reads tokenizer.json with encoding/json, and is slow.

// element is set{min,max}, greedy, or a look at what follows (consumes nothing) when ahead is not nil.
type element struct {
	set      func(r rune) bool
	min, max int
	ahead    func(rest []rune) bool
}

const many = 1 << 30

func in(tables ...*unicode.RangeTable) func(rune) bool {
	return func(r rune) bool { return unicode.In(r, tables...) }
}

func isEOL(r rune) bool { return r == '\r' || r == '\n' }

// referencePattern is the alternatives of pattern, without the contractions behind the first two.
var referencePattern = [][]element{
	{
		{set: func(r rune) bool { return !isEOL(r) && !unicode.IsLetter(r) && !unicode.IsNumber(r) }, max: 1},
		{set: in(unicode.Lu, unicode.Lt, unicode.Lm, unicode.Lo, unicode.M), max: many},
		{set: in(unicode.Ll, unicode.Lm, unicode.Lo, unicode.M), min: 1, max: many},
	},
	{
		{set: func(r rune) bool { return !isEOL(r) && !unicode.IsLetter(r) && !unicode.IsNumber(r) }, max: 1},
		{set: in(unicode.Lu, unicode.Lt, unicode.Lm, unicode.Lo, unicode.M), min: 1, max: many},
		{set: in(unicode.Ll, unicode.Lm, unicode.Lo, unicode.M), max: many},
	},
	{{set: unicode.IsNumber, min: 1, max: 3}},
	{
		{set: func(r rune) bool { return r == ' ' }, max: 1},
		{set: func(r rune) bool { return !unicode.IsSpace(r) && !unicode.IsLetter(r) && !unicode.IsNumber(r) }, min: 1, max: many},
		{set: func(r rune) bool { return isEOL(r) || r == '/' }, max: many},
	},
	{{set: unicode.IsSpace, max: many}, {set: isEOL, min: 1, max: many}},
	{{set: unicode.IsSpace, min: 1, max: many}, {ahead: func(rest []rune) bool { return len(rest) == 0 || unicode.IsSpace(rest[0]) }}},
	{{set: unicode.IsSpace, min: 1, max: many}},
}

// match returns the number of runes that elements match at the start of text, as a backtracking regex does, or -1.
func match(elements []element, text []rune) int {
	if len(elements) == 0 {
		return 0
	}
	e := elements[0]
	if e.ahead != nil {
		if !e.ahead(text) {
			return -1
		}
		return match(elements[1:], text)
	}
	n := 0
	for n < len(text) && n < e.max && e.set(text[n]) {
		n++
	}
	for ; n >= e.min; n-- {
		if rest := match(elements[1:], text[n:]); rest >= 0 {
			return n + rest
		}
	}
	return -1
}

func referenceContraction(text []rune) int {
	for _, c := range []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"} {
		if n := len(c); len(text) >= n && strings.EqualFold(string(text[:n]), c) {
			return n
		}
	}
	return 0
}

// referenceSplit returns the pre-tokens of text.
func referenceSplit(text string) []string {
	var runes []rune
	offsets := []int{0}
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		i += n
		runes = append(runes, r)
		offsets = append(offsets, i)
	}
	var pieces []string
	for i := 0; i < len(runes); {
		n := -1
		for alternative, elements := range referencePattern {
			if n = match(elements, runes[i:]); n > 0 {
				if alternative < 2 {
					n += referenceContraction(runes[i+n:])
				}
				break
			}
		}
		pieces = append(pieces, text[offsets[i]:offsets[i+n]])
		i += n
	}
	return pieces
}

// reference is a tokenizer.json for referenceEncode.
type reference struct {
	Model struct {
		Vocab        map[string]int32 `json:"vocab"`
		Merges       [][]string       `json:"merges"`
		IgnoreMerges bool             `json:"ignore_merges"`
	} `json:"model"`
	ranks map[string]int // "a b"
	alpha [256]string
}

func readReference(tb testing.TB, path string) *reference {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	ref := &reference{ranks: map[string]int{}}
	if err := json.Unmarshal(data, ref); err != nil {
		tb.Fatal(err)
	}
	for i, m := range ref.Model.Merges {
		ref.ranks[m[0]+" "+m[1]] = i
	}
	// bytes_to_unicode of GPT-2.
	next := rune(256)
	for b := range ref.alpha {
		if b >= '!' && b <= '~' || b >= '¡' && b <= '¬' || b >= '®' && b <= 'ÿ' {
			ref.alpha[b] = string(rune(b))
		} else {
			ref.alpha[b] = string(next)
			next++
		}
	}
	return ref
}

func (ref *reference) encode(text string) []int32 {
	var ids []int32
	for _, piece := range referenceSplit(text) {
		var parts []string
		for _, b := range []byte(piece) {
			parts = append(parts, ref.alpha[b])
		}
		if id, ok := ref.Model.Vocab[strings.Join(parts, "")]; ok && ref.Model.IgnoreMerges {
			ids = append(ids, id)
			continue
		}
		for {
			best, bestRank := -1, many
			for i := range len(parts) - 1 {
				if rank, ok := ref.ranks[parts[i]+" "+parts[i+1]]; ok && rank < bestRank {
					best, bestRank = i, rank
				}
			}
			if best < 0 {
				break
			}
			parts = slices.Replace(parts, best, best+2, parts[best]+parts[best+1])
		}
		for _, p := range parts {
			ids = append(ids, ref.Model.Vocab[p])
		}
	}
	return ids
}
