package harmony

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestSchemas: types are written as OpenAI's library writes them.
func TestSchemas(t *testing.T) {
	var cases []struct {
		Parameters json.RawMessage
		Rendered   string
	}
	readJSON(t, "schemas.json", &cases)
	if len(cases) != 80 {
		t.Fatalf("%d schemas, want 80", len(cases))
	}
	for _, c := range cases {
		tool := Tool{Parameters: c.Parameters}
		if got, err := tool.argument(); err != nil || got != "_: "+c.Rendered {
			t.Errorf("%s: error %v\n got %q\nwant %q", c.Parameters, err, got, c.Rendered)
		}
	}
}

func TestNoParameters(t *testing.T) {
	for _, parameters := range []string{"", "null", " null\n"} {
		tool := Tool{Parameters: json.RawMessage(parameters)}
		if got, err := tool.argument(); err != nil || got != "" {
			t.Errorf("%q: %q, %v", parameters, got, err)
		}
	}
}

func TestBadParameters(t *testing.T) {
	for parameters, want := range map[string]string{
		"{":                           "unexpected end",
		`{"a": 1} x`:                  "invalid character 'x'",
		"[1,]":                        "invalid character ']'",
		strings.Repeat("[", 100000):   "", // encoding/json's own limit
		nested(maxJSONDepth):          "nested more than 127 deep",
		nested(10 * maxJSONDepth):     "nested more than 127 deep",
		`{"a": ` + nested(127) + "}":  "nested more than 127 deep",
		`{"a": "\ud800", "b": "\x00"`: "invalid",
	} {
		tool := Tool{Parameters: json.RawMessage(parameters)}
		if _, err := tool.argument(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error %v, want %q", parameters, err, want)
		}
	}
	tool := Tool{Parameters: json.RawMessage(nested(maxJSONDepth - 1))}
	if _, err := tool.argument(); err != nil {
		t.Errorf("127 deep: %v", err)
	}
}

func nested(depth int) string {
	return strings.Repeat("[", depth) + strings.Repeat("]", depth)
}

// TestNumber: numbers as Rust's serde_json prints them. The first column is
// what it reads.
func TestNumber(t *testing.T) {
	for literal, want := range map[string]string{
		"0": "0", "-1": "-1", "9223372036854775807": "9223372036854775807", "18446744073709551615": "18446744073709551615",
		"18446744073709551616": "1.8446744073709552e19", "-9223372036854775809": "-9.223372036854776e18",
		"-0": "-0.0", "0.0": "0.0", "0e5": "0.0", "1.0": "1.0", "10.0": "10.0", "1e2": "100.0", "1E+2": "100.0", "0.10": "0.1",
		"1e15": "1000000000000000.0", "1e16": "1e16", "1.5e15": "1500000000000000.0", "12345678901234567.0": "1.2345678901234568e16",
		"123456.789": "123456.789", "0.0001": "0.0001", "1e-5": "0.00001", "1e-6": "1e-6", "1.25e-6": "1.25e-6", "-2.5e-5": "-0.000025",
		"1e999": "1e999",
	} {
		if got := number(literal); got != want {
			t.Errorf("%s: %s, want %s", literal, got, want)
		}
	}
}

func TestNamespaces(t *testing.T) {
	got, err := toolsSection([]Namespace{{Name: "b", Tools: []Tool{{Name: "f"}}}, {Name: "a", Description: "one\ntwo\n"}})
	if want := "# Tools\n\n## a\n\none\ntwo\n\n## b\n\nnamespace b {\n\ntype f = () => any;\n\n} // namespace b"; err != nil || got != want {
		t.Errorf("error %v\n got %q\nwant %q", err, got, want)
	}
	if _, err := toolsSection([]Namespace{{Name: "a"}, {Name: "b"}, {Name: "a"}}); err == nil {
		t.Error("two namespaces of one name are accepted")
	}
}

func TestSplitLines(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil, "\n": {""}, "a": {"a"}, "a\n": {"a"}, "a\n\nb\r\n": {"a", "", "b"}, "a\r": {"a\r"}, "\r\n\r": {"", "\r"},
	} {
		if got := splitLines(text); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
