package constrain

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/pkoukk/tiktoken-go-loader"
)

// accepts says whether an automaton has a text.
func accepts(a *Automaton, text string) bool {
	m := NewMatcher(a, testVocabulary())
	for i := range len(text) {
		if m.Accept(int32(text[i])) != nil {
			return false
		}
	}
	return m.Done()
}

func TestSchemaAllows(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ schema, yes, no string }{
		{`{"type":"integer","minimum":-12,"exclusiveMaximum":101}`, `-12|-9|-1|0|7|99|100`, `-13|-0|101|00|1.0|1e1|`},
		{`{"type":"integer","minimum":0.5,"maximum":1.5}`, `1`, `0|2`},
		{`{"type":"integer"}`, `999999999999999|-999999999999999`, `1000000000000000`},
		{`{"type":"number"}`, `0|-0.5|1e9|12.25E-3`, `.5|01|1.|+1|1e|NaN`},
		{`{"type":"string","maxLength":2}`, `""|"é日"|"\n\u00e9"`, `"abc"|"\ud800"|"\x"|"` + "\n" + `"`},
		{`{"type":"string","pattern":"a\"b"}`, `"a\"b"|"xa\"by"`, `"ab"|"a"b"`},
		{`{"type":"string","pattern":"^(?:ab)*$"}`, `""|"abab"`, `"aba"|"x"`},
		{`{"enum":["a",{"b":[1,null]}]}`, `"a"|{"b":[1,null]}`, `"b"|{"b": [1,null]}`},
		{`{"enum":["a",1],"type":"integer"}`, `1`, `"a"`},
		{`{"properties":{"a":{"const":1},"b":{"const":2}}}`, `{}|{"a":1}|{"b":2}|{"a":1,"b":2}|{ "a": 1, "b":2 }|{` + "\n  " + `"b":2` + "\n" + `}`, `{"b":2,"a":1}|{"a":1,}|{"c":3}|{"a":1 }x`},
		{`{"type":"object","properties":{"a":{"const":1}},"additionalProperties":{"const":2},"required":["a"]}`, `{"a":1}|{"a":1,"b":2,"aa":2,"":2}`, `{"b":2}|{"a":1,"a":2}|{"a":1,"b":1}`},
		{`{"items":{"type":"null"},"minItems":1,"maxItems":2}`, `[null]|[null,null]|[ null, null ]`, `[]|[null,null,null]|[null,]`},
		{`{"type":"array","maxItems":0}`, `[]`, `[1]`},
		{`true`, `{"a":[1,{"b":null}],"c":"d"}|[]|1|"x"`, `{a:1}|[1`},
		{`{"$ref":"#/$defs/t","$defs":{"t":{"type":"array","items":{"$ref":"#/$defs/t"}}}}`, `[]|[[],[[[]]]]`, `[1]|[`},
		{`{"oneOf":[{"type":"string"},{"type":["integer","null"]}]}`, `"x"|1|null`, `true`},
	} {
		a, err := Schema([]byte(tc.schema))
		if err != nil {
			t.Errorf("%s: %v", tc.schema, err)
			continue
		}
		for _, text := range strings.Split(tc.yes, "|") {
			if !accepts(a, text) {
				t.Errorf("%s refuses %s", tc.schema, text)
			}
		}
		for _, text := range strings.Split(tc.no, "|") {
			if accepts(a, text) {
				t.Errorf("%s allows %q", tc.schema, text)
			}
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	for schema, want := range map[string]string{
		``: "not JSON", `[`: "not JSON", `{}{}`: "more behind it", `1`: "#: a schema is",
		`{"properties":{"a":{"multipleOf":2}}}`:                           `#/properties/a: keyword "multipleOf" is not supported`,
		`{"items":{"not":{}}}`:                                            `#/items: keyword "not"`,
		`{"type":"number","minimum":1}`:                                   `#: keyword "minimum" is supported for "integer" only`,
		`{"oneOf":[{"type":"string"},{"maxLength":3}]}`:                   "#/oneOf: schemas 0 and 1 might both hold",
		`{"oneOf":[{"type":"integer"},{"type":"number"}]}`:                "might both hold",
		`{"allOf":[{},{}]}`:                                               "#/allOf: more than one",
		`{"anyOf":[{}],"properties":{}}`:                                  `"properties" beside "anyOf"`,
		`{"$ref":"http://x"}`:                                             "#/$ref: ",
		`{"$ref":"#/a"}`:                                                  "nothing at #/a",
		`{"$ref":"#"}`:                                                    "no text can satisfy it",
		`{"anyOf":[{"type":"null"},{"$ref":"#"}]}`:                        "begins with itself",
		`{"properties":{"a":{"$ref":"#"}},"required":["a"]}`:              "no text can satisfy it",
		`{"type":"string","pattern":"a\\b"}`:                              "#/pattern: ",
		`{"type":"string","pattern":"("}`:                                 "#/pattern: ",
		`{"type":"strange"}`:                                              "is not known",
		`{"type":"string","maxLength":1000000}`:                           "too large",
		`{"type":"string","minLength":3,"maxLength":2}`:                   "nothing has at least 3",
		`{"type":"integer","minimum":3,"maximum":2}`:                      "no integer",
		`{"properties":{},"required":["a"],"additionalProperties":false}`: `"a" is required and not allowed`,
		`{"required":"a"}`:                                                "required: want an array", `{"properties":[]}`: "want an object", `{"enum":[]}`: "not empty",
		strings.Repeat(`{"items":`, 200) + `{}` + strings.Repeat(`}`, 200): "nested more than",
		strings.Repeat(" ", maxSource+1):                                   "at most",
	} {
		a, err := Schema([]byte(schema))
		if err == nil || a != nil || !strings.HasPrefix(err.Error(), "constrain: schema: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.80s: %v, want %q", schema, err, want)
		}
	}
}

