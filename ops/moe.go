package ops

import (
	"fmt"
	"math"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Router turns router logits into routing weights: the softmax over the k
// largest logits of a row, zero elsewhere. Of equal logits the one with the
// lower index is chosen. A NaN among the logits makes the whole row NaN, which
// experts refuse.
//
// Shapes: logits [T, E] -> [T, E]. Source: spec of GPT-OSS, "top-k then softmax".
func Router(b *graph.Builder, name string, k int, logits *gorgonia.Node) *gorgonia.Node {
	if e := width(logits); k < 1 || k > e {
		b.Fail(fmt.Errorf("%s: choosing %d of %d experts", name, k, e))
	}
	o := newElementwise("router", fmt.Sprintf("%s k=%d", name, k), 2, 1, func(dst []float32, in [][]float32) {
		route(dst, in[0], k)
	})
	o.Gradient = graph.Gradient{routerByLogits}
	return b.Apply(name, o, logits)
}

func route(dst, z []float32, k int) {
	if m := kernel.Max(z); m != m {
		// No comparison would ever choose a NaN: the fault would not show.
		for i := range dst {
			dst[i] = m
		}
		return
	}
	// What is not chosen is -Inf, whose exponential is exactly zero.
	never := float32(math.Inf(-1))
	for i := range dst {
		dst[i] = never
	}
	for range k {
		best := -1
		for i, v := range z {
			if dst[i] == never && (best < 0 || v > z[best]) {
				best = i
			}
		}
		dst[best] = z[best]
	}
	kernel.SoftmaxSink(dst, dst, never)
}

// swiglu halves the last axis.
type swiglu struct {
	graph.Base
	graph.Gradient
	limit float32
}

// SwiGLU is GPT-OSS' activation: with g = min(gate, limit) and
// l = clamp(up, -limit, limit), y = g · sigmoid(1.702 g) · (l + 1).
//
// Shapes: [T, A, 2I], gate and up interleaved -> [T, A, I].
// Source: gpt_oss/torch/model.py, swiglu.
func SwiGLU(b *graph.Builder, x *gorgonia.Node, limit float32) *gorgonia.Node {
	if !(limit > 0) {
		b.Fail(fmt.Errorf("swiglu: a limit of %g", limit))
	}
	return b.Apply("swiglu", &swiglu{
		Base: graph.Base{Kind: "swiglu", Attributes: fmt.Sprintf("limit=%g", limit),
			In: []gorgonia.TensorType{graph.Float32Tensor(3)}, Out: graph.Float32Tensor(3)},
		limit:    limit,
		Gradient: graph.Gradient{swigluByInput(limit)},
	}, x)
}

func (o *swiglu) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	shapes, err := gorgonia.DimSizersToShapes(in)
	if err != nil {
		return nil, err
	}
	s := shapes[0]
	if len(s) != 3 || s[2]%2 != 0 {
		return nil, fmt.Errorf("swiglu of shape %v", s)
	}
	return tensor.Shape{s[0], s[1], s[2] / 2}, nil
}

func (o *swiglu) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(o, in...) }

func (o *swiglu) Prepare(a *graph.Args) (graph.Step, error) {
	cpu, err := graph.HostDevice(a, o.Kind)
	if err != nil {
		return nil, err
	}
	x, out := a.In[0].Float32s(), a.Out.Float32s()
	w := a.Out.Shape()[1] * a.Out.Shape()[2]
	grain := max(1, grainFloats/(8*w)) // an exponential costs as much as many moves
	rows := 0
	do := func(_, i int) {
		lo, hi := i*grain*w, min(rows, (i+1)*grain)*w
		kernel.SwiGLU(out[lo:hi], x[2*lo:2*hi], o.limit)
	}
	return func(b *graph.Batch) error {
		rows = b.Active(a.Rows)
		cpu.Parallel((rows+grain-1)/grain, do)
		return nil
	}, nil
}

type combine struct {
	graph.Base
	graph.Gradient
}

// Combine adds up what a token's active experts computed, weighted by the
// routing: y = Σ_e routing[e] · x[slot of e].
//
// Shapes: x [T, A, H], routing [T, E] -> [T, H].
// Errors at run: a token with more active experts than slots.
func Combine(b *graph.Builder, x, routing *gorgonia.Node) *gorgonia.Node {
	return b.Apply("combine", &combine{graph.Base{Kind: "combine", In: graph.Float32Tensors(3, 2), Out: graph.Float32Tensor(2)},
		graph.Gradient{combineByInput, combineByRouting}}, x, routing)
}

func (o *combine) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	shapes, err := gorgonia.DimSizersToShapes(in)
	if err != nil {
		return nil, err
	}
	if shapes[0][0] != shapes[1][0] {
		return nil, fmt.Errorf("combining shapes %v and %v", shapes[0], shapes[1])
	}
	return tensor.Shape{shapes[0][0], shapes[0][2]}, nil
}

func (o *combine) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(o, in...) }

func (o *combine) Prepare(a *graph.Args) (graph.Step, error) {
	cpu, err := graph.HostDevice(a, o.Kind)
	if err != nil {
		return nil, err
	}
	x, weights, out := a.In[0].Float32s(), a.In[1].Float32s(), a.Out.Float32s()
	active, h, e := a.In[0].Shape()[1], a.In[0].Shape()[2], a.In[1].Shape()[1]
	do := func(_, t int) {
		y := out[t*h : (t+1)*h]
		clear(y)
		slot := 0
		for _, w := range weights[t*e : (t+1)*e] {
			if w == 0 {
				continue
			}
			at := (t*active + slot) * h
			kernel.Axpy(w, x[at:at+h], y)
			slot++
		}
	}
	return func(b *graph.Batch) error {
		rows := b.Active(a.Rows)
		for t := range rows {
			if n := countActive(weights[t*e : (t+1)*e]); n > active {
				return fmt.Errorf("token %d is routed to %d experts, at most %d are expected", t, n, active)
			}
		}
		cpu.Parallel(rows, do)
		return nil
	}, nil
}

func countActive(routing []float32) (n int) {
	for _, w := range routing {
		if w != 0 {
			n++
		}
	}
	return n
}
