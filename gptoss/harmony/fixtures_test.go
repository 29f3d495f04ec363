package harmony

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// fixtures are the conversations of OpenAI's tests, under the names of the
// files that hold what they render to.
var fixtures = []struct {
	name string
	// render is how OpenAI's test renders it.
	render       func(*Encoding, Conversation) ([]int32, error)
	conversation Conversation
}{
	{"test_simple_convo", (*Encoding).RenderForCompletion, ask(NewSystem(), "What is 2 + 2?")},
	{"test_simple_convo_low_effort", (*Encoding).RenderForCompletion, robot(effort(ReasoningLow), true)},
	{"test_simple_convo_medium_effort", (*Encoding).RenderForCompletion, robot(effort(ReasoningMedium), true)},
	{"test_simple_convo_high_effort", (*Encoding).RenderForCompletion, robot(effort(ReasoningHigh), true)},
	{"test_simple_convo_low_effort_no_instruction", (*Encoding).RenderForCompletion, robot(effort(ReasoningLow), false)},
	{"test_simple_convo_medium_effort_no_instruction", (*Encoding).RenderForCompletion, robot(effort(ReasoningMedium), false)},
	{"test_simple_convo_high_effort_no_instruction", (*Encoding).RenderForCompletion, robot(effort(ReasoningHigh), false)},
	{"test_reasoning_system_message", (*Encoding).RenderForCompletion,
		ask(&System{Identity: NewSystem().Identity, KnowledgeCutoff: "2024-06", Reasoning: ReasoningMedium,
			ValidChannels: []string{ChannelAnalysis, ChannelFinal}}, "What is 2 + 2?")},
	{"test_reasoning_system_message_no_instruction", (*Encoding).RenderForCompletion,
		ask(&System{Identity: NewSystem().Identity, KnowledgeCutoff: "2024-06", Reasoning: ReasoningHigh,
			ValidChannels: []string{ChannelAnalysis, ChannelFinal}}, "What is the best place to eat candy in the world?")},
	{"test_reasoning_system_message_with_dates", (*Encoding).RenderForCompletion,
		ask(&System{Identity: NewSystem().Identity, KnowledgeCutoff: "2021-01", CurrentDate: "2021-01-01", Reasoning: ReasoningMedium,
			ValidChannels: []string{ChannelAnalysis, ChannelFinal}}, "What is 42 * pi?")},
	{"test_no_tools", (*Encoding).RenderForCompletion, Conversation{System: builtins()}},
	{"test_browser_tool_only", (*Encoding).RenderForCompletion, Conversation{System: builtins(Browser())}},
	{"test_browser_and_python_tool", (*Encoding).RenderForCompletion, Conversation{System: builtins(Python(), Browser())}},
	{"test_browser_and_function_tool", (*Encoding).RenderForCompletion, Conversation{
		System: builtins(Browser()),
		Developer: &Developer{Tools: []Tool{{
			Name:        "lookup_weather",
			Description: "Use this tool to lookup the weather in a given location. Call it with the parameter 'location', can be any textual description of a location.",
			Parameters:  json.RawMessage(`{"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}`),
		}}},
	}},
	{"test_render_functions_with_parameters", (*Encoding).RenderForCompletion, riddles()},
	{"test_dropping_cot_by_default", (*Encoding).RenderForCompletion,
		sums("User asks: “What is 2 + 2?” Simple arithmetic. Provide answer.", false)},
	{"test_preserve_cot", (*Encoding).RenderForCompletion,
		sums(`User asks a simple question: "What is 2 + 2?" The answer: 4.`, true)},
	{"test_does_not_drop_if_ongoing_analysis", (*Encoding).RenderForCompletion, Conversation{Messages: []Message{
		{Role: RoleUser, Text: "What is the weather in SF?"},
		{Role: RoleAssistant, Channel: ChannelAnalysis, Text: "User asks: “What is the weather in SF?” We need to use lookup_weather tool."},
		{Role: RoleAssistant, Channel: ChannelCommentary, Recipient: "functions.lookup_weather", ContentType: ContentJSON, Text: `{"location": "San Francisco"}`},
		{Role: RoleTool, Name: "functions.lookup_weather", Text: `{"temperature": 20, "description": "sunny"}`},
	}}},
	{"test_keep_analysis_between_finals", (*Encoding).Render, Conversation{Messages: []Message{
		{Role: RoleUser, Text: "What is 2 + 2?"},
		{Role: RoleAssistant, Channel: ChannelAnalysis, Text: "thinking 2+2"},
		{Role: RoleAssistant, Channel: ChannelFinal, Text: "4"},
		{Role: RoleUser, Text: "What is 3 + 5?"},
		{Role: RoleAssistant, Channel: ChannelAnalysis, Text: "thinking 3+5"},
		{Role: RoleAssistant, Channel: ChannelFinal, Text: "8"},
	}}},
	{"test_tool_response_parsing", withoutEnd, Conversation{Messages: []Message{browserResult}}},
}

// browserResult is the answer of a tool in two fixtures.
var browserResult = ToolResult(Message{Recipient: "browser.search", Channel: ChannelCommentary}, `{"result": "https://openai.com/"}`)

// withoutEnd renders up to the last <|end|>.
func withoutEnd(e *Encoding, c Conversation) ([]int32, error) {
	ids, err := e.Render(c)
	return ids[:max(len(ids)-1, 0)], err
}