func TestGrammar(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ grammar, yes, no string }{
		{"root ::= \"a\" [b-d]+ # end\n", "ab|abcd", "a|abe"},
		{"# one\nroot ::= x |\n  y\nx ::= \"1\"{2} y?\ny ::= (\"2\"\n | [^2é]){1,2}\n", "11|112|2|23|3x", "é|222"},
		{`root ::= "\x41\n\"" [\]\-a] .`, "A\n\"]日|A\n\"-x", "A\n\"bx"},
		{"root ::= \"(\" root \")\" | \"\"", "|()|((()))", "(|())"},
		{"root ::= word (\", \" word){0,}\nword ::= [A-Z] [a-z]*", "A, Bc|Abc", "a|A,B"},
	} {
		a, err := Grammar(tc.grammar)
		if err != nil {
			t.Errorf("%q: %v", tc.grammar, err)
			continue
		}
		for _, text := range strings.Split(tc.yes, "|") {
			if !accepts(a, text) {
				t.Errorf("%q refuses %q", tc.grammar, text)
			}
		}
		for _, text := range strings.Split(tc.no, "|") {
			if accepts(a, text) {
				t.Errorf("%q allows %q", tc.grammar, text)
			}
		}
	}
	for grammar, want := range map[string]string{
		"":                               `"root" is not defined`,
		"root ::= a":                     `"a" is not defined`,
		"root ::= \"a\nb\"":              "line 1: a literal is not closed",
		"\nroot ::= [b-a]":               "line 2: a class",
		"root ::= (\"a\"":                "not closed",
		"root ::= root \"a\" | \"b\"":    "begins with itself",
		"root ::= \"a\" root":            "no text can satisfy it",
		"root ::= \"a\"{3,2}":            "want {n}",
		"root ::= \"a\"{60000}{60}":      "unexpected",
		"root ::= (\"a\"{60000}){9}":     "too large",
		"root ::= \"a\"\nroot ::= \"b\"": "defined twice",
		"root ::= \"\\q\"":               "is not known",
		"root ::= \xff":                  "not UTF-8",
		"root = 1":                       "want a rule",
	} {
		if _, err := Grammar(grammar); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", grammar, err, want)
		}
	}
}

