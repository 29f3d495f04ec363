package quantize

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/ternaryop"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// LeastFed is the expert that the fewest calibration tokens reached.
type LeastFed struct {
	Layer  int `json:"layer"`
	Expert int `json:"expert"`
	Tokens int `json:"tokens"`
}

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
	at     int // in the stream
}

// compare puts the nearest first, of equals the earlier.
func (a nearToken) compare(b nearToken) int {
	return cmp.Or(cmp.Compare(b.margin, a.margin), cmp.Compare(a.at, b.at))
}

// forcing collects, beside the inputs of a layer, the tokens of a shard to give to
// experts that the router starves: for each expert the want nearest. It keeps
// none for an expert that is fed already.
type forcing struct {
	want    int
	logits  []float32 // of the batch, [T, E]
	seen    int       // tokens before this batch
	routed  []int
	nearest [][]nearToken // by expert, in order
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
		{scope + "mlp.router", func(values []float32, _ int) error {
			f.logits = values
			return nil
		}},
		{scope + "mlp.routing", f.seeRouting}, // depends on it in the graph too
	}
}

func (f *forcing) seeRouting(weights []float32, rows int) error {
	experts := len(f.routed)
	for t := range rows {
		chosen, logits := weights[t*experts:(t+1)*experts], f.logits[t*experts:(t+1)*experts]
		least := float32(math.Inf(1))
		for e, w := range chosen {
			if w != 0 {
				least = min(least, logits[e])
			}
		}
		for e, w := range chosen {
			if w != 0 {
				if f.routed[e]++; f.routed[e] == f.want {
					f.nearest[e] = nil
				}
			} else if f.routed[e] < f.want {
				f.offer(e, nearToken{logits[e] - least, f.seen + t})
			}
		}
	}
	f.seen += rows
	return nil
}

// offer keeps a token if it is one of the nearest to an expert.
func (f *forcing) offer(expert int, t nearToken) {
	list := f.nearest[expert]
	i, _ := slices.BinarySearchFunc(list, t, nearToken.compare)
	if i == f.want {
		return
	}
	if len(list) == f.want {
		list = list[:f.want-1]
	}
	f.nearest[expert] = slices.Insert(list, i, t)
}

// The sections of a shard's unit that hold the nearest tokens: margins float32 and
// tokens int32, [E, want], with -1 where there are no more.
const (
	marginsSection = "near.margins"
	nearSection    = "near.tokens"
)

func (f *forcing) sections() []section {
	if f.want == 0 {
		return nil
	}
	n := 4 * int64(len(f.nearest)) * int64(f.want)
	return []section{{marginsSection, n}, {nearSection, n}}
}

func (f *forcing) write(to *unitWriter) error {
	for e, list := range f.nearest {
		if f.want == 0 {
			break
		}
		margins, tokens := make([]float32, f.want), slices.Repeat([]int32{-1}, f.want)
		for i, t := range list {
			margins[i], tokens[i] = t.margin, int32(t.at)
		}
		at := 4 * int64(e) * int64(f.want)
		_, err1 := to.at(marginsSection, at).Write(bytesOf(nil, margins))
		_, err2 := to.at(nearSection, at).Write(bytesOf(nil, tokens))
		if err := cmp.Or(err1, err2); err != nil {
			return fmt.Errorf("quantize: %w", err)
		}
	}
	return nil
}

// force adds to the moment of an expert that has few tokens those that came
// nearest to it, as many as bring it to Options.ForceTokens. They count as much as
// routed ones in the statistics; Moment.Tokens does not count them.
func (w *worker) force(m *Moment, p gptoss.Projection, shards []*unit, expert int) (forced int, err error) {
	missing := w.run.opt.ForceTokens - m.Tokens()
	if missing <= 0 {
		return 0, nil
	}
	near, err := w.nearest(shards, expert, missing)
	if err != nil {
		return 0, err
	}
	lent := NewMoment(m.inputs)
	add := func(in *inputsReader, rows []int) error { return in.addTo(lent, w, rows) }
	if placeOf(p) == downInput {
		forward, err := newExpertForward(w, p, expert)
		if err != nil {
			return 0, err
		}
		add = func(in *inputsReader, rows []int) error { return forward.addTo(lent, in, rows) }
	}
	for i, u := range shards {
		if forced += len(near[i]); len(near[i]) == 0 {
			continue
		}
		in, err := w.run.openInputs(u, gateUpInput)
		if err != nil {
			return 0, err
		}
		err = add(in, near[i])
		in.close()
		if err != nil {
			return 0, err
		}
	}
	m.lend(w.cpu, lent)
	return forced, nil
}

// nearest lists the n tokens nearest to an expert, by shard and in ascending order.
func (w *worker) nearest(shards []*unit, expert, n int) (rows [][]int, err error) {
	var all []nearToken // at: of all shards, one behind the other
	var starts []int
	for i, u := range shards {
		start := 0
		if i > 0 {
			start = starts[i-1] + len(w.run.shards[i-1].tokens)
		}
		starts = append(starts, start)
		if all, err = w.appendNearest(all, u, start, len(w.run.shards[i].tokens), expert); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, nearToken.compare)
	rows = make([][]int, len(shards))
	for _, t := range all[:min(n, len(all))] {
		shard, exact := slices.BinarySearch(starts, t.at)
		if !exact {
			shard--
		}
		rows[shard] = append(rows[shard], t.at-starts[shard])
	}
	for _, r := range rows {
		slices.Sort(r)
	}
	return rows, nil
}

