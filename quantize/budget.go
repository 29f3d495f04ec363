package quantize

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
)

// Plan says how each part of a model is stored so that the whole keeps to a
// budget, and what that is expected to cost.
type Plan struct {
	Budget        int64   `json:"budget_bytes"`
	Bytes         int64   `json:"bytes"` // of all tensors
	BitsPerWeight float64 `json:"bits_per_weight"`
	// KL is the sum of the parts' costs: what the whole would cost if they added
	// up, fitted as the probes were.
	KL     float64     `json:"predicted_kl"`
	Tokens int         `json:"probe_tokens"` // that the costs were measured on
	Scored int         `json:"scored_tokens"`
	Groups []PlanGroup `json:"groups"`
}

// PlanGroup is a part of a model that is stored in one format.
type PlanGroup struct {
	Name        string   `json:"name"`        // "layer 3 gate_up"
	Projections []string `json:"projections"` // canonical names
	PlanChoice           // what was chosen
	// Tried are all choices, from the smallest on; as the source has it, where the
	// method leaves that open, is the last.
	Tried []PlanChoice `json:"tried"`
}

// PlanChoice is a way to store a group.
type PlanChoice struct {
	Format string `json:"format"` // the kind of a gptoss.Format, or StoreSource
	Bytes  int64  `json:"bytes"`
	// KL is the divergence, in nats a token, of the model in which this group alone
	// is stored so from the original.
	KL float64 `json:"kl"`
}

// planKinds are the formats that a plan chooses among, beside the source's.
var planKinds = []string{gptoss.FormatTernary5, gptoss.FormatTernary, gptoss.FormatPlanes5, gptoss.FormatPlanes2,
	gptoss.FormatInt4, gptoss.FormatInt8}

// NewPlan chooses formats for {attention, gate_up, down} of every layer, the
// embedding and the head, so that all tensors together take at most so many
// bytes and the costs of the choices add up to as little as possible.
//
// A cost is measured: one group at a time is fitted by stage 1, without
// statistics, and the tokens run through the model that is the original but for
// it. Formats that are no smaller than what the source has are not tried: that
// costs nothing. The choice is the steepest descent over the convex hulls of
// the groups' (bytes, KL), which is the optimum but for the last step.
//
// That costs add up is an assumption; so is that those of stage 1 rank formats
// as those of the method do. Evaluate the result.
//
// Shapes: tokens: as many windows of Options.Window as it holds, none of them
// among those that the result will be fitted to.
// Units: Progress counts float32 multiply-adds.
// Errors: a budget below the smallest model there is, or that the source keeps
// to already; fewer tokens than a window.
func NewPlan(ctx context.Context, cpu *graph.CPU, source *gptoss.Checkpoint, tokens []int32, budget int64, o Options) (*Plan, error) {
	o.Plan, o.Tensors = nil, nil
	o, err := o.resolve()
	if err != nil {
		return nil, err
	}
	config := source.Config()
	if config.Quantization != nil {
		return nil, fmt.Errorf("quantize: the model is quantized already (%s); start from the original", config.Quantization.Method)
	}
	if len(tokens) < o.Window {
		return nil, fmt.Errorf("quantize: %d tokens to probe on, less than one window of %d; give a longer text or a smaller window", len(tokens), o.Window)
	}
	tokens = tokens[:len(tokens)/o.Window*o.Window]
	plan := &Plan{Budget: budget, Tokens: len(tokens)}
	fixed := planGroups(source, o, plan)
	if err := plan.check(source, fixed); err != nil {
		return nil, err
	}
	p, err := newProber(ctx, cpu, source, tokens, o, plan)
	if err != nil {
		return nil, err
	}
	if err := p.probe(); err != nil {
		return nil, fmt.Errorf("quantize: probing: %w", err)
	}
	plan.choose(budget - fixed)
	plan.Bytes, plan.BitsPerWeight = plan.Bytes+fixed, 8*float64(plan.Bytes+fixed)/float64(config.Parameters())
	return plan, nil
}

// kind returns how a projection is stored.
func (p *Plan) kind(name string) string {
	for i := range p.Groups {
		if slices.Contains(p.Groups[i].Projections, name) {
			return p.Groups[i].Format
		}
	}
	return StoreSource
}

