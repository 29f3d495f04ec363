package gptoss

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"gorgonia.org/gorgonia"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/reference"
	"github.com/seed-796a8800/tritium/internal/safetensors"
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

// expectRounded compares every step where activations have 8 bits. The
// reference rounds x·127/max in float64, the model in float32. An x within a
// millionth of a rounding step of a tie takes the next code in one of them,
// which moves its token's outputs by about a hundredth of their size, and
// whatever attends to the token. A prompt has some 10,000 roundings, so that
// happens once in a while. What is wrong is wrong for every token: so in the
// first step that differs, at most two tokens may, and no step may differ by
// more than a few flipped codes can explain: a tenth, or a twenty-fifth of its largest value.
func expectRounded(t *testing.T, got values, trace reference.Trace) {
	t.Helper()
	clean := true
	for _, s := range stepsOf(trace) {
		width := len(s.want[0])
		flipped := 0
		for row, want := range s.want {
			d := largestDifference(t, got[s.node][row*width:(row+1)*width], [][]float64{want})
			top := 0.0
			for _, v := range want {
				top = max(top, math.Abs(v))
			}
			if most := max(0.1, top/25); !(d <= most) { // logits reach 24
				t.Errorf("%s: token %d differs by %g, want at most %g", s.node, row, d, most)
				return
			}
			if d > 1e-4 {
				flipped++
			}
		}
		if clean && flipped > 2 {
			t.Errorf("%s differs first, in %d tokens of %d", s.node, flipped, len(s.want))
			return
		}
		if clean && flipped > 0 {
			t.Logf("%s: %d tokens are rounded differently", s.node, flipped)
		}
		clean = clean && flipped == 0
	}
}

// Activations of 8 bits, of dense weights.
func TestInt8Activations(t *testing.T) {
	for name, shape := range reference.Named() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ids := tokens(40, shape.Vocab)
			if testing.Short() {
				ids = ids[:20]
			}
			dir := writeShape(t, shape)
			m, c := loadReference(t, dir), open(t, dir, WithInt8Activations())
			got := traced(t, c.Config(), c, ids)
			expectRounded(t, got, m.ForwardWith(reference.Options{Int8Activations: true}, ids))
			if d := largestDifference(t, got[HeadName], m.Forward(ids).Logits); d < 1e-2 {
				t.Errorf("rounding the activations moved the logits by %g only", d)
			}
		})
	}
}

// Every way to store projections, against the forward pass over the same weights
// dequantized.
func TestQuantized(t *testing.T) {
	for name, shape := range reference.Named() {
		if shape.Naming != reference.HF {
			continue // a quantized model has Transformers' names
		}
		for i, r := range []recipe{twoBits, withInt8, fives, planes, fives2, integers} {
			t.Run(fmt.Sprintf("%s/%+v", name, r), func(t *testing.T) {
				t.Parallel()
				if testing.Short() && i > 0 {
					t.Skip("the shapes are covered by the first recipe")
				}
				ids := tokens(40, shape.Vocab)
				q := quantize(t, writeShape(t, shape), r)
				c := open(t, q.dir)
				trace := loadReference(t, q.oracle).ForwardWith(reference.Options{Int8Activations: true, Int8Head: true}, ids)
				expectRounded(t, traced(t, c.Config(), c, ids), trace)
			})
		}
	}
}

// However a checkpoint names, stores and spreads its tensors, the logits have
// the same bits.
func TestNamingsAgree(t *testing.T) {
	t.Parallel()
	ids := tokens(40, 256)
	logits := func(s reference.Shape, threads int) []float32 {
		c := open(t, writeShape(t, s))
		return alone(t, compile(t, c.Config(), c, newCPU(t, threads), len(ids)), ids, len(ids))
	}
	want := logits(reference.Shape{}, 1)
	for name, s := range map[string]reference.Shape{
		"original names":      {Naming: reference.Original},
		"dequantized experts": {Naming: reference.HFDequantized},
		"two shards":          {Shards: 2},
		"three shards":        {Shards: 3},
		"rope_parameters":     {RopeParameters: true},
		"everything":          {Naming: reference.HFDequantized, Shards: 2, RopeParameters: true},
	} {
		if err := sameBits(logits(s, 2), want); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Linear weights and vectors in F32, as some uploads have them.
	dir := writeShape(t, reference.Shape{})
	wide := tensorsOf(t, dir)
	for i, x := range wide {
		if x.Dtype == safetensors.BF16 {
			wide[i].Dtype, wide[i].data = safetensors.F32, nil
			for j := 0; j < len(x.data); j += 2 {
				wide[i].data = append(wide[i].data, 0, 0, x.data[j], x.data[j+1])
			}
		}
	}
	c := open(t, writeModel(t, configOf(t, dir), wide))
	if err := sameBits(alone(t, compile(t, c.Config(), c, newCPU(t, 2), len(ids)), ids, len(ids)), want); err != nil {
		t.Errorf("F32: %v", err)
	}
}

// The SHA-256 of the weights does not change with names and files either.
func TestSHA256(t *testing.T) {
	t.Parallel()
	sum := func(s reference.Shape, seed uint64) string {
		dir := t.TempDir()
		if err := reference.Write(dir, s, seed); err != nil {
			t.Fatal(err)
		}
		h, err := open(t, dir).SHA256(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	want := sum(reference.Shape{}, seed)
	for _, s := range []reference.Shape{{Naming: reference.Original}, {Shards: 3}, {RopeParameters: true}} {
		if got := sum(s, seed); got != want {
			t.Errorf("%+v: %s, want %s", s, got, want)
		}
	}
	for _, other := range []string{sum(reference.Shape{}, seed+1), sum(reference.Shape{Naming: reference.HFDequantized}, seed)} {
		if other == want {
			t.Error("other tensors have the same sum")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(t, writeShape(t, reference.Shape{})).SHA256(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancelling: %v", err)
	}
}
