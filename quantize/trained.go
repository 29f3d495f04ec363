package quantize

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/seed-796a8800/tritium/internal/units"
)

// ReportLayer says what training made of a layer, judged on calibration windows
// that it did not see.
type ReportLayer struct {
	Layer int `json:"layer"`
	// Fitted and Trained are the squared error of the layer's output, relative
	// to what the original layer adds to the stream.
	Fitted  float64 `json:"fitted_loss"`
	Trained float64 `json:"trained_loss"`
	Kept    bool    `json:"kept"` // whether the training's result was taken
}

// trainAbout is what the unit of a trained layer says of it.
type trainAbout struct {
	Layer ReportLayer         `json:"layer"`
	Fits  map[string]fitAbout `json:"fits"` // that training started from
}

// trainUnit is the training of a layer to give what the original layer gives on
// the original stream. It starts from the fits.
func (r *run) trainUnit(layer int, fits, stream, target []*unit) *unit {
	return &unit{
		key: units.NewKey("reconstruct/1", r.model, layer, r.opt.Window, r.opt.Train, keysOf(fits), keysOf(stream), keysOf(target)),
		// Of projections that are not ternary training starts from the source.
		name: "training", phase: training, layer: layer,
		work:   float64(r.opt.Train.Steps) * trainWork(r.config, r.opt, r.opt.Train.Batch),
		inputs: slices.Concat(fits, stream, target),
		make: func(w *worker, path string) error {
			return w.trainLayer(path, layer, r.layers[layer], stream, target)
		},
	}
}

func (w *worker) trainLayer(path string, layer int, l *layerUnits, stream, target []*unit) error {
	r := w.run
	t, fits, err := w.latents(layer, l.fits)
	if err != nil {
		return err
	}
	x, err := r.openStream(stream)
	if err != nil {
		return err
	}
	defer x.close()
	y, err := r.openStream(target)
	if err != nil {
		return err
	}
	defer y.close()
	entry, err := w.reconstruct(layer, t, x, y, r.store.Checkpoint(l.trained.key))
	if err != nil {
		return err
	}
	parts, err := r.trainedTensors(layer, t)
	if err != nil {
		return err
	}
	return writeUnit(path, trainAbout{entry, fits}, parts...)
}

// latents are a layer's projections as training starts. The router trains
// without being rounded.
func (w *worker) latents(layer int, fits []*unit) (*trainable, map[string]fitAbout, error) {
	r := w.run
	t := newTrainable(r.source, &r.config)
	tensors, err := r.tensorsOf(fits)
	if err != nil {
		return nil, nil, err
	}
	abouts := map[string]fitAbout{}
	for _, u := range fits {
		a, err := r.aboutFit(u)
		if err != nil {
			return nil, nil, err
		}
		abouts[u.projection] = abouts[u.projection].join(a)
	}
	n := gptoss.LayerNames(layer)
	for _, p := range r.config.LayerProjections(layer) {
		f, quantized := r.formats[p.Name]
		if !quantized && p.Name != n.Router {
			continue // stays as the source has it
		}
		l := &latent{shape: []int{p.Out, p.In}, rounds: quantized, bias: slices.Clone(r.source.Vector(biasName(p)))}
		if p.Experts > 0 {
			l.shape = []int{p.Experts, p.Out, p.In}
		}
		if f.Ternary() {
			_, l.group = f.Packing(p.In)
		}
		if err := w.start(l, p, tensors); err != nil {
			return nil, nil, err
		}
		t.latents[p.Name] = l
	}
	return t, abouts, nil
}

// start fills a projection's latent weights.
func (w *worker) start(l *latent, p gptoss.Projection, tensors fitted) error {
	if l.group == 0 {
		l.weight = slices.Clone(w.decode(w.run.matrix(p, 0)))
		return nil
	}
	s, err := w.run.stack(tensors, p)
	if err != nil {
		return err
	}
	l.weight, l.codes = make([]float32, 0, s.E*p.Out*p.In), make([]int8, 0, s.E*p.Out*p.In)
	for e := range s.E {
		m := s.At(e)
		codes, scales := m.Unpack()
		l.add(w.decode(w.run.matrix(p, e)), Fit{Codes: codes, Scales: scales})
	}
	return nil
}

