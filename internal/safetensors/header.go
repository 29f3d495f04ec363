package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"
)

const (
	maxHeader   = 100_000_000 // the limit of the reference implementation
	maxRank     = 64          // numpy and torch allow at most 64 dimensions
	metadataKey = "__metadata__"
)

// file is one mapped .safetensors file.
type file struct {
	path    string
	mapping []byte
	tensors []Tensor // ascending by data offset
	meta    map[string]string
}

// entry is a header entry: a tensor and the bytes of the data section it claims.
type entry struct {
	name       string
	dtype      Dtype
	shape      []int
	begin, end int64
}

// headerLength checks the length prefix of a file of the given size; nothing is allocated on its say before that.
func headerLength(prefix []byte, size int64) (int64, error) {
	n := binary.LittleEndian.Uint64(prefix)
	switch {
	case n > maxHeader:
		return 0, fmt.Errorf("header length %d is over the limit of %d bytes", n, maxHeader)
	case int64(n) > size-8:
		return 0, fmt.Errorf("header length %d is past the end of the file (%d bytes); the file is truncated or not safetensors", n, size)
	}
	return int64(n), nil
}

// parse checks the header of the mapped file and slices its tensors out of the data section.
func (f *file) parse() error {
	n, err := headerLength(f.mapping, int64(len(f.mapping)))
	if err != nil {
		return err
	}
	header, data := f.mapping[8:8+n], f.mapping[8+n:]
	entries, meta, err := parseHeader(header)
	if err != nil {
		return err
	}
	if err := checkLayout(entries, int64(len(data))); err != nil {
		return err
	}
	f.meta = meta
	f.tensors = make([]Tensor, len(entries))
	for i, e := range entries {
		f.tensors[i] = Tensor{Name: e.name, Dtype: e.dtype, Shape: e.shape, Data: data[e.begin:e.end:e.end], File: f.path}
	}
	return nil
}

// checkLayout sorts entries by offset and demands that they tile [0, size): no holes, overlaps or trailing bytes.
func checkLayout(entries []entry, size int64) error {
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.name, b.name))
	})
	var at int64
	for _, e := range entries {
		switch {
		case e.end > size:
			return fmt.Errorf("tensor %q: data_offsets [%d, %d] pass the end of the data section (%d bytes); the file is truncated", e.name, e.begin, e.end, size)
		case e.begin < at:
			return fmt.Errorf("tensor %q: data_offsets [%d, %d] overlap the tensor before it, which ends at %d", e.name, e.begin, e.end, at)
		case e.begin > at:
			return fmt.Errorf("tensor %q: data_offsets [%d, %d] leave a hole of %d bytes before it", e.name, e.begin, e.end, e.begin-at)
		}
		at = e.end
	}
	if at != size {
		return fmt.Errorf("%d bytes after the last tensor belong to none", size-at)
	}
	return nil
}

// headerParser reads the header token by token, so memory stays proportional to the header and nesting cannot recurse.
type headerParser struct{ dec *json.Decoder }

func newHeaderParser(b []byte) headerParser {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber() // offsets are 64-bit integers, not floats
	return headerParser{dec}
}

