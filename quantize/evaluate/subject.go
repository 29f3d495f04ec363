package evaluate

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
)

// subject is a model under comparison: compiled, with the figures of the
// current batch's rows and the sums over what went before.
type subject struct {
	name    string
	model   Model
	plan    *gptoss.Model
	batch   *graph.Batch
	seqs    []*graph.Sequence // window w runs in seqs[w % len(seqs)]
	routing *routing          // nil: its experts are not the reference's
	rows    []rowFigures      // of the current batch
	windows []windowSums
	kls     []float32 // of every row so far
}

// windowSums are sums over the rows of a window.
type windowSums struct{ nll, kl, top1, overlap float64 }

func newSubject(cpu *graph.CPU, m Model, reference gptoss.Config, o Options) (*subject, error) {
	s := &subject{
		name: m.Name, model: m, batch: graph.NewBatch(),
		rows: make([]rowFigures, o.Rows), windows: make([]windowSums, o.Windows),
		kls: make([]float32, 0, o.Window*o.Windows),
	}
	var opts []graph.Option
	if numbers, ok := commonNumbers(m.Config, reference); ok {
		s.routing = newRouting(m.Config, numbers, reference.Experts, o.Rows)
		opts = append(opts, graph.WithProbe(s.routing.match, s.routing.probe))
	}
	var err error
	if s.plan, err = gptoss.Compile(m.Config, m.Weights, cpu, o.Rows, opts...); err != nil {
		return nil, fmt.Errorf("evaluate: %s: %w", m.Name, err)
	}
	// A batch may end one window, hold some and begin another.
	for range min(o.Windows, o.Rows/o.Window+2) {
		seq, err := s.plan.Plan.NewSequence()
		if err != nil {
			return nil, fmt.Errorf("evaluate: %s: %w", m.Name, err)
		}
		if err := seq.Reserve(o.Window); err != nil {
			return nil, fmt.Errorf("evaluate: %s: %w", m.Name, err)
		}
		s.seqs = append(s.seqs, seq)
	}
	return s, nil
}

// run runs the tokens that begin at place at of the text.
func (s *subject) run(tokens []int32, at, window int) error {
	s.batch.Reset()
	for row := 0; row < len(tokens); {
		i := at + row
		seq := s.seqs[i/window%len(s.seqs)]
		if i%window == 0 {
			if err := seq.Truncate(0); err != nil {
				return err
			}
		}
		n := min(window-i%window, len(tokens)-row)
		s.batch.Add(seq, n)
		row += n
	}
	for row := range tokens {
		s.batch.Want(row)
	}
	copy(s.plan.Tokens(), tokens)
	return s.plan.Plan.Run(s.batch)
}

// tally adds a row to its window.
func (s *subject) tally(window int, r rowFigures) {
	w := &s.windows[window]
	w.nll += r.nll
	w.kl += r.kl
	w.overlap += r.overlap
	if r.agrees {
		w.top1++
	}
	s.kls = append(s.kls, float32(min(r.kl, math.MaxFloat32)))
}

// commonNumbers says what the reference calls a model's experts: layer by layer
// their numbers in it, nil for the model's own. Of the experts of a reference
// that has dropped some, only a model that kept the same can tell.
func commonNumbers(c, reference gptoss.Config) (numbers [][]int, ok bool) {
	same := c.Experts == reference.Experts && slices.EqualFunc(c.KeptExperts, reference.KeptExperts, slices.Equal)
	switch {
	case c.Layers != reference.Layers:
		return nil, false
	case same || c.KeptExperts == nil || reference.KeptExperts != nil:
		return nil, same
	}
	for _, kept := range c.KeptExperts {
		if kept[len(kept)-1] >= reference.Experts {
			return nil, false
		}
	}
	return c.KeptExperts, true
}

// routing records which experts the rows of a batch go to, by the numbers that
// the reference gives them.
type routing struct {
	layers  map[string]int // by the node's name
	numbers [][]int        // by layer; nil: the model's own
	words   int            // of 64 experts
	// chosen has a bit per expert: [layer][row][word].
	chosen [][]uint64
}

func newRouting(c gptoss.Config, numbers [][]int, experts, rows int) *routing {
	r := &routing{layers: make(map[string]int, c.Layers), numbers: numbers, words: (experts + 63) / 64, chosen: make([][]uint64, c.Layers)}
	for layer := range c.Layers {
		r.layers[fmt.Sprintf("model.layers.%d.mlp.routing", layer)] = layer
		r.chosen[layer] = make([]uint64, rows*r.words)
	}
	return r
}

func (r *routing) match(name string, _ gorgonia.Op) bool {
	_, ok := r.layers[name]
	return ok
}

// probe reads routing weights [T, E], which are zero but for the chosen.
func (r *routing) probe(name string, b *graph.Batch, _ []graph.Buffer, out graph.Buffer) error {
	weights, experts := out.Float32s(), out.Shape()[1]
	layer := r.layers[name]
	chosen := r.chosen[layer]
	clear(chosen)
	for row := range b.Rows() {
		for e, w := range weights[row*experts : (row+1)*experts] {
			if w != 0 {
				if r.numbers != nil {
					e = r.numbers[layer][e]
				}
				chosen[row*r.words+e/64] |= 1 << (e % 64)
			}
		}
	}
	return nil
}

// overlap returns the mean over the layers of |chosen by both| / A for a row.
// A is counted, not configured: of the chosen, one whose weight underflowed to
// zero is not seen.
func (r *routing) overlap(other *routing, row int) float64 {
	var sum float64
	for layer, chosen := range r.chosen {
		var both, mine, theirs int
		for w := row * r.words; w < (row+1)*r.words; w++ {
			a, b := chosen[w], other.chosen[layer][w]
			both += bits.OnesCount64(a & b)
			mine += bits.OnesCount64(a)
			theirs += bits.OnesCount64(b)
		}
		sum += float64(both) / float64(max(mine, theirs))
	}
	return sum / float64(len(r.chosen))
}
