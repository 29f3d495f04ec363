package gptoss

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-796a8800/tritium/gptoss/harmony"
	"github.com/seed-796a8800/tritium/gptoss/tokenizer"
)

// Chat is a conversation with a model, one turn after the other. What the model
// has read is always the beginning of the conversation as harmony renders it,
// whatever the model wrote: a turn reads only what the rendering adds, and reads
// again what it changes, above all the answer whose analysis is left out of it.
//
// A Chat is used by one goroutine at a time; chats of one model may take turns.
type Chat struct {
	// Conversation is what has been said. It may be changed between turns: the
	// next one reads from where it differs. Analysis of turns with an answer is
	// in it but not rendered, unless KeepAnalysis says so.
	Conversation harmony.Conversation

	options   ChatOptions
	encoding  *harmony.Encoding
	generator *Generator
	limit     int     // tokens of context; 0: none
	stop      []int32 // ids that hand over to the user or to a tool
	held      *held   // nil without a constraint
}

// ToolFunc answers a call of a function. arguments is what the model wrote,
// which need not be JSON. An error is told to the model as the result, unless
// it is the context's.
type ToolFunc func(ctx context.Context, arguments string) (result string, err error)

// Constraint holds a text to a structure, token by token.
type Constraint interface {
	// Reset begins a text.
	Reset()
	// Allowed returns a bit for every token, which may be changed by the next
	// call of any method: token i, which is bit i%64 of element i/64, may follow.
	// done says that the text may end here.
	Allowed() (allowed []uint64, done bool)
	// Accept takes the token that follows.
	Accept(id int32) error
}

// ChatOptions say how a conversation is held.
type ChatOptions struct {
	// Sampling is how tokens are chosen.
	Sampling Sampling
	// Speculation changes the speed alone.
	Speculation Speculation
	// Stop are ids that end a turn beside <|return|> and <|call|>.
	Stop []int32
	// MaxTokens bounds what the model writes in a turn; 0 is no bound.
	MaxTokens int
	// MaxCalls bounds the calls of a turn that Tools answer; 0 is 16.
	MaxCalls int
	// Context bounds the tokens of the conversation; 0 is what the model can.
	Context int
	// Tools answer calls, by the recipient that the model names:
	// "functions.weather". A call of another function that the conversation
	// declares ends the turn, and Answer continues it.
	Tools map[string]ToolFunc
	// Constraint, where it is not nil, holds the answer, and nothing else that
	// the model writes, to a structure. A turn then ends in an answer that is
	// complete, or for want of tokens.
	Constraint Constraint
}

// StopReason is why a turn ended.
type StopReason string

// Reasons to stop.
const (
	StopReturn    StopReason = "return"    // the model was done
	StopCall      StopReason = "call"      // it calls a function: Answer it
	StopLength    StopReason = "length"    // MaxTokens, or MaxCalls
	StopContext   StopReason = "context"   // there is no room left
	StopCancelled StopReason = "cancelled" // the caller's context was, or emit failed
)

// Turn is what came of one turn.
type Turn struct {
	// Messages are the assistant's and, where Tools answered, the tools'. The last
	// one is cut short where Stop says so.
	Messages []harmony.Message
	// Stop is why the turn ended.
	Stop StopReason
	// Prompt is the length of the conversation, in tokens, when the model began
	// to write; Read how many of them it read in this turn.
	Prompt, Read int
	// Written is how many tokens the model wrote, ends of messages included.
	Written int
	// Context is how many tokens the conversation had in the end.
	Context int
	// Repaired is how many departures from harmony there were.
	Repaired int
	// Drafted is how many tokens were guessed; Accepted how many rightly.
	Drafted, Accepted int
	// ReadTime and WriteTime are what reading and writing took.
	ReadTime, WriteTime time.Duration
}

// Final returns the answer: the text of the last message on the final channel.
func (t *Turn) Final() string {
	for _, m := range slices.Backward(t.Messages) {
		if answers(m) {
			return m.Text
		}
	}
	return ""
}

// answers says whether a message is an answer to the user.
func answers(m harmony.Message) bool {
	return m.Role == harmony.RoleAssistant && m.Channel == harmony.ChannelFinal && m.Recipient == ""
}

// Call returns the call that waits for its answer, if the turn ended in one.
func (t *Turn) Call() (harmony.Message, bool) {
	if t.Stop != StopCall {
		return harmony.Message{}, false
	}
	return t.Messages[len(t.Messages)-1], true
}

