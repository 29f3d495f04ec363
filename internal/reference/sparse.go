package reference

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// WriteSparse20B writes gpt-oss-20b's first layers (1 to 24; 24 is the whole model) as one file of holes: the real
// configuration, names, dtypes and shapes, up to 13.8 GB of zeros, and a few kB of disk where the file system knows holes.
//
// Errors: a number of layers out of range; files that cannot be written.
func WriteSparse20B(dir string, layers int) error {
	if layers < 1 || layers > 24 {
		return fmt.Errorf("reference: %d layers: gpt-oss-20b has 1 to 24 to write", layers)
	}
	return WriteSparse(dir, Shape{
		Layers: layers, Hidden: 2880, Heads: 64, KVHeads: 8, HeadDim: 64,
		Experts: 32, TopK: 4, Intermediate: 2880, Vocab: 201088, firstSpecial: 199998,
	})
}

// WriteSparse writes a model of any shape as one file of holes.
//
// Errors: files that cannot be written.
func WriteSparse(dir string, s Shape) error {
	s = s.withDefaults()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	if err := s.writeConfig(dir); err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	if err := s.writeHoles(filepath.Join(dir, "model.safetensors")); err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	return nil
}

// writeHoles writes a safetensors header by hand and leaves out the data.
func (s Shape) writeHoles(path string) error {
	type entry struct {
		Dtype   safetensors.Dtype `json:"dtype"`
		Shape   []int             `json:"shape"`
		Offsets [2]int64          `json:"data_offsets"`
	}
	entries := map[string]entry{}
	end := int64(0)
	for _, f := range s.fields() {
		start := end
		size := int64(f.Dtype.Size())
		for _, d := range f.Shape {
			size *= int64(d)
		}
		end += size
		entries[f.Name] = entry{f.Dtype, f.Shape, [2]int64{start, end}}
	}
	header, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	for (8+len(header))%64 != 0 { // tensors are multiples of 64 bytes here, so this aligns all of them
		header = append(header, ' ')
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = file.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...))
	if err == nil {
		err = file.Truncate(8 + int64(len(header)) + end)
	}
	return errors.Join(err, file.Close())
}
