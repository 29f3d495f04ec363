package quantize

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"time"

	"github.com/seed-796a8800/tritium/internal/atomicfile"
)

// A trainer's state on disk is a header of JSON with its length before it
// (uint32), then little-endian float32 values and bytes, in this order:
//
//	values          of every parameter
//	moments         Adam's two of every parameter; not of a finished pass
//	best            the best result's values and codes; not of a finished pass
//	sha256          of all before it
//
// Lengths are those of the model that reads it, so a file cannot ask for memory.
const stateMagic = "tritium training 1"

type stateHeader struct {
	Magic    string         `json:"magic"`
	Step     int            `json:"step"`
	BestStep int            `json:"best_step"`
	BestLoss float64        `json:"best_loss"`
	Stale    int            `json:"stale"`
	Recent   float64        `json:"recent"`
	Done     bool           `json:"done"`
	Report   ReportTraining `json:"report"`
}

// maxStateHeader bounds what is read before the header is checked.
const maxStateHeader = 1 << 16

// checkpoint is the file that an interrupted pass leaves for the next one. A nil
// checkpoint keeps nothing.
type checkpoint struct {
	path  string
	every time.Duration
	next  time.Time
}

// defaultCheckpointEvery is how often the state is kept, but no more than a
// twentieth of the time goes into it.
const defaultCheckpointEvery = 30 * time.Second

// keep saves the state if it is time.
func (c *checkpoint) keep(t *trainer) error {
	if c == nil || time.Now().Before(c.next) {
		return nil
	}
	return c.save(t)
}

func (c *checkpoint) save(t *trainer) error {
	if c == nil {
		return nil
	}
	start := time.Now()
	if err := atomicfile.WriteFile(c.path, t.write); err != nil {
		return err
	}
	c.next = time.Now().Add(max(c.every, 20*time.Since(start)))
	return nil
}

// load continues where another call was interrupted, if one was. A file that is
// damaged counts as none.
func (c *checkpoint) load(t *trainer) error {
	if c == nil {
		return nil
	}
	c.next = time.Now().Add(c.every)
	f, err := os.Open(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("quantize: %w", err)
	}
	defer f.Close()
	whole, err := isWhole(f)
	if err == nil && whole {
		err = t.read(f)
	}
	if err != nil {
		return fmt.Errorf("quantize: %s: %w", c.path, err)
	}
	return nil
}

// isWhole says whether a state ends in the checksum of what is before it, and
// leaves the file at its start.
func isWhole(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil || info.Size() < sha256.Size {
		return false, err
	}
	h := sha256.New()
	if _, err := io.CopyN(h, f, info.Size()-sha256.Size); err != nil {
		return false, err
	}
	sum, err := io.ReadAll(io.LimitReader(f, sha256.Size))
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	return bytes.Equal(sum, h.Sum(nil)), err
}

// write writes the state.
func (t *trainer) write(to io.Writer) error {
	buf := bufio.NewWriterSize(to, 1<<20)
	h := sha256.New()
	s := stateStream{w: io.MultiWriter(buf, h)}
	st := &t.state
	header, err := json.Marshal(stateHeader{stateMagic, st.step, st.best.step, st.best.loss, st.stale, st.recent, st.done, st.report})
	if err != nil {
		return err
	}
	s.bytes(binary.LittleEndian.AppendUint32(nil, uint32(len(header))))
	s.bytes(header)
	t.stream(&s, st.done)
	s.w = buf
	s.bytes(h.Sum(nil))
	return errors.Join(s.err, buf.Flush())
}

// stream sends the arrays of the state through s, one way or the other.
func (t *trainer) stream(s *stateStream, done bool) {
	for i := range t.params {
		s.floats(t.params[i].value)
	}
	if done {
		return
	}
	for i := range t.params {
		s.floats(t.state.optimizer.first[i])
		s.floats(t.state.optimizer.second[i])
	}
	s.result(t.state.best.result)
}

var errBroken = errors.New("the state of a training is broken; remove it to train from the beginning")

// read takes over a state that write wrote for a trainer of the same key.
//
// Errors: a file that is cut off or changed, which leaves the trainer unusable.
func (t *trainer) read(from io.Reader) error {
	h := sha256.New()
	buf := bufio.NewReaderSize(from, 1<<20)
	s := stateStream{r: io.TeeReader(buf, h)}
	var length [4]byte
	s.bytes(length[:])
	n := binary.LittleEndian.Uint32(length[:])
	if s.err != nil || n > maxStateHeader {
		return errBroken
	}
	data := make([]byte, n)
	s.bytes(data)
	var head stateHeader
	if s.err != nil || json.Unmarshal(data, &head) != nil || head.Magic != stateMagic || head.Step < 0 || head.Step > t.opt.Steps {
		return errBroken
	}
	t.stream(&s, head.Done)
	var sum [sha256.Size]byte
	want := h.Sum(nil)
	s.r = buf
	s.bytes(sum[:])
	if s.err != nil || string(sum[:]) != string(want) {
		return errBroken
	}
	st := &t.state
	st.step, st.stale, st.recent, st.done, st.report = head.Step, head.Stale, head.Recent, head.Done, head.Report
	st.best.step, st.best.loss = head.BestStep, head.BestLoss
	st.optimizer.steps = head.Step
	windows := make([]int, t.opt.Batch)
	for range head.Step {
		st.order.next(windows)
	}
	return nil
}

// stateStream writes arrays or reads them into where they are.
type stateStream struct {
	w   io.Writer
	r   io.Reader
	buf []byte
	err error
}

func (s *stateStream) bytes(b []byte) {
	switch {
	case s.err != nil:
	case s.w != nil:
		_, s.err = s.w.Write(b)
	default:
		_, s.err = io.ReadFull(s.r, b)
	}
}

func (s *stateStream) floats(x []float32) {
	const chunk = 1 << 14
	if s.buf == nil {
		s.buf = make([]byte, 4*chunk)
	}
	for len(x) > 0 && s.err == nil {
		part := x[:min(chunk, len(x))]
		b := s.buf[:4*len(part)]
		if s.w != nil {
			for i, v := range part {
				binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
			}
		}
		if s.bytes(b); s.w == nil && s.err == nil {
			for i := range part {
				part[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
			}
		}
		x = x[len(part):]
	}
}

func (s *stateStream) codes(x []int8) {
	const chunk = 1 << 16
	for len(x) > 0 && s.err == nil {
		part := x[:min(chunk, len(x))]
		b := make([]byte, len(part))
		for i, v := range part {
			b[i] = byte(v)
		}
		s.bytes(b)
		for i, v := range b {
			part[i] = int8(v)
		}
		x = x[len(part):]
	}
}

func (s *stateStream) result(r *result) {
	for _, v := range r.values {
		s.floats(v)
	}
	for _, c := range r.codes {
		s.codes(c)
	}
}
