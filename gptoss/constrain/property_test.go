package constrain

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
)

var schemas = flag.Int("schemas", 400, "random schemas that TestRandomSchemas tries")

// testVocabulary is all bytes, and tokens that go across what a grammar sees
// as one thing.
func testVocabulary() *Vocabulary {
	var pieces [][]byte
	for b := range 256 {
		pieces = append(pieces, []byte{byte(b)})
	}
	for _, w := range []string{`":`, `",`, `"}`, `"]`, `{"`, `["`, `":"`, `","`, `":{"`, "}}", "]]", "},", "true", "false", "null", " \"", "\n  ",
		"abc", "ab", "the ", "12", "-1", "0.5", "é", "\xe6\x97", "日本", `\n`, `\"`, `\u00`, `"a":`, `{"a":1}`, `"b": [`, "tru", "e,"} {
		pieces = append(pieces, []byte(w))
	}
	return newVocabulary(pieces)
}

// randomSchema draws a schema of the subset.
func randomSchema(r *rand.Rand, depth int) any {
	kinds := 14
	if depth == 0 {
		kinds = 9
	}
	one := func(list ...any) any { return list[r.IntN(len(list))] }
	switch r.IntN(kinds) {
	case 0:
		return map[string]any{"type": "string"}
	case 1:
		lo := r.IntN(4)
		return map[string]any{"type": "string", "minLength": lo, "maxLength": lo + r.IntN(5)}
	case 2:
		return map[string]any{"type": "string", "pattern": one("^[a-c]{2,5}$", "^(x|yz)+$", "b", "^\"?\\\\?a", "^[^a-z]é?.$", `^\d{3}-\d{4}$`, "(?i)^ok$", "^$")}
	case 3:
		lo := r.IntN(2000) - 1000
		s := map[string]any{"type": "integer"}
		if r.IntN(3) > 0 {
			s[one("minimum", "exclusiveMinimum").(string)] = lo
		}
		if r.IntN(3) > 0 {
			s[one("maximum", "exclusiveMaximum").(string)] = lo + 2 + r.IntN(1<<r.IntN(20))
		}
		return s
	case 4:
		return map[string]any{"type": one("number", "boolean", "null", []any{"string", "null"}, []any{"integer", "boolean"})}
	case 5:
		return map[string]any{"enum": []any{"a", "b\"c", 1, nil, true, map[string]any{"k": []any{1, 2.5}}}[:1+r.IntN(6)]}
	case 6:
		return map[string]any{"const": one("x", 12, false, nil, []any{"y"})}
	case 7:
		return map[string]any{"$ref": "#/$defs/" + one("tree", "leaf", "list").(string)}
	case 8:
		return map[string]any{"enum": []any{"on", 7, "off"}, "type": "string"}
	case 9, 10:
		return randomObject(r, depth)
	case 11:
		lo := r.IntN(3)
		s := map[string]any{"type": "array", "minItems": lo, "items": randomSchema(r, depth-1)}
		if r.IntN(2) == 0 {
			s["maxItems"] = lo + r.IntN(3)
		}
		return s
	case 12:
		return map[string]any{"anyOf": []any{randomSchema(r, depth-1), randomSchema(r, depth-1), randomSchema(r, depth-1)}[:1+r.IntN(3)]}
	}
	return map[string]any{"oneOf": []any{
		map[string]any{"type": "object", "properties": map[string]any{"kind": map[string]any{"const": "p"}, "v": randomSchema(r, depth-1)}, "required": []any{"kind"}},
		map[string]any{"type": "object", "properties": map[string]any{"kind": map[string]any{"enum": []any{"q", "r"}}}, "required": []any{"kind", "v"}},
		map[string]any{"type": "array", "items": randomSchema(r, depth-1)}}}
}

func randomObject(r *rand.Rand, depth int) any {
	properties, required := map[string]any{}, []any{}
	for i := range r.IntN(5) {
		name := []string{"a", "ab", "b\"q", "long name", "ключ"}[i]
		properties[name] = randomSchema(r, depth-1)
		if r.IntN(2) == 0 {
			required = append(required, name)
		}
	}
	s := map[string]any{"type": "object", "properties": properties, "required": required}
	switch r.IntN(4) {
	case 0:
		s["additionalProperties"] = false
	case 1:
		s["additionalProperties"] = randomSchema(r, depth-1)
	case 2:
		s["additionalProperties"] = true
		s["required"] = append(required, "must")
	}
	return s
}

