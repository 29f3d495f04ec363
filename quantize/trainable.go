package quantize

import (
	"fmt"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/ternaryop"
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
	// stored is the type in which a tensor of the source is kept; nil: F32.
	stored func(name string) safetensors.Dtype
	frozen bool // codes stay as they are
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

// eachGroup calls f for every group, g, of some matrices: weights [from, to).
func (l *latent) eachGroup(first, end int, f func(g, from, to int)) {
	in := l.shape[len(l.shape)-1]
	lo, _, g, _ := l.at(first)
	_, hi, _, _ := l.at(end - 1)
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
	codes := make([]int8, hi-lo)
	l.eachGroup(i, i+1, func(g, from, to int) {
		encodeTernary(codes[from-lo:to-lo], l.weight[from:to], l.scales[g])
	})
	return ternaryop.Pack(format, codes, l.scales[slo:shi], out, in, group)
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

// parametersOf returns the parameters of layers [first, end) with their nodes,
// in an order that is always the same.
func (t *trainable) parametersOf(b *graph.Builder, first, end int) (ps []parameter, nodes gorgonia.Nodes, err error) {
	add := func(name string, node *gorgonia.Node, value []float32, latent bool) {
		ps = append(ps, parameter{name: name, value: value, latent: latent})
		nodes = append(nodes, node)
	}
	for layer := first; layer < end; layer++ {
		n := gptoss.LayerNames(layer)
		for _, name := range []string{n.InputNorm, n.Sinks, n.PostNorm} {
			node, ok := b.Lookup(name)
			if !ok {
				return nil, nil, fmt.Errorf("quantize: layer %d: the declaration has no parameter %s", layer, name)
			}
			add(name, node, t.Vector(name), false)
		}
		for _, p := range t.config.LayerProjections(layer) {
			l, ok := t.latents[p.Name]
			if !ok {
				continue
			}
			if !l.rounds || !t.frozen {
				add(p.Name+".weight", l.weightNode, l.weight, l.rounds)
			}
			add(p.Name+".bias", l.biasNode, l.bias, false)
			if l.group > 0 {
				add(p.Name+".scales", l.scalesNode, l.scales, false)
				s := &ps[len(ps)-1]
				s.positive = true
				for _, v := range l.scales {
					s.floor = append(s.floor, v/10)
				}
			}
		}
	}
	return ps, nodes, nil
}
