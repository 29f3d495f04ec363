package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
)

// chatSession is a conversation with a person.
type chatSession struct {
	*app
	chat    *gptoss.Chat
	flags   *chatFlags
	tools   *toolbox
	printer *chatPrinter

	lines       lineReader
	interactive bool
	total       chatTotal
}

// chatTotal is what all turns took.
type chatTotal struct {
	turns, read, written, repaired int
	drafted, accepted              int
	readTime, writeTime            time.Duration
}

func (c *chatTotal) add(t *gptoss.Turn) {
	c.turns++
	c.read, c.written, c.repaired = c.read+t.Read, c.written+t.Written, c.repaired+t.Repaired
	c.drafted, c.accepted = c.drafted+t.Drafted, c.accepted+t.Accepted
	c.readTime, c.writeTime = c.readTime+t.ReadTime, c.writeTime+t.WriteTime
}

// errLeave ends the conversation.
var errLeave = errors.New("leave")

// converse takes turns until there is no more input.
func (s *chatSession) converse(ctx context.Context) error {
	s.lines, s.interactive = newLineReader(s.in, s.err)
	if s.interactive {
		signal.Reset(os.Interrupt) // it stops an answer, and not the program
		s.printer.remark("/help names the commands; Ctrl-D leaves")
	}
	abandoned := 0
	for {
		text, err := readMessage(s.lines, "> ")
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errAbandoned):
			if abandoned++; abandoned == quitAfter {
				return nil
			}
			s.printer.remark("Ctrl-C once more leaves")
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		abandoned = 0
		err = s.take(ctx, text)
		switch {
		case err == nil:
		case errors.Is(err, errLeave):
			return nil
		case ctx.Err() != nil || !s.interactive:
			return err
		default:
			fmt.Fprintf(s.err, "tritium: %s\n", oneLine(err))
		}
	}
}

// take takes a command or a message.
func (s *chatSession) take(ctx context.Context, text string) error {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	if rest, ok := strings.CutPrefix(text, "/"); ok && !strings.HasPrefix(rest, "/") {
		return s.command(rest)
	} else if ok {
		text = rest
	}
	turn, err := s.say(ctx, func(ctx context.Context) (*gptoss.Turn, error) { return s.chat.Say(ctx, text, s.printer.event) })
	for err == nil {
		call, ok := turn.Call()
		if !ok {
			return nil
		}
		result, e := readMessage(s.lines, "what "+call.Recipient+" returns> ")
		if e != nil {
			s.chat.Undo()
			s.printer.remark("not answered; the turn is taken back")
			if errors.Is(e, errAbandoned) || errors.Is(e, io.EOF) {
				return nil
			}
			return e
		}
		turn, err = s.say(ctx, func(ctx context.Context) (*gptoss.Turn, error) { return s.chat.Answer(ctx, result, s.printer.event) })
	}
	return err
}

// say has the model write, which Ctrl-C stops on a terminal.
func (s *chatSession) say(ctx context.Context, write func(context.Context) (*gptoss.Turn, error)) (*gptoss.Turn, error) {
	if s.interactive {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt)
		defer stop()
	}
	turn, err := write(ctx)
	if e := s.printer.close(); err == nil {
		err = e
	}
	if turn != nil {
		s.total.add(turn)
		s.printer.remark("%s", closing(s.chat, turn))
	}
	if turn == nil {
		turn = &gptoss.Turn{}
	}
	if s.interactive && interrupted(err) { // what there is of the answer was kept, or nothing
		if _, ok := s.chat.Pending(); ok {
			s.chat.Undo()
		}
		turn.Stop, err = gptoss.StopCancelled, nil
	}
	return turn, err
}
