package quantize

import (
	"fmt"
	"math"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/ternaryop"
	"github.com/x448/float16"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// trainable gives a declaration projections, norms and sinks whose values are
// nodes that training changes.
type trainable struct {
	gptoss.Weights
	config  *gptoss.Config
	vectors map[string][]float32
	latents map[string]*latent
}

// latent is a projection in training: its weights before rounding, and the
// scale of every group.
type latent struct {
	weight, scales, bias []float32
	codes                []int8 // that the weights were fitted to
	shape                []int  // of weight: [Out, In] or [E, Out, In]
	group                int    // of ternary weights; 0: not ternary
	rounds               bool   // whether inputs are rounded to 8 bits

	weightNode, scalesNode, biasNode *gorgonia.Node // as last declared
}

func (t *trainable) Vector(name string) []float32 {
	v, ok := t.vectors[name]
	if !ok {
		v = append([]float32(nil), t.Weights.Vector(name)...)
		t.vectors[name] = v
	}
	return v
}

func (t *trainable) Linear(name string) ops.Linear {
	if l, ok := t.latents[name]; ok {
		return trainedLinear{name, l}
	}
	return t.Weights.Linear(name)
}

func (t *trainable) ExpertLinear(name string) ops.ExpertLinear {
	if l, ok := t.latents[name]; ok {
		return trainedExperts{name, l, t.config.ActiveExperts}
	}
	return t.Weights.ExpertLinear(name)
}

func newTrainable(w gptoss.Weights, c *gptoss.Config) *trainable {
	return &trainable{Weights: w, config: c, vectors: map[string][]float32{}, latents: map[string]*latent{}}
}

// add appends a matrix, an expert's or the only one: its weights, and what they
// were fitted to. Training starts half way between the two, where a rounding
// that the fit chose against the nearest is still open.
func (l *latent) add(w []float32, fit Fit) {
	in := l.shape[len(l.shape)-1]
	groups := groupsOf(in, l.group)
	for i, v := range w {
		l.weight = append(l.weight, (v+fit.Scales[i/in*groups+i%in/l.group]*float32(fit.Codes[i]))/2)
	}
	l.codes = append(l.codes, fit.Codes...)
	l.scales = append(l.scales, fit.Scales...)
}

// matrices is 1, or the number of experts.
func (l *latent) matrices() int {
	last := len(l.shape) - 1
	return len(l.weight) / (l.shape[last-1] * l.shape[last])
}

// at returns the indices of the i-th matrix' weights and scales.
func (l *latent) at(i int) (lo, hi, slo, shi int) {
	n, m := len(l.weight)/l.matrices(), len(l.scales)/l.matrices()
	return i * n, (i + 1) * n, i * m, (i + 1) * m
}

// eachGroup calls f for every group, g, of the i-th matrix, weights [from, to).
func (l *latent) eachGroup(i int, f func(g, from, to int)) {
	lo, hi, g, _ := l.at(i)
	in := l.shape[len(l.shape)-1]
	for row := lo; row < hi; row += in {
		for from := row; from < row+in; from += l.group {
			f(g, from, min(row+in, from+l.group))
			g++
		}
	}
}

// pack rounds and packs the i-th matrix.
func (l *latent) pack(i int, format ternaryop.Format, group int) (*ternaryop.Matrix, error) {
	last := len(l.shape) - 1
	out, in := l.shape[last-1], l.shape[last]
	lo, hi, slo, shi := l.at(i)
	if l.group == 0 {
		packed, _, err := packIntegers(l.weight[lo:hi], out, in, format, group)
		return packed, err
	}
	scales, codes := l.scales[slo:shi], make([]int8, hi-lo)
	l.eachGroup(i, func(g, from, to int) {
		encodeTernary(codes[from-lo:to-lo], l.weight[from:to], l.scales[g])
	})
	return ternaryop.Pack(format, codes, scales, out, in, group)
}

// savedLatent is a projection as it was fitted, and where training starts.
type savedLatent struct {
	*latent
	middle       []float32 // of weights and fit
	scales, bias []float32
}

// start puts the fit in the place of the latent weights and remembers both.
func (l *latent) start() savedLatent {
	s := savedLatent{latent: l, middle: slices.Clone(l.weight), scales: slices.Clone(l.scales), bias: slices.Clone(l.bias)}
	l.setFit(s.scales)
	return s
}

// setFit makes the latent weights those that were fitted.
func (l *latent) setFit(scales []float32) {
	if l.group == 0 {
		return
	}
	for i := range l.matrices() {
		l.eachGroup(i, func(g, from, to int) {
			for k, c := range l.codes[from:to] {
				l.weight[from+k] = scales[g] * float32(c)
			}
		})
	}
}

// restore undoes the training.
func (s *savedLatent) restore() {
	copy(s.latent.weight, s.middle) // all there is to do where nothing is rounded
	copy(s.latent.scales, s.scales)
	copy(s.latent.bias, s.bias)
	s.latent.setFit(s.scales)
}

// round rounds everything that training has changed to what will be stored:
// scales to half precision, the rest to the types that the source has.
func (t *trainable) round(stored func(name string) safetensors.Dtype) {
	as := func(name string, x []float32) {
		if stored(name) == safetensors.F32 {
			return
		}
		for i, v := range x {
			b := math.Float32bits(v)
			x[i] = math.Float32frombits((b + 0x7FFF + b>>16&1) &^ 0xFFFF) // bfloat16, to nearest even
		}
	}
	for name, v := range t.vectors {
		as(name, v)
	}
	for name, l := range t.latents {
		for i, s := range l.scales {
			l.scales[i] = float16.Fromfloat32(s).Float32()
		}
		if !l.rounds {
			as(name+".weight", l.weight)
		}
		if bias := name + ".bias"; len(l.shape) == 2 {
			as(bias, l.bias)
		} else {
			as(name+"_bias", l.bias)
		}
	}
}

// resetVectors undoes the training of norms and sinks.
func (t *trainable) resetVectors() {
	for name, v := range t.vectors {
		copy(v, t.Weights.Vector(name))
	}
}

// nodes declares a projection's parameters.
func (l *latent) nodes(b *graph.Builder, name string) (weight, bias *gorgonia.Node) {
	part := lastPart(name)
	declare := func(what string, data []float32, shape ...int) *gorgonia.Node {
		return b.Parameter(part+"."+what, tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data)))
	}
	last := len(l.shape) - 1
	l.weightNode = declare("weight", l.weight, l.shape...)
	l.biasNode = declare("bias", l.bias, l.shape[:last]...)
	if l.group == 0 {
		return l.weightNode, l.biasNode
	}
	groups := append(slices.Clone(l.shape[:last]), groupsOf(l.shape[last], l.group))
	l.scalesNode = declare("scales", l.scales, groups...)
	return ternaryop.Ternarize(b, part+".ternary", l.group, l.weightNode, l.scalesNode), l.biasNode
}

