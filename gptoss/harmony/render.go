package harmony

import (
	"fmt"
	"strings"

	"github.com/seed-796a8800/tritium/gptoss/tokenizer"
)

// recipientPrefix begins the recipient in a header.
const recipientPrefix = "to="

// Encoding renders conversations to token ids and parses what models write. It
// is immutable, so any number of goroutines may share one.
type Encoding struct {
	tok *tokenizer.Tokenizer
	// The special tokens of the format.
	start, message, channel, constrain int32
	end, ret, call                     int32 // of a message, of an answer, of a tool call
	endOfText                          int32 // -1: the tokenizer has none
}

// New returns the encoding with the tokens of a tokenizer.
//
// Errors: a tokenizer without one of harmony's special tokens.
func New(tok *tokenizer.Tokenizer) (*Encoding, error) {
	e := &Encoding{tok: tok, endOfText: -1}
	for _, s := range []struct {
		id    *int32
		piece string
	}{
		{&e.start, "<|start|>"}, {&e.message, "<|message|>"}, {&e.channel, "<|channel|>"}, {&e.constrain, constrainMarker},
		{&e.end, "<|end|>"}, {&e.ret, "<|return|>"}, {&e.call, "<|call|>"},
	} {
		id, ok := tok.ID(s.piece)
		if !ok || !tok.IsSpecial(id) {
			return nil, fmt.Errorf("harmony: the tokenizer has no special token %s; use the one that the model came with", s.piece)
		}
		*s.id = id
	}
	if id, ok := tok.ID("<|endoftext|>"); ok {
		e.endOfText = id
	}
	return e, nil
}

// Stop returns the tokens at which the model hands over, <|return|> to the user
// and <|call|> to a tool. <|end|> is not one of them: an answer follows its
// analysis.
//
// Source: openai/harmony src/registry.rs
// stop_formatting_tokens_for_assistant_actions.
func (e *Encoding) Stop() []int32 { return []int32{e.ret, e.call} }

// Render returns the ids of a conversation, every message complete. Analysis of
// a finished turn is left out unless the conversation keeps it.
//
// Errors: a header that would be read as another one, a tool's message without
// the tool's name, parameters that are not JSON.
//
// Source: openai/harmony src/encoding.rs render_conversation.
func (e *Encoding) Render(c Conversation) ([]int32, error) {
	ids, err := e.appendIntroduction(nil, c)
	if err != nil {
		return nil, err
	}
	for i, m := range c.rendered() {
		if ids, err = e.appendMessage(ids, m); err != nil {
			return nil, fmt.Errorf("harmony: message %d: %w", i, err)
		}
	}
	return ids, nil
}

// RenderForCompletion returns the ids of a conversation and of the beginning of
// the assistant's next message. Parse what the model adds with
// NewParser(RoleAssistant).
//
// Errors: as Render.
//
// Source: openai/harmony src/encoding.rs render_conversation_for_completion.
func (e *Encoding) RenderForCompletion(c Conversation) ([]int32, error) {
	ids, err := e.Render(c)
	if err != nil {
		return nil, err
	}
	return e.tok.AppendEncode(append(ids, e.start), string(RoleAssistant)), nil
}

// RenderForTraining returns the ids of a conversation as the model would have
// written it: a final answer at its end ends with <|return|>.
//
// Errors: as Render.
//
// Source: openai/harmony src/encoding.rs render_conversation_for_training.
func (e *Encoding) RenderForTraining(c Conversation) ([]int32, error) {
	ids, err := e.Render(c)
	if n := len(c.Messages); err == nil && n > 0 {
		if last := c.Messages[n-1]; last.Role == RoleAssistant && last.Channel == ChannelFinal {
			ids[len(ids)-1] = e.ret
		}
	}
	return ids, err
}

// appendIntroduction appends the messages that have a structure.
func (e *Encoding) appendIntroduction(ids []int32, c Conversation) ([]int32, error) {
	if c.System != nil {
		text, err := c.System.text(c.Developer != nil && len(c.Developer.Tools) > 0)
		if err == nil {
			ids, err = e.appendMessage(ids, Message{Role: RoleSystem, Text: text})
		}
		if err != nil {
			return nil, fmt.Errorf("harmony: system message: %w", err)
		}
	}
	if c.Developer != nil {
		text, err := c.Developer.text()
		if err == nil {
			ids, err = e.appendMessage(ids, Message{Role: RoleDeveloper, Text: text})
		}
		if err != nil {
			return nil, fmt.Errorf("harmony: developer message: %w", err)
		}
	}
	return ids, nil
}

// appendMessage appends the ids of one message. Every part is encoded by
// itself, as the reference does, and as text without special tokens.
//
// Source: openai/harmony src/encoding.rs Render<Message>.
func (e *Encoding) appendMessage(ids []int32, m Message) ([]int32, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	ids = append(ids, e.start)
	switch {
	case m.Role == RoleTool:
		ids = e.tok.AppendEncode(ids, m.Name)
	default:
		ids = e.tok.AppendEncode(ids, string(m.Role))
		if m.Name != "" {
			ids = e.tok.AppendEncode(ids, ":"+m.Name)
		}
	}
	if m.Recipient != "" && m.Recipient != "all" {
		ids = e.tok.AppendEncode(ids, " "+recipientPrefix+m.Recipient)
	}
	if m.Channel != "" {
		ids = e.tok.AppendEncode(append(ids, e.channel), m.Channel)
	}
	if m.ContentType != "" {
		ids = e.appendContentType(ids, m.ContentType)
	}
	ids = e.tok.AppendEncode(append(ids, e.message), m.Text)
	if m.Role == RoleAssistant && m.Recipient != "" {
		return append(ids, e.call), nil
	}
	return append(ids, e.end), nil
}

func (e *Encoding) appendContentType(ids []int32, contentType string) []int32 {
	constraint, ok := strings.CutPrefix(contentType, constrainMarker)
	if !ok {
		return e.tok.AppendEncode(ids, " "+contentType)
	}
	return e.tok.AppendEncode(append(e.tok.AppendEncode(ids, " "), e.constrain), constraint)
}
