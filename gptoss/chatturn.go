package gptoss

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-796a8800/tritium/gptoss/harmony"
)

// prefillChunk is how many tokens are read between two looks at the context.
const prefillChunk = 256

// turn adds a message and has the model write until it hands over to the user,
// or to a function that nobody here answers for.
func (c *Chat) turn(ctx context.Context, m harmony.Message, emit func(harmony.Event) error) (*Turn, error) {
	before := c.Conversation.Messages
	kept := len(before)
	// A copy: what is taken back must not be overwritten by what follows.
	c.Conversation.Messages = append(before[:kept:kept], m)
	if emit == nil {
		emit = func(harmony.Event) error { return nil }
	}
	w := &writing{Chat: c, Turn: &Turn{}, ctx: ctx, emit: emit}
	err := w.run(m.Role == harmony.RoleUser)
	if w.Written == 0 && err != nil {
		c.Conversation.Messages = before
		return nil, err
	}
	w.Context = c.generator.Len()
	if !w.keeps() || err != nil && w.Stop != StopCancelled {
		c.Conversation.Messages = before
	}
	return w.Turn, err
}

// writing is a turn that goes on.
type writing struct {
	*Chat
	*Turn
	ctx  context.Context
	emit func(harmony.Event) error

	began     bool      // the message that is being written has begun, and not ended
	calling   bool      // it is a call
	answering bool      // it is the answer, and held to the constraint
	forced    [][]int32 // what a header may go on with; none: it is free
	short     bool      // it ends before its end
	deaf      bool      // emit failed
	repaired  int       // departures from harmony in it and before
}

// run writes and has tools answer, in turns. mine says that the turn begins
// here, and not with an answer of the caller's.
func (w *writing) run(mine bool) error {
	for calls := 0; ; calls++ {
		if err := w.read(mine && calls == 0); err != nil {
			return err
		}
		if err := w.write(); err != nil || w.Stop != StopCall {
			return err
		}
		call, _ := w.Call()
		answer, ok := w.options.Tools[call.Recipient]
		switch {
		case !ok && w.declared(call.Recipient):
			return nil
		case calls == w.options.MaxCalls:
			w.Stop = StopLength
			return nil
		case !ok:
			answer = func(context.Context, string) (string, error) {
				return "", fmt.Errorf("there is no tool %s", call.Recipient)
			}
		}
		if err := w.answer(call, answer); err != nil {
			w.Stop = StopCancelled
			return err
		}
	}
}

// answer lets a function answer a call.
func (w *writing) answer(call harmony.Message, f ToolFunc) error {
	result, err := f(w.ctx, call.Text)
	if w.ctx.Err() != nil {
		return w.ctx.Err()
	}
	if err != nil {
		result = "error: " + err.Error()
	}
	m := harmony.ToolResult(call, result)
	w.add(m)
	header := m
	header.Text = ""
	events := []harmony.Event{{Kind: harmony.Begin, Message: header}, {Kind: harmony.Delta, Message: header, Delta: result}, {Kind: harmony.End, Message: m}}
	for _, e := range events {
		if e.Kind == harmony.Delta && e.Delta == "" {
			continue
		}
		if err := w.emit(e); err != nil {
			return err
		}
	}
	return nil
}

// add appends a message to the turn and to the conversation.
func (w *writing) add(m harmony.Message) {
	w.Messages = append(w.Messages, m)
	w.Conversation.Messages = append(w.Conversation.Messages, m)
}

// keeps says whether the turn belongs into the conversation.
func (w *writing) keeps() bool {
	return w.Stop == StopReturn || w.Stop == StopCall || slices.ContainsFunc(w.Messages, answers)
}

