package safetensors

import "fmt"

// LengthPrefix is how many bytes at the beginning of a file HeaderLength wants.
const LengthPrefix = 8

// HeaderLength returns how many bytes at the beginning of a file Outline wants, by the first 8 of it and its size.
//
// Errors: a length that cannot be.
func HeaderLength(prefix []byte, size int64) (int64, error) {
	if len(prefix) < LengthPrefix {
		return 0, fmt.Errorf("safetensors: %d bytes are too short for a safetensors file", len(prefix))
	}
	n, err := headerLength(prefix, size)
	if err != nil {
		return 0, fmt.Errorf("safetensors: %w", err)
	}
	return LengthPrefix + n, nil
}

// Outline reads a file of the given size from its beginning alone: its tensors, without Data. name stands for its path.
//
// Errors: every violation of the format but missing bytes.
func Outline(name string, head []byte, size int64) ([]Tensor, error) {
	n, err := HeaderLength(head, size)
	if err == nil && int64(len(head)) < n {
		err = fmt.Errorf("%d bytes of a header of %d", len(head), n)
	}
	if err != nil {
		return nil, fmt.Errorf("safetensors: %s: %w", name, err)
	}
	entries, _, err := parseHeader(head[LengthPrefix:n])
	if err == nil {
		err = checkLayout(entries, size-n)
	}
	if err != nil {
		return nil, fmt.Errorf("safetensors: %s: %w", name, err)
	}
	tensors := make([]Tensor, len(entries))
	for i, e := range entries {
		tensors[i] = Tensor{Name: e.name, Dtype: e.dtype, Shape: e.shape, File: name}
	}
	return tensors, nil
}

// ParseIndex returns what an index says: tensor name -> name of the file beside it that holds the tensor.
//
// Errors: what is no index; files that are not beside it.
func ParseIndex(data []byte) (map[string]string, error) {
	weights, err := parseIndex(data)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %s: %w", indexName, err)
	}
	return weights, nil
}
