package quantize

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// A unit's file holds named sections of bytes, one after the other, then a JSON
// object that says where they are and whatever else its kind wants to say, then
// the length of that object in 8 bytes. All numbers are little-endian. The
// store's checksum covers all of it.

// section is a part of a unit's file.
type section struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// contents is the JSON object at the end of a file.
type contents struct {
	Sections []section       `json:"sections"`
	About    json.RawMessage `json:"about"`
}

// spans says where sections are.
type spans map[string]struct{ at, bytes int64 }

func spansOf(sections []section) (s spans, end int64) {
	s = spans{}
	for _, x := range sections {
		s[x.Name] = struct{ at, bytes int64 }{end, x.Bytes}
		end += x.Bytes
	}
	return s, end
}

// unitWriter writes a unit's file. Its sections may be written in any order.
type unitWriter struct {
	file     *os.File
	sections []section
	spans    spans
	end      int64
}

func createUnit(path string, sections ...section) (*unitWriter, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, fmt.Errorf("quantize: %w", err)
	}
	w := &unitWriter{file: f, sections: sections}
	w.spans, w.end = spansOf(sections)
	return w, nil
}

// at returns a writer of a section from a byte on.
func (w *unitWriter) at(name string, byte int64) io.Writer {
	s := w.spans[name]
	return io.NewOffsetWriter(w.file, s.at+byte)
}

// finish writes the object at the end and closes the file.
func (w *unitWriter) finish(about any) error {
	raw, err := json.Marshal(about)
	if err != nil {
		return errors.Join(fmt.Errorf("quantize: %w", err), w.file.Close())
	}
	tail, err := json.Marshal(contents{w.sections, raw})
	if err == nil {
		_, err = w.file.WriteAt(binary.LittleEndian.AppendUint64(tail, uint64(len(tail))), w.end)
	}
	if err := errors.Join(err, w.file.Close()); err != nil {
		return fmt.Errorf("quantize: %w", err)
	}
	return nil
}

// writeUnit writes a file whose sections are in memory.
func writeUnit(path string, about any, parts ...part) error {
	sections := make([]section, len(parts))
	for i, p := range parts {
		sections[i] = section{p.name, int64(len(p.data))}
	}
	w, err := createUnit(path, sections...)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := w.at(p.name, 0).Write(p.data); err != nil {
			return errors.Join(fmt.Errorf("quantize: %w", err), w.file.Close())
		}
	}
	return w.finish(about)
}

// part is a section with its bytes.
type part struct {
	name string
	data []byte
}

// unitReader reads a unit's file. It may be used by several goroutines.
type unitReader struct {
	file  *os.File
	spans spans
	about json.RawMessage
}

// openUnit opens a unit that the store has; close it.
func openUnit(path string) (_ *unitReader, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("quantize: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("quantize: %s: %w", path, err), f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var length [8]byte
	if _, err := f.ReadAt(length[:], info.Size()-8); err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint64(length[:]))
	if n < 0 || n > info.Size()-8 {
		return nil, fmt.Errorf("is no unit of a quantization")
	}
	tail := make([]byte, n)
	if _, err := f.ReadAt(tail, info.Size()-8-n); err != nil {
		return nil, err
	}
	var c contents
	if err := json.Unmarshal(tail, &c); err != nil {
		return nil, err
	}
	s, end := spansOf(c.Sections)
	if end != info.Size()-8-n {
		return nil, fmt.Errorf("is no unit of a quantization")
	}
	return &unitReader{f, s, c.About}, nil
}

func (r *unitReader) close() { r.file.Close() } // it was only read

// section returns a reader of a section's bytes.
func (r *unitReader) section(name string) *io.SectionReader {
	s := r.spans[name]
	return io.NewSectionReader(r.file, s.at, s.bytes)
}

// bytes reads a whole section.
func (r *unitReader) bytes(name string) ([]byte, error) {
	data := make([]byte, r.spans[name].bytes)
	return data, r.read(name, 0, data)
}

// read fills dst from a section's byte on.
func (r *unitReader) read(name string, at int64, dst []byte) error {
	if s, ok := r.spans[name]; !ok || at < 0 || at+int64(len(dst)) > s.bytes {
		return fmt.Errorf("quantize: %s: no bytes %d to %d of %q", r.file.Name(), at, at+int64(len(dst)), name)
	}
	if _, err := r.file.ReadAt(dst, r.spans[name].at+at); err != nil {
		return fmt.Errorf("quantize: %w", err)
	}
	return nil
}

// tell decodes what the file says beside its sections.
func (r *unitReader) tell(about any) error {
	if err := json.Unmarshal(r.about, about); err != nil {
		return fmt.Errorf("quantize: %s: %w", r.file.Name(), err)
	}
	return nil
}

// tellOf decodes what a unit's file says beside its sections.
func tellOf(path string, about any) error {
	f, err := openUnit(path)
	if err != nil {
		return err
	}
	defer f.close()
	return f.tell(about)
}

// bytesOf returns numbers as they are stored, in the memory of buf where that
// suffices.
func bytesOf[T float32 | float64 | int32](buf []byte, x []T) []byte {
	size := binary.Size(T(0))
	buf = grow(buf, size*len(x))
	switch x := any(x).(type) {
	case []float32:
		for i, v := range x {
			binary.LittleEndian.PutUint32(buf[4*i:], math.Float32bits(v))
		}
	case []float64:
		for i, v := range x {
			binary.LittleEndian.PutUint64(buf[8*i:], math.Float64bits(v))
		}
	case []int32:
		for i, v := range x {
			binary.LittleEndian.PutUint32(buf[4*i:], uint32(v))
		}
	}
	return buf
}

// numbersOf sets dst to the numbers that data holds.
func numbersOf[T float32 | float64 | int32](dst []T, data []byte) {
	switch x := any(dst).(type) {
	case []float32:
		for i := range x {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	case []float64:
		for i := range x {
			x[i] = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
		}
	case []int32:
		for i := range x {
			x[i] = int32(binary.LittleEndian.Uint32(data[4*i:]))
		}
	}
}
