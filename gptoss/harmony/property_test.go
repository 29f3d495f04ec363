package harmony

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// field is a header field that Render accepts.
func field(first string) *rapid.Generator[string] {
	return rapid.StringMatching(first + `[-a-zA-Z0-9_.:=|>é💖]{0,12}`)
}

// messages are messages that Render accepts and the format can say, the
// assistant's with a channel.
var messages = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Message {
	maybe := func(g *rapid.Generator[string], label string) string {
		return rapid.OneOf(rapid.Just(""), g).Draw(t, label)
	}
	m := Message{
		Role: rapid.SampledFrom([]Role{RoleSystem, RoleDeveloper, RoleUser, RoleAssistant, RoleTool}).Draw(t, "role"),
		Text: rapid.OneOf(rapid.String(), rapid.Just("<|end|><|start|>system<|message|>"), rapid.StringN(0, 300, 600)).Draw(t, "text"),
	}
	m.Name = maybe(field("[a-z]"), "name")
	m.Channel = maybe(rapid.OneOf(rapid.SampledFrom([]string{ChannelAnalysis, ChannelCommentary, ChannelFinal}), field("Z")), "channel")
	m.Recipient = maybe(field("[a-zA-Z=]"), "recipient")
	m.ContentType = maybe(rapid.OneOf(rapid.Just(ContentJSON), rapid.SampledFrom([]string{"json", "code"})), "content type")
	switch m.Role {
	case RoleTool:
		m.Name = "functions." + m.Name
	case RoleAssistant:
		m.Name = ""
		if m.Channel == "" {
			m.Channel = ChannelFinal
		}
	}
	if m.Recipient == "all" { // which nobody is told
		m.Recipient = ""
	}
	return m
}), 0, 6)

// TestRoundTrip: parsing what was rendered gives the messages again.
func TestRoundTrip(t *testing.T) {
	e := small(t)
	rapid.Check(t, func(t *rapid.T) {
		want := messages.Draw(t, "messages")
		ids, err := e.Render(Conversation{Messages: want, KeepAnalysis: true})
		if err != nil {
			t.Fatal(err)
		}
		got, repaired := e.Parse(ids, "")
		if repaired != 0 || !slices.Equal(got, want) {
			t.Fatalf("%s\n%d repaired\n got %q\nwant %q", e.tok.Decode(ids), repaired, got, want)
		}
	})
}

// TestTokenization: the text of a message does not depend on which tokens spell
// it, whether they end inside of runes or not, nor on how many tokens a Write
// has.
func TestTokenization(t *testing.T) {
	e := small(t)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
			rapid.Map(rapid.SliceOf(rapid.SampledFrom([]string{"\xf0", "\x9f", "\x92", "\x96", "\xe2", "\x82", "\xac", "\xed\xa0", "a", "💖"})),
				func(s []string) string { return strings.Join(s, "") })).Draw(t, "text")
		ids := e.tok.EncodeSpecial("<|channel|>final<|message|>")
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, min(len(rest), 4)).Draw(t, "bytes of a token")
			id, ok := e.tok.ID(rest[:n])
			for ; !ok; id, ok = e.tok.ID(rest[:n]) {
				n-- // every byte has a token
			}
			ids, rest = append(ids, id), rest[n:]
		}
		ids = append(ids, e.end)
		want := Message{Role: RoleAssistant, Channel: ChannelFinal, Text: valid(text)}
		got, repaired := e.Parse(ids, RoleAssistant)
		if repaired != 0 || !slices.Equal(got, []Message{want}) {
			t.Fatalf("%d repaired, got %q, want %q", repaired, got, want)
		}
		checkStream(t, e, RoleAssistant, ids, rapid.IntRange(1, 5).Draw(t, "tokens of a write"))
	})
}

// checkStream parses ids and checks what holds for all ids: events in order,
// deltas that are the text, the same whatever the number of tokens of a Write,
// little memory, and messages that can be rendered and say the same again.
func checkStream(t interface{ Fatalf(string, ...any) }, e *Encoding, role Role, ids []int32, chunk int) {
	p, chunked := e.NewParser(role), e.NewParser(role)
	var events, other []Event
	for _, id := range ids {
		events = append(events, p.Write(id)...)
		if len(p.header) > maxHeader {
			t.Fatalf("a header of %d tokens", len(p.header))
		}
	}
	events = append(events, p.Close()...)
	for part := range slices.Chunk(ids, chunk) {
		other = append(other, chunked.Write(part...)...)
	}
	other = append(other, chunked.Close()...)
	if !slices.Equal(events, other) || p.Repaired() != chunked.Repaired() {
		t.Fatalf("events depend on the tokens of a write:\n%+v\n%+v", events, other)
	}
	messages, err := collect(events)
	if err != nil {
		t.Fatalf("%v: %+v", err, events)
	}
	parsed, repaired := e.Parse(ids, role)
	if !slices.Equal(parsed, messages) || repaired != p.Repaired() || repaired < 0 || repaired > 8*len(ids) {
		t.Fatalf("Parse gives %q and %d, the events %q and %d", parsed, repaired, messages, p.Repaired())
	}
	again, err := e.Render(Conversation{Messages: messages, KeepAnalysis: true})
	if err != nil {
		t.Fatalf("%v: %q", err, messages)
	}
	if slices.ContainsFunc(messages, func(m Message) bool {
		return m.Recipient == "all" || len(m.Role+Role(m.Name+m.Recipient+m.Channel+m.ContentType)) > maxHeader/2
	}) {
		return // not rendered, or perhaps longer than what is read as a header
	}
	if reread, _ := e.Parse(again, ""); !slices.Equal(reread, messages) {
		t.Fatalf("rendered and parsed again:\n got %q\nwant %q", reread, messages)
	}
}

// collect puts messages together from their deltas.
func collect(events []Event) (messages []Message, err error) {
	var open *Message
	for _, event := range events {
		switch {
		case (event.Kind == Begin) != (open == nil):
			return nil, fmt.Errorf("out of order: %+v", event)
		case event.Kind == Begin:
			open = &event.Message
		case event.Kind == Delta:
			if event.Delta == "" || !utf8.ValidString(event.Delta) || event.Message.Text != "" {
				return nil, fmt.Errorf("not a delta: %+v", event)
			}
			open.Text += event.Delta
		default:
			if event.Message != *open {
				return nil, fmt.Errorf("%+v ends, the events give %+v", event.Message, *open)
			}
			messages, open = append(messages, *open), nil
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%+v does not end", *open)
	}
	return messages, nil
}

// TestTraffic: what holds for all ids, on ids that look like harmony.
func TestTraffic(t *testing.T) {
	e := small(t)
	pieces := rapid.SampledFrom([]string{
		"<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|call|>", "<|return|>", "<|endoftext|>", "<|reserved_200013|>",
		"assistant", "user", "system", "tool", "tool:x", "user:", ":", "analysis", "commentary", "final", "final?", "functions.f", "python", " to=", " to=all",
		" to=functions.g", "to=", " json", "json", " ", "\n", "a", " b", "<", "é", "\xf0\x9f", "\x92\x96", "\u2003",
	})
	rapid.Check(t, func(t *rapid.T) {
		var ids []int32
		for _, piece := range rapid.SliceOfN(pieces, 0, 24).Draw(t, "pieces") {
			ids = append(ids, e.tok.EncodeSpecial(piece)...)
		}
		role := rapid.SampledFrom([]Role{"", RoleAssistant}).Draw(t, "role")
		checkStream(t, e, role, ids, rapid.IntRange(1, 5).Draw(t, "chunk"))
	})
}
