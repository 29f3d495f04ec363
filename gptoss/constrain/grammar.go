package constrain

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Grammar compiles a grammar in GBNF, the notation of llama.cpp:
//
//	# A list of cities.
//	root   ::= city ("," " " city){0,4}
//	city   ::= [A-Z] [a-z]+ | "New " city
//
// A rule is name ::= alternatives, on one line or on several of which all but
// the last end in | or are inside of a group; the text is root. There
// are "literals", [classes] and [^classes] of characters, . for any character,
// (groups), | between alternatives, and ? * + {n} {n,} {n,m} behind an item.
// Literals and classes know \n \r \t \\ \" \[ \] \- \^ \xHH \uHHHH and
// \UHHHHHHHH. # begins a comment.
//
// Errors: anything else, with its line; a rule that is not defined, or twice,
// or that begins with itself; one that becomes too large.
func Grammar(text string) (*Automaton, error) {
	a, err := compileGrammar(text)
	if err != nil {
		return nil, fmt.Errorf("constrain: grammar: %w", err)
	}
	return a, nil
}

func compileGrammar(text string) (*Automaton, error) {
	if len(text) > maxSource {
		return nil, fmt.Errorf("it has %d bytes, at most %d", len(text), maxSource)
	}
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("it is not UTF-8")
	}
	p := &grammarParser{builder: newBuilder(), rest: text, rules: map[string]int32{}, defined: map[string]bool{}, line: 1}
	p.rule("root")
	for p.space(true); p.rest != "" && p.err == nil; p.space(true) {
		p.definition()
	}
	for name := range p.rules {
		if !p.defined[name] {
			p.failf("rule %q is not defined", name)
		}
	}
	return p.finish()
}

type grammarParser struct {
	*builder
	rest    string
	line    int
	depth   int
	rules   map[string]int32
	defined map[string]bool
}

func (p *grammarParser) failf(format string, args ...any) {
	p.fail(fmt.Errorf("line %d: %s", p.line, fmt.Sprintf(format, args...)))
}

// rule returns the rule of a name.
func (p *grammarParser) rule(name string) int32 {
	r, ok := p.rules[name]
	if !ok {
		r = p.declare("rule " + name)
		p.rules[name] = r
	}
	return r
}

// space skips white space and comments, line breaks only where they mean
// nothing.
func (p *grammarParser) space(lines bool) {
	for p.rest != "" {
		switch c := p.rest[0]; {
		case c == '#':
			end := strings.IndexByte(p.rest, '\n')
			if end < 0 {
				end = len(p.rest)
			}
			p.rest = p.rest[end:]
		case c == '\n' && lines:
			p.line++
			p.rest = p.rest[1:]
		case c == ' ' || c == '\t' || c == '\r':
			p.rest = p.rest[1:]
		default:
			return
		}
	}
}

// take skips a text that comes next.
func (p *grammarParser) take(text string) bool {
	rest, ok := strings.CutPrefix(p.rest, text)
	p.rest = rest
	return ok
}

func (p *grammarParser) name() string {
	n := 0
	for n < len(p.rest) {
		c := p.rest[n]
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			break
		}
		n++
	}
	name := p.rest[:n]
	p.rest = p.rest[n:]
	return name
}

func (p *grammarParser) definition() {
	name := p.name()
	p.space(false)
	if name == "" || !p.take("::=") {
		p.failf("want a rule, name ::= ..., at %.20q", p.rest)
		return
	}
	if p.defined[name] {
		p.failf("rule %q is defined twice", name)
	}
	p.defined[name] = true
	p.space(true)
	f := p.alternatives(false)
	p.define(p.rule(name), f)
}

// alternatives reads up to ) in a group, and elsewhere to the end of the line
// that does not end in |.
func (p *grammarParser) alternatives(group bool) fragment {
	if p.depth++; p.depth > maxDepth {
		p.failf("groups nested more than %d deep", maxDepth)
		return choice()
	}
	defer func() { p.depth-- }()
	var fs, items []fragment
	for p.err == nil {
		p.space(group)
		switch {
		case p.take("|"):
			fs, items = append(fs, sequence(items...)), nil
			p.space(true)
		case p.rest == "", group && p.rest[0] == ')', !group && p.rest[0] == '\n':
			return choice(append(fs, sequence(items...))...)
		default:
			items = append(items, p.item())
		}
	}
	return choice()
}

