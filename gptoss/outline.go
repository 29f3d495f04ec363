package gptoss

import (
	"fmt"

	"github.com/seed-796a8800/tritium/internal/mxfp4"
	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// Outline is a model without its weights: what it consists of and what that takes, but nothing that could run.
type Outline struct{ c *Checkpoint }

// NewOutline makes an outline of the contents of a config.json and of the tensors that the files' headers describe,
// which have no Data. path stands for the model in messages.
//
// Errors: those of Open, as far as headers show them.
func NewOutline(path string, config []byte, tensors []safetensors.Tensor) (*Outline, error) {
	c, err := ParseConfig(config)
	if err != nil {
		return nil, err
	}
	o := &Checkpoint{path: path, config: c, tensors: map[string]safetensors.Tensor{}, outline: true}
	for _, t := range tensors {
		o.tensors[t.Name] = t
	}
	if _, ok := o.tensors["embedding.weight"]; ok {
		if err := renameOriginal(c, o.tensors); err != nil {
			return nil, fmt.Errorf("gptoss: %w", err)
		}
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("gptoss: %w", err)
	}
	return &Outline{o}, nil
}

// NewOutlineOfNames makes an outline of an index alone, which has no more than the tensors' names: their types and
// shapes are those that the configuration asks for in a model as published or as tritium writes it.
//
// Errors: those of NewOutline; a name whose type and shape do not follow from the configuration.
func NewOutlineOfNames(path string, config []byte, names []string) (*Outline, error) {
	c, err := ParseConfig(config)
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for _, name := range names {
		there[name] = true
	}
	expected, err := c.tensors(there)
	if err != nil {
		return nil, fmt.Errorf("gptoss: %s: %w", path, err)
	}
	tensors := make([]safetensors.Tensor, 0, len(names))
	for _, name := range names {
		m, ok := expected[name]
		if !ok {
			return nil, fmt.Errorf("gptoss: %s: the index names %q, whose shape does not follow from config.json", path, name)
		}
		tensors = append(tensors, safetensors.Tensor{Name: name, Dtype: m.dtype, Shape: m.shape, File: path})
	}
	return NewOutline(path, config, tensors)
}

// tensors lists what a model of this configuration consists of, by name: experts in MXFP4 and, where there are such
// names, dequantized.
func (c *Config) tensors(there map[string]bool) (map[string]made, error) {
	byName := map[string]made{}
	add := func(list ...made) {
		for _, m := range list {
			byName[m.name] = m
		}
	}
	add(made{name: FinalNormName, dtype: safetensors.BF16, shape: []int{c.Hidden}})
	for layer := range c.Layers {
		n := LayerNames(layer)
		add(made{name: n.InputNorm, dtype: safetensors.BF16, shape: []int{c.Hidden}},
			made{name: n.PostNorm, dtype: safetensors.BF16, shape: []int{c.Hidden}},
			made{name: n.Sinks, dtype: safetensors.BF16, shape: []int{c.Heads}})
	}
	for _, p := range c.ProjectionList() {
		f := Format{Kind: FormatBF16}
		if c.Quantization != nil && c.Quantization.Tensors[p.Name].Kind != "" {
			f = c.Quantization.Tensors[p.Name]
		} else if p.Experts > 0 {
			f.Kind = FormatMXFP4
		}
		if f.Coding != "" {
			return nil, fmt.Errorf("%s is compressed, and its size is in the files alone", p.Name)
		}
		if p.Experts > 0 && there[p.Name] {
			add(made{name: p.Name, dtype: safetensors.BF16, shape: []int{p.Experts, p.In, p.Out}})
		}
		if f.Kind == FormatMXFP4 && p.In%mxfp4.BlockSize != 0 {
			return nil, fmt.Errorf("%s has %d inputs; MXFP4 needs a multiple of %d", p.Name, p.In, mxfp4.BlockSize)
		}
		list, err := weights(p, f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		add(list...)
	}
	return byName, nil
}

// Config returns the model's configuration.
func (o *Outline) Config() Config { return o.c.config }

// Tensors returns the tensors by Transformers' name, sorted, without Data.
func (o *Outline) Tensors() []safetensors.Tensor { return o.c.Tensors() }

// Format returns how a quantized tensor is stored; its Kind is empty for one that is as in the source.
func (o *Outline) Format(name string) Format { return o.c.Format(name) }

// StoredBytes returns what a tensor takes in the files, by its name.
func (o *Outline) StoredBytes(tensor string) int64 { return tensorBytes(o.c.tensors[tensor]) }

// ExpandedBytes returns what a tensor takes in memory, by its name.
func (o *Outline) ExpandedBytes(tensor string) int64 {
	for name, p := range o.c.config.Projections() {
		if f := o.c.Format(name); f.Coding != "" && tensor == name+".codes" {
			codes, _, _ := f.layout(p) // which NewOutline has checked
			return int64(codes) * int64(max(1, p.Experts))
		}
	}
	return o.StoredBytes(tensor)
}

// tensorBytes is what a tensor takes as its header describes it.
func tensorBytes(t safetensors.Tensor) int64 { return int64(t.Len()) * int64(t.Dtype.Size()) }
