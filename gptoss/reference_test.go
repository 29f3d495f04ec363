package gptoss

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"gorgonia.org/gorgonia"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/reference"
)

// values are what a model computed, by node.
type values map[string][]float32

// traced runs one sequence in one batch and keeps what every node computed.
func traced(t *testing.T, c Config, w Weights, ids []int32) values {
	t.Helper()
	got := values{}
	all := func(string, gorgonia.Op) bool { return true }
	m := compile(t, c, w, newCPU(t, 2), len(ids), graph.WithProbe(all, func(name string, _ *graph.Batch, _ []graph.Buffer, out graph.Buffer) error {
		got[name] = slices.Clone(out.Float32s())
		return nil
	}))
	newRunner(t, m, 1).run([]part{{0, len(ids)}}, [][]int32{ids})
	return got
}

// step is a node and what the reference computed there.
type step struct {
	node string
	want [][]float64
}

// stepsOf lists a trace in the order in which the model computes it.
func stepsOf(trace reference.Trace) []step {
	layers := len(trace.MoE)
	steps := []step{{EmbeddingName, trace.Hidden[0]}}
	for i := range layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		steps = append(steps, step{p + "self_attn.o_proj", trace.Attention[i]}, step{p + "mlp.router", trace.RouterLogits[i]},
			step{p + "mlp.combine", trace.MoE[i]})
		if i+1 < layers {
			steps = append(steps, step{p + "output", trace.Hidden[i+1]})
		}
	}
	return append(steps, step{"model.norm", trace.Hidden[layers]}, step{HeadName, trace.Logits})
}

// largestDifference is NaN if anything is.
func largestDifference(t *testing.T, got []float32, want [][]float64) (worst float64) {
	t.Helper()
	flat := slices.Concat(want...)
	if len(got) != len(flat) {
		t.Fatalf("%d values, want %d", len(got), len(flat))
	}
	for i, v := range flat {
		worst = max(worst, math.Abs(float64(got[i])-v))
	}
	return worst
}

// expect compares every step; it names the first that differs, from which the
// later ones follow.
func expect(t *testing.T, got values, trace reference.Trace, tolerance float64) {
	t.Helper()
	worst, where := 0.0, ""
	for _, s := range stepsOf(trace) {
		d := largestDifference(t, got[s.node], s.want)
		if !(d <= tolerance) {
			t.Errorf("%s differs first, by %g, want at most %g", s.node, d, tolerance)
			return
		}
		if d > worst {
			worst, where = d, s.node
		}
	}
	t.Logf("largest difference %.2g, in %s", worst, where)
}

// promptOf is a prompt for a shape that passes its window.
func promptOf(s reference.Shape) []int32 {
	n := 40
	if s.Window > 100 && s.Hidden == 96 && s.Layers == 2 {
		n = 140
	}
	return tokens(n, s.Vocab)
}

// Every odd shape, against the float64 forward pass that shares no code with
// the product.
func TestNamedShapes(t *testing.T) {
	for name, shape := range reference.Named() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ids := promptOf(shape)
			if testing.Short() {
				ids = ids[:20]
			}
			dir := writeShape(t, shape)
			c := open(t, dir)
			expect(t, traced(t, c.Config(), c, ids), loadReference(t, dir).Forward(ids), 1e-4)
		})
	}
}

func TestPROBE(t *testing.T) {
	for name, shape := range reference.Named() {
		t.Run(name, func(t *testing.T) {
			dir := writeShape(t, shape)
			ids := tokens(40, shape.Vocab)
			c := open(t, dir, WithInt8Activations())
			trace := loadReference(t, dir).ForwardWith(reference.Options{Int8Activations: true}, ids)
			got := traced(t, c.Config(), c, ids)
			for _, s := range stepsOf(trace) {
				t.Logf("%s %.2g", s.node, largestDifference(t, got[s.node], s.want))
			}
		})
	}
}
