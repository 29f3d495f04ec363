package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/seed-796a8800/tritium/internal/atomicfile"
)

// Spec describes one tensor to write.
type Spec struct {
	Name  string
	Dtype Dtype
	Shape []int // row-major; empty for a scalar
}

// Options tunes Create; the zero value is ready to use.
type Options struct {
	ShardBytes int64             // most tensor bytes per file, unless one tensor alone is larger; 0 means 4.8e9
	Metadata   map[string]string // __metadata__ of every file
	Align      int               // a power of two up to 4096, see the package documentation; 0 means 64
}

// Writer writes a checkpoint whose tensors are all declared up front. Memory does not grow with tensor data.
//
// Different tensors may be written concurrently. Nothing appears under a final name before Commit.
type Writer struct {
	dir     string
	shards  []*shard
	tensors map[string]*target
	done    atomic.Bool
}

// target is where a tensor's bytes go, and how many have arrived.
type target struct {
	name    string
	shard   *shard
	start   int64 // from the start of the file
	size    int64
	claimed atomic.Bool
	written atomic.Int64
}

// Create starts a checkpoint in the existing directory dir: model.safetensors if one file holds it, else
// model-00001-of-0000N.safetensors … and model.safetensors.index.json. Tensors keep the order of specs across files;
// within a file they are ordered for alignment (see the package documentation). The disk space is reserved now
// where the system can.
//
// Errors: invalid names, dtypes, shapes or options; a checkpoint of these names already in dir; no space.
func Create(dir string, specs []Spec, o Options) (*Writer, error) {
	shards, err := plan(specs, o)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %s: %w", dir, err)
	}
	if err := checkVacant(dir); err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, shards: shards, tensors: make(map[string]*target, len(specs))}
	for _, s := range shards {
		if err := w.start(s); err != nil {
			w.Abort() // what it cannot remove, the next writer will
			return nil, err
		}
	}
	return w, nil
}

// checkVacant refuses a directory with model files: an old index beside new files would mix two checkpoints.
func checkVacant(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("safetensors: %s: %w", dir, cause(err))
	}
	for _, e := range list {
		if name := e.Name(); name == singleName || name == indexName || shardName.MatchString(name) {
			return fmt.Errorf("safetensors: %s: already holds %s; write to another directory", dir, name)
		}
	}
	return nil
}

// start creates a shard's temporary file at full size and writes its header.
func (w *Writer) start(s *shard) error {
	f, err := atomicfile.Create(filepath.Join(w.dir, s.name))
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	s.file = f
	if err := f.Reserve(int64(len(s.header)) + s.bytes); err != nil {
		return fmt.Errorf("safetensors: reserve %d bytes: %w", int64(len(s.header))+s.bytes, err)
	}
	if _, err := f.WriteAt(s.header, 0); err != nil {
		return fmt.Errorf("safetensors: header: %w", err)
	}
	for _, p := range s.tensors {
		w.tensors[p.spec.Name] = &target{name: p.spec.Name, shard: s, start: int64(len(s.header)) + p.begin, size: p.size}
	}
	s.header = nil
	return nil
}

// Write writes a whole tensor.
//
// Errors: unknown name, wrong length, a tensor already written or begun, a failed write.
func (w *Writer) Write(name string, data []byte) error {
	t, err := w.claim(name, int64(len(data)))
	if err != nil {
		return err
	}
	_, err = w.writeAt(t, data)
	return err
}

// Tensor returns a writer for the bytes of one tensor, in order. It may be used by one goroutine at a time.
//
// Errors: unknown name, a tensor already written or begun. The writer's: more bytes than the tensor has, a failed write.
func (w *Writer) Tensor(name string) (io.Writer, error) {
	t, err := w.claim(name, -1)
	if err != nil {
		return nil, err
	}
	return stream{w, t}, nil
}

