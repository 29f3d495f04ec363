package harmony

import (
	"slices"
	"strings"
	"testing"
)

// assistant returns a message of the assistant.
func assistant(channel, text string) Message {
	return Message{Role: RoleAssistant, Channel: channel, Text: text}
}

func call(channel, recipient, contentType, text string) Message {
	return Message{Role: RoleAssistant, Channel: channel, Recipient: recipient, ContentType: contentType, Text: text}
}

// TestParse: what OpenAI's parser reads without complaint. Those of its tests
// that are not here are fixtures.
func TestParse(t *testing.T) {
	e := published(t)
	final := assistant("final", "2 + 2 = 4.")
	weather := call("commentary", "functions.get_weather", ContentJSON, `{"location": "Tokyo"}`)
	for _, c := range []struct {
		role Role
		in   string
		want []Message
	}{
		{RoleAssistant, `<|channel|>analysis<|message|>User asks: "What is 2 + 2?"<|end|><|start|>assistant<|channel|>final<|message|>2 + 2 = 4.<|return|>`,
			[]Message{assistant("analysis", `User asks: "What is 2 + 2?"`), final}},
		{RoleAssistant, "<|channel|>final<|message|>2 + 2 = 4.", []Message{final}},
		{RoleAssistant, `<|channel|>analysis to=lookup_weather code<|message|>{"location": "Tokyo"}`,
			[]Message{call("analysis", "lookup_weather", "code", `{"location": "Tokyo"}`)}},
		{RoleAssistant, " to=lookup_weather<|channel|>analysis code<|message|>{}<|call|>", []Message{call("analysis", "lookup_weather", "code", "{}")}},
		{"", `<|start|>assistant to=functions.get_weather<|channel|>commentary <|constrain|>json<|message|>{"location": "Tokyo"}<|call|>`, []Message{weather}},
		{"", `<|start|>assistant to=functions.get_weather<|channel|>commentary<|constrain|>json<|message|>{"location": "Tokyo"}<|call|>`, []Message{weather}},
		{"", `<|start|>assistant<|channel|>commentary to=functions.get_weather<|constrain|>json<|message|>{"location": "Tokyo"}<|call|>`, []Message{weather}},
		{"", "<|start|>browser.search to=assistant<|channel|>commentary<|message|>{}<|end|><|start|>functions.f<|message|>{}",
			[]Message{{RoleTool, "browser.search", "assistant", "commentary", "", "{}"}, {Role: RoleTool, Name: "functions.f", Text: "{}"}}},
		{"", "<|start|>user:Ada<|message|>hi<|end|><|start|>system<|message|><|end|>", []Message{{Role: RoleUser, Name: "Ada", Text: "hi"}, {Role: RoleSystem}}},
		// The content type alone; the reference takes it for the recipient.
		{RoleAssistant, "<|channel|>final <|constrain|>json<|message|>{}<|return|>", []Message{call("final", "", ContentJSON, "{}")}},
		{RoleAssistant, "<|channel|>final markdown<|message|>*<|return|>", []Message{call("final", "", "markdown", "*")}},
		// Nothing, and a header with nothing in it.
		{RoleAssistant, "", nil},
		{"", "<|start|>assistant", nil},
	} {
		got, repaired := e.Parse(e.tok.EncodeSpecial(c.in), c.role)
		if !slices.Equal(got, c.want) || repaired != 0 {
			t.Errorf("%s: %d repaired\n got %q\nwant %q", c.in, repaired, got, c.want)
		}
	}
}

