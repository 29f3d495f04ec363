package quantize

import (
	"fmt"
	"math"
)

// TrainOptions say how latent weights are trained. Zero values mean the
// defaults, which in DistillOptions are others.
type TrainOptions struct {
	Steps int // default 300
	Batch int // windows a step; default 16
	// Micro is how many of them run through the graph at a time; fewer take less
	// memory and a little more time. Default: all.
	Micro int
	Rate  float64 // of Adam for the latent weights; default 1e-3
	// Others is the rate of what is not rounded - scales, biases, norms, sinks
	// and the router - relative to Rate; default 0.5.
	Others       float64
	Beta1, Beta2 float64 // of Adam; default 0.9 and 0.999
	// Warmup is how many steps the rate takes to rise to Rate, from where it
	// falls to zero along a cosine; default 0.
	Warmup int
	// HeldOut is the share of the calibration windows, the last ones, that
	// training does not see, and that decide what of its result is kept; default
	// 1/16, at least one window.
	HeldOut float64
	// Every is the number of steps between two looks at the held-out windows, of
	// which the best is kept. Default: there is one look, behind the last step.
	Every int
	// Patience ends training after so many looks without a new best; default:
	// never.
	Patience int
	Seed     uint64 // of the order of the windows
}

// The defaults of TrainOptions.
const (
	DefaultSteps = 300
	DefaultBatch = 16
	DefaultRate  = 1e-3
)

// DistillOptions say how the last pass of the method distill trains: all
// layers, or some of them, together.
//
// Its TrainOptions have other defaults: 1000 steps, a rate of 6e-4, Others 0.3,
// betas of 0.9 and 0.99, a Warmup of 50 steps (or a quarter of all), two windows
// at a time, and a look at every tenth of the steps. HeldOut and Seed are those
// of Options.Train: what judges this pass must be news to the one before.
type DistillOptions struct {
	TrainOptions
	// WindowBlocks is how many layers are trained together. 0 trains the whole
	// model, against the next-token distribution of the original, and holds all
	// of it in float32. N takes the memory of N layers: the model is cut into
	// windows of N layers, the last maybe shorter, and each is trained, as soon
	// as its layers are fitted, to give what the original's layers give.
	WindowBlocks int
	// FreezeCodes trains only what is not rounded, which is cheap and cannot
	// over-fit much.
	FreezeCodes bool
}

// The defaults of DistillOptions.
const (
	DefaultDistillSteps = 1000
	DefaultDistillRate  = 6e-4
)

// withDefaults fills in what does not depend on the windows.
func (o DistillOptions) withDefaults() DistillOptions {
	setDefault(&o.Steps, DefaultDistillSteps)
	setDefault(&o.Rate, DefaultDistillRate)
	setDefault(&o.Others, .3)
	setDefault(&o.Beta2, .99)
	setDefault(&o.Warmup, min(50, o.Steps/4))
	setDefault(&o.Micro, 2)
	setDefault(&o.Every, max(1, o.Steps/10))
	return o
}

func setDefault[T int | float64](x *T, v T) {
	if *x == 0 {
		*x = v
	}
}

// resolve fills in the defaults for that many windows.
func (o TrainOptions) resolve(p pool) (TrainOptions, error) {
	setDefault(&o.Steps, DefaultSteps)
	setDefault(&o.Rate, DefaultRate)
	setDefault(&o.Others, .5)
	setDefault(&o.Beta1, .9)
	setDefault(&o.Beta2, .999)
	setDefault(&o.HeldOut, 1./16)
	setDefault(&o.Batch, DefaultBatch)
	setDefault(&o.Every, o.Steps)
	between := func(x, lo, hi float64) bool { return x > lo && x < hi } // no NaN is
	switch {
	case o.Steps < 1 || o.Batch < 1:
		return o, fmt.Errorf("quantize: %d steps of %d windows: want at least 1", o.Steps, o.Batch)
	case o.Every < 1 || o.Patience < 0 || o.Warmup < 0:
		return o, fmt.Errorf("quantize: a look every %d steps, a patience of %d and a warm-up of %d: want no negative number", o.Every, o.Patience, o.Warmup)
	case !between(o.Rate, 0, 1) || !between(o.Rate*o.Others, 0, 1):
		return o, fmt.Errorf("quantize: rates of %v and %v: want them in (0, 1)", o.Rate, o.Rate*o.Others)
	case !between(o.Beta1, 0, 1) || !between(o.Beta2, 0, 1):
		return o, fmt.Errorf("quantize: Adam's betas %v and %v: want them in (0, 1)", o.Beta1, o.Beta2)
	case !(o.HeldOut > 0) || o.HeldOut > .5:
		return o, fmt.Errorf("quantize: holding out %v of the windows: want a share in (0, 0.5]", o.HeldOut)
	case p.text < 2:
		return o, fmt.Errorf("quantize: training needs at least 2 calibration windows, one of them held out; there are %d", p.text)
	}
	o.Batch = min(o.Batch, p.all()-o.heldOut(p.text))
	if o.Micro < 1 || o.Micro > o.Batch {
		o.Micro = o.Batch
	}
	return o, nil
}

// maxSelfText bounds the tokens that the original may be asked to write.
const maxSelfText = 1 << 30

// resolveTraining fills in the defaults of what trains for that many windows.
func (o Options) resolveTraining(p pool) (_ Options, err error) {
	if !o.Method.Trains() {
		return o, nil
	}
	if o.Train, err = o.Train.resolve(p); err != nil || o.Method != Distill {
		return o, err
	}
	d := &o.Distill
	*d = d.withDefaults()
	// What judges one pass must be news to the other.
	d.HeldOut, d.Seed = o.Train.HeldOut, o.Train.Seed
	d.TrainOptions, err = d.resolve(p)
	return o, err
}

// endToEnd says whether the whole model is trained together.
func (o Options) endToEnd() bool { return o.Method == Distill && o.Distill.WindowBlocks == 0 }

// carry returns which windows the streams through the layers carry, of those
// that there are to train on: no more of the original's own than the steps that
// train on streams can draw.
func (o Options) carry(p pool) pool {
	draws := 0
	if o.Method.Trains() {
		draws = o.Train.Steps * o.Train.Batch
	}
	if o.Method == Distill && !o.endToEnd() {
		draws = max(draws, o.Distill.Steps*o.Distill.Batch)
	}
	return pool{p.text, min(p.written, max(0, draws-p.text))}
}

// heldOut returns how many windows of a text training does not see.
func (o TrainOptions) heldOut(windows int) int {
	return min(windows-1, max(1, int(math.Round(o.HeldOut*float64(windows)))))
}

// rate returns the rate of a step.
func (o TrainOptions) rate(step int) float64 {
	return o.Rate * min(1, float64(step+1)/float64(max(1, o.Warmup))) * cosine(step, o.Steps)
}
