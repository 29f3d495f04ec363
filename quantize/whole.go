package quantize

import (
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
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

// together are layers that are trained together once the last of them is
// fitted.
type together struct {
	*trainable
	first int
	entry []float32 // the quantized stream before the first, [tokens, H]
}

// keepForDistillation takes in a layer that is fitted, sends the stream through
// it, and trains it with those before it if there are as many as asked for.
func (r *run) keepForDistillation(l *layerRun, t *trainable, x []float32) error {
	n := r.opt.Distill.WindowBlocks
	if r.together == nil {
		r.together = &together{trainable: newTrainable(r.source, &r.config), first: l.layer}
		r.together.stored = r.stored
		if n > 0 {
			r.together.entry = slices.Clone(x)
		}
	}
	w := r.together
	w.adopt(t)
	end := l.layer + 1
	if n == 0 || end-w.first < n && end < r.config.Layers {
		return r.advance(l, t, x)
	}
	r.together = nil
	if r.opt.Distill.FreezeCodes {
		w.freeze()
	}
	debug.FreeOSMemory() // what training the last layer alone took
	what := fmt.Sprintf("training layers %d to %d", w.first, end-1)
	work := float64(end-w.first) * trainWork(r.config, r.opt, r.opt.Distill.Batch)
	done, err := r.pass(reconstruction(w.trainable, w.first, end, r.opt.Window, r.carried, w.entry, r.original), r.opt.Distill.TrainOptions, nil, what, work)
	if err != nil {
		return err
	}
	r.report.Distilled = append(r.report.Distilled, ReportPass{w.first, end - 1, LossError, done})
	copy(x, w.entry)
	for layer := w.first; layer < end; layer++ {
		if err := r.writeLatents(layer, w.trainable); err != nil {
			return err
		}
		r.weights = newOverlay(r.source)
		at := *l
		at.layer = layer
		if err := r.advance(&at, w.trainable, x); err != nil {
			return err
		}
	}
	return nil
}

// adopt takes over what another trainable trains.
func (t *trainable) adopt(other *trainable) {
	for name, v := range other.vectors {
		t.vectors[name] = v
	}
	for name, l := range other.latents {
		t.latents[name] = l
	}
}

// distill trains the whole model towards the original's next-token
// distribution, and writes it. Where layers were trained in windows, or not at
// all, nothing is left to do.
func (r *run) distill() error {
	if r.together == nil {
		return nil
	}
	m, o := r.together.trainable, r.opt.Distill
	r.together, r.original = nil, nil
	m.Weights = r.tables()
	if o.FreezeCodes {
		m.freeze()
	}
	original, err := r.sourceSHA256()
	if err != nil {
		return err
	}
	teacher, err := newTeacher(r.cpu, r.source, r.opt.Window, o.Micro)
	if err != nil {
		return err
	}
	done, err := r.pass(distillation(m, teacher, r.pool, r.text, original), o.TrainOptions, nil, "distilling", distillWork(r.config, r.opt, o.Batch))
	if err != nil {
		return err
	}
	r.report.Distilled = append(r.report.Distilled, ReportPass{0, r.config.Layers - 1, LossKL, done})
	for layer := range r.config.Layers {
		if err := r.writeLatents(layer, m); err != nil {
			return err
		}
	}
	return r.writeVector(gptoss.FinalNormName, m.Vector(gptoss.FinalNormName))
}

// tables are the original's weights, but for embedding and head as they are
// stored.
func (r *run) tables() *overlay {
	w := newOverlay(r.source)
	w.embedding = r.weights.embedding
	if r.head != nil {
		w.linears[gptoss.HeadName] = ops.Dense{Name: gptoss.HeadName, Weight: r.head, Int8Inputs: true}
	}
	return w
}

// sourceSHA256 returns the hash of the source, which is computed once.
func (r *run) sourceSHA256() (string, error) {
	if r.report.SourceSHA256 == "" {
		r.meter.note("hashing the source")
		sum, err := r.source.SHA256(r.ctx)
		if err != nil {
			return "", err
		}
		r.report.SourceSHA256 = sum
	}
	return r.report.SourceSHA256, nil
}