// TestRepaired: what departs from the format, and what becomes of it.
func TestRepaired(t *testing.T) {
	e := published(t)
	yes := assistant("final", "Yes.")
	for _, c := range []struct {
		in       string // after <|start|>assistant
		want     []Message
		repaired int
	}{
		// No <|message|>: OpenAI's tests with strict=False.
		{"<|channel|>commentary Hello<|end|>", []Message{assistant("commentary", "Hello")}, 1},
		{"I must refuse<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>", []Message{assistant("", "I must refuse"), yes}, 1},
		{"<|channel|>analysis I must refuse<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
			[]Message{assistant("analysis", "I must refuse"), yes}, 1},
		{`... Let's use the tool.<|end|><|start|>assistant to=functions.f<|channel|>commentary json<|message|>{}<|call|>`,
			[]Message{assistant("", "... Let's use the tool."), call("commentary", "functions.f", "json", "{}")}, 1},
		{"First line.\n\n* second<|return|>", []Message{assistant("", "First line.\n\n* second")}, 1},
		{`<|channel|>commentary to=functions.f <|constrain|>json{"a": 1}<|call|>`, []Message{call("commentary", "functions.f", ContentJSON, `{"a": 1}`)}, 1},
		{" to=functions.f<|channel|>commentary<|call|>", []Message{call("commentary", "functions.f", "", "")}, 1},
		{"<|channel|>analysis", []Message{assistant("analysis", "")}, 1},
		{"<|end|>", nil, 1},
		// Channels.
		{"<|message|>Yes.<|end|>", []Message{assistant("", "Yes.")}, 1},
		{"<|channel|>commentary?<|message|>Yes.<|end|>", []Message{assistant("commentary", "Yes.")}, 1},
		{"<|channel|> final<|message|>Yes.<|end|>", []Message{yes}, 1},
		{"<|channel|>final<|channel|>analysis<|message|>Yes.<|end|>", []Message{yes}, 1},
		{"<|channel|><|channel|>final<|message|>Yes.<|end|>", []Message{yes}, 1},
		{"<|channel|>thoughts<|message|>Yes.<|end|>", []Message{assistant("thoughts", "Yes.")}, 0},
		{"<|channel|>finality<|message|>Yes.<|end|>", []Message{assistant("finality", "Yes.")}, 0},
		// Recipients and content types.
		{"<|channel|>commentary functions.f json<|message|>{}<|call|>", []Message{call("commentary", "functions.f", "json", "{}")}, 1},
		{" functions.f<|channel|>commentary<|message|>{}<|call|>", []Message{call("commentary", "functions.f", "", "{}")}, 1},
		{"<|channel|>analysis python<|message|>1<|call|>", []Message{call("analysis", "python", "", "1")}, 1},
		{"<|channel|>commentary to= functions.f json<|message|>{}<|call|>", []Message{call("commentary", "functions.f", "json", "{}")}, 1},
		{" to=functions.f<|channel|>commentary to=functions.g<|message|>{}<|call|>", []Message{call("commentary", "functions.f", "", "{}")}, 1},
		{"<|channel|>commentary to=<|message|>{}<|call|>", []Message{call("commentary", "", "", "{}")}, 1},
		{"<|channel|>final <|constrain|> json<|message|>{}<|end|>", []Message{call("final", "", ContentJSON, "{}")}, 1},
		{"<|channel|>final<|constrain|><|message|>{}<|end|>", []Message{assistant("final", "{}")}, 1},
		{"<|channel|>final 3.14<|message|>{}<|end|>", []Message{call("final", "", "3.14", "{}")}, 0},
		{"<|channel|>analysis we need the tool<|message|>Hm.<|end|>", []Message{assistant("analysis", "Hm.")}, 1},
		// Text in front of the channel is a message.
		{"I must refuse.<|channel|>final<|message|>Yes.<|end|>", []Message{assistant("", "I must refuse."), yes}, 1},
		{"Sure.<|channel|>final<|message|>Yes.<|end|>", []Message{assistant("", "Sure."), yes}, 1},
		{"I must refuse.<|message|>Yes.<|end|>", []Message{assistant("", "I must refuse."), assistant("", "Yes.")}, 2},
		// <|start|> and roles.
		{"<|start|>assistant<|channel|>final<|message|>Yes.<|end|>", []Message{yes}, 1},
		{"assistant<|channel|>final<|message|>Yes.<|end|>", []Message{yes}, 1},
		{"<|channel|>analysis<|message|>Hm.<|end|>assistant<|channel|>final<|message|>Yes.<|end|>", []Message{assistant("analysis", "Hm."), yes}, 2},
		{"<|channel|>analysis<|message|>Hm.<|end|><|channel|>final<|message|>Yes.<|end|>", []Message{assistant("analysis", "Hm."), yes}, 1},
		{"<|channel|>analysis<|message|>Hm.<|end|><|start|><|channel|>final<|message|>Yes.<|end|>", []Message{assistant("analysis", "Hm."), yes}, 1},
		{"<|channel|>analysis<|message|>Hm.<|end|>\n<|start|>assistant<|channel|>final<|message|>Yes.<|end|>", []Message{assistant("analysis", "Hm."), yes}, 2},
		{"<|channel|>final<|message|>Yes.<|end|>Bye.<|return|>", []Message{yes, assistant("", "Bye.")}, 2},
		{"<|channel|>final<|message|>Yes.<|return|><|endoftext|>", []Message{yes}, 1},
		{"<|channel|>final<|message|>Yes.<|endoftext|>", []Message{yes}, 1},
		// Inside of the text.
		{"<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>Yes.<|end|>", []Message{assistant("analysis", "Hm."), yes}, 1},
		{"<|channel|>analysis<|message|>Hm.<|start|>assistant<|channel|>final<|message|>Yes.<|end|>", []Message{assistant("analysis", "Hm."), yes}, 1},
		{"<|channel|>final<|message|><|message|>Yes<|constrain|>.<|reserved_200013|><|end|>", []Message{yes}, 3},
		{"<|channel|>final<|startoftext|><|message|>Yes.<|end|>", []Message{yes}, 1},
		// No special token at all.
		{strings.Repeat("word ", 300), []Message{assistant("", strings.Repeat("word ", 300))}, 1},
	} {
		got, repaired := e.Parse(e.tok.EncodeSpecial(c.in), RoleAssistant)
		if !slices.Equal(got, c.want) || repaired != c.repaired {
			t.Errorf("%s: %d repaired, want %d\n got %q\nwant %q", c.in, repaired, c.repaired, got, c.want)
		}
	}
}

