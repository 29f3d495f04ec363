package quantize

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/routing"
)

// ExpertOptions say which experts of each layer a model keeps. The zero value
// keeps all.
type ExpertOptions struct {
	Keep int     // how many in each layer; 0: all, without looking
	Rank Ranking // which come first; default reap
	Seed uint64  // of RankRandom
}

// Ranking is a way to choose experts.
type Ranking string

// The rankings. Frequency and random are controls, to see what REAP is worth.
const (
	RankREAP      Ranking = "reap"      // by saliency
	RankFrequency Ranking = "frequency" // by tokens
	RankRandom    Ranking = "random"
)

// Rankings returns all rankings, the default first.
func Rankings() []Ranking { return []Ranking{RankREAP, RankFrequency, RankRandom} }

// ReportExperts says which experts were kept, and why.
type ReportExperts struct {
	Kept    int            `json:"kept"` // of each layer
	Of      int            `json:"of"`
	Ranking Ranking        `json:"ranking"`
	Layers  []LayerRanking `json:"layers"`
}

// LayerRanking is what the calibration text says of a layer's experts.
type LayerRanking struct {
	Kept []int `json:"kept"` // ascending
	// Saliency and Tokens are by the experts' number in the source, those that
	// were dropped included.
	Saliency []float64 `json:"saliency"`
	Tokens   []int     `json:"tokens"` // that were routed to it
}

// check refuses what no model with c's experts can keep.
func (o ExpertOptions) check(c gptoss.Config) error {
	switch {
	case o.Keep == 0:
		return nil
	case o.Keep < c.ActiveExperts || o.Keep > c.Experts:
		return fmt.Errorf("quantize: keeping %d experts: the model has %d and sends each token to %d of them; keep %d to %d",
			o.Keep, c.Experts, c.ActiveExperts, c.ActiveExperts, c.Experts)
	case o.Rank != "" && !slices.Contains(Rankings(), o.Rank):
		return fmt.Errorf("quantize: ranking experts by %q: choose reap, frequency or random", o.Rank)
	}
	return nil
}

// checkExperts refuses what no model can do with its experts.
func (o Options) checkExperts() error {
	switch {
	case o.MinTokens < 0 || o.ForceTokens < 0 || o.Experts.Keep < 0:
		return fmt.Errorf("quantize: experts with at least %d tokens, forced to %d, %d of them kept: nothing may be negative", o.MinTokens, o.ForceTokens, o.Experts.Keep)
	case !o.Method.Calibrates() && (o.MinTokens > 0 || o.ForceTokens > 0 || o.Experts.Keep > 0):
		return fmt.Errorf("quantize: %s reads no calibration text, which counting tokens of experts and choosing among them needs; take %s", o.Method, PTBitNet)
	}
	return nil
}

// RankExperts runs a text through a model, layer by layer, and says which
// experts Options.Experts keeps; gptoss.Checkpoint.KeepExperts takes the
// answer. Router-weighted Expert Activation Pruning keeps those whose saliency
// is largest,
//
//	S_e = mean over the tokens routed to e of  g_e · ‖f_e‖₂
//
// with the routing weight g_e and the expert's output f_e. Of equals it keeps
// the lower number; an expert without tokens has saliency 0.
//
// Memory: the residual stream [tokens, H] and the values of a batch.
// Errors: less text than a window, fewer experts than a token needs.
// Source: REAP, arXiv 2510.13999, section 4.
func RankExperts(ctx context.Context, cpu *graph.CPU, source *gptoss.Checkpoint, tokens []int32, o Options) (*ReportExperts, error) {
	o, err := o.resolve()
	if err != nil {
		return nil, err
	}
	config := source.Config()
	n := len(tokens) / o.Window * o.Window
	if n == 0 {
		return nil, fmt.Errorf("quantize: ranking experts: the text has %d tokens, less than one window of %d", len(tokens), o.Window)
	}
	if err := o.Experts.check(config); err != nil {
		return nil, err
	}
	r := &run{ctx: ctx, cpu: cpu, source: source, config: config, opt: o, tokens: tokens[:n],
		meter: meter{total: rankingWork(config, o, n), layers: config.Layers, report: o.Progress}}
	return r.rankExperts()
}

// keepExperts replaces the run's source by the same with fewer experts.
func (r *run) keepExperts() (err error) {
	if r.opt.Experts.Keep == 0 {
		return nil
	}
	if r.experts, err = r.rankExperts(); err != nil {
		return err
	}
	kept := make([][]int, len(r.experts.Layers))
	for layer, l := range r.experts.Layers {
		kept[layer] = l.Kept
	}
	if r.source, err = r.source.KeepExperts(kept); err != nil {
		return err
	}
	r.config = r.source.Config()
	return nil
}

