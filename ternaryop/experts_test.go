package ternaryop

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gorgonia.org/gorgonia"

	"github.com/seed-796a8800/tritium/graph"
)

// randomStack packs random experts, and says what they stand for.
func randomStack(t testing.TB, r *rand.Rand, f Format, e, out, in, group int) (s *Stack, dense [][]float32) {
	t.Helper()
	var codes, scales []byte
	for range e {
		m, w := drawMatrix(t, r, f, out, in, group)
		codes, scales, dense = append(codes, m.Codes...), append(scales, m.Scales...), append(dense, w)
	}
	s, err := StackFromBytes(f, e, out, in, group, codes, scales)
	if err != nil {
		t.Fatal(err)
	}
	return s, dense
}

// routingOf gives tokens all, some and none of their slots.
func routingOf(rows, e, active int) []float32 {
	routing := make([]float32, rows*e)
	for t := range rows {
		for s := range (t + active) % (active + 1) {
			routing[t*e+(t*3+s)%e] = float32(s+1) / 8
		}
	}
	return routing
}

func route(x Experts) func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
	return func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node { return x.Apply(b, in[0], in[1]) }
}

func TestExperts(t *testing.T) {
	eachFormat(t, func(t *testing.T, f Format) {
		r := rand.New(rand.NewPCG(11, 12))
		for _, s := range []struct{ rows, e, active, out, in, group int }{
			{1, 1, 1, 1, 1, 16}, {1, 4, 4, 33, 32, 16}, {9, 7, 3, 17, 15, 16}, {40, 32, 4, 64, 96, 96}, {70, 3, 2, 50, 96, 32}, {33, 5, 5, 16, 64, 64},
		} {
			stack, dense := randomStack(t, r, f, s.e, s.out, s.in, f.Groups(s.in, s.group))
			routing := routingOf(s.rows, s.e, s.active)
			for _, perSlot := range []bool{false, true} {
				shape, n := []int{s.rows, s.in}, s.rows*s.in
				if perSlot {
					shape, n = []int{s.rows, s.active, s.in}, s.rows*s.active*s.in
				}
				x := random(r, n)
				for _, bias := range [][]float32{nil, random(r, s.e*s.out)} {
					e := Experts{Name: "gate_up_proj", Weight: stack, Bias: bias, Active: s.active}
					got := compute(t, []value{{shape, x}, {[]int{s.rows, s.e}, routing}}, route(e))
					want := routed(e, dense, x, routing, perSlot)
					near(t, fmt.Sprint(s, perSlot), got, want, 2e-6)
					for i, v := range want {
						if v == 0 && got[i] != 0 {
							t.Fatalf("%v: value %d of a slot without an expert is %v", s, i, got[i])
						}
					}
				}
			}
		}
	})
}

// routed is what experts of the given weights give, token by token.
func routed(x Experts, dense [][]float32, in, routing []float32, perSlot bool) []float64 {
	w := x.Weight
	rows := len(routing) / w.E
	want := make([]float64, rows*x.Active*w.Out)
	for t := range rows {
		slot := 0
		for e := range w.E {
			if routing[t*w.E+e] == 0 {
				continue
			}
			at, bias := t, []float32(nil)
			if perSlot {
				at = t*x.Active + slot
			}
			if x.Bias != nil {
				bias = x.Bias[e*w.Out : (e+1)*w.Out]
			}
			copy(want[(t*x.Active+slot)*w.Out:], multiplied(dense[e], in[at*w.In:(at+1)*w.In], bias))
			slot++
		}
	}
	return want
}

func TestExpertsErrors(t *testing.T) {
	stack, _ := randomStack(t, rand.New(rand.NewPCG(2, 2)), Ternary2, 3, 20, 32, 16)
	good := Experts{Name: "layer.down_proj", Weight: stack, Active: 2}
	x, routing := value{[]int{2, 32}, make([]float32, 64)}, value{[]int{2, 3}, make([]float32, 6)}
	change := func(f func(*Experts)) Experts {
		e, s := good, *stack
		e.Weight = &s
		f(&e)
		return e
	}
	for want, e := range map[string]Experts{
		"0 of 3 experts active":                  change(func(e *Experts) { e.Active = 0 }),
		"4 of 3 experts active":                  change(func(e *Experts) { e.Active = 4 }),
		"ternaryop: groups of 24":                change(func(e *Experts) { e.Weight.Group = 24 }),
		"ternaryop: a stack of no matrices":      change(func(e *Experts) { e.Weight.E = 0 }),
		"ternaryop: 3 ternary matrices [20, 32]": change(func(e *Experts) { e.Weight.Scales = e.Weight.Scales[2:] }),
		"ternaryop: 2 ternary matrices [20, 32]": change(func(e *Experts) { e.Weight.E = 2 }),
		"20 biases for 3 experts of 20 outputs":  change(func(e *Experts) { e.Bias = make([]float32, 20) }),
	} {
		refused(t, []value{x, routing}, route(e), "layer.down_proj: "+want)
	}
	for _, in := range [][]value{
		{{[]int{2, 48}, make([]float32, 96)}, routing}, {x, {[]int{2, 4}, make([]float32, 8)}}, {x, {[]int{3, 3}, make([]float32, 9)}},
		{{[]int{2, 3, 32}, make([]float32, 192)}, routing}, {{[]int{2, 2, 16}, make([]float32, 64)}, routing},
	} {
		refused(t, in, route(good), "down_proj", "for 3 experts from 32 to 20, 2 of them active")
	}
	for want, weights := range map[string][]float32{
		"token 1: the routing weight of expert 2 is not a number": {1, 0, 0, 1, 0, float32(math.NaN())},
		"token 0 is routed to 3 experts, at most 2":               {1, 1, 1, 0, 0, 0},
	} {
		d, err := declare(t, 1, []value{x, {[]int{2, 3}, weights}}, route(good))
		if err != nil {
			t.Fatal(err)
		}
		checkError(t, d.run(2), "graph: down_proj: ", want)
	}
}
