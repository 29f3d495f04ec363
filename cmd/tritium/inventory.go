package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/seed-796a8800/tritium/gptoss"
)

// stays marks what quantization never touches.
const stays = "stays"

// kinds are what a model consists of, in the order in which they are listed.
var kinds = []struct{ name, may string }{
	{"experts", "ternary, two planes, int4"}, {"attention", "ternary, two planes, int4, int8"},
	{"embedding", "int8, int4"}, {"head", "int8, int4"},
	{"router", stays}, {"biases", stays}, {"norms", stays}, {"sinks", stays},
}

// kindUsage is what the tensors of one kind add up to.
type kindUsage struct {
	Kind       string  `json:"kind"`
	Parameters int64   `json:"parameters"`
	Active     int64   `json:"active_parameters"` // that one token is multiplied by
	Bytes      int64   `json:"bytes"`             // in the files
	Memory     int64   `json:"memory_bytes"`      // once open; more than Bytes if compressed
	Bits       float64 `json:"bits_per_weight"`
	Format     string  `json:"format"`                 // as stored
	May        string  `json:"may_become"`             // by quantization
	ActiveSize int64   `json:"active_bytes_per_token"` // that one token reads
}

// inventory adds up a model's tensors by kind.
func inventory(c *gptoss.Checkpoint) []kindUsage {
	byName := map[string]*kindUsage{}
	list := make([]kindUsage, len(kinds))
	for i, k := range kinds {
		list[i].Kind, list[i].May = k.name, k.may
		byName[k.name] = &list[i]
	}
	config := c.Config()
	formats := map[string][]string{}
	for _, p := range config.ProjectionList() {
		u := byName[kindOf(p.Name)]
		u.Parameters += p.Parameters()
		u.Active += active(config, p.Name, p.Parameters())
	}
	for _, t := range c.Tensors() {
		kind := kindOf(t.Name)
		u, n := byName[kind], c.ExpandedBytes(t.Name)
		u.Bytes += c.StoredBytes(t.Name)
		u.Memory += n
		u.ActiveSize += active(config, t.Name, n)
		if kind == "biases" || kind == "norms" || kind == "sinks" {
			values := int64(1)
			for _, d := range t.Shape {
				values *= int64(d)
			}
			u.Parameters += values
			u.Active += active(config, t.Name, values)
		}
		if f := storage(c, t.Name, string(t.Dtype)); !slices.Contains(formats[kind], f) {
			formats[kind] = append(formats[kind], f)
		}
	}
	for i := range list {
		u := &list[i]
		if u.Parameters > 0 {
			u.Bits = 8 * float64(u.Bytes) / float64(u.Parameters)
		}
		u.Format = strings.Join(formats[u.Kind], ", ")
	}
	return list
}

// active returns how much of a tensor a token reads: one row of the embedding,
// the active experts, all of the rest.
func active(c gptoss.Config, name string, whole int64) int64 {
	switch {
	case strings.HasPrefix(name, gptoss.EmbeddingName):
		return whole / int64(c.Vocab)
	case strings.Contains(name, ".experts."):
		return whole / int64(c.Experts) * int64(c.ActiveExperts)
	}
	return whole
}

// kindOf tells a tensor's or projection's kind by its name.
func kindOf(name string) string {
	switch {
	case strings.HasPrefix(name, gptoss.EmbeddingName):
		return "embedding"
	case strings.HasPrefix(name, gptoss.HeadName):
		return "head"
	case strings.HasSuffix(name, ".bias"), strings.HasSuffix(name, "_bias"):
		return "biases"
	case strings.HasSuffix(name, ".sinks"):
		return "sinks"
	case strings.Contains(name, ".experts."):
		return "experts"
	case strings.Contains(name, ".self_attn."):
		return "attention"
	case strings.Contains(name, ".router"):
		return "router"
	}
	return "norms"
}

// storage names how a tensor is stored.
func storage(c *gptoss.Checkpoint, tensor, dtype string) string {
	name := tensor
	for _, suffix := range []string{".codes", ".scales"} {
		name = strings.TrimSuffix(name, suffix)
	}
	if f := c.Format(name); f.Kind != "" && name != tensor {
		if f.Coding != "" {
			return f.Kind + " (" + f.Coding + ")"
		}
		return f.Kind
	}
	if strings.HasSuffix(tensor, "_blocks") || strings.HasSuffix(tensor, "_scales") {
		return "mxfp4"
	}
	return strings.ToLower(dtype)
}

// total adds up an inventory.
func total(list []kindUsage) kindUsage {
	t := kindUsage{Kind: "total"}
	for _, u := range list {
		t.Parameters += u.Parameters
		t.Active += u.Active
		t.Bytes += u.Bytes
		t.Memory += u.Memory
		t.ActiveSize += u.ActiveSize
	}
	t.Bits = 8 * float64(t.Bytes) / float64(cmp.Or(t.Parameters, 1))
	return t
}
