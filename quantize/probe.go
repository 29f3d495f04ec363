package quantize

import (
	"context"
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

// prober measures what storing one group of projections in other formats costs.
// It goes through the layers with the original's stream: a probe runs only what
// is behind it.
type prober struct {
	ctx       context.Context
	cpu       *graph.CPU
	source    *gptoss.Checkpoint
	config    gptoss.Config
	opt       Options
	tokens    []int32
	plan      *Plan
	rows      int // tokens at a time
	stride    int // every stride-th token is scored
	fitter    *Fitter
	reference []float32 // the original's logits of the scored tokens, [scored, V]
	kl        []float64 // of each scored token

	layer       int
	done, total float64
	perLayer    float64 // multiply-adds of the tokens
	head        float64
}

// probeLogits bounds the bytes of the reference's logits, and of a batch's.
const probeLogits = 256 << 20

func newProber(ctx context.Context, cpu *graph.CPU, source *gptoss.Checkpoint, tokens []int32, o Options, plan *Plan) (*prober, error) {
	c := source.Config()
	if limit := c.MaxPositions; limit > 0 && o.Window > limit {
		return nil, fmt.Errorf("quantize: windows of %d tokens exceed the model's context of %d", o.Window, limit)
	}
	if err := checkTokens(tokens, c); err != nil {
		return nil, err
	}
	fit := max(1, probeLogits/(4*c.Vocab)) // rows of logits
	p := &prober{ctx: ctx, cpu: cpu, source: source, config: c, opt: o, tokens: tokens, plan: plan, fitter: NewFitter(cpu),
		rows: min(o.Window, fit), stride: (len(tokens) + fit - 1) / fit}
	plan.Scored = len(tokens) / p.stride
	p.reference = make([]float32, 0, plan.Scored*c.Vocab)
	p.kl = make([]float64, plan.Scored)
	p.perLayer = newCosts(c, o, len(tokens)).original
	p.head = float64(plan.Scored) * float64(c.Vocab) * float64(c.Hidden)
	p.total = 2*float64(c.Layers)*p.perLayer + p.head // the reference, and its stream up to each layer
	for i, g := range plan.Groups {
		p.total += float64(len(g.probed())) * (float64(c.Layers-p.from(i))*p.perLayer + p.head)
	}
	return p, nil
}

// from is the layer that the i-th group belongs to: groups are the embedding,
// three of each layer, and the head.
func (p *prober) from(i int) int { return max(0, i-1) / 3 }

// probe fills in the costs of the plan's choices.
func (p *prober) probe() error {
	x := p.embed(p.source.Embedding())
	if err := p.logits("the original", x, p.source, func(_ int, y []float32) error {
		p.reference = append(p.reference, y...)
		return nil
	}); err != nil {
		return err
	}
	for i := range p.plan.Groups {
		for ; p.layer < p.from(i); p.layer++ {
			if err := p.advance(x); err != nil {
				return err
			}
		}
		g := &p.plan.Groups[i]
		probed := g.probed()
		for c := range probed {
			var err error
			if probed[c].KL, err = p.cost(g, probed[c].Format, x); err != nil {
				return fmt.Errorf("%s as %s: %w", g.Name, probed[c].Format, err)
			}
		}
	}
	return nil
}

// embed returns the residual stream before the first layer, [tokens, H].
func (p *prober) embed(table ops.Matrix) []float32 {
	h := p.config.Hidden
	x := make([]float32, len(p.tokens)*h)
	embedTokens(x, table, p.tokens, h)
	return x
}

// cost returns the mean divergence of the model in which one group is stored in
// another format.
func (p *prober) cost(g *PlanGroup, kind string, x []float32) (float64, error) {
	w := newOverlay(p.source)
	for _, name := range g.Projections {
		if err := p.store(w, p.config.Projections()[name], kind); err != nil {
			return 0, err
		}
	}
	if w.embedding != nil {
		x = p.embed(w.embedding)
	}
	err := p.logits(g.Name+" as "+kind, x, w, func(first int, y []float32) error {
		v := p.config.Vocab
		p.cpu.Parallel(len(y)/v, func(_, i int) {
			p.kl[first+i] = divergence(p.reference[(first+i)*v:][:v], y[i*v:][:v])
		})
		return nil
	})
	if err != nil {
		return 0, err
	}
	mean := sum(p.kl) / float64(len(p.kl))
	if mean-mean != 0 {
		return 0, errNotFinite
	}
	return mean, nil
}

// store puts a projection, fitted by stage 1, into w.
func (p *prober) store(w *overlay, proj gptoss.Projection, kind string) error {
	o := p.opt
	o.Tensors = map[string]string{proj.Name: kind}
	f, err := o.format(proj)
	if err != nil {
		return err
	}
	format, group := f.Packing(proj.In)
	stack := &ternaryop.Stack{Format: format, E: max(1, proj.Experts), Out: proj.Out, In: proj.In, Group: group}
	matrices := p.source.ExpertMatrices
	if proj.Experts == 0 {
		matrices = func(name string) []ops.Matrix { return []ops.Matrix{p.source.Matrix(name)} }
	}
	var buf []float32
	for _, m := range matrices(proj.Name) {
		for row := 0; row < proj.Out; row += tableRows {
			if err := p.ctx.Err(); err != nil {
				return err
			}
			n := min(tableRows, proj.Out-row)
			buf = grow(buf, n*proj.In)
			m.DecodeRows(buf, row, n)
			packed, err := p.pack(buf, n, proj.In, format, group)
			if err != nil {
				return err
			}
			stack.Codes, stack.Scales = append(stack.Codes, packed.Codes...), append(stack.Scales, packed.Scales...)
		}
	}
	if stack, err = expanded(stack); err != nil {
		return err
	}
	switch {
	case proj.Experts > 0:
		w.experts[proj.Name] = ternaryop.Experts{Name: proj.Name, Weight: stack, Bias: p.source.Vector(proj.Name + "_bias"), Active: p.config.ActiveExperts}
	case proj.Name == gptoss.EmbeddingName:
		table := stack.At(0)
		w.embedding = &table
	case proj.Name == gptoss.HeadName:
		w.linears[proj.Name] = ternaryop.Linear{Name: proj.Name, Weight: stack.At(0)}
	default:
		w.linears[proj.Name] = ternaryop.Linear{Name: proj.Name, Weight: stack.At(0), Bias: p.source.Vector(proj.Name + ".bias")}
	}
	return nil
}

func (p *prober) pack(w []float32, out, in int, format ternaryop.Format, group int) (*ternaryop.Matrix, error) {
	if format == ternaryop.Int8 {
		packed, _, err := packIntegers(w, out, in, format, group)
		return packed, err
	}
	fit, err := p.fitter.Fit(format, w, out, in, group, nil, Stage1, FitOptions{})
	if err != nil {
		return nil, err
	}
	return ternaryop.Pack(format, fit.Codes, fit.Scales, out, in, group)
}

// advance replaces the stream by what the next layer makes of it.
func (p *prober) advance(x []float32) error {
	h := p.config.Hidden
	return p.run("the original", x, p.perLayer, func(b *graph.Builder, in *gorgonia.Node) *gorgonia.Node {
		return gptoss.DeclareLayer(b, p.config, p.source, p.layer, in)
	}, func(at int, b *graph.Batch, values []float32) error {
		copy(x[at*h:], values[:b.Rows()*h])
		return nil
	})
}

// logits runs the stream through the layers from the current one on and the
// head, and hands out the logits of the scored tokens, [n, V], the first of which
// is the first-th.
func (p *prober) logits(what string, x []float32, w gptoss.Weights, see func(first int, y []float32) error) error {
	work, scored := float64(p.config.Layers-p.layer)*p.perLayer+p.head, 0
	return p.run(what, x, work, func(b *graph.Builder, in *gorgonia.Node) *gorgonia.Node {
		for layer := p.layer; layer < p.config.Layers; layer++ {
			in = gptoss.DeclareLayer(b, p.config, w, layer, in)
		}
		return gptoss.DeclareHead(b, p.config, w, in)
	}, func(_ int, b *graph.Batch, values []float32) error {
		first, n := scored, len(b.Outputs)
		scored += n
		return see(first, values[:n*p.config.Vocab])
	})
}

// run sends the stream, window by window, through what declare makes of it, and
// hands out the values of each batch, which begins with the at-th token.
func (p *prober) run(what string, x []float32, work float64, declare func(*graph.Builder, *gorgonia.Node) *gorgonia.Node,
	see func(at int, b *graph.Batch, values []float32) error) error {
	h, b := p.config.Hidden, graph.NewBuilder()
	in := b.Input("stream", tensor.Float32, p.rows, h)
	out := declare(b, in)
	plan, err := b.Compile(p.cpu, p.rows, graph.WithOutputs(out))
	if err != nil {
		return err
	}
	from, err := plan.Value(in)
	if err != nil {
		return err
	}
	to, err := plan.Value(out)
	if err != nil {
		return err
	}
	seq, err := plan.NewSequence()
	if err != nil {
		return err
	}
	batch := graph.NewBatch()
	for at, n := 0, 0; at < len(p.tokens); at += n {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if at%p.opt.Window == 0 {
			if err := seq.Truncate(0); err != nil {
				return err
			}
		}
		n = min(p.rows, p.opt.Window-at%p.opt.Window)
		batch.Reset()
		batch.Add(seq, n)
		for i := range n {
			if (at+i)%p.stride == p.stride-1 {
				batch.Want(i)
			}
		}
		copy(from.Float32s(), x[at*h:(at+n)*h])
		if err := plan.Run(batch); err != nil {
			return err
		}
		if err := see(at, batch, to.Float32s()); err != nil {
			return err
		}
		p.done += work * float64(n) / float64(len(p.tokens))
		if p.opt.Progress != nil {
			p.opt.Progress(Progress{Layer: min(p.layer, p.config.Layers-1), Layers: p.config.Layers, Step: "probing " + what,
				Done: min(p.done, p.total), Total: p.total})
		}
	}
	return nil
}

// divergence returns KL(p‖q) = Σ p·(log p - log q) of the distributions that the
// logits x and y stand for; equal logits give exactly 0.
func divergence(x, y []float32) float64 {
	topX, topY := float64(slices.Max(x)), float64(slices.Max(y))
	var sumX, sumY, cross float64
	for i := range x {
		dx, dy := float64(x[i])-topX, float64(y[i])-topY
		e := math.Exp(dx)
		sumX, sumY, cross = sumX+e, sumY+math.Exp(dy), cross+float64(e*(dx-dy))
	}
	return max(0, cross/sumX+math.Log(sumY)-math.Log(sumX))
}
