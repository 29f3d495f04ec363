package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// maxValue limits, in bytes, one string and one value that is taken whole: far above anything in a tokenizer.json.
const maxValue = 1 << 16

// jsonReader pulls one JSON text from a stream. encoding/json would hold a whole value, or one string of any length, in
// memory; this holds at most maxValue bytes, and walks the 28 MB of the published file several times faster. It checks
// structure and strings; values that are taken whole (raw) are left to encoding/json.
type jsonReader struct {
	r      *bufio.Reader
	source *limitedReader
	text   []byte // of the last string or raw value
}

// limitedReader counts the bytes read, so that an error can say where, and fails after limit: a stream may be endless.
type limitedReader struct {
	r        io.Reader
	n, limit int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.n > l.limit {
		return 0, fmt.Errorf("longer than %d bytes", l.limit)
	}
	n, err := l.r.Read(p)
	l.n += int64(n)
	return n, err
}

func newJSONReader(r io.Reader) *jsonReader {
	source := &limitedReader{r: r, limit: maxFile}
	return &jsonReader{r: bufio.NewReaderSize(source, maxValue), source: source}
}

// offset returns the number of bytes consumed.
func (j *jsonReader) offset() int64 { return j.source.n - int64(j.r.Buffered()) }

// unexpected turns the end of the stream into an error: it is asked for only where something must follow.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// peek skips white space and returns the next byte without consuming it.
func (j *jsonReader) peek() (byte, error) {
	for {
		c, err := j.r.ReadByte()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c, j.r.UnreadByte()
		}
	}
}

// take skips white space and consumes the byte want.
func (j *jsonReader) take(want byte) error {
	c, err := j.peek()
	if err != nil {
		return unexpected(err)
	}
	if c != want {
		return fmt.Errorf("found %q where %q must be", c, want)
	}
	_, err = j.r.ReadByte()
	return err
}

// more is called before each element of a list that ends with closing, and tells whether there is one.
func (j *jsonReader) more(first bool, closing byte) (bool, error) {
	c, err := j.peek()
	if err != nil {
		return false, unexpected(err)
	}
	if c == closing {
		_, err := j.r.ReadByte()
		return false, err
	}
	if first {
		return true, nil
	}
	return true, j.take(',')
}

// object calls member with each key of an object; member consumes the value, and with that loses the key.
func (j *jsonReader) object(member func(key []byte) error) error {
	if err := j.take('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := j.more(first, '}')
		if err != nil || !more {
			return err
		}
		key, err := j.string()
		if err != nil {
			return err
		}
		if err := j.take(':'); err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
	}
}

// array calls element at each element of an array; element consumes it.
func (j *jsonReader) array(element func() error) error {
	if err := j.take('['); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := j.more(first, ']')
		if err != nil || !more {
			return err
		}
		if err := element(); err != nil {
			return err
		}
	}
}

// string reads a string, which is valid until the next string or raw value is read.
func (j *jsonReader) string() ([]byte, error) {
	if err := j.take('"'); err != nil {
		return nil, err
	}
	j.text = append(j.text[:0], '"')
	if err := j.closeString(); err != nil {
		return nil, err
	}
	inner := j.text[1 : len(j.text)-1]
	if bytes.IndexByte(inner, '\\') >= 0 {
		var s string
		if err := json.Unmarshal(j.text, &s); err != nil {
			return nil, err
		}
		return []byte(s), nil
	}
	for _, c := range inner {
		if c < ' ' {
			return nil, fmt.Errorf("control character 0x%02x in a string", c)
		}
	}
	if !utf8.Valid(inner) {
		return nil, errors.New("a string is not UTF-8")
	}
	return inner, nil
}

// closeString appends the rest of the string, up to and with its closing quote, to j.text.
func (j *jsonReader) closeString() error {
	for start := len(j.text); ; {
		part, err := j.r.ReadSlice('"')
		if len(j.text)+len(part) > maxValue || errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("a value is longer than %d bytes", maxValue)
		}
		if err != nil {
			return unexpected(err)
		}
		j.text = append(j.text, part...)
		escapes := 0 // backslashes in front of the quote: an odd number escapes it
		for i := len(j.text) - 2; i >= start && j.text[i] == '\\'; i-- {
			escapes++
		}
		if escapes%2 == 0 {
			return nil
		}
	}
}

// int reads an integer.
func (j *jsonReader) int() (int64, error) {
	text, err := j.raw()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.20q is not an integer", text)
	}
	return n, nil
}

// raw reads any value as it stands, valid until the next string or raw value is read. It only finds the end; the caller
// gives the text to a parser.
func (j *jsonReader) raw() ([]byte, error) {
	if _, err := j.peek(); err != nil {
		return nil, unexpected(err)
	}
	j.text = j.text[:0]
	for depth := 0; ; {
		c, err := j.r.ReadByte()
		if errors.Is(err, io.EOF) && depth == 0 {
			return j.text, nil
		}
		if err != nil {
			return nil, unexpected(err)
		}
		if depth == 0 && endsScalar(c) {
			return j.text, j.r.UnreadByte()
		}
		if len(j.text) == maxValue {
			return nil, fmt.Errorf("a value is longer than %d bytes", maxValue)
		}
		j.text = append(j.text, c)
		switch c {
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		case '"':
			if err := j.closeString(); err != nil {
				return nil, err
			}
		default:
			continue
		}
		if depth == 0 {
			return j.text, nil
		}
	}
}

// endsScalar reports whether c can not be part of a number or literal that stands outside brackets.
func endsScalar(c byte) bool {
	return c == ',' || c == ']' || c == '}' || c == ':' || c == ' ' || c == '\n' || c == '\t' || c == '\r'
}

// value reads a value of at most maxValue bytes into v.
func (j *jsonReader) value(v any) error {
	text, err := j.raw()
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// skip reads a value of at most maxValue bytes and drops it.
func (j *jsonReader) skip() error {
	text, err := j.raw()
	if err != nil {
		return err
	}
	if !json.Valid(text) {
		return fmt.Errorf("%.20q is not JSON", text)
	}
	return nil
}

// end fails unless only white space is left.
func (j *jsonReader) end() error {
	c, err := j.peek()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("found %q behind the end", c)
}