// inputs rounds what enters a projection that is rounded itself.
func (l *latent) inputs(b *graph.Builder, name string, x *gorgonia.Node) *gorgonia.Node {
	if !l.rounds {
		return x
	}
	return ternaryop.RoundInputs(b, lastPart(name)+".inputs", x)
}

type trainedLinear struct {
	name string
	*latent
}

func (l trainedLinear) Apply(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node {
	w, bias := l.nodes(b, l.name)
	return ops.Product(b, lastPart(l.name), l.inputs(b, l.name, x), w, bias)
}

type trainedExperts struct {
	name string
	*latent
	active int
}

func (l trainedExperts) Apply(b *graph.Builder, x, routing *gorgonia.Node) *gorgonia.Node {
	w, bias := l.nodes(b, l.name)
	return ops.ExpertProduct(b, lastPart(l.name), l.active, l.inputs(b, l.name, x), routing, w, bias)
}

// othersRate is the rate of what is not rounded, relative to that of latent
// weights: scales, biases, norms, sinks and the router.
const othersRate = .5

// parametersOf returns the parameters of a layer with their nodes, in an order
// that is always the same.
func (t *trainable) parametersOf(b *graph.Builder, layer int) (ps []parameter, nodes gorgonia.Nodes, err error) {
	add := func(name string, node *gorgonia.Node, value []float32, rate float32) {
		ps = append(ps, parameter{name: name, value: value, rate: rate})
		nodes = append(nodes, node)
	}
	n := gptoss.LayerNames(layer)
	for _, name := range []string{n.InputNorm, n.Sinks, n.PostNorm} {
		node, ok := b.Lookup(name)
		if !ok {
			return nil, nil, fmt.Errorf("quantize: the declaration has no parameter %s", name)
		}
		add(name, node, t.Vector(name), othersRate)
	}
	for _, p := range t.config.LayerProjections(layer) {
		l, ok := t.latents[p.Name]
		if !ok {
			continue
		}
		rate := float32(1)
		if !l.rounds {
			rate = othersRate
		}
		add(p.Name+".weight", l.weightNode, l.weight, rate)
		add(p.Name+".bias", l.biasNode, l.bias, othersRate)
		if l.group > 0 {
			add(p.Name+".scales", l.scalesNode, l.scales, othersRate)
			s := &ps[len(ps)-1]
			s.positive = true
			for _, v := range l.scales {
				s.floor = append(s.floor, v/10)
			}
		}
	}
	return ps, nodes, nil
}
