package gptoss

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/x448/float16"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/mxfp4"
	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/seed-796a8800/tritium/ternaryop"
)

// Synthetic describes a model of random weights: the shape, the formats and
// the speed of a real one, without its knowledge. Codes are uniform where every
// code is valid, scales keep the size of activations from layer to layer, and
// the router sends text to all experts alike.
type Synthetic struct {
	Config Config
	// Format is one of the ternary formats, which attention and experts then
	// have, or FormatMXFP4 (experts MXFP4, attention bf16); embedding and router
	// are bf16 in all of them.
	Format string
	Group  int    // of ternary weights: the largest to use, as in quantization; 0 is 192, of 1.6 bits 320
	Head   string // FormatInt4, FormatInt8, FormatBF16; "" is int4 beside ternary and bf16 beside MXFP4
	Seed   uint64 // the same seed gives the same weights on every machine
}

// Int4Group is the usual group of a 4-bit embedding or head: 4.25 bits a weight.
const Int4Group = 64

// made is one tensor to make up.
type made struct {
	name  string
	dtype safetensors.Dtype
	shape []int
	fill  pattern
}

func (m made) bytes() int {
	return safetensors.Tensor{Shape: m.shape}.Len() * m.dtype.Size()
}

// Bytes returns the memory that the weights take.
//
// Errors: those of Build.
func (s Synthetic) Bytes() (int64, error) {
	_, tensors, err := s.plan()
	total := int64(0)
	for _, t := range tensors {
		total += int64(t.bytes())
	}
	return total, err
}

// Build makes the weights on all threads of cpu, in memory that is read as fast
// as a mapped file and that Close frees. progress, which may be nil, hears after
// each tensor how many bytes of how many are there.
//
// Errors: a format this package does not know, a group that is no multiple of
// what the format needs, no memory, ctx's.
func (s Synthetic) Build(ctx context.Context, cpu *graph.CPU, progress func(done, total int64), opts ...OpenOption) (*Checkpoint, error) {
	config, tensors, err := s.plan()
	if err != nil {
		return nil, err
	}
	total, err := s.Bytes()
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{path: "synthetic", config: config, files: embed.FS{}, archive: &safetensors.Archive{},
		tensors: make(map[string]safetensors.Tensor, len(tensors)), expands: !ternaryop.Ternary5.Native()}
	for _, o := range opts {
		o(c)
	}
	done := int64(0)
	for i, t := range tensors {
		if err := c.make(ctx, cpu, t, mix(s.Seed^mix(uint64(i)))); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		if done += int64(t.bytes()); progress != nil {
			progress(done, total)
		}
	}
	if err := c.check(); err != nil {
		return nil, errors.Join(fmt.Errorf("gptoss: %w", err), c.Close())
	}
	return c, nil
}

// make makes one tensor.
func (c *Checkpoint) make(ctx context.Context, cpu *graph.CPU, t made, seed uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	words, err := c.alloc(t.bytes())
	if err != nil {
		return err
	}
	t.fill.write(cpu, words, seed)
	data := bytesOf(words)[:t.bytes()]
	c.tensors[t.name] = safetensors.Tensor{Name: t.name, Dtype: t.dtype, Shape: t.shape, Data: data, File: "synthetic"}
	return nil
}

