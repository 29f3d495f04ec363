package quantize

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/seed-796a8800/tritium/internal/units"
)

// TestSaliency compares with the definition, in float64, of experts decoded one
// by one.
func TestSaliency(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers for several seconds")
	}
	c, cpu := openNano(t), newCPU(t, 2)
	config := c.Config()
	tokens := nanoTokens(t, c, 3*32+7) // a rest of 7 that is not used
	o := Options{Window: 32, Rows: 64, Fit: FitOptions{Passes: 1}, Prune: Pruning{Keep: 4}}
	report, err := Run(t.Context(), cpu, c, tokens, filepath.Join(t.TempDir(), "q"), o)
	if err != nil {
		t.Fatal(err)
	}
	ranked := report.Pruned
	if len(ranked.Layers) != config.Layers || ranked.Kept != 4 || ranked.Of != config.Experts || ranked.Ranking != RankREAP {
		t.Fatalf("%+v", ranked)
	}
	x := embedded(c, tokens[:96])
	for layer, got := range ranked.Layers {
		n, scope := gptoss.LayerNames(layer), fmt.Sprintf("model.layers.%d.", layer)
		var inputs, weights, output []float32
		keep := func(to *[]float32) func([]float32, int) error {
			return func(v []float32, _ int) error {
				*to = append(*to, v...)
				return nil
			}
		}
		l := &layerRun{cpu: cpu, config: config, weights: newOverlay(c), layer: layer, window: 32, rows: 64}
		if err := l.run(t.Context(), memoryStream{x, config.Hidden}, func(int) {}, observer{scope + "post_attention_layernorm", keep(&inputs)},
			observer{scope + "mlp.routing", keep(&weights)}, observer{scope + "output", keep(&output)}); err != nil {
			t.Fatal(err)
		}
		x = output
		sum, count := make([]float64, config.Experts), make([]int, config.Experts)
		for i := range 96 {
			for e := range sum {
				if w := weights[i*config.Experts+e]; w != 0 {
					sum[e] += float64(w) * expertNorm(c, n, e, inputs[i*config.Hidden:(i+1)*config.Hidden])
					count[e]++
				}
			}
		}
		for e := range sum {
			want := sum[e] / float64(max(1, count[e]))
			if math.Abs(got.Saliency[e]-want) > 1e-4*want || got.Tokens[e] != count[e] {
				t.Errorf("layer %d, expert %d: %g of %d tokens, want %g of %d", layer, e, got.Saliency[e], got.Tokens[e], want, count[e])
			}
		}
		for e, s := range got.Saliency {
			better := 0
			for _, other := range got.Saliency {
				if other > s {
					better++
				}
			}
			if slices.Contains(got.Kept, e) != (better < 4) {
				t.Errorf("layer %d keeps %v by %v", layer, got.Kept, got.Saliency)
			}
		}
	}
}

// expertNorm is ‖down·swiglu(gate_up·x + b) + b‖.
func expertNorm(c *gptoss.Checkpoint, n gptoss.Names, e int, x []float32) float64 {
	square := 0.0
	for _, v := range expertProduct(c, n.Down, e, expertInner(c, n, e, x)) {
		square += v * v
	}
	return math.Sqrt(square)
}

// expertInner is swiglu(gate_up·x + b).
func expertInner(c *gptoss.Checkpoint, n gptoss.Names, e int, x []float32) []float32 {
	inner := expertProduct(c, n.GateUp, e, x)
	limit := float64(c.Config().SwiGLULimit)
	active := make([]float32, len(inner)/2)
	for i := range active {
		g, l := min(inner[2*i], limit), max(-limit, min(inner[2*i+1], limit))
		active[i] = float32(g / (1 + math.Exp(-1.702*g)) * (l + 1))
	}
	return active
}

func expertProduct(c *gptoss.Checkpoint, name string, e int, x []float32) []float64 {
	m := c.ExpertMatrices(name)[e]
	out, in := m.Dims()
	w := make([]float32, out*in)
	m.DecodeRows(w, 0, out)
	y := make([]float64, out)
	for o := range y {
		y[o] = float64(c.Vector(name + "_bias")[e*out+o])
		for i, v := range x {
			y[o] += float64(w[o*in+i]) * float64(v)
		}
	}
	return y
}

