package constrain

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp/syntax"
	"strings"
	"unicode"
	"unicode/utf8"
)

// plain are the characters that stand for themselves in a JSON string. DEL is
// among them, as RFC 8259 has it.
var plain = []runeRange{{' ', '!'}, {'#', '['}, {']', utf8.MaxRune}}

// character is one character of a JSON string, spelled in any way but as two
// escaped surrogates.
func character() fragment {
	hex := choice(bytesIn('0', '9'), bytesIn('a', 'f'), bytesIn('A', 'F'))
	surrogate := sequence(choice(literal("d"), literal("D")), bytesIn('0', '7'), hex, hex)
	other := sequence(choice(bytesIn('0', '9'), bytesIn('a', 'c'), bytesIn('A', 'C'), bytesIn('e', 'f'), bytesIn('E', 'F')), hex, hex, hex)
	var short []fragment
	for _, e := range `"\/bfnrt` {
		short = append(short, literal(string(e)))
	}
	return choice(runesIn(plain...), sequence(literal(`\`), choice(append(short, sequence(literal("u"), choice(surrogate, other)))...)))
}

// freeText is any string.
func (c *compiler) freeText() fragment {
	return c.shared("a string", func() fragment {
		return sequence(literal(`"`), repeated(character(), 0, -1), literal(`"`))
	})
}

func (c *compiler) text(path string, s *object) fragment {
	least, most, err := bounds(s, "minLength", "maxLength")
	if err != nil {
		return c.failf(path, "%v", err)
	}
	pattern, ok := s.values["pattern"]
	if !ok && least == 0 && most < 0 {
		return c.freeText()
	}
	if !ok {
		one := func(b *builder, from int32) int32 { return c.shared("a character", character)(b, from) }
		return sequence(literal(`"`), repeated(one, least, most), literal(`"`))
	}
	if least > 0 || most >= 0 {
		return c.failf(path, `keyword "pattern" beside minLength or maxLength is not supported`)
	}
	expression, ok := pattern.(string)
	if !ok {
		return c.failf(path+"/pattern", "want a string")
	}
	f, err := patternText(expression)
	if err != nil {
		return c.failf(path+"/pattern", "%v", err)
	}
	return sequence(literal(`"`), f, literal(`"`))
}

// patternText is the content of a JSON string that a regular expression
// matches somewhere.
func patternText(expression string) (fragment, error) {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil, err
	}
	re = re.Simplify()
	anywhere := repeated(spelled(runeRange{0, utf8.MaxRune}), 0, -1)
	front, back := anywhere, anywhere
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	if len(parts) > 0 && parts[0].Op == syntax.OpBeginText {
		front, parts = sequence(), parts[1:]
	}
	if n := len(parts); n > 0 && parts[n-1].Op == syntax.OpEndText {
		back, parts = sequence(), parts[:n-1]
	}
	fs := []fragment{front}
	for _, p := range parts {
		f, err := regular(p)
		if err != nil {
			return nil, err
		}
		fs = append(fs, f)
	}
	return sequence(append(fs, back)...), nil
}

// regular is what a regular expression matches.
func regular(re *syntax.Regexp) (fragment, error) {
	var subs []fragment
	for _, s := range re.Sub {
		f, err := regular(s)
		if err != nil {
			return nil, err
		}
		subs = append(subs, f)
	}
	switch re.Op {
	case syntax.OpNoMatch:
		return choice(), nil
	case syntax.OpEmptyMatch:
		return sequence(), nil
	case syntax.OpLiteral:
		return runesOf(re), nil
	case syntax.OpCharClass:
		var ranges []runeRange
		for i := 0; i+1 < len(re.Rune); i += 2 {
			ranges = append(ranges, runeRange{re.Rune[i], re.Rune[i+1]})
		}
		return spelled(ranges...), nil
	case syntax.OpAnyChar:
		return spelled(runeRange{0, utf8.MaxRune}), nil
	case syntax.OpAnyCharNotNL:
		return spelled(without([]runeRange{{0, utf8.MaxRune}}, '\n')...), nil
	case syntax.OpCapture, syntax.OpConcat:
		return sequence(subs...), nil
	case syntax.OpAlternate:
		return choice(subs...), nil
	case syntax.OpStar:
		return repeated(subs[0], 0, -1), nil
	case syntax.OpPlus:
		return repeated(subs[0], 1, -1), nil
	case syntax.OpQuest:
		return optional(subs[0]), nil
	case syntax.OpRepeat:
		return repeated(subs[0], re.Min, re.Max), nil
	}
	return nil, fmt.Errorf("%q is not supported; anchors stand at the ends only", re.String())
}

// runesOf is a literal's characters.
func runesOf(re *syntax.Regexp) fragment {
	var fs []fragment
	for _, r := range re.Rune {
		ranges := []runeRange{{r, r}}
		for other := unicode.SimpleFold(r); re.Flags&syntax.FoldCase != 0 && other != r; other = unicode.SimpleFold(other) {
			ranges = append(ranges, runeRange{other, other})
		}
		fs = append(fs, spelled(ranges...))
	}
	return sequence(fs...)
}

// spelled is one character as JSON spells it: as it is, or with the escape that
// it needs.
func spelled(ranges ...runeRange) fragment {
	var as []runeRange
	var fs []fragment
	for _, r := range ranges {
		for _, p := range plain {
			if lo, hi := max(r.lo, p.lo), min(r.hi, p.hi); lo <= hi {
				as = append(as, runeRange{lo, hi})
			}
		}
		for _, special := range "\"\\" {
			if r.lo <= special && special <= r.hi {
				fs = append(fs, literal(`\`+string(special)))
			}
		}
		for control := max(r.lo, 0); control <= min(r.hi, ' '-1); control++ {
			text, _ := json.Marshal(string(control))
			fs = append(fs, literal(string(text[1:len(text)-1])))
		}
	}
	return choice(append(fs, runesIn(as...))...)
}

// maxDigits bounds numbers, so that a float64 holds every integer exactly.
const maxDigits = 15

var digit = bytesIn('0', '9')

// number is any number.
func (c *compiler) number() fragment {
	return c.shared("a number", func() fragment {
		whole := sequence(optional(literal("-")), choice(literal("0"), sequence(bytesIn('1', '9'), repeated(digit, 0, maxDigits-1))))
		exponent := sequence(choice(literal("e"), literal("E")), optional(choice(literal("+"), literal("-"))), repeated(digit, 1, 2))
		return sequence(whole, optional(sequence(literal("."), repeated(digit, 1, maxDigits))), optional(exponent))
	})
}

var errRange = errors.New("no integer of at most 15 digits is in this range")

func (c *compiler) integer(path string, s *object) fragment {
	lo, hi := -int64(math.Pow10(maxDigits))+1, int64(math.Pow10(maxDigits))-1
	for _, k := range about["integer"] {
		v, ok := s.values[k]
		if !ok {
			continue
		}
		limit, err := integerBound(v, k)
		if err != nil {
			return c.failf(path+"/"+k, "%v", err)
		}
		switch k {
		case "minimum", "exclusiveMinimum":
			lo = max(lo, limit)
		default:
			hi = min(hi, limit)
		}
	}
	if lo > hi {
		return c.failf(path, "%v", errRange)
	}
	return between(lo, hi)
}

// integerBound returns the first integer inside of a bound.
func integerBound(v any, keyword string) (int64, error) {
	n, ok := v.(json.Number)
	f, err := n.Float64()
	if !ok || err != nil || math.Abs(f) > 1e18 {
		return 0, fmt.Errorf("want a number of at most 18 digits, got %s", encode(v))
	}
	switch keyword {
	case "minimum":
		f = math.Ceil(f)
	case "maximum":
		f = math.Floor(f)
	case "exclusiveMinimum":
		f = math.Floor(f) + 1
	default:
		f = math.Ceil(f) - 1
	}
	return int64(f), nil
}

// between is the integers from lo to hi.
func between(lo, hi int64) fragment {
	var fs []fragment
	if lo < 0 {
		fs = append(fs, sequence(literal("-"), positive(max(1, -hi), -lo)))
	}
	if hi >= 0 {
		fs = append(fs, positive(max(0, lo), hi))
	}
	return choice(fs...)
}

// positive is the integers from lo >= 0 to hi, length by length.
func positive(lo, hi int64) fragment {
	var fs []fragment
	for first, last := int64(0), int64(9); first <= hi; first, last = last+1, 10*last+9 {
		if a, b := max(lo, first), min(hi, last); a <= b {
			fs = append(fs, digits(fmt.Sprint(a), fmt.Sprint(b)))
		}
	}
	return choice(fs...)
}

// digits is the numbers between two of the same length.
func digits(a, b string) fragment {
	n := len(a)
	if n == 0 {
		return sequence()
	}
	if strings.Trim(a, "0") == "" && strings.Trim(b, "9") == "" {
		return repeated(digit, n, n)
	}
	if a[0] == b[0] {
		return sequence(literal(a[:1]), digits(a[1:], b[1:]))
	}
	fs := []fragment{
		sequence(literal(a[:1]), digits(a[1:], strings.Repeat("9", n-1))),
		sequence(literal(b[:1]), digits(strings.Repeat("0", n-1), b[1:])),
	}
	if a[0]+1 < b[0] {
		fs = append(fs, sequence(bytesIn(a[0]+1, b[0]-1), repeated(digit, n-1, n-1)))
	}
	return choice(fs...)
}
