package quantize

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/routing"
	"github.com/seed-796a8800/tritium/internal/units"
)

// Pruning say which experts of each layer a model keeps. The zero value
// keeps all.
type Pruning struct {
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
func (o Pruning) check(c gptoss.Config) error {
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
	case o.MinTokens < 0 || o.ForceTokens < 0 || o.Prune.Keep < 0:
		return fmt.Errorf("quantize: experts with at least %d tokens, forced to %d, %d of them kept: nothing may be negative", o.MinTokens, o.ForceTokens, o.Prune.Keep)
	case !o.Method.Calibrates() && (o.MinTokens > 0 || o.ForceTokens > 0 || o.Prune.Keep > 0):
		return fmt.Errorf("quantize: %s reads no calibration text, which counting tokens of experts and choosing among them needs; take %s", o.Method, PTBitNet)
	case o.Prune.Keep > 0 && (o.Plan != nil || o.Experts == StoreSource || len(o.Tensors) > 0):
		return errors.New("quantize: experts that are kept have to be quantized, and in one way; leave out the plan, or keep all")
	}
	return nil
}

// keepExperts replaces the run's source by the same with fewer experts.
// Router-weighted Expert Activation Pruning keeps those whose saliency is largest,
//
//	S_e = mean over the calibration tokens routed to e of  g_e · ‖f_e‖₂
//
// with the routing weight g_e and the expert's output f_e. Of equals it keeps the
// lower number; an expert without tokens has saliency 0.
//
// Source: REAP, arXiv 2510.13999, section 4.
func (r *run) keepExperts(cpu *graph.CPU) error {
	if r.opt.Prune.Keep == 0 {
		return nil
	}
	key := units.NewKey("experts/1", r.model, r.opt.Prune, r.opt.Window, hashTokens(r.tokens))
	r.expertKeys = append(r.expertKeys, key)
	store, err := r.storeOf(key)
	if err != nil {
		return err
	}
	path, err := store.Do(r.ctx, key, func(path string) error {
		report, err := r.rankExperts(cpu)
		if err != nil {
			return err
		}
		return writeUnit(path, report)
	})
	if err != nil {
		return err
	}
	r.experts = &ReportExperts{}
	if err := tellOf(path, r.experts); err != nil {
		return err
	}
	kept := make([][]int, len(r.experts.Layers))
	for layer, l := range r.experts.Layers {
		kept[layer] = l.Kept
	}
	if r.source, err = r.source.KeepExperts(kept); err != nil {
		return err
	}
	r.config, r.model = r.source.Config(), units.NewKey("kept/1", r.model, kept)
	return r.describe()
}

// storeOf returns the store that has a unit, or the one to make it in.
func (r *run) storeOf(key units.Key) (*units.Store, error) {
	for _, s := range r.stores {
		if s.Has(key) {
			return s, nil
		}
	}
	if r.store == nil { // of Merge
		return nil, errors.New("quantize: no store has what comes before the layers: the text that the original wrote, or the choice of experts; were they made with the same model, text and options?")
	}
	return r.store, nil
}

// rankExperts runs the calibration text through the original model, layer by
// layer. A layer's stream is a unit that the next layer's removes, so that a run
// that is killed goes on at a layer.
func (r *run) rankExperts(cpu *graph.CPU) (*ReportExperts, error) {
	o := r.opt.Prune
	report := &ReportExperts{Kept: o.Keep, Of: r.config.Experts, Ranking: cmp.Or(o.Rank, RankREAP)}
	u := &unit{name: "ranking experts", phase: running, work: rankingWork(r.config, r.opt, len(r.tokens))}
	r.meter.left(steps{{u}})
	r.meter.begin(u)
	defer r.meter.end(u)
	k := ranker{run: r, cpu: cpu, unit: u, text: hashTokens(r.tokens)}
	for layer := range r.config.Layers {
		l, err := k.rank(layer)
		if err != nil {
			return nil, fmt.Errorf("quantize: ranking the experts of layer %d: %w", layer, err)
		}
		if l.Kept, err = l.choose(report.Ranking, report.Kept, rand.New(rand.NewPCG(o.Seed, uint64(layer)))); err != nil {
			return nil, fmt.Errorf("quantize: layer %d: %w", layer, err)
		}
		report.Layers = append(report.Layers, l)
	}
	return report, k.forget(r.config.Layers - 1)
}