func ask(s *System, question string) Conversation {
	return Conversation{System: s, Messages: []Message{{Role: RoleUser, Text: question}}}
}

func effort(r Reasoning) *System {
	s := NewSystem()
	s.Reasoning = r
	return s
}

func robot(s *System, instructed bool) Conversation {
	c := ask(s, "What is the capital of the largest country in the world?")
	if instructed {
		c.Developer = &Developer{Instructions: "Answer the user's questions like a robot."}
	}
	return c
}

func builtins(tools ...Namespace) *System {
	s := NewSystem()
	s.CurrentDate, s.Tools = "2025-06-28", tools
	return s
}

func sums(thought string, keep bool) Conversation {
	return Conversation{KeepAnalysis: keep, Messages: []Message{
		{Role: RoleUser, Text: "What is 2 + 2?"},
		{Role: RoleAssistant, Channel: ChannelAnalysis, Text: thought},
		{Role: RoleAssistant, Channel: ChannelFinal, Text: "2 + 2 equals 4."},
		{Role: RoleUser, Text: "What about 9 / 2?"},
	}}
}

func riddles() Conversation {
	s := builtins()
	s.Reasoning = ReasoningHigh
	c := ask(s, "What is the weather like in SF?")
	c.Developer = &Developer{Instructions: "Always respond in riddles", Tools: []Tool{
		{Name: "get_location", Description: "Gets the location of the user."},
		{
			Name: "get_current_weather", Description: "Gets the current weather in the provided location.",
			Parameters: json.RawMessage(`{"type": "object", "required": ["location"], "properties": {
				"location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
				"format": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"}}}`),
		},
		{
			Name: "get_multiple_weathers", Description: "Gets the current weather in the provided list of locations.",
			Parameters: json.RawMessage(`{"type": "object", "required": ["locations"], "properties": {
				"locations": {"type": "array", "items": {"type": "string"},
					"description": "List of city and state, e.g. [\"San Francisco, CA\", \"New York, NY\"]"},
				"format": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"}}}`),
		},
		{
			Name: "kitchensink", Description: "A function with various complex schemas.",
			Parameters: json.RawMessage(`{"description": "params object", "type": "object", "properties": {
				"string": {"type": "string", "title": "STRING", "description": "A string", "examples": ["hello", "world"]},
				"string_nullable": {"type": "string", "nullable": true, "description": "A nullable string", "default": "the default"},
				"string_enum": {"type": "string", "enum": ["a", "b", "c"]},
				"oneof_string_or_number": {
					"oneOf": [
						{"type": "string", "default": "default_string_in_oneof"},
						{"type": "number", "description": "numbers can happen too"}],
					"description": "a oneof", "default": 20}}}`),
		},
	}}
	return c
}

// TestFixtures renders OpenAI's fixtures to OpenAI's ids.
func TestFixtures(t *testing.T) {
	e := published(t)
	want := map[string][]int32{}
	readJSON(t, "fixtures.json", &want)
	if len(want) != 21 {
		t.Fatalf("%d fixtures, want 21", len(want))
	}
	for _, f := range fixtures {
		got, err := f.render(e, f.conversation)
		if err != nil || !slices.Equal(got, want[f.name]) {
			t.Errorf("%s: error %v\n got %q\nwant %q", f.name, err, e.tok.Decode(got), e.tok.Decode(want[f.name]))
		}
		delete(want, f.name)
	}
	// The last one puts a recipient where the model may and Render does not.
	const parsed = "test_streamable_parser"
	messages, repaired := e.Parse(want[parsed], RoleAssistant)
	thought := e.tok.Decode(want[parsed])
	thought = thought[strings.Index(thought, "User asks"):strings.Index(thought, "<|end|>")]
	expected := []Message{
		{Role: RoleAssistant, Channel: ChannelAnalysis, Text: thought},
		{Role: RoleAssistant, Channel: ChannelCommentary, Recipient: "browser.search", ContentType: "code",
			Text: `{"query": "current US president July 2025", "topn": 10, "source": "news"}`},
		browserResult,
	}
	if repaired != 0 || !reflect.DeepEqual(messages, expected) {
		t.Errorf("%s: %d repaired\n got %+v\nwant %+v", parsed, repaired, messages, expected)
	}
	delete(want, parsed)
	for name := range want {
		t.Errorf("%s is not tested", name)
	}
}

// TestFixturesParse reads OpenAI's fixtures back: the same messages again.
func TestFixturesParse(t *testing.T) {
	e := published(t)
	for _, f := range fixtures {
		ids, err := f.render(e, f.conversation)
		if err != nil {
			t.Fatal(err)
		}
		messages, repaired := e.Parse(ids, "")
		want := f.conversation.rendered()
		if len(messages) < len(want) || repaired != 0 || !slices.Equal(messages[len(messages)-len(want):], want) {
			t.Errorf("%s: %d repaired\n got %+v\nwant %+v", f.name, repaired, messages, want)
		}
		again, err := e.Render(Conversation{Messages: messages, KeepAnalysis: true})
		if err != nil || !slices.Equal(again[:min(len(again), len(ids))], ids[:min(len(again), len(ids))]) {
			t.Errorf("%s: rendered again, error %v\n got %q\nwant %q", f.name, err, e.tok.Decode(again), e.tok.Decode(ids))
		}
	}
}
