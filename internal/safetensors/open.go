package safetensors

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	singleName  = "model.safetensors"
	indexName   = "model.safetensors.index.json"
	indexSuffix = ".safetensors.index.json"
	suffix      = ".safetensors"
)

// shardName matches the file of a sharded checkpoint and captures how many there are.
var shardName = regexp.MustCompile(`-\d+-of-(\d+)\.safetensors$`)

// Open maps a checkpoint: a .safetensors file, a *.safetensors.index.json file, or a directory holding
// model.safetensors.index.json, model.safetensors or exactly one *.safetensors file (looked for in this order).
//
// An index must name exactly the tensors of its shards. Its metadata.total_size is ignored, since published
// indexes get it wrong; the shards' own headers are checked in full.
//
// Errors: missing or unreadable files, and every violation of the format; all name the file and the problem.
func Open(path string) (*Archive, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %s: %w", path, cause(err))
	}
	if info.IsDir() {
		if path, err = find(path); err != nil {
			return nil, err
		}
	}
	a := &Archive{path: path, tensors: map[string]Tensor{}, meta: map[string]string{}}
	if strings.HasSuffix(path, indexSuffix) {
		err = a.openIndex(path)
	} else {
		err = a.openSingle(path)
	}
	if err != nil {
		a.Close() // the first problem is the one to report
		return nil, err
	}
	a.names = make([]string, 0, len(a.tensors))
	for name := range a.tensors {
		a.names = append(a.names, name)
	}
	slices.Sort(a.names)
	return a, nil
}

// find returns the index or the single file of a checkpoint directory.
func find(dir string) (string, error) {
	for _, name := range []string{indexName, singleName} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name), nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("safetensors: %s: %s: %w", dir, name, cause(err))
		}
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("safetensors: %s: %w", dir, cause(err))
	}
	var found []string
	for _, e := range list {
		// Hidden files are other programs' and this package's unfinished temporaries.
		if name := e.Name(); strings.HasSuffix(name, suffix) && !strings.HasPrefix(name, ".") {
			found = append(found, name)
		}
	}
	switch {
	case len(found) == 0:
		return "", fmt.Errorf("safetensors: %s: no %s, %s or other *%s file in this directory", dir, indexName, singleName, suffix)
	case len(found) > 1:
		return "", fmt.Errorf("safetensors: %s: %d *%s files but no %s; name one file, or restore the index", dir, len(found), suffix, indexName)
	}
	// A lone shard is what an interrupted download or write leaves; it must not pass for a whole model.
	if m := shardName.FindStringSubmatch(found[0]); m != nil && strings.TrimLeft(m[1], "0") != "1" {
		return "", fmt.Errorf("safetensors: %s: holds only the shard %s and no %s; the checkpoint is incomplete", dir, found[0], indexName)
	}
	return filepath.Join(dir, found[0]), nil
}

func (a *Archive) openSingle(path string) error {
	f, err := openFile(path)
	if err != nil {
		return err
	}
	return a.add(f)
}

func (a *Archive) openIndex(path string) error {
	weights, err := readIndex(path)
	if err != nil {
		return fmt.Errorf("safetensors: %s: %w", path, err)
	}
	shards := map[string]bool{}
	for _, shard := range weights {
		shards[shard] = true
	}
	names := make([]string, 0, len(shards))
	for shard := range shards {
		names = append(names, shard)
	}
	slices.Sort(names)
	for _, shard := range names {
		f, err := openFile(filepath.Join(filepath.Dir(path), shard))
		if err != nil {
			return err
		}
		if err := a.add(f); err != nil {
			return err
		}
		for _, t := range f.tensors {
			switch want, ok := weights[t.Name]; {
			case !ok:
				return fmt.Errorf("safetensors: %s: tensor %q is in %s but not in the index", path, t.Name, shard)
			case want != shard:
				return fmt.Errorf("safetensors: %s: tensor %q is in %s, but the index puts it in %s", path, t.Name, shard, want)
			}
		}
	}
	for _, name := range sortedKeys(weights) {
		if _, ok := a.tensors[name]; !ok {
			return fmt.Errorf("safetensors: %s: tensor %q is not in %s, where the index puts it", path, name, weights[name])
		}
	}
	return nil
}

// readIndex returns the weight_map of an index: tensor name -> file name in the index's directory.
func readIndex(path string) (map[string]string, error) {
	b, err := readLimited(path)
	if err != nil {
		return nil, err
	}
	return parseIndex(b)
}

// parseIndex is readIndex of the file's contents.
func parseIndex(b []byte) (map[string]string, error) {
	p := newHeaderParser(b)
	var weights map[string]string
	err := p.object("index", func(key string) error {
		if key == "weight_map" {
			var err error
			weights, err = p.strings("weight_map")
			return err
		}
		return p.skip()
	})
	if err != nil {
		return nil, err
	}
	if err := p.end("index"); err != nil {
		return nil, err
	}
	if len(weights) == 0 {
		return nil, errors.New("weight_map is missing or empty")
	}
	for _, name := range sortedKeys(weights) {
		if shard := weights[name]; strings.ContainsAny(shard, `/\`) || !filepath.IsLocal(shard) || shard == "." {
			return nil, fmt.Errorf("tensor %q: %q is not a plain file name beside the index", name, shard)
		}
	}
	return weights, nil
}

// openFile maps one .safetensors file and checks it.
func openFile(path string) (*file, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %s: %w", path, err)
	}
	defer f.Close() // the mapping outlives the descriptor
	mapped, err := load(f, size)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %s: %w", path, cause(err))
	}
	s := &file{path: path, mapping: mapped}
	if err := s.parse(); err != nil {
		unmap(mapped)
		return nil, fmt.Errorf("safetensors: %s: %w", path, err)
	}
	return s, nil
}

// load maps f after checking its length prefix, so that the reading fallback never loads a file that cannot be right.
func load(f *os.File, size int64) ([]byte, error) {
	var prefix [8]byte
	if size < int64(len(prefix)) {
		return nil, fmt.Errorf("%d bytes are too short for a safetensors file", size)
	}
	if _, err := f.ReadAt(prefix[:], 0); err != nil {
		return nil, err
	}
	if _, err := headerLength(prefix[:], size); err != nil {
		return nil, err
	}
	return mapFile(f, size)
}

// openRegular opens a file that is not a pipe or device: those have no size, and opening one may block.
func openRegular(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, cause(err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, cause(err)
	}
	if info, err = f.Stat(); err != nil { // the size of what was opened, not of what was there before
		f.Close()
		return nil, 0, cause(err)
	}
	return f, info.Size(), nil
}

// readLimited reads an index; as for headers, the format gives no reason to exceed maxHeader.
func readLimited(path string) ([]byte, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > maxHeader {
		return nil, fmt.Errorf("%d bytes are over the limit of %d for an index", size, maxHeader)
	}
	return io.ReadAll(io.LimitReader(f, maxHeader))
}

// cause drops the operation and path an os error repeats; the callers name the path themselves.
func cause(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err
	}
	return err
}
