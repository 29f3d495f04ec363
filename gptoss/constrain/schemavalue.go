package constrain

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// gap is the white space that may stand between two parts: none, a space, or a
// line break and an indentation.
func (c *compiler) gap() fragment {
	return c.shared("white space", func() fragment {
		return choice(sequence(), literal(" "), sequence(literal("\n"), repeated(literal(" "), 0, 40)))
	})
}

// anything is any JSON.
func (c *compiler) anything() fragment {
	return c.shared("any value", func() fragment {
		any := func(b *builder, from int32) int32 { return call(c.rules["any value"])(b, from) }
		return choice(c.freeText(), c.number(), literal("true"), literal("false"), literal("null"),
			c.list(any, 0, -1), c.freeObject(any))
	})
}

// freeObject is an object of any keys.
func (c *compiler) freeObject(value fragment) fragment {
	pair := sequence(c.freeText(), literal(":"), optional(literal(" ")), value)
	return sequence(literal("{"), c.gap(), optional(sequence(pair, repeated(sequence(literal(","), c.gap(), pair), 0, -1))), c.gap(), literal("}"))
}

// list is an array of least to most values.
func (c *compiler) list(value fragment, least, most int) fragment {
	empty := sequence(literal("["), c.gap(), literal("]"))
	if most == 0 {
		return empty
	}
	rest := -1
	if most > 0 {
		rest = most - 1
	}
	full := sequence(literal("["), c.gap(), value,
		repeated(sequence(literal(","), c.gap(), value), max(0, least-1), rest), c.gap(), literal("]"))
	if least > 0 {
		return full
	}
	return choice(empty, full)
}

func (c *compiler) array(path string, s *object) fragment {
	least, most, err := bounds(s, "minItems", "maxItems")
	if err != nil {
		return c.failf(path, "%v", err)
	}
	value := c.anything()
	if items, ok := s.values["items"]; ok {
		value = c.value(path+"/items", items)
	}
	return c.list(value, least, most)
}

// property is one that an object may have.
type property struct {
	key      fragment
	value    fragment
	required bool
}

func (c *compiler) object(path string, s *object) fragment {
	declared, ok := s.values["properties"].(*object)
	if _, given := s.values["properties"]; given && !ok {
		return c.failf(path+"/properties", "want an object")
	}
	if declared == nil {
		declared = &object{}
	}
	required, err := namesOf(s, "required")
	if err != nil {
		return c.failf(path, "%v", err)
	}
	more, open := s.values["additionalProperties"]
	if !open && len(declared.keys) == 0 {
		more, open = true, true
	}
	if more == false {
		open = false
	}
	wanted, said := map[string]bool{}, map[string]bool{}
	for _, name := range required {
		wanted[name] = true
	}
	var ps []property
	names := slices.Clone(declared.keys)
	for _, name := range declared.keys {
		ps = append(ps, property{literal(encode(name)), c.value(path+"/properties/"+escapePointer(name), declared.values[name]), wanted[name]})
		said[name] = true
	}
	for _, name := range required {
		if said[name] {
			continue
		}
		names, said[name] = append(names, name), true
		switch {
		case open:
			ps = append(ps, property{literal(encode(name)), c.value(path+"/additionalProperties", more), true})
		case more == false:
			return c.failf(path, "%q is required and not allowed", name)
		default:
			ps = append(ps, property{literal(encode(name)), c.anything(), true})
		}
	}
	var others fragment
	if open {
		others = sequence(otherKey(names), literal(":"), optional(literal(" ")), c.value(path+"/additionalProperties", more))
	}
	return sequence(literal("{"), c.gap(), c.members(ps, others), literal("}"))
}

// namesOf reads an array of strings.
func namesOf(s *object, keyword string) (names []string, err error) {
	v, given := s.values[keyword]
	list, ok := v.([]any)
	for _, e := range list {
		name, isText := e.(string)
		ok = ok && isText
		names = append(names, name)
	}
	if given && !ok {
		return nil, fmt.Errorf("%s: want an array of strings", keyword)
	}
	return names, nil
}

// members is the properties in order, and any number of others behind them.
// There are two nodes for every property: before it there was none, or one.
func (c *compiler) members(ps []property, others fragment) fragment {
	return func(b *builder, none int32) int32 {
		some := b.node()
		next := sequence(literal(","), c.gap())
		for _, p := range ps {
			if b.err != nil {
				return some
			}
			pair := sequence(p.key, literal(":"), optional(literal(" ")), p.value)
			first, after := b.node(), b.node()
			b.skip(pair(b, none), after)
			b.skip(pair(b, next(b, some)), after)
			if !p.required {
				b.skip(none, first)
				b.skip(some, after)
			}
			none, some = first, after
		}
		if others != nil {
			b.skip(others(b, none), some)
			b.skip(others(b, next(b, some)), some)
		}
		end := b.node()
		b.skip(c.gap()(b, some), end)
		b.skip(none, end) // the gap behind { is enough
		return end
	}
}

