package safetensors

import (
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
)

// HeaderLength returns how many bytes of header follow the first 8, of a file of the given size.
//
// Errors: a prefix that is none; a header that the file cannot hold.
func HeaderLength(prefix []byte, size int64) (int64, error) {
	if len(prefix) < 8 || size < 8 {
		return 0, fmt.Errorf("safetensors: %d bytes are too short for a safetensors file", min(int64(len(prefix)), size))
	}
	n, err := headerLength(prefix, size)
	if err != nil {
		return 0, fmt.Errorf("safetensors: %w", err)
	}
	return n, nil
}

// ParseHeader returns the tensors that a header describes, without Data, for a look at a file without its weights. name
// stands for its path in messages, data is the size of the file behind the header.
//
// Errors: every violation of the format.
func ParseHeader(name string, header []byte, data int64) ([]Tensor, error) {
	entries, _, err := parseHeader(header)
	if err == nil {
		err = checkLayout(entries, data)
	}
	if err != nil {
		return nil, fmt.Errorf("safetensors: %s: %w", name, err)
	}
	return described(name, entries), nil
}

func described(name string, entries []entry) []Tensor {
	tensors := make([]Tensor, len(entries))
	for i, e := range entries {
		tensors[i] = Tensor{Name: e.name, Dtype: e.dtype, Shape: e.shape, File: name}
	}
	return tensors
}

// ReadHeader is ParseHeader of a file, which may also end behind its header: whole says whether the weights follow.
//
// Errors: every violation of the format; the operating system's.
func ReadHeader(path string) (tensors []Tensor, whole bool, err error) {
	fail := func(err error) ([]Tensor, bool, error) {
		return nil, false, fmt.Errorf("safetensors: %s: %w", path, err)
	}
	f, size, err := openRegular(path)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	var prefix [8]byte
	if size < int64(len(prefix)) {
		return fail(fmt.Errorf("%d bytes are too short for a safetensors file", size))
	}
	if _, err := io.ReadFull(f, prefix[:]); err != nil {
		return fail(cause(err))
	}
	n, err := headerLength(prefix[:], size)
	if err != nil {
		return fail(err)
	}
	header := make([]byte, n)
	if _, err := io.ReadFull(f, header); err != nil {
		return fail(cause(err))
	}
	entries, _, err := parseHeader(header)
	if err != nil {
		return fail(err)
	}
	data := size - 8 - n
	if data == 0 {
		for _, e := range entries {
			data = max(data, e.end)
		}
	}
	if err := checkLayout(entries, data); err != nil {
		return fail(err)
	}
	return described(path, entries), size-8-n == data, nil
}

// Index says which file holds which tensor.
type Index map[string]string // tensor name -> file name

// ParseIndex reads the text of a *.safetensors.index.json; name stands for its path in messages.
//
// Errors: every violation of the format; a file that is not beside the index.
func ParseIndex(name string, text []byte) (Index, error) {
	if len(text) > maxHeader {
		return nil, fmt.Errorf("safetensors: %s: %d bytes are over the limit of %d for an index", name, len(text), maxHeader)
	}
	weights, err := parseIndex(text)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %s: %w", name, err)
	}
	return weights, nil
}

// ReadIndex reads the index of a checkpoint's directory.
//
// Errors: as of ParseIndex; there is none.
func ReadIndex(dir string) (Index, error) {
	path := filepath.Join(dir, indexName)
	text, err := readLimited(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %s: %w", path, err)
	}
	return ParseIndex(path, text)
}

// Files returns the files of an index, sorted.
func (x Index) Files() []string {
	return slices.Compact(slices.Sorted(maps.Values(x)))
}

// Gather returns the tensors of all files of an index, read by header, and checks that they are those that it names.
//
// Errors: header's; a tensor that is not where the index has it.
func (x Index) Gather(header func(file string) ([]Tensor, error)) ([]Tensor, error) {
	var all []Tensor
	seen := map[string]bool{}
	for _, file := range x.Files() {
		tensors, err := header(file)
		if err != nil {
			return nil, err
		}
		for _, t := range tensors {
			if want, ok := x[t.Name]; !ok || want != file {
				return nil, fmt.Errorf("safetensors: %s: the index does not have tensor %q in this file", t.File, t.Name)
			}
			seen[t.Name] = true
		}
		all = append(all, tensors...)
	}
	for _, name := range sortedKeys(x) {
		if !seen[name] {
			return nil, fmt.Errorf("safetensors: %s: tensor %q is missing, though the index has it there", x[name], name)
		}
	}
	return all, nil
}
