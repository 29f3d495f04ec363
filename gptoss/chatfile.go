package gptoss

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/seed-796a8800/tritium/gptoss/harmony"
)

const (
	chatVersion = 1
	// maxChatFile bounds a file that is read: sixteen bytes a token of the longest
	// context there is, twice over.
	maxChatFile = 4 << 20
)

// chatFile is a conversation as it is saved. What is said has OpenAI's names.
type chatFile struct {
	Version      int                `json:"tritium_chat"`
	System       *harmony.System    `json:"system,omitempty"`
	Developer    *harmony.Developer `json:"developer,omitempty"`
	Messages     []chatMessage      `json:"messages"`
	KeepAnalysis bool               `json:"keep_analysis,omitempty"`
}

type chatMessage struct {
	Role        harmony.Role `json:"role"`
	Name        string       `json:"name,omitempty"`
	Recipient   string       `json:"recipient,omitempty"`
	Channel     string       `json:"channel,omitempty"`
	ContentType string       `json:"content_type,omitempty"`
	Content     string       `json:"content"`
}

// Save writes the conversation as one JSON object, for people and Load: the
// system and developer messages' fields, and the messages.
//
// Errors: the writer's.
func (c *Chat) Save(w io.Writer) error {
	f := chatFile{Version: chatVersion, System: c.Conversation.System, Developer: c.Conversation.Developer,
		Messages: []chatMessage{}, KeepAnalysis: c.Conversation.KeepAnalysis}
	for _, m := range c.Conversation.Messages {
		f.Messages = append(f.Messages, chatMessage{m.Role, m.Name, m.Recipient, m.Channel, m.ContentType, m.Text})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(f); err != nil {
		return fmt.Errorf("gptoss: chat: saving: %w", err)
	}
	return nil
}

// Load replaces the conversation by one that Save wrote. The model reads it when
// the next turn begins.
//
// Errors: something else, more than 4 MiB, a conversation that harmony does not
// render or that does not fit into the context. After an error the conversation
// is what it was.
func (c *Chat) Load(r io.Reader) error {
	f, err := readChat(r)
	if err != nil {
		return fmt.Errorf("gptoss: chat: loading: %w", err)
	}
	before := c.Conversation
	c.Conversation = harmony.Conversation{System: f.System, Developer: f.Developer, KeepAnalysis: f.KeepAnalysis}
	for _, m := range f.Messages {
		c.Conversation.Messages = append(c.Conversation.Messages, harmony.Message{
			Role: m.Role, Name: m.Name, Recipient: m.Recipient, Channel: m.Channel, ContentType: m.ContentType, Text: m.Content})
	}
	ids, err := c.Rendered()
	if err == nil && c.limit > 0 && len(ids) >= c.limit {
		err = fmt.Errorf("it has %d tokens, the context %d", len(ids), c.limit)
	}
	if err != nil {
		c.Conversation = before
		return fmt.Errorf("gptoss: chat: loading: %w", err)
	}
	return nil
}

func readChat(r io.Reader) (*chatFile, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxChatFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxChatFile:
		return nil, fmt.Errorf("it has more than %d bytes", maxChatFile)
	}
	f := new(chatFile)
	if err := json.Unmarshal(data, f); err != nil {
		return nil, fmt.Errorf("not a saved conversation: %w", err)
	}
	if f.Version != chatVersion {
		return nil, errors.New("not a conversation that this version saved")
	}
	return f, nil
}
