package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/seed-796a8800/tritium/internal/progress"
	"golang.org/x/term"
)

// errAbandoned is Ctrl-C at a prompt.
var errAbandoned = errors.New("abandoned")

// maxMessage bounds what is typed or piped for one message.
const maxMessage = 4 << 20

// lineReader reads lines from a person or a pipe.
type lineReader interface {
	// readLine returns a line without its end. pasted says that it is part of a
	// text that was pasted and goes on.
	readLine(prompt string) (line string, pasted bool, err error)
}

// newLineReader returns an editor where input and output are a terminal.
func newLineReader(in io.Reader, out io.Writer) (r lineReader, interactive bool) {
	if file, ok := in.(*os.File); ok && progress.Terminal(in) && progress.Terminal(out) {
		return &editor{in: file, out: out}, true
	}
	return &pipe{bufio.NewReader(in)}, false
}

// pipe reads lines from anything.
type pipe struct{ in *bufio.Reader }

func (p *pipe) readLine(string) (string, bool, error) {
	var line []byte
	for {
		part, more, err := p.in.ReadLine()
		if err != nil {
			return "", false, err
		}
		if line = append(line, part...); len(line) > maxMessage {
			return "", false, fmt.Errorf("stdin: a line of more than %d bytes", maxMessage)
		}
		if !more {
			return string(line), false, nil
		}
	}
}

// editor reads lines from a terminal, which is itself again between them.
type editor struct {
	in      *os.File
	out     io.Writer
	history term.History
	term    *term.Terminal
	last    byte // that was read
}

// Read notes which key it is that ends a line without one.
func (e *editor) Read(p []byte) (int, error) {
	n, err := e.in.Read(p)
	if n > 0 {
		e.last = p[n-1]
	}
	return n, err
}

func (e *editor) Write(p []byte) (int, error) { return e.out.Write(p) }

func (e *editor) readLine(prompt string) (string, bool, error) {
	fd := int(e.in.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return "", false, fmt.Errorf("stdin: %w", err)
	}
	defer term.Restore(fd, before)
	if e.term == nil {
		e.term = term.NewTerminal(e, prompt)
		if e.history != nil {
			e.term.History = e.history
		}
		e.history = e.term.History
	}
	e.term.SetPrompt(prompt)
	if width, height, err := term.GetSize(fd); err == nil && width > 0 {
		e.term.SetSize(width, height) // it fails where nothing can be drawn, and then nothing is
	}
	e.term.SetBracketedPasteMode(true)
	defer e.term.SetBracketedPasteMode(false)
	line, err := e.term.ReadLine()
	const ctrlC = 3
	switch {
	case errors.Is(err, term.ErrPasteIndicator):
		return line, true, nil
	case errors.Is(err, io.EOF):
		fmt.Fprint(e.out, "\r\n")
		if e.term = nil; e.last == ctrlC { // what was typed is forgotten with the terminal
			return "", false, errAbandoned
		}
		return "", false, io.EOF
	}
	return line, false, err
}

const fence = `"""`

// readMessage reads a message of one line or several: a \ at the end of a line,
// """ at the beginning of the first, or a paste make it go on.
func readMessage(r lineReader, prompt string) (string, error) {
	var text strings.Builder
	fenced := false
	for first := true; ; first = false {
		if !first {
			prompt = "... "
		}
		line, pasted, err := r.readLine(prompt)
		if errors.Is(err, io.EOF) && !first && text.Len() > 0 {
			return strings.TrimSuffix(text.String(), "\n"), nil
		}
		if err != nil {
			return "", err
		}
		if text.Len()+len(line) > maxMessage {
			return "", fmt.Errorf("a message of more than %d bytes", maxMessage)
		}
		if first {
			line, fenced = strings.CutPrefix(line, fence)
		}
		more := pasted
		if fenced {
			whole, closed := strings.CutSuffix(line, fence)
			line, more = whole, !closed
		} else if cut, ok := strings.CutSuffix(line, `\`); ok {
			line, more = cut, true
		}
		text.WriteString(line)
		if !more {
			return strings.Trim(text.String(), "\n"), nil
		}
		text.WriteByte('\n')
	}
}
