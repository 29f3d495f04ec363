package graph_test

import (
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// twicePlus is 2a + b, in the memory of the inputs named.
func twicePlus(reuses ...int) *graph.Function {
	return &graph.Function{Base: graph.Base{Kind: "twice plus", In: graph.Float32Tensors(2, 2), Out: graph.Float32Tensor(2)},
		Infer: graph.Like(0), Reuses: reuses,
		OnCPU: func(a *graph.Args, _ *graph.CPU) (graph.Step, error) {
			return func(*graph.Batch) error {
				for i := range a.Out.Float32s() {
					a.Out.Float32s()[i] = 2*a.In[0].Float32s()[i] + a.In[1].Float32s()[i]
				}
				return nil
			}, nil
		}}
}

// TestReuses: a function's output takes over the memory of an input that it
// names, unless that is an input of the plan, given twice, read later or looked
// at by a probe.
func TestReuses(t *testing.T) {
	probed := graph.WithProbe(func(string, gorgonia.Op) bool { return true },
		func(string, *graph.Batch, []graph.Buffer, graph.Buffer) error { return nil })
	for name, c := range map[string]struct {
		declare func(b *graph.Builder, x, y *gorgonia.Node) *gorgonia.Node // of x and y = x²
		values  int64                                                      // in the plan's memory
		want    float32                                                    // at x = 3
		opts    []graph.Option
	}{
		"taken over": {func(b *graph.Builder, x, y *gorgonia.Node) *gorgonia.Node {
			return b.Apply("z", twicePlus(1), x, y)
		}, 3, 15, nil},
		"probed": {func(b *graph.Builder, x, y *gorgonia.Node) *gorgonia.Node {
			return b.Apply("z", twicePlus(1), x, y)
		}, 4, 15, []graph.Option{probed}},
		"not named": {func(b *graph.Builder, x, y *gorgonia.Node) *gorgonia.Node {
			return b.Apply("z", twicePlus(0), x, y)
		}, 4, 15, nil},
		"given twice": {func(b *graph.Builder, _, y *gorgonia.Node) *gorgonia.Node {
			return b.Apply("z", twicePlus(0, 1), y, y)
		}, 4, 27, nil},
		"read later": {func(b *graph.Builder, x, y *gorgonia.Node) *gorgonia.Node {
			return b.Apply("w", newToy("add", "", 2, 0, add), b.Apply("z", twicePlus(1), x, y), y)
		}, 5, 24, nil},
	} {
		b := graph.NewBuilder()
		x := b.Input("x", tensor.Float32, 4, 4)
		z := c.declare(b, x, b.Apply("y", newSquare(), x))
		out := b.Apply("out", newToy("copy", "", 1, 0, func(dst []float32, in [][]float32) { copy(dst, in[0]) }), z)
		p := compile(t, b, graph.NewCPU(1), 4, append(c.opts, graph.WithOutputs(out))...)
		if got := p.ArenaBytes() / (4 * 16); got != c.values {
			t.Errorf("%s: memory for %d values, want %d", name, got, c.values)
		}
		value(t, p, x)[5] = 3
		if err := p.RunAll(); err != nil {
			t.Fatal(err)
		}
		if got := value(t, p, out)[5]; got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestWithMemoryOf: two plans that share memory, the second the larger, each
// give what they give alone, and refuse to run at the same time.
func TestWithMemoryOf(t *testing.T) {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 4, 4)
	chain := func(n int, name string) *gorgonia.Node {
		y := x
		for range n {
			y = b.Apply(name, addThree(), y, y, x)
		}
		return y
	}
	short, long := chain(3, "short"), chain(7, "long")
	first := compile(t, b, graph.NewCPU(1), 4, graph.WithOutputs(short))
	var inner error
	nested := newToy("nested", "", 1, 0, func(dst []float32, in [][]float32) { inner = first.RunAll(); copy(dst, in[0]) })
	out := b.Apply("out", nested, long)
	second := compile(t, b, first.Device(), 4, graph.WithOutputs(out), graph.WithMemoryOf(first))
	for range 2 {
		for p, c := range map[*graph.Plan]struct {
			of   *gorgonia.Node
			want float32
		}{first: {short, 15}, second: {out, 255}} {
			value(t, p, x)[3] = 1
			if err := p.RunAll(); err != nil {
				t.Fatal(err)
			}
			if got := value(t, p, c.of)[3]; got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		}
	}
	if inner == nil || !strings.Contains(inner.Error(), "running another batch") {
		t.Error(inner)
	}
}
