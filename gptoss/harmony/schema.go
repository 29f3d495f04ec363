package harmony

import (
	"slices"
	"strings"
)

// typescript returns the type of the values that a JSON Schema allows, as the
// reference writes it for the model, with its quirks: what it does not know,
// anyOf and $ref among it, is any. Lines after the first are indented.
//
// Source: openai/harmony src/encoding.rs json_schema_to_typescript.
func typescript(schema any, indent string) string {
	s := of(schema)
	if variants, ok := s.array("oneOf"); ok {
		var b strings.Builder
		for _, v := range variants {
			b.WriteString("\n" + indent + " | " + nullable(v, indent+"   ") + variantComment(of(v), true, compact))
		}
		return b.String()
	}
	if types, ok := s.array("type"); ok {
		if names := typeNames(types); len(names) > 0 {
			return strings.Join(names, " | ")
		}
	}
	switch name, _ := s.text("type"); name {
	case "object":
		return objectType(s, indent)
	case "string":
		if quoted := enumValues(s); len(quoted) > 0 {
			return strings.Join(quoted, " | ")
		}
		return "string"
	case "number", "integer":
		return "number"
	case "boolean":
		return "boolean"
	case "array":
		if items, ok := s.get("items"); ok {
			return typescript(items, indent) + "[]"
		}
		return "Array<any>"
	}
	return "any"
}

// nullable returns the type of a schema, with null if the schema says so in
// OpenAPI's way.
func nullable(schema any, indent string) string {
	t := typescript(schema, indent)
	if null, _ := of(schema).get("nullable"); null == true && !strings.Contains(t, "null") {
		t += " | null"
	}
	return t
}

// typeNames returns the alternatives of a type that is an array.
func typeNames(types []any) (names []string) {
	for _, t := range types {
		switch name, ok := t.(string); {
		case name == "integer":
			names = append(names, "number")
		case ok:
			names = append(names, name)
		}
	}
	return names
}

// enumValues returns the strings that an enum allows, quoted.
func enumValues(s *object) (quoted []string) {
	values, _ := s.array("enum")
	for _, v := range values {
		if text, ok := v.(string); ok {
			quoted = append(quoted, `"`+text+`"`)
		}
	}
	return quoted
}

func objectType(s *object, indent string) string {
	var b strings.Builder
	if description, ok := s.text("description"); ok {
		b.WriteString(indent + "// " + description + "\n")
	}
	b.WriteString("{\n")
	required, _ := s.array("required")
	properties, _ := s.get("properties")
	if p := of(properties); p != nil {
		for _, name := range p.keys {
			key := name
			if !slices.Contains(required, any(name)) {
				key += "?"
			}
			writeProperty(&b, key, p.values[name], indent)
		}
	}
	b.WriteString(indent + "}")
	return b.String()
}

func writeProperty(b *strings.Builder, key string, schema any, indent string) {
	s := of(schema)
	if title, ok := s.text("title"); ok {
		b.WriteString(indent + "// " + title + "\n" + indent + "//\n")
	}
	description, described := s.text("description")
	if described && !s.has("oneOf") {
		b.WriteString(indent + "// " + description + "\n")
	}
	if examples, _ := s.array("examples"); len(examples) > 0 {
		b.WriteString(indent + "// Examples:\n")
		for _, e := range examples {
			if text, ok := e.(string); ok {
				b.WriteString(indent + `// - "` + text + "\"\n")
			}
		}
	}
	if variants, ok := s.array("oneOf"); ok {
		writeVariants(b, key, s, variants, indent)
		return
	}
	b.WriteString(indent + key + ": " + nullable(schema, indent+"    ") + ",")
	if value, ok := defaultValue(s, raw); ok && !s.has("oneOf") {
		b.WriteString(" // " + value)
	}
	b.WriteByte('\n')
}

// writeVariants writes a property with alternatives, a line each. The first
// one's description is not repeated where the property has one of its own.
func writeVariants(b *strings.Builder, key string, s *object, variants []any, indent string) {
	description, described := s.text("description")
	above := described
	if described && len(variants) > 0 {
		first, ok := of(variants[0]).text("description")
		above = !ok || first != description
	}
	if above {
		b.WriteString(indent + "// " + description + "\n")
	}
	if value, ok := defaultValue(s, raw); ok {
		b.WriteString(indent + "// " + value + "\n")
	}
	b.WriteString(indent + key + ":\n")
	for i, variant := range variants {
		v := of(variant)
		own, _ := v.text("description")
		repeated := described && own == description || above && i == 0
		comment := variantComment(v, !repeated, raw)
		b.WriteString(indent + " | " + nullable(variant, indent+"   ") + comment + "\n")
	}
	b.WriteString(indent + ",\n")
}

// variantComment returns what follows the type of an alternative: its
// description, if it is to be described, and its default.
func variantComment(v *object, describe bool, enumDefault func(any) string) string {
	var parts []string
	if description, ok := v.text("description"); ok && describe {
		parts = append(parts, description)
	}
	if value, ok := defaultValue(v, enumDefault); ok {
		parts = append(parts, value)
	}
	if len(parts) == 0 {
		return ""
	}
	return " // " + strings.Join(parts, " ")
}

// defaultValue returns "default: " and the value. A string is in quotation
// marks but not escaped; as the default of an enum it is what enumDefault makes
// of it.
func defaultValue(s *object, enumDefault func(any) string) (string, bool) {
	value, ok := s.get("default")
	if !ok {
		return "", false
	}
	text, isText := value.(string)
	switch values, _ := s.array("enum"); {
	case !isText:
		return "default: " + compact(value), true
	case len(values) > 0:
		return "default: " + enumDefault(value), true
	}
	return `default: "` + text + `"`, true
}

// raw returns a string as it is.
func raw(value any) string { return value.(string) }
