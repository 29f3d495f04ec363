package tokenizer

import (
	"math/rand/v2"
	"strings"
	"unicode"
)

// fragments are what the alternatives of the pattern decide on.
var fragments = strings.Split("a|b|the|THE|Hello|WORLD|iPhone|don't|'s|'S|'ſ|'re|'VE|'ll|'LL|'d|'m|'T|'x|'|''| | |  |   |\n|\r|\r\n|\n\n|"+
	"\t|\u00a0|\u2003|\u3000|\u0085|\v|0|12|345|6789|٣|Ⅷ|½|²|.|...|/|//|===|!?|_|-|#|<|start|message|>|é|e\u0301|\u0301|"+
	"\u0301\u0301|ǅ|ǅa|ʰ|ʰA|Aʰ|AʰB|ªº|日本語|한국어|ไทย|عربي|हिन्दी|Привет|ΑΒΓ|αβγ|💖|👨‍👩‍👧|🇩🇪|𝒳|𐐀|𐐨|𝟙|\u200d|\u200b|\ufffd|ſ|K|İ|ß|ẞ", "|")

// adversarial returns valid UTF-8 that mixes fragments with runs and random runes.
func adversarial(rng *rand.Rand) string {
	var b strings.Builder
	for range 1 + rng.IntN(24) {
		switch rng.IntN(8) {
		case 0:
			b.WriteString(strings.Repeat(fragments[rng.IntN(len(fragments))], 1+rng.IntN(12)))
		case 1:
			b.WriteRune(randomRune(rng))
		default:
			b.WriteString(fragments[rng.IntN(len(fragments))])
		}
	}
	return b.String()
}

// randomRune returns a rune of any plane, most often one with a class.
func randomRune(rng *rand.Rand) rune {
	for {
		r := rng.Int32N(unicode.MaxRune + 1)
		if rng.IntN(2) == 0 {
			r %= 0x3000
		}
		if r < 0xd800 || r > 0xdfff {
			return r
		}
	}
}

// garbage returns bytes that are mostly not UTF-8.
func garbage(rng *rand.Rand) string {
	b := []byte(adversarial(rng))
	for range 1 + len(b)/4 {
		b[rng.IntN(len(b))] = byte(rng.Uint32())
	}
	return string(b)
}
