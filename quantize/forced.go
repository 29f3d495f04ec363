package quantize

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// ForcedTokens says that an expert was fitted to tokens that the router sends
// elsewhere, because it was given too few.
type ForcedTokens struct {
	Layer  int `json:"layer"`
	Expert int `json:"expert"`
	Tokens int `json:"tokens"` // routed to it
	Forced int `json:"forced"`
}

// nearToken is a token that came near to being routed to an expert.
type nearToken struct {
	// margin is the router's logit for the expert, less the smallest logit of
	// the chosen: with margin 0 the token would have gone there with any more.
	margin float32
	at     int       // in the stream
	input  []float32 // the expert's, [H]
}

// compare puts the nearest first, of equals the earlier.
func (a nearToken) compare(b nearToken) int {
	return cmp.Or(cmp.Compare(b.margin, a.margin), cmp.Compare(a.at, b.at))
}

// forcing collects, beside the statistics of a layer, the tokens to give to
// experts that the router starves: for each expert the want nearest. It keeps
// none for an expert that is fed already.
type forcing struct {
	want           int
	inputs, logits []float32 // of the batch, [T, H] and [T, E]
	seen           int       // tokens before this batch
	routed         []int
	nearest        [][]nearToken // by expert, in order
}

func newForcing(want, experts int) *forcing {
	return &forcing{want: want, routed: make([]int, experts), nearest: make([][]nearToken, experts)}
}

// observers are none where nothing is to be forced.
func (f *forcing) observers(scope string) []observer {
	if f.want == 0 {
		return nil
	}
	return []observer{
		{scope + "post_attention_layernorm", func(values []float32, _ int) error {
			f.inputs = values
			return nil
		}},
		{scope + "mlp.router", func(values []float32, _ int) error {
			f.logits = values
			return nil
		}},
		{scope + "mlp.routing", f.seeRouting}, // the last: it depends on both
	}
}

func (f *forcing) seeRouting(weights []float32, rows int) error {
	experts, width := len(f.routed), len(f.inputs)/rows
	for t := range rows {
		chosen, logits := weights[t*experts:(t+1)*experts], f.logits[t*experts:(t+1)*experts]
		least := float32(0)
		for e, first := 0, true; e < experts; e++ {
			if chosen[e] != 0 && (first || logits[e] < least) {
				least, first = logits[e], false
			}
		}
		for e, w := range chosen {
			if w != 0 {
				if f.routed[e]++; f.routed[e] == f.want {
					f.nearest[e] = nil
				}
			} else if f.routed[e] < f.want {
				f.offer(e, nearToken{margin: logits[e] - least, at: f.seen + t}, f.inputs[t*width:(t+1)*width])
			}
		}
	}
	f.seen += rows
	return nil
}

// offer keeps a token if it is one of the nearest to an expert.
func (f *forcing) offer(expert int, t nearToken, input []float32) {
	list := f.nearest[expert]
	i, _ := slices.BinarySearchFunc(list, t, nearToken.compare)
	if i == f.want {
		return
	}
	if len(list) == f.want {
		t.input = list[f.want-1].input // that of the one given up
		list = list[:f.want-1]
	}
	t.input = append(t.input[:0], input...)
	f.nearest[expert] = slices.Insert(list, i, t)
}

// feed adds forced tokens to the moments of starved experts, as many as bring
// each to want. Their tokens count as much as routed ones in the statistics;
// Moment.Tokens does not count them.
func (f *forcing) feed(l *layerRun, s *layerMoments) ([]ForcedTokens, error) {
	var fed []ForcedTokens
	var forward *expertForward
	for e, list := range f.nearest {
		n := min(f.want-f.routed[e], len(list))
		if n <= 0 {
			continue
		}
		if forward == nil {
			var err error
			if forward, err = newExpertForward(l, min(f.want, l.rows)); err != nil {
				return nil, err
			}
		}
		gateUp, down := NewMoment(s.gateUp.moments[e].Inputs()), NewMoment(s.down.moments[e].Inputs())
		for part := range slices.Chunk(list[:n], forward.rows) {
			if err := forward.run(e, part, gateUp, down); err != nil {
				return nil, fmt.Errorf("forcing tokens on expert %d: %w", e, err)
			}
		}
		s.gateUp.moments[e].lend(l.cpu, gateUp)
		s.down.moments[e].lend(l.cpu, down)
		fed = append(fed, ForcedTokens{Layer: l.layer, Expert: e, Tokens: f.routed[e], Forced: n})
		f.nearest[e] = nil
	}
	return fed, nil
}

