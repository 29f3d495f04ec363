package quantize

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/seed-796a8800/tritium/internal/units"
)

// Run quantizes a model and writes the result as a new directory, which
// appears only when it is complete.
//
// It goes through the model layer by layer. The calibration tokens run through
// the layers that are already quantized, so a layer is fitted to the stream it
// will really see (with Independent blocks: the original's); the inputs inside
// it are those of its original weights. One projection, and of experts one
// expert, is decoded at a time, and of the calibration a batch.
//
// All intermediate results are units of a store, a directory (Options.Store). A
// run that was interrupted or killed goes on where it was when it is started
// again with the same arguments, and several processes that are started with
// the same arguments share the work. The result is the same to the bit.
//
// Shapes: tokens: as many windows of Options.Window as it holds; a rest is
// ignored. Methods that use no statistics ignore them all.
// Errors: a source that is quantized already, a directory that exists, fewer
// tokens than a window, values that are not finite, a full disk. Whatever
// happens, dir holds a complete model or does not exist. With Options.Shard the
// report is nil and there is no dir: Merge makes it.
func Run(ctx context.Context, cpu *graph.CPU, source *gptoss.Checkpoint, tokens []int32, dir string, o Options) (*Report, error) {
	r, err := newRun(ctx, source, tokens, o)
	if err != nil {
		return nil, err
	}
	return r.run(cpu, dir)
}

func (r *run) run(cpu *graph.CPU, dir string) (_ *Report, err error) {
	if err := checkOut(dir); err != nil {
		return nil, err
	}
	if r.opt.Store == "" {
		r.ownStore = true
		r.opt.Store = filepath.Clean(dir) + StoreSuffix
	}
	if r.store, err = units.Open(r.opt.Store); err != nil {
		return nil, fmt.Errorf("quantize: %w", err)
	}
	r.store.Notice = r.opt.Notice
	r.stores = []*units.Store{r.store}
	if err = r.checkDisk(); err == nil {
		err = r.identify(cpu)
	}
	if err == nil {
		err = r.prepare(cpu)
	}
	if err != nil {
		return nil, errors.Join(err, r.leave())
	}
	r.steps = r.plan()
	workers, done := r.workers(cpu)
	err = errors.Join(r.execute(workers), done())
	if err != nil || r.opt.Shard.Count > 0 {
		return nil, errors.Join(err, r.leave())
	}
	report, err := r.assembleOnce(dir)
	if err != nil || r.opt.KeepStore {
		return report, errors.Join(err, r.leave())
	}
	if r.ownStore { // with whatever other options have left in it
		return report, r.store.Discard()
	}
	return report, r.store.DiscardUnits(slices.Concat(keysOf(slices.Concat(r.steps...)), r.textKeys, r.expertKeys, []units.Key{r.modelKey}))
}

// StoreSuffix is what the name of a result's directory is followed by in that of
// its store.
const StoreSuffix = ".work"

// Merge writes the result of runs of the same model, tokens and options whose
// shares (Options.Shard) are in different stores.
//
// Errors: those of Run; work that none of the stores has, by its name.
func Merge(ctx context.Context, cpu *graph.CPU, source *gptoss.Checkpoint, tokens []int32, dir string, stores []string, o Options) (*Report, error) {
	o.Shard = Shard{}
	r, err := newRun(ctx, source, tokens, o)
	if err != nil {
		return nil, err
	}
	if err := checkOut(dir); err != nil {
		return nil, err
	}
	for _, path := range stores {
		if _, err := os.Stat(path); err != nil { // Open would make it
			return nil, fmt.Errorf("quantize: store: %w", err)
		}
		s, err := units.Open(path)
		if err != nil {
			return nil, fmt.Errorf("quantize: %w", err)
		}
		s.Notice = r.opt.Notice
		defer s.Close()
		r.stores = append(r.stores, s)
	}
	if err := r.identify(cpu); err != nil {
		return nil, err
	}
	if err := r.prepare(cpu); err != nil {
		return nil, err
	}
	r.steps = r.plan()
	if err := r.checkWhole(); err != nil {
		return nil, err
	}
	return r.assemble(dir)
}

