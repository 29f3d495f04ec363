package harmony

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Reasoning is how much the model shall think before it answers.
type Reasoning string

// The levels that the model was trained on.
const (
	ReasoningLow    Reasoning = "low"
	ReasoningMedium Reasoning = "medium"
	ReasoningHigh   Reasoning = "high"
)

// System is the content of the system message: who the model is, and what there
// is beside the conversation. An empty field leaves its line out; NewSystem has
// what the model was trained with.
//
// The caller's own instructions belong in Developer.
//
// Source: openai/harmony docs/format.md, "System message format".
type System struct {
	// Identity is the first line.
	Identity string `json:"identity,omitempty"`
	// KnowledgeCutoff is a month, "2024-06".
	KnowledgeCutoff string `json:"knowledge_cutoff,omitempty"`
	// CurrentDate is a day, "2025-06-28".
	CurrentDate string `json:"current_date,omitempty"`
	// Reasoning is the effort.
	Reasoning Reasoning `json:"reasoning,omitempty"`
	// Tools are built-in tools, Browser and Python.
	Tools []Namespace `json:"tools,omitempty"`
	// ValidChannels are the channels that the model is to use.
	ValidChannels []string `json:"valid_channels,omitempty"`
}

// NewSystem returns the system message of OpenAI's library: ChatGPT, knowledge
// until 2024-06, medium effort, all channels, no tools, and no date, which is
// the caller's to set.
//
// Source: openai/harmony src/chat.rs SystemContent.
func NewSystem() *System {
	return &System{
		Identity:        "You are ChatGPT, a large language model trained by OpenAI.",
		KnowledgeCutoff: "2024-06",
		Reasoning:       ReasoningMedium,
		ValidChannels:   []string{ChannelAnalysis, ChannelCommentary, ChannelFinal},
	}
}

// Developer is the content of the developer message, which elsewhere is called
// the system prompt.
//
// Source: openai/harmony docs/format.md, "Developer message format".
type Developer struct {
	// Instructions are the caller's.
	Instructions string `json:"instructions,omitempty"`
	// Tools are the functions that the model may call, as functions.NAME.
	Tools []Tool `json:"tools,omitempty"`
	// ResponseFormats are what an answer may look like. They tell the model and
	// do not hold it to anything.
	ResponseFormats []ResponseFormat `json:"response_formats,omitempty"`
}

// Tool is a function that the model may call.
type Tool struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Parameters is the JSON Schema of its argument, an object. The order of the
	// properties is kept. Empty and null are a function without arguments.
	Parameters json.RawMessage `json:"parameters,omitempty"`
}

// Namespace is a group of tools. Without tools it is described to the model in
// free text.
type Namespace struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Tools       []Tool `json:"tools,omitempty"`
}

// functions is the namespace of the caller's tools.
const functions = "functions"

// ResponseFormat is a structure that answers may have.
//
// Source: openai/harmony docs/format.md, "Structured output".
type ResponseFormat struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Schema is a JSON Schema.
	Schema json.RawMessage `json:"schema"`
}

// text returns the message's content. calls says that the caller's functions
// may be called.
func (s *System) text(calls bool) (string, error) {
	var top, sections []string
	for _, line := range []struct{ label, value string }{
		{"", s.Identity}, {"Knowledge cutoff: ", s.KnowledgeCutoff}, {"Current date: ", s.CurrentDate},
	} {
		if line.value != "" {
			top = append(top, line.label+line.value)
		}
	}
	if len(top) > 0 {
		sections = append(sections, strings.Join(top, "\n"))
	}
	if s.Reasoning != "" {
		sections = append(sections, "Reasoning: "+string(s.Reasoning))
	}
	if len(s.Tools) > 0 {
		tools, err := toolsSection(s.Tools)
		if err != nil {
			return "", err
		}
		sections = append(sections, tools)
	}
	if len(s.ValidChannels) > 0 {
		channels := "# Valid channels: " + strings.Join(s.ValidChannels, ", ") + ". Channel must be included for every message."
		if calls {
			channels += "\nCalls to these tools must go to the commentary channel: '" + functions + "'."
		}
		sections = append(sections, channels)
	}
	return strings.Join(sections, "\n\n"), nil
}

// text returns the message's content.
func (d *Developer) text() (string, error) {
	var sections []string
	if d.Instructions != "" {
		sections = append(sections, "# Instructions", d.Instructions)
	}
	if len(d.Tools) > 0 {
		tools, err := toolsSection([]Namespace{{Name: functions, Tools: d.Tools}})
		if err != nil {
			return "", err
		}
		sections = append(sections, tools)
	}
	if len(d.ResponseFormats) > 0 {
		sections = append(sections, "# Response Formats")
	}
	for _, f := range d.ResponseFormats {
		var schema bytes.Buffer
		if err := json.Compact(&schema, f.Schema); err != nil {
			return "", fmt.Errorf("response format %q: schema: %w", f.Name, err)
		}
		comment := strings.Join(commented(f.Description), "\n")
		if comment != "" {
			comment += "\n"
		}
		sections = append(sections, "## "+f.Name, comment+schema.String())
	}
	return strings.Join(sections, "\n\n"), nil
}

// toolsSection describes tools as TypeScript.
//
// Source: openai/harmony src/encoding.rs template_tools_section.
func toolsSection(namespaces []Namespace) (string, error) {
	sorted := slices.SortedStableFunc(slices.Values(namespaces), func(a, b Namespace) int { return cmp.Compare(a.Name, b.Name) })
	sections := []string{"# Tools"}
	for i, ns := range sorted {
		if i > 0 && ns.Name == sorted[i-1].Name {
			return "", fmt.Errorf("two namespaces are named %q", ns.Name)
		}
		lines := []string{"## " + ns.Name + "\n"}
		if len(ns.Tools) == 0 {
			sections = append(sections, strings.Join(append(lines, splitLines(ns.Description)...), "\n"))
			continue
		}
		lines = append(append(lines, commented(ns.Description)...), "namespace "+ns.Name+" {\n")
		for _, tool := range ns.Tools {
			argument, err := tool.argument()
			if err != nil {
				return "", fmt.Errorf("tool %q: %w", ns.Name+"."+tool.Name, err)
			}
			lines = append(append(lines, commented(tool.Description)...), "type "+tool.Name+" = ("+argument+") => any;\n")
		}
		sections = append(sections, strings.Join(append(lines, "} // namespace "+ns.Name), "\n"))
	}
	return strings.Join(sections, "\n\n"), nil
}

// argument returns the declaration of the function's argument.
func (t *Tool) argument() (string, error) {
	if len(t.Parameters) == 0 {
		return "", nil
	}
	schema, err := parseJSON(t.Parameters)
	if err != nil {
		return "", fmt.Errorf("parameters: %w", err)
	}
	if schema == nil {
		return "", nil
	}
	return "_: " + typescript(schema, ""), nil
}

// splitLines returns the lines of a text. A line break at its end does not
// begin another one.
func splitLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		if whole, ok := strings.CutSuffix(line, "\n"); ok {
			line = strings.TrimSuffix(whole, "\r")
		}
		lines = append(lines, line)
	}
	return lines
}

// commented returns the lines of a text, each behind a comment marker.
func commented(text string) []string {
	lines := splitLines(text)
	for i := range lines {
		lines[i] = "// " + lines[i]
	}
	return lines
}