// expertForward runs tokens through the first projection of one expert of a
// layer, whatever the router says.
type expertForward struct {
	cpu        *graph.CPU
	rows       int
	plan       *graph.Plan
	x, routing []float32 // [rows, H], [rows, E]
	inner      []float32 // down's inputs [rows, A, I], the first slot used
	experts    int
	rounded    []float32
}

func newExpertForward(l *layerRun, rows int) (*expertForward, error) {
	n, c := gptoss.LayerNames(l.layer), l.config
	b := graph.NewBuilder()
	x, r := b.Input("x", tensor.Float32, rows, c.Hidden), b.Input("routing", tensor.Float32, rows, c.Experts)
	inner := ops.SwiGLU(b, l.weights.ExpertLinear(n.GateUp).Apply(b, x, r), c.SwiGLULimit)
	plan, err := b.Compile(l.cpu, rows, graph.WithOutputs(inner))
	if err != nil {
		return nil, err
	}
	f := &expertForward{cpu: l.cpu, rows: rows, plan: plan, experts: c.Experts}
	for _, v := range []struct {
		node *gorgonia.Node
		to   *[]float32
	}{{x, &f.x}, {r, &f.routing}, {inner, &f.inner}} {
		buf, err := plan.Value(v.node)
		if err != nil {
			return nil, err
		}
		*v.to = buf.Float32s()
	}
	return f, nil
}

// run adds the inputs of both of an expert's projections to its moments.
func (f *expertForward) run(expert int, tokens []nearToken, gateUp, down *Moment) error {
	h, i := gateUp.Inputs(), down.Inputs()
	clear(f.routing)
	for row, t := range tokens {
		copy(f.x[row*h:(row+1)*h], t.input)
		f.routing[row*f.experts+expert] = 1
	}
	seq, err := f.plan.NewSequence()
	if err != nil {
		return err
	}
	batch := graph.NewBatch()
	batch.Add(seq, len(tokens))
	if err := f.plan.Run(batch); err != nil {
		return err
	}
	first := make([]int, len(tokens)) // slots
	for row := range first {
		first[row] = row * (len(f.inner) / i / f.rows)
	}
	f.rounded = grow(f.rounded, max(len(f.x), len(f.inner)))
	x := f.rounded[:len(tokens)*h]
	roundInputs(f.cpu, x, f.x[:len(x)], h)
	if err := gateUp.Add(f.cpu, x, h, nil); err != nil {
		return err
	}
	inner := f.rounded[:len(f.inner)]
	roundInputs(f.cpu, inner, f.inner, i)
	return down.Add(f.cpu, inner, i, first)
}

// checkFed refuses statistics of too few tokens, which would be guesses.
func checkFed(moments []*Moment, least int) error {
	for e, m := range moments {
		if m.Tokens() < least {
			return fmt.Errorf("expert %d saw %d calibration tokens, fewer than the %d that are asked for; give more calibration text, keep fewer experts, or ask for fewer tokens", e, m.Tokens(), least)
		}
	}
	return nil
}

// feedExperts sees to it that every expert of a layer has the tokens that the
// options ask for.
func (r *run) feedExperts(l *layerRun, s *layerMoments, near *forcing) error {
	if err := checkFed(s.gateUp.moments, r.opt.MinTokens); err != nil {
		return err
	}
	fed, err := near.feed(l, s)
	r.report.Forced = append(r.report.Forced, fed...)
	return err
}