// withDefinitions adds what a random schema may refer to.
func withDefinitions(schema any) any {
	return map[string]any{"anyOf": []any{schema}, "$defs": map[string]any{
		"leaf": map[string]any{"type": "string", "maxLength": 3},
		"list": map[string]any{"type": "array", "items": map[string]any{"$ref": "#/$defs/tree"}, "maxItems": 2},
		"tree": map[string]any{"type": "object", "required": []any{"name"}, "additionalProperties": false, "properties": map[string]any{
			"name": map[string]any{"$ref": "#/$defs/leaf"}, "left": map[string]any{"$ref": "#/$defs/tree"}, "kids": map[string]any{"$ref": "#/$defs/list"}}},
	}}
}

// write writes a text by random choice among what is allowed; beyond some
// tokens it prefers what closes. ok is false if it did not come to an end.
func write(t *testing.T, m *Matcher, r *rand.Rand) (text string, ok bool) {
	t.Helper()
	var b strings.Builder
	var ids []int32
	m.Reset()
	for n := range 3000 {
		allowed, done := m.Allowed()
		if done && (n > 40 || r.IntN(4) == 0) {
			return b.String(), true
		}
		ids = ids[:0]
		for id := range int32(m.vocab.size) {
			if allowed[id/64]>>(id%64)&1 == 1 {
				ids = append(ids, id)
			}
		}
		if len(ids) == 0 {
			if !done {
				t.Fatalf("nothing may follow %q, which is not complete", b.String())
			}
			return b.String(), true
		}
		id := ids[r.IntN(len(ids))]
		if n > 40 {
			id = closing(m, ids, r)
		}
		if err := m.Accept(id); err != nil {
			t.Fatalf("behind %q: %v", b.String(), err)
		}
		b.Write(m.text[id])
	}
	return b.String(), false
}

// closing picks what is likely to end something.
func closing(m *Matcher, ids []int32, r *rand.Rand) int32 {
	for _, c := range []byte(`"}]`) {
		for _, id := range ids {
			if len(m.text[id]) == 1 && m.text[id][0] == c {
				return id
			}
		}
	}
	for range 20 {
		if id := ids[r.IntN(len(ids))]; len(m.text[id]) == 1 && !strings.ContainsAny(string(m.text[id]), "[{, \n\\") {
			return id
		}
	}
	return ids[r.IntN(len(ids))]
}

// Whatever the model prefers: a text that is complete is one that the schema
// validates, and one can always be completed.
func TestRandomSchemas(t *testing.T) {
	t.Parallel()
	v := testVocabulary()
	complete, empty := 0, 0
	for seed := range uint64(*schemas) {
		r := rand.New(rand.NewPCG(seed, 1))
		schema, err := json.Marshal(withDefinitions(randomSchema(r, 3)))
		if err != nil {
			t.Fatal(err)
		}
		a, err := Schema(schema)
		if err != nil {
			if strings.Contains(err.Error(), "no text can satisfy it") || strings.Contains(err.Error(), "is required and not allowed") {
				empty++
				continue
			}
			t.Fatalf("seed %d: %s: %v", seed, schema, err)
		}
		var s jsonschema.Schema
		if err := json.Unmarshal(schema, &s); err != nil {
			t.Fatal(err)
		}
		resolved, err := s.Resolve(nil)
		if err != nil {
			t.Fatalf("%s: %v", schema, err)
		}
		m := NewMatcher(a, v)
		for range 3 {
			text, ok := write(t, m, r)
			if !ok {
				continue
			}
			complete++
			var value any
			if err := json.Unmarshal([]byte(text), &value); err != nil {
				t.Fatalf("seed %d: %s allows %q: %v", seed, schema, text, err)
			}
			if err := resolved.Validate(value); err != nil {
				t.Fatalf("seed %d: %s allows %q: %v", seed, schema, text, err)
			}
		}
	}
	t.Log(fmt.Sprint(complete, " texts validated; ", empty, " schemas that nothing satisfies"))
	if complete < 2**schemas {
		t.Errorf("only %d texts of %d were completed", complete, 3**schemas)
	}
}