// plan lists the tensors, and returns the configuration that says how they are
// stored.
func (s Synthetic) plan() (Config, []made, error) {
	c := s.Config
	if kinds := []string{FormatTernary, FormatTernary5, FormatPlanes2, FormatPlanes5, FormatMXFP4}; !slices.Contains(kinds, s.Format) {
		return c, nil, fmt.Errorf("gptoss: synthetic weights in format %q; there are %s", s.Format, strings.Join(kinds, ", "))
	}
	if least := s.leastGroup(); s.Group < 0 || s.Group%least != 0 {
		return c, nil, fmt.Errorf("gptoss: synthetic %s weights in groups of %d; take a multiple of %d", s.Format, s.Group, least)
	}
	c.Quantization = &Quantization{QuantMethod: QuantMethod, Version: LayoutVersion, Method: "synthetic",
		ActivationBits: 8, Tensors: map[string]Format{}}
	tensors := []made{{FinalNormName, safetensors.BF16, []int{c.Hidden}, aroundOne}}
	for layer := range c.Layers {
		n := LayerNames(layer)
		tensors = append(tensors,
			made{n.InputNorm, safetensors.BF16, []int{c.Hidden}, aroundOne},
			made{n.PostNorm, safetensors.BF16, []int{c.Hidden}, aroundOne},
			made{n.Sinks, safetensors.BF16, []int{c.Heads}, bf16Pattern(1)})
	}
	for _, p := range c.ProjectionList() {
		format, err := s.format(p)
		if err != nil {
			return c, nil, err
		}
		if format.Kind != FormatBF16 && format.Kind != FormatMXFP4 {
			c.Quantization.Tensors[p.Name] = format
			c.Quantization.GroupSize = max(c.Quantization.GroupSize, format.Group)
		}
		parts, err := weights(p, format)
		if err != nil {
			return c, nil, fmt.Errorf("gptoss: %s: %w", p.Name, err)
		}
		tensors = append(tensors, parts...)
	}
	if len(c.Quantization.Tensors) == 0 {
		c.Quantization = nil
	}
	return c, tensors, nil
}

// leastGroup is what groups are multiples of.
func (s Synthetic) leastGroup() int {
	packed, err := ternaryop.ParseFormat(s.Format)
	if err != nil {
		packed = ternaryop.Ternary2 // MXFP4 has no groups of its own to choose
	}
	return packed.Groups(1, 1)
}

// format says how a projection is stored.
func (s Synthetic) format(p Projection) (Format, error) {
	switch {
	case p.Name == HeadName:
		return s.headFormat(p)
	case p.Quantizable && s.Format != FormatMXFP4:
		return NewFormat(s.Format, p, cmp.Or(s.Group, map[int]int{16: 192, 80: 320}[s.leastGroup()]))
	case p.Experts > 0:
		return Format{Kind: FormatMXFP4, Bits: 4.25}, nil
	}
	return Format{Kind: FormatBF16, Bits: 16}, nil
}

func (s Synthetic) headFormat(p Projection) (Format, error) {
	head := s.Head
	if head == "" && s.Format == FormatMXFP4 {
		head = FormatBF16
	}
	switch head {
	case FormatBF16:
		return Format{Kind: head, Bits: 16}, nil
	case FormatInt8:
		return NewFormat(head, p, 0)
	case FormatInt4, "":
		return NewFormat(FormatInt4, p, Int4Group)
	}
	return Format{}, fmt.Errorf("gptoss: a synthetic head in format %q; there are %s, %s and %s", head, FormatInt4, FormatInt8, FormatBF16)
}

// weights lists the tensors of one projection. Its outputs are as large as its
// inputs: the weights' mean square is 1/In. The embedding's is 1.
func weights(p Projection, f Format) ([]made, error) {
	size := 1 / math.Sqrt(float64(p.In))
	if p.Name == EmbeddingName {
		size = 1
	}
	var list []made
	switch f.Kind {
	case FormatTernary, FormatTernary5, FormatPlanes2, FormatPlanes5, FormatInt4, FormatInt8:
		codes, scales, err := f.layout(p)
		if err != nil {
			return nil, err
		}
		n, codeOf := max(1, p.Experts), codePatterns[f.Kind]
		list = []made{
			{p.Name + ".codes", safetensors.U8, []int{n * codes}, codeOf.fill},
			{p.Name + ".scales", safetensors.F16, []int{n * scales / 2}, halfPattern(size / codeOf.rms)},
		}
	case FormatMXFP4:
		g := p.In / mxfp4.BlockSize
		list = []made{
			{p.Name + "_blocks", safetensors.U8, []int{p.Experts, p.Out, g, mxfp4.BlockSize / 2}, anyBits},
			{p.Name + "_scales", safetensors.U8, []int{p.Experts, p.Out, g}, e8m0Pattern(size / 2.93)},
		}
	default:
		list = []made{{p.Name + ".weight", safetensors.BF16, []int{p.Out, p.In}, bf16Pattern(size)}}
	}
	switch {
	case p.Name == EmbeddingName || p.Name == HeadName:
		return list, nil
	case p.Experts > 0:
		return append(list, made{p.Name + "_bias", safetensors.BF16, []int{p.Experts, p.Out}, bf16Pattern(0.05)}), nil
	}
	return append(list, made{p.Name + ".bias", safetensors.BF16, []int{p.Out}, bf16Pattern(0.05)}), nil
}

