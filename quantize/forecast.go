package quantize

import (
	"math"

	"github.com/seed-796a8800/tritium/gptoss"
)

// Forecast says what a run will take before it starts.
type Forecast struct {
	Bytes         int64   `json:"bytes"`           // of all tensors of the result
	BitsPerWeight float64 `json:"bits_per_weight"` // over all parameters
	Memory        int64   `json:"memory_bytes"`    // at the peak, mapped files not counted
	// Work is the run's arithmetic in float32 multiply-adds; divided by the
	// rate of ops.MatMulNT it is a time.
	Work float64 `json:"work_mac"`
}

// NewForecast computes the size of the result and the cost of a run over the
// given number of calibration tokens.
func NewForecast(c gptoss.Config, o Options, tokens int) (Forecast, error) {
	o, err := o.resolve()
	if err != nil {
		return Forecast{}, err
	}
	fs, err := formats(c, o)
	if err != nil {
		return Forecast{}, err
	}
	if !o.Method.Calibrates() {
		tokens = 0
	}
	tokens = tokens / o.Window * o.Window
	f := Forecast{}
	for _, p := range c.ProjectionList() {
		f.Bytes += projectionBytes(p, fs[p.Name])
	}
	f.Bytes += 2 * c.VectorParameters()
	f.BitsPerWeight = 8 * float64(f.Bytes) / float64(c.Parameters())
	p := pool{tokens / o.Window, o.SelfText}
	trains := o.Method.Trains() && p.text > 1
	if trains {
		if o, err = o.resolveTraining(p); err != nil {
			return Forecast{}, err
		}
		tokens = o.carry(p).all() * o.Window
	}
	f.Memory = forecastMemory(c, o, tokens)
	costs := newCosts(c, o, tokens)
	f.Work = float64(c.Layers) * (costs.statistics + costs.output)
	if trains {
		work, memory := forecastTraining(c, o, p)
		f.Work += work
		f.Memory = max(f.Memory+memory.layer, memory.whole)
	}
	for _, p := range c.ProjectionList() {
		if fs[p.Name].Kind != "" {
			f.Work += fitWork(o, p)
		}
	}
	return f, nil
}

// formats returns the storage of every projection that changes.
func formats(c gptoss.Config, o Options) (map[string]gptoss.Format, error) {
	fs := map[string]gptoss.Format{}
	for _, p := range c.ProjectionList() {
		f, err := o.format(p)
		if err != nil {
			return nil, err
		}
		if f.Kind != "" {
			fs[p.Name] = f
		}
	}
	return fs, nil
}

// projectionBytes is the size of a projection's weights; as published where
// the format is empty.
func projectionBytes(p gptoss.Projection, f gptoss.Format) int64 {
	n := float64(p.Parameters())
	switch {
	case f.Kind != "":
		return int64(math.Round(n * f.Bits / 8))
	case p.Experts > 0:
		return int64(n * 4.25 / 8) // MXFP4
	}
	return int64(n) * 2
}

// forecastMemory adds up what lives at the same time in the costliest step:
// the stream, one batch's values, the moments of an expert projection, and one
// expert's fit.
func forecastMemory(c gptoss.Config, o Options, tokens int) int64 {
	m := float64(tokens) * float64(c.Hidden) * 4
	rows := float64(min(o.Rows, max(tokens, o.Window)))
	perRow := 3*c.Hidden + 3*c.Heads*c.HeadDim + c.ActiveExperts*(3*2*c.Intermediate+2*c.Hidden)
	m += rows * float64(perRow) * 4
	in, out := float64(max(c.Hidden, c.Intermediate)), float64(max(c.Hidden, 2*c.Intermediate))
	if tokens > 0 {
		m += float64(2*c.Experts+1) * (in*in*4 + in*momentStride*4) // moments of gate_up and down, and the layer's
		m += 4 * in * in * 4                                        // H, its factor and inverse
		m += float64(c.Experts) * out * in * 2.25 / 8               // packed experts of the layer
	}
	m += out * in * (4 + 1 + 4*8) // one expert: weights, codes, fit scratch
	for _, t := range []string{o.Embedding, o.Head} {
		if t != StoreBF16 {
			m += float64(c.Vocab) * float64(c.Hidden) // at most: the embedding packed
		}
	}
	return int64(m) + 64<<20 // the program itself
}

// costs are a layer's two passes over the calibration tokens, in float32
// multiply-adds. Integer products of ternary projections count a quarter.
type costs struct {
	original   float64 // the original layer alone
	statistics float64 // the original layer, and products of its inputs
	output     float64 // the quantized layer
}

func newCosts(c gptoss.Config, o Options, tokens int) costs {
	const ternary = 0.25
	t := float64(tokens)
	h, i, a := float64(c.Hidden), float64(c.Intermediate), float64(c.ActiveExperts)
	nd, kd := float64(c.Heads*c.HeadDim), float64(c.KVHeads*c.HeadDim)
	attention := 2 * nd * float64(o.Window) / 2
	projections, experts := h*(2*nd+2*kd), a*3*i*h
	// Of a moment the lower triangle is computed; down's input is known only
	// behind gate_up, whose product is the larger part of the experts.
	moments := a * (h*h + i*i) / 2
	if o.Attention == StoreTernary {
		moments += (h*h + nd*nd) / 2
	}
	return costs{
		original:   t * (projections + experts + attention),
		statistics: t * (projections + attention + a*2*i*h + moments),
		output:     t * (ternary*(projections+experts) + attention),
	}
}

// fitWork is the arithmetic of fitting a projection: for every row of every
// expert the sorting of stage 1, and products with H.
func fitWork(o Options, p gptoss.Projection) float64 {
	n, in := float64(p.Parameters()), float64(p.In)
	passes := float64(o.Fit.Passes)
	if passes == 0 {
		passes = DefaultPasses
	}
	const sorting = 60 // multiply-adds a weight
	w := n * sorting
	if p.Experts == 0 && (!p.Quantizable || o.Attention != StoreTernary) {
		return w
	}
	experts := float64(max(1, p.Experts))
	switch o.Method.start() {
	case PTBitNet, GPTQWithDescent:
		w += n * in * (1 + passes)
	}
	switch o.Method {
	case GPTQ, GPTQWithDescent:
		w += n*in/2 + experts*in*in*in
	}
	return w
}

// meter turns work into progress.
type meter struct {
	total, done   float64
	layer, layers int
	report        func(Progress)
}

// note tells of a step whose work is not counted.
func (m *meter) note(step string) { m.add(step, 0) }

func (m *meter) add(step string, work float64) {
	m.done += work
	if m.report != nil {
		m.report(Progress{Layer: m.layer, Layers: m.layers, Step: step, Done: min(m.done, m.total), Total: m.total})
	}
}
