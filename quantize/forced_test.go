package quantize

import (
	"cmp"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ternaryop"
)

// TestNearestTokens compares with sorting all tokens.
func TestNearestTokens(t *testing.T) {
	const tokens, experts, active, want = 200, 6, 2, 25
	rng := randomSource(5)
	logits := normals(rng, tokens*experts)
	weights := make([]float32, len(logits))
	for i := range logits {
		if logits[i] = float32(math.Round(float64(logits[i])*4)) / 4; i%experts == 5 {
			logits[i] -= 2 // an expert that is hardly ever chosen; and ties everywhere
		}
	}
	all := make([][]nearToken, experts)
	routed := make([]int, experts)
	for i := range tokens {
		z := logits[i*experts : (i+1)*experts]
		order := []int{0, 1, 2, 3, 4, 5}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(z[b], z[a]) })
		for at, e := range order {
			if at < active {
				weights[i*experts+e] = .5
				routed[e]++
			} else {
				all[e] = append(all[e], nearToken{z[e] - z[order[active-1]], i})
			}
		}
	}
	f := newForcing(want, experts)
	see := f.observers("")
	for at := 0; at < tokens; { // batches of different sizes
		n := min(1+at%17, tokens-at)
		for i, values := range [][]float32{logits[at*experts : (at+n)*experts], weights[at*experts : (at+n)*experts]} {
			if err := see[i].see(values, n); err != nil {
				t.Fatal(err)
			}
		}
		at += n
	}
	starved := 0
	for e := range experts {
		if f.routed[e] != routed[e] {
			t.Errorf("expert %d: %d tokens, want %d", e, f.routed[e], routed[e])
		}
		if routed[e] >= want {
			if f.nearest[e] != nil {
				t.Errorf("expert %d has %d tokens and keeps others", e, routed[e])
			}
			continue
		}
		starved++
		slices.SortFunc(all[e], nearToken.compare)
		if !slices.Equal(f.nearest[e], all[e][:want]) {
			t.Errorf("expert %d keeps other tokens than the %d nearest", e, want)
		}
	}
	if starved != 1 {
		t.Fatalf("%d starved experts, the test wants one", starved)
	}
}

