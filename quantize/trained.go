package quantize

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
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
	// Losses are the squared error of the layer's output, relative to what the
	// original layer adds to the stream.
	ReportTraining
}

// trainAbout is what the unit of trained layers says of them.
type trainAbout struct {
	Layers []ReportLayer       `json:"layers"`         // of each, trained by itself
	Pass   *ReportPass         `json:"pass,omitempty"` // of all, trained together
	Fits   map[string]fitAbout `json:"fits"`           // that training started from
}

// latentPart ends the name of the section with a projection's latent weights,
// float32, in the unit of a layer that will be trained once more.
const latentPart = ".latent"

// trainUnit is the training of a layer to give what the original layer gives on
// the original stream. It starts from the fits.
func (r *run) trainUnit(layer int, fits, stream, target []*unit) *unit {
	u := &unit{
		key: units.NewKey("reconstruct/2", r.model, layer, r.opt.Window, r.opt.Train, r.carried.text, r.carried.written, r.opt.Method,
			keysOf(fits), keysOf(stream), keysOf(target)),
		name: "training", phase: training, layer: layer,
		work:   float64(r.opt.Train.Steps) * trainWork(r.config, r.opt, r.opt.Train.Batch),
		inputs: slices.Concat(fits, stream, target),
	}
	u.make = func(w *worker, path string) error {
		t, about, err := w.latents(layer, fits)
		if err != nil {
			return err
		}
		done, err := w.reconstruct(t, layer, layer+1, stream, target, r.opt.Train, t.toFit())
		if err != nil {
			return err
		}
		return r.writeTrained(path, trainAbout{Layers: []ReportLayer{{layer, done}}, Fits: about}, t, layer, layer+1)
	}
	return u
}

// latents are a layer's projections as training starts. The router trains
// without being rounded.
func (w *worker) latents(layer int, fits []*unit) (*trainable, map[string]fitAbout, error) {
	r := w.run
	t := r.newTrainable()
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
	for _, p := range r.trainedProjections(layer) {
		l := r.newLatent(p)
		l.bias = slices.Clone(r.source.Vector(biasName(p)))
		if err := w.start(l, p, tensors); err != nil {
			return nil, nil, err
		}
		t.latents[p.Name] = l
	}
	return t, abouts, nil
}

func (r *run) newTrainable() *trainable {
	t := newTrainable(r.source, &r.config)
	t.stored = r.dtype
	return t
}

// trainedProjections lists the projections of a layer that training changes; the
// others stay as the source has them.
func (r *run) trainedProjections(layer int) (ps []gptoss.Projection) {
	router := gptoss.LayerNames(layer).Router
	for _, p := range r.config.LayerProjections(layer) {
		if _, quantized := r.formats[p.Name]; quantized || p.Name == router {
			ps = append(ps, p)
		}
	}
	return ps
}

// newLatent returns a projection in training, without its values.
func (r *run) newLatent(p gptoss.Projection) *latent {
	f, quantized := r.formats[p.Name]
	l := &latent{shape: []int{p.Out, p.In}, rounds: quantized}
	if p.Experts > 0 {
		l.shape = []int{p.Experts, p.Out, p.In}
	}
	if f.Ternary() {
		_, l.group = f.Packing(p.In)
	}
	return l
}

// start fills a projection's latent weights from its fit; of projections that
// are not ternary, from the source.
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

// reconstruct trains layers [first, end) to give what the original's give.
func (w *worker) reconstruct(t *trainable, first, end int, stream, target []*unit, o TrainOptions, begin func()) (done ReportTraining, err error) {
	r := w.run
	x, err := r.openStream(stream)
	if err != nil {
		return done, err
	}
	defer x.close()
	y, err := r.openStream(target)
	if err != nil {
		return done, err
	}
	defer y.close()
	goal, err := reconstruction(t, first, end, r.opt.Window, r.carried, x, y)
	if err != nil {
		return done, err
	}
	return w.pass(goal, o, begin)
}

