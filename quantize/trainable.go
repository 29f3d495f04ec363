package quantize

import (
	"fmt"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
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
	dense   map[string]*latent // without scales: never rounded
}

// latent is a projection in training: its weights before rounding, and the
// scale of every group.
type latent struct {
	weight, scales, bias []float32
	shape                []int // of weight: [Out, In] or [E, Out, In]
	group                int   // 0: not rounded

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

// add appends a matrix, an expert's or the only one: its weights, and what they
// were fitted to. Training starts half way between the two, where a rounding
// that the fit chose against the nearest is still open.
func (l *latent) add(w []float32, fit Fit) {
	for i, v := range w {
		l.weight = append(l.weight, (v+fit.Scales[i/l.group]*float32(fit.Codes[i]))/2)
	}
	l.scales = append(l.scales, fit.Scales...)
}

// fit returns the i-th matrix as it is rounded now.
func (l *latent) fit(i int) Fit {
	last := len(l.shape) - 1
	n := l.shape[last-1] * l.shape[last]
	f := Fit{Codes: make([]int8, n), Scales: slices.Clone(l.scales[i*n/l.group : (i+1)*n/l.group])}
	for k, w := range l.weight[i*n : (i+1)*n] {
		switch half := f.Scales[k/l.group] / 2; {
		case w > half:
			f.Codes[k] = 1
		case w < -half:
			f.Codes[k] = -1
		}
	}
	return f
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
	groups := append(append([]int(nil), l.shape[:last]...), l.shape[last]/l.group)
	l.scalesNode = declare("scales", l.scales, groups...)
	return ternaryop.Ternarize(b, part+".ternary", l.weightNode, l.scalesNode), l.biasNode
}

// inputs rounds what enters a projection that is rounded itself.
func (l *latent) inputs(b *graph.Builder, name string, x *gorgonia.Node) *gorgonia.Node {
	if l.group == 0 {
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
		if l.group == 0 {
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
