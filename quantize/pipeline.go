package quantize

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/atomicfile"
	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/seed-796a8800/tritium/internal/units"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/ternaryop"
)

// Run quantizes a model and writes the result as a new directory, which
// appears only when it is complete.
//
// It goes through the model layer by layer. The calibration tokens run through
// the layers that are already quantized, so a layer is fitted to the stream it
// will really see; the inputs inside it are those of its original weights.
// One projection, and of experts one expert, is decoded at a time.
//
// Shapes: tokens: as many windows of Options.Window as it holds; a rest is
// ignored. Methods that use no statistics ignore them all.
// Errors: a source that is quantized already, a directory that exists, fewer
// tokens than a window, values that are not finite, a full disk. Whatever
// happens, dir holds a complete model or does not exist.
func Run(ctx context.Context, cpu *graph.CPU, source *gptoss.Checkpoint, tokens []int32, dir string, o Options) (*Report, error) {
	o, err := o.resolve()
	if err != nil {
		return nil, err
	}
	r := &run{ctx: ctx, cpu: cpu, source: source, config: source.Config(), opt: o, fitter: NewFitter(cpu), start: time.Now()}
	if r.config.Quantization != nil {
		return nil, fmt.Errorf("quantize: the model is quantized already (%s); start from the original", r.config.Quantization.Method)
	}
	if limit := r.config.MaxPositions; limit > 0 && o.Window > limit {
		return nil, fmt.Errorf("quantize: windows of %d tokens exceed the model's context of %d", o.Window, limit)
	}
	if o.Method.Calibrates() {
		n := len(tokens) / o.Window * o.Window
		if n == 0 {
			return nil, fmt.Errorf("quantize: the calibration text has %d tokens, less than one window of %d; give a longer text or a smaller window", len(tokens), o.Window)
		}
		r.tokens = tokens[:n]
		r.pool = pool{text: n / o.Window, written: o.SelfText}
		if r.opt, err = o.resolveTraining(r.pool); err != nil {
			return nil, err
		}
	}
	if o.Work != "" {
		if r.store, err = units.Open(o.Work); err != nil {
			return nil, err
		}
		defer r.store.Close()
	}
	if r.formats, err = formats(r.config, o); err != nil {
		return nil, err
	}
	f, err := NewForecast(r.config, o, len(r.tokens))
	if err != nil {
		return nil, err
	}
	r.meter = meter{total: f.Work, layers: r.config.Layers, report: o.Progress}

	// Most tensors are copied unread: what is broken in them would be found by
	// whoever runs the result.
	if err := source.CheckFinite(cpu, func(done, total int64) {
		r.meter.note("checking the source's values")
	}); err != nil {
		return nil, err
	}
	out, err := atomicfile.CreateDir(dir)
	if err != nil {
		return nil, err
	}
	if err := r.write(out); err != nil {
		return nil, errors.Join(err, out.Abort())
	}
	return r.report, nil
}

// Calibrates says whether the method uses the inputs' statistics.
func (m Method) Calibrates() bool { return m != AbsMean && m != Stage1 }

// run is one call of Run.
type run struct {
	ctx     context.Context
	cpu     *graph.CPU
	source  *gptoss.Checkpoint
	config  gptoss.Config
	opt     Options
	tokens  []int32
	formats map[string]gptoss.Format // of the projections that change
	fitter  *Fitter
	weights *overlay
	writer  *safetensors.Writer
	report  *Report
	meter   meter
	start   time.Time
	decoded []float32 // the weights being fitted

	// Of methods that train.
	original []float32 // the original's residual stream [tokens, H]
	dtypes   map[string]safetensors.Dtype
	store    *units.Store      // nil: nothing is left for another run
	pool     pool              // windows to train on
	text     []int32           // their tokens
	carried  pool              // those of them that the streams carry, in tokens
	together *together         // layers that are fitted and wait for distillation
	head     *ternaryop.Matrix // as it is stored, if it is quantized
}

func (r *run) write(out *atomicfile.Dir) (err error) {
	specs, kept, err := r.specs()
	if err != nil {
		return err
	}
	path, err := r.tensorDir(out.Path())
	if err != nil {
		return err
	}
	if r.writer, err = safetensors.Create(path, specs, safetensors.Options{Metadata: map[string]string{"format": "pt"}}); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.writer.Abort())
		}
	}()
	r.report = newReport(r)
	trained := map[string]bool{}
	if r.opt.Method.Trains() {
		trained = r.trains()
	}
	r.dtypes = map[string]safetensors.Dtype{}
	for _, t := range kept {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if trained[t.Name] {
			r.dtypes[t.Name] = t.Dtype
			continue
		}
		r.meter.note("copying " + t.Name)
		if err := r.writer.Write(t.Name, t.Data); err != nil {
			return err
		}
	}
	r.weights = newOverlay(r.source)
	if err := r.quantizeTables(); err != nil {
		return err
	}
	if err := r.quantizeLayers(); err != nil {
		return err
	}
	if err := r.writer.Commit(); err != nil {
		return err
	}
	if err := r.compressFiles(path, out.Path()); err != nil {
		return err
	}
	if err := r.finish(out.Path()); err != nil {
		return err
	}
	return out.Commit()
}