// TestBytes: OpenAI's tests of tokens that end inside a rune; 9552 is a space
// and the first two bytes of four.
func TestBytes(t *testing.T) {
	e := published(t)
	header := e.tok.EncodeSpecial("<|channel|>final<|message|>")
	for _, c := range []struct {
		ids  []int32
		want string
	}{
		{append([]int32{9552, 9552}, e.tok.Encode("worked")...), " \ufffd \ufffdworked"},
		{append([]int32{9552}, e.tok.Encode("XY")...), " \ufffdXY"},
		{append([]int32{9552}, e.tok.Encode(" interesting")...), " \ufffd interesting"},
		{[]int32{9552, e.end, 9552}, " \ufffd"},
		{[]int32{9552}, " \ufffd"},
		{[]int32{31446, 244}, "💖"},
		{[]int32{31446, 1 << 30, 244, -1}, "\ufffd\ufffd\ufffd\ufffd"},
		{e.tok.Encode("Hello Müller, Γειά σου, Привет, שלום, مرحبا, नमस्ते, こんにちは, 안녕하세요, 你好. nai\u0308ve 😊👋🏾👨‍👩‍👧‍👦🇺🇸."),
			"Hello Müller, Γειά σου, Привет, שלום, مرحبا, नमस्ते, こんにちは, 안녕하세요, 你好. nai\u0308ve 😊👋🏾👨‍👩‍👧‍👦🇺🇸."},
	} {
		got, _ := e.Parse(slices.Concat(header, c.ids), RoleAssistant)
		if len(got) == 0 || got[0].Text != c.want {
			t.Errorf("%v: %q, want %q", c.ids, got, c.want)
		}
	}
}

// TestEvents: the steps of two messages, at the tokens at which they are known.
func TestEvents(t *testing.T) {
	e := published(t)
	p := e.NewParser(RoleAssistant)
	header := Message{Role: RoleAssistant, Channel: ChannelFinal}
	whole := header
	whole.Text = "Hi💖"
	for i, step := range []struct {
		ids  []int32
		want []Event
	}{
		{[]int32{e.channel}, nil},
		{e.tok.Encode("final"), nil},
		{[]int32{e.message}, []Event{{Begin, header, ""}}},
		{e.tok.Encode("Hi"), []Event{{Delta, header, "Hi"}}},
		{[]int32{31446}, nil},
		{[]int32{244}, []Event{{Delta, header, "💖"}}},
		{[]int32{e.ret}, []Event{{End, whole, ""}}},
		{e.tok.EncodeSpecial("<|start|>user<|message|>Oh"), []Event{{Begin, Message{Role: RoleUser}, ""}, {Delta, Message{Role: RoleUser}, "Oh"}}},
	} {
		if got := p.Write(step.ids...); !slices.Equal(got, step.want) {
			t.Errorf("step %d: %+v, want %+v", i, got, step.want)
		}
	}
	if got, want := p.Close(), []Event{{End, Message{Role: RoleUser, Text: "Oh"}, ""}}; !slices.Equal(got, want) {
		t.Errorf("closed: %+v, want %+v", got, want)
	}
	if got := p.Close(); len(got) > 0 || p.Repaired() != 0 {
		t.Errorf("closed again: %+v, %d repaired", got, p.Repaired())
	}
}
