package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/seed-796a8800/tritium/gptoss/harmony"
	"github.com/seed-796a8800/tritium/internal/progress"
)

// chatPrinter prints a turn while it happens: what is for the user as it is,
// everything else as notes.
type chatPrinter struct {
	text, notes   io.Writer
	plain         bool // text goes to a terminal, which must not be told what to do
	dim, bright   string
	showAnalysis  bool
	open          io.Writer // where a line has begun
	endsWithBreak bool
}

func newChatPrinter(a *app, showAnalysis bool) *chatPrinter {
	p := &chatPrinter{text: a.out, notes: a.err, plain: progress.Terminal(a.out), showAnalysis: showAnalysis}
	if _, colourless := os.LookupEnv("NO_COLOR"); progress.Terminal(a.err) && !colourless {
		p.dim, p.bright = "\x1b[2m", "\x1b[22m"
	}
	if a.quiet && !showAnalysis {
		p.notes = io.Discard
	}
	return p
}

// event prints a step of a turn.
func (p *chatPrinter) event(e harmony.Event) error {
	m := e.Message
	switch {
	case m.Role == harmony.RoleTool:
		return p.note(e, m.Name+" returned: ", true)
	case m.Recipient != "":
		return p.note(e, "calls "+m.Recipient+": ", true)
	case m.Channel == harmony.ChannelAnalysis:
		return p.note(e, "", p.showAnalysis)
	}
	switch e.Kind {
	case harmony.Delta:
		return p.write(p.text, e.Delta, p.plain)
	case harmony.End:
		return p.close()
	}
	return nil
}

// forUser says whether a message is one that event prints as it is.
func forUser(m harmony.Message) bool {
	return m.Role == harmony.RoleAssistant && m.Recipient == "" && m.Channel != harmony.ChannelAnalysis
}

// note prints what is not the answer.
func (p *chatPrinter) note(e harmony.Event, title string, show bool) error {
	if !show {
		return nil
	}
	switch e.Kind {
	case harmony.Begin:
		_, err := io.WriteString(p.notes, p.dim+title)
		p.open, p.endsWithBreak = p.notes, false
		return err
	case harmony.Delta:
		return p.write(p.notes, e.Delta, p.dim != "")
	}
	return p.close()
}

func (p *chatPrinter) write(w io.Writer, text string, plain bool) error {
	if plain {
		text = harmless(text)
	}
	p.open, p.endsWithBreak = w, strings.HasSuffix(text, "\n")
	_, err := io.WriteString(w, text)
	return err
}

// close ends the line that has begun.
func (p *chatPrinter) close() error {
	w := p.open
	if p.open = nil; w == nil {
		return nil
	}
	end := "\n"
	if p.endsWithBreak {
		end = ""
	}
	if w == p.notes {
		end = p.bright + end
	}
	_, err := io.WriteString(w, end)
	return err
}

// remark prints a line beside the conversation.
func (p *chatPrinter) remark(format string, args ...any) {
	fmt.Fprintf(p.notes, p.dim+format+p.bright+"\n", args...)
}

// harmless replaces what a terminal would take for a command.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
