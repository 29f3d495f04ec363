package graph_test

import (
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/tensor"
)

// lender keeps a value that it finds in shared memory.
type lender struct {
	*toy
	found *[]*int
}

type loan struct{ n int }

func (l *lender) Prepare(a *graph.Args) (graph.Step, error) {
	shared, other := graph.Shared[loan](a), graph.Shared[struct{ n int }](a)
	if &shared.n == &other.n {
		panic("two types share a value")
	}
	*l.found = append(*l.found, &shared.n)
	return l.toy.Prepare(a)
}

// TestShared: the kernels of a plan find one value, those of another plan
// another.
func TestShared(t *testing.T) {
	var found []*int
	for range 2 {
		b := graph.NewBuilder()
		x := b.Input("x", tensor.Float32, 2, 3)
		for _, name := range []string{"first", "second"} {
			copies := newToy("copy", name, 1, 0, func(dst []float32, in [][]float32) { copy(dst, in[0]) })
			x = b.Apply(name, &lender{copies, &found}, x)
		}
		if _, err := b.Compile(graph.NewCPU(1), 2, graph.WithOutputs(x)); err != nil {
			t.Fatal(err)
		}
	}
	if len(found) != 4 || found[0] != found[1] || found[2] != found[3] || found[0] == found[2] {
		t.Errorf("four kernels of two plans found %v", found)
	}
}
