package graph_test

import (
	"bytes"
	"fmt"
	"log"
	"os"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// smallClassifier declares two layers of gorgonia's operators.
func smallClassifier() *graph.Builder {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 64, 2)
	b.Scope("hidden", func() {
		w := b.Parameter("w1", tensor.New(tensor.WithShape(2, 16), tensor.Of(tensor.Float32)))
		x = b.Try(gorgonia.Tanh(b.Try(gorgonia.Mul(x, w))))
	})
	w := b.Parameter("w2", tensor.New(tensor.WithShape(16, 1), tensor.Of(tensor.Float32)))
	b.Try(gorgonia.Sigmoid(b.Try(gorgonia.Mul(x, w))))
	return b
}

// The classifier as a picture, to be opened in a browser.
func ExampleWriteSVG() {
	var svg bytes.Buffer
	err := graph.WriteSVG(&svg, smallClassifier(), graph.DrawOptions{Title: "A small classifier", Rows: 64})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(bytes.Count(svg.Bytes(), []byte("marker-end")), "edges end at a box")
	// Output: 6 edges end at a box
}

// The classifier for Graphviz. The first axis of 64 rows is printed as T.
func ExampleWriteDOT() {
	if err := graph.WriteDOT(os.Stdout, smallClassifier(), graph.DrawOptions{Rows: 64}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// digraph {
	// 	bgcolor=white
	// 	node [shape=box style="rounded,filled" fontname=Helvetica fontsize=12]
	// 	edge [color="#94a3b8" fontname=Helvetica fontsize=10]
	// 	n0 [label="x\ninput" fillcolor="#dcfce7" color="#16a34a"]
	// 	subgraph cluster_0 {
	// 		label="hidden"
	// 		color="#cbd5e1"
	// 		n1 [label="w1\nparameter" fillcolor="#ede9fe" color="#7c3aed"]
	// 		n2 [label="A × B" fillcolor="#ffffff" color="#64748b"]
	// 		n3 [label="tanh" fillcolor="#ffffff" color="#64748b"]
	// 	}
	// 	n4 [label="w2\nparameter" fillcolor="#ede9fe" color="#7c3aed"]
	// 	n5 [label="A × B" fillcolor="#ffffff" color="#64748b"]
	// 	n6 [label="sigmoid\n[T, 1]" fillcolor="#dbeafe" color="#2563eb"]
	// 	n0 -> n2 [label="[T, 2]"]
	// 	n1 -> n2 [label="[2, 16]"]
	// 	n2 -> n3 [label="[T, 16]"]
	// 	n3 -> n5 [label="[T, 16]"]
	// 	n4 -> n5 [label="[16, 1]"]
	// 	n5 -> n6 [label="[T, 1]"]
	// }
}
