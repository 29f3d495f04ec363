package quantize

import (
	"maps"
	"math"
	"slices"

	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/x448/float16"
)

// values lists everything of a trainable but the weights that become ternary,
// in an order that is always the same.
func (t *trainable) values() (all []namedValues) {
	for _, name := range slices.Sorted(maps.Keys(t.vectors)) {
		all = append(all, namedValues{name: name, x: t.vectors[name]})
	}
	for _, name := range t.projections() {
		l := t.latents[name]
		if l.group > 0 {
			all = append(all, namedValues{name: name + ".scales", x: l.scales, half: true})
		} else if name := name + ".weight"; !l.rounds {
			all = append(all, namedValues{name: name, x: l.weight})
		} else {
			all = append(all, namedValues{name: name, x: l.weight, kept: true})
		}
		all = append(all, namedValues{name: l.biasName(name), x: l.bias})
	}
	return all
}

// namedValues are values under the name of their tensor.
type namedValues struct {
	name string
	x    []float32
	half bool // stored in half precision
	kept bool // fitted to 8 bits when they are stored, until then as they are
}

// projections lists the trainable projections in order.
func (t *trainable) projections() []string { return slices.Sorted(maps.Keys(t.latents)) }

// ternary lists those that become ternary.
func (t *trainable) ternary() (ls []*latent) {
	for _, name := range t.projections() {
		if l := t.latents[name]; l.group > 0 {
			ls = append(ls, l)
		}
	}
	return ls
}

// biasName returns the name of a projection's bias.
func (l *latent) biasName(name string) string {
	if len(l.shape) == 2 {
		return name + ".bias"
	}
	return name + "_bias"
}

// unrounded are values as they were before they were rounded.
type unrounded struct{ live, was [][]float32 }

func (u *unrounded) restore() {
	for i, x := range u.live {
		copy(x, u.was[i])
	}
}

// round rounds everything that training changes to what will be stored: scales
// to half precision, the rest to the types that the source has. It returns what
// the values were.
func (t *trainable) round() *unrounded {
	u := &unrounded{}
	for _, v := range t.values() {
		if v.kept {
			continue
		}
		u.live, u.was = append(u.live, v.x), append(u.was, slices.Clone(v.x))
		switch {
		case v.half:
			for i, s := range v.x {
				v.x[i] = float16.Fromfloat32(s).Float32()
			}
		case t.stored != nil && t.stored(v.name) != safetensors.F32:
			for i, s := range v.x {
				b := math.Float32bits(s)
				v.x[i] = math.Float32frombits((b + 0x7FFF + b>>16&1) &^ 0xFFFF) // bfloat16, to nearest even
			}
		}
	}
	return u
}

// result is what a trainable's rounded parameters say, in the order of ternary
// and of values: a byte for a ternary weight instead of four.
type result struct {
	codes  [][]int8
	values [][]float32
}

// result copies the model, which must be rounded.
func (t *trainable) result() *result {
	r := &result{}
	for _, l := range t.ternary() {
		r.codes = append(r.codes, l.round())
	}
	for _, v := range t.values() {
		r.values = append(r.values, slices.Clone(v.x))
	}
	return r
}

// restore makes the model that of a result.
func (t *trainable) restore(r *result) {
	for i, v := range t.values() {
		copy(v.x, r.values[i])
	}
	for i, l := range t.ternary() {
		copy(l.codes, r.codes[i])
		l.setWeights()
	}
}

// round returns the codes nearest to the weights.
func (l *latent) round() []int8 {
	codes := make([]int8, len(l.weight))
	l.eachGroup(0, l.matrices(), func(g, from, to int) { encodeTernary(codes[from:to], l.weight[from:to], l.scales[g]) })
	return codes
}

// setWeights makes the weights those of the codes.
func (l *latent) setWeights() {
	l.eachGroup(0, l.matrices(), func(g, from, to int) {
		for k, c := range l.codes[from:to] {
			l.weight[from+k] = l.scales[g] * float32(c)
		}
	})
}

// toFit makes the model what it was fitted to, and returns what moves it back.
func (t *trainable) toFit() (back func()) {
	var was [][]float32
	for _, l := range t.ternary() {
		was = append(was, slices.Clone(l.weight))
		l.setWeights()
	}
	return func() {
		for i, l := range t.ternary() {
			copy(l.weight, was[i])
		}
		was = nil
	}
}

// freeze takes the weights of codes so far out that no scale changes a code.
func (t *trainable) freeze() {
	const far = 1e30
	t.frozen = true
	for _, l := range t.ternary() {
		l.codes = l.round()
		for i, c := range l.codes {
			l.weight[i] = far * float32(c)
		}
	}
}