// ranker goes through the original's layers.
type ranker struct {
	*run
	cpu  *graph.CPU
	unit *unit  // for the meter
	text string // the hash of the tokens
}

// keys are those of a layer's ranking and of the stream behind it; layer -1 is
// the embedding, which has no ranking.
func (k *ranker) keys(layer int) (ranking, stream units.Key) {
	ranking = units.NewKey("ranking/1", k.model, k.opt.Window, k.text, layer)
	stream = units.NewKey("ranked stream/1", k.model, k.opt.Window, k.text, layer)
	return ranking, stream
}

// rank returns what the text says of a layer's experts. The ranking is on disk
// before the stream that it came from is removed.
func (k *ranker) rank(layer int) (l LayerRanking, err error) {
	key, _ := k.keys(layer)
	k.expertKeys = append(k.expertKeys, key)
	path, err := k.store.Do(k.ctx, key, func(path string) error {
		from, err := k.stream(layer)
		if err != nil {
			return err
		}
		if err := tellOf(from, &l); err != nil {
			return err
		}
		return writeUnit(path, l)
	})
	if err != nil {
		return l, err
	}
	if err := tellOf(path, &l); err != nil {
		return l, err
	}
	return l, k.forget(layer - 1)
}

// forget removes the stream behind a layer.
func (k *ranker) forget(layer int) error {
	_, key := k.keys(layer)
	return k.store.Remove(key)
}

// stream returns the unit with the original's stream behind a layer.
func (k *ranker) stream(layer int) (path string, err error) {
	_, key := k.keys(layer)
	return k.store.Do(k.ctx, key, func(path string) error {
		w, err := createUnit(path, section{streamSection, 4 * int64(len(k.tokens)*k.config.Hidden)})
		if err != nil {
			return err
		}
		out := &streamWriter{unitWriter: w}
		var about LayerRanking
		if layer < 0 {
			err = out.embed(k.source.Embedding(), k.tokens, k.config.Hidden)
		} else {
			about, err = k.runLayer(layer, out)
		}
		if err != nil {
			w.file.Close()
			return err
		}
		return w.finish(about)
	})
}

func (k *ranker) runLayer(layer int, out *streamWriter) (LayerRanking, error) {
	path, err := k.stream(layer - 1)
	if err != nil {
		return LayerRanking{}, err
	}
	f, err := openUnit(path)
	if err != nil {
		return LayerRanking{}, err
	}
	x := &streamReader{shards: []*unitReader{f}, size: len(k.tokens), tokens: len(k.tokens), hidden: k.config.Hidden}
	defer x.close()
	rows := min(k.opt.Rows/k.opt.Window*k.opt.Window, len(k.tokens))
	l := &layerRun{cpu: k.cpu, config: k.config, weights: newOverlay(k.source), layer: layer, window: k.opt.Window, rows: rows}
	s, scope := newSaliency(k.cpu, k.config, rows), fmt.Sprintf("model.layers.%d.", layer)
	err = l.run(k.ctx, x, func(tokens int) {
		k.meter.add(k.unit, fmt.Sprintf("ranking the experts of layer %d", layer), float64(tokens)/float64(len(k.tokens)*k.config.Layers))
	}, observer{scope + "mlp.routing", s.seeRouting}, observer{scope + "mlp.down_proj", s.seeOutputs},
		observer{scope + "output", func(values []float32, _ int) error { return out.append(values) }})
	return s.ranking(), err
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

// rankingWork is the arithmetic of ranking experts.
func rankingWork(c gptoss.Config, o Options, tokens int) float64 {
	return float64(c.Layers) * newCosts(c, o, tokens).original
}
