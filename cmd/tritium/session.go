package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/atomicfile"
)

// session is a session's file that is being replaced; nil is none.
type session struct{ *atomicfile.File }

// openSession gives g what the request's session, if there is one, shares with
// its prompt, and begins the file that will replace it: a place that cannot be
// written is to be known before the work.
func openSession(g *gptoss.Generator, r request) (*session, error) {
	if r.session == "" {
		return nil, nil
	}
	if err := resume(g, r.session, r.prompt); err != nil {
		return nil, fmt.Errorf("--session %s: %w", r.session, err)
	}
	f, err := atomicfile.Create(r.session)
	if err != nil {
		return nil, fmt.Errorf("--session: %w", err)
	}
	return &session{f}, nil
}

// resume loads a session, where the file exists, and rewinds it to what it
// shares with the prompt.
func resume(g *gptoss.Generator, path string, prompt []int32) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for a writer
		return errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := g.Load(bufio.NewReaderSize(f, 1<<20)); err != nil {
		return fmt.Errorf("%w; delete it or name another file", err)
	}
	same, most := 0, min(g.Len(), len(prompt)-1) // something is left to read
	for same < most && g.Text()[same] == prompt[same] {
		same++
	}
	if err := g.Rewind(same); err != nil {
		return err
	}
	if g.Cached() == 0 { // what the windows have forgotten is read like any prompt
		return g.Rewind(0)
	}
	return nil
}

// save replaces the session by what g has read.
func (s *session) save(g *gptoss.Generator) error {
	if s == nil {
		return nil
	}
	w := bufio.NewWriterSize(io.Writer(s.File), 1<<20)
	err := g.Save(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = s.Commit()
	}
	if err != nil {
		return fmt.Errorf("--session: %w", err)
	}
	return nil
}

// abort drops the new file, unless it was saved.
func (s *session) abort() {
	if s != nil {
		s.Abort()
	}
}
