package graph_test

import (
	"fmt"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"pgregory.net/rapid"
)

// made is a node and the rows it must have.
type made struct {
	node  *gorgonia.Node
	value [][]float32
}

const propertyRows = 3

// drawInputs declares one to three inputs of random widths.
func drawInputs(t *rapid.T, b *graph.Builder) (nodes []made) {
	for i := range rapid.IntRange(1, 3).Draw(t, "inputs") {
		width := rapid.IntRange(1, 5).Draw(t, "width")
		v := make([][]float32, propertyRows)
		for r := range v {
			for c := range width {
				v[r] = append(v[r], float32(i+10*r+100*c))
			}
		}
		nodes = append(nodes, made{b.Input(fmt.Sprint("x", i), tensor.Float32, propertyRows, width), v})
	}
	return nodes
}

// drawNode declares a kernel on some of the latest nodes and computes what it
// must give. The kernel writes its output while it still reads its inputs.
func drawNode(t *rapid.T, b *graph.Builder, nodes []made, i int) made {
	in := make([]*gorgonia.Node, rapid.IntRange(1, 3).Draw(t, "arity"))
	values := make([][][]float32, len(in))
	for k := range in {
		n := nodes[rapid.IntRange(max(0, len(nodes)-6), len(nodes)-1).Draw(t, "input")]
		in[k], values[k] = n.node, n.value
	}
	mix := func(dst []float32, in [][]float32) {
		for j := range dst {
			dst[j] = float32(i + 1)
			for k, row := range in {
				for c, v := range row {
					dst[j] += float32(int(v)*(k+2)*(c+j+1)%1009) / float32(len(in))
				}
			}
		}
	}
	width := rapid.IntRange(1, 9).Draw(t, "width")
	v := make([][]float32, propertyRows)
	for r := range v {
		v[r] = make([]float32, width)
		args := make([][]float32, len(values))
		for k := range args {
			args[k] = values[k][r]
		}
		mix(v[r], args)
	}
	return made{b.Apply(fmt.Sprint("n", i), newToy("mix", fmt.Sprint(i), len(in), width, mix), in...), v}
}

// Whatever the graph, nodes that share memory never disturb each other: every
// output is what evaluating node by node in memory of its own gives.
func TestMemoryIsSharedSafely(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := graph.NewBuilder()
		inputs := drawInputs(t, b)
		nodes := inputs
		var outputs []made
		count := rapid.IntRange(1, 40).Draw(t, "nodes")
		for i := range count {
			n := drawNode(t, b, nodes, i)
			nodes = append(nodes, n)
			if i == count-1 || rapid.IntRange(0, 5).Draw(t, "output") == 0 {
				outputs = append(outputs, n)
			}
		}
		var opts []graph.Option
		for _, n := range outputs {
			opts = append(opts, graph.WithOutputs(n.node))
		}
		p, err := b.Compile(graph.NewCPU(1), propertyRows, opts...)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range inputs {
			if buf, err := p.Value(in.node); err == nil { // or nothing needs it
				for r, row := range in.value {
					copy(buf.Float32s()[r*len(row):], row)
				}
			}
		}
		for run := range 2 { // the second finds the inputs where the first left them
			if err := p.RunAll(); err != nil {
				t.Fatal(err)
			}
			checkRows(t, p, run, outputs)
		}
	})
}

func checkRows(t *rapid.T, p *graph.Plan, run int, outputs []made) {
	for _, n := range outputs {
		buf, err := p.Value(n.node)
		if err != nil {
			t.Fatal(err)
		}
		for r, row := range n.value {
			if got := buf.Float32s()[r*len(row) : (r+1)*len(row)]; !sameBits(got, row) {
				t.Fatalf("run %d: %s row %d: %v, want %v", run, n.node.Name(), r, got, row)
			}
		}
	}
}

// A long chain needs two blocks beside its input and output.
func TestMemoryIsShared(t *testing.T) {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 4, 4)
	for i := range 20 {
		x = b.Apply(fmt.Sprint("n", i), newToy("square", fmt.Sprint(i), 1, 0, square), x)
	}
	if p := compile(t, b, graph.NewCPU(1), 4); p.ArenaBytes() != 4*4*16 {
		t.Errorf("%d bytes, want %d", p.ArenaBytes(), 4*4*16)
	}
}