// codePatterns fill codes, and say how large these are: their root mean square.
var codePatterns = map[string]struct {
	fill pattern
	rms  float64
}{
	FormatTernary:  {crumbs, math.Sqrt(1. / 2)},
	FormatTernary5: {trits, math.Sqrt(2. / 3)},
	FormatPlanes2:  {crumbs, 1},
	FormatPlanes5:  {trits, math.Sqrt(4. / 3)},
	FormatInt4:     {anyBits, 4.64},
	FormatInt8:     {anyBits, 73.9},
}

// pattern turns random words into valid ones: word & keep | set. The numbers it
// makes have random low bits below a fixed magnitude.
type pattern struct {
	keep, set uint64
	crumbs    bool // and no pair of bits is 3
	trits     bool // and no byte is more than 242
}

var (
	anyBits   = pattern{keep: math.MaxUint64}
	crumbs    = pattern{keep: math.MaxUint64, crumbs: true}            // -1, 0, 0, +1
	trits     = pattern{keep: math.MaxUint64, trits: true}             // -1, 0, +1
	aroundOne = pattern{keep: 0x001F * lanes16, set: 0x3F80 * lanes16} // bf16 1..1.25
)

// Times these a pattern of 16 or 8 bits fills a word.
const (
	lanes16 uint64 = 0x0001000100010001
	lanes8  uint64 = 0x0101010101010101
)

// bf16Pattern makes bf16 of either sign with about the root mean square rms:
// ±[u, 4u) for u = 2^even, half of them below 2u, whose root mean square is 2.415 u.
func bf16Pattern(rms float64) pattern {
	u := uint64(127 + math.Round(math.Log2(rms/2.415)))
	return pattern{keep: 0x80FF * lanes16, set: (u &^ 1) << 7 * lanes16}
}

// halfPattern makes half floats of about x, within a factor of 1.5.
func halfPattern(x float64) pattern {
	bits := uint64(float16.Fromfloat32(float32(x)).Bits())
	return pattern{keep: 0x01FF * lanes16, set: bits &^ 0x01FF * lanes16}
}

// e8m0Pattern makes powers of two of about x, within a factor of 2.
func e8m0Pattern(x float64) pattern {
	return pattern{keep: lanes8, set: (uint64(127+math.Floor(math.Log2(x))) &^ 1) * lanes8}
}

// chunkWords is how much one call of a parallel region writes.
const chunkWords = 1 << 17

// write fills words; which thread writes what does not matter.
func (p pattern) write(cpu *graph.CPU, words []uint64, seed uint64) {
	cpu.Parallel((len(words)+chunkWords-1)/chunkWords, func(_, i int) {
		at := i * chunkWords
		chunk := words[at:min(at+chunkWords, len(words))]
		for j := range chunk {
			x := mix(seed + uint64(at+j)*0x9E3779B97F4A7C15)
			if p.crumbs {
				x &^= (x & (x >> 1) & 0x5555555555555555) << 1 // 3 becomes 1, the code 0
			}
			if p.trits { // every byte b becomes b·243/256
				const low = 0x00FF * lanes16
				x = (x&low*243)>>8&low | (x>>8&low*243)&^low
			}
			chunk[j] = x&p.keep | p.set
		}
	})
}

// mix is the output function of SplitMix64 (Steele, Lea, Flood 2014), a
// bijection whose outputs look random for inputs that do not.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