// quantizeLayers sends the calibration stream through the layers and fits each
// on the way.
func (r *run) quantizeLayers() error {
	if err := r.gatherText(); err != nil {
		return err
	}
	x, err := r.embed(r.weights.Embedding())
	if err != nil {
		return err
	}
	if r.opt.Method.Trains() {
		if r.original, err = r.embed(r.source.Embedding()); err != nil {
			return err
		}
	}
	embedding := r.weights.embedding
	for layer := range r.config.Layers {
		r.weights = newOverlay(r.source) // the last layer's fits are written and done with
		r.weights.embedding = embedding
		if err := r.quantizeLayer(layer, x); err != nil {
			return fmt.Errorf("quantize: layer %d: %w", layer, err)
		}
		debug.FreeOSMemory() // the moments of a layer are the largest thing there is
	}
	return r.distill()
}

// embed returns the residual stream before the first layer, [tokens, H].
func (r *run) embed(table ops.Matrix) ([]float32, error) {
	h := r.config.Hidden
	x := make([]float32, len(r.tokens)*h)
	for i, id := range r.tokens {
		if id < 0 || int(id) >= r.config.Vocab {
			return nil, fmt.Errorf("quantize: calibration token %d is outside the vocabulary of %d; is the tokenizer the model's?", id, r.config.Vocab)
		}
		table.DecodeRows(x[i*h:(i+1)*h], int(id), 1)
	}
	return x, nil
}

// quantizeLayer gathers the statistics of one layer, fits its projections, and
// replaces the stream by the quantized layer's output.
//
// Gathering again behind every fitted projection, so that o is fitted to what
// the ternary q, k and v give, was tried: it takes three more passes and the
// held-out KL is the same (docs/quality.md).
func (r *run) quantizeLayer(layer int, x []float32) error {
	r.meter.layer = layer
	n := gptoss.LayerNames(layer)
	ps := map[string]gptoss.Projection{}
	for _, p := range r.config.LayerProjections(layer) {
		ps[p.Name] = p
	}
	rows := r.opt.Rows / r.opt.Window * r.opt.Window
	l := &layerRun{cpu: r.cpu, config: r.config, weights: r.weights, layer: layer, window: r.opt.Window, rows: min(rows, max(len(r.tokens), r.opt.Window))}
	scope := fmt.Sprintf("model.layers.%d.", layer)
	pass := func(what string, work float64, observers ...observer) error {
		if len(r.tokens) == 0 {
			return nil
		}
		per := work / float64(len(r.tokens))
		return l.run(r.ctx, x, func(tokens int) { r.meter.add(what, per*float64(tokens)) }, observers...)
	}
	c := newCosts(r.config, r.opt, len(r.tokens))

	s := newLayerMoments(r.cpu, r.config, ps, n, l.rows)
	observers := []observer{
		{scope + "post_attention_layernorm", s.gateUp.seeInputs}, {scope + "mlp.swiglu", s.down.seeInputs},
		{scope + "mlp.routing", s.seeRouting},
	}
	if r.opt.Attention == StoreTernary {
		observers = append(observers, observer{scope + "input_layernorm", s.qkv.see}, observer{scope + "self_attn.attention", s.o.see})
	}
	if err := pass("statistics", c.statistics, observers...); err != nil {
		return err
	}
	s.flush()
	if r.opt.Method.Trains() {
		return r.trainLayer(l, s, x)
	}
	if err := r.fitLinears(s.qkv.moment, ps[n.Q], ps[n.K], ps[n.V]); err != nil {
		return err
	}
	if err := r.fitLinears(s.o.moment, ps[n.O]); err != nil {
		return err
	}
	if err := r.fitExperts(ps[n.GateUp], s.gateUp); err != nil {
		return err
	}
	if err := r.fitExperts(ps[n.Down], s.down); err != nil {
		return err
	}
	at := 0
	return pass("running the quantized layer", c.output, observer{scope + "output", func(values []float32, _ int) error {
		at += copy(x[at:], values)
		return nil
	}})
}

// decode reads a weight as float32 into memory that the next decode reuses.
func (r *run) decode(m ops.Matrix) []float32 {
	out, in := m.Dims()
	r.decoded = grow(r.decoded, out*in)
	const block = 64
	w := r.decoded
	r.cpu.Parallel((out+block-1)/block, func(_, i int) {
		n := min(block, out-i*block)
		m.DecodeRows(w[i*block*in:(i*block+n)*in], i*block, n)
	})
	return w
}
