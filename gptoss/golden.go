package gptoss

import (
	"fmt"
	"math"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/safetensors"
	"gorgonia.org/gorgonia"
)

// Difference is the largest difference from a reference in one tensor.
type Difference struct {
	Tensor string  `json:"tensor"`
	MaxAbs float64 `json:"max_abs_diff"`
}

// Comparison is the outcome of Compare.
type Comparison struct {
	MaxAbsLogitDiff  float64
	MaxAbsHiddenDiff float64
	Tensors          []Difference // in the order in which the model computes them
	First            *Difference  // the first above the tolerance, or nil
}

// Compare runs the prompts of a golden file through a model and compares what
// the file holds: for j = 0, 1, ... ids{j} [T] and logits{j} [T, V] (or those
// of the last rows only), and hidden{j}.{k} [T, H], where k = 0 is the
// embedding, k = 1..L-1 the residual stream after k layers, and k = L the
// stream after the final norm.
//
// Errors: a golden file that is not one, or is one of another model.
func Compare(c Config, w Weights, dev graph.Device, golden *safetensors.Archive, tolerance float64) (Comparison, error) {
	var out Comparison
	for j := 0; ; j++ {
		t, ok := golden.Lookup(fmt.Sprintf("ids%d", j))
		if !ok {
			if j == 0 {
				return out, fmt.Errorf("gptoss: the golden file holds no ids0")
			}
			return out, nil
		}
		ids, err := tokenIDs(t)
		if err != nil {
			return out, err
		}
		if err := out.prompt(c, w, dev, golden, j, ids, tolerance); err != nil {
			return out, err
		}
	}
}

// maxGoldenTokens bounds the logits that Compare keeps: a row per token.
const maxGoldenTokens = 1 << 13

// tokenIDs reads a vector of I32.
func tokenIDs(t safetensors.Tensor) ([]int32, error) {
	if t.Dtype != "I32" || len(t.Shape) != 1 || t.Shape[0] < 1 || t.Shape[0] > maxGoldenTokens {
		return nil, fmt.Errorf("gptoss: golden tensor %q is %s %v, want a vector of 1 to %d I32", t.Name, t.Dtype, t.Shape, maxGoldenTokens)
	}
	ids := make([]int32, t.Shape[0])
	for i := range ids {
		d := t.Data[4*i:]
		ids[i] = int32(uint32(d[0]) | uint32(d[1])<<8 | uint32(d[2])<<16 | uint32(d[3])<<24)
	}
	return ids, nil
}

// prompt compares the j-th prompt.
func (out *Comparison) prompt(c Config, w Weights, dev graph.Device, golden *safetensors.Archive, j int, ids []int32, tolerance float64) error {
	add := func(name string, got []float32, width int) error {
		t, ok := golden.Lookup(name)
		if !ok {
			return nil
		}
		want, err := t.Float32s()
		if err != nil {
			return err
		}
		if len(t.Shape) != 2 || t.Shape[1] != width || len(want) > len(got) {
			return fmt.Errorf("gptoss: golden tensor %q has shape %v; it is of another model", name, t.Shape)
		}
		// Fewer rows than tokens are the last ones.
		d := Difference{name, maxAbsDiff(got[len(got)-len(want):], want)}
		out.Tensors = append(out.Tensors, d)
		if out.First == nil && !(d.MaxAbs <= tolerance) {
			out.First = &d
		}
		return nil
	}
	hidden := hiddenNodes(c, j)
	probe := graph.WithProbe(
		func(name string, _ gorgonia.Op) bool { return hidden[name] != "" },
		func(name string, b *graph.Batch, _ []graph.Buffer, o graph.Buffer) error {
			before := len(out.Tensors)
			err := add(hidden[name], o.Float32s(), c.Hidden)
			if len(out.Tensors) > before {
				out.MaxAbsHiddenDiff = max(out.MaxAbsHiddenDiff, out.Tensors[before].MaxAbs)
			}
			return err
		})
	m, err := Compile(c, w, dev, len(ids), probe)
	if err != nil {
		return err
	}
	seq, err := m.Plan.NewSequence()
	if err != nil {
		return err
	}
	b := graph.NewBatch()
	b.Add(seq, len(ids))
	for i := range ids {
		b.Want(i)
	}
	copy(m.tokens, ids)
	if err := m.Plan.Run(b); err != nil {
		return err
	}
	before := len(out.Tensors)
	if err := add(fmt.Sprintf("logits%d", j), m.logits, c.Vocab); err != nil {
		return err
	}
	if len(out.Tensors) > before {
		out.MaxAbsLogitDiff = max(out.MaxAbsLogitDiff, out.Tensors[before].MaxAbs)
	}
	return nil
}

// hiddenNodes maps the nodes whose values a golden file holds to their names in
// the file.
func hiddenNodes(c Config, j int) map[string]string {
	nodes := map[string]string{EmbeddingName: hiddenName(j, 0), "model.norm": hiddenName(j, c.Layers)}
	for k := 1; k < c.Layers; k++ {
		nodes[fmt.Sprintf("model.layers.%d.output", k-1)] = hiddenName(j, k)
	}
	return nodes
}

func hiddenName(j, k int) string { return fmt.Sprintf("hidden%d.%d", j, k) }

// maxAbsDiff is NaN if anything is.
func maxAbsDiff(a, b []float32) float64 {
	d := 0.0
	for i := range b {
		x := math.Abs(float64(a[i]) - float64(b[i]))
		if !(x <= d) {
			d = x
		}
		if x != x {
			return x
		}
	}
	return d
}