func (r *run) rankExperts() (*ReportExperts, error) {
	o := r.opt.Experts
	report := &ReportExperts{Kept: o.Keep, Of: r.config.Experts, Ranking: cmp.Or(o.Rank, RankREAP)}
	if report.Kept == 0 {
		report.Kept = report.Of
	}
	x, err := r.embed(r.source.Embedding())
	if err != nil {
		return nil, err
	}
	per := rankingWork(r.config, r.opt, 1) / float64(r.config.Layers)
	for layer := range r.config.Layers {
		r.meter.layer = layer
		l := r.layerRun(layer, newOverlay(r.source))
		s := newSaliency(r.cpu, r.config, l.rows)
		scope, at := fmt.Sprintf("model.layers.%d.", layer), 0
		err := l.run(r.ctx, x, func(tokens int) { r.meter.add("ranking experts", per*float64(tokens)) },
			observer{scope + "mlp.routing", s.seeRouting}, observer{scope + "mlp.down_proj", s.seeOutputs},
			observer{scope + "output", func(values []float32, _ int) error {
				at += copy(x[at:], values)
				return nil
			}})
		if err != nil {
			return nil, fmt.Errorf("quantize: ranking the experts of layer %d: %w", layer, err)
		}
		ranked := s.ranking()
		if ranked.Kept, err = ranked.choose(report.Ranking, report.Kept, rand.New(rand.NewPCG(o.Seed, uint64(layer)))); err != nil {
			return nil, fmt.Errorf("quantize: layer %d: %w", layer, err)
		}
		report.Layers = append(report.Layers, ranked)
	}
	r.meter.layer = 0
	return report, nil
}

// choose returns the first n experts of a ranking, in ascending order.
func (l *LayerRanking) choose(by Ranking, n int, rng *rand.Rand) ([]int, error) {
	order := rng.Perm(len(l.Tokens))
	if by != RankRandom {
		slices.Sort(order)
	}
	switch by {
	case RankREAP:
		for e, s := range l.Saliency {
			if math.IsNaN(s) || math.IsInf(s, 0) {
				return nil, fmt.Errorf("the outputs of expert %d are not finite on the calibration text", e)
			}
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(l.Saliency[b], l.Saliency[a]) })
	case RankFrequency:
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(l.Tokens[b], l.Tokens[a]) })
	}
	kept := order[:n]
	slices.Sort(kept)
	return kept, nil
}

// saliency adds up what the experts of a layer give.
type saliency struct {
	cpu     *graph.CPU
	as      *routing.Assignment
	weights []float32 // the batch's routing [T, E]
	norms   []float64 // of the outputs of a batch [T, A]
	sum     []float64 // by expert, of routing weight times norm
	tokens  []int
}

func newSaliency(cpu *graph.CPU, c gptoss.Config, maxRows int) *saliency {
	return &saliency{cpu: cpu, as: routing.New(maxRows, c.Experts, c.ActiveExperts), norms: make([]float64, maxRows*c.ActiveExperts),
		sum: make([]float64, c.Experts), tokens: make([]int, c.Experts)}
}

// seeRouting comes before seeOutputs, which depends on it in the graph too.
func (s *saliency) seeRouting(values []float32, rows int) error {
	s.weights = values
	return s.as.Build(values, rows)
}

func (s *saliency) seeOutputs(values []float32, rows int) error {
	slots := rows * s.as.Slots
	width := len(values) / slots
	s.cpu.Parallel(slots, func(_, i int) {
		var square float64
		for _, v := range values[i*width : (i+1)*width] {
			square += float64(v) * float64(v)
		}
		s.norms[i] = math.Sqrt(square)
	})
	for e := range s.sum {
		tokens, slots := s.as.Of(e)
		s.tokens[e] += len(tokens)
		for i, t := range tokens {
			s.sum[e] += float64(s.weights[int(t)*s.as.Experts+e]) * s.norms[int(t)*s.as.Slots+int(slots[i])]
		}
	}
	return nil
}

func (s *saliency) ranking() LayerRanking {
	r := LayerRanking{Saliency: make([]float64, len(s.sum)), Tokens: s.tokens}
	for e, n := range s.tokens {
		if n > 0 {
			r.Saliency[e] = s.sum[e] / float64(n)
		}
	}
	return r
}

// rankingWork is the arithmetic of RankExperts.
func rankingWork(c gptoss.Config, o Options, tokens int) float64 {
	return float64(c.Layers) * newCosts(c, o, tokens).original
}