// NewChat returns an empty conversation with the default system message and
// without instructions.
//
// Errors: a tokenizer without harmony's special tokens; options out of range.
func NewChat(m *Model, tok *tokenizer.Tokenizer, o ChatOptions) (*Chat, error) {
	encoding, err := harmony.New(tok)
	if err != nil {
		return nil, fmt.Errorf("gptoss: chat: %w", err)
	}
	if o.MaxTokens < 0 || o.MaxCalls < 0 || o.Context < 0 {
		return nil, errors.New("gptoss: chat: MaxTokens, MaxCalls and Context must not be negative")
	}
	if o.MaxCalls == 0 {
		o.MaxCalls = 16
	}
	c := &Chat{options: o, encoding: encoding, limit: m.Config.MaxPositions}
	c.stop = slices.Concat(encoding.Stop(), o.Stop)
	if o.Context > 0 && (c.limit == 0 || o.Context < c.limit) {
		c.limit = o.Context
	}
	if c.generator, err = NewGenerator(m, o.Sampling, c.stop); err != nil {
		return nil, err
	}
	c.generator.Speculate(o.Speculation)
	c.Conversation.System = harmony.NewSystem()
	if o.Constraint != nil {
		if c.held, err = newHeld(o.Constraint, encoding, tok, m.Config.Vocab); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Limit returns how many tokens the conversation may have; 0 is any number.
func (c *Chat) Limit() int { return c.limit }

// Rendered returns the tokens that the model would read before it writes again.
//
// Errors: what harmony does not render.
func (c *Chat) Rendered() ([]int32, error) {
	conversation := c.Conversation
	if !conversation.KeepAnalysis {
		conversation.Messages = harmony.DropAnalysis(conversation.Messages)
		conversation.KeepAnalysis = true // what is left of it
	}
	return c.encoding.RenderForCompletion(conversation)
}

// Text returns the tokens that the model has read or written. They may be read
// until the next turn.
func (c *Chat) Text() []int32 { return c.generator.Text() }

// Pending returns the call that waits for its answer, if there is one.
func (c *Chat) Pending() (call harmony.Message, ok bool) {
	n := len(c.Conversation.Messages)
	if n == 0 {
		return call, false
	}
	call = c.Conversation.Messages[n-1]
	return call, call.Role == harmony.RoleAssistant && call.Recipient != "" && call.Recipient != "all"
}

// Say takes a turn: the user says text, the model answers, and emit, where it
// is not nil, is told of every step, tools' results among them.
//
// An error leaves the conversation as it was, and so does a turn that ends,
// by ctx, emit or a limit, before any of the answer was written. What there is
// of an answer by then is kept, so that the conversation goes on from what the
// user has seen. The turn is returned wherever the model began to write, with
// ctx's or emit's error too.
//
// Errors: a conversation that does not fit into the context; a call that is not
// answered; what harmony does not render; the model's.
func (c *Chat) Say(ctx context.Context, text string, emit func(harmony.Event) error) (*Turn, error) {
	if call, ok := c.Pending(); ok {
		return nil, fmt.Errorf("gptoss: chat: a call of %s waits for its answer; Answer it, or Undo", call.Recipient)
	}
	return c.turn(ctx, harmony.Message{Role: harmony.RoleUser, Text: text}, emit)
}

// Answer continues a turn that ended in a call: output is what the function
// returned. It is otherwise as Say.
//
// Errors: as Say; no call that waits.
func (c *Chat) Answer(ctx context.Context, output string, emit func(harmony.Event) error) (*Turn, error) {
	call, ok := c.Pending()
	if !ok {
		return nil, errors.New("gptoss: chat: no call waits for an answer")
	}
	return c.turn(ctx, harmony.ToolResult(call, output), emit)
}

// Undo forgets the last turn: the user's last message, and what follows.
func (c *Chat) Undo() {
	messages := c.Conversation.Messages
	for i, m := range slices.Backward(messages) {
		if m.Role == harmony.RoleUser {
			c.Conversation.Messages = messages[:i:i]
			return
		}
	}
}

// declared says whether the conversation has told the model of a function or a
// built-in tool.
func (c *Chat) declared(recipient string) bool {
	namespace, name, _ := strings.Cut(recipient, ".")
	if d := c.Conversation.Developer; d != nil && namespace == "functions" {
		return slices.ContainsFunc(d.Tools, func(t harmony.Tool) bool { return t.Name == name })
	}
	s := c.Conversation.System
	return s != nil && slices.ContainsFunc(s.Tools, func(n harmony.Namespace) bool { return n.Name == namespace })
}
