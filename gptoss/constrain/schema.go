package constrain

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Schema compiles a JSON Schema. What it allows is JSON that the schema
// validates; it does not allow all of that: properties come in the schema's
// order, what is not declared is left out unless additionalProperties asks for
// it, a schema without "type" is of the type that its keywords are about, and
// white space is that of compact or indented JSON.
//
// Known are type, properties, required, additionalProperties, enum, const,
// items, minItems, maxItems, minLength, maxLength, pattern, minimum, maximum,
// exclusiveMinimum and exclusiveMaximum of integers, anyOf, oneOf of
// alternatives that visibly exclude each other, allOf of one, $ref within the
// schema, $defs, and what only describes. A pattern is of Go's regular
// expressions, without word boundaries, anchored at most at its ends.
//
// Errors: JSON that is no schema; a keyword that is not known, with its path; a
// schema that nothing satisfies, or that begins with itself; one that becomes
// too large.
//
// Source: JSON Schema 2020-12.
func Schema(schema []byte) (*Automaton, error) {
	a, err := compileSchema(schema)
	if err != nil {
		return nil, fmt.Errorf("constrain: schema: %w", err)
	}
	return a, nil
}

func compileSchema(schema []byte) (*Automaton, error) {
	if len(schema) > maxSource {
		return nil, fmt.Errorf("it has %d bytes, at most %d", len(schema), maxSource)
	}
	root, err := parseJSON(schema)
	if err != nil {
		return nil, err
	}
	c := &compiler{builder: newBuilder(), root: root, rules: map[string]int32{}}
	whole := c.declare("the schema")
	c.define(whole, call(c.rule("#", root)))
	return c.finish()
}

// compiler compiles the schemas of a document.
type compiler struct {
	*builder
	root  any
	rules map[string]int32 // by path, or by what many have in common
	depth int
}

