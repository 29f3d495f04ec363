package quantize

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/atomicfile"
	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/ternaryop"
)

// ReportLayer says what training made of a layer, judged on calibration windows
// that it did not see.
type ReportLayer struct {
	Layer int `json:"layer"`
	// Losses are the squared error of the layer's output, relative to what the
	// original layer adds to the stream.
	ReportTraining
}

// trainLayer fits a layer, trains it to give what the original layer gives on
// the original stream, and replaces both streams by the layer's outputs.
//
// Shapes: x [tokens, H], the quantized stream.
func (r *run) trainLayer(l *layerRun, s *layerMoments, x []float32) error {
	t, err := r.fitLatents(l.layer, s)
	if err != nil {
		return err
	}
	c := newCosts(r.config, r.opt, len(r.tokens))
	target := make([]float32, len(x))
	original := *l
	original.weights = newOverlay(r.source)
	if err := r.through(&original, r.original, target, "running the original layer", c.original); err != nil {
		return err
	}
	if err := r.reconstruct(l.layer, t, x, target); err != nil {
		return err
	}
	copy(r.original, target)
	if r.opt.Method == Distill {
		return r.keepForDistillation(l, t, x)
	}
	if err := r.writeLatents(l.layer, t); err != nil {
		return err
	}
	return r.advance(l, t, x)
}

// advance sends the stream through a layer as trained.
func (r *run) advance(l *layerRun, t *trainable, x []float32) error {
	if err := r.place(l.layer, t); err != nil {
		return err
	}
	l.weights = r.weights
	return r.through(l, x, x, "running the quantized layer", newCosts(r.config, r.opt, len(r.tokens)).output)
}

// through writes a layer's output for the stream x to dst, which may be x.
func (r *run) through(l *layerRun, x, dst []float32, what string, work float64) error {
	at, per := 0, work/float64(len(r.tokens))
	return l.run(r.ctx, x, func(tokens int) { r.meter.add(what, per*float64(tokens)) },
		observer{fmt.Sprintf("model.layers.%d.output", l.layer), func(values []float32, _ int) error {
			at += copy(dst[at:], values)
			return nil
		}})
}

// fitLatents fits a layer's projections, which is where training starts. The
// router trains without being rounded.
func (r *run) fitLatents(layer int, s *layerMoments) (*trainable, error) {
	t := newTrainable(r.source, &r.config)
	t.stored = r.stored
	n := gptoss.LayerNames(layer)
	for _, m := range []*expertMoments{s.gateUp, s.down} {
		if err := m.shrink(); err != nil {
			return nil, err
		}
	}
	for _, p := range r.config.LayerProjections(layer) {
		f, quantized := r.formats[p.Name]
		if !quantized && p.Name != n.Router {
			continue // stays as the source has it
		}
		l := &latent{shape: []int{p.Out, p.In}, rounds: quantized}
		if f.Ternary() {
			_, l.group = f.Packing(p.In)
		}
		matrices, bias := []ops.Matrix(nil), p.Name+".bias"
		var moments []*Moment
		switch {
		case p.Experts > 0:
			l.shape, matrices, bias = []int{p.Experts, p.Out, p.In}, r.source.ExpertMatrices(p.Name), p.Name+"_bias"
			if moments = s.gateUp.moments; p.Name == n.Down {
				moments = s.down.moments
			}
		default:
			matrices = []ops.Matrix{r.source.Matrix(p.Name)}
			if moments = []*Moment{s.qkv.moment}; p.Name == n.O {
				moments = []*Moment{s.o.moment}
			}
		}
		l.bias = slices.Clone(r.source.Vector(bias))
		var relative float64
		for i, w := range matrices {
			if err := r.ctx.Err(); err != nil {
				return nil, err
			}
			e, err := r.fitLatent(l, p, w, moments[i])
			if err != nil {
				return nil, fmt.Errorf("%s: matrix %d: %w", p.Name, i, err)
			}
			relative += e / float64(len(matrices))
			r.meter.add("fitting "+lastPart(p.Name), fitWork(r.opt, p)/float64(len(matrices)))
		}
		t.latents[p.Name] = l
		r.reportLatent(p, f, relative, moments)
	}
	return t, nil
}

func (r *run) fitLatent(l *latent, p gptoss.Projection, w ops.Matrix, m *Moment) (relative float64, err error) {
	weights := r.decode(w)
	if l.group == 0 {
		l.weight = append(l.weight, weights...)
		return 0, nil
	}
	fit, err := r.fitter.Ternary(weights, p.Out, p.In, l.group, m, r.opt.Method.start(), r.opt.Fit)
	if err == nil {
		l.add(weights, fit)
	}
	return fit.RelativeError, err
}

func (r *run) reportLatent(p gptoss.Projection, f gptoss.Format, relative float64, moments []*Moment) {
	switch {
	case f.Kind == "":
	case p.Experts > 0:
		tokens := make([]int, p.Experts)
		for e, m := range moments {
			tokens[e] = m.Tokens()
		}
		r.report.addExperts(p, f, relative, tokens, true)
	default:
		r.report.add(p, f, relative, tokensOf(moments[0]))
	}
}

// reconstruct trains a layer and keeps the result where it is better on windows
// that training did not see. The fit is what it was otherwise.
//
// Shapes: x and target [tokens, H].
func (r *run) reconstruct(layer int, t *trainable, x, target []float32) error {
	work := trainWork(r.config, r.opt, r.opt.Train.Batch)
	done, err := r.pass(reconstruction(t, layer, layer+1, r.opt.Window, r.carried, x, target), r.opt.Train, t.toFit(), "training", work)
	if err != nil {
		return err
	}
	r.report.Layers = append(r.report.Layers, ReportLayer{layer, done})
	return nil
}