func TestChooseExperts(t *testing.T) {
	l := LayerRanking{Saliency: []float64{2, 5, 0, 5, 1}, Tokens: []int{9, 1, 9, 4, 10}}
	for _, x := range []struct {
		by   Ranking
		n    int
		want []int
	}{
		{RankREAP, 1, []int{1}}, {RankREAP, 3, []int{0, 1, 3}}, {RankREAP, 5, []int{0, 1, 2, 3, 4}},
		{RankFrequency, 2, []int{0, 4}}, {RankFrequency, 3, []int{0, 2, 4}},
	} {
		if got, err := l.choose(x.by, x.n, randomSource(3)); err != nil || !slices.Equal(got, x.want) {
			t.Errorf("%d by %s: %v (%v), want %v", x.n, x.by, got, err, x.want)
		}
	}
	seen := map[string]bool{}
	for seed := range uint64(40) {
		got, err := l.choose(RankRandom, 2, randomSource(seed))
		again, _ := l.choose(RankRandom, 2, randomSource(seed))
		if err != nil || !slices.Equal(got, again) || len(got) != 2 || got[0] >= got[1] {
			t.Fatalf("%v, then %v (%v)", got, again, err)
		}
		seen[fmt.Sprint(got)] = true
	}
	if len(seen) != 10 { // (1 - 1/10)^40 is 0.015 for each pair, and the seeds are what they are
		t.Errorf("40 seeds gave %d of 10 pairs", len(seen))
	}
	l.Saliency[2] = math.NaN()
	if _, err := l.choose(RankREAP, 2, randomSource(1)); err == nil {
		t.Error("an expert with outputs that are no numbers has a rank")
	}
}

// TestKeepExpertsInARun: quantizing with fewer experts is quantizing the model
// that has them alone, and gives the same on any number of threads.
func TestKeepExpertsInARun(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers for several seconds")
	}
	c := openNano(t)
	tokens := nanoTokens(t, c, 64*6)
	for _, method := range []Method{PTBitNet, Reconstruct} {
		o := Options{Method: method, Window: 64, Rows: 128, Fit: FitOptions{Passes: 1}, Train: TrainOptions{Steps: 1, Batch: 2},
			Prune: Pruning{Keep: 3}}
		parent := t.TempDir()
		dir := filepath.Join(parent, "q")
		report, err := Run(t.Context(), newCPU(t, 1), c, tokens, dir, o)
		if err != nil {
			t.Fatal(err)
		}
		var kept [][]int
		for _, l := range report.Pruned.Layers {
			kept = append(kept, l.Kept)
		}
		sum, err := c.SHA256(t.Context())
		if err != nil || report.SourceSHA256 != sum {
			t.Errorf("the report is of source %s (%v), want %s", report.SourceSHA256, err, sum)
		}
		if err := VerifyFiles(t.Context(), dir); err != nil {
			t.Error(err)
		}
		result, err := gptoss.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer result.Close()
		if config := result.Config(); config.Experts != 3 || !slices.EqualFunc(config.KeptExperts, kept, slices.Equal) {
			t.Errorf("%s: %d experts, %v, want %v", method, config.Experts, config.KeptExperts, kept)
		}
		if f, err := NewForecast(c.Config(), o, len(tokens)); err != nil || math.Abs(float64(f.Bytes-report.Bytes)) > 0.01*float64(report.Bytes) {
			t.Errorf("%s: %d bytes were forecast (%v), it has %d", method, f.Bytes, err, report.Bytes)
		}
		if method == Reconstruct {
			continue // it also trains the router, towards the original with all experts
		}
		checkRouterRows(t, c, result, kept)
		view, err := c.KeepExperts(kept)
		if err != nil {
			t.Fatal(err)
		}
		o.Prune = Pruning{}
		if _, err := Run(t.Context(), newCPU(t, 3), view, tokens, filepath.Join(parent, "view"), o); err != nil {
			t.Fatal(err)
		}
		a, errA := os.ReadFile(filepath.Join(dir, "model.safetensors"))
		b, errB := os.ReadFile(filepath.Join(parent, "view", "model.safetensors"))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("the model of the kept experts gives other bytes (%v, %v)", errA, errB)
		}
	}
}

// checkRouterRows: the router keeps its rows, in the type they had.
func checkRouterRows(t *testing.T, source, result *gptoss.Checkpoint, kept [][]int) {
	t.Helper()
	tensors := func(c *gptoss.Checkpoint) map[string]safetensors.Tensor {
		m := map[string]safetensors.Tensor{}
		for _, x := range c.Tensors() {
			m[x.Name] = x
		}
		return m
	}
	before, after := tensors(source), tensors(result)
	for layer, chosen := range kept {
		for _, suffix := range []string{".weight", ".bias"} {
			name := gptoss.LayerNames(layer).Router + suffix
			a, b := before[name], after[name]
			var want []byte
			for _, e := range chosen {
				row := len(a.Data) / a.Shape[0]
				want = append(want, a.Data[e*row:(e+1)*row]...)
			}
			if !bytes.Equal(b.Data, want) || b.Dtype != a.Dtype || b.Shape[0] != len(chosen) {
				t.Errorf("%s is %v of %s, not the kept rows", name, b.Shape, b.Dtype)
			}
		}
	}
}

// withStore gives a run a store of its own.
func withStore(t *testing.T, r *run) {
	t.Helper()
	var err error
	if r.store, err = units.Open(filepath.Join(t.TempDir(), "store")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.store.Close() })
	r.stores = []*units.Store{r.store}
}

// embedded is the stream before the first layer.
func embedded(c *gptoss.Checkpoint, tokens []int32) []float32 {
	h := c.Config().Hidden
	x := make([]float32, len(tokens)*h)
	embedTokens(x, c.Embedding(), tokens, h)
	return x
}