// claim hands out a tensor once. size is the length about to be written, or -1 if not known yet.
func (w *Writer) claim(name string, size int64) (*target, error) {
	t, ok := w.tensors[name]
	switch {
	case w.done.Load():
		return nil, fmt.Errorf("safetensors: %s: tensor %q: the writer is already committed or aborted", w.dir, name)
	case !ok:
		return nil, fmt.Errorf("safetensors: %s: tensor %q was not declared to Create", w.dir, name)
	case size >= 0 && size != t.size:
		return nil, fmt.Errorf("safetensors: %s: tensor %q: got %d bytes, want %d", w.dir, name, size, t.size)
	case t.claimed.Swap(true):
		return nil, fmt.Errorf("safetensors: %s: tensor %q is already written or being written", w.dir, name)
	}
	return t, nil
}

// stream appends to one tensor.
type stream struct {
	w *Writer
	t *target
}

func (s stream) Write(b []byte) (int, error) { return s.w.writeAt(s.t, b) }

func (w *Writer) writeAt(t *target, b []byte) (int, error) {
	if w.done.Load() {
		return 0, fmt.Errorf("safetensors: %s: tensor %q: the writer is already committed or aborted", w.dir, t.name)
	}
	at := t.written.Load()
	if int64(len(b)) > t.size-at {
		return 0, fmt.Errorf("safetensors: %s: tensor %q: %d bytes are more than the %d that remain", w.dir, t.name, len(b), t.size-at)
	}
	n, err := t.shard.file.WriteAt(b, t.start+at)
	t.written.Add(int64(n))
	if err != nil {
		return n, fmt.Errorf("safetensors: tensor %q: %w", t.name, err)
	}
	return n, nil
}

// Commit flushes all files, then gives them their final names, the index last. On failure it aborts: nothing is left
// under a final name. After Commit or Abort, both do nothing.
//
// Errors: a tensor not fully written (the writer then stays open); a failed flush or rename.
func (w *Writer) Commit() error {
	if w.done.Load() {
		return nil
	}
	for _, s := range w.shards {
		for _, p := range s.tensors {
			if t := w.tensors[p.spec.Name]; t.written.Load() != t.size {
				return fmt.Errorf("safetensors: %s: tensor %q: only %d of %d bytes were written", w.dir, t.name, t.written.Load(), t.size)
			}
		}
	}
	if w.done.Swap(true) {
		return nil
	}
	if err := w.publish(); err != nil {
		w.remove(true)
		return fmt.Errorf("safetensors: %w", err)
	}
	return nil
}

// publish renames only after everything is on disk, so that a full disk shows before the first final name.
func (w *Writer) publish() error {
	for _, s := range w.shards {
		if err := s.file.Sync(); err != nil {
			return err
		}
	}
	for _, s := range w.shards {
		if err := s.file.Commit(); err != nil {
			return err
		}
	}
	if len(w.shards) == 1 {
		return nil
	}
	index, err := w.index()
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(w.dir, indexName), func(f io.Writer) error {
		_, err := f.Write(index)
		return err
	})
}

func (w *Writer) index() ([]byte, error) {
	var x struct {
		Metadata struct {
			TotalSize int64 `json:"total_size"`
		} `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}
	x.WeightMap = make(map[string]string, len(w.tensors))
	for name, t := range w.tensors {
		x.WeightMap[name] = t.shard.name
		x.Metadata.TotalSize += t.size
	}
	b, err := json.MarshalIndent(x, "", "  ")
	return append(b, '\n'), err
}

// Abort removes the temporary files. After Commit or Abort, both do nothing.
//
// Errors: a temporary file cannot be removed.
func (w *Writer) Abort() error {
	if w.done.Swap(true) {
		return nil
	}
	return w.remove(false)
}

// remove drops the temporary files, and with final also files Commit has already renamed: Create made sure that none
// of those names was taken.
func (w *Writer) remove(final bool) error {
	var first error
	if final {
		os.Remove(filepath.Join(w.dir, indexName)) // there if only flushing its name failed
	}
	for _, s := range w.shards {
		if s.file == nil {
			continue
		}
		err := s.file.Abort()
		if final {
			if e := os.Remove(filepath.Join(w.dir, s.name)); !errors.Is(e, os.ErrNotExist) {
				err = e
			}
		}
		if err != nil && first == nil {
			first = fmt.Errorf("safetensors: %w", err)
		}
	}
	return first
}
