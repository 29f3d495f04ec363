package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/gptoss/harmony"
	"github.com/seed-796a8800/tritium/internal/atomicfile"
)

const chatHelp = `/reset              begins a new conversation
/undo               takes the last turn back
/save FILE          writes the conversation as JSON
/load FILE          goes on with one that was saved
/system [TEXT]      who the model is told it is
/developer [TEXT]   your instructions
/reasoning [LEVEL]  low, medium or high
/analysis           shows what the model thinks, or no longer
/tools              the functions that the model may call
/stats              tokens, speeds, use of the context
/exit               leaves, as Ctrl-D does
A line that ends in \ goes on in the next; so do all between """ and """.
A message that begins with / is written with two.`

// command carries out a line that began with "/".
func (s *chatSession) command(line string) error {
	name, argument, _ := strings.Cut(line, " ")
	argument = strings.TrimSpace(argument)
	conversation := &s.chat.Conversation
	switch strings.TrimSpace(name) {
	case "help", "?":
		s.tell("%s", chatHelp)
	case "exit", "quit", "bye":
		return errLeave
	case "reset":
		conversation.Messages = nil
	case "undo":
		s.chat.Undo()
	case "save":
		return s.save(argument)
	case "load":
		if argument == "" {
			return errors.New("/load needs a file")
		}
		if err := loadChat(s.chat, argument); err != nil {
			return fmt.Errorf("/load: %w", err)
		}
	case "system":
		return s.identity(argument)
	case "developer":
		s.instructions(argument)
	case "reasoning":
		return s.reasoning(argument)
	case "analysis":
		s.printer.showAnalysis = !s.printer.showAnalysis
		s.tell("analysis is %s", map[bool]string{true: "shown", false: "hidden"}[s.printer.showAnalysis])
	case "tools":
		s.listTools()
	case "stats":
		s.stats()
	default:
		return fmt.Errorf("no command /%s; /help names them", name)
	}
	return nil
}

// tell prints what a command was asked for.
func (s *chatSession) tell(format string, args ...any) { fmt.Fprintf(s.err, format+"\n", args...) }

func (s *chatSession) save(path string) error {
	if path == "" {
		return errors.New("/save needs a file")
	}
	f, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := s.chat.Save(f); err != nil {
		return err
	}
	return f.Commit()
}

// identity shows or changes the first line of the system message.
func (s *chatSession) identity(text string) error {
	system := s.chat.Conversation.System
	if system == nil {
		return errors.New("this conversation has no system message")
	}
	if text != "" {
		system.Identity = text
	}
	s.tell("%s", system.Identity)
	return nil
}

// instructions shows or changes the developer message.
func (s *chatSession) instructions(text string) {
	c := &s.chat.Conversation
	if text != "" {
		if c.Developer == nil {
			c.Developer = &harmony.Developer{}
		}
		c.Developer.Instructions = text
	}
	if c.Developer == nil || c.Developer.Instructions == "" {
		s.tell("no instructions")
		return
	}
	s.tell("%s", c.Developer.Instructions)
}

func (s *chatSession) reasoning(level string) error {
	system := s.chat.Conversation.System
	if system == nil {
		return errors.New("this conversation has no system message")
	}
	switch r := harmony.Reasoning(level); r {
	case "":
	case harmony.ReasoningLow, harmony.ReasoningMedium, harmony.ReasoningHigh:
		system.Reasoning = r
	default:
		return fmt.Errorf("/reasoning %s; choose low, medium or high", level)
	}
	s.tell("reasoning is %s", system.Reasoning)
	return nil
}

func (s *chatSession) listTools() {
	d := s.chat.Conversation.Developer
	if d == nil || len(d.Tools) == 0 {
		s.tell("no tools; --tools names a file of them")
		return
	}
	for _, t := range d.Tools {
		s.tell("functions.%s, answered by %s: %s", t.Name, cmp.Or(s.tools.commands[t.Name], "you"), t.Description)
	}
}

func (s *chatSession) stats() {
	t := s.total
	s.tell("%d turns: %s tokens read at %.1f/s, %s written at %.1f/s", t.turns, count(t.read), rateOf(t.read, t.readTime),
		count(t.written), rateOf(t.written, t.writeTime))
	if t.drafted > 0 {
		s.tell("%d of %d guesses were right", t.accepted, t.drafted)
	}
	s.tell("%d departures from harmony were repaired", t.repaired)
	used := len(s.chat.Text())
	if ids, err := s.chat.Rendered(); err == nil {
		used = len(ids)
	}
	s.tell("%s, %d messages", contextUse(s.chat, used), len(s.chat.Conversation.Messages))
}

// closing says in one line how a turn went.
func closing(chat *gptoss.Chat, t *gptoss.Turn) string {
	line := fmt.Sprintf("%d tokens read at %.1f/s, %d written at %.1f/s; %s", t.Read, rateOf(t.Read, t.ReadTime),
		t.Written, rateOf(t.Written, t.WriteTime), contextUse(chat, t.Context))
	if t.Repaired > 0 {
		line += fmt.Sprintf("; %d departures from harmony", t.Repaired)
	}
	switch t.Stop {
	case gptoss.StopReturn:
		if !slices.ContainsFunc(t.Messages, forUser) {
			line += "; the model gave no answer"
		}
	case gptoss.StopLength:
		line += "; cut short by --max-tokens"
	case gptoss.StopContext:
		line += "; cut short: the context is full"
	case gptoss.StopCancelled:
		line += "; stopped"
	}
	return line
}

func contextUse(chat *gptoss.Chat, n int) string {
	if chat.Limit() == 0 {
		return fmt.Sprintf("context %s", count(n))
	}
	return fmt.Sprintf("context %s of %s", count(n), count(chat.Limit()))
}