func (w *worker) appendNearest(to []nearToken, u *unit, start, tokens, expert int) ([]nearToken, error) {
	f, err := openUnit(w.run.store.Path(u.key))
	if err != nil {
		return nil, err
	}
	defer f.close()
	want := min(w.run.opt.ForceTokens, tokens)
	data, margins, at := make([]byte, 4*want), make([]float32, want), make([]int32, want)
	offset := 4 * int64(expert) * int64(want)
	if err := f.read(marginsSection, offset, data); err != nil {
		return nil, err
	}
	numbersOf(margins, data)
	if err := f.read(nearSection, offset, data); err != nil {
		return nil, err
	}
	numbersOf(at, data)
	for i, t := range at {
		if t < 0 {
			break
		}
		to = append(to, nearToken{margins[i], start + int(t)})
	}
	return to, nil
}

// expertForward runs tokens through the first projection of one expert of a
// layer, whatever the router says.
type expertForward struct {
	w          *worker
	expert     int
	plan       *graph.Plan
	x, routing []float32 // [rows, H], [rows, E]
	inner      []float32 // down's inputs [rows, A, I], the first slot used
	width      int       // I
	codes      []byte
	rounded    []float32
}

// forwardRows is how many tokens an expertForward takes at a time.
const forwardRows = 256

// newExpertForward declares it for down's inputs.
func newExpertForward(w *worker, down gptoss.Projection, expert int) (*expertForward, error) {
	var layer int
	fmt.Sscanf(down.Name, "model.layers.%d.", &layer)
	n, c, b := gptoss.LayerNames(layer), w.run.config, graph.NewBuilder()
	x, r := b.Input("x", tensor.Float32, forwardRows, c.Hidden), b.Input("routing", tensor.Float32, forwardRows, c.Experts)
	inner := ops.SwiGLU(b, w.run.source.ExpertLinear(n.GateUp).Apply(b, x, r), c.SwiGLULimit)
	plan, err := b.Compile(w.cpu, forwardRows, graph.WithOutputs(inner))
	if err != nil {
		return nil, err
	}
	f := &expertForward{w: w, expert: expert, plan: plan, width: down.In}
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
	for row := range forwardRows {
		f.routing[row*c.Experts+expert] = 1
	}
	return f, nil
}

// addTo adds what the listed inputs of gate_up become before down to its moment.
func (f *expertForward) addTo(down *Moment, in *inputsReader, rows []int) error {
	f.codes = grow(f.codes, in.width)
	for part := range slices.Chunk(rows, forwardRows) {
		for i, row := range part {
			if err := in.read(codesSection(in.place), int64(row)*int64(in.width), f.codes); err != nil {
				return err
			}
			for k, c := range f.codes {
				f.x[i*in.width+k] = in.scales[row] * float32(int8(c))
			}
		}
		seq, err := f.plan.NewSequence()
		if err != nil {
			return err
		}
		batch := graph.NewBatch()
		batch.Add(seq, len(part))
		if err := f.plan.Run(batch); err != nil {
			return err
		}
		f.round(len(part))
		if err := down.Add(f.w.cpu, f.rounded, f.width, nil); err != nil {
			return err
		}
	}
	return nil
}

// round takes the first slots of some tokens as the quantized down will see them.
func (f *expertForward) round(rows int) {
	f.rounded = grow(f.rounded, rows*f.width)
	perRow := len(f.inner) / forwardRows
	codes := make([]int8, rows*f.width)
	f.w.cpu.Parallel(rows, func(_, i int) {
		q, dst := codes[i*f.width:(i+1)*f.width], f.rounded[i*f.width:(i+1)*f.width]
		scale := ternaryop.QuantizeRow(q, f.inner[i*perRow:i*perRow+f.width])
		for k, c := range q {
			dst[k] = scale * float32(c)
		}
	})
}

// checkFed refuses statistics of too few tokens, which would be guesses.
func checkFed(tokens, expert, least int) error {
	if tokens < least {
		return fmt.Errorf("expert %d saw %d calibration tokens, fewer than the %d that are asked for; give more calibration text, keep fewer experts, or ask for fewer tokens", expert, tokens, least)
	}
	return nil
}

// addForced notes a layer's experts that were fitted to forced tokens. It checks
// the tokens again: the fits may be those of a run that did not.
func (r *Report) addForced(layer int, a fitAbout, least int) error {
	for e, n := range a.Tokens {
		if len(a.Forced) == 0 {
			break // not fitted to its inputs
		}
		if err := checkFed(n, e, least); err != nil {
			return fmt.Errorf("quantize: layer %d: %w", layer, err)
		}
		f := ForcedTokens{layer, e, n, a.Forced[e]}
		if f.Forced > 0 && !slices.Contains(r.Forced, f) { // of both projections
			r.Forced = append(r.Forced, f)
		}
	}
	return nil
}