// pass trains towards a goal, from where an earlier process was interrupted.
func (w *worker) pass(g goal, o TrainOptions, begin func()) (ReportTraining, error) {
	r := w.run
	t, err := newTrainer(w.cpu, g, o)
	if err != nil {
		return ReportTraining{}, err
	}
	if err := t.start(begin); err != nil {
		return ReportTraining{}, err
	}
	taken := 0
	return t.improve(r.ctx, &checkpoint{path: r.store.Checkpoint(w.unit.key), every: r.opt.checkpointEvery}, func(steps int, loss float64) {
		w.say(fmt.Sprintf("%s, step %d of %d, loss %.4f", w.unit.name, steps, t.opt.Steps, loss), float64(steps-taken)/float64(t.opt.Steps))
		taken = steps
	})
}

// dtype returns the type in which a tensor of the source is kept.
func (r *run) dtype(name string) safetensors.Dtype { return r.stored[name].Dtype }

// writeTrained writes the unit of trained layers [first, end): their tensors as
// they will be stored, of layers that will be trained once more the latent
// weights too, and more.
func (r *run) writeTrained(path string, about trainAbout, t *trainable, first, end int, more ...part) error {
	parts, sections := more, []section(nil)
	latents := map[string]*latent{}
	for layer := first; layer < end; layer++ {
		ps, err := r.trainedTensors(layer, t)
		if err != nil {
			return err
		}
		parts = append(parts, ps...)
		for _, p := range r.trainedProjections(layer) {
			if l := t.latents[p.Name]; l.rounds && r.opt.Method == Distill && about.Pass == nil {
				latents[p.Name+latentPart] = l
			}
		}
	}
	for _, p := range parts {
		sections = append(sections, section{p.name, int64(len(p.data))})
	}
	names := slices.Sorted(maps.Keys(latents))
	for _, name := range names {
		sections = append(sections, section{name, 4 * int64(len(latents[name].weight))})
	}
	file, err := createUnit(path, sections...)
	if err != nil {
		return err
	}
	for _, p := range parts {
		_, e := file.at(p.name, 0).Write(p.data)
		err = errors.Join(err, e)
	}
	var buf []byte
	for _, name := range names {
		to := file.at(name, 0)
		for x := range slices.Chunk(latents[name].weight, 1<<16) {
			buf = bytesOf(buf, x)
			_, e := to.Write(buf)
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("quantize: %w", err), file.file.Close())
	}
	return file.finish(about)
}

// readTrained takes over a layer as a unit that was trained has it, to train it
// once more.
func (r *run) readTrained(t *trainable, layer int, u *unit) error {
	tensors, err := r.tensorsOf([]*unit{u})
	if err != nil {
		return err
	}
	n := gptoss.LayerNames(layer)
	for _, name := range []string{n.InputNorm, n.Sinks, n.PostNorm} {
		if t.vectors[name], err = r.vector(tensors, name); err != nil {
			return err
		}
	}
	for _, p := range r.trainedProjections(layer) {
		l := r.newLatent(p)
		if l.bias, err = r.vector(tensors, biasName(p)); err != nil {
			return err
		}
		if !l.rounds {
			l.weight, err = r.vector(tensors, p.Name+".weight")
		} else {
			err = r.readLatent(l, p, tensors)
		}
		if err != nil {
			return err
		}
		t.latents[p.Name] = l
	}
	return nil
}

func (r *run) readLatent(l *latent, p gptoss.Projection, tensors fitted) error {
	data, err := tensors.read(r, p.Name+latentPart)
	if err != nil {
		return err
	}
	if want := 4 * p.Parameters(); int64(len(data)) != want {
		return fmt.Errorf("%s: %d bytes of latent weights, want %d", p.Name, len(data), want)
	}
	l.weight = make([]float32, len(data)/4)
	numbersOf(l.weight, data)
	if l.group == 0 {
		return nil
	}
	s, err := r.stack(tensors, p)
	if err != nil {
		return err
	}
	for e := range s.E {
		m := s.At(e)
		codes, scales := m.Unpack()
		l.codes, l.scales = append(l.codes, codes...), append(l.scales, scales...)
	}
	return nil
}

// trainedTensors are the tensors of a trained layer, as they will be stored.
func (r *run) trainedTensors(layer int, t *trainable) (parts []part, err error) {
	n := gptoss.LayerNames(layer)
	for _, name := range []string{n.InputNorm, n.Sinks, n.PostNorm} {
		parts = append(parts, part{name, r.encode(name, t.Vector(name))})
	}
	for _, p := range r.trainedProjections(layer) {
		l := t.latents[p.Name]
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
	if r.opt.endToEnd() {
		names[gptoss.FinalNormName] = true
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
