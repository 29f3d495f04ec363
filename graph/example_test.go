package graph_test

import (
	"fmt"
	"log"
	"math/rand/v2"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// A classifier of one's own: points inside and outside a ring, two layers,
// trained by gradient descent. The graph is declared with gorgonia's
// functions, differentiated with gorgonia.Grad, and run by a Plan.
func Example() {
	const rows, hidden = 64, 16
	rng := rand.New(rand.NewPCG(1, 2))
	normal := func(shape ...int) *tensor.Dense {
		x := make([]float32, tensor.Shape(shape).TotalSize())
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(x))
	}

	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, rows, 2)
	y := b.Input("y", tensor.Float32, rows, 1)
	w1, b1 := b.Parameter("w1", normal(2, hidden)), b.Parameter("b1", normal(1, hidden))
	w2 := b.Parameter("w2", normal(hidden, 1))
	h := b.Try(gorgonia.Mul(x, w1))
	h = b.Try(gorgonia.BroadcastAdd(h, b1, nil, []byte{0}))
	h = b.Try(gorgonia.Tanh(h))
	p := b.Try(gorgonia.Sigmoid(b.Try(gorgonia.Mul(h, w2))))
	d := b.Try(gorgonia.Sub(p, y))
	loss := b.Try(gorgonia.Mean(b.Try(gorgonia.Square(d))))
	params := gorgonia.Nodes{w1, b1, w2}
	grads, err := gorgonia.Grad(loss, params...)
	if err != nil {
		log.Fatal(err)
	}

	plan, err := b.Compile(graph.NewCPU(1), rows, graph.WithOutputs(append(grads, loss)...))
	if err != nil {
		log.Fatal(err)
	}
	value := func(n *gorgonia.Node) []float32 {
		buf, err := plan.Value(n)
		if err != nil {
			log.Fatal(err)
		}
		return buf.Float32s()
	}
	for i := range rows {
		px, py := float32(rng.NormFloat64()), float32(rng.NormFloat64())
		value(x)[2*i], value(x)[2*i+1] = px, py
		if px*px+py*py < 1 {
			value(y)[i] = 1
		}
	}
	var first float32
	for step := range 500 {
		if err := plan.RunAll(); err != nil {
			log.Fatal(err)
		}
		if step == 0 {
			first = value(loss)[0]
		}
		for i, w := range params {
			for j, g := range value(grads[i]) {
				value(w)[j] -= 2 * g
			}
		}
	}
	fmt.Println("the loss fell below a third:", value(loss)[0] < first/3)
	// Output: the loss fell below a third: true
}