// otherKey is a string without escapes that is none of the names.
func otherKey(names []string) fragment {
	return func(b *builder, from int32) int32 {
		quote := literal(`"`)
		end := b.node()
		keyRest(b, quote(b, from), end, names)
		return quote(b, end)
	}
}

// keyRest adds the texts that are none of the names from a node to another.
func keyRest(b *builder, from, end int32, names []string) {
	if b.err != nil {
		return
	}
	next := map[rune][]string{}
	taken := false // the text so far is a name
	for _, name := range names {
		if name == "" {
			taken = true
			continue
		}
		r, n := utf8.DecodeRuneInString(name)
		next[r] = append(next[r], name[n:])
	}
	if !taken {
		b.skip(from, end)
	}
	var firsts []rune
	for r := range next {
		firsts = append(firsts, r)
	}
	slices.Sort(firsts)
	b.skip(repeated(runesIn(plain...), 0, -1)(b, runesIn(without(plain, firsts...)...)(b, from)), end)
	for _, r := range firsts {
		if !slices.ContainsFunc(plain, func(p runeRange) bool { return p.lo <= r && r <= p.hi }) {
			continue // such a name needs escapes, which these keys do not have
		}
		keyRest(b, runesIn(runeRange{r, r})(b, from), end, next[r])
	}
}

// escapePointer spells a key in a JSON pointer.
func escapePointer(key string) string {
	out := make([]byte, 0, len(key))
	for i := range len(key) {
		switch key[i] {
		case '~':
			out = append(out, "~0"...)
		case '/':
			out = append(out, "~1"...)
		default:
			out = append(out, key[i])
		}
	}
	return string(out)
}

// exclude says whether two schemas visibly never hold for the same value: they
// are of other types, or of other constants, or both require a property whose
// schemas exclude each other.
func (c *compiler) exclude(a, b any) bool { return c.excludes(a, b, maxDepth) }

func (c *compiler) excludes(a, b any, depth int) bool {
	x, y := c.deref(a), c.deref(b)
	if x == nil || y == nil || depth == 0 {
		return false
	}
	xs, xok := constants(x)
	ys, yok := constants(y)
	if xok && yok {
		return !slices.ContainsFunc(xs, func(s string) bool { return slices.Contains(ys, s) })
	}
	xt, _ := typesOf(x)
	yt, _ := typesOf(y)
	overlap := func(t string) bool {
		return slices.Contains(yt, t) || t == "integer" && slices.Contains(yt, "number") || t == "number" && slices.Contains(yt, "integer")
	}
	if xt != nil && yt != nil && !slices.ContainsFunc(xt, overlap) {
		return true
	}
	if !slices.Equal(xt, []string{"object"}) || !slices.Equal(yt, []string{"object"}) {
		return false
	}
	xp, _ := x.values["properties"].(*object)
	yp, _ := y.values["properties"].(*object)
	if xp == nil || yp == nil {
		return false
	}
	return slices.ContainsFunc(xp.keys, func(k string) bool {
		other, ok := yp.values[k]
		return ok && requires(x, k) && requires(y, k) && c.excludes(xp.values[k], other, depth-1)
	})
}

// deref follows references; nil is what is no object.
func (c *compiler) deref(v any) *object {
	for range maxDepth {
		s, _ := v.(*object)
		if s == nil {
			return nil
		}
		target, ok := s.values["$ref"].(string)
		if !ok {
			return s
		}
		if len(target) == 0 || target[0] != '#' {
			return nil
		}
		var err error
		if v, err = c.resolve(target[1:]); err != nil {
			return nil
		}
	}
	return nil
}

func requires(s *object, key string) bool {
	list, _ := s.values["required"].([]any)
	return slices.Contains(list, any(key))
}

// constants are the strings, booleans and nulls that a schema is limited to.
func constants(s *object) (values []string, ok bool) {
	list, ok := s.values["enum"].([]any)
	if v, single := s.values["const"]; single {
		list, ok = []any{v}, true
	}
	for _, v := range list {
		switch v.(type) {
		case string, bool, nil:
			values = append(values, fmt.Sprintf("%T", v)+encode(v))
		default:
			return nil, false
		}
	}
	return values, ok
}