// The masks are what trying every token says, and states that are dropped
// change nothing.
func TestMasks(t *testing.T) {
	a, err := Schema([]byte(`{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"array","items":{"type":"string","maxLength":4}},"c":true},"required":["b"]}`))
	if err != nil {
		t.Fatal(err)
	}
	v := testVocabulary()
	m := NewMatcher(a, v)
	for i, text := range []string{"", `{`, `{"`, `{"a":"x`, `{"b":["xyz`, `{"a":"","b":["wxyz`, `{"b":[],"c":[{"k":"`, `{"b":[]`, `{"b":[]}`} {
		m.Reset()
		for _, c := range []byte(text) {
			if err := m.Accept(int32(c)); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if i%2 == 1 {
				m.compact()
			}
		}
		allowed, _ := m.Allowed()
		got := slices.Clone(allowed)
		at := m.current
		for id := range int32(v.size) {
			want := m.Accept(id) == nil
			m.current = at
			if got[id/64]>>(id%64)&1 == 1 != want {
				t.Errorf("behind %s token %q: mask %t, want %t", text, m.text[id], !want, want)
			}
		}
		if n := testing.AllocsPerRun(10, func() { m.Allowed() }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// o200k is the published vocabulary.
func o200k(tb testing.TB) *Vocabulary {
	tb.Helper()
	ranks, err := tiktoken_loader.NewOfflineLoader().LoadTiktokenBpe("o200k_base.tiktoken")
	if err != nil {
		tb.Fatal(err)
	}
	pieces := make([][]byte, len(ranks))
	for piece, id := range ranks {
		pieces[id] = []byte(piece)
	}
	return newVocabulary(pieces)
}

// BenchmarkAnswer is what a token costs, of an answer whose places are new
// every time, and of one like it.
func BenchmarkAnswer(b *testing.B) {
	a, err := Schema([]byte(`{"type":"object","properties":{"name":{"type":"string"},"tags":{"type":"array","items":{"type":"string"}},"age":{"type":"integer","minimum":0,"maximum":150}},"required":["name","tags","age"]}`))
	if err != nil {
		b.Fatal(err)
	}
	v := o200k(b)
	const text = `{"name":"Ada Lovelace","tags":["mathematician","writer","a much longer text of several words, and more of them"],"age":36}`
	for _, warm := range []bool{false, true} {
		name := "places=new"
		if warm {
			name = "places=known"
		}
		b.Run(name, func(b *testing.B) {
			m := NewMatcher(a, v)
			tokens := 0
			for b.Loop() {
				if !warm {
					m.forget()
				}
				m.Reset()
				for rest := text; rest != ""; tokens++ {
					m.Allowed()
					id, n := longest(v, rest)
					if err := m.Accept(id); err != nil {
						b.Fatal(err)
					}
					rest = rest[n:]
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(tokens), "µs/token")
		})
	}
}

// longest returns the longest token that a text begins with.
func longest(v *Vocabulary, text string) (id int32, n int) {
	at := int32(0)
	for i := range len(text) {
		node := v.nodes[at]
		next := int32(-1)
		for c := node.first; c < node.first+node.count; c++ {
			if v.nodes[c].b == text[i] {
				next = c
			}
		}
		if next < 0 {
			break
		}
		if at = next; v.nodes[at].token >= 0 {
			id, n = v.nodes[at].token, i+1
		}
	}
	return id, n
}

func FuzzSchema(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"type":"string","pattern":"^x"}},"required":["a"],"additionalProperties":{"$ref":"#"}}`)
	f.Add(`{"anyOf":[{"enum":[1,"a"]},{"type":"integer","minimum":1,"maximum":1e300}],"$defs":{"a":{}}}`)
	f.Add(`{"items":{"oneOf":[{"const":1},{"type":"null"}]},"minItems":99999}`)
	v := testVocabulary()
	f.Fuzz(func(t *testing.T, schema string) {
		bounded(t, func() (*Automaton, error) { return Schema([]byte(schema)) }, v)
	})
}

func FuzzGrammar(f *testing.F) {
	f.Add("root ::= \"a\" [b-d]+ (x | \"y\"){2,3}\nx ::= . [^a] root?")
	v := testVocabulary()
	f.Fuzz(func(t *testing.T, grammar string) {
		bounded(t, func() (*Automaton, error) { return Grammar(grammar) }, v)
	})
}

// bounded checks that a description is compiled within 64 MiB, and that some
// token may follow wherever a text may not end.
func bounded(t *testing.T, compile func() (*Automaton, error), v *Vocabulary) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	a, err := compile()
	runtime.ReadMemStats(&after)
	if after.HeapAlloc > before.HeapAlloc+64<<20 {
		t.Fatalf("%d bytes were allocated", after.HeapAlloc-before.HeapAlloc)
	}
	if err != nil {
		return
	}
	m := NewMatcher(a, v)
	for range 20 {
		allowed, done := m.Allowed()
		if count(allowed) == 0 {
			if !done && m.states[m.current].configs != nil {
				t.Fatal("nothing may follow, and the text may not end")
			}
			return
		}
		for id := range int32(v.size) {
			if allowed[id/64]>>(id%64)&1 == 1 {
				if err := m.Accept(id); err != nil {
					t.Fatal(err)
				}
				break
			}
		}
	}
}