// read makes the generator's text what the conversation renders to. first says
// that what follows will be read again without its analysis.
func (w *writing) read(first bool) error {
	ids, err := w.Rendered()
	if err != nil {
		return fmt.Errorf("gptoss: chat: %w", err)
	}
	if w.limit > 0 && len(ids) >= w.limit {
		return fmt.Errorf("gptoss: chat: the conversation has %d tokens, which leaves no room for an answer in a context of %d; say less, or begin a new one",
			len(ids), w.limit)
	}
	start := time.Now()
	g := w.generator
	same := 0
	for same < min(len(ids), g.Len()) && g.Text()[same] == ids[same] {
		same++
	}
	if err := g.Rewind(same); err != nil {
		return err
	}
	if cached := g.Cached(); cached < same { // read what a window forgot like the rest
		if err := g.Rewind(cached); err != nil {
			return err
		}
	}
	w.Prompt = len(ids)
	w.Read += len(ids) - g.Cached()
	for chunk := range slices.Chunk(ids[g.Len():], prefillChunk) {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if err := g.Prefill(chunk); err != nil {
			return err
		}
	}
	if first {
		g.Keep()
	}
	w.ReadTime += time.Since(start)
	return nil
}

// write has the model write until it stops.
func (w *writing) write() error {
	start, g := time.Now(), w.generator
	drafted, accepted := g.Drafted()
	parser := w.encoding.NewParser(harmony.RoleAssistant)
	w.began, w.answering, w.repaired = false, false, 0
	if w.held != nil {
		w.expect(false)
	}
	defer func() {
		g.Restrict(nil)
		d, a := g.Drafted()
		w.Drafted, w.Accepted = w.Drafted+d-drafted, w.Accepted+a-accepted
		w.WriteTime += time.Since(start)
		w.Repaired += w.repaired
	}()
	for w.Stop = ""; w.Stop == ""; {
		if err := w.step(parser); err != nil {
			return err
		}
	}
	return nil
}

// step writes one token.
func (w *writing) step(parser *harmony.Parser) error {
	if err := w.ctx.Err(); err != nil {
		return errors.Join(err, w.cut(parser, StopCancelled))
	}
	switch {
	case w.options.MaxTokens > 0 && w.Written >= w.options.MaxTokens:
		return w.cut(parser, StopLength)
	case w.limit > 0 && w.generator.Len() >= w.limit:
		return w.cut(parser, StopContext)
	}
	w.restrict()
	id, stop, err := w.generator.Next()
	if err != nil {
		return err
	}
	w.Written++
	if stop && w.held != nil && w.thinking() { // the answer is still to come
		if id, stop = w.held.end, false; w.generator.Prefill([]int32{id}) != nil {
			return w.cut(parser, StopContext)
		}
	}
	if !stop {
		if err := w.accept(id); err != nil {
			return err
		}
	}
	err = w.take(parser.Write(id))
	w.repaired = parser.Repaired()
	if err == nil && stop {
		err = w.take(parser.Close())
		if w.Stop == "" {
			w.Stop = StopReturn
			if _, ok := w.Pending(); ok && len(w.Messages) > 0 {
				w.Stop = StopCall
			}
		}
	}
	if w.deaf {
		return errors.Join(err, w.cut(parser, StopCancelled))
	}
	return err
}

// take passes on what happened, and keeps messages that are complete.
func (w *writing) take(events []harmony.Event) error {
	for _, e := range events {
		if e.Message.Role != harmony.RoleAssistant { // the model speaks for others: its turn is over
			w.Stop = StopReturn
			return nil
		}
		switch {
		case e.Kind == harmony.Begin:
			w.began, w.calling = true, e.Message.Recipient != ""
			if w.answering = w.held != nil && answers(e.Message); w.answering {
				w.held.Reset()
			}
		case e.Kind == harmony.End:
			w.began, w.answering = false, false
			if w.held != nil {
				w.expect(true)
			}
			if !w.short || answers(e.Message) && e.Message.Text != "" {
				w.add(e.Message)
			}
		}
		if w.deaf {
			continue
		}
		if err := w.emit(e); err != nil {
			w.deaf = true
			return err
		}
	}
	return nil
}

// cut ends the turn, and the message that is being written. Of an answer is
// kept what there is; a thought or a call that is not complete is of no use.
func (w *writing) cut(parser *harmony.Parser, why StopReason) error {
	w.Stop, w.short, w.answering = why, true, false
	if !w.began {
		return nil
	}
	return w.take(parser.Close())
}
