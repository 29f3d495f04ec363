package quantize

import (
	"fmt"
	"maps"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/units"
	"github.com/seed-796a8800/tritium/ops"
)

// ReportPass says what training several layers together made of them.
type ReportPass struct {
	// First and Last are the layers that were trained.
	First int `json:"first_layer"`
	Last  int `json:"last_layer"`
	// Loss is what the losses are: LossKL, of the whole model, or LossError, of
	// the last layer's output.
	Loss string `json:"loss"`
	ReportTraining
}

// The losses of a ReportPass.
const (
	LossKL    = "kl"    // divergence of the next-token distribution from the original's, nats a token
	LossError = "error" // squared error relative to what the layers add to the stream
)

// windowUnit is the training of some layers together, which were trained one by
// one before, to give what the original's give.
func (r *run) windowUnit(first int, trained, entry, target []*unit) *unit {
	end, o := first+len(trained), r.opt.Distill
	return &unit{
		key: units.NewKey("window/1", r.model, first, r.opt.Window, o, r.carried.text, r.carried.written,
			keysOf(trained), keysOf(entry), keysOf(target)),
		name: fmt.Sprintf("training layers %d to %d", first, end-1), phase: training, layer: first,
		work:   float64(o.Steps*len(trained)) * trainWork(r.config, r.opt, o.Batch),
		inputs: slices.Concat(trained, entry, target),
		make: func(w *worker, path string) error {
			m, about, err := r.together(first, trained)
			if err != nil {
				return err
			}
			done, err := w.reconstruct(m, first, end, entry, target, o.TrainOptions, nil)
			if err != nil {
				return err
			}
			about.Pass = &ReportPass{first, end - 1, LossError, done}
			return r.writeTrained(path, about, m, first, end)
		},
	}
}

// distillUnit is the training of the whole model, whose layers were trained one
// by one before, towards the original's next-token distribution.
func (r *run) distillUnit(trained []*unit) *unit {
	o := r.opt.Distill
	return &unit{
		key: units.NewKey("distill/1", r.model, r.opt.Window, o, r.pool.text, r.pool.written, hashTokens(r.text),
			keysOf(r.tables), keysOf(trained)),
		name: "distilling", phase: training, layer: r.config.Layers - 1,
		work:   float64(o.Steps) * distillWork(r.config, r.opt, o.Batch),
		inputs: slices.Concat(r.tables, trained),
		make: func(w *worker, path string) error {
			m, about, err := r.together(0, trained)
			if err != nil {
				return err
			}
			if m.Weights, err = r.withTables(); err != nil {
				return err
			}
			teacher, err := newTeacher(w.cpu, r.source, r.opt.Window, o.Micro)
			if err != nil {
				return err
			}
			done, err := w.pass(distillation(m, teacher, r.pool, r.text), o.TrainOptions, nil)
			if err != nil {
				return err
			}
			about.Pass = &ReportPass{0, r.config.Layers - 1, LossKL, done}
			norm := gptoss.FinalNormName
			return r.writeTrained(path, about, m, 0, r.config.Layers, part{norm, r.encode(norm, m.Vector(norm))})
		},
	}
}

// together are layers that were trained, from the first on, to be trained once
// more.
func (r *run) together(first int, trained []*unit) (*trainable, trainAbout, error) {
	m, about := r.newTrainable(), trainAbout{Fits: map[string]fitAbout{}}
	for i, u := range trained {
		if err := r.readTrained(m, first+i, u); err != nil {
			return nil, about, err
		}
		var a trainAbout
		if err := r.about(u, &a); err != nil {
			return nil, about, err
		}
		about.Layers = append(about.Layers, a.Layers...)
		maps.Copy(about.Fits, a.Fits)
	}
	if r.opt.Distill.FreezeCodes {
		m.freeze()
	}
	return m, about, nil
}

// withTables are the original's weights, but for embedding and head as they are
// stored.
func (r *run) withTables() (*overlay, error) {
	o := newOverlay(r.source)
	for _, u := range r.tables {
		s, err := r.packed(u, r.config.Projections()[u.projection])
		if err != nil {
			return nil, err
		}
		m := s.At(0)
		if u.projection == gptoss.HeadName {
			o.linears[u.projection] = ops.Dense{Name: u.projection, Weight: &m, Int8Inputs: true}
		} else {
			o.embedding = &m
		}
	}
	return o, nil
}