// TestForcedStatistics: with every token forced on every expert, the statistics
// are those of the expert, in float64, on all tokens; however the stream is cut.
func TestForcedStatistics(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers for several seconds")
	}
	c, cpu := openNano(t), newCPU(t, 2)
	const tokens = 96
	config, n := c.Config(), gptoss.LayerNames(0)
	gateUp, down := config.Projections()[n.GateUp], config.Projections()[n.Down]
	var inputs, weights []float32
	l := &layerRun{cpu: cpu, config: config, weights: newOverlay(c), layer: 0, window: 32, rows: tokens}
	text := nanoTokens(t, c, tokens)
	if err := l.run(t.Context(), memoryStream{embedded(c, text), config.Hidden}, func(int) {},
		observer{"model.layers.0.post_attention_layernorm", func(v []float32, _ int) error { inputs = slices.Clone(v); return nil }},
		observer{"model.layers.0.mlp.routing", func(v []float32, _ int) error { weights = slices.Clone(v); return nil }}); err != nil {
		t.Fatal(err)
	}
	for _, shard := range []int{32, 64, 96} {
		r, err := newRun(t.Context(), c, text, Options{Window: 32, Rows: 64, ForceTokens: tokens, shardTokens: shard})
		if err != nil {
			t.Fatal(err)
		}
		withStore(t, r)
		r.shards = shardsOf(r.tokens, 32, shard)
		shards := r.inputUnits(0, r.embedUnits(nil))
		w := &worker{run: r, cpu: cpu, fitter: NewFitter(cpu)}
		for _, u := range shards {
			for _, made := range []*unit{u.inputs[0], u} {
				if _, err := r.store.Do(t.Context(), made.key, func(path string) error {
					w.unit = made
					return made.make(w, path)
				}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for e := range config.Experts {
			var inner []float32
			routed := 0
			for i := range tokens {
				x := inputs[i*config.Hidden : (i+1)*config.Hidden]
				if weights[i*config.Experts+e] != 0 {
					routed++
				} else {
					x = rounded(x)
				}
				inner = append(inner, expertInner(c, n, e, x)...)
			}
			for p, want := range map[*gptoss.Projection]*Moment{
				&gateUp: momentOfRows(t, cpu, inputs, config.Hidden, nil), &down: momentOfRows(t, cpu, inner, down.In, nil),
			} {
				got, err := w.sum(placeOf(*p), shards, e)
				if err != nil {
					t.Fatal(err)
				}
				forced, err := w.force(got, *p, shards, e)
				if err != nil || forced != tokens-routed || got.Tokens() != routed || got.weight != tokens {
					t.Fatalf("%s of expert %d: %d forced (%v), it counts %d and weighs %g", p.Name, e, forced, err, got.Tokens(), got.weight)
				}
				compareMoments(t, cpu, got, want, 2e-3) // an input may round to the next of 255 codes
			}
		}
	}
}

// rounded is a row as a quantized projection sees it.
func rounded(x []float32) []float32 {
	codes, y := make([]int8, len(x)), make([]float32, len(x))
	scale := ternaryop.QuantizeRow(codes, x)
	for i, c := range codes {
		y[i] = scale * float32(c)
	}
	return y
}

func compareMoments(t *testing.T, cpu *graph.CPU, got, want *Moment, tolerance float64) {
	t.Helper()
	a, errA := got.Damped(cpu, .01, nil)
	b, errB := want.Damped(cpu, .01, nil)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	for i := range a {
		if math.Abs(float64(a[i]-b[i])) > tolerance*max(1, math.Abs(float64(b[i]))) {
			t.Fatalf("H is %g at %d, want %g", a[i], i, b[i])
		}
	}
}

// TestForceTokens runs the pipeline with experts that are starved.
func TestForceTokens(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers for several seconds")
	}
	const want = 60
	plain := quantizeNano(t, 2, Options{Fit: FitOptions{Passes: 1}})
	one := quantizeNano(t, 1, Options{Fit: FitOptions{Passes: 1}, ForceTokens: want})
	three := quantizeNano(t, 3, Options{Fit: FitOptions{Passes: 1}, ForceTokens: want})
	files := map[string]string{}
	for _, dir := range []string{plain, one, three} {
		data, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		files[dir] = string(data)
	}
	if files[one] != files[three] {
		t.Error("the result depends on the threads")
	}
	if files[one] == files[plain] {
		t.Error("forcing tokens changes nothing")
	}
	var r Report
	data, err := os.ReadFile(filepath.Join(one, ReportName))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	starved := map[[2]int]ForcedTokens{}
	for _, f := range r.Forced {
		starved[[2]int{f.Layer, f.Expert}] = f
	}
	for i, x := range r.Tensors {
		if !strings.HasSuffix(x.Name, "gate_up_proj") {
			continue
		}
		for e, n := range x.TokensPerExpert {
			f, ok := starved[[2]int{i / 6, e}]
			if ok != (n < want) || ok && (f.Tokens != n || f.Forced != want-n) {
				t.Errorf("%s: expert %d has %d tokens, was lent %d", x.Name, e, n, f.Forced)
			}
		}
	}
	if len(starved) == 0 || r.Options.ForceTokens != want {
		t.Errorf("%d starved experts at %d tokens", len(starved), r.Options.ForceTokens)
	}
}

func TestMinTokens(t *testing.T) {
	c := openNano(t)
	dir := filepath.Join(t.TempDir(), "q")
	_, err := Run(t.Context(), newCPU(t, 2), c, nanoTokens(t, c, 64*6), dir, Options{Window: 64, MinTokens: 300, ForceTokens: 300})
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "quantize: layer 0: fitting gate_up_proj, expert 0: expert ") ||
		!strings.Contains(err.Error(), "fewer than the 300 that are asked for; give more calibration text") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a model is there")
	}
	for _, o := range []Options{{MinTokens: -1}, {ForceTokens: -1}, {Prune: Pruning{Keep: -1}}, {Prune: Pruning{Keep: 1}},
		{Prune: Pruning{Keep: 9}}, {Method: AbsMean, MinTokens: 1}, {Method: Stage1, Prune: Pruning{Keep: 4}},
		{Prune: Pruning{Keep: 4, Rank: "taste"}}} {
		if _, err := Run(t.Context(), newCPU(t, 1), c, nanoTokens(t, c, 600), dir, o); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
