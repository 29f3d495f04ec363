package quantize

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
)

// Forecast says what a run will take before it starts.
type Forecast struct {
	Bytes         int64   `json:"bytes"`           // of all tensors of the result
	BitsPerWeight float64 `json:"bits_per_weight"` // over all parameters
	Memory        int64   `json:"memory_bytes"`    // at the peak, mapped files not counted
	// Disk is what the store and the result take at the peak.
	Disk int64 `json:"disk_bytes"`
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
	if keep := o.Prune.Keep; keep > 0 {
		if err := o.Prune.check(c); err != nil {
			return Forecast{}, err
		}
		f.Work, c.Experts = rankingWork(c, o, tokens), keep
	}
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
	f.Memory = fixedMemory + int64(o.Workers)*forecastMemory(c, o, tokens)
	f.Disk = forecastDisk(c, o, f.Bytes, tokens)
	costs := newCosts(c, o, tokens)
	perLayer := costs.statistics + costs.moments + costs.output
	switch {
	case o.Blocks == Independent:
		perLayer += costs.original - costs.output
	case trains:
		perLayer += costs.original
	}
	f.Work += float64(c.Layers) * perLayer
	if trains {
		work, memory := forecastTraining(c, o, p)
		f.Work += work
		f.Memory = max(f.Memory+memory.layer, fixedMemory+memory.whole)
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
	fs, known := map[string]gptoss.Format{}, c.Projections()
	for _, name := range slices.Sorted(maps.Keys(o.Tensors)) {
		if _, ok := known[name]; !ok {
			return nil, fmt.Errorf("quantize: %q is no projection of the model", name)
		}
	}
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

// fixedMemory is the program itself.
const fixedMemory = 64 << 20

// forecastMemory is what a worker needs in the costliest step: the values of a
// batch and a layer's packed experts where the stream runs through a layer, or
// the moments of an expert, what is made of them, and its fit.
func forecastMemory(c gptoss.Config, o Options, tokens int) int64 {
	in, out := float64(max(c.Hidden, c.Intermediate, c.Heads*c.HeadDim)), float64(max(c.Hidden, 2*c.Intermediate, c.Heads*c.HeadDim))
	m := out * in * (4 + 1 + 4*8) // one expert: weights, codes, fit scratch
	if tokens > 0 {
		m += 3*in*in*4 + in*momentStride*4 // its moment, the layer's, as they are read and added up
		m += 4 * in * in * 4               // H, its factor and inverse
		m += momentTokens * in * 5         // rows of inputs
		if o.ForceTokens > 0 {
			m += in*in*4 + in*momentStride*4 // the moment of those that are forced
		}

		rows := float64(min(o.Rows, max(tokens, o.Window)))
		perRow := 3*c.Hidden + 3*c.Heads*c.HeadDim + c.ActiveExperts*(3*2*c.Intermediate+2*c.Hidden)
		m = max(m, rows*float64(perRow)*4+2*float64(c.Experts)*3*float64(c.Hidden*c.Intermediate)*packedBits(c, o)/8) // packed experts, as they are joined
	}
	for _, p := range c.ProjectionList() {
		if f, err := o.format(p); err == nil && !p.Quantizable && f.Kind != "" {
			m = max(m, 1.25*float64(c.Vocab)*float64(c.Hidden)) // at most: the embedding packed
		}
	}
	return int64(m)
}

// fitsAttention says whether some projection of attention is fitted to its
// inputs.
func fitsAttention(c gptoss.Config, o Options) bool {
	return slices.ContainsFunc(c.ProjectionList(), func(p gptoss.Projection) bool {
		f, err := o.format(p)
		return err == nil && p.Quantizable && p.Experts == 0 && isFitted(f, p)
	})
}

// packedBits is the most bits of an expert's weight, if not little more.
func packedBits(c gptoss.Config, o Options) float64 {
	bits := 2.25
	for _, p := range c.ProjectionList() {
		if f, err := o.format(p); err == nil && p.Experts > 0 {
			bits = max(bits, f.Bits)
		}
	}
	return bits
}

// forecastDisk is the result, once as units and once as files, and what there is
// beside it at the peak: a layer's inputs and the streams before and behind it.
// A share of independent blocks keeps the stream before every layer, for the
// others' sake.
func forecastDisk(c gptoss.Config, o Options, result int64, tokens int) int64 {
	a, h, nd := int64(c.ActiveExperts), int64(c.Hidden), int64(c.Heads*c.HeadDim)
	inputs := h + a*int64(c.Intermediate) + 4*(1+2*a)
	if fitsAttention(c, o) {
		inputs += h + nd + 8
	}
	streams := int64(2)
	switch {
	case o.Shard.Count > 0 && o.Blocks == Independent:
		streams = int64(c.Layers) + 1
	case o.Method.Trains() && o.Blocks == Sequential:
		streams = 4
	}
	disk := 2*result + int64(tokens)*(inputs+streams*4*h)
	if tokens > 0 {
		disk += 4 * (3*h*h + nd*nd + int64(c.Intermediate)*int64(c.Intermediate)) // moments
	}
	if o.Compress { // both are on disk while one is made from the other
		disk += result
	}
	if layer := layerWeights(c); o.Method.Trains() {
		together, waiting := int64(1), int64(0) // layers
		if n := int64(o.Distill.WindowBlocks); o.Method == Distill {
			if together = int64(c.Layers); n > 0 {
				together = min(n, together)
			}
			waiting = together
		}
		// The fits of a layer, a checkpoint and its successor, and the latent
		// weights of layers that wait to be trained together.
		disk += layer * (1 + together*2*13 + waiting*5)
		disk += 4 * int64(o.SelfText*o.Window)
	}
	return disk
}

// costs are a layer's passes over the calibration tokens, in float32
// multiply-adds. Integer products of ternary projections count a quarter.
type costs struct {
	original   float64 // the original layer alone
	statistics float64 // the original layer, as far as its inputs
	moments    float64 // products of these, of all and of every expert's
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
	moments := (h*h + 2*a*i*i + a*h*h) / 2
	if fitsAttention(c, o) {
		moments += (h*h + nd*nd) / 2
	}
	return costs{
		original:   t * (projections + experts + attention),
		statistics: t * (projections + attention + a*2*i*h),
		moments:    t * moments,
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
	f, err := o.format(p)
	if err != nil || !isFitted(f, p) {
		return w
	}
	experts := float64(max(1, p.Experts))
	switch o.Method.start() {
	case PTBitNet, GPTQWithDescent:
		w += n * in * (1 + passes + passes*float64(f.Planes()-1)*float64(f.Group)/in)
	}
	switch o.Method {
	case GPTQ, GPTQWithDescent:
		w += n*in/2 + experts*in*in*in
	}
	return w
}

// expertMomentWork is the arithmetic of the moments of a projection's experts.
func expertMomentWork(c gptoss.Config, p gptoss.Projection, tokens int) float64 {
	return float64(tokens) * float64(c.ActiveExperts) * float64(p.In) * float64(p.In) / 2
}
