package safetensors

import (
	"fmt"
	"slices"
)

// Read opens a .safetensors file that is in memory, such as an embedded one; name stands for its path in messages.
// The tensors alias data.
//
// Errors: every violation of the format.
func Read(name string, data []byte) (*Archive, error) {
	if len(data) < 8 {
		return nil, fmt.Errorf("safetensors: %s: %d bytes are too short for a safetensors file", name, len(data))
	}
	f := &file{path: name, mapping: data}
	if err := f.parse(); err != nil {
		return nil, fmt.Errorf("safetensors: %s: %w", name, err)
	}
	f.mapping = nil // there is nothing to unmap
	a := &Archive{path: name, tensors: map[string]Tensor{}, meta: map[string]string{}}
	if err := a.add(f); err != nil {
		return nil, err
	}
	for tensor := range a.tensors {
		a.names = append(a.names, tensor)
	}
	slices.Sort(a.names)
	return a, nil
}
