package quantize

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/seed-796a8800/tritium/internal/atomicfile"
)

// checkpoint keeps the state of a training in a file, so that a process that
// comes later goes on where this one was killed: the number of steps, and of
// every parameter its value and Adam's two moments. The order of the windows
// follows from the seed. The file ends in its SHA-256.
type checkpoint struct {
	path    string
	trainer *trainer
	next    time.Time
	every   time.Duration
}

// defaultCheckpointEvery is how often the state is kept, but no more than a
// twentieth of the time goes into it.
const defaultCheckpointEvery = 30 * time.Second

func newCheckpoint(path string, t *trainer, every time.Duration) *checkpoint {
	return &checkpoint{path: path, trainer: t, every: every, next: time.Now().Add(every)}
}

// state are the numbers to keep.
func (c *checkpoint) state() (s [][]float32) {
	a := c.trainer.optimizer
	for i, p := range c.trainer.params {
		s = append(s, p.value, a.first[i], a.second[i])
	}
	return s
}

// keep writes the state if it is time.
func (c *checkpoint) keep() error {
	start := time.Now()
	if start.Before(c.next) {
		return nil
	}
	if err := atomicfile.WriteFile(c.path, c.write); err != nil {
		return err
	}
	c.next = time.Now().Add(max(c.every, 20*time.Since(start)))
	return nil
}

func (c *checkpoint) write(to io.Writer) error {
	h := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(to, h), 1<<20)
	if err := binary.Write(w, binary.LittleEndian, uint64(c.trainer.steps())); err != nil {
		return err
	}
	var buf []byte
	for _, x := range c.state() {
		for len(x) > 0 {
			n := min(len(x), 1<<16)
			buf = bytesOf(buf, x[:n])
			if _, err := w.Write(buf); err != nil {
				return err
			}
			x = x[n:]
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := to.Write(h.Sum(nil))
	return err
}

// load takes up a state that was kept. One that is damaged counts as none.
func (c *checkpoint) load() error {
	f, err := os.Open(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("quantize: %w", err)
	}
	defer f.Close()
	whole, err := c.whole(f)
	if err != nil || !whole {
		return err
	}
	r := bufio.NewReaderSize(f, 1<<20)
	var steps uint64
	if err := binary.Read(r, binary.LittleEndian, &steps); err != nil {
		return fmt.Errorf("quantize: %w", err)
	}
	var buf []byte
	for _, x := range c.state() {
		for len(x) > 0 {
			n := min(len(x), 1<<16)
			buf = grow(buf, 4*n)
			if _, err := io.ReadFull(r, buf); err != nil {
				return fmt.Errorf("quantize: %w", err)
			}
			numbersOf(x[:n], buf)
			x = x[n:]
		}
	}
	c.trainer.optimizer.steps = int(steps)
	return nil
}

// whole says whether the file has the length and the checksum it should have,
// and leaves it at its start.
func (c *checkpoint) whole(f *os.File) (bool, error) {
	size := int64(8)
	for _, x := range c.state() {
		size += 4 * int64(len(x))
	}
	info, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("quantize: %w", err)
	}
	if info.Size() != size+sha256.Size {
		return false, nil
	}
	h := sha256.New()
	if _, err := io.CopyN(h, f, size); err != nil {
		return false, fmt.Errorf("quantize: %w", err)
	}
	sum, err := io.ReadAll(f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return false, fmt.Errorf("quantize: %w", err)
	}
	return bytes.Equal(sum, h.Sum(nil)), nil
}
