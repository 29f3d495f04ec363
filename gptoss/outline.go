package gptoss

import (
	"embed"
	"fmt"

	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// OpenOutline opens a model whose weights are not there, for a look at it: config is its config.json, and tensors are
// what the headers of its weights list. Config, Tensors, Format, Bytes, StoredBytes and ExpandedBytes work as
// those of a model that was opened AsStored; nothing that reads weights may be asked for.
//
// Errors: as of Open.
func OpenOutline(config []byte, tensors []safetensors.Tensor) (*Checkpoint, error) {
	parsed, err := ParseConfig(config)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{path: "outline", config: parsed, files: embed.FS{}, archive: &safetensors.Archive{}, outline: true, asStored: true,
		tensors: map[string]safetensors.Tensor{}, compressed: map[string]compressed{}}
	for _, t := range tensors {
		if _, twice := c.tensors[t.Name]; twice {
			return nil, fmt.Errorf("gptoss: tensor %q is in two files", t.Name)
		}
		t.Data = nil
		c.tensors[t.Name] = t
	}
	if err := c.settle(); err != nil {
		return nil, err
	}
	return c, nil
}

// PublishedTensors returns the tensors, without data, that a model of this configuration has as OpenAI publishes it:
// experts in MXFP4, everything else in bf16, under Transformers' names.
//
// Errors: a configuration that no such model has.
func PublishedTensors(c Config) ([]safetensors.Tensor, error) {
	_, plan, err := Synthetic{Config: c, Format: FormatMXFP4}.plan()
	if err != nil {
		return nil, err
	}
	tensors := make([]safetensors.Tensor, len(plan))
	for i, t := range plan {
		tensors[i] = safetensors.Tensor{Name: t.name, Dtype: t.dtype, Shape: t.shape}
	}
	return tensors, nil
}