func (c *compiler) failf(path, format string, args ...any) fragment {
	c.fail(fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
	return choice()
}

// shared returns a rule that any number of schemas have in common.
func (c *compiler) shared(name string, f func() fragment) fragment {
	r, ok := c.rules[name]
	if !ok {
		r = c.declare(name)
		c.rules[name] = r
		c.define(r, f())
	}
	return call(r)
}

// rule returns the rule of the schema at a path.
func (c *compiler) rule(path string, schema any) int32 {
	if r, ok := c.rules[path]; ok {
		return r
	}
	r := c.declare(path)
	c.rules[path] = r
	if c.err != nil {
		return r
	}
	if c.depth++; c.depth > 4*maxDepth {
		c.failf(path, "nested too deep")
		return r
	}
	c.define(r, c.schema(path, schema))
	c.depth--
	return r
}

func (c *compiler) value(path string, schema any) fragment { return call(c.rule(path, schema)) }

// Keywords, by what they are about. Those of describe say nothing about what
// is valid.
var (
	describe = []string{"title", "description", "default", "examples", "$schema", "$id", "$comment", "$defs", "definitions",
		"deprecated", "readOnly", "writeOnly", "format", "nullable"}
	about = map[string][]string{
		"object":  {"properties", "required", "additionalProperties"},
		"array":   {"items", "minItems", "maxItems"},
		"string":  {"minLength", "maxLength", "pattern"},
		"integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
	}
	whole = []string{"enum", "const", "anyOf", "oneOf", "allOf", "$ref"}
	types = []string{"object", "array", "string", "integer", "number", "boolean", "null"}
)

// schema compiles one schema.
func (c *compiler) schema(path string, schema any) fragment {
	switch s := schema.(type) {
	case bool:
		if s {
			return c.anything()
		}
		return choice()
	case *object:
		return c.described(path, s)
	}
	return c.failf(path, "a schema is an object, true or false")
}

func (c *compiler) described(path string, s *object) fragment {
	var given []string // that say what is valid, but for type
	for _, k := range s.keys {
		known := k == "type" || slices.Contains(describe, k) || slices.Contains(whole, k)
		for _, ks := range about {
			known = known || slices.Contains(ks, k)
		}
		if !known || k == "nullable" && s.values[k] == true {
			return c.failf(path, "keyword %q is not supported", k)
		}
		if k != "type" && !slices.Contains(describe, k) {
			given = append(given, k)
		}
	}
	for _, k := range whole {
		v, ok := s.values[k]
		if !ok {
			continue
		}
		if len(given) > 1 {
			other := given[0]
			if other == k {
				other = given[1]
			}
			return c.failf(path, "keyword %q beside %q is not supported", other, k)
		}
		_, typed := s.values["type"]
		if typed && k != "enum" && k != "const" {
			return c.failf(path, `keyword "type" beside %q is not supported; put it into the alternatives`, k)
		}
		return c.combined(path, k, v, s)
	}
	return c.typed(path, s, given)
}

// maxOneOf bounds schemas that are compared in pairs.
const maxOneOf = 256

// combined compiles a keyword that says all by itself.
func (c *compiler) combined(path, keyword string, v any, s *object) fragment {
	list, isList := v.([]any)
	at := path + "/" + keyword
	switch keyword {
	case "const":
		return c.enum(at, []any{v}, s)
	case "$ref":
		return c.reference(at, v)
	}
	if !isList || len(list) == 0 {
		return c.failf(at, "want an array that is not empty")
	}
	switch keyword {
	case "enum":
		return c.enum(at, list, s)
	case "allOf":
		if len(list) > 1 {
			return c.failf(at, "more than one schema is not supported")
		}
	case "oneOf":
		if len(list) > maxOneOf {
			return c.failf(at, "more than %d schemas are not supported", maxOneOf)
		}
		for i := range list {
			for j := range i {
				if !c.exclude(list[i], list[j]) {
					return c.failf(at, "schemas %d and %d might both hold, which is not supported; use anyOf, or tell them apart by type or by a required property's const", j, i)
				}
			}
		}
	}
	var alternatives []fragment
	for i, e := range list {
		alternatives = append(alternatives, c.value(at+"/"+strconv.Itoa(i), e))
	}
	return choice(alternatives...)
}

// enum compiles values as they are, of the types that are allowed.
func (c *compiler) enum(path string, values []any, s *object) fragment {
	allowed, err := typesOf(s)
	if err != nil {
		return c.failf(path, "%v", err)
	}
	var fs []fragment
	for _, v := range values {
		if allowed == nil || slices.ContainsFunc(allowed, func(t string) bool { return isOf(v, t) }) {
			fs = append(fs, literal(encode(v)))
		}
	}
	return choice(fs...)
}

// isOf says whether a value is of a type.
func isOf(v any, t string) bool {
	switch v := v.(type) {
	case nil:
		return t == "null"
	case bool:
		return t == "boolean"
	case string:
		return t == "string"
	case json.Number:
		_, err := strconv.ParseInt(v.String(), 10, 64)
		return t == "number" || t == "integer" && err == nil
	case []any:
		return t == "array"
	}
	return t == "object"
}

// typesOf returns what "type" says; nil: nothing.
func typesOf(s *object) ([]string, error) {
	v, ok := s.values["type"]
	if !ok {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	names := []string{}
	for _, e := range list {
		name, _ := e.(string)
		if !slices.Contains(types, name) {
			return nil, fmt.Errorf("type %s is not known", encode(e))
		}
		names = append(names, name)
	}
	return names, nil
}

// reference compiles a $ref to a place in the document.
func (c *compiler) reference(path string, v any) fragment {
	target, ok := v.(string)
	pointer, local := strings.CutPrefix(target, "#")
	if !ok || !local || pointer != "" && pointer[0] != '/' {
		return c.failf(path, "%s is not supported; want #, or #/ and a path in the schema", encode(v))
	}
	at, err := c.resolve(pointer)
	if err != nil {
		return c.failf(path, "%v", err)
	}
	return c.value("#"+pointer, at)
}

// resolve follows a JSON pointer.
func (c *compiler) resolve(pointer string) (any, error) {
	at := c.root
	if pointer == "" {
		return at, nil
	}
	for _, key := range strings.Split(pointer[1:], "/") {
		key = strings.NewReplacer("~1", "/", "~0", "~").Replace(key)
		var ok bool
		switch v := at.(type) {
		case *object:
			at, ok = v.values[key]
		case []any:
			i, err := strconv.Atoi(key)
			if ok = err == nil && i >= 0 && i < len(v); ok {
				at = v[i]
			}
		}
		if !ok {
			return nil, fmt.Errorf("there is nothing at #%s", pointer)
		}
	}
	return at, nil
}

// typed compiles a schema by its types, or by those that its keywords are about.
func (c *compiler) typed(path string, s *object, given []string) fragment {
	names, err := typesOf(s)
	if err != nil {
		return c.failf(path, "%v", err)
	}
	if names == nil {
		for _, t := range types {
			if slices.ContainsFunc(given, func(k string) bool { return slices.Contains(about[t], k) }) {
				names = append(names, t)
			}
		}
	}
	if names == nil {
		return c.anything()
	}
	var fs []fragment
	for _, name := range names {
		fs = append(fs, c.one(path, name, s))
	}
	return choice(fs...)
}

// one compiles a schema for one type.
func (c *compiler) one(path, name string, s *object) fragment {
	switch name {
	case "object":
		return c.object(path, s)
	case "array":
		return c.array(path, s)
	case "string":
		return c.text(path, s)
	case "integer":
		return c.integer(path, s)
	case "number":
		for _, k := range about["integer"] {
			if _, ok := s.values[k]; ok {
				return c.failf(path, `keyword %q is supported for "integer" only`, k)
			}
		}
		return c.number()
	case "boolean":
		return choice(literal("true"), literal("false"))
	}
	return literal("null")
}

// bound reads a count; missing says that there is none.
func bound(s *object, keyword string, missing int) (int, error) {
	v, ok := s.values[keyword]
	if !ok {
		return missing, nil
	}
	n, _ := v.(json.Number)
	i, err := strconv.Atoi(n.String())
	if err != nil || i < 0 {
		return 0, fmt.Errorf("%s is %s, want a count", keyword, encode(v))
	}
	return i, nil
}

// bounds reads the least and the most of a count; most is -1 for any.
func bounds(s *object, min, max string) (least, most int, err error) {
	if least, err = bound(s, min, 0); err != nil {
		return 0, 0, err
	}
	if most, err = bound(s, max, -1); err != nil {
		return 0, 0, err
	}
	if most >= 0 && most < least {
		return 0, 0, errors.New("nothing has at least " + strconv.Itoa(least) + " and at most " + strconv.Itoa(most))
	}
	return least, most, nil
}
