package gptoss

import (
	"fmt"
	"maps"
	"slices"

	"github.com/seed-796a8800/tritium/internal/mxfp4"
	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// check refuses a checkpoint that lacks a tensor or has one of another type or
// shape than the configuration asks for. After it no accessor can fail.
func (c *Checkpoint) check() error {
	cfg := &c.config
	if err := c.checkFormats(); err != nil {
		return fmt.Errorf("%s: quantization_config: %w", c.path, err)
	}
	for layer := range cfg.Layers {
		n := LayerNames(layer)
		for _, v := range []struct {
			name string
			size int
		}{{n.InputNorm, cfg.Hidden}, {n.Sinks, cfg.Heads}, {n.PostNorm, cfg.Hidden}} {
			if err := c.want(v.name, floats, v.size); err != nil {
				return err
			}
		}
	}
	if err := c.want(FinalNormName, floats, cfg.Hidden); err != nil {
		return err
	}
	for _, p := range cfg.ProjectionList() {
		if err := c.checkProjection(p); err != nil {
			return err
		}
	}
	return nil
}

// checkFormats refuses a quantization that names what the model has not, or a
// format that its projections cannot have.
func (c *Checkpoint) checkFormats() error {
	q := c.config.Quantization
	if q == nil {
		return nil
	}
	known := c.config.Projections()
	for _, name := range slices.Sorted(maps.Keys(q.Tensors)) {
		p, ok := known[name]
		f := q.Tensors[name]
		switch {
		case !ok:
			return fmt.Errorf("%q is no projection of the model", name)
		case f.Ternary() && !p.Quantizable:
			return fmt.Errorf("%s has format %s; only attention and expert projections can be ternary", name, f.Kind)
		case f.Coding != "" && f.Coding != CodingRANS:
			return fmt.Errorf("%s has coding %q; this tritium knows %q alone", name, f.Coding, CodingRANS)
		}
		if _, _, err := f.layout(p); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (c *Checkpoint) checkProjection(p Projection) error {
	if p.Name != EmbeddingName && p.Name != HeadName {
		name, shape := p.Name+".bias", []int{p.Out}
		if p.Experts > 0 {
			name, shape = p.Name+"_bias", []int{p.Experts, p.Out}
		}
		if err := c.want(name, floats, shape...); err != nil {
			return err
		}
	}
	if f := c.Format(p.Name); f.Kind != "" {
		return c.checkPacked(p, f)
	}
	if p.Experts == 0 {
		return c.want(p.Name+".weight", []safetensors.Dtype{"BF16", "F32"}, p.Out, p.In)
	}
	if _, ok := c.tensors[p.Name]; ok {
		return c.want(p.Name, []safetensors.Dtype{"BF16"}, p.Experts, p.In, p.Out)
	}
	if p.In%mxfp4.BlockSize != 0 {
		return fmt.Errorf("%s: %s has %d inputs; MXFP4 needs a multiple of %d", c.path, p.Name, p.In, mxfp4.BlockSize)
	}
	if err := c.want(p.Name+"_blocks", []safetensors.Dtype{"U8"}, p.Experts, p.Out, p.In/mxfp4.BlockSize, mxfp4.BlockSize/2); err != nil {
		return err
	}
	return c.want(p.Name+"_scales", []safetensors.Dtype{"U8"}, p.Experts, p.Out, p.In/mxfp4.BlockSize)
}

// checkPacked compares sizes only: the packed shapes are the layout's.
func (c *Checkpoint) checkPacked(p Projection, f Format) error {
	codes, scales, err := f.layout(p)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	n := max(1, p.Experts)
	for _, part := range []struct {
		suffix string
		dtype  safetensors.Dtype
		bytes  int
		coding string
	}{{".codes", "U8", codes * n, f.Coding}, {".scales", "F16", scales * n, ""}} {
		t, ok := c.tensors[p.Name+part.suffix]
		switch {
		case !ok:
			return fmt.Errorf("%s: tensor %q is missing", c.path, p.Name+part.suffix)
		case t.Dtype == part.dtype && part.coding != "" && c.outline: // what it expands to is in its data
		case t.Dtype == part.dtype && part.coding != "":
			if _, err := openCodes(t, part.bytes); err != nil {
				return err
			}
		case t.Dtype != part.dtype || t.Bytes() != int64(part.bytes):
			return fmt.Errorf("%s: tensor %q is %d bytes of %s, want %d bytes of %s", t.File, t.Name, t.Bytes(), t.Dtype, part.bytes, part.dtype)
		}
	}
	return nil
}

var floats = []safetensors.Dtype{"BF16", "F32", "F16"}

func (c *Checkpoint) want(name string, dtypes []safetensors.Dtype, shape ...int) error {
	t, ok := c.tensors[name]
	switch {
	case !ok:
		return fmt.Errorf("%s: tensor %q is missing", c.path, name)
	case !slices.Contains(dtypes, t.Dtype):
		return fmt.Errorf("%s: tensor %q has type %s, want %v", t.File, name, t.Dtype, dtypes)
	case !slices.Equal(t.Shape, shape):
		return fmt.Errorf("%s: tensor %q has shape %v, want %v", t.File, name, t.Shape, shape)
	}
	return nil
}
