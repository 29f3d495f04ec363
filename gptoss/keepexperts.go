package gptoss

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// KeepExperts returns the model with only some of the experts of each layer:
// their weights and biases, and their rows of the router. Numbers in
// Config.KeptExperts say which they were. The weights stay where they are, so
// c must stay open; closing the result frees nothing. In what Tensors returns,
// weights of experts have no Data; everything else works as on the smaller
// model written to files.
//
// Shapes: kept [layers], each as long as the others, ascending.
// Errors: a model that is quantized, fewer experts than a token is routed to,
// an expert that is not there or that is named twice.
func (c *Checkpoint) KeepExperts(kept [][]int) (*Checkpoint, error) {
	if c.config.Quantization != nil {
		return nil, fmt.Errorf("gptoss: %s is quantized already; drop experts of the original", c.path)
	}
	config, err := c.config.keepExperts(kept)
	if err != nil {
		return nil, fmt.Errorf("gptoss: keeping experts of %s: %w", c.path, err)
	}
	view := &Checkpoint{path: c.path, config: config, files: c.files, archive: &safetensors.Archive{}, int8: c.int8,
		expands: c.expands, tensors: maps.Clone(c.tensors), parts: map[string][][]byte{}}
	for layer, chosen := range kept {
		n := LayerNames(layer)
		for _, name := range []string{n.Router + ".weight", n.Router + ".bias", n.GateUp + "_bias", n.Down + "_bias"} {
			t := view.tensors[name]
			t.Data = slices.Concat(pick(c.experts(name), chosen)...)
			t.Shape = append([]int{len(chosen)}, t.Shape[1:]...)
			view.tensors[name] = t
		}
		for _, p := range []string{n.GateUp, n.Down} {
			for _, name := range []string{p, p + "_blocks", p + "_scales"} {
				t, ok := view.tensors[name]
				if !ok {
					continue // one of the two ways to store experts
				}
				view.parts[name] = pick(c.experts(name), chosen)
				t.Data, t.Shape = nil, append([]int{len(chosen)}, t.Shape[1:]...)
				view.tensors[name] = t
			}
		}
	}
	return view, nil
}

// experts returns a tensor expert by expert: [E, ...] along its first axis.
func (c *Checkpoint) experts(name string) [][]byte {
	if parts, ok := c.parts[name]; ok {
		return parts
	}
	parts := make([][]byte, c.config.Experts)
	data := c.tensors[name].Data
	for e := range parts {
		size := len(data) / len(parts)
		parts[e] = data[e*size : (e+1)*size : (e+1)*size]
	}
	return parts
}

// pieces returns a tensor's bytes in order, which of a view lie in pieces.
func (c *Checkpoint) pieces(t safetensors.Tensor) [][]byte {
	if parts, ok := c.parts[t.Name]; ok {
		return parts
	}
	return [][]byte{t.Data}
}

func pick[T any](from []T, chosen []int) []T {
	to := make([]T, len(chosen))
	for i, at := range chosen {
		to[i] = from[at]
	}
	return to
}

// keepExperts returns the configuration of the model with fewer experts.
func (c Config) keepExperts(kept [][]int) (Config, error) {
	if len(kept) != c.Layers {
		return c, fmt.Errorf("experts of %d layers are named, there are %d", len(kept), c.Layers)
	}
	original := make([][]int, len(kept))
	for layer, chosen := range kept {
		if err := checkAscending(chosen, c.Experts); err != nil {
			return c, fmt.Errorf("layer %d: %w", layer, err)
		}
		original[layer] = slices.Clone(chosen)
		if c.KeptExperts != nil {
			original[layer] = pick(c.KeptExperts[layer], chosen)
		}
	}
	c.KeptExperts, c.Experts = original, len(kept[0])
	if err := c.checkKeptExperts(); err != nil {
		return c, err
	}
	fields := maps.Clone(c.fields)
	if fields == nil {
		fields = map[string]json.RawMessage{}
	}
	for _, key := range []string{"num_local_experts", "num_experts"} {
		if _, ok := fields[key]; ok {
			fields[key] = json.RawMessage(strconv.Itoa(c.Experts))
		}
	}
	raw, err := json.Marshal(c.KeptExperts)
	fields["kept_experts"], c.fields = raw, fields
	return c, err
}

// checkKeptExperts refuses numbers that are no choice of as many experts in
// every layer.
func (c *Config) checkKeptExperts() error {
	if c.KeptExperts == nil {
		return nil
	}
	if len(c.KeptExperts) != c.Layers {
		return fmt.Errorf("kept_experts has %d layers of %d", len(c.KeptExperts), c.Layers)
	}
	if c.Experts < c.ActiveExperts {
		return fmt.Errorf("%d experts are kept, a token needs %d", c.Experts, c.ActiveExperts)
	}
	for layer, chosen := range c.KeptExperts {
		if len(chosen) != c.Experts {
			return fmt.Errorf("kept_experts names %d experts in layer %d, want %d", len(chosen), layer, c.Experts)
		}
		if err := checkAscending(chosen, maxExperts); err != nil {
			return fmt.Errorf("kept_experts: layer %d: %w", layer, err)
		}
	}
	return nil
}

// checkAscending refuses numbers that do not ascend from 0 to below limit.
func checkAscending(chosen []int, limit int) error {
	last := -1
	for _, e := range chosen {
		if e <= last || e >= limit {
			return fmt.Errorf("expert %d behind expert %d: want ascending numbers below %d", e, last, limit)
		}
		last = e
	}
	return nil
}