// planGroups lists the groups and their choices, and returns the bytes of what
// belongs to none.
func planGroups(source *gptoss.Checkpoint, o Options, plan *Plan) (fixed int64) {
	config := source.Config()
	ps := config.Projections()
	fixed = source.Bytes()
	add := func(title string, names ...string) {
		g := PlanGroup{Name: title, Projections: names}
		size := func(kind string) (bytes int64, possible bool) {
			o.Plan = &Plan{Groups: []PlanGroup{{Projections: names, PlanChoice: PlanChoice{Format: kind}}}}
			for _, name := range names {
				f, err := o.format(ps[name])
				if err != nil {
					return 0, false
				}
				if f.Kind == "" {
					bytes += sourceBytes(source, name)
				} else {
					bytes += projectionBytes(ps[name], f)
				}
			}
			return bytes, true
		}
		own, stays := size(StoreSource)
		for _, kind := range planKinds {
			if bytes, possible := size(kind); possible && (!stays || bytes < own) {
				g.Tried = append(g.Tried, PlanChoice{Format: kind, Bytes: bytes})
			}
		}
		slices.SortStableFunc(g.Tried, func(a, b PlanChoice) int { return cmp.Compare(a.Bytes, b.Bytes) })
		if stays {
			g.Tried = append(g.Tried, PlanChoice{Format: StoreSource, Bytes: own})
		}
		for _, name := range names {
			fixed -= sourceBytes(source, name)
		}
		plan.Groups = append(plan.Groups, g)
	}
	add("embedding", gptoss.EmbeddingName)
	for layer := range config.Layers {
		n, title := gptoss.LayerNames(layer), fmt.Sprintf("layer %d ", layer)
		add(title+"attention", n.Q, n.K, n.V, n.O)
		add(title+"gate_up", n.GateUp)
		add(title+"down", n.Down)
	}
	add("head", gptoss.HeadName)
	return fixed
}

// sourceBytes is what a projection's weights take in the source.
func sourceBytes(source *gptoss.Checkpoint, name string) (n int64) {
	for _, suffix := range []string{"", ".weight", "_blocks", "_scales"} {
		n += source.StoredBytes(name + suffix)
	}
	return n
}

// check refuses budgets that leave nothing to choose.
func (p *Plan) check(source *gptoss.Checkpoint, fixed int64) error {
	least, config := fixed, source.Config()
	for _, g := range p.Groups {
		if len(g.Tried) == 0 {
			return fmt.Errorf("quantize: %s fits no format", g.Name)
		}
		least += g.Tried[0].Bytes
	}
	bits := func(bytes int64) float64 { return 8 * float64(bytes) / float64(config.Parameters()) }
	switch {
	case p.Budget < least:
		return fmt.Errorf("quantize: a budget of %d bytes, %.2f bits/weight: the smallest possible is %d bytes, %.2f bits/weight",
			p.Budget, bits(p.Budget), least, bits(least))
	case p.Budget >= source.Bytes():
		return fmt.Errorf("quantize: a budget of %d bytes: the model takes %d as it is; there is nothing to do", p.Budget, source.Bytes())
	}
	return nil
}

// probed are the choices whose cost is to be measured.
func (g *PlanGroup) probed() []PlanChoice {
	if n := len(g.Tried) - 1; g.Tried[n].Format == StoreSource {
		return g.Tried[:n]
	}
	return g.Tried
}

// choose gives every group its smallest choice, then goes on along the groups'
// hulls, the step first that gains most a byte, as long as one fits.
func (p *Plan) choose(bytes int64) {
	hulls := make([][]PlanChoice, len(p.Groups))
	for i := range p.Groups {
		hulls[i] = hull(p.Groups[i].Tried)
		p.Groups[i].PlanChoice = hulls[i][0]
		bytes -= hulls[i][0].Bytes
	}
	for {
		best, steepest := -1, 0.
		for i, h := range hulls {
			if len(h) > 1 && h[1].Bytes-h[0].Bytes <= bytes {
				if s := slope(h[0], h[1]); s > steepest {
					best, steepest = i, s
				}
			}
		}
		if best < 0 {
			break
		}
		h := hulls[best]
		bytes -= h[1].Bytes - h[0].Bytes
		hulls[best], p.Groups[best].PlanChoice = h[1:], h[1]
	}
	p.Bytes, p.KL = 0, 0
	for _, g := range p.Groups {
		p.Bytes, p.KL = p.Bytes+g.Bytes, p.KL+g.KL
	}
}

// slope is what a byte more gains.
func slope(from, to PlanChoice) float64 { return (from.KL - to.KL) / float64(to.Bytes-from.Bytes) }

// hull returns the choices, by size, that a straight trade of bytes for KL can
// end in. Those given are sorted by size.
func hull(tried []PlanChoice) []PlanChoice {
	h := tried[:1:1]
	for rest := tried[1:]; ; {
		last := h[len(h)-1]
		best := -1
		for i, c := range rest {
			switch {
			case c.KL >= last.KL:
			case c.Bytes == last.Bytes: // as large and better
				best = i
			case best < 0 || rest[best].Bytes > last.Bytes && slope(last, c) > slope(last, rest[best]):
				best = i
			}
		}
		if best < 0 {
			return h
		}
		if rest[best].Bytes == last.Bytes {
			h = h[:len(h)-1]
		}
		h, rest = append(h, rest[best]), rest[best+1:]
	}
}

// errNotFinite is what a probe says whose logits are not numbers.
var errNotFinite = errors.New("the logits are not finite")