// pass trains towards a goal, or takes over what an earlier run came to.
func (r *run) pass(g goal, o TrainOptions, begin func(), what string, work float64) (ReportTraining, error) {
	r.meter.note("declaring the derivatives")
	t, err := newTrainer(r.cpu, g, o)
	if err != nil {
		return ReportTraining{}, err
	}
	r.meter.note("looking at the held-out windows")
	if err := t.start(begin); err != nil {
		return ReportTraining{}, err
	}
	taken := 0
	tick := func(steps int, loss float64) {
		r.meter.add(fmt.Sprintf("%s, step %d of %d, loss %.4f", what, steps, t.opt.Steps, loss), work*float64(steps-taken))
		taken = steps
	}
	defer func() { r.meter.add(what, work*float64(t.opt.Steps-taken)) }() // training may end early
	if r.store == nil {
		return t.improve(r.ctx, nil, tick)
	}
	key := t.key()
	path, err := r.store.Do(r.ctx, key, func(temporary string) error {
		if _, err := t.improve(r.ctx, &checkpoint{r.store.Checkpoint(key)}, tick); err != nil {
			return err
		}
		return atomicfile.WriteFile(temporary, t.write)
	})
	if err == nil && !t.state.done { // it was there
		r.meter.note("reading what an earlier run trained")
		err = (&checkpoint{path}).load(t)
	}
	return t.state.report, err
}

// stored returns the type in which a tensor of the source is kept.
func (r *run) stored(name string) safetensors.Dtype { return r.dtypes[name] }

// place puts a trained layer into the model that the stream runs through.
func (r *run) place(layer int, t *trainable) error {
	n := gptoss.LayerNames(layer)
	for _, name := range []string{n.InputNorm, n.Sinks, n.PostNorm} {
		r.weights.vectors[name] = t.Vector(name)
	}
	for _, p := range r.config.LayerProjections(layer) {
		l, ok := t.latents[p.Name]
		if !ok {
			continue
		}
		if !l.rounds {
			r.weights.linears[p.Name] = ops.Dense{Name: p.Name, Weight: ops.F32{Out: p.Out, In: p.In, Data: l.weight}, Bias: l.bias}
			continue
		}
		stack, err := r.packed(p, l)
		if err == nil {
			stack, err = expanded(stack)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		if p.Experts > 0 {
			r.weights.experts[p.Name] = ternaryop.Experts{Name: p.Name, Weight: stack, Bias: l.bias, Active: r.config.ActiveExperts}
		} else {
			r.weights.linears[p.Name] = ternaryop.Linear{Name: p.Name, Weight: stack.At(0), Bias: l.bias}
		}
	}
	return nil
}

// packed rounds and packs the matrices of a projection.
func (r *run) packed(p gptoss.Projection, l *latent) (*ternaryop.Stack, error) {
	format, group := r.formats[p.Name].Packing(p.In)
	stack := &ternaryop.Stack{Format: format, E: max(1, p.Experts), Out: p.Out, In: p.In, Group: group}
	for i := range stack.E {
		packed, err := l.pack(i, format, group)
		if err != nil {
			return nil, err
		}
		stack.Codes, stack.Scales = append(stack.Codes, packed.Codes...), append(stack.Scales, packed.Scales...)
	}
	return stack, nil
}

// writeLatents writes a trained layer.
func (r *run) writeLatents(layer int, t *trainable) error {
	n := gptoss.LayerNames(layer)
	for _, name := range []string{n.InputNorm, n.Sinks, n.PostNorm} {
		if err := r.writeVector(name, t.Vector(name)); err != nil {
			return err
		}
	}
	for _, p := range r.config.LayerProjections(layer) {
		l, ok := t.latents[p.Name]
		if !ok {
			continue
		}
		if err := r.writeVector(l.biasName(p.Name), l.bias); err != nil {
			return err
		}
		if !l.rounds {
			if err := r.writeVector(p.Name+".weight", l.weight); err != nil {
				return err
			}
			continue
		}
		stack, err := r.packed(p, l)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		if err := errors.Join(r.writer.Write(p.Name+".codes", stack.Codes), r.writer.Write(p.Name+".scales", stack.Scales)); err != nil {
			return err
		}
	}
	return nil
}

// writeVector writes values that its type holds exactly (trainable.round).
func (r *run) writeVector(name string, x []float32) error {
	var data []byte
	for _, v := range x {
		if b := math.Float32bits(v); r.stored(name) == safetensors.F32 {
			data = binary.LittleEndian.AppendUint32(data, b)
		} else {
			data = binary.LittleEndian.AppendUint16(data, uint16(b>>16))
		}
	}
	return r.writer.Write(name, data)
}

// trains lists the tensors of the source that training changes: norms, sinks,
// biases and the router. They stay in the type they had.
func (r *run) trains() map[string]bool {
	names := map[string]bool{}
	if r.opt.endToEnd() {
		names[gptoss.FinalNormName] = true
	}
	for layer := range r.config.Layers {
		n := gptoss.LayerNames(layer)
		for _, name := range []string{n.InputNorm, n.Sinks, n.PostNorm, n.Router + ".weight", n.Router + ".bias"} {
			names[name] = true
		}
		for _, p := range r.config.LayerProjections(layer) {
			if _, ok := r.formats[p.Name]; !ok {
				continue
			}
			if p.Experts > 0 {
				names[p.Name+"_bias"] = true
			} else {
				names[p.Name+".bias"] = true
			}
		}
	}
	return names
}
