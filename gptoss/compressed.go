package gptoss

import (
	"fmt"
	"maps"
	"slices"

	"github.com/seed-796a8800/tritium/internal/rans"
	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// CodingRANS is the Format.Coding of codes that are stored as a container of internal/rans, whose bytes are the codes in
// the kernels' layout. Open expands them.
const CodingRANS = "rans"

// AsStored leaves compressed weights as the files have them, for a look at a model that will not run: its projections
// that are compressed must not be asked for, nor its values checked.
func AsStored() OpenOption { return func(c *Checkpoint) { c.asStored = true } }

// WithProgress tells how far the expansion of compressed weights is. f is called on the goroutine that opens.
//
// Units: done and total in bytes of expanded codes.
func WithProgress(f func(done, total int64)) OpenOption {
	return func(c *Checkpoint) { c.progress = f }
}

// compressed is how large a tensor is that Open expands.
type compressed struct{ stored, expanded int64 }

// StoredBytes returns what a tensor takes in the files, by its name; less than its data where that was compressed.
func (c *Checkpoint) StoredBytes(tensor string) int64 {
	if size, ok := c.compressed[tensor]; ok {
		return size.stored
	}
	return c.tensors[tensor].Bytes()
}

// ExpandedBytes returns what a tensor takes in memory, by its name; more than its data for one that was compressed and
// left so.
func (c *Checkpoint) ExpandedBytes(tensor string) int64 {
	if size, ok := c.compressed[tensor]; ok {
		return size.expanded
	}
	return c.tensors[tensor].Bytes()
}

// openCodes returns the container of a tensor that should have so many bytes.
func openCodes(t safetensors.Tensor, bytes int) (*rans.Container, error) {
	box, err := rans.Open(t.Data)
	if err == nil && box.Size() != int64(bytes) {
		err = fmt.Errorf("it holds %d bytes, want %d", box.Size(), bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: tensor %q: %w", t.File, t.Name, err)
	}
	return box, nil
}

// expandCodes replaces the compressed codes by what they are in memory. Check has seen that the formats hold.
func (c *Checkpoint) expandCodes() error {
	var done, total int64
	boxes := map[string]*rans.Container{} // by projection
	for name, p := range c.config.Projections() {
		f := c.Format(name)
		if f.Coding == "" {
			continue
		}
		t := c.tensors[name+".codes"]
		codes, _, err := f.layout(p)
		if err != nil {
			return err
		}
		if c.outline {
			c.compressed[t.Name] = compressed{stored: t.Bytes(), expanded: int64(codes) * int64(max(1, p.Experts))}
			continue
		}
		if boxes[name], err = openCodes(t, codes*max(1, p.Experts)); err != nil {
			return err
		}
		c.compressed[t.Name] = compressed{stored: int64(len(t.Data)), expanded: boxes[name].Size()}
		total += boxes[name].Size()
	}
	if c.asStored {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(boxes)) {
		box, t := boxes[name], c.tensors[name+".codes"]
		words, err := c.alloc(int(box.Size()))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		data := bytesOf(words)[:box.Size():box.Size()]
		if err := box.Decode(data, func(n int64) {
			if done += n; c.progress != nil {
				c.progress(done, total)
			}
		}); err != nil {
			return fmt.Errorf("%s: tensor %q: %w", t.File, t.Name, err)
		}
		t.Data = data
		if t.Shape, _, err = c.Format(name).Shapes(c.config.Projections()[name]); err != nil {
			return err
		}
		c.tensors[t.Name] = t
	}
	return nil
}
