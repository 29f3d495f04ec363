package safetensors

import (
	"fmt"
	"maps"
	"slices"
)

// Archive is an open checkpoint: one file, or the shards of an index. It is safe for concurrent use, except Close.
//
// The files are mapped, not read. Shortening a file while it is open makes reads of the lost part fault.
type Archive struct {
	path    string
	files   []*file // ascending by path
	tensors map[string]Tensor
	names   []string
	meta    map[string]string
	bytes   int64
}

// Names returns the tensor names, sorted.
func (a *Archive) Names() []string { return slices.Clone(a.names) }

// Lookup returns the tensor called name and whether there is one.
func (a *Archive) Lookup(name string) (Tensor, bool) {
	t, ok := a.tensors[name]
	return t, ok
}

// Tensor returns the tensor called name.
//
// Errors: no such tensor.
func (a *Archive) Tensor(name string) (Tensor, error) {
	t, ok := a.tensors[name]
	if !ok {
		return Tensor{}, fmt.Errorf("safetensors: %s: no tensor %q among its %d tensors", a.path, name, len(a.names))
	}
	return t, nil
}

// Metadata returns the __metadata__ of all files; where files disagree, the first in the order of Files wins.
func (a *Archive) Metadata() map[string]string { return maps.Clone(a.meta) }

// Files returns the paths of the files that hold the tensors, sorted.
func (a *Archive) Files() []string {
	paths := make([]string, len(a.files))
	for i, f := range a.files {
		paths[i] = f.path
	}
	return paths
}

// Bytes returns the summed size of all tensors.
//
// Units: bytes.
func (a *Archive) Bytes() int64 { return a.bytes }

// Release lets go of the mapped pages that were read so far, which count as memory of the process until the system
// wants them back. Nothing that was read changes or moves. Where files are not mapped it does nothing.
//
// Errors: the operating system's.
func (a *Archive) Release() error {
	for _, f := range a.files {
		if f.mapping == nil {
			continue // from Read
		}
		if err := release(f.mapping); err != nil {
			return fmt.Errorf("safetensors: %s: release: %w", f.path, err)
		}
	}
	return nil
}

// Close unmaps the files. Every Tensor's Data is invalid afterwards: touching it faults. A second Close does nothing.
//
// Errors: the operating system's, from unmapping.
func (a *Archive) Close() error {
	var first error
	for _, f := range a.files {
		if f.mapping == nil {
			continue // from Read
		}
		if err := unmap(f.mapping); err != nil && first == nil {
			first = fmt.Errorf("safetensors: %s: unmap: %w", f.path, err)
		}
	}
	a.files, a.tensors, a.names = nil, nil, nil
	return first
}

// add takes over f's mapping and registers its tensors.
func (a *Archive) add(f *file) error {
	a.files = append(a.files, f)
	for _, t := range f.tensors {
		if prev, ok := a.tensors[t.Name]; ok {
			return fmt.Errorf("safetensors: %s: tensor %q is also in %s", f.path, t.Name, prev.File)
		}
		a.tensors[t.Name] = t
		a.bytes += int64(len(t.Data))
	}
	for k, v := range f.meta {
		if _, ok := a.meta[k]; !ok {
			a.meta[k] = v
		}
	}
	return nil
}

// sortedKeys makes errors about a map deterministic.
func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
