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
	"github.com/seed-796a8800/tritium/ops"
)

// TestNearestTokens compares with sorting all tokens.
func TestNearestTokens(t *testing.T) {
	const tokens, experts, active, width, want = 200, 6, 2, 3, 25
	rng := randomSource(5)
	logits, inputs := normals(rng, tokens*experts), normals(rng, tokens*width)
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
				all[e] = append(all[e], nearToken{z[e] - z[order[active-1]], i, inputs[i*width : (i+1)*width]})
			}
		}
	}
	f := newForcing(want, experts)
	see := f.observers("")
	for at := 0; at < tokens; { // batches of different sizes
		n := min(1+at%17, tokens-at)
		for i, values := range [][]float32{inputs[at*width : (at+n)*width], logits[at*experts : (at+n)*experts], weights[at*experts : (at+n)*experts]} {
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
		if !slices.EqualFunc(f.nearest[e], all[e][:want], func(a, b nearToken) bool {
			return a.margin == b.margin && a.at == b.at && slices.Equal(a.input, b.input)
		}) {
			t.Errorf("expert %d keeps other tokens than the %d nearest", e, want)
		}
	}
	if starved != 1 {
		t.Fatalf("%d starved experts, the test wants one", starved)
	}
}

// TestForcedStatistics: with every token forced on every expert, the statistics
// are those of the same layer with all its experts active.
func TestForcedStatistics(t *testing.T) {
	c, cpu := openNano(t), newCPU(t, 2)
	const tokens = 96
	r := &run{cpu: cpu, source: c, config: c.Config(), opt: Options{Window: 32, Rows: 64}, tokens: nanoTokens(t, c, tokens)}
	x, err := r.embed(c.Embedding())
	if err != nil {
		t.Fatal(err)
	}
	gather := func(active, force int) (*layerMoments, []ForcedTokens) {
		l := r.layerRun(0, newOverlay(activeExperts{c, active}))
		l.config.ActiveExperts = active
		n, ps := namesAndProjections(c)
		s := newLayerMoments(cpu, l.config, ps, n, l.rows)
		near := newForcing(force, l.config.Experts)
		if err := l.run(t.Context(), x, func(int) {}, append(near.observers("model.layers.0."),
			observer{"model.layers.0.post_attention_layernorm", s.gateUp.seeInputs}, observer{"model.layers.0.mlp.swiglu", s.down.seeInputs},
			observer{"model.layers.0.mlp.routing", s.seeRouting})...); err != nil {
			t.Fatal(err)
		}
		fed, err := near.feed(l, s)
		if err != nil {
			t.Fatal(err)
		}
		return s, fed
	}
	want, none := gather(c.Config().Experts, 0)
	got, fed := gather(c.Config().ActiveExperts, tokens)
	if len(none) != 0 || len(fed) != c.Config().Experts {
		t.Fatalf("forced on %d experts, want %d; without a threshold on %d", len(fed), c.Config().Experts, len(none))
	}
	for e := range fed {
		if fed[e].Tokens+fed[e].Forced != tokens || got.down.moments[e].Tokens() != fed[e].Tokens {
			t.Errorf("expert %d: %+v, its moment counts %d", e, fed[e], got.down.moments[e].Tokens())
		}
		for _, pair := range [][2]*Moment{{got.gateUp.moments[e], want.gateUp.moments[e]}, {got.down.moments[e], want.down.moments[e]}} {
			a, errA := pair[0].Damped(cpu, .01, nil)
			b, errB := pair[1].Damped(cpu, .01, nil)
			if errA != nil || errB != nil || pair[0].weight != tokens {
				t.Fatal(errA, errB, pair[0].weight)
			}
			for i := range a {
				if math.Abs(float64(a[i]-b[i])) > 1e-5*max(1, math.Abs(float64(b[i]))) {
					t.Fatalf("expert %d: H is %g at %d, with all experts active %g", e, a[i], i, b[i])
				}
			}
		}
	}
}

// TestForceTokens runs the pipeline with experts that are starved.
func TestForceTokens(t *testing.T) {
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
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "quantize: layer 0: expert ") ||
		!strings.Contains(err.Error(), "fewer than the 300 that are asked for; give more calibration text") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a model is there")
	}
	for _, o := range []Options{{MinTokens: -1}, {ForceTokens: -1}, {Experts: ExpertOptions{Keep: -1}}, {Experts: ExpertOptions{Keep: 1}},
		{Experts: ExpertOptions{Keep: 9}}, {Method: AbsMean, MinTokens: 1}, {Method: Stage1, Experts: ExpertOptions{Keep: 4}},
		{Experts: ExpertOptions{Keep: 4, Rank: "taste"}}} {
		if _, err := Run(t.Context(), newCPU(t, 1), c, nanoTokens(t, c, 600), dir, o); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// activeExperts is a model that sends each token to another number of experts.
type activeExperts struct {
	*gptoss.Checkpoint
	active int
}

func (a activeExperts) ExpertLinear(name string) ops.ExpertLinear {
	d := a.Checkpoint.ExpertLinear(name).(ops.DenseExperts)
	d.Active = a.active
	return d
}

func namesAndProjections(c *gptoss.Checkpoint) (gptoss.Names, map[string]gptoss.Projection) {
	ps := map[string]gptoss.Projection{}
	config := c.Config()
	for _, p := range config.LayerProjections(0) {
		ps[p.Name] = p
	}
	return gptoss.LayerNames(0), ps
}