// reconstruct trains a layer and keeps the result where it is better on windows
// that training did not see. The fit is what it was otherwise.
func (w *worker) reconstruct(layer int, t *trainable, x, target *streamReader, checkpoint string) (entry ReportLayer, err error) {
	r := w.run
	goal, err := reconstruction(t, layer, r.opt.Window, x, target)
	if err != nil {
		return entry, err
	}
	tr, err := newTrainer(w.cpu, goal, r.opt.Train)
	if err != nil {
		return entry, err
	}
	before := make([]savedLatent, 0, len(t.latents))
	for _, p := range r.config.LayerProjections(layer) {
		if l, ok := t.latents[p.Name]; ok {
			before = append(before, l.start())
		}
	}
	entry.Layer = layer
	if entry.Fitted, err = tr.heldOut(); err != nil {
		return entry, err
	}
	for _, s := range before {
		copy(s.latent.weight, s.middle)
	}
	tr.kept = newCheckpoint(checkpoint, tr, r.opt.checkpointEvery)
	if err := tr.kept.load(); err != nil {
		return entry, err
	}
	w.tick(float64(tr.steps()) / float64(tr.opt.Steps))
	if err := tr.train(r.ctx, func(step int, loss float64) {
		w.say(fmt.Sprintf("training, step %d of %d, loss %.4f", step+1, tr.opt.Steps, loss), 1/float64(tr.opt.Steps))
	}); err != nil {
		return entry, err
	}
	t.round(r.dtype)
	if entry.Trained, err = tr.heldOut(); err != nil {
		return entry, err
	}
	if entry.Kept = entry.Trained < entry.Fitted; !entry.Kept {
		for _, s := range before {
			s.restore()
		}
		t.resetVectors()
	}
	return entry, nil
}

// dtype returns the type in which a tensor of the source is kept.
func (r *run) dtype(name string) safetensors.Dtype { return r.stored[name].Dtype }

// trainedTensors are the tensors of a trained layer, as they will be stored.
func (r *run) trainedTensors(layer int, t *trainable) (parts []part, err error) {
	n := gptoss.LayerNames(layer)
	for _, name := range []string{n.InputNorm, n.Sinks, n.PostNorm} {
		parts = append(parts, part{name, r.encode(name, t.Vector(name))})
	}
	for _, p := range r.config.LayerProjections(layer) {
		l, ok := t.latents[p.Name]
		if !ok {
			continue
		}
		parts = append(parts, part{biasName(p), r.encode(biasName(p), l.bias)})
		if !l.rounds {
			parts = append(parts, part{p.Name + ".weight", r.encode(p.Name+".weight", l.weight)})
			continue
		}
		codes, scales := part{name: p.Name + "." + codesPart}, part{name: p.Name + "." + scalesPart}
		format, group := r.formats[p.Name].Packing(p.In)
		for i := range max(1, p.Experts) {
			packed, err := l.pack(i, format, group)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.Name, err)
			}
			codes.data, scales.data = append(codes.data, packed.Codes...), append(scales.data, packed.Scales...)
		}
		parts = append(parts, codes, scales)
	}
	return parts, nil
}

// encode writes values that their type holds exactly (trainable.round).
func (r *run) encode(name string, x []float32) (data []byte) {
	for _, v := range x {
		if b := math.Float32bits(v); r.dtype(name) == safetensors.F32 {
			data = binary.LittleEndian.AppendUint32(data, b)
		} else {
			data = binary.LittleEndian.AppendUint16(data, uint16(b>>16))
		}
	}
	return data
}

// trains lists the tensors of the source that training changes: norms, sinks,
// biases and the router. They stay in the type they had.
func (r *run) trains() map[string]bool {
	names := map[string]bool{}
	if !r.opt.Method.Trains() {
		return names
	}
	for layer := range r.config.Layers {
		n := gptoss.LayerNames(layer)
		for _, name := range []string{n.InputNorm, n.Sinks, n.PostNorm, n.Router + ".weight", n.Router + ".bias"} {
			names[name] = true
		}
		for _, p := range r.config.LayerProjections(layer) {
			if _, ok := r.formats[p.Name]; ok {
				names[biasName(p)] = true
			}
		}
	}
	return names
}

// trainWork is the arithmetic of one step: forward, and twice that backward.
func trainWork(c gptoss.Config, o Options, windows int) float64 {
	return 3 * newCosts(c, o, windows*o.Window).original
}
