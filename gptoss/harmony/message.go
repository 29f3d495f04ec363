package harmony

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Role is who wrote a message. Where instructions contradict each other, the
// model follows system before developer, user, assistant and tool.
type Role string

// The roles that there are.
const (
	RoleSystem    Role = "system"
	RoleDeveloper Role = "developer"
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool"
)

func (r Role) known() bool {
	switch r {
	case RoleSystem, RoleDeveloper, RoleUser, RoleAssistant, RoleTool:
		return true
	}
	return false
}

// The channels of an assistant's messages.
const (
	ChannelAnalysis   = "analysis"   // chain of thought, and calls of built-in tools: not for the user's eyes
	ChannelCommentary = "commentary" // calls of functions, and announcements of them that are for the user
	ChannelFinal      = "final"      // the answer
)

// ContentJSON is the content type of a function call's arguments. The marker
// that it begins with is rendered as the special token.
const ContentJSON = constrainMarker + "json"

const constrainMarker = "<|constrain|>"

// Message is one message of a conversation.
type Message struct {
	// Role is who wrote it.
	Role Role
	// Name is the tool's name where Role is RoleTool ("functions.weather"),
	// elsewhere an optional name of the author.
	Name string
	// Recipient is who it is for: a tool, which makes an assistant's message a
	// call of it, or "assistant" in a tool's answer. "" is everybody.
	Recipient string
	// Channel is one of the channels above, or what the model wrote instead. Only
	// messages of the assistant and of tools have one.
	Channel string
	// ContentType says what Text is: ContentJSON, "code", or "" for text.
	ContentType string
	// Text is the content.
	Text string
}

// ToolResult returns the message that answers a tool call with the tool's
// output.
//
// Source: openai/harmony docs/format.md, "Handling tool calls".
func ToolResult(call Message, output string) Message {
	return Message{Role: RoleTool, Name: call.Recipient, Recipient: string(RoleAssistant), Channel: call.Channel, Text: output}
}

// check says why a header cannot be rendered so that it would be read as it is
// meant. Whoever names a tool or a user must not be able to speak for the
// system.
func (m Message) check() error {
	if !m.Role.known() {
		return fmt.Errorf("unknown role %q", m.Role)
	}
	if m.Role == RoleTool {
		if m.Name == "" {
			return errors.New("a tool's message needs the tool's name")
		}
		if _, _, taken := author(m.Name); taken || strings.HasPrefix(m.Name, recipientPrefix) {
			return fmt.Errorf("a tool cannot be named %q: its name stands in place of a role", m.Name)
		}
	}
	if strings.HasPrefix(m.ContentType, recipientPrefix) {
		return fmt.Errorf("content type %q would be read as a recipient", m.ContentType)
	}
	for _, f := range []struct{ what, text string }{
		{"name", m.Name}, {"recipient", m.Recipient}, {"channel", m.Channel}, {"content type", m.ContentType},
	} {
		if strings.ContainsFunc(f.text, unicode.IsSpace) {
			return fmt.Errorf("%s %q: a header field cannot have white space in it", f.what, f.text)
		}
	}
	if strings.ContainsRune(m.Channel, '<') {
		return fmt.Errorf("channel %q: it would end at <", m.Channel)
	}
	return nil
}

// Conversation is what a model is to continue.
type Conversation struct {
	// System is the first message, where it is not nil.
	System *System
	// Developer is the next one, where it is not nil.
	Developer *Developer
	// Messages follow.
	Messages []Message
	// KeepAnalysis renders the analysis that is left out otherwise: where the
	// assistant's last message is on the final channel, the messages on the
	// analysis channel before the first final one.
	KeepAnalysis bool
}

// rendered returns the messages without the analysis of a finished turn. The
// rule is the reference's, which keeps what was thought between finals; see
// DropAnalysis.
//
// Source: openai/harmony src/encoding.rs render_conversation_into.
func (c Conversation) rendered() []Message {
	finished := false
	for _, m := range c.Messages {
		if m.Role == RoleAssistant {
			finished = m.Channel == ChannelFinal
		}
	}
	if c.KeepAnalysis || !finished {
		return c.Messages
	}
	kept := make([]Message, 0, len(c.Messages))
	for i, m := range c.Messages {
		if m.Channel == ChannelFinal {
			return append(kept, c.Messages[i:]...)
		}
		if m.Channel != ChannelAnalysis {
			kept = append(kept, m)
		}
	}
	return kept // not reached: there is a final message
}

// DropAnalysis returns the messages without the analysis of every finished
// turn: what the assistant thought between a user's message and the next is
// left out if it gave a final answer in between, and kept while tools are being
// called.
//
// This is the rule that OpenAI's guide gives. Rendering by itself does what
// OpenAI's library does, which leaves out nothing after the first answer; a
// chat of many turns passes its history through DropAnalysis.
//
// Source: openai/harmony docs/format.md, "Handling reasoning output in
// subsequent sampling".
func DropAnalysis(messages []Message) []Message {
	kept := make([]Message, 0, len(messages))
	for len(messages) > 0 {
		turn, final := 0, false
		for turn < len(messages) && (turn == 0 || messages[turn].Role != RoleUser) {
			final = final || messages[turn].Role == RoleAssistant && messages[turn].Channel == ChannelFinal
			turn++
		}
		for _, m := range messages[:turn] {
			if !final || m.Channel != ChannelAnalysis {
				kept = append(kept, m)
			}
		}
		messages = messages[turn:]
	}
	return kept
}