// run is one call of Run or Merge.
type run struct {
	ctx        context.Context
	given      *gptoss.Checkpoint // the model to quantize
	source     *gptoss.Checkpoint // the same, with the experts that are kept
	sourceSHA  string
	model      units.Key      // of the source's tensors and what is done with them
	config     gptoss.Config  // source's
	experts    *ReportExperts // nil if all are kept
	opt        Options
	tokens     []int32 // that the streams carry
	shards     []tokenShard
	formats    map[string]gptoss.Format      // of the projections that change
	stored     map[string]safetensors.Tensor // of the source, that training changes; without data
	pool       pool                          // windows to train on
	text       []int32                       // their tokens
	carried    pool                          // those of them that the streams carry
	textKeys   []units.Key                   // of the units of text that the original wrote
	expertKeys []units.Key                   // of those that say which experts are kept
	meter      meter
	start      time.Time

	store    *units.Store
	ownStore bool           // and no other run's
	modelKey units.Key      // of the unit that says that the result is written
	stores   []*units.Store // where final units are
	steps    steps
	tables   []*unit // embedding and head
	layers   []*layerUnits
	whole    *unit // all layers, trained together; nil where they are not
	removed  map[*unit]bool

	mu      sync.Mutex
	ready   *overlay // the layer that was quantized last
	readyOf units.Key
}

// newRun checks what can be checked without reading the model.
func newRun(ctx context.Context, source *gptoss.Checkpoint, tokens []int32, o Options) (*run, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o, err := o.resolve()
	if err != nil {
		return nil, err
	}
	r := &run{ctx: ctx, given: source, source: source, config: source.Config(), opt: o, start: time.Now(), removed: map[*unit]bool{}}
	if err := o.Prune.check(r.config); err != nil {
		return nil, err
	}
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
		if err := checkTokens(r.tokens, r.config); err != nil {
			return nil, err
		}
		r.pool = pool{text: n / o.Window, written: o.SelfText}
		if r.opt, err = o.resolveTraining(r.pool); err != nil {
			return nil, err
		}
	}
	r.meter = meter{layers: r.config.Layers, workers: r.opt.Workers, report: o.Progress, begun: map[*unit]*course{}}
	return r, r.describe()
}

// describe finds out what becomes of the source's tensors.
func (r *run) describe() (err error) {
	if r.formats, err = formats(r.config, r.opt); err != nil {
		return err
	}
	trained := r.trains()
	r.stored = map[string]safetensors.Tensor{}
	for _, t := range r.source.Tensors() {
		if trained[t.Name] {
			t.Data = nil
			r.stored[t.Name] = t
		}
	}
	return nil
}

// identify reads the whole source once: most tensors are copied as they are, and
// what is broken in them would be found by whoever runs the result. Its hash is
// a part of every key.
func (r *run) identify(cpu *graph.CPU) error {
	const most = 512 << 20 // of the source in memory
	var released int64
	var unreleased error
	sum, err := r.source.CheckFiniteSHA256(r.ctx, cpu, func(done, total int64) {
		r.meter.note("checking the source's values")
		if done-released > most {
			released, unreleased = done, errors.Join(unreleased, r.given.Release())
		}
	})
	c := r.config
	r.sourceSHA, r.model = sum, units.NewKey("source/1", sum, fmt.Sprint(c.Layers, c.Hidden, c.Intermediate, c.Heads, c.KVHeads, c.HeadDim,
		c.Experts, c.ActiveExperts, c.Vocab, c.Windows, c.NormEpsilon, c.SwiGLULimit, c.Rotary))
	return errors.Join(err, unreleased)
}

// prepare finds the text and the experts, on which everything else depends.
func (r *run) prepare(cpu *graph.CPU) error {
	calibration := r.tokens
	if err := r.gatherText(cpu); err != nil {
		return err
	}
	all := r.tokens
	r.tokens = calibration // experts are judged by the text alone
	err := r.keepExperts(cpu)
	r.tokens = all
	return err
}

// Calibrates says whether the method uses the inputs' statistics.
func (m Method) Calibrates() bool { return m != AbsMean && m != Stage1 }

// checkOut refuses a result that could not get its name in the end.
func checkOut(dir string) error {
	dir = filepath.Clean(dir)
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("quantize: %s: already exists; remove it or choose another name: %w", dir, os.ErrExist)
	}
	if _, err := os.Stat(filepath.Dir(dir)); err != nil {
		return fmt.Errorf("quantize: %s: its parent directory does not exist; create it first: %w", dir, err)
	}
	return nil
}

// leave closes the store for a run that will go on later, and removes it where
// there is nothing to go on from.
func (r *run) leave() error {
	if r.store.Empty() {
		return r.store.Discard()
	}
	return r.store.Close()
}

// checkDisk refuses to start where the disk is too small for what is to come.
func (r *run) checkDisk() error {
	free, ok := r.store.Free()
	if !ok {
		return nil
	}
	f, err := NewForecast(r.config, r.opt, len(r.tokens))
	if err != nil {
		return err
	}
	if need := f.Disk - r.store.Bytes(); need > free {
		return fmt.Errorf("quantize: the run needs %.1f MB of disk for %s and its result, %.1f MB are free; make room, or choose another directory for the store",
			float64(need)/1e6, r.opt.Store, float64(free)/1e6)
	}
	return nil
}