func parseHeader(b []byte) ([]entry, map[string]string, error) {
	if len(b) == 0 || b[0] != '{' {
		return nil, nil, errors.New("header does not start with '{'; the file is not safetensors")
	}
	if !utf8.Valid(b) { // the decoder would replace bad bytes, making two names one
		return nil, nil, errors.New("header is not valid UTF-8")
	}
	p := newHeaderParser(b)
	var entries []entry
	var meta map[string]string
	err := p.object("header", func(key string) error {
		var err error
		if key == metadataKey {
			meta, err = p.strings(metadataKey)
			return err
		}
		e, err := p.entry(key)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", key, err)
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return entries, meta, p.end("header")
}

// entry reads and checks one tensor's description.
func (p headerParser) entry(name string) (entry, error) {
	e := entry{name: name}
	var have int
	err := p.object("entry", func(key string) error {
		have++
		switch key {
		case "dtype":
			s, err := p.string("dtype")
			e.dtype = Dtype(s)
			return err
		case "shape":
			dims, err := p.integers("shape", maxRank)
			for _, d := range dims {
				if int64(int(d)) != d {
					return fmt.Errorf("shape %v is too large for this machine", dims)
				}
				e.shape = append(e.shape, int(d))
			}
			return err
		case "data_offsets":
			o, err := p.integers("data_offsets", 2)
			if err == nil && len(o) != 2 {
				return fmt.Errorf("data_offsets has %d numbers, want 2", len(o))
			}
			if err == nil {
				e.begin, e.end = o[0], o[1]
			}
			return err
		}
		return fmt.Errorf("unknown key %q (want dtype, shape, data_offsets)", key)
	})
	if err != nil {
		return entry{}, err
	}
	if have != 3 { // object refuses duplicates, so three known keys are all three
		return entry{}, errors.New("dtype, shape or data_offsets is missing")
	}
	return e, e.check()
}

func (e entry) check() error {
	size, err := byteSize(e.dtype, e.shape)
	switch {
	case err != nil:
		return err
	case e.begin > e.end:
		return fmt.Errorf("data_offsets [%d, %d] end before they begin", e.begin, e.end)
	case e.end-e.begin != size:
		return fmt.Errorf("data_offsets [%d, %d] hold %d bytes, but %s %v needs %d", e.begin, e.end, e.end-e.begin, e.dtype, e.shape, size)
	}
	return nil
}

// byteSize returns the bytes of a tensor.
//
// Errors: unknown dtype, too many dimensions, a negative dimension, a product over 63 bits.
func byteSize(d Dtype, shape []int) (int64, error) {
	size := uint64(d.Size())
	if size == 0 {
		return 0, fmt.Errorf("unknown dtype %q", string(d))
	}
	if len(shape) > maxRank {
		return 0, fmt.Errorf("shape has %d dimensions, more than %d", len(shape), maxRank)
	}
	// The element count is checked on its own: Tensor.Len multiplies in the same order and must not wrap either.
	count := uint64(1)
	for _, dim := range shape {
		if dim < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", shape)
		}
		hi, lo := bits.Mul64(count, uint64(dim))
		if hi != 0 || lo > 1<<63-1 {
			return 0, fmt.Errorf("shape %v overflows 63 bits", shape)
		}
		count = lo
	}
	hi, total := bits.Mul64(count, size)
	if hi != 0 || total > 1<<63-1 {
		return 0, fmt.Errorf("%s %v overflows 63 bits", d, shape)
	}
	return int64(total), nil
}

// object reads an object, calling value for each key with the decoder before the value. Duplicate keys are errors.
func (p headerParser) object(what string, value func(key string) error) error {
	if err := p.delim('{', what); err != nil {
		return err
	}
	seen := map[string]struct{}{}
	for p.dec.More() {
		key, err := p.string(what + " key")
		if err != nil {
			return err
		}
		if _, dup := seen[key]; dup {
			return fmt.Errorf("duplicate key %q in the %s", key, what)
		}
		seen[key] = struct{}{}
		if err := value(key); err != nil {
			return err
		}
	}
	return p.delim('}', what)
}

// strings reads an object of string -> string.
func (p headerParser) strings(what string) (map[string]string, error) {
	m := map[string]string{}
	err := p.object(what, func(key string) error {
		s, err := p.string(what + " value")
		m[key] = s
		return err
	})
	return m, err
}

// integers reads an array of at most limit non-negative 63-bit integers.
func (p headerParser) integers(what string, limit int) ([]int64, error) {
	if err := p.delim('[', what); err != nil {
		return nil, err
	}
	var v []int64
	for p.dec.More() {
		if len(v) == limit {
			return nil, fmt.Errorf("%s has more than %d numbers", what, limit)
		}
		tok, err := p.token()
		if err != nil {
			return nil, err
		}
		num, ok := tok.(json.Number)
		if !ok {
			return nil, fmt.Errorf("%s is not an array of numbers", what)
		}
		n, err := strconv.ParseInt(string(num), 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%s holds %.40q, not an integer in [0, 2^63)", what, string(num))
		}
		v = append(v, n)
	}
	return v, p.delim(']', what)
}

func (p headerParser) string(what string) (string, error) {
	tok, err := p.token()
	if err != nil {
		return "", err
	}
	s, ok := tok.(string)
	if !ok {
		return "", fmt.Errorf("%s is not a string", what)
	}
	return s, nil
}

func (p headerParser) delim(want json.Delim, what string) error {
	tok, err := p.token()
	if err != nil {
		return err
	}
	if tok != want {
		return fmt.Errorf("%s: found %.40q, want %q", what, fmt.Sprint(tok), want.String())
	}
	return nil
}

// skip reads a value of any kind.
func (p headerParser) skip() error {
	var raw json.RawMessage
	if err := p.dec.Decode(&raw); err != nil {
		return fmt.Errorf("bad JSON at byte %d: %w", p.dec.InputOffset(), err)
	}
	return nil
}

func (p headerParser) end(what string) error {
	if _, err := p.dec.Token(); err != io.EOF {
		return fmt.Errorf("%s: unexpected text after its JSON object", what)
	}
	return nil
}

func (p headerParser) token() (json.Token, error) {
	tok, err := p.dec.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("bad JSON at byte %d: %w", p.dec.InputOffset(), err)
	}
	return tok, nil
}
