package quantize

import (
	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/ops"
)

// overlay is the model as far as it has been quantized: the source's weights,
// but for the projections that have been fitted.
type overlay struct {
	gptoss.Weights
	embedding ops.Matrix
	linears   map[string]ops.Linear
	experts   map[string]ops.ExpertLinear
	vectors   map[string][]float32 // that training has changed
}

func newOverlay(source gptoss.Weights) *overlay {
	return &overlay{Weights: source, linears: map[string]ops.Linear{}, experts: map[string]ops.ExpertLinear{},
		vectors: map[string][]float32{}}
}

func (o *overlay) Embedding() ops.Matrix {
	if o.embedding != nil {
		return o.embedding
	}
	return o.Weights.Embedding()
}

func (o *overlay) Vector(name string) []float32 {
	if v, ok := o.vectors[name]; ok {
		return v
	}
	return o.Weights.Vector(name)
}

func (o *overlay) Linear(name string) ops.Linear {
	if l, ok := o.linears[name]; ok {
		return l
	}
	return o.Weights.Linear(name)
}

func (o *overlay) ExpertLinear(name string) ops.ExpertLinear {
	if l, ok := o.experts[name]; ok {
		return l
	}
	return o.Weights.ExpertLinear(name)
}
