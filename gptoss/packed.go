package gptoss

import (
	"fmt"
	"unsafe"

	"gorgonia.org/gorgonia"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/largepages"
	"github.com/seed-796a8800/tritium/ternaryop"
)

// packed returns a projection that tritium quantized, over the mapped file.
func (c *Checkpoint) packed(name string) *ternaryop.Stack {
	p := c.config.Projections()[name]
	format, group := c.Format(name).Packing(p.In)
	s, err := ternaryop.StackFromBytes(format, max(1, p.Experts), p.Out, p.In, group, c.tensors[name+".codes"].Data, c.tensors[name+".scales"].Data)
	if err != nil {
		panic(fmt.Sprintf("gptoss: %s: %v; Open checks every projection", name, err))
	}
	return s
}

// kernelWeights returns a packed projection as the kernels of this processor
// read it best: over the mapped file, or expanded, which is done once.
//
// Errors: no memory for the expanded codes.
func (c *Checkpoint) kernelWeights(name string) (*ternaryop.Stack, error) {
	s := c.packed(name)
	if !c.expands || !s.Format.Expands() {
		return s, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if x, ok := c.expanded[name]; ok {
		return x, nil
	}
	codes, err := c.alloc(s.ExpandedBytes())
	if err == nil {
		s, err = s.Expand(bytesOf(codes)[:s.ExpandedBytes()])
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if c.expanded == nil {
		c.expanded = map[string]*ternaryop.Stack{}
	}
	c.expanded[name] = s
	return s, nil
}

// alloc returns words for so many bytes, which Close frees.
func (c *Checkpoint) alloc(bytes int) ([]uint64, error) {
	words, err := largepages.Alloc((bytes + 7) / 8)
	if err != nil {
		return nil, fmt.Errorf("gptoss: %w", err)
	}
	c.memory = append(c.memory, words)
	return words, nil
}

// bytesOf views words as bytes.
func bytesOf(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))
}

// broken is a projection that could not be had; the error comes out when the
// declaration is compiled.
type (
	broken        struct{ err error }
	brokenExperts struct{ err error }
)

func (p broken) Apply(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node {
	b.Fail(p.err)
	return x
}

func (p brokenExperts) Apply(b *graph.Builder, x, _ *gorgonia.Node) *gorgonia.Node {
	b.Fail(p.err)
	return x
}