// item reads one item and what says how often.
func (p *grammarParser) item() fragment {
	var f fragment
	switch {
	case p.take(`"`):
		f = literal(p.quoted())
	case p.take("["):
		f = p.class()
	case p.take("."):
		f = runesIn(runeRange{0, utf8.MaxRune})
	case p.take("("):
		if f = p.alternatives(true); !p.take(")") {
			p.failf("a ( is not closed")
		}
	default:
		name := p.name()
		if name == "" {
			p.failf("unexpected %.20q", p.rest)
			return choice()
		}
		f = call(p.rule(name))
	}
	switch {
	case p.take("?"):
		return optional(f)
	case p.take("*"):
		return repeated(f, 0, -1)
	case p.take("+"):
		return repeated(f, 1, -1)
	case p.take("{"):
		return p.times(f)
	}
	return f
}

// times reads n}, n,} or n,m}.
func (p *grammarParser) times(f fragment) fragment {
	end := strings.IndexByte(p.rest, '}')
	if end < 0 {
		p.failf("a { is not closed")
		return f
	}
	low, high, two := strings.Cut(p.rest[:end], ",")
	p.rest = p.rest[end+1:]
	least, err := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
	most := int(least)
	if high = strings.TrimSpace(high); two && high == "" {
		most = -1
	} else if two && err == nil {
		var n uint64
		n, err = strconv.ParseUint(high, 10, 16)
		most = int(n)
	}
	if err != nil || most >= 0 && most < int(least) {
		p.failf("want {n}, {n,} or {n,m} with n at most m, and below 65536")
		return f
	}
	return repeated(f, int(least), most)
}

// quoted reads a literal behind its first quotation mark.
func (p *grammarParser) quoted() string {
	var b strings.Builder
	for p.err == nil {
		if p.take(`"`) {
			return b.String()
		}
		r, raw, ok := p.character()
		switch {
		case !ok:
			p.failf("a literal is not closed")
		case raw:
			b.WriteByte(byte(r))
		default:
			b.WriteRune(r)
		}
	}
	return ""
}

// class reads a class behind its bracket.
func (p *grammarParser) class() fragment {
	negative := p.take("^")
	var ranges []runeRange
	for p.err == nil && !p.take("]") {
		lo, _, ok := p.character()
		hi := lo
		if ok && strings.HasPrefix(p.rest, "-") && !strings.HasPrefix(p.rest, "-]") {
			p.take("-")
			hi, _, ok = p.character()
		}
		if !ok || hi < lo {
			p.failf("a class that is not closed, or has a range that runs backwards")
		}
		ranges = append(ranges, runeRange{lo, hi})
	}
	if negative {
		ranges = complement(ranges)
	}
	return runesIn(ranges...)
}

// character reads one character of a literal or class. raw says that it is a
// byte, of \xHH above 7F.
func (p *grammarParser) character() (r rune, raw, ok bool) {
	if p.rest == "" || p.rest[0] == '\n' {
		return 0, false, false
	}
	if !p.take(`\`) {
		r, n := utf8.DecodeRuneInString(p.rest)
		p.rest = p.rest[n:]
		return r, false, true
	}
	if p.rest == "" {
		return 0, false, false
	}
	c := p.rest[0]
	p.rest = p.rest[1:]
	if at := strings.IndexByte("nrt", c); at >= 0 {
		return rune("\n\r\t"[at]), false, true
	}
	if strings.IndexByte(`\"[]-^`, c) >= 0 {
		return rune(c), false, true
	}
	n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
	if n == 0 || len(p.rest) < n {
		p.failf(`\%c is not known`, c)
		return 0, false, false
	}
	v, err := strconv.ParseUint(p.rest[:n], 16, 32)
	if err != nil || c != 'x' && !utf8.ValidRune(rune(v)) {
		p.failf(`\%c%s is no character`, c, p.rest[:n])
		return 0, false, false
	}
	p.rest = p.rest[n:]
	return rune(v), c == 'x' && v >= utf8.RuneSelf, true
}
